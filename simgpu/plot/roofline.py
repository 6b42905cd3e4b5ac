"""The roofline: how much work each kernel does for a byte of memory traffic, and how near it comes to the machine's limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter

from simgpu.plot.labels import Label, LabelLayer, Obstacle
from simgpu.plot.style import DASHES, MARKERS, dress, headline, new_axes
from simgpu.report.palette import FAMILY_NAMES, Theme
from simgpu.report.roofline import Ceiling, Point, roofline_ceilings, roofline_points, whole_model
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from simgpu.report.report import Report

_AREA_PER_LABEL = 2.8  # the longest kernels get their name on the chart, one for so much of the figure [square inch]
_LARGEST_POINTS = 13.0  # radius of a kernel that takes all the time [1/72 inch]
_SMALLEST_POINTS = 1.6
_NAMED_GPUS = 2  # the ceilings of more GPUs are named in the legend, where their names do not meet

_Line = tuple[Sequence[float], Sequence[float]]


def plot_roofline(reports: Report | Sequence[Report], *, ax: Axes | None = None, theme: str | Theme = "light", levels: bool = True) -> Axes:
    """Draws kernels as points under the ceilings of their GPU.

    One run: kernels coloured by family, the longest ones named, with the ceilings of DRAM, L2, shared memory and every
    pipe in use. Shared memory's is a line without points: no run knows how many bytes cross it (a GEMM's warps read an
    operand from there as often as the library's warp tiles say, and those are not published). Several runs: a colour for
    each GPU (or each model, on one GPU), a marker for each model, a large marker for the run as a whole. A point's area is
    its share of the kernels' time.

    Args:
        levels: A hollow marker shows the same kernel over its L2 traffic, to be read against the L2 ceiling.
    Source:
        Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009; hierarchical form: Yang, Kurth, Williams,
        "Hierarchical Roofline analysis for GPUs", Concurrency Computat. Pract. Exper. 32(20), 2020.
    """
    runs = tuple(reports) if isinstance(reports, Sequence) else (reports,)
    assert runs, "nothing to draw"
    ax = ax or new_axes(theme)
    colours = dress(ax, theme)
    unit, scale = ("TFLOP/s", 1e12) if max(r.gpu.peak_flop_per_s("fp32") for r in runs) >= 1e12 else ("GFLOP/s", 1e9)
    _frame(ax, runs, scale)
    ax.set_xlabel("arithmetic intensity [FLOP per byte of DRAM traffic]", fontsize=9.5)
    ax.set_ylabel(f"performance [{unit}]", fontsize=9.5)
    if len(runs) == 1:
        _draw_one(ax, runs[0], colours, scale, levels)
    else:
        _draw_several(ax, runs, colours, scale)
    return ax


def _frame(ax: Axes, runs: Sequence[Report], scale: float) -> None:
    """Logarithmic axes that hold every point worth seeing, the ridges and the highest ceilings."""
    points = [p for r in runs for p in roofline_points(r) if p.time_fraction > 0.002]
    ceilings = [c for r in runs for c in roofline_ceilings(r)]
    peak = max(c.value for c in ceilings if not c.is_memory)
    slowest = min(c.value for c in ceilings if c.name == "DRAM")
    x, y = [p.intensity_flop_per_byte for p in points], [p.rate_flop_per_s for p in points]
    inner = [p.l2_intensity_flop_per_byte for p in points if p.time_fraction > 0.02] if len(runs) == 1 else []
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(
        max(min([*x, *inner, peak / slowest / 30]) / 2, peak / slowest * 1e-4), max(min(max(x, default=0.0) * 3, peak / slowest * 100), peak / slowest * 3)
    )
    ax.set_ylim(max(min([*y, peak / 30]) / 2, peak * 1e-6) / scale, max([*y, peak]) * 2.2 / scale)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())


def _draw_machine(
    ax: Axes, ceilings: Sequence[Ceiling], color: str, colours: Theme, scale: float, *, points: Sequence[Point], gpu_name: str = "", named: bool = True
) -> tuple[list[Artist], list[_Line]]:
    """The ceilings of one GPU, their names clear of the points; the names, and the lines as points."""
    texts: list[Artist] = []
    lines: list[_Line] = []
    x0, x1 = ax.get_xlim()
    roof = max(c.value for c in ceilings if not c.is_memory) / scale
    for ceiling in ceilings:
        value = ceiling.value / scale
        weight = 1.6 if ceiling.used else 0.9
        dash = DASHES[0] if ceiling.used else DASHES[2]
        if ceiling.is_memory:
            end = roof / value
            x, y = [x0, end], [x0 * value, roof]
        else:
            # a pipe's ceiling starts where DRAM could feed it; the highest goes on, thin, to where the innermost memory could
            x, y = [max(x0, ceiling.value / ceilings[0].value), x1], [value, value]
            weight = weight if value == roof else 0.9
            if value == roof:
                ax.plot([roof * scale / max(c.value for c in ceilings if c.is_memory), x[0]], y, color=color, linewidth=0.9, linestyle=DASHES[2], zorder=2)
        ax.plot(x, y, color=color, linewidth=weight, linestyle=dash, zorder=2, solid_capstyle="round")
        lines.append((x, y))
        if named:
            texts.append(_name_line(ax, ceiling, x, value, color if gpu_name else colours.muted, colours, scale, gpu_name, points))
    return texts, lines


def _name_line(
    ax: Axes, ceiling: Ceiling, x: Sequence[float], value: float, color: str, colours: Theme, scale: float, gpu_name: str, points: Sequence[Point]
) -> Artist:
    """Writes a ceiling's name along its line, at whatever angle the line has on the page."""
    halo = [withStroke(linewidth=2.2, foreground=colours.background)]
    name = f"{gpu_name} {ceiling.name}".strip()
    if not ceiling.is_memory:
        text = f"{name} {format_quantity(ceiling.value, 'FLOP/s')}"
        return ax.annotate(
            text, (x[1], value), xytext=(-2, 1.5), textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=color, path_effects=halo, zorder=5
        )
    (x0, x1), (y0, _) = ax.get_xlim(), ax.get_ylim()
    start = max(x0, y0 / value)
    text = f"{name} {format_quantity(ceiling.value, 'B/s')}"
    share = _clear_place(ax, start, x[1], value, text, [(p.intensity_flop_per_byte, p.rate_flop_per_s / scale) for p in points])
    at = start * (x[1] / start) ** share * (x1 / x0) ** 0.012
    return ax.text(
        at, at * value, text,
        rotation=math.degrees(math.atan(value)), rotation_mode="anchor", transform_rotates_text=True, ha="left", va="bottom",
        fontsize=7.5, color=color, path_effects=halo, zorder=5,
    )  # fmt: skip


