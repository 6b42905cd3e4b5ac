"""The parts of a family's kernel times at the highest clock, before the power limit has its say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Values = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Arrays of shape (N,) or (designs, N) that broadcast, or with a leading axis of alternatives; meanings as in `KernelTimes`.

    Attributes:
        latency_s: Adds to the overlapped parts.
        energy_flop: Executed FLOP weighted with their energy relative to an FP32 FMA's.
        ctas_per_sm: CTAs that fit on one SM at once.
    """

    math_s: Values = 0.0
    chain_s: Values = 0.0
    l2_s: Values = 0.0
    dram_s: Values = 0.0
    latency_s: Values = 0.0
    executed_flop: Values = 0.0
    energy_flop: Values = 0.0
    dram_bytes: Values = 0.0
    l2_bytes: Values = 0.0
    ctas: Values = 1.0
    ctas_per_sm: Values = 1.0
    threads_per_cta: Values = 256.0
    choice: Values = 0
    choices: tuple[str, ...] = ("",)

    def rows(self, problem: Values, size: int) -> Parts:
        """These problems, perhaps some several times, of the `size` that there are."""

        def taken(values: Values) -> Values:
            return values[..., problem] if np.ndim(values) and np.shape(values)[-1] == size else values

        return Parts(**{name: taken(getattr(self, name)) for name in ARRAYS}, choice=taken(self.choice), choices=self.choices)


ARRAYS = tuple(f.name for f in fields(Parts) if f.name not in ("choice", "choices"))


def candidates(*values: Values, ndim: int) -> tuple[Values, ...]:
    """Lists of equal length as arrays whose leading axis runs over alternatives, before `ndim` axes of problems and designs."""
    return tuple(np.reshape(np.asarray(v, dtype=float), (-1, *[1] * ndim)) for v in values)


def fastest(alternatives: Sequence[tuple[Parts, Values, Sequence[str]]]) -> Parts:
    """Of alternatives with their total times [s] and names, for each problem the fastest; a total of inf rules one out."""
    shape = np.broadcast_shapes(*(np.shape(total)[1:] for _, total, _ in alternatives))
    totals = np.concatenate([np.broadcast_to(total, (np.shape(total)[0], *shape)) for _, total, _ in alternatives])
    winner = np.argmin(totals, axis=0)
    index = winner[np.newaxis]
    counts = [np.shape(total)[0] for _, total, _ in alternatives]

    def take(name: str) -> Values:
        columns = [np.broadcast_to(getattr(parts, name), (n, *shape)) for (parts, _, _), n in zip(alternatives, counts, strict=True)]
        return np.take_along_axis(columns[0] if len(columns) == 1 else np.concatenate(columns), index, axis=0)[0]

    names = tuple(name for _, _, group in alternatives for name in group)
    assert len(names) == len(totals), (len(names), totals.shape)
    return Parts(**{name: take(name) for name in ARRAYS}, choice=winner, choices=names)
