"""A column of a study along one of its fields: a line for each value of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from simgpu.plot.quantities import log_if_wide, name_of, said, scaled
from simgpu.plot.style import DASHES, MARKERS, dress, headline, new_axes
from simgpu.report.palette import BOUNDS, Theme

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_SERIES = 8


def plot_sweep(
    columns: Mapping[str, NDArray[Any]],
    x: str,
    y: str = "latency_s",
    *,
    series: str = "",
    subtitle: str = "",
    ax: Axes | None = None,
    theme: str | Theme = "light",
) -> Axes:
    """Draws a column of a table along another one.

    Without series the points have the colour of what binds each design.

    Args:
        columns: A table's, by name.
        series: A column; each of its values is a line of its own (the first eight).
    """
    ax = ax or new_axes(theme)
    colours = dress(ax, theme)
    across, xlabel = scaled(x, columns[x])
    up, ylabel = scaled(y, columns[y])
    log_if_wide(ax, "x", across)
    log_if_wide(ax, "y", up)
    values = list(dict.fromkeys(columns[series].tolist()))[:_SERIES] if series else [None]
    legend: list[Artist] = []
    for i, value in enumerate(values):
        here = np.flatnonzero(columns[series] == value) if series else np.arange(len(across))
        here = here[np.argsort(across[here], kind="stable")]
        color = colours.series[i % len(colours.series)] if series else colours.muted
        dash = DASHES[i // len(colours.series) % len(DASHES)]
        marker = MARKERS[i % len(MARKERS)] if series and len(here) <= 40 else ""
        style: dict[str, Any] = {"color": color, "linestyle": dash, "marker": marker, "markersize": 4, "linewidth": 1.6}
        ax.plot(across[here], up[here], zorder=3, **style)
        if series:
            legend.append(Line2D([], [], label=said(series, value) if isinstance(value, str) else f"{name_of(series)} {said(series, value)}", **style))
    if not series:
        bounds = columns["bound"]
        for name in (name for name in BOUNDS if (bounds == name).any()):
            here = bounds == name
            color = colours.series[BOUNDS[name]]
            few = len(across) <= 80
            ax.scatter(across[here], up[here], s=28 if few else 9, color=color, zorder=4, edgecolors=colours.background, linewidths=0.6 if few else 0.0)
            legend.append(Line2D([], [], marker="o", linestyle="", markersize=5, color=color, label=f"bound by {name}"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0.0)
    headline(ax, f"{name_of(y)[:1].upper()}{name_of(y)[1:]} by {name_of(x)}", subtitle, colours, legend=legend)
    return ax
