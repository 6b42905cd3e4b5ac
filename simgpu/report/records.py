"""Rows of a report: one kernel, one group of kernels, how busy each part of the GPU was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRecord:
    """A kernel and all that is known of it; the fields are the columns of `--csv` and the keys of `--json`.

    Attributes:
        index: Place in launch order.
        choice: Tile or algorithm that the library is taken to pick.
        stream: Stream it ran in.
        start_s: Begin on the device, from the start of the run. [s]
        span_s: Time on the device; longer than `duration_s` where kernels share the GPU. [s]
        duration_s: Time alone on the device. [s]
        bound: The longest part: compute, memory latency, L2, DRAM or latency.
        math_s, chain_s, l2_s, dram_s, latency_s: The parts, which overlap. [s]
        roofline_s: What the datasheet roofline says. [s]
        own_roofline_s: The roofline of the work this kernel cannot avoid (see `KernelTimes`). [s]
        roofline_fraction: own_roofline_s / duration_s.
        flop: Algorithmic work, 1 MAC = 2. [FLOP]
        executed_flop: Work done, padding included. [FLOP]
        dram_bytes, l2_bytes: Traffic. [B]
        flop_per_s, dram_bytes_per_s: Achieved rates. [FLOP/s, B/s]
        ctas, waves: Thread blocks, and how often the GPU is filled with them.
        occupancy_fraction: Resident warps over the maximum, on SMs with work.
        sm_fraction: Share of SMs with work, averaged over its time.
        energy_j: Without the board's idle power. [J]
        clock_hz: SM clock under the power limit. [Hz]
    """

    index: int
    name: str
    op: str
    scope: str
    label: str
    family: str
    dtype: str
    pipe: str
    choice: str
    stream: int
    start_s: float
    span_s: float
    duration_s: float
    bound: str
    math_s: float
    chain_s: float
    l2_s: float
    dram_s: float
    latency_s: float
    roofline_s: float
    own_roofline_s: float
    roofline_fraction: float
    flop: float
    executed_flop: float
    dram_bytes: float
    l2_bytes: float
    flop_per_s: float
    dram_bytes_per_s: float
    ctas: float
    waves: float
    occupancy_fraction: float
    sm_fraction: float
    energy_j: float
    clock_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """Kernels that have something in common, together.

    Attributes:
        count: Kernels.
        time_s: Their time on the device. [s]
        time_fraction: Share of all kernels' time.
        bound: What most of their time is bound by.
        roofline_fraction: Datasheet roofline time over their time.
    """

    name: str
    family: str
    count: int
    time_s: float
    time_fraction: float
    bound: str
    flop: float
    dram_bytes: float
    flop_per_s: float
    dram_bytes_per_s: float
    roofline_fraction: float


# name of the term → (field of Utilization, what it means). The report, `--help` and the README use these words.
UTILIZATION: Mapping[str, tuple[str, str]] = {
    "GPU-Util": ("gpu_util_fraction", "time in which at least one kernel runs, however small (nvidia-smi, window longer than the run)"),
    "SM active": ("sm_active_fraction", "SMs with at least one warp, averaged over SMs and time (DCGM 1002)"),
    "SM occupancy": ("sm_occupancy_fraction", "resident warps over the maximum, averaged over SMs and time, idle SMs count as 0 (DCGM 1003)"),
    "Tensor pipe": ("tensor_active_fraction", "cycles in which the tensor cores work (DCGM 1004)"),
    "FP32 pipe": ("fp32_active_fraction", "cycles in which the FP32 FMA pipes work (DCGM 1007)"),
    "DRAM": ("dram_active_fraction", "cycles in which device memory sends or receives: traffic over the datasheet bandwidth (DCGM 1005)"),
    "MFU": ("mfu_fraction", "the model's own FLOP a second over the GPU's peak for the dtype"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """How busy the parts of the GPU are over a run that is repeated without pause; shares in [0, 1].

    Attributes:
        gpu_util_fraction: Time in which at least one kernel runs. As nvidia-smi's GPU-Util, whose sampling window (1/6 s to
            1 s) is longer than a run.
        sm_active_fraction: SMs with at least one resident warp. DCGM_FI_PROF_SM_ACTIVE.
        sm_occupancy_fraction: Resident warps over the maximum on all SMs, all the time. DCGM_FI_PROF_SM_OCCUPANCY.
        achieved_occupancy_fraction: The same on SMs while they have work. Nsight Compute "achieved occupancy".
        tensor_active_fraction: Cycles in which the tensor pipe works. DCGM_FI_PROF_PIPE_TENSOR_ACTIVE.
        fp32_active_fraction: Cycles in which the FP32 FMA pipe works. DCGM_FI_PROF_PIPE_FP32_ACTIVE.
        dram_active_fraction: DRAM traffic over the datasheet bandwidth. DCGM_FI_PROF_DRAM_ACTIVE.
        mfu_fraction: Algorithmic FLOP/s over the peak for the dtype of the run.

    Source: nvidia-smi(1), "Utilization"; NVIDIA DCGM documentation, "Profiling metrics"; MFU: Chowdhery et al., "PaLM",
    arXiv:2204.02311, appendix B.
    """

    gpu_util_fraction: float
    sm_active_fraction: float
    sm_occupancy_fraction: float
    achieved_occupancy_fraction: float
    tensor_active_fraction: float
    fp32_active_fraction: float
    dram_active_fraction: float
    mfu_fraction: float
