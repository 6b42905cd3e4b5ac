"""Generations of GPUs one after another: how fast each runs a model, and what each gain came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from simgpu.plot.quantities import plain_ticks
from simgpu.plot.style import dress, headline, new_axes
from simgpu.report.palette import Theme
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.study import Rung

# cause → colour of the theme's series
_CAUSES = {"clock": 4, "SMs": 1, "L2": 5, "DRAM bandwidth": 0, "power": 7, "architecture": 6, "dtype": 3, "tensor cores": 2, "host": -1}
_TOLD = 1.04  # a factor nearer to 1 is not worth a colour


def plot_ladder(
    rungs: Sequence[Rung], *, title: str = "From generation to generation", subtitle: str = "", ax: Axes | None = None, theme: str | Theme = "light"
) -> Axes:
    """Draws the throughput of each GPU by ratio, and in the step up to it a piece for each cause, as high as its factor.

    What a generation lost (Kepler's lower clock) stands hatched beside the pieces, which start that much lower.

    Args:
        rungs: As `simgpu.studies.ladder.ladder` returns them, oldest first.
        subtitle: What was run.
    """
    assert rungs, "nothing to draw"
    ax = ax or new_axes(theme, width=max(8.0, 1.0 + 0.95 * len(rungs)), height=5.4)
    colours = dress(ax, theme, grid="y")
    speeds = [rung.throughput_per_s for rung in rungs]
    lowest = min(speeds)
    used: list[str] = []
    lost = False
    for column, rung in enumerate(rungs):
        ax.plot([column - 0.18, column + 0.18], [rung.throughput_per_s] * 2, color=colours.ceiling, linewidth=1.6, zorder=4)
        text = f"{format_quantity(rung.latency_s, 's')}\n{rung.dtype}"
        _write(ax, column, rung.throughput_per_s, text, colours, 7.5)
        if not column:
            continue
        reached = speeds[column - 1]
        gains = [(cause, factor) for cause, factor in rung.gains if factor >= _TOLD]
        losses = math.prod(factor for _, factor in rung.gains if factor <= 1 / _TOLD)
        if losses < 1:
            ax.bar(column - 0.7, reached * (1 - losses), bottom=reached * losses, width=0.1, color=colours.background, edgecolor=colours.muted, hatch="/////")
            lost = True
        at = reached * losses
        lowest = min(lowest, at)
        for cause, factor in gains:
            ax.bar(column - 0.5, at * (factor - 1), bottom=at, width=0.26, color=_color(cause, colours), zorder=3, edgecolor=colours.background, linewidth=0.5)
            at *= factor
            used.append(cause)
        ax.plot([column - 0.82, column - 0.32], [reached] * 2, color=colours.muted, linewidth=0.8, linestyle=(0, (2, 2)), zorder=2)
        _write(ax, column - 0.5, max(at, reached), f"×{rung.throughput_per_s / reached:.2g}", colours, 8)
    floor = lowest / 1.6
    ax.bar(range(len(rungs)), [speed - floor for speed in speeds], bottom=floor, width=0.36, color=colours.grid, zorder=2)
    ax.set_yscale("log")
    plain_ticks(ax, "y")
    ax.set_ylim(floor, max(speeds) * 2.6)
    ax.set_xlim(-0.6, len(rungs) - 0.4)
    ax.set_xticks(range(len(rungs)), [_label(rung) for rung in rungs], fontsize=7.5, color=colours.ink)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("throughput [samples/s]", fontsize=9.5)
    legend = [Rectangle((0, 0), 1, 1, color=_color(cause, colours), label=cause) for cause in _CAUSES if cause in used]
    if lost:
        legend.append(Rectangle((0, 0), 1, 1, facecolor=colours.background, edgecolor=colours.muted, hatch="/////", linewidth=0.5, label="lost"))
    headline(ax, title, subtitle, colours, legend=legend)
    return ax


def _write(ax: Axes, x: float, y: float, text: str, colours: Theme, size: float) -> None:
    ax.annotate(text, (x, y), xytext=(0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=size, color=colours.ink, zorder=5)


def _color(cause: str, colours: Theme) -> str:
    place = _CAUSES[cause]
    return colours.ceiling if place < 0 else colours.series[place]


def _label(rung: Rung) -> str:
    """A GPU's name in few short lines, and its year."""
    words = rung.gpu.replace("GeForce ", "").replace("Tesla ", "").replace("(Maxwell)", "").split()
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > 11:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join([*lines[:2], str(rung.year)])
