"""Lines of equal value: which values they have, and where each label has room within the axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from simgpu.report.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROUND = 2  # digits of a level
_EDGE = 0.05  # share of the axes along each side in which no label stands, so that none is cut off


def round_levels(values: Sequence[NDArray[Any]], count: int) -> NDArray[np.float64]:
    """Round levels that divide the range that all grids reach, or else the range of them all, by equal ratios.

    >>> round_levels([np.array([1.0, 100.0])], 1).tolist()
    [10.0]
    """
    low, high = max(float(v.min()) for v in values), min(float(v.max()) for v in values)
    if high <= 1.05 * low:
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    steps = np.geomspace(low, high, count + 2)[1:-1] if low > 0 else np.linspace(low, high, count + 2)[1:-1]
    return np.unique([float(f"{level:.{_ROUND}g}") for level in steps])


def label_lines(ax: Axes, lines: Any, said: Callable[[float], str], colours: Theme) -> None:
    """Writes its value into each line of a contour plot, once, far from other labels and from the edges; short lines at the edge get none."""
    taken: list[tuple[float, float]] = []
    to_axes = ax.transData + ax.transAxes.inverted()
    for path in lines.get_paths():
        pieces = [_dense(to_axes.transform(piece)) for piece in path.to_polygons(closed_only=False) if len(piece) > 1]
        if not pieces:
            continue
        at = np.concatenate(pieces)
        inside = np.flatnonzero(((at > _EDGE) & (at < 1 - _EDGE)).all(axis=1))
        if not len(inside):
            continue
        away = np.array([min((np.hypot(*(at[i] - other)) for other in map(np.array, taken)), default=1.0) for i in inside.tolist()])
        central = np.abs(at[inside] - 0.5).sum(axis=1)
        best = int(inside[np.argmax(np.minimum(away, 0.3) - 0.25 * central)])
        taken.append((float(at[best][0]), float(at[best][1])))
    if not taken:
        return
    places = ax.transData.inverted().transform(ax.transAxes.transform(taken))
    for text in ax.clabel(lines, fmt=said, fontsize=7.5, inline_spacing=4, colors=colours.ink, manual=[tuple(p) for p in places.tolist()]):
        text.set_path_effects([withStroke(linewidth=2.0, foreground=colours.background)])


def _dense(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polyline with points every hundredth of the axes."""
    steps = np.hypot(*np.diff(corners, axis=0).T)
    along = np.concatenate(([0.0], np.cumsum(steps)))
    wanted = np.linspace(0.0, along[-1], 2 + int(along[-1] * 100))
    return np.column_stack([np.interp(wanted, along, corners[:, axis]) for axis in (0, 1)])
