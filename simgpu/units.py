"""Text with a unit to SI numbers and back; the only file with 1e9 or 1024 in it."""

from __future__ import annotations

import math
import re

from simgpu.errors import UnitError

_DECIMAL = {"": 1.0, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

# unit as written → (SI unit, factor without prefix). A prefix may stand before each.
_UNITS: dict[str, tuple[str, float]] = {
    "B/clk": ("B/clk", 1.0),
    "B/s": ("B/s", 1.0),
    "b/s": ("B/s", 0.125),
    "B": ("B", 1.0),
    "bit": ("bit", 1.0),
    "FLOP/s": ("FLOP/s", 1.0),
    "FLOPS": ("FLOP/s", 1.0),
    "OP/s": ("FLOP/s", 1.0),
    "FLOP": ("FLOP", 1.0),
    "Hz": ("Hz", 1.0),
    "s": ("s", 1.0),
    "W": ("W", 1.0),
    "J": ("J", 1.0),
    "V": ("V", 1.0),
    "mm2": ("mm2", 1.0),
    "clk": ("clk", 1.0),
    "nm": ("nm", 1.0),
    "USD": ("USD", 1.0),
    "": ("", 1.0),
}
_NO_PREFIX = {"", "mm2", "nm", "clk", "B/clk", "bit", "USD"}
_NUMBER = re.compile(r"^\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$")


def parse_quantity(text: str | float | int, unit: str) -> float:
    """A number in SI from text such as "3.35 TB/s".

    Args:
        text: The quantity; a bare number is taken to be in `unit` already.
        unit: The SI unit expected: B/s, B, FLOP/s, Hz, s, W, clk, nm, mm2, bit, B/clk or "".
    Raises:
        UnitError: The text is no quantity or its unit is of another kind.

    >>> parse_quantity("3.35 TB/s", "B/s") == 3.35e12
    True
    >>> parse_quantity("40 MiB", "B")
    41943040.0
    >>> parse_quantity("1410 MHz", "Hz")
    1410000000.0
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise UnitError(f"expected a number{_in(unit)}, got {text!r}")
    if isinstance(text, int | float):
        if not math.isfinite(text):
            raise UnitError(f"expected a finite number{_in(unit)}, got {text!r}")
        return float(text)
    match = _NUMBER.match(text)
    if match is None:
        raise UnitError(f"expected a number{_in(unit)}, got {text!r}")
    value, suffix = float(match.group(1).replace("_", "")), match.group(2)
    if not math.isfinite(value):
        raise UnitError(f"expected a finite number{_in(unit)}, got {text!r}")
    if not suffix:
        return value
    for name, (si, factor) in _UNITS.items():
        if name and suffix.endswith(name) and si == unit:
            prefix = suffix[: len(suffix) - len(name)].strip()
            if prefix in _DECIMAL and (not prefix or si not in _NO_PREFIX):
                return value * _DECIMAL[prefix] * factor
            if prefix in _BINARY and si in {"B", "B/s"}:
                return value * _BINARY[prefix] * factor
    if unit == "" and suffix in _DECIMAL:
        return value * _DECIMAL[suffix]
    raise UnitError(f"'{text}' has the unit '{suffix}', expected {unit or 'a plain number'}")


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""


def format_quantity(value: float, unit: str, digits: int = 3) -> str:
    """Text with a prefix that suits the size.

    >>> format_quantity(3.35e12, "B/s")
    '3.35 TB/s'
    >>> format_quantity(0.00123, "s")
    '1.23 ms'
    >>> format_quantity(41943040, "iB")
    '40 MiB'
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip().replace(" iB", " B")
    if unit == "iB":
        for prefix, factor in reversed(_BINARY.items()):
            if abs(value) >= factor:
                return f"{_round(value / factor, digits)} {prefix}B"
        return f"{_round(value, digits)} B"
    if unit in _NO_PREFIX and unit:
        return f"{_round(value, digits)} {unit}"
    for prefix in ("E", "P", "T", "G", "M", "k", "", "m", "µ", "n", "p"):
        factor = _DECIMAL[prefix]
        if abs(value) >= factor * (1 - 0.5 * 10.0**-digits):
            return f"{_round(value / factor, digits)} {prefix}{unit}".strip()
    return f"{value:.{digits}g} {unit}".strip()


def _round(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text


# What a name may end in → its unit; longer endings first.
_ENDINGS = {
    "_bytes_per_clk": "B/clk",
    "_bytes_per_s": "B/s",
    "_flop_per_byte": "FLOP/B",
    "_flop_per_s": "FLOP/s",
    "_per_s": "1/s",
    "_bytes": "B",
    "_flop": "FLOP",
    "_bits": "bit",
    "_clk": "clk",
    "_mm2": "mm2",
    "_usd": "USD",
    "_nm": "nm",
    "_hz": "Hz",
    "_s": "s",
    "_j": "J",
    "_w": "W",
}


def split_unit(name: str) -> tuple[str, str]:
    """The name of a field or column without its unit, and the SI unit.

    >>> split_unit("dram.bandwidth_bytes_per_s"), split_unit("latency_s"), split_unit("sm.count")
    (('dram.bandwidth', 'B/s'), ('latency', 's'), ('sm.count', ''))
    """
    for ending, unit in _ENDINGS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), unit
    return name, ""
