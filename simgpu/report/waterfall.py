"""Why a run does not take the time that the datasheet's peak promises, as steps that add up to its latency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simgpu.report.report import Report
from simgpu.report.roofline import peak_of_pipe_flop_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A reason why a run takes longer (or shorter) than the step before. [s]"""

    name: str
    time_s: float


def why_not_at_peak(report: Report) -> tuple[Step, ...]:
    """From the time at the datasheet's peak to the latency: steps that add up to it.

    Math at the peak of each kernel's pipe; what tiles add by padding, and the work that Winograd and causal masks save; the
    clock under the power limit against that of the peak; waves that leave SMs without work, as the busiest SM decides; what
    the pipes lose within an SM with work, to low occupancy, issue slots and the feeding of operands; the time that memory
    needs beyond the math, by the level that binds; fill, drain and gaps of kernels, and parts that overlap but in part; time
    in which no kernel runs, less what streams overlap.
    """
    times, gpu = report.times, report.gpu
    kernels = report.kernels.kernels
    peak = np.array([peak_of_pipe_flop_per_s(gpu, k) for k in kernels])
    peak_clock_hz = np.array([gpu.tensor_clock_hz(k.dtype) if k.pipe == "tensor" else gpu.clock_hz for k in kernels])
    at_peak, executed = np.array([k.flop for k in kernels]) / peak, times.executed_flop / peak
    more = executed - at_peak
    at_clock = executed * peak_clock_hz / np.where(times.clock_hz > 0, times.clock_hz, peak_clock_hz)  # copies between GPUs have none
    # CTAs are dealt to SMs: the busiest one has ceil(CTAs / SMs). Where other units bind the math, its time is less than that.
    sms = gpu.sm.count
    uneven = np.maximum(1.0, np.ceil(times.ctas / sms) * sms / np.maximum(times.ctas, 1.0))
    dealt = np.clip(at_clock * uneven, at_clock, np.maximum(times.math_s, at_clock))
    levels = np.stack([times.math_s, times.chain_s, times.l2_s, times.dram_s])
    longest, level = levels.max(axis=0), levels.argmax(axis=0)
    beyond = longest - times.math_s
    steps = [
        ("math at the datasheet peak", at_peak.sum()),
        ("tiles: padding", more[more > 0].sum()),
        ("work saved: Winograd, masks", more[more < 0].sum()),
        ("clock", (at_clock - executed).sum()),
        ("waves: SMs without work", (dealt - at_clock).sum()),
        ("occupancy, issue, operands", (times.math_s - dealt).sum()),
        ("memory latency", beyond[level == 1].sum()),
        ("L2", beyond[level == 2].sum()),
        ("DRAM", beyond[level == 3].sum()),
        ("fill, gaps, overlap lost", (times.duration_s - longest).sum()),
        ("waiting for launches", report.latency_s - times.duration_s.sum()),
    ]
    return tuple(Step(name=name, time_s=float(seconds)) for name, seconds in steps)
