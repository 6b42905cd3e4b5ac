"""What kernels in flight take of the chip, and how fast each goes when they share it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgpu.cost.times import KernelTimes
from simgpu.kernels.kernel import KernelGraph, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one kernel takes of an otherwise idle chip; shares in [0, 1].

    Attributes:
        slot_fraction: CTA slots it fills until its last wave.
        tail_slot_fraction: CTA slots its last wave fills.
        tail_s: How long its last wave takes. [s]
        resource_fractions: Mean use of the vector pipes, tensor pipes, L2 and DRAM.
        copy_engine: The engine a transfer needs; -1 for kernels on SMs.
    """

    slot_fraction: float
    tail_slot_fraction: float
    tail_s: float
    resource_fractions: tuple[float, ...]
    copy_engine: int = -1


def demands(kernels: KernelGraph, times: KernelTimes, num_copy_engines: int) -> list[Demand]:
    """What each kernel takes.

    A grid of w waves fills all CTA slots for floor(w) waves and frac(w) of them in a last one. Pipes belong
    to SMs, so a kernel on half of them takes at most half of the chip's. A transfer takes a copy engine and DRAM, no SM;
    with one engine both directions wait for each other.
    """
    duration = np.maximum(times.duration_s, 1e-300)
    on_sms = np.clip(times.sm_fraction, 0.0, 1.0)
    tensor = np.array([k.pipe == "tensor" for k in kernels.kernels], dtype=bool)
    math_fraction = times.math_s / duration * on_sms
    columns = (
        np.where(tensor, 0.0, math_fraction),
        np.where(tensor, math_fraction, 0.0),
        times.l2_s / duration,
        times.dram_s / duration,
    )
    rows = np.minimum(np.stack(columns, axis=1), 1.0).tolist()
    result = []
    for kernel, row, waves, seconds in zip(kernels.kernels, rows, times.waves.tolist(), times.duration_s.tolist(), strict=True):
        work = kernel.work
        if isinstance(work, Transfer) and work.direction != "d2d":
            engine = min(1 if work.direction == "d2h" else 0, num_copy_engines - 1)
            result.append(Demand(slot_fraction=0.0, tail_slot_fraction=0.0, tail_s=0.0, resource_fractions=tuple(row), copy_engine=engine))
            continue
        rounds = max(math.ceil(waves - 1e-9), 1)
        last = min(max(waves - (rounds - 1), 0.0), 1.0)
        full = last if rounds == 1 else 1.0
        tail_s = seconds / rounds if rounds > 1 and last < 1.0 else 0.0
        result.append(Demand(slot_fraction=full, tail_slot_fraction=last, tail_s=tail_s, resource_fractions=tuple(row)))
    return result


def fair_shares(wanted: Sequence[float], capacity: float = 1.0) -> list[float]:
    """Max-min fair shares: nobody gets more than wanted, and what is left over goes evenly to those who want more.

    >>> fair_shares([0.2, 0.6, 0.9])
    [0.2, 0.4, 0.4]
    """
    if sum(wanted) <= capacity:
        return list(wanted)
    shares = [0.0] * len(wanted)
    left, waiting = capacity, len(wanted)
    for want, i in sorted((w, i) for i, w in enumerate(wanted)):
        shares[i] = min(want, left / waiting)
        left -= shares[i]
        waiting -= 1
    return shares


def speeds(in_flight: Sequence[Demand], in_tail: Sequence[bool]) -> list[float]:
    """How fast each kernel goes, 1 = as fast as alone.

    CTA slots go to kernels in the order they started (left-over policy: a later grid gets what earlier ones leave);
    then each pipe, L2 and DRAM is divided max-min fairly among what still wants it.

    Args:
        in_flight: In the order they started.
        in_tail: Whether each is in its last wave.
    """
    result, free = [], 1.0
    for demand, tail in zip(in_flight, in_tail, strict=True):
        want = demand.tail_slot_fraction if tail else demand.slot_fraction
        if want <= free:
            free -= want
            result.append(1.0)
        else:
            result.append(free / want)
            free = 0.0
    for column in zip(*[demand.resource_fractions for demand in in_flight], strict=True):
        if sum(column) > 1.0:  # what is wanted at full speed; slower kernels want less
            wanted = [speed * fraction for speed, fraction in zip(result, column, strict=True)]
            shares = fair_shares(wanted)
            result = [speed * share / want if want > 0 else speed for speed, share, want in zip(result, shares, wanted, strict=True)]
    return result


def free_slots(in_flight: Sequence[Demand], in_tail: Sequence[bool]) -> float:
    """Share of the CTA slots nobody holds."""
    return 1.0 - min(sum(d.tail_slot_fraction if tail else d.slot_fraction for d, tail in zip(in_flight, in_tail, strict=True)), 1.0)
