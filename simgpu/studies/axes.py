"""What a study varies: `54:216:18`, `1..4 TB/s:16`, `1,2,4` as points of an axis."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.arch.loader import gpu_fields
from simgpu.arch.schema import schema
from simgpu.errors import OptionError, UnitError, did_you_mean
from simgpu.units import parse_quantity

# What may vary beside the fields of a GPU: settings of `simulate` whose values are whole numbers, or names.
WHOLE_SETTINGS = ("batch", "seq_len", "image_size", "context", "new_tokens")
NAMED_SETTINGS = ("model", "gpu", "dtype", "runtime", "host", "attention", "mode", "optimizer", "phase")
SETTINGS = (*NAMED_SETTINGS, *WHOLE_SETTINGS)

MAX_POINTS = 10_000_000
_DIGITS = 12  # significant digits of a point; 0.1 + 0.2 is meant to be 0.3
_DRAWN_DIGITS = 6  # of one that is drawn from a range
# GPU fields that count things; points between are rounded.
_COUNTS = (
    "sm.count", "sm.schedulers", "sm.max_warps", "sm.max_threads", "sm.max_blocks", "sm.max_threads_per_block", "sm.registers",
    "sm.max_registers_per_thread", "sm.rt_cores", "shared.banks", "l2.partitions", "dram.bus", "copy_engines", "concurrent_kernels",
)  # fmt: skip
_HAS_UNIT = re.compile(r"[A-Za-zµ]\S*$")
_SPELLING = "expected start:stop:step, lo..hi UNIT:N (`log` behind N for equal ratios) or a list a,b,c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A quantity that a study varies.

    Attributes:
        name: As the user calls it: "dram.bandwidth", "batch".
        column: Its name in tables, with the unit: "dram.bandwidth_bytes_per_s".
        unit: SI unit, "" for counts and names.
        points: Its values in SI, or names; () for a range that is only drawn from.
        low, high: Ends of such a range.
        log: The range is drawn from by ratio.
    """

    name: str
    column: str
    unit: str = ""
    points: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def is_field(self) -> bool:
        """Whether it is a field of the GPU."""
        return self.name not in SETTINGS

    def drawn(self, quantile: NDArray[np.float64]) -> NDArray[Any]:
        """The values at quantiles in [0, 1)."""
        if self.points:
            column: NDArray[Any] = as_column(self.points)[(quantile * len(self.points)).astype(int)]
            return column
        if self.log:
            values = self.low * (self.high / self.low) ** quantile
        else:
            values = self.low + (self.high - self.low) * quantile
        rounded = np.array([float(f"{value:.{_DRAWN_DIGITS}g}") for value in values])
        return np.asarray(np.round(rounded) if is_count(self.name) else rounded)


def as_column(points: Sequence[Any]) -> NDArray[Any]:
    """Values as an array: numbers, or objects for what has a name."""
    if isinstance(points[0], int | float):
        return np.array(points)
    column = np.empty(len(points), dtype=object)
    column[:] = points
    return column


def axis(name: str, values: Any) -> Axis:
    """The axis that a name and its values make.

    Args:
        name: A field of a GPU by its dotted key, or one of `SETTINGS`.
        values: Text as in `--vary`, or numbers in SI (names for settings that are names), one or several.
    Raises:
        OptionError: The name is unknown, or the values are no range or list that suits it.

    >>> axis("sm.count", "54:108:18").points
    (54.0, 72.0, 90.0, 108.0)
    >>> axis("dram.bandwidth", "1..4 TB/s:4").points
    (1000000000000.0, 2000000000000.0, 3000000000000.0, 4000000000000.0)
    >>> axis("batch", "1..64:4log").points
    (1, 4, 16, 64)
    >>> axis("dtype", "fp16,fp32").points
    ('fp16', 'fp32')
    """
    column, unit = _identified(name)
    if not isinstance(values, str):
        values = list(values) if isinstance(values, Iterable) else [values]
        if name not in NAMED_SETTINGS and any(isinstance(value, str) for value in values):
            values = [_quantities(name, [value], unit)[0] if isinstance(value, str) else value for value in values]
        return Axis(name=name, column=column, unit=unit, points=_given(name, values))
    text = values.strip()
    if not text:
        raise OptionError(f"{name}: there are no values; {_SPELLING}")
    if name in NAMED_SETTINGS:
        return Axis(name=name, column=column, points=_distinct(name, [word.strip() for word in text.split(",")]))
    if ".." in text:
        low, high, count, log = _range(name, text, unit)
        if count is None:
            return Axis(name=name, column=column, unit=unit, low=low, high=high, log=log)
        spaced = np.geomspace(low, high, count) if log else np.linspace(low, high, count)
        return Axis(name=name, column=column, unit=unit, points=_tidy(name, spaced.tolist()))
    if ":" in text:
        return Axis(name=name, column=column, unit=unit, points=_tidy(name, _steps(name, text, unit)))
    return Axis(name=name, column=column, unit=unit, points=_given(name, _quantities(name, text.split(","), unit)))


