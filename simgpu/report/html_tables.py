"""Tables of a page: every kernel as a row that sorts and is found, kernels by kind, time by module, runs side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simgpu.report.html_element import Content, Markup, el
from simgpu.report.over_time import time_unit
from simgpu.report.palette import BOUNDS
from simgpu.report.records import GroupRecord, KernelRecord
from simgpu.report.report import Report
from simgpu.report.text import number, percent, quantity, seconds
from simgpu.units import format_quantity

MAX_ROWS = 3000
"""Kernels listed one by one; of a longer run, the longest."""

_DEPTH = 3  # levels of the module tree
_OPEN = 12  # more modules than this within one are shown when it is opened
_TINY = 0.001  # modules of less than this share of the kernels' time are added up


# ---- kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column of the kernel table; `wide` ones are left out on a phone."""

    name: str
    text: Callable[[KernelRecord], str]
    is_number: bool = True
    wide: bool = False


def _columns(scale: float, unit: str, total_s: float) -> tuple[_Column, ...]:
    """The columns; the start is in a unit of `scale` seconds, the wide ones come last."""
    return (
        _Column(name="#", text=lambda k: str(k.index)),
        _Column(name="operator", text=lambda k: k.op or k.name, is_number=False),
        _Column(name="kind", text=lambda k: k.label or k.family, is_number=False),
        _Column(name="time [µs]", text=lambda k: digits(k.span_s / 1e-6)),
        _Column(name="share [%]", text=lambda k: digits(100 * k.span_s / total_s)),
        _Column(name="bound", text=lambda k: k.bound, is_number=False),
        _Column(name="of roofline [%]", text=lambda k: digits(100 * k.roofline_fraction)),
        _Column(name="GFLOP", text=lambda k: digits(k.flop / 1e9), wide=True),
        _Column(name="TFLOP/s", text=lambda k: digits(k.flop_per_s / 1e12), wide=True),
        _Column(name="DRAM [MB]", text=lambda k: digits(k.dram_bytes / 1e6), wide=True),
        _Column(name="GB/s", text=lambda k: digits(k.dram_bytes_per_s / 1e9), wide=True),
        _Column(name="waves", text=lambda k: digits(k.waves), wide=True),
        _Column(name="occupancy [%]", text=lambda k: digits(100 * k.occupancy_fraction), wide=True),
        _Column(name="tile or algorithm", text=lambda k: k.choice, is_number=False, wide=True),
        _Column(name="dtype", text=lambda k: k.dtype, is_number=False, wide=True),
        _Column(name=f"start [{unit}]", text=lambda k: digits(k.start_s / scale), wide=True),
    )


def column_styles() -> str:
    """CSS of the kernel table's columns by their place, which the cells then need not say."""
    words = ",".join(f".kernels td:nth-child({i})" for i, c in enumerate(_columns(1.0, "s", 1.0), 1) if not c.is_number)
    first_wide = next(i for i, c in enumerate(_columns(1.0, "s", 1.0), 1) if c.wide)
    return f"{words}{{text-align:left}}@media(max-width:720px){{.kernels td:nth-child(n+{first_wide}){{display:none}}}}"


def kernel_table(report: Report) -> Markup:
    """Kernels in launch order, a search field above. Each column is in one unit, so that it sorts by its digits."""
    scale, unit = time_unit(report.latency_s)
    columns = _columns(scale, unit, report.kernel_s or 1.0)
    order = np.sort(np.argsort(-report.timeline.span_s, kind="stable")[:MAX_ROWS]).tolist()
    head = [
        el("th", el("button", c.name, type="button"), scope="col", class_=_class(c), aria_sort="ascending" if i == 0 else None) for i, c in enumerate(columns)
    ]
    rows = [
        el("tr", (el("td", text := c.text(record), title=text if not c.is_number and len(text) > 24 else None) for c in columns), data_k=k)
        for k in order
        for record in (report.records[k],)
    ]
    table = el("table", el("thead", el("tr", head)), el("tbody", rows), class_="kernels")
    left_out = ""
    if len(order) < len(report.records):
        rest_s = report.kernel_s - sum(report.records[k].span_s for k in order)
        rest = f"{len(report.records) - len(order):,} others take {percent(rest_s / report.kernel_s)} of the kernels' time"
        left_out = f"The longest {len(order):,} of {len(report.records):,}; the {rest}."
    search = el("input", type="search", placeholder="search: conv DRAM layer3 …", aria_label="search kernels", autocomplete="off", spellcheck="false")
    return el(
        "div", el("div", search, el("output", f"{len(order):,} kernels"), class_="controls"), el("p", left_out, class_="note") if left_out else None,
        el("div", table, class_="scroll tall", tabindex="0", role="region", aria_label="kernels"), class_="finder",
    )  # fmt: skip


