"""What pricing says of each kernel: the parts that make up its time, and which of them binds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The parts of a kernel's time, as attributes of KernelTimes; the longest is the kernel's bound.
PARTS: Mapping[str, str] = {
    "math_s": "compute",
    "chain_s": "memory latency",
    "l2_s": "L2",
    "dram_s": "DRAM",
    "latency_s": "latency",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTimes:
    """Times of N kernels; each array has shape (N,), or (designs, N) in a sweep.

    Attributes:
        duration_s: Time on an otherwise idle device, from the first CTA to the last, with the device-side gap before it. [s]
        math_s: Busiest execution pipe, at the work really executed (padding, waves, occupancy included). [s]
        chain_s: Loads and block-wide reductions that wait for one another, at the memory's latency. [s]
        l2_s: L2 traffic at L2 bandwidth. [s]
        dram_s: DRAM traffic at the achievable bandwidth. [s]
        latency_s: Fill, dependent chains, fixed costs of the kernel and the gap before it. [s]
        roofline_s: The plain datasheet roofline, max(algorithmic FLOP / peak, all operand bytes / DRAM bandwidth). Winograd and
            operands that lie in L2 may beat it. [s]
        own_roofline_s: The same for the work that this kernel cannot avoid: the multiplies of its algorithm, the bytes that L2 did
            not hold. No kernel is faster. [s]
        executed_flop: Work really executed, padding included. [FLOP]
        dram_bytes, l2_bytes: Traffic at that level. [B]
        ctas: Thread blocks. waves: ctas over what fits on the GPU at once.
        occupancy_fraction: Resident warps over the SM's maximum, on busy SMs.
        sm_fraction: Share of the SMs that have work, averaged over the kernel's time.
        energy_j: Energy without the board's idle share. [J]
        clock_hz: SM clock under the power limit. [Hz]
        choice: Index into `choices` of the tile or algorithm that won.
        choices: Names such as "128x128 split-K 4" or "winograd F(4x4,3x3)".
    """

    duration_s: Floats
    math_s: Floats
    chain_s: Floats
    l2_s: Floats
    dram_s: Floats
    latency_s: Floats
    roofline_s: Floats
    own_roofline_s: Floats
    executed_flop: Floats
    dram_bytes: Floats
    l2_bytes: Floats
    ctas: Floats
    waves: Floats
    occupancy_fraction: Floats
    sm_fraction: Floats
    energy_j: Floats
    clock_hz: Floats
    choice: NDArray[np.int64]
    choices: tuple[str, ...] = field(default=("",))

    @property
    def bound(self) -> NDArray[np.int64]:
        """Index into `tuple(PARTS)` of the longest part, for each kernel."""
        return np.asarray(np.argmax(np.stack([getattr(self, part) for part in PARTS]), axis=0))

    def bound_names(self) -> list[str]:
        """The longest part of each kernel in words; one design only."""
        names = tuple(PARTS.values())
        return [names[i] for i in self.bound]

    def choice_names(self) -> list[str]:
        return [self.choices[i] for i in self.choice]

    def take(self, index: Any) -> KernelTimes:
        """The kernels at `index` (last axis)."""
        parts = {f.name: getattr(self, f.name)[..., index] for f in fields(self) if f.name != "choices"}
        return KernelTimes(**parts, choices=self.choices)
