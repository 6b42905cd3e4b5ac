"""The laws that every kernel family shares: overlap, waves, cache residency. Plain array arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Values = Any  # a float or an array; everything here broadcasts

_SQUARINGS = {2.0: 1, 4.0: 2, 8.0: 3}  # exponents that need no logarithm: a third of the time of a large sweep


def overlap(exponent: float, *parts_s: Values) -> Values:
    """Time of parts that overlap, though not perfectly: the p-norm, between the longest part (p = ∞) and their sum (p = 1). [s]

    >>> float(overlap(2.0, 3.0, 4.0))
    5.0
    """
    longest: Values = 1e-300
    for part in parts_s:
        longest = np.maximum(longest, part)
    total: Values = 0.0
    squarings = _SQUARINGS.get(exponent)
    if squarings is None:
        for part in parts_s:
            total = total + (part / longest) ** exponent
        return longest * total ** (1.0 / exponent)
    for part in parts_s:
        total = total + _power(part / longest, squarings)
    for _ in range(squarings):
        total = np.sqrt(total)
    return longest * total


def overlap_at_clock(exponent: float, clocked_s: Sequence[Values], fixed_s: Sequence[Values]) -> Callable[[Values], Values]:
    """`overlap` as a function of the clock ratio: the `clocked_s` stretch with 1 / ratio, the `fixed_s` do not. [s]

    >>> float(overlap_at_clock(2.0, [3.0], [8.0])(0.5))
    10.0
    """
    squarings = _SQUARINGS.get(exponent)
    if squarings is None:
        return lambda ratio: overlap(exponent, *(part / ratio for part in clocked_s), *fixed_s)
    longest: Values = 1e-300
    for part in (*clocked_s, *fixed_s):
        longest = np.maximum(longest, part)
    with_clock, without = (sum(_power(part / longest, squarings) for part in parts) for parts in (clocked_s, fixed_s))

    def at(ratio: Values) -> Values:
        total = with_clock / _power(ratio, squarings) + without
        for _ in range(squarings):
            total = np.sqrt(total)
        return longest * total

    return at


def _power(base: Values, squarings: int) -> Values:
    for _ in range(squarings):
        base = base * base
    return base


def resident_fraction(distance_bytes: Values, cache_bytes: Values, spread: Values = 0.08) -> Values:
    """Share of a tensor still in a cache when it is touched again after `distance_bytes` of other traffic, itself included.

    Least-recently-used replacement keeps everything up to the size of the cache and nothing beyond; hashing over slices
    and sets blurs the edge by `spread` of the size.

    Source: measured, L40S GEMMs with cycled weights: all resident up to 1.0 of the cache, none from 1.1 on.

    >>> float(resident_fraction(10.0, 20.0)) > 0.99, float(resident_fraction(20.0, 20.0)), float(resident_fraction(np.inf, 20.0)) < 1e-9
    (True, 0.5, True)
    """
    over = np.clip((distance_bytes / np.maximum(cache_bytes, 1.0) - 1.0) / spread, -50.0, 700.0)
    return 1.0 / (1.0 + np.exp(over))


def saturation(resident: Values, half: Values) -> Values:
    """Share of its peak that a pipe reaches with so much independent work resident: x / (x + half).

    Latency hiding (Little's law) with a spread of latencies; half of the peak is reached at `half`.

    >>> saturation(30.0, 10.0)
    0.75
    """
    return resident / (resident + half)


def busiest_sm_s(
    ctas: Values,
    cta_s: Values,
    *,
    num_sms: Values,
    per_sm: Values,
    accumulators: Values,
    half_accumulators: Values,
) -> Values:
    """Time of the SM with the most CTAs, dealt out one at a time, `per_sm` of them resident. [s]

    Args:
        cta_s: Time of one CTA that has the SM's pipe to itself at full rate. [s]
        accumulators: Outputs a CTA holds in registers: its independent work.
        half_accumulators: Resident accumulators an SM needs for half its peak rate.
    """
    most = np.ceil(ctas / num_sms)
    full = np.floor(most / per_sm)
    rest = most - full * per_sm
    at_full = full * per_sm / saturation(per_sm * accumulators, half_accumulators)
    at_rest = rest + np.where(rest > 0, half_accumulators / accumulators, 0.0)  # rest / saturation(rest · accumulators)
    return cta_s * (at_full + at_rest)
