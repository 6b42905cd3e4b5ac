"""Two fields of a GPU against each other: which resource binds where, and the lines of equal latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from simgpu.plot.contours import label_lines, round_levels
from simgpu.plot.quantities import log_if_wide, name_of, said, scaled
from simgpu.plot.style import dress, headline, new_axes
from simgpu.report.palette import BOUNDS, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = 6  # contours of equal latency


def plot_bottlenecks(
    x: tuple[str, NDArray[Any]],
    y: tuple[str, NDArray[Any]],
    bounds: NDArray[Any],
    latency_s: NDArray[Any],
    *,
    subtitle: str = "",
    ax: Axes | None = None,
    theme: str | Theme = "light",
) -> Axes:
    """Draws a cell for each design in the colour of what binds it, and lines of equal latency over them.

    Args:
        x, y: Name of the column and its values, ascending. (nx,), (ny,)
        bounds: What binds each design. (ny, nx)
        latency_s: [s] (ny, nx)
    """
    ax = ax or new_axes(theme)
    colours = dress(ax, theme, grid="none")
    used = [name for name in BOUNDS if (bounds == name).any()]
    codes = np.vectorize(used.index)(bounds)
    palette = ListedColormap([_soft(colours.series[BOUNDS[name]], colours) for name in used])
    _cells(ax, x, y, codes, cmap=palette, vmin=-0.5, vmax=len(used) - 0.5)
    _contours(ax, x, y, latency_s, colours)
    legend = [Rectangle((0, 0), 1, 1, color=palette(i), label=name) for i, name in enumerate(used)]
    headline(ax, f"What limits the run, by {name_of(x[0])} and {name_of(y[0])}", _with(subtitle, "lines of equal latency"), colours, legend=legend)
    return ax


def plot_heatmap(
    x: tuple[str, NDArray[Any]],
    y: tuple[str, NDArray[Any]],
    value: tuple[str, NDArray[Any]],
    *,
    subtitle: str = "",
    ax: Axes | None = None,
    theme: str | Theme = "light",
) -> Axes:
    """Draws a cell for each design, the darker the larger a column is there.

    Args:
        x, y: Name of the column and its values, ascending. (nx,), (ny,)
        value: Name of the column and its values. (ny, nx)
    """
    ax = ax or new_axes(theme)
    colours = dress(ax, theme, grid="none")
    values, label = scaled(*value)
    stops = (_soft(colours.series[0], colours, 0.08), _soft(colours.series[0], colours, 1.0), _soft(colours.ink, colours, 0.8))
    ramp = LinearSegmentedColormap.from_list("ramp", list(zip((0.0, 0.6, 1.0), stops, strict=True)))
    mesh = _cells(ax, x, y, values, cmap=ramp)
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(mesh, ax=ax, pad=0.02, aspect=30)
    bar.set_label(label, color=colours.ink, fontsize=9)
    bar.ax.tick_params(colors=colours.muted, labelsize=8)
    bar.outline.set_visible(False)
    _contours(ax, x, y, value[1], colours, column=value[0])
    headline(ax, f"{name_of(value[0])[:1].upper()}{name_of(value[0])[1:]}, by {name_of(x[0])} and {name_of(y[0])}", subtitle, colours)
    return ax


def _cells(ax: Axes, x: tuple[str, NDArray[Any]], y: tuple[str, NDArray[Any]], values: NDArray[Any], **style: Any) -> Any:
    """The coloured cells, and the axes under them."""
    across, xlabel = scaled(*x)
    up, ylabel = scaled(*y)
    wide, high = log_if_wide(ax, "x", across), log_if_wide(ax, "y", up)
    mesh = ax.pcolormesh(_edges(across, wide), _edges(up, high), values, rasterized=values.size > 4000, zorder=1, **style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return mesh


def _edges(centres: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    """Borders between cells: midway between their centres.

    >>> _edges(np.array([1.0, 2.0, 4.0]), False).tolist()
    [0.5, 1.5, 3.0, 5.0]
    """
    if len(centres) == 1:
        return np.array([0.9, 1.1]) * float(centres[0])
    at = np.log(centres) if log else centres
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate(([at[0] - (middle[0] - at[0])], middle, [at[-1] + (at[-1] - middle[-1])]))
    return np.asarray(np.exp(edges) if log else edges)


def _contours(ax: Axes, x: tuple[str, NDArray[Any]], y: tuple[str, NDArray[Any]], values: NDArray[Any], colours: Theme, *, column: str = "latency_s") -> None:
    """Lines along which a column is the same, each labelled with its value."""
    if min(values.shape) < 2 or values.max() < 1.02 * values.min():
        return
    levels = round_levels([values], _LINES)
    levels = levels[(levels > values.min()) & (levels < values.max())]
    if not len(levels):
        return
    lines = ax.contour(scaled(*x)[0], scaled(*y)[0], values, levels=levels, colors=colours.ink, linewidths=0.9, zorder=3)
    label_lines(ax, lines, lambda level: said(column, level), colours)


def _soft(color: str, colours: Theme, share: float = 0.55) -> tuple[float, float, float]:
    """A colour mixed with the background, so that lines and words stay readable on it."""
    from matplotlib.colors import to_rgb

    mixed = share * np.array(to_rgb(color)) + (1 - share) * np.array(to_rgb(colours.background))
    return float(mixed[0]), float(mixed[1]), float(mixed[2])


def _with(subtitle: str, note: str) -> str:
    return f"{subtitle} · {note}" if subtitle else note
