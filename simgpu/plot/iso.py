"""Iso-performance curves: what different designs have in common, and what one resource can stand in for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from simgpu.plot.contours import label_lines, round_levels
from simgpu.plot.quantities import log_if_wide, name_of, said, scaled
from simgpu.plot.style import DASHES, dress, headline, new_axes
from simgpu.report.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES, _LINES_OF_MANY = 7, 4  # levels of one table, and of several that share them


def plot_iso(
    x: tuple[str, NDArray[Any]],
    y: tuple[str, NDArray[Any]],
    column: str,
    grids: Mapping[str, NDArray[Any]],
    *,
    levels: Sequence[float] | None = None,
    subtitle: str = "",
    ax: Axes | None = None,
    theme: str | Theme = "light",
) -> Axes:
    """Draws the lines along which a column is the same over two fields, each labelled with its value.

    Args:
        x, y: Name of the column and its values, ascending. (nx,), (ny,)
        column: Name of what the grids hold.
        grids: A table's cells by what tells several tables apart ("" for one), each in a colour of its own. (ny, nx)
        levels: Values to draw lines of; round ones if None.
    """
    assert grids and all(min(grid.shape) > 1 for grid in grids.values()), "a line needs two values of each field"
    ax = ax or new_axes(theme)
    colours = dress(ax, theme)
    (across, xlabel), (up, ylabel) = scaled(*x), scaled(*y)
    log_if_wide(ax, "x", across)
    log_if_wide(ax, "y", up)
    ax.set_xlim(across[0], across[-1])
    ax.set_ylim(up[0], up[-1])
    wanted = np.sort(np.asarray(levels, dtype=float)) if levels else round_levels(list(grids.values()), _LINES_OF_MANY if len(grids) > 1 else _LINES)
    legend = []
    for i, (name, grid) in enumerate(grids.items()):
        color, dash = colours.series[i % len(colours.series)], DASHES[i % len(DASHES)]
        drawn = wanted[(wanted > grid.min()) & (wanted < grid.max())]
        if len(drawn):
            lines = ax.contour(across, up, grid, levels=drawn, colors=color, linewidths=1.4, linestyles=[dash], zorder=3)
            label_lines(ax, lines, lambda level: said(column, level), colours)
        if len(grids) > 1:
            legend.append(Line2D([], [], color=color, linestyle=dash, linewidth=1.6, label=name))
    ax.set_xlabel(xlabel, fontsize=9.5)
    ax.set_ylabel(ylabel, fontsize=9.5)
    title = f"Lines of equal {name_of(column)}, by {name_of(x[0])} and {name_of(y[0])}"
    headline(ax, title, subtitle, colours, legend=legend)
    return ax
