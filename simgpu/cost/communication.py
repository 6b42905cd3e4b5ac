"""Collectives among the GPUs of one box: rings over NVLink or PCIe, in the protocols of NCCL; the fastest counts.

A ring of n GPUs passes on every byte n − 1 times (twice as often for an all-reduce). LL sends a flag with every word, so
it needs no synchronisation but wastes bandwidth; LL128 a flag with every line, which only NVLink keeps in order; Simple
synchronises by fences, so it starts late and uses the whole link.

Source: NCCL source, src/graph/tuning.cc (github.com/NVIDIA/nccl); ring terms after Thakur, Rabenseifner, Gropp,
    "Optimization of collective communication operations in MPICH", IJHPCA 19(1), 2005.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.machine import Machine
from simgpu.cost.parts import Parts, fastest

Values = Any

_CHANNELS = 16.0  # CTAs that NCCL keeps busy


def ring_terms(op: Any, num_gpus: Values) -> tuple[Values, Values]:
    """Bytes over each link relative to the array's, and hops one after another. (N,) each

    >>> shares, hops = ring_terms(np.array(["all_reduce", "all_gather", "all_to_all"]), 4.0)
    >>> shares.tolist(), hops.tolist()
    ([1.5, 0.75, 0.75], [6.0, 3.0, 1.0])
    """
    others = num_gpus - 1.0
    whole, direct = np.isin(op, ("send", "broadcast")), np.isin(op, ("send", "all_to_all"))
    twice = np.where(op == "all_reduce", 2.0, 1.0)
    return np.where(whole, 1.0, twice * others / num_gpus), np.where(direct, 1.0, twice * others)


def _link_bytes_per_s(t: SimpleNamespace, m: Machine, nvlink: Values) -> Values:
    """What a ring gets of a link: a box shares its switches and sockets, the more so the more GPUs take part."""
    f, gpu = m.factors, m.gpu
    assert gpu.pcie is not None or bool(np.all(nvlink)), f"{gpu.id} has no link to other GPUs"
    doublings = np.log2(np.maximum(t.num_gpus, 2.0))
    fast = 0.0 if gpu.nvlink is None else gpu.nvlink.bandwidth_bytes_per_s
    slow = 0.0 if gpu.pcie is None else gpu.pcie.bandwidth_bytes_per_s
    fast = fast * np.interp(doublings, [1.0, 2.0, 3.0], [f.nvlink_ring_fraction_2, f.nvlink_ring_fraction_4, f.nvlink_ring_fraction_8])
    slow = slow * np.interp(doublings, [1.0, 2.0, 3.0], [f.pcie_ring_fraction_2, f.pcie_ring_fraction_4, f.pcie_ring_fraction_8])
    # While a GPU adds what came, the link already carries the next piece: an all-reduce streams a little better.
    return np.where(nvlink, fast, slow) * np.where(t.op == "all_reduce", f.collective_all_reduce_gain, 1.0)


def price_collective(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of collectives, (N,) or (designs, N)."""
    f = m.factors
    nvlink = (t.link == "nvlink") & (m.gpu.nvlink is not None)
    rate = _link_bytes_per_s(t, m, nvlink)
    share, hops = ring_terms(t.op, t.num_gpus)
    start_s = f.collective_fixed_s + f.collective_per_gpu_s * t.num_gpus
    protocols = (
        ("LL", 0.0, np.where(nvlink, f.nvlink_ll_hop_s, f.pcie_ll_hop_s), np.where(nvlink, f.nvlink_ll_efficiency, f.pcie_ll_efficiency)),
        ("LL128", np.where(nvlink, f.nvlink_ll128_extra_s, np.inf), 1.5 * f.nvlink_ll_hop_s, f.nvlink_ll128_efficiency),
        ("Simple", np.where(nvlink, f.nvlink_simple_extra_s, f.pcie_simple_extra_s), np.where(nvlink, f.nvlink_simple_hop_s, f.pcie_simple_hop_s), 1.0),
    )
    alternatives = []
    for name, extra_s, hop_s, efficiency in protocols:
        wire_s = t.size_bytes * share / (rate * efficiency)
        latency_s = start_s + extra_s + hops * hop_s
        parts = Parts(
            l2_s=wire_s[np.newaxis],
            latency_s=latency_s[np.newaxis],
            dram_bytes=np.asarray(t.size_bytes * share * 2.0)[np.newaxis],
            ctas=_CHANNELS,
        )
        alternatives.append((parts, np.asarray(wire_s + latency_s)[np.newaxis], [f"ring {name}"]))
    return fastest(alternatives)
