"""Predicted over measured times: how near the points lie to the diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simgpu.plot.style import MARKERS, dress, headline, new_axes
from simgpu.report.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

BAND = 0.2  # the grey band: predictions off by at most this share of the measured time


def plot_validation(
    points: Mapping[str, tuple[Floats, Floats]], title: str, subtitle: str = "", *, ax: Axes | None = None, theme: str | Theme = "light"
) -> Axes:
    """Draws predicted over measured times on logarithmic axes, with a band of ±20 %.

    Args:
        points: For each GPU, or whatever tells the points apart, measured and predicted times. [s] (N,) each
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    if ax is None:
        ax = new_axes(theme, width=5.6, height=5.6)
    colours = dress(ax, theme)
    every = np.concatenate([np.concatenate(pair) for pair in points.values()])
    low, high = float(every.min()) / 1.6, float(every.max()) * 1.6
    line = np.array([low, high])
    ax.fill_between(line, line * (1 - BAND), line * (1 + BAND), color=colours.grid, linewidth=0, zorder=1)
    ax.plot(line, line, color=colours.muted, linewidth=0.8, zorder=2)
    handles = []
    # The largest group is drawn first, so that it hides nothing.
    for i, (name, (measured_s, predicted_s)) in enumerate(sorted(points.items(), key=lambda item: (-len(item[1][0]), item[0]))):
        color, marker = colours.series[i % len(colours.series)], MARKERS[i % len(MARKERS)]
        ax.plot(measured_s, predicted_s, marker, color=color, markersize=3, markeredgewidth=0, alpha=0.55, zorder=3, rasterized=len(measured_s) > 2000)
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="", markersize=5, markeredgewidth=0, label=f"{name} ({len(measured_s)})"))
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), xlabel="measured time", ylabel="predicted time", aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(EngFormatter(unit="s"))
    headline(ax, title, subtitle, theme, legend=handles)
    return ax