def _clear_place(ax: Axes, start: float, end: float, value: float, text: str, points: Sequence[tuple[float, float]]) -> float:
    """How far along a slope from start to end its name begins, as a share of it: where the fewest points lie under the name, low rather than high."""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    per_x, per_y = 72 * box.width * width / math.log(x1 / x0), 72 * box.height * height / math.log(y1 / y0)
    long = 4.4 * len(text)
    slope = math.hypot(per_x, per_y)
    length = math.log(end / start) * slope
    # along the slope and off it, in 1/72 inch from its start
    places = [
        ((u * per_x + v * per_y) / slope, (v * per_x - u * per_y) / slope)
        for u, v in ((math.log(x / start) * per_x, math.log(y / (start * value)) * per_y) for x, y in points if x > 0 and y > 0)
    ]
    shares = [share for share in (0.04, 0.16, 0.28, 0.4, 0.52, 0.64) if share * length + long < 0.97 * length] or [0.04]
    return min(shares, key=lambda share: sum(-9 < along - share * length < long + 9 and -12 < off < 18 for along, off in places))


def _within(ax: Axes, intensity: float) -> tuple[float, str]:
    """Where a kernel stands, and its marker: one whose data all but stays in L2 is an arrow at the right edge."""
    edge = ax.get_xlim()[1] / 1.35
    return (intensity, "o") if intensity <= edge else (edge, ">")


