"""Kernels × GPU → seconds: groups kernels by family and hands each family's columns to its formula."""

from __future__ import annotations

import numpy as np

from simgpu.arch.spec import GPU
from simgpu.cost.times import KernelTimes
from simgpu.kernels.kernel import KernelGraph


class CostModel:
    """Prices kernel graphs.

    FIRST STAND-IN: the plain roofline; the physics replaces this.
    """

    def price(self, kernels: KernelGraph, gpu: GPU) -> KernelTimes:
        n = len(kernels)
        flop = np.array([k.flop for k in kernels.kernels], dtype=float)
        peak = np.array([gpu.peak_flop_per_s(k.dtype, k.pipe) or gpu.peak_flop_per_s("fp32") for k in (x if x.pipe != "none" else x for x in kernels.kernels)] if n else [], dtype=float)
        bytes_ = np.array([k.read_bytes + k.write_bytes for k in kernels.kernels], dtype=float)
        repeat = np.array([k.repeat for k in kernels.kernels], dtype=float)
        math_s, dram_s = flop / peak, bytes_ / gpu.dram.bandwidth_bytes_per_s
        latency_s = np.full(n, 3e-6) * repeat
        zeros, ones = np.zeros(n), np.ones(n)
        return KernelTimes(
            duration_s=np.maximum(math_s, dram_s / gpu.dram.achievable_fraction) + latency_s,
            math_s=math_s, shared_s=zeros, l2_s=zeros, dram_s=dram_s / gpu.dram.achievable_fraction, latency_s=latency_s,
            roofline_s=np.maximum(math_s, dram_s), executed_flop=flop, dram_bytes=bytes_, l2_bytes=bytes_,
            ctas=ones * gpu.sm.count, waves=ones, occupancy_fraction=ones, sm_fraction=ones,
            energy_j=(math_s + dram_s) * gpu.power.tdp_w, clock_hz=ones * gpu.clock_hz, choice=np.zeros(n, dtype=np.int64),
        )  # fmt: skip
