"""The laws that every kernel family shares: overlap, waves, cache residency. Plain array arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

Values = Any  # a float or an array; everything here broadcasts


def overlap(exponent: Values, *parts_s: Values) -> Values:
    """Time of parts that overlap, though not perfectly: the p-norm, between the longest part (p = ∞) and their sum (p = 1). [s]

    >>> float(overlap(2.0, 3.0, 4.0))
    5.0
    """
    total: Values = 0.0
    longest: Values = 1e-300
    for part in parts_s:
        longest = np.maximum(longest, part)
    for part in parts_s:
        total = total + (part / longest) ** exponent
    return longest * total ** (1.0 / exponent)


def resident_fraction(distance_bytes: Values, cache_bytes: Values) -> Values:
    """Share of a tensor still in a cache when it is touched again after `distance_bytes` of other traffic, itself included.

    With random replacement a line survives one access elsewhere with probability 1 − 1/lines, so the hit share h of a
    cyclic sweep obeys h = exp(−x (1 − h)) with x = distance / cache. Below x = 1 everything stays.

    >>> float(resident_fraction(10.0, 20.0)), float(resident_fraction(np.inf, 20.0))
    (1.0, 0.0)
    """
    x = np.asarray(distance_bytes / np.maximum(cache_bytes, 1.0), dtype=float)
    safe = np.clip(x, 1.0 + 1e-9, 60.0)
    hit = np.exp(-safe)
    for _ in range(25):  # Newton on g(h) = h − exp(−x (1 − h)); converges from below
        e = np.exp(-safe * (1.0 - hit))
        step = (hit - e) / (1.0 - safe * e)
        hit = hit - step
        if np.all(np.abs(step) < 1e-9):
            break
    return np.where(x <= 1.0, 1.0, np.where(x > 60.0, 0.0, np.clip(hit, 0.0, 1.0)))


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