def _class(column: _Column) -> str | None:
    return " ".join(word for word, wanted in (("n", column.is_number), ("wide", column.wide)) if wanted) or None


def digits(value: float) -> str:
    """Three digits without exponent, so that text sorts as a number; a dash for nothing.

    >>> digits(1234.5), digits(12.345), digits(0.012345), digits(0.0000123), digits(0.0)
    ('1234', '12.3', '0.0123', '0.00001', '–')
    """
    if not value or not math.isfinite(value):
        return "–"
    places = min(5, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{places}f}"


# ---- kinds and modules


def kind_table(report: Report, count: int = 14) -> Markup:
    """Kernels by what a profiler would call them, with a bar for their share of the time."""
    groups = report.by_label()
    head = ("kernels by kind", "", "time", "share", "bound", "math", "DRAM", "of roofline")
    rows = [
        (
            el("td", el("i", class_=f"dot f-{g.family}"), g.name), el("td", f"×{g.count}", class_="n"), el("td", seconds(g.time_s), class_="n"),
            el("td", _bar(g.time_fraction / groups[0].time_fraction, f"f-{g.family}"), percent(g.time_fraction), class_="n"), el("td", g.bound),
            el("td", quantity(g.flop_per_s, "FLOP/s"), class_="n wide"), el("td", quantity(g.dram_bytes_per_s, "B/s"), class_="n wide"),
            el("td", percent(g.roofline_fraction), class_="n wide"),
        )
        for g in groups[:count]
    ]  # fmt: skip
    rest = groups[count:]
    note = f"{len(rest)} more kinds take {percent(sum(g.time_fraction for g in rest))} of the kernels' time." if rest else ""
    numeric = (None, "n", "n", "n", None, "n wide", "n wide", "n wide")
    header = el("thead", el("tr", [el("th", text, scope="col", class_=kind) for text, kind in zip(head, numeric, strict=True)]))
    table = el("table", header, el("tbody", [el("tr", cells) for cells in rows]), class_="kinds")
    return el("div", el("div", table, class_="scroll"), el("p", note, class_="note") if note else None)


def module_tree(report: Report) -> Markup:
    """Time by module path, modules that open into what they hold."""
    levels = [report.by_scope(depth) for depth in range(1, _DEPTH + 1)]
    largest = max((g.time_fraction for g in levels[0]), default=1.0) or 1.0
    return el("div", [_module(g, levels, 0, largest) for g in levels[0]], class_="modules")


def _module(group: GroupRecord, levels: Sequence[Sequence[GroupRecord]], depth: int, largest: float) -> Markup:
    own = group.name.rpartition(".")[2] if depth else group.name
    name = {"(no scope)": "outside modules"}.get(own, own)
    cells = (
        el("span", name, class_="path", title=group.name),
        el("span", _bar(group.time_fraction / largest, f"b-{BOUNDS[group.bound]}"), class_="track"),
        el("span", seconds(group.time_s), class_="n"),
        el("span", percent(group.time_fraction), class_="n"),
        el("span", group.bound, class_="wide"),
        el("span", f"{percent(group.roofline_fraction)} of roofline", class_="n wide"),
    )
    inside = [g for g in levels[depth + 1] if g.name.startswith(f"{group.name}.")] if depth + 1 < len(levels) else []
    if len(inside) < 2 and not (inside and depth == 0):
        return el("div", cells, class_="module")
    shown = [g for g in inside if g.time_fraction >= _TINY]
    rest_s, rest = sum(g.time_s for g in inside) - sum(g.time_s for g in shown), len(inside) - len(shown)
    more: list[Content] = [el("p", f"{rest} small ones take {seconds(rest_s)}", class_="note")] if rest else []
    opened = group.time_fraction > 0.6 and len(shown) <= _OPEN
    return el("details", el("summary", cells, class_="module"), [_module(g, levels, depth + 1, largest) for g in shown], more, open=opened)


