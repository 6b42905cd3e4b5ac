"""Columns of a study's table on an axis: scaled to a prefix that reads well, and labelled with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simgpu.units import format_quantity, parse_quantity, split_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = {
    "latency_s": "latency",
    "throughput_per_s": "throughput",
    "mfu_fraction": "MFU",
    "clock_hz": "clock",
    "power_w": "power",
    "energy_j": "energy a run",
    "memory_bytes": "memory",
    "dram_bytes": "DRAM traffic",
    "die_area_estimate_mm2": "die area (estimate)",
    "die_cost_estimate_usd": "cost of the die (estimate)",
}
_LOG_FROM = 8.0  # a range of so many times its start is drawn by ratio


def name_of(column: str) -> str:
    """What people call a column.

    >>> name_of("latency_s"), name_of("dram.bandwidth_bytes_per_s")
    ('latency', 'dram.bandwidth')
    """
    return _NAMES.get(column, split_unit(column)[0].replace("_fraction", " share"))


def scaled(column: str, values: NDArray[Any]) -> tuple[NDArray[np.float64], str]:
    """Values in a unit with a prefix, and the label of their axis.

    >>> scaled("dram.bandwidth_bytes_per_s", np.array([1e12, 4e12]))
    (array([1., 4.]), 'dram.bandwidth [TB/s]')
    """
    unit = split_unit(column)[1]
    if column.endswith("_fraction"):
        return 100.0 * np.asarray(values, dtype=float), f"{name_of(column)} [%]"
    if not unit or unit == "1/s":
        return np.asarray(values, dtype=float), f"{name_of(column)} [samples/s]" if column == "throughput_per_s" else name_of(column)
    shown = format_quantity(float(np.max(np.abs(values))), "iB" if unit == "B" else unit).partition(" ")[2] or unit
    return np.asarray(values, dtype=float) / parse_quantity(f"1 {shown}", unit), f"{name_of(column)} [{shown.replace('mm2', 'mm²')}]"


def said(column: str, value: Any) -> str:
    """A value of a column with its unit, in few characters: "54", "2 TB/s", "fp16"."""
    if isinstance(value, str):
        return value
    unit = split_unit(column)[1]
    return format_quantity(float(value), "iB" if unit == "B" else unit) if unit else f"{float(value):,.6g}"


def log_if_wide(ax: Axes, axis: str, values: Sequence[float] | NDArray[Any]) -> bool:
    """Makes an axis logarithmic where its values differ by a large factor, with plain numbers on it; whether it did."""
    values = np.asarray(values, dtype=float)
    if values.min() <= 0 or values.max() < _LOG_FROM * values.min():
        return False
    getattr(ax, f"set_{axis}scale")("log")
    plain_ticks(ax, axis)
    return True


def plain_ticks(ax: Axes, axis: str) -> None:
    """Numbers people write at 1, 2 and 5 of each decade, instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    line = getattr(ax, f"{axis}axis")
    line.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    line.set_minor_locator(NullLocator())
