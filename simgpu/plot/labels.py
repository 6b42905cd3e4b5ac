"""Labels beside points: placed when the picture is drawn, at its final size, so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox, IdentityTransform

from simgpu.report.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

_GAP_POINTS = 3.0
_DISTANCES_POINTS = (0.0, 8.0, 18.0, 32.0, 50.0)
_ANGLES = tuple(math.radians(a) for a in (0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Text that belongs to a point.

    Attributes:
        x, y: The point, in data units.
        radius_points: Radius of its marker. [1/72 inch]
    """

    x: float
    y: float
    radius_points: float
    text: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """A marker that labels had better not cover, in data units; its radius in 1/72 inch."""

    x: float
    y: float
    radius_points: float


class LabelLayer(Artist):
    """Draws labels, the first ones first; a label for which there is no room is left out.

    Args:
        obstacles: Markers to keep clear of.
        lines: Polylines to keep clear of, each as arrays of x and y in data units.
        reach_points: How far off its point a label may stand. [1/72 inch]
    """

    def __init__(
        self,
        ax: Axes,
        labels: Sequence[Label],
        *,
        obstacles: Sequence[Obstacle],
        lines: Sequence[tuple[Any, Any]],
        theme: Theme,
        fontsize: float = 7.5,
        reach_points: float = _DISTANCES_POINTS[-1],
    ) -> None:
        super().__init__()
        self.labels, self.obstacles, self.lines, self.theme, self.fontsize = tuple(labels), tuple(obstacles), tuple(lines), theme, fontsize
        self.distances = tuple(d for d in _DISTANCES_POINTS if d <= reach_points)
        self.texts: list[Artist] = []  # what else is written on the axes
        self.set_zorder(6)
        self.set_in_layout(False)
        ax.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        for text, leader in self.place(renderer):
            if leader is not None:
                leader.draw(renderer)
            text.draw(renderer)

    def place(self, renderer: RendererBase) -> list[tuple[Text, Line2D | None]]:
        """The labels that have room, each where it costs least, with a thin line to its point if that is far off."""
        ax, figure = self.axes, self.get_figure(root=True)
        assert ax is not None and figure is not None
        pixel = figure.dpi / 72
        frame = ax.get_window_extent(renderer)
        discs = np.array([(*ax.transData.transform((o.x, o.y)), o.radius_points * pixel) for o in self.obstacles]).reshape(-1, 3)
        lines = [_along(ax.transData.transform(np.column_stack(line))) for line in self.lines]
        track = np.concatenate(lines) if lines else np.zeros((0, 2))
        taken = [t.get_window_extent(renderer) for t in self.texts]
        placed: list[tuple[Text, Line2D | None]] = []
        for label in self.labels:
            text = Text(
                0, 0, label.text, fontsize=self.fontsize, color=self.theme.ink, path_effects=[withStroke(linewidth=2.2, foreground=self.theme.background)]
            )
            text.set_figure(figure)
            text.set_transform(IdentityTransform())
            text.set(va="bottom", ha="left")
            size = text.get_window_extent(renderer)
            centre = ax.transData.transform((label.x, label.y))
            best: tuple[float, Bbox] | None = None
            for distance in self.distances:
                for angle in _ANGLES:
                    box = _beside(centre, (label.radius_points + _GAP_POINTS + distance) * pixel, angle, size.width, size.height)
                    if not (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1):
                        continue
                    if any(box.overlaps(other) for other in taken):
                        continue
                    cost = 0.5 * distance + _covered(box, discs) / pixel**2 + _crossed(box, track) / pixel + 3.0 * _passed(centre, box, discs)
                    if best is None or cost < best[0]:
                        best = cost, box
            if best is None:
                continue
            box = best[1]
            taken.append(box.expanded(1.02, 1.05))
            text.set_position((box.x0, box.y0))
            placed.append((text, self._leader(centre, label, box, pixel)))
        return placed

    def _leader(self, centre: Any, label: Label, box: Bbox, pixel: float) -> Line2D | None:
        near = np.clip(centre, (box.x0, box.y0 + 0.25 * box.height), (box.x1, box.y1 - 0.25 * box.height))
        gap = near - centre
        length = float(np.hypot(*gap))
        start = label.radius_points * pixel
        if length < start + 2.5 * _GAP_POINTS * pixel:
            return None
        first = centre + gap / length * start
        leader = Line2D([first[0], near[0]], [first[1], near[1]], color=self.theme.muted, linewidth=0.6)
        leader.set_figure(self.get_figure(root=True))  # type: ignore[arg-type]
        leader.set_transform(IdentityTransform())
        return leader


def _beside(centre: Any, distance: float, angle: float, width: float, height: float) -> Bbox:
    """A box of that size whose nearest edge is `distance` away from the centre in that direction."""
    dx, dy = math.cos(angle), math.sin(angle)
    x = centre[0] + dx * distance + (dx - 1) / 2 * width
    y = centre[1] + dy * distance + (dy - 1) / 2 * height
    return Bbox.from_bounds(x, y, width, height)


def _covered(box: Bbox, discs: Any) -> float:
    """About how much of the discs a box covers. [square pixels]"""
    if not len(discs):
        return 0.0
    x, y, r = discs.T
    wide = np.clip(np.minimum(x + r, box.x1) - np.maximum(x - r, box.x0), 0, None)
    high = np.clip(np.minimum(y + r, box.y1) - np.maximum(y - r, box.y0), 0, None)
    return float(np.sum(wide * high))


def _along(corners: Any) -> Any:
    """Points every 4 pixels along a polyline."""
    pieces = [np.linspace(a, b, max(2, min(2000, int(np.hypot(*(b - a)) / 4)))) for a, b in pairwise(corners)]
    return np.concatenate(pieces)


def _passed(centre: Any, box: Bbox, discs: Any) -> int:
    """How many discs other than its own a line from a point to its label runs over."""
    near = np.clip(centre, (box.x0, box.y0), (box.x1, box.y1))
    along = centre + np.linspace(0.0, 1.0, 12)[:, None] * (near - centre)
    others = discs[np.hypot(*(discs[:, :2] - centre).T) > 0.5]
    gaps = np.hypot(along[:, None, 0] - others[None, :, 0], along[:, None, 1] - others[None, :, 1])
    return int(np.count_nonzero((gaps < others[None, :, 2]).any(axis=0)))


def _crossed(box: Bbox, track: Any) -> float:
    """Length of the lines inside a box. [pixels]"""
    if not len(track):
        return 0.0
    inside = (track[:, 0] > box.x0) & (track[:, 0] < box.x1) & (track[:, 1] > box.y0) & (track[:, 1] < box.y1)
    return 4.0 * float(np.count_nonzero(inside))
