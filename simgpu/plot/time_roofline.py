"""The roofline over a run's time: how long it spends at which arithmetic intensity, and how far below its roof."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter

from simgpu.plot.style import dress, headline, ink_on, new_axes
from simgpu.report.over_time import time_unit
from simgpu.report.palette import FAMILY_NAMES, Theme
from simgpu.report.roofline import Point, roofline_points
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.report import Report

_BELOW = 3.0  # the axis starts so many times below the slowest kernel, so that its bar has a height
_LETTER_POINTS, _LINE_POINTS = 4.3, 10.0  # width of a letter of the names, height of a line of them
_EDGES = 120  # more bars than this have no line between them


def plot_time_roofline(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light") -> Axes:
    """Draws each kernel as a bar as wide as its time and as high as its FLOP/s, under what the roofline allows it.

    The kernels stand in the order of what they are allowed: where the line rises DRAM limits them, where it is flat a pipe
    does. Behind them come kernels without arithmetic, and then the time in which no kernel runs.

    Source:
        After Wang, Yang, Farrell, Kurth, Williams, "Time-Based Roofline for Deep Learning Performance Analysis",
        arXiv:2009.04598, which weighs kernels by run time; the layout is our own.
    """
    points = sorted(roofline_points(report), key=lambda p: (p.roof_flop_per_s, p.intensity_flop_per_byte))
    ax = ax or new_axes(theme)
    colours = dress(ax, theme, grid="y")
    scale, unit = time_unit(report.latency_s)
    rate_unit, rate_scale = ("TFLOP/s", 1e12) if report.gpu.peak_flop_per_s("fp32") >= 1e12 else ("GFLOP/s", 1e9)
    rates = [p.rate_flop_per_s / rate_scale for p in points]
    roofs = [p.roof_flop_per_s / rate_scale for p in points]
    top = max([*roofs, report.peak_flop_per_s / rate_scale])
    low = max(min([*rates, top / 20]) / _BELOW, top * 1e-6)
    ax.set_yscale("log")
    ax.set_ylim(low, 2.2 * top)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(0, report.latency_s / scale)

    # Streams overlap kernels: their times then add up to more than the busy time, and are drawn as their share of it.
    squeeze = report.device_s / float(report.times.duration_s.sum())
    edges = [0.0]
    for point, rate in zip(points, rates, strict=True):
        width = point.time_s * squeeze / scale
        edge = colours.background if len(points) <= _EDGES else "none"
        ax.bar(
            edges[-1], rate - low, bottom=low, width=width, align="edge", color=colours.families[point.family], edgecolor=edge, linewidth=0.4, zorder=3
        )  # fmt: skip
        edges.append(edges[-1] + width)
    if points:
        ax.stairs(roofs, edges, baseline=None, color=colours.ceiling, linewidth=1.5, zorder=4)
    _name(ax, points, rates, roofs, edges, colours)
    busy = report.device_s / scale
    for start, end, text, face in ((edges[-1], busy, "no arithmetic", colours.grid), (busy, report.latency_s / scale, "no kernel runs", "none")):
        wide = _points(ax, end - start)
        if wide > 1:
            hatch = "" if face != "none" else "////"
            ax.add_patch(Rectangle((start, low), end - start, 2.2 * top - low, facecolor=face, edgecolor=colours.grid, hatch=hatch, linewidth=0.0, zorder=1))
        if wide > _LINE_POINTS:
            _write(ax, (start + end) / 2, (low * 2.2 * top) ** 0.5, text, colours.ink, colours, upright=wide < _LETTER_POINTS * len(text) + 8)
    ax.set_xlabel(f"time [{unit}], kernels by what the roofline allows them", fontsize=9.5)
    ax.set_ylabel(f"performance [{rate_unit}]", fontsize=9.5)
    families = [f for f in FAMILY_NAMES if any(p.family == f for p in points)]
    handles = [Rectangle((0, 0), 1, 1, color=colours.families[f], label=FAMILY_NAMES[f]) for f in families]
    handles.append(Rectangle((0, 0), 1, 0.1, facecolor=colours.ceiling, edgecolor=colours.ceiling, label="what the roofline allows"))
    fastest_s = sum(p.time_s * p.rate_flop_per_s / p.roof_flop_per_s for p in points)
    reached = fastest_s / sum(p.time_s for p in points) if points else 0.0
    said = f"{report.setting} · {format_quantity(report.latency_s, 's')} · kernels with arithmetic reach {reached:.0%} of their roofline"
    headline(ax, f"{report.model} on {report.gpu.name}, over its time", said, colours, legend=handles)
    return ax


def _points(ax: Axes, size: float, axis: str = "x") -> float:
    """A width on the time axis, or a ratio on the other one, in 1/72 inch as the axes now stand."""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    if axis == "x":
        low, high = ax.get_xlim()
        return 72 * float(box.width * width) * size / (high - low)
    low, high = ax.get_ylim()
    return 72 * float(box.height * height) * math.log(size) / math.log(high / low)


def _name(ax: Axes, points: Sequence[Point], rates: Sequence[float], roofs: Sequence[float], edges: Sequence[float], colours: Theme) -> None:
    """Writes the name of a kernel and how far it comes in its bar or above its roof: along it or upright, where it fits."""
    low, high = ax.get_ylim()
    for i, (point, rate, roof) in enumerate(zip(points, rates, roofs, strict=True)):
        text = f"{point.name}  {point.rate_flop_per_s / point.roof_flop_per_s:.0%}"
        long, wide = _LETTER_POINTS * len(text) + 8, _points(ax, edges[i + 1] - edges[i])
        if wide < _LINE_POINTS:
            continue
        upright = wide < long
        needed = long if upright else _LINE_POINTS
        middle = (edges[i] + edges[i + 1]) / 2
        if _points(ax, rate / low, "y") > needed:
            _write(ax, middle, low * 1.15, text, ink_on(colours.families[point.family]), colours, upright=upright, at="bottom")
        elif _points(ax, high / max(roof, rate), "y") > needed:
            _write(ax, middle, max(roof, rate) * 1.2, text, colours.ink, colours, upright=upright, at="bottom")


def _write(ax: Axes, x: float, y: float, text: str, ink: str, colours: Theme, *, upright: bool, at: str = "center") -> None:
    halo = [withStroke(linewidth=2.0, foreground=colours.background)] if ink == colours.ink else []
    ax.text(x, y, text, rotation=90 if upright else 0, ha="center", va=at, fontsize=7, color=ink, zorder=6, path_effects=halo)
