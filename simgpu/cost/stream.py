"""Streams: elementwise maps, copies, pooling, gathers. Memory speed unless the instructions are many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts

Values = Any

_THREADS = 128.0  # a block of PyTorch's vectorized_elementwise_kernel


def price_stream(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of streaming kernels, (N,) or (designs, N)."""
    f = m.factors
    missed, written = missed_bytes(t, m)
    dram_bytes = missed.sum(axis=0) + written
    per_thread = np.maximum(1.0, np.minimum(4.0, 16.0 / np.maximum(t.itemsize, 0.5)))  # 16-byte vector loads
    ctas = np.ceil(t.elements / (_THREADS * per_thread))
    busy = np.minimum(ctas, m.num_sms)
    # Walks that waste part of each 32-byte sector move more bytes from L2 and DRAM than they use.
    waste = np.select(
        [t.pattern == "transpose", t.pattern == "gather", t.pattern == "reduce"],
        [1.0 / f.transpose_efficiency, 1.0 / f.gather_efficiency, 1.0],
        1.0,
    )
    instructions = t.elements * (
        t.instructions + f.stream_instructions_per_element * (1.0 + t.inputs) + np.where(t.window > 1, t.window * f.window_instructions, 0.0)
    )
    math_s = np.maximum(
        instructions / (busy * m.issue_lanes * m.clock_hz),
        t.elements * t.sfu / (busy * m.gpu.sm.sfu_lanes * m.clock_hz),
    )
    moved = t.total_bytes * waste
    # Little's law: the threads in flight hold 16 bytes of each input in flight, one DRAM latency long.
    in_flight = np.minimum(ctas, m.num_sms * np.floor(m.gpu.sm.max_threads / _THREADS)) * _THREADS * 16.0 * t.inputs
    dram_s = np.maximum(stream_s(dram_bytes * waste, m), dram_bytes / np.maximum(in_flight, 1.0) * m.dram_latency_s)
    return Parts(
        math_s=math_s,
        l2_s=l2_s(moved, busy, m),
        dram_s=dram_s,
        # A reduction to one value ends with a reduction across each block and a second round among the blocks.
        latency_s=f.stream_fixed_s + m.dram_latency_s + np.where(t.pattern == "reduce", 2.0 * (f.block_reduction_s + m.dram_latency_s), 0.0),
        executed_flop=t.elements * t.instructions,
        energy_flop=instructions,
        dram_bytes=dram_bytes * waste,
        l2_bytes=moved,
        ctas=ctas,
        ctas_per_sm=np.floor(m.gpu.sm.max_threads / _THREADS),
        threads_per_cta=_THREADS,
    )


def price_transfer(t: SimpleNamespace, m: Machine) -> Parts:
    """Copies by a copy engine: over the host link, or within device memory (read and written)."""
    f = m.factors
    link = m.gpu.pcie
    within = t.direction == "d2d"
    assert link is not None or bool(np.all(within)), f"{m.gpu.id} has no host link"
    host_bytes_per_s = link.bandwidth_bytes_per_s if link is not None else m.dram_bytes_per_s
    rate = np.where(within, m.dram_bytes_per_s / 2.0, host_bytes_per_s * np.where(t.pinned, f.pinned_fraction, f.pageable_fraction))
    return Parts(dram_s=t.size_bytes / rate, latency_s=f.transfer_fixed_s, dram_bytes=t.size_bytes * np.where(within, 2.0, 1.0), ctas=0.0)