def _area(ax: Axes) -> float:
    """Size of the axes as they now stand. [square inch]"""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    return float(box.width * width * box.height * height)


def _radii(points: Sequence[Point], ax: Axes) -> list[float]:
    """Radii whose squares go with time, the longest point's as large as looks well. [1/72 inch]"""
    most = max((p.time_fraction for p in points), default=1.0)
    largest = min(_LARGEST_POINTS, 30 * math.sqrt(most)) * min(1.0, math.sqrt(_area(ax) / 20))
    return [max(_SMALLEST_POINTS, largest * math.sqrt(p.time_fraction / most)) for p in points]


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction >= 0.01 else "<1%"


def _draw_one(ax: Axes, report: Report, colours: Theme, scale: float, levels: bool) -> None:
    points, ceilings = roofline_points(report), roofline_ceilings(report)
    texts, lines = _draw_machine(ax, ceilings, colours.ceiling, colours, scale, points=points)
    (x0, x1), (y0, _) = ax.get_xlim(), ax.get_ylim()
    roof_x = np.geomspace(x0, x1, 200)
    roof = np.minimum(roof_x * ceilings[0].value, max(c.value for c in ceilings if not c.is_memory)) / scale
    ax.fill_between(roof_x, y0, roof, color=colours.grid, alpha=0.35, linewidth=0, zorder=0)
    named = max(3, int(_area(ax) / _AREA_PER_LABEL))
    labels: list[Label] = []
    obstacles: list[Obstacle] = []
    for rank, (point, radius) in enumerate(zip(points, _radii(points, ax), strict=True)):
        color, rate = colours.families[point.family], point.rate_flop_per_s / scale
        at, marker = _within(ax, point.intensity_flop_per_byte)
        at_l2 = point.l2_intensity_flop_per_byte
        if levels and rank < named and at_l2 < at:
            lines.append(([at_l2, at], [rate, rate]))
            ax.plot(*lines[-1], color=color, linewidth=0.6, alpha=0.6, zorder=2.5)
            ax.plot(at_l2, rate, "o", markersize=3.5, color=color, markerfacecolor=colours.background, markeredgewidth=0.8, zorder=2.6)
        ax.plot(
            at, rate, marker, markersize=2 * radius, color=color, alpha=0.8, markeredgecolor=colours.background, markeredgewidth=0.7, zorder=3 + 1e-3 * rank
        )
        obstacles.append(Obstacle(x=at, y=rate, radius_points=radius))
        if rank < named and point.time_fraction > 0.01:
            text = f"{point.name}  {point.time_fraction:.0%}"
            labels.append(Label(x=at, y=rate, radius_points=radius, text=text, color=color))
    layer = LabelLayer(ax, labels, obstacles=obstacles, lines=lines, theme=colours)
    layer.texts = texts
    families = [f for f in FAMILY_NAMES if any(p.family == f for p in points)]
    share = {f: sum(p.time_fraction for p in points if p.family == f) for f in families}
    small = _area(ax) < 12
    words = {f: FAMILY_NAMES[f] if small else f"{FAMILY_NAMES[f]}  {_percent(share[f])}" for f in sorted(families, key=lambda f: -share[f])}
    handles = [Line2D([], [], marker="o", linestyle="", markersize=6, color=colours.families[f], label=text) for f, text in words.items()]
    if levels and not small:
        handles.append(Line2D([], [], marker="o", linestyle="", markersize=4, color=colours.muted, markerfacecolor="none", label="per byte of L2 traffic"))
    total_s = float(report.times.duration_s.sum())
    missing = 1 - sum(share.values())
    parts = [report.setting, f"area = share of {format_quantity(total_s, 's')} of kernel time"]
    if missing > 0.005:
        parts.append(f"{missing:.0%} in kernels without arithmetic")
    headline(ax, f"{report.model} on {report.gpu.name}", " · ".join(parts), colours, legend=handles)