def _bar(fraction: float, class_: str) -> Markup:
    return el("b", style=f"width:{100 * min(max(fraction, 0.0), 1.0):.1f}%", class_=f"bar {class_}")


# ---- runs side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metric:
    """A row of the comparison; `better` is min, max or None where more is not better."""

    name: str
    value: Callable[[Report], float]
    text: Callable[[float], str]
    better: Callable[[Sequence[float]], float] | None = None


def _quantity(unit: str) -> Callable[[float], str]:
    return lambda value: format_quantity(value, unit)


_METRICS = (
    _Metric(name="latency", value=lambda r: r.latency_s, text=seconds, better=min),
    _Metric(name="samples a second", value=lambda r: r.throughput_per_s, text=number, better=max),
    _Metric(name="parameters", value=lambda r: r.num_params, text=_quantity("")),
    _Metric(name="model's work", value=lambda r: r.flop, text=_quantity("FLOP")),
    _Metric(name="DRAM traffic", value=lambda r: r.dram_bytes, text=_quantity("B"), better=min),
    _Metric(name="FLOP per byte", value=lambda r: r.intensity_flop_per_byte, text=number),
    _Metric(name="speed", value=lambda r: r.flop_per_s, text=_quantity("FLOP/s"), better=max),
    _Metric(name="MFU", value=lambda r: r.utilization.mfu_fraction, text=percent, better=max),
    _Metric(name="GPU-Util", value=lambda r: r.utilization.gpu_util_fraction, text=percent),
    _Metric(name="SM active", value=lambda r: r.utilization.sm_active_fraction, text=percent),
    _Metric(name="kernels", value=lambda r: len(r.kernels), text=number),
    _Metric(name="energy a sample", value=lambda r: r.energy_j / r.batch, text=_quantity("J"), better=min),
    _Metric(name="memory at the peak", value=lambda r: r.memory.peak_bytes, text=_quantity("iB"), better=min),
)


def comparison_table(reports: Sequence[Report]) -> Markup:
    """A column for each run, the best of a row marked."""
    head = el("thead", el("tr", el("th"), [el("th", el("i", class_=f"dot s-{i % 8}"), str(i + 1), scope="col", class_="n") for i in range(len(reports))]))
    words: tuple[tuple[str, Callable[[Report], str]], ...] = (
        ("model", lambda r: r.model), ("GPU", lambda r: r.gpu.name), ("run", lambda r: r.setting), ("limited by", lambda r: r.bound),
    )  # fmt: skip
    rows = [el("tr", el("th", name, scope="row"), [el("td", said(r), class_="n") for r in reports]) for name, said in words]
    for metric in _METRICS:
        values = [metric.value(r) for r in reports]
        best = metric.better(values) if metric.better and len(set(values)) > 1 else None
        cells = [el("td", el("strong", metric.text(v)) if v == best else metric.text(v), class_="n") for v in values]
        rows.append(el("tr", el("th", metric.name, scope="row"), cells))
    return el("div", el("table", head, el("tbody", rows), class_="compare"), class_="scroll", tabindex="0", role="region", aria_label="runs side by side")


def module_comparison(reports: Sequence[Report], most: int = 40) -> Markup | None:
    """Time by module of all runs, where their networks share most of their modules."""
    groups = [{g.name: g for g in r.by_scope(1)} for r in reports]
    if all(len(g) <= 2 for g in groups):
        groups = [{g.name: g for g in r.by_scope(2)} for r in reports]
    names = list(dict.fromkeys(name for g in groups for name in g))
    shared = [name for name in names if all(name in g for g in groups)]
    if len(shared) < max(2, len(names) / 2) or len(names) > most:
        return None
    longest = max(g.time_s for of_run in groups for g in of_run.values())
    rows = []
    for name in names:
        said = "outside modules" if name == "(no scope)" else name
        cells = [el("td", _bar(g[name].time_s / longest, f"s-{i % 8}"), seconds(g[name].time_s), class_="n") if name in g else el("td", "–", class_="n")
                 for i, g in enumerate(groups)]  # fmt: skip
        rows.append(el("tr", el("th", said, scope="row"), cells))
    head = el("tr", el("th", "kernel time by module", scope="col"), [el("th", str(i + 1), scope="col", class_="n") for i in range(len(reports))])
    return el("div", el("table", el("thead", head), el("tbody", rows), class_="compare"), class_="scroll")
