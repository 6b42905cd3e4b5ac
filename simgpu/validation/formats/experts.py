"""How many tokens each expert of the busiest rank gets, for tokens spread evenly or by a power law.

Source: the collector of aiconfigurator (collector/helper.py: power_law and balanced router logits): loads are drawn from
    a bounded Pareto law, scaled to tokens × topk, and the rank with the largest sum is the one that is timed; five draws.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 5
_SEED = 2024


@lru_cache(maxsize=4096)
def expert_loads(tokens: int, experts: int, topk: int, ranks: int, alpha: float, spread: bool = True) -> tuple[int, ...]:
    """Tokens of each expert on the busiest of `ranks`, largest first; alpha 0 = balanced.

    Args:
        spread: Tokens left over by rounding go round the ranks where all experts have equally many; else to the first rank.

    >>> expert_loads(8, 4, 2, 2, 0.0)
    (4, 4)
    """
    if alpha == 0.0:
        return _balanced(tokens, experts, topk, ranks)
    generator = np.random.default_rng(_SEED)
    busiest = np.zeros(experts // ranks)
    for _ in range(DRAWS):
        per_rank = _drawn(generator, tokens, experts, topk, ranks, alpha, spread).reshape(ranks, -1)
        busiest += np.sort(per_rank[np.argmax(per_rank.sum(axis=1))])[::-1]
    return tuple(int(x) for x in np.rint(busiest / DRAWS))


@lru_cache(maxsize=4096)
def distinct_draws(tokens: int, experts: int, topk: int, alpha: float) -> int:
    """How many of the five draws pick experts of their own: so few tokens that every load rounds to 0 always go to the same experts.

    >>> distinct_draws(1, 256, 8, 1.2), distinct_draws(1024, 256, 8, 1.2), distinct_draws(64, 8, 2, 0.0)
    (1, 5, 1)
    """
    if alpha == 0.0:
        return 1
    generator = np.random.default_rng(_SEED)
    return len({tuple(_drawn(generator, tokens, experts, topk, 1, alpha, True)) for _ in range(DRAWS)})


def _balanced(tokens: int, experts: int, topk: int, ranks: int) -> tuple[int, ...]:
    """Every rank gets as many as any other, and so does every expert of a rank."""
    local, busiest = experts // ranks, -(-tokens * topk // ranks)
    return tuple(busiest // local + (i < busiest % local) for i in range(local))


def _drawn(generator: np.random.Generator, tokens: int, experts: int, topk: int, ranks: int, alpha: float, spread: bool) -> NDArray[np.int64]:
    low, high = (1.0, tokens * 0.8) if tokens * topk > experts else (0.01, 2.0)
    u, power = generator.random(experts), 1.0 - alpha
    raw = ((high**power - low**power) * u + low**power) ** (1.0 / power)
    total = tokens * topk
    loads: NDArray[np.int64] = np.rint(raw / raw.sum() * total).astype(np.int64)
    missing = total - int(loads.sum())  # rounding: handed to the largest, or taken from those that have some
    # Among equals, those that are dealt out first: rank by rank, or the first of each rank, the second of each …
    turn = np.arange(experts).reshape(ranks, -1).T.ravel() if spread else np.arange(experts)
    order = turn[np.argsort(-loads[turn], kind="stable")]
    i = 0
    while missing:
        one = order[i % experts]
        if missing > 0:
            loads[one] += 1
            missing -= 1
        elif loads[one] > 0:
            loads[one] -= 1
            missing += 1
        i += 1
    return loads
