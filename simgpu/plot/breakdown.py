"""Where the time goes: by layer, and from the datasheet's peak down to what a run really takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from simgpu.plot.style import dress, headline, new_axes, type_scale
from simgpu.report.layers import ROWS, layer_rows
from simgpu.report.over_time import time_unit
from simgpu.report.palette import FAMILY_NAMES, Theme
from simgpu.report.text import shorten_path
from simgpu.report.waterfall import why_not_at_peak
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.report import Report


def plot_waterfall(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light") -> Axes:
    """Draws why a run does not take the time that the datasheet's peak promises: one bar for each reason, ending at the latency."""
    ax = ax or new_axes(theme, height=4.2)
    colours = dress(ax, theme, grid="x")
    steps = [s for i, s in enumerate(why_not_at_peak(report)) if i == 0 or abs(s.time_s) >= 0.002 * report.latency_s]
    scale, unit = time_unit(report.latency_s)
    reached = furthest = 0.0
    for row, step in enumerate(steps):
        color = colours.muted if row == 0 else colours.series[2] if step.time_s < 0 else colours.series[1]
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
    legend = [
        Rectangle((0, 0), 1, 1, color=color, label=label)
        for color, label in ((colours.series[1], "takes longer"), (colours.series[2], "saves time"))
        if label == "takes longer" or any(step.time_s < 0 for step in steps)
    ]
    said = f"{report.setting} · {_share(steps[0].time_s / report.latency_s)} of the peak"
    headline(ax, f"{report.model} on {report.gpu.name}: why not at the peak", said, colours, legend=legend)
    return ax


def _share(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction >= 0.01 else f"{100 * fraction:.1g}%"


def _signed(seconds: float) -> str:
    return f"{'+' if seconds >= 0 else '−'} {format_quantity(abs(seconds), 's')}"


def _value(ax: Axes, x: float, row: float, text: str, colours: Theme) -> None:
    ax.annotate(text, (x, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color=colours.ink, zorder=4)


def plot_layers(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light", depth: int | None = None) -> Axes:
    """Draws the time of each layer as a bar, divided by family of kernels, in the order of the network.

    Where the layers that fit on the picture would leave half the time in one bar, blocks that repeat are drawn once:
    "layers.*.mlp ×32" is that module of all 32 blocks together.

    Args:
        depth: Parts of the module path that make a layer; as many as leave the bars readable if None.
    """
    rows = layer_rows(report, depth)
    total_s = sum(sum(parts.values()) for _, parts in rows) or 1.0
    if len(rows) > 2 * ROWS:  # a flat network: the longest layers only
        rows = sorted(rows, key=lambda row: -sum(row[1].values()))[:ROWS]
    ax = ax or new_axes(theme, height=1.7 + 0.22 * len(rows))
    colours = dress(ax, theme, grid="x")
    longest_s = max(sum(parts.values()) for _, parts in rows)
    scale, unit = time_unit(longest_s)
    families = [f for f in FAMILY_NAMES if any(f in parts for _, parts in rows)]
    for row, (_, parts) in enumerate(rows):
        left = 0.0
        for family in (f for f in families if f in parts):
            ax.barh(row, parts[family] / scale, left=left, height=0.72, color=colours.families[family], zorder=3)
            left += parts[family] / scale
        fraction = sum(parts.values()) / total_s
        _value(ax, left, row, f"{fraction:.0%}" if fraction >= 0.005 else "<1%", colours)
    most = int(0.45 * 72 * float(ax.get_figure(root=True).get_size_inches()[0]) / (8 * 0.55 * type_scale(ax)))  # type: ignore[union-attr]
    ax.set_yticks(range(len(rows)), [shorten_path(name, most) for name, _ in rows], fontsize=8, color=colours.ink)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1.1 * longest_s / scale)
    ax.set_xlabel(f"time [{unit}]", fontsize=9.5)
    patches = [Rectangle((0, 0), 1, 1, color=colours.families[f], label=FAMILY_NAMES[f]) for f in families]
    title, subtitle = f"{report.model} on {report.gpu.name}, layer by layer", f"{report.setting} · {format_quantity(report.kernel_s, 's')} of kernel time"
    headline(ax, title, subtitle, colours, legend=patches)
    return ax
