"""Designs by two of their columns, and those that no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from simgpu.plot.labels import Label, LabelLayer, Obstacle
from simgpu.plot.quantities import log_if_wide, name_of, scaled
from simgpu.plot.style import dress, headline, new_axes
from simgpu.report.palette import BOUNDS, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = 6
_CELLS = 40  # of so many cells across and up each that holds designs counts as one for the labels


def plot_pareto(
    x: tuple[str, NDArray[Any]],
    y: tuple[str, NDArray[Any]],
    bounds: NDArray[Any],
    front: NDArray[np.int64],
    names: Sequence[str] = (),
    *,
    subtitle: str = "",
    ax: Axes | None = None,
    theme: str | Theme = "light",
) -> Axes:
    """Draws a dot for each design in the colour of what binds it, and the front as a line.

    Args:
        x, y: Name of the column and its values. (designs,)
        bounds: What binds each design. (designs,)
        front: The designs that no other one beats in both, along x.
        names: What to call each design of the front; a few of them are written.
    """
    ax = ax or new_axes(theme)
    colours = dress(ax, theme)
    (across, xlabel), (up, ylabel) = scaled(*x), scaled(*y)
    log_if_wide(ax, "x", across)
    log_if_wide(ax, "y", up)
    used = [name for name in BOUNDS if (bounds == name).any()]
    many = len(across) > 400
    for name in used:
        here = bounds == name
        ax.scatter(across[here], up[here], s=6 if many else 14, color=colours.series[BOUNDS[name]], alpha=0.35, linewidths=0, zorder=2, rasterized=many)
    ax.plot(across[front], up[front], color=colours.ink, linewidth=1.2, zorder=3)
    for name in used:
        here = front[bounds[front] == name]
        ax.scatter(across[here], up[here], s=34, color=colours.series[BOUNDS[name]], edgecolors=colours.background, linewidths=0.8, zorder=4)
    if names:
        told = np.unique(np.linspace(0, len(front) - 1, min(_LABELS, len(front))).round().astype(int)).tolist()
        labels = [Label(x=across[front[i]], y=up[front[i]], radius_points=3.5, text=names[i], color=colours.ink) for i in told]
        obstacles = [Obstacle(x=across[i], y=up[i], radius_points=3.5) for i in front.tolist()]
        obstacles += [Obstacle(x=across[i], y=up[i], radius_points=2.0) for i in _thinned(across, up)]
        LabelLayer(ax, labels, obstacles=obstacles, lines=[(across[front], up[front])] if len(front) > 1 else [], theme=colours)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(0.06)
    legend = [Line2D([], [], marker="o", linestyle="", markersize=5, color=colours.series[BOUNDS[name]], label=name) for name in used]
    legend.append(Line2D([], [], color=colours.ink, linewidth=1.2, label="no other design beats it in both"))
    count = f"{len(front)} of {len(across):,} designs are on the front"
    headline(
        ax, f"{name_of(y[0])[:1].upper()}{name_of(y[0])[1:]} against {name_of(x[0])}", f"{subtitle} · {count}" if subtitle else count, colours, legend=legend
    )
    return ax


def _thinned(across: NDArray[np.float64], up: NDArray[np.float64]) -> list[int]:
    """One design of each cell of a grid over the picture."""
    cells = [((v - v.min()) / (float(np.ptp(v)) or 1.0) * _CELLS).astype(int) for v in (across, up)]
    return [int(i) for i in np.unique(cells[0] * (_CELLS + 1) + cells[1], return_index=True)[1]]
