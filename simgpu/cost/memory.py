"""Bytes at DRAM: which operands still lie in L2, and how fast the rest streams."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.laws import resident_fraction
from simgpu.cost.machine import Machine

Values = Any


def missed_bytes(table: SimpleNamespace, m: Machine) -> tuple[Values, Values]:
    """DRAM bytes of each operand read and of what is written: the shares that L2 does not hold.

    A read misses by its reuse distance. A write costs DRAM traffic unless the kernel's own footprint fits, in which
    case the line is overwritten or read again before it is evicted.

    Returns:
        (operands, N) or (operands, designs, N) read bytes, and (N,) or (designs, N) written bytes. [B]
    """
    cache = m.l2_bytes
    reads, distances = table.read_bytes, table.read_distance
    if np.ndim(cache) == 2:
        reads, distances = reads[:, np.newaxis, :], distances[:, np.newaxis, :]
    missed = reads * (1.0 - resident_fraction(distances, cache))
    kept = resident_fraction(table.total_bytes, cache)
    return missed, table.write_bytes * (1.0 - kept)


def stream_s(dram_bytes: Values, m: Machine) -> Values:
    """Time to move bytes at the achievable bandwidth. [s]"""
    return dram_bytes / m.dram_bytes_per_s


def l2_s(l2_bytes: Values, busy_sms: Values, m: Machine) -> Values:
    """Time to move bytes from L2: limited by the L2 slices, and by the ports of the SMs that take part. [s]"""
    return np.maximum(l2_bytes / m.l2_bytes_per_s, l2_bytes / (busy_sms * m.port_bytes_per_clk * m.clock_hz))
