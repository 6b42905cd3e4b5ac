"""Where the time goes: by layer, and from the datasheet's peak down to what a run really takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle

from simgpu.plot.style import dress, headline, new_axes
from simgpu.report.over_time import time_unit
from simgpu.report.palette import FAMILY_NAMES, Theme
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.report import Report

_ROWS = 24  # more layers than this are drawn one level of the module path higher


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A reason why a run takes longer (or shorter) than the step before. [s]"""

    name: str
    time_s: float


def why_not_at_peak(report: Report) -> tuple[Step, ...]:
    """From the time at the datasheet's peak to the latency: steps that add up to it.

    Math at the peak of each kernel's pipe; the work that padding adds and Winograd saves; what pipes lose to waves, occupancy,
    issue and a lower clock; the time memory needs beyond the math, by the level that binds; fill and fixed costs; time in
    which no kernel runs, less what streams overlap.
    """
    times, gpu = report.times, report.gpu
    fallback = gpu.peak_flop_per_s("fp32", "vector")
    kernels = report.kernels.kernels
    peak = np.array([(gpu.peak_flop_per_s(k.dtype, k.pipe) if k.pipe in {"tensor", "vector"} else 0.0) or fallback for k in kernels])
    at_peak, executed = np.array([k.flop for k in kernels]) / peak, times.executed_flop / peak
    levels = np.stack([times.math_s, times.shared_s, times.l2_s, times.dram_s])
    longest, level = levels.max(axis=0), levels.argmax(axis=0)
    beyond = longest - times.math_s
    steps = [
        ("math at the datasheet peak", at_peak.sum()),
        ("padding, less what fast algorithms save", (executed - at_peak).sum()),
        ("waves, occupancy, issue, clock", (times.math_s - executed).sum()),
        ("shared memory", beyond[level == 1].sum()),
        ("L2", beyond[level == 2].sum()),
        ("DRAM", beyond[level == 3].sum()),
        ("latency within kernels", (times.duration_s - longest).sum()),
        ("waiting for launches", report.latency_s - times.duration_s.sum()),
    ]
    return tuple(Step(name=name, time_s=float(seconds)) for name, seconds in steps)


def plot_waterfall(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light") -> Axes:
    """Draws why a run does not take the time that the datasheet's peak promises: one bar for each reason, ending at the latency."""
    ax = ax or new_axes(theme, height=3.6)
    colours = dress(ax, theme, grid="x")
    steps = [s for s in why_not_at_peak(report) if abs(s.time_s) >= 0.002 * report.latency_s]
    scale, unit = time_unit(report.latency_s)
    reached = furthest = 0.0
    for row, step in enumerate(steps):
        color = colours.series[2] if row == 0 or step.time_s < 0 else colours.series[1]
        left, width = min(reached, reached + step.time_s) / scale, abs(step.time_s) / scale
        ax.barh(row, width, left=left, height=0.62, color=color, zorder=3)
        reached += step.time_s
        furthest = max(furthest, reached)
        ax.plot([reached / scale] * 2, [row + 0.31, row + 1 - 0.31], color=colours.muted, linewidth=0.8, zorder=2)
        _value(ax, left + width, row, f"{format_quantity(step.time_s, 's') if row == 0 else _signed(step.time_s)}", colours)
    ax.barh(len(steps), report.latency_s / scale, height=0.62, color=colours.ceiling, zorder=3)
    _value(ax, report.latency_s / scale, len(steps), format_quantity(report.latency_s, "s"), colours)
    ax.set_yticks(range(len(steps) + 1), [*(s.name for s in steps), "latency"], fontsize=8.5, color=colours.ink)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0, 1.16 * max(report.latency_s, furthest) / scale)
    ax.set_ylim(len(steps) + 0.6, -0.6)
    ax.set_xlabel(f"time [{unit}]", fontsize=9.5)
    headline(
        ax, f"{report.model} on {report.gpu.name}: why not at the peak", f"{report.setting} · {steps[0].time_s / report.latency_s:.0%} of the peak", colours
    )
    return ax


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else '−'} {format_quantity(abs(seconds), 's')}"


def _value(ax: Axes, x: float, row: float, text: str, colours: Theme) -> None:
    ax.annotate(text, (x, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color=colours.ink, zorder=4)


def layer_depth(report: Report, rows: int = _ROWS) -> int:
    """How many parts of the module path to tell layers apart by, so that at most so many rows come out."""
    depths = range(1, 1 + max((k.scope.count(".") + 1 for k in report.kernels.kernels), default=1))
    return max((d for d in depths if len(report.by_scope(d)) <= rows), default=1)


def plot_layers(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light", depth: int | None = None) -> Axes:
    """Draws the time of each layer as a bar, divided by family of kernels, in the order of the network.

    Args:
        depth: Parts of the module path that make a layer; as many as leave the bars readable if None.
    """
    depth = depth or layer_depth(report)
    groups = report.by_scope(depth)
    if len(groups) > 2 * _ROWS:  # a flat network: the longest layers only
        groups = tuple(sorted(groups, key=lambda g: -g.time_s)[:_ROWS])
    ax = ax or new_axes(theme, height=1.7 + 0.22 * len(groups))
    colours = dress(ax, theme, grid="x")
    scale, unit = time_unit(max(g.time_s for g in groups))
    seconds: dict[tuple[str, str], float] = {}
    span_s = report.timeline.end_s - report.timeline.start_s
    for kernel, time_s in zip(report.kernels.kernels, span_s.tolist(), strict=True):
        layer = ".".join(kernel.scope.split(".")[:depth]) or "(no scope)"
        seconds[layer, kernel.family] = seconds.get((layer, kernel.family), 0.0) + time_s
    families = [f for f in FAMILY_NAMES if any(f == family for _, family in seconds)]
    for row, group in enumerate(groups):
        left = 0.0
        for family in families:
            width = seconds.get((group.name, family), 0.0) / scale
            ax.barh(row, width, left=left, height=0.72, color=colours.families[family], zorder=3)
            left += width
        _value(ax, left, row, f"{group.time_fraction:.0%}" if group.time_fraction >= 0.005 else "<1%", colours)
    ax.set_yticks(range(len(groups)), [g.name for g in groups], fontsize=8, color=colours.ink)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(groups) - 0.4, -0.6)
    ax.set_xlim(0, 1.1 * max(g.time_s for g in groups) / scale)
    ax.set_xlabel(f"time [{unit}]", fontsize=9.5)
    patches = [Rectangle((0, 0), 1, 1, color=colours.families[f], label=FAMILY_NAMES[f]) for f in families]
    title, subtitle = f"{report.model} on {report.gpu.name}, layer by layer", f"{report.setting} · {format_quantity(report.kernel_s, 's')} of kernel time"
    headline(ax, title, subtitle, colours, legend=patches)
    return ax
