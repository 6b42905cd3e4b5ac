"""Several runs side by side: how long each takes, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from simgpu.plot.style import dress, headline, new_axes, type_scale, wrap
from simgpu.report.over_time import time_unit
from simgpu.report.palette import BOUNDS, Theme
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.report import Report


def plot_comparison(reports: Sequence[Report], *, ax: Axes | None = None, theme: str | Theme = "light") -> Axes:
    """Draws a bar for each run, as long as its latency and divided by what the run waits for."""
    assert reports, "nothing to draw"
    ax = ax or new_axes(theme, height=1.8 + 0.34 * len(reports))
    colours = dress(ax, theme, grid="x")
    longest_s = max(r.latency_s for r in reports)
    scale, unit = time_unit(longest_s)
    for row, report in enumerate(reports):
        left = 0.0
        for bound in (b for b in BOUNDS if b in report.bound_fractions):
            width = report.bound_fractions[bound] * report.latency_s / scale
            ax.barh(row, width, left=left, height=0.66, color=colours.series[BOUNDS[bound]], zorder=3)
            left += width
        text = f"{format_quantity(report.latency_s, 's')} · {report.throughput_per_s:,.{0 if report.throughput_per_s >= 100 else 1}f}/s"
        ax.annotate(text, (report.latency_s / scale, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color=colours.ink)
    narrow = 0.36 * 72 * float(ax.get_figure(root=True).get_size_inches()[0])  # type: ignore[union-attr]
    names = [wrap(name, int(narrow / (8.5 * 0.55 * type_scale(ax)))) for name in _names(reports)]
    ax.set_yticks(range(len(reports)), names, fontsize=8.5, color=colours.ink)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(reports) - 0.4, -0.6)
    ax.set_xlim(0, 1.28 * longest_s / scale)
    ax.set_xlabel(f"latency [{unit}]", fontsize=9.5)
    used = [b for b in BOUNDS if any(b in r.bound_fractions for r in reports)]
    patches = [Rectangle((0, 0), 1, 1, color=colours.series[BOUNDS[b]], label=b) for b in used]
    settings = list(dict.fromkeys(r.setting for r in reports))
    headline(ax, "Latency, and what it waits for", settings[0] if len(settings) == 1 else "", colours, legend=patches)
    return ax


def _names(reports: Sequence[Report]) -> list[str]:
    """What tells the runs apart: the model, the GPU, the setting, as far as they differ."""
    columns = [[r.model for r in reports], [r.gpu.name for r in reports], [r.setting for r in reports]]
    telling = [c for c in columns if len(set(c)) > 1] or columns[:1]
    return [" · ".join(parts) for parts in zip(*telling, strict=True)]