def _draw_several(ax: Axes, runs: Sequence[Report], colours: Theme, scale: float) -> None:
    gpus = list(dict.fromkeys(r.gpu.name for r in runs))
    models = list(dict.fromkeys(r.model for r in runs))
    by_gpu, crowded = len(gpus) > 1, len(gpus) > _NAMED_GPUS
    small = [point for run in runs for point in roofline_points(run) if point.time_fraction > 0.01]
    keys: list[Line2D] = []
    texts: list[Artist] = []
    lines: list[_Line] = []
    for i, name in enumerate(gpus):
        of_gpu = [r for r in runs if r.gpu.name == name]
        every = {c.name: c for r in of_gpu for c in roofline_ceilings(r)}
        pipes = [c for c in every.values() if not c.is_memory]
        best = max(pipes, key=lambda c: (c.used, c.value))
        color = colours.series[i % len(colours.series)] if by_gpu else colours.ceiling
        more_texts, more_lines = _draw_machine(
            ax, [every["DRAM"], best], color, colours, scale, points=small, gpu_name=name if by_gpu else "", named=not crowded
        )
        if crowded:
            peaks = f"{format_quantity(best.value, 'FLOP/s')}, {format_quantity(every['DRAM'].value, 'B/s')}"
            keys.append(Line2D([], [], color=color, linewidth=2, label=f"{name}: {peaks}"))
        texts += more_texts
        lines += more_lines
    labels: list[Label] = []
    obstacles: list[Obstacle] = []
    for run in runs:
        color = colours.series[(gpus.index(run.gpu.name) if by_gpu else models.index(run.model)) % len(colours.series)]
        marker = MARKERS[models.index(run.model) % len(MARKERS)]
        points = roofline_points(run)
        for point, radius in zip(points, _radii(points, ax), strict=True):
            at, rate = _within(ax, point.intensity_flop_per_byte)[0], point.rate_flop_per_s / scale
            ax.plot(at, rate, marker, markersize=1.1 * radius, color=color, alpha=0.28, markeredgewidth=0, zorder=3)
            obstacles.append(Obstacle(x=at, y=rate, radius_points=0.4 * radius))
        whole = whole_model(run)
        x, y = whole.intensity_flop_per_byte, whole.rate_flop_per_s / scale
        ax.plot(x, y, marker, markersize=11, color=color, markeredgecolor=colours.background, markeredgewidth=1.4, zorder=5)
        obstacles.append(Obstacle(x=x, y=y, radius_points=6))
        what = [run.model] if len(models) > 1 or not by_gpu else []
        what += [run.gpu.name] if by_gpu else []
        labels.append(Label(x=x, y=y, radius_points=6, text=" · ".join((*what, format_quantity(run.latency_s, "s"))), color=color))
    layer = LabelLayer(ax, labels, obstacles=obstacles, lines=lines, theme=colours, fontsize=8)
    layer.texts = texts
    tints = [colours.ink if by_gpu else colours.series[i % len(colours.series)] for i in range(len(models))]
    if len(models) > 1 or not by_gpu:
        keys += [Line2D([], [], marker=MARKERS[i % len(MARKERS)], linestyle="", markersize=7, color=tints[i], label=m) for i, m in enumerate(models)]
    title = f"{' and '.join(models) if len(models) < 3 else f'{len(models)} models'} on {' and '.join(gpus) if len(gpus) < 3 else f'{len(gpus)} GPUs'}"
    settings = list(dict.fromkeys(r.setting for r in runs))
    headline(ax, title, " · ".join((*settings[:1], "large: the run as a whole, small: its kernels, by time")), colours, legend=keys)
