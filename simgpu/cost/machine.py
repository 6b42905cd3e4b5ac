"""A GPU as the cost formulas see it: derived rates and calibrated factors, each a number or an array over designs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.arch.spec import GPU
from simgpu.cost.calibration import Calibration, generation

Values = Any

LIBRARY_YEAR = 2024.0  # CUDA 12.x, cuDNN 9: what a user runs today


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Rates at the highest clock; shape () or (designs, 1).

    Attributes:
        factors: Calibrated factors of the GPU's generation (see calibration.json).
        library_year: When cuBLAS and cuDNN were built; older ones have fewer kernels.
        clock_hz: Highest SM clock. min_clock_hz: Lowest the power limit may force.
        dram_bytes_per_s: Achievable DRAM bandwidth.
        l2_bytes_per_s: L2 bandwidth at `clock_hz`.
        l2_bytes: What one tensor may keep resident: a share of the cache, since partitions duplicate lines.
        port_bytes_per_clk: What one SM can take from L2 a clock.
    """

    gpu: GPU
    factors: SimpleNamespace
    generation: str
    library_year: float
    num_sms: Values
    clock_hz: Values
    min_clock_hz: Values
    dram_bytes_per_s: Values
    dram_peak_bytes_per_s: Values
    dram_latency_s: Values
    l2_bytes_per_s: Values
    l2_bytes: Values
    port_bytes_per_clk: Values
    gap_s: Values
    graph_gap_s: Values

    @property
    def issue_lanes(self) -> Values:
        """Thread instructions an SM issues a clock: integer, FP32 and load instructions share the schedulers' slots."""
        return self.gpu.sm.schedulers * self.gpu.sm.issue_per_scheduler * 32.0

    def flop_per_clk(self, dtypes: Any, pipes: Any) -> Values:
        """FLOP per clock and SM of each kernel's pipe, from its dtype and pipe. (N,) or (designs, N)"""
        result: Values = np.full(len(dtypes), np.nan)
        for dtype, pipe in set(zip(dtypes.tolist(), pipes.tolist(), strict=True)):
            here = (dtypes == dtype) & (pipes == pipe)
            result = np.where(here, self.pipe_flop_per_clk(dtype, pipe), result)
        return result

    def pipe_flop_per_clk(self, dtype: str, pipe: str) -> Values:
        """FLOP per clock and SM; a dtype without a unit of its own runs on the FP32 lanes."""
        if pipe == "tensor":
            rate = self.gpu.tensor_flop_per_clk(dtype)
            assert np.all(np.asarray(rate) > 0), f"{self.gpu.id} has no tensor-core mode for {dtype}; lowering should have chosen another"
            return rate
        rate = self.gpu.vector_flop_per_clk(dtype)
        return rate if np.all(np.asarray(rate) > 0) else self.gpu.vector_flop_per_clk("fp32")


def machine(gpu: GPU, calibration: Calibration, library_year: float = LIBRARY_YEAR) -> Machine:
    """The cost formulas' view of a GPU."""
    f = calibration.factors(gpu)
    clock_hz = gpu.clocks.boost_hz if gpu.clocks.max_hz is None else gpu.clocks.max_hz
    port = f.l2_port_bytes_per_clk
    if gpu.l2.measured_bandwidth_bytes_per_s is not None:
        l2 = gpu.l2.measured_bandwidth_bytes_per_s * (clock_hz / gpu.clocks.boost_hz)
    elif gpu.l2.bandwidth_bytes_per_clk is not None:
        l2 = gpu.l2.bandwidth_bytes_per_clk * clock_hz * f.l2_bandwidth_fraction
    else:
        l2 = gpu.dram.bandwidth_bytes_per_s * f.l2_over_dram_bandwidth
    return Machine(
        gpu=gpu,
        factors=f,
        generation=generation(gpu),
        library_year=library_year,
        num_sms=gpu.sm.count,
        clock_hz=clock_hz,
        min_clock_hz=np.minimum(gpu.clocks.base_hz, clock_hz) * f.min_clock_fraction,
        dram_bytes_per_s=gpu.dram.bandwidth_bytes_per_s * gpu.dram.achievable_fraction,
        dram_peak_bytes_per_s=gpu.dram.bandwidth_bytes_per_s,
        dram_latency_s=gpu.dram.latency_s,
        l2_bytes_per_s=l2,
        l2_bytes=gpu.l2.size_bytes / gpu.l2.partitions * f.l2_resident_fraction,
        port_bytes_per_clk=port,
        gap_s=f.kernel_gap_s if gpu.launch.stream_gap_s is None else gpu.launch.stream_gap_s,
        graph_gap_s=f.graph_gap_s if gpu.launch.graph_gap_s is None else gpu.launch.graph_gap_s,
    )
