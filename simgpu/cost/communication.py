"""Collectives among GPUs: rings over NVLink or PCIe with the protocols of NCCL; the fastest counts.

Source: NCCL's protocols LL, LL128 and Simple (NVIDIA NCCL source, src/graph/tuning.cc); ring terms after Thakur,
Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19(1), 2005.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.machine import Machine
from simgpu.cost.parts import Parts, fastest

Values = Any


def price_collective(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of collectives, (N,) or (designs, N)."""
    f = m.factors
    gpu = m.gpu
    nvlink = (t.link == "nvlink") & (gpu.nvlink is not None)
    fast = gpu.nvlink.bandwidth_bytes_per_s if gpu.nvlink is not None else 1.0
    slow = gpu.pcie.bandwidth_bytes_per_s if gpu.pcie is not None else 1.0
    # A PCIe box loses bandwidth as rings leave the first switch (2 GPUs), the socket (4) and cross it (8).
    pcie_share = np.where(t.num_gpus <= 2, f.pcie_ring_fraction_2, np.where(t.num_gpus <= 4, f.pcie_ring_fraction_4, f.pcie_ring_fraction_8))
    nvlink_share = np.where(t.num_gpus <= 2, f.nvlink_ring_fraction_2, np.where(t.num_gpus <= 4, f.nvlink_ring_fraction_4, f.nvlink_ring_fraction_8))
    rate = np.where(nvlink, fast * nvlink_share, slow * pcie_share)
    n = t.num_gpus
    reduce_both = t.op == "all_reduce"
    share = np.where(reduce_both, 2.0 * (n - 1.0) / n, np.where(t.op == "send", 1.0, (n - 1.0) / n))
    hops = np.where(reduce_both, 2.0 * (n - 1.0), np.where(np.isin(t.op, ("all_to_all", "send")), 1.0, n - 1.0))
    start_s = f.collective_fixed_s + f.collective_per_gpu_s * n
    options = []
    for name, extra_s, hop_s, efficiency in (
        ("LL", 0.0, f.ll_hop_s, f.ll_efficiency),
        ("LL128", f.ll128_extra_s, 1.5 * f.ll_hop_s, f.ll128_efficiency),
        ("Simple", f.simple_extra_s, f.simple_hop_s, 1.0),
    ):
        wire_s = t.size_bytes * share / (rate * efficiency)
        latency_s = start_s + extra_s + hops * hop_s
        parts = Parts(
            l2_s=np.asarray(wire_s)[np.newaxis],
            latency_s=np.asarray(latency_s)[np.newaxis],
            dram_bytes=np.asarray(t.size_bytes * share * 2.0)[np.newaxis],
            ctas=16.0,
        )
        options.append((parts, np.asarray(wire_s + latency_s)[np.newaxis], [f"ring {name}"]))
    return fastest(options)