def _identified(name: str) -> tuple[str, str]:
    """The column and the unit of what a name means."""
    if name in SETTINGS:
        return name, ""
    found = schema().find(name)
    units = gpu_fields()
    if found is None or (found[0].key not in units and f"{found[0].key}.{found[1]}" not in units):
        if found is not None and not (found[0].kind == "table" and found[0].path != "sources"):
            raise OptionError(f"{name}: is no number of a GPU and cannot vary; vary gpu instead: gpu=a100,t4")
        same_word = [key for key in units if key.rpartition(".")[2] == name.rpartition(".")[2]]
        hint = f"; did you mean '{same_word[0]}'?" if same_word else did_you_mean(name, [*units, *SETTINGS])
        raise OptionError(f"{name}: nothing of that name can vary, expected a field of a GPU, or {', '.join(SETTINGS)}{hint}")
    field, row = found
    return (f"{field.path}.{row}" if row else field.path), field.unit


def is_count(name: str) -> bool:
    """Whether only whole numbers make sense of it."""
    if name in WHOLE_SETTINGS:
        return True
    found = schema().find(name)
    return found is not None and found[0].key in _COUNTS


def _range(name: str, text: str, unit: str) -> tuple[float, float, int | None, bool]:
    """The ends of `lo..hi UNIT:N log`, the number of points if it is said, and whether ratios are equal."""
    body, log = (text.removesuffix("log").rstrip(" :"), True) if text.endswith("log") else (text, False)
    ends, colon, points = body.partition(":")
    first, _, second = ends.partition("..")
    low, high = _quantities(name, [first, second], unit, whole=text)
    if high < low:
        raise OptionError(f"{name}={text}: the range is reversed, expected the smaller end first: {second.strip()} is below {first.strip()}")
    if low == high:
        raise OptionError(f"{name}={text}: the range is empty, both ends are the same; give two different ones")
    if log and low <= 0:
        raise OptionError(f"{name}={text}: equal ratios cannot start at {low:g}, expected more than 0")
    if not colon:
        return low, high, None, log
    if not points.strip().isdecimal() or not 2 <= int(points) <= MAX_POINTS:
        raise OptionError(f"{name}={text}: '{points.strip()}' is no number of points, expected 2 to {MAX_POINTS:,}; {_SPELLING}")
    return low, high, int(points), log


def _steps(name: str, text: str, unit: str) -> list[float]:
    parts = text.split(":")
    if len(parts) != 3:
        raise OptionError(f"{name}={text}: {len(parts)} parts between colons; {_SPELLING}")
    start, stop, step = _quantities(name, parts, unit, whole=text)
    if step <= 0:
        raise OptionError(f"{name}={text}: a step of {step:g} leads nowhere, expected one above 0")
    if stop < start:
        raise OptionError(f"{name}={text}: the range is reversed, expected the smaller end first: {parts[1].strip()} is below {parts[0].strip()}")
    count = math.floor((stop - start) / step * (1 + 1e-12) + 1e-9) + 1
    if count > MAX_POINTS:
        raise OptionError(f"{name}={text}: {count:,} points, expected at most {MAX_POINTS:,}; take a larger step")
    return [start + i * step for i in range(count)]


def _quantities(name: str, texts: Sequence[str], unit: str, whole: str = "") -> list[float]:
    """Numbers with units in SI; one without a unit takes that of the last."""
    shown = whole or ",".join(texts)
    texts = [text.strip() for text in texts]
    if "" in texts:
        raise OptionError(f"{name}={shown}: a value is missing; {_SPELLING}")
    last = _HAS_UNIT.search(texts[-1]) if not _is_number(texts[-1]) else None
    if unit and last is None:
        raise OptionError(f"{name}={shown}: has no unit, expected a quantity in {unit}; write the unit behind the last number")
    suffix = f" {last[0]}" if last else ""
    try:
        return [parse_quantity(text if not _is_number(text) else text + suffix, unit) for text in texts]
    except UnitError as problem:
        raise OptionError(f"{name}={shown}: {problem}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _given(name: str, values: list[Any]) -> tuple[Any, ...]:
    """Values one by one, as they were given."""
    if not values:
        raise OptionError(f"{name}: there are no values; {_SPELLING}")
    if name in NAMED_SETTINGS:
        return _distinct(name, values)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating) or not math.isfinite(value):
            raise OptionError(f"{name}: expected finite numbers, got {value!r}")
        if is_count(name) and value != round(value):
            raise OptionError(f"{name}: expected whole numbers, got {value:g}")
        if name in WHOLE_SETTINGS and value < 1:
            raise OptionError(f"{name}: expected whole numbers of 1 or more, got {value:g}")
    return _distinct(name, [int(value) if name in WHOLE_SETTINGS else float(value) for value in values])


def _tidy(name: str, values: list[float]) -> tuple[Any, ...]:
    """Points of a range, without the noise of the last digits; counts are rounded, and then each is there once."""
    if is_count(name):
        values = [float(value) for value in dict.fromkeys(round(value) for value in values)]
    return _given(name, list(dict.fromkeys(float(f"{value:.{_DIGITS}g}") for value in values)))


def _distinct(name: str, values: list[Any]) -> tuple[Any, ...]:
    seen = set()
    for value in values:
        if value == "":
            raise OptionError(f"{name}: a value is missing; {_SPELLING}")
        if value in seen:
            raise OptionError(f"{name}: {value:g} is given twice; name each value once" if isinstance(value, float) else f"{name}: {value} is given twice")
        seen.add(value)
    return tuple(values)
