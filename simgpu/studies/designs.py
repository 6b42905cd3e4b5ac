"""The designs of a study: every combination of its axes, or a Latin hypercube among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.errors import OptionError
from simgpu.studies.axes import Axis, as_column

MAX_DESIGNS = 100_000  # more than these want a confirmation
HARD_LIMIT = 10_000_000  # more than these are refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Designs:
    """Values of each axis for each design.

    Attributes:
        columns: A value a design by the axis' name. (designs,) each
    """

    axes: tuple[Axis, ...]
    columns: Mapping[str, NDArray[Any]]
    count: int


def grid(axes: Sequence[Axis], *, limit: int | None = MAX_DESIGNS) -> Designs:
    """Every combination, the last axis fastest.

    Args:
        limit: The most designs; None = confirmed.
    Raises:
        OptionError: There are more, or an axis is a range without points.

    >>> grid([Axis(name="a", column="a", points=(1, 2)), Axis(name="b", column="b", points=(5, 6))]).columns["b"].tolist()
    [5, 6, 5, 6]
    """
    _check_names(axes)
    for one in axes:
        if not one.points:
            raise OptionError(f"{one.name}: how many points the range has is not said; write lo..hi:N, or draw designs with --sample")
    lengths = [len(one.points) for one in axes]
    count = math.prod(lengths)
    _check_count(count, limit)
    places = np.unravel_index(np.arange(count), lengths) if axes else ()
    columns = {one.name: as_column(one.points)[place] for one, place in zip(axes, places, strict=True)}
    return Designs(axes=tuple(axes), columns=columns, count=count)


def latin_hypercube(axes: Sequence[Axis], count: int, *, seed: int = 0, limit: int | None = MAX_DESIGNS) -> Designs:
    """So many designs, drawn such that each axis is covered evenly: one value from each of `count` equal parts of it.

    Args:
        seed: The same one gives the same designs.
    Raises:
        OptionError: `count` is no positive number, or too large.

    Source: McKay, Beckman, Conover, "A comparison of three methods for selecting values of input variables", Technometrics
    21(2), 1979.
    """
    _check_names(axes)
    if count < 1:
        raise OptionError(f"sample: expected 1 design or more, got {count}")
    if not axes:
        raise OptionError("sample: there is nothing to draw from; vary a field")
    _check_count(count, limit)
    generator = np.random.default_rng(seed)
    columns = {one.name: one.drawn((generator.permutation(count) + generator.random(count)) / count) for one in axes}
    return Designs(axes=tuple(axes), columns=columns, count=count)


def _check_names(axes: Sequence[Axis]) -> None:
    seen: dict[str, str] = {}
    for one in axes:
        if one.column in seen:
            raise OptionError(f"{one.name}: varies twice{'' if seen[one.column] == one.name else f', also as {seen[one.column]}'}; give all its values at once")
        seen[one.column] = one.name


def _check_count(count: int, limit: int | None) -> None:
    if count > HARD_LIMIT:
        raise OptionError(f"{count:,} designs are more than a table holds, expected at most {HARD_LIMIT:,}; draw some of them with --sample N")
    if limit is not None and count > limit:
        raise OptionError(f"{count:,} designs are more than {limit:,}; confirm with --yes, take fewer points, or draw some with --sample N")
