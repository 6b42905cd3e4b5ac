"""Pictures looked at by a program: whether words are on the page and clear of each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def written(picture: Figure | Axes) -> list[tuple[Text, Bbox]]:
    """The words of a picture that are drawn, each with its box. [pixel]"""
    figure = picture.get_figure(root=True)
    assert figure is not None
    with _listening() as words:
        figure.canvas.draw()
    return words


@contextmanager
def _listening() -> Iterator[list[tuple[Text, Bbox]]]:
    """Notes each text that matplotlib draws meanwhile."""
    words: list[tuple[Text, Bbox]] = []
    draw = Text.draw

    def note(self: Text, renderer: Any, *others: Any, **more: Any) -> None:
        draw(self, renderer, *others, **more)
        if self.get_visible() and self.get_text().strip():
            words.append((self, self.get_window_extent(renderer)))

    Text.draw = note  # type: ignore[method-assign]
    try:
        yield words
    finally:
        Text.draw = draw  # type: ignore[method-assign]


def faults(picture: Figure | Axes, *, slack: float = 1.0) -> list[str]:
    """Words that leave the page by more than so many pixels, and pairs that cover each other.

    Words along a slope are taken for clear of others: their upright box is much larger than they are.
    """
    words = written(picture)
    page = picture.get_figure(root=True).bbox  # type: ignore[union-attr]
    found = [
        f"'{text.get_text()}' leaves the page"
        for text, box in words
        if box.x0 < page.x0 - slack or box.x1 > page.x1 + slack or box.y0 < page.y0 - slack or box.y1 > page.y1 + slack
    ]
    upright = [(text.get_text(), box) for text, box in words if not text.get_rotation() % 90]
    for (one, a), (other, b) in combinations(upright, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if wide > slack and high > 0.15 * min(a.height, b.height) + slack:
            found.append(f"'{one}' and '{other}' cover each other")
    return found
