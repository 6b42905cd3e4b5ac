"""A study's table as a page for the terminal: what varied, the fastest designs, what limits how many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simgpu.arch.schema import schema
from simgpu.report.study import Lever, Need
from simgpu.report.text import columns, joined, percent
from simgpu.studies.sensitivity import MOST
from simgpu.studies.table import Table
from simgpu.units import format_quantity, split_unit

_ALWAYS = ("model", "gpu", "batch", "dtype", "runtime")


def format_study(table: Table, *, width: int = 100, top: int = 10) -> str:
    """The page.

    Args:
        width: Columns to write.
        top: The fastest designs to list.
    """
    varied = table.varied
    lines = [f"{len(table):,} design{'' if len(table) == 1 else 's'} · {setting(table)}"]
    lines += [f"  {heading(name):<{max(len(heading(one)) for one in varied)}}  {_span(table, name)}" for name in varied]
    by = "throughput_per_s" if "batch" in varied else "latency_s"
    order = np.argsort(table[by] if by == "latency_s" else -table[by], kind="stable")
    shown = order[:top].tolist()
    if 0 < top < len(table):
        shown.append(int(order[-1]))
    if shown:
        which = "The designs" if len(shown) == len(table) else f"The {f'{top} ' if top > 1 else ''}fastest, and the slowest"
        lines += ["", f"{which}, by {'samples/s' if by == 'throughput_per_s' else 'latency'}", *_listed(table, varied, shown, width)]
    bounds, counts = np.unique(table["bound"].astype(str), return_counts=True)
    parts = [f"{name} {percent(count / len(table))}" for count, name in sorted(zip(counts.tolist(), bounds.tolist(), strict=True), reverse=True)]
    lines += ["", *joined(["What limits them:", *parts], width, separator="")]
    too_big = int((~table["fits"].astype(bool)).sum())
    if too_big:
        lines.append(f"{too_big:,} of them {'does' if too_big == 1 else 'do'} not fit the GPU's memory.")
    return "\n".join(lines) + "\n"


# Outputs that the list shows, the first to go without where the page is narrow last.
_OUTPUTS = ("latency_s", "bound", "throughput_per_s", "mfu_fraction", "energy_j", "power_w", "clock_hz")
_HEADERS = {"latency_s": "latency", "throughput_per_s": "samples/s", "energy_j": "energy", "power_w": "power", "clock_hz": "clock", "mfu_fraction": "MFU"}


def setting(table: Table) -> str:
    """What is the same in all rows, in a line."""
    varied, first = table.varied, table.row(0)
    return " · ".join(_said(name, first[name]) for name in table.inputs if name not in varied)


def _listed(table: Table, varied: Sequence[str], rows: Sequence[int], width: int) -> list[str]:
    """Rows of the table, with as many outputs as fit."""
    for count in range(len(_OUTPUTS), 1, -1):
        names = [*varied, *_OUTPUTS[:count]]
        cells = [[show(name, table[name][i]) for name in names] for i in rows]
        lines = columns(cells, "".join("<" if _is_text(table, name) else ">" for name in names), header=[heading(name) for name in names])
        if max(map(len, lines)) <= width:
            break
    return [line[:width].rstrip() for line in lines]


def heading(column: str) -> str:
    """What people call a column: "dram.bandwidth", "latency"."""
    return _HEADERS.get(column, split_unit(column)[0])


def show(column: str, value: Any) -> str:
    """A value of a column for people: with a prefix and its unit."""
    if isinstance(value, str | bool | np.bool_):
        return str(value)
    if column.endswith("_fraction") and "." not in column:
        return percent(float(value))
    unit = split_unit(column)[1]
    if unit == "B":
        return format_quantity(float(value), "iB")
    if unit == "1/s":
        return f"{value:,.{0 if value >= 100 else 1}f}"
    return format_quantity(float(value), unit) if unit else f"{value:,.6g}"


def _said(name: str, value: Any) -> str:
    text = show(name, value)
    return f"{heading(name)} {text}" if name == "batch" or name not in _ALWAYS else text


def _span(table: Table, name: str) -> str:
    values = table[name]
    if _is_text(table, name):
        distinct: Sequence[str] = list(dict.fromkeys(values.tolist()))
        return ", ".join(distinct[:8]) + (" …" if len(distinct) > 8 else "")
    distinct_count = len(np.unique(values))
    return f"{show(name, values.min())} to {show(name, values.max())}, {distinct_count:,} values"


def _is_text(table: Table, name: str) -> bool:
    return table[name].dtype.kind in "OUb"


def format_levers(levers: Sequence[Lever]) -> str:
    """What matters, as lines."""
    rows = []
    for lever in levers:
        changes = [f"{seconds / lever.latency_s - 1:+.1%}" for seconds in (lever.low_latency_s, lever.high_latency_s)]
        values = [_quantity(value, lever.unit) for value in (lever.low, lever.value, lever.high)]
        rows.append((lever.field, *values, *changes, f"{lever.elasticity:+.2f}"))
    header = ("field", "less", "as it is", "more", "latency, less", "latency, more", "elasticity")
    title = "What matters: the latency with less and more of each field, and its change in % for each % of the field"
    return "\n".join(["", title, *columns(rows, "<>>>>>>", header=header), ""])


def format_needs(needs: Sequence[Need], target_s: float, levers: Mapping[str, float]) -> str:
    """What it takes to reach a latency, as lines.

    Args:
        levers: What the GPU has of each field, in SI.
    """
    rows, vain = [], []
    for need in needs:
        name = need.fields[0] if len(need.fields) == 1 else "all of these together"
        if not need.met:
            vain.append(f"{name} {format_quantity(need.latency_s, 's')} ({need.bound})")
            continue
        unit = unit_of_field(need.fields[0])
        now, then = (_quantity(value, unit) if len(need.fields) == 1 else "" for value in (levers[need.fields[0]], need.values[0]))
        rows.append((name, now, then, f"×{need.factor:.3g}", format_quantity(need.latency_s, "s"), need.bound))
    lines = ["", f"What it takes to run in {format_quantity(target_s, 's')}"]
    if rows:
        lines += columns(rows, "<>>>><", header=("change", "from", "to", "by", "latency", "then bound by"))
    if vain:
        lines.append(f"{'Others do not reach it' if rows else 'Nothing reaches it'}, even ×{MOST:g}; the best latency, and what it is bound by then:")
        lines += [f"  {line}" for line in joined(vain, 98)]
    return "\n".join([*lines, ""])


def unit_of_field(field: str) -> str:
    """The SI unit of a field of a GPU."""
    found = schema().find(field)
    return found[0].unit if found else ""


def _quantity(value: float, unit: str) -> str:
    return format_quantity(value, "iB" if unit == "B" else unit) if unit else f"{value:,.6g}"
