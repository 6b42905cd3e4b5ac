"""A run on the roofline, as numbers: its kernels as points, and what the machine allows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from simgpu.arch.spec import GPU
from simgpu.kernels.kernel import Kernel
from simgpu.report.report import Report

_SAME_PLACE = 0.15  # kernels of one kind within so much of each other are one point [natural logarithm]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Kernels that do the same work, as one point of the chart.

    Attributes:
        name: What the kernel is, and the first layer that launches it.
        count: Kernels in it.
        intensity_flop_per_byte: Algorithmic FLOP a byte of DRAM traffic. [FLOP/B]
        l2_intensity_flop_per_byte: The same for L2 traffic. [FLOP/B]
        rate_flop_per_s: Algorithmic FLOP a second. [FLOP/s]
        roof_flop_per_s: What the datasheet allows: the lower of DRAM bandwidth times intensity and the peak of their pipe. [FLOP/s]
        time_s: Their time together. [s]
        time_fraction: Share of all kernels' time.
    """

    name: str
    family: str
    count: int
    intensity_flop_per_byte: float
    l2_intensity_flop_per_byte: float
    rate_flop_per_s: float
    roof_flop_per_s: float
    time_s: float
    time_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """A limit of the machine: FLOP/s of a pipe, or bytes/s of a memory level."""

    name: str
    value: float
    is_memory: bool = False
    used: bool = True


def roofline_points(report: Report) -> tuple[Point, ...]:
    """The kernels of a run on the roofline, the longest first; kernels without arithmetic or memory traffic have no place on it."""
    times, kernels = report.times, report.kernels.kernels
    total_s = float(times.duration_s.sum())
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, kernel in enumerate(kernels):
        if kernel.flop > 0 and times.dram_bytes[i] > 0 and times.duration_s[i] > 0:
            place = (math.log(kernel.flop / times.dram_bytes[i]), math.log(kernel.flop / times.duration_s[i]))
            groups.setdefault((kernel.family, kernel.label, *(round(p / _SAME_PLACE) for p in place)), []).append(i)
    points = []
    for members in groups.values():
        flop, time_s = sum(kernels[i].flop for i in members), float(times.duration_s[members].sum())
        l2_bytes = float(times.l2_bytes[members].sum())
        fastest_s = sum(
            max(kernels[i].flop / peak_of_pipe_flop_per_s(report.gpu, kernels[i]), float(times.dram_bytes[i]) / report.gpu.dram.bandwidth_bytes_per_s)
            for i in members
        )
        points.append(
            Point(
                name=common_name([kernels[i] for i in members]),
                family=kernels[members[0]].family,
                count=len(members),
                intensity_flop_per_byte=flop / float(times.dram_bytes[members].sum()),
                l2_intensity_flop_per_byte=flop / l2_bytes if l2_bytes else math.inf,
                rate_flop_per_s=flop / time_s,
                roof_flop_per_s=flop / fastest_s,
                time_s=time_s,
                time_fraction=time_s / total_s,
            )
        )
    return tuple(sorted(points, key=lambda p: -p.time_s))


def peak_of_pipe_flop_per_s(gpu: GPU, kernel: Kernel) -> float:
    """Datasheet peak of the pipe a kernel runs on; of FP32 on CUDA cores where its format has no unit. [FLOP/s]"""
    return gpu.peak_flop_per_s(kernel.dtype, kernel.pipe) or gpu.peak_flop_per_s("fp32", "vector")


def common_name(kernels: Sequence[Kernel]) -> str:
    """One kernel: its op, and what it is if the op has but a number. Several: what their ops' paths have in common, or what they are, and how many."""
    if len(kernels) == 1:
        op = kernels[0].op or kernels[0].name
        return f"{kernels[0].label} {op}" if kernels[0].label and re.fullmatch(r"\D?\d+", op) else op  # "n0" says nothing
    paths = [k.op.split(".") for k in kernels]
    head, tail = _shared(paths), _shared([path[::-1] for path in paths])[::-1]
    if len(head) == min(map(len, paths)):  # several kernels of one op, or an op within another's path
        return f"{'.'.join(head)} ×{len(kernels)}"
    if tail and tail != [""]:
        return f"{'.'.join([*head, '*', *tail])} ×{len(kernels)}"
    return f"{kernels[0].label or kernels[0].family} ×{len(kernels)}" + (f" in {'.'.join(head)}" if head else "")


def _shared(paths: Sequence[Sequence[str]]) -> list[str]:
    """The parts with which all paths begin."""
    result: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        result.append(parts[0])
    return result


def whole_model(report: Report) -> Point:
    """A run as a single point: all its FLOP over all its DRAM traffic and over its latency."""
    return Point(
        name=report.model,
        family="",
        count=len(report.kernels),
        intensity_flop_per_byte=report.intensity_flop_per_byte,
        l2_intensity_flop_per_byte=report.flop / report.l2_bytes if report.l2_bytes else math.inf,
        rate_flop_per_s=report.flop_per_s,
        roof_flop_per_s=min(report.intensity_flop_per_byte * report.gpu.dram.bandwidth_bytes_per_s, report.peak_flop_per_s),
        time_s=report.latency_s,
        time_fraction=1.0,
    )


def roofline_ceilings(report: Report) -> tuple[Ceiling, ...]:
    """What limits the kernels of a run: memory levels from DRAM inwards, then the pipes in the formats that it uses, the fastest first."""
    gpu = report.gpu
    memory = [Ceiling(name="DRAM", value=gpu.dram.bandwidth_bytes_per_s, is_memory=True)]
    l2 = gpu.l2.measured_bandwidth_bytes_per_s or (gpu.l2.bandwidth_bytes_per_clk or 0.0) * gpu.clock_hz
    if gpu.l2.size_bytes and l2:
        memory.append(Ceiling(name="L2", value=l2, is_memory=True, used=False))
    memory.append(Ceiling(name="shared memory", value=gpu.sm.count * gpu.shared.bandwidth_bytes_per_clk * gpu.clock_hz, is_memory=True, used=False))
    used = {(k.dtype, k.pipe) for k in report.kernels.kernels if k.flop > 0}
    pipes: dict[str, Ceiling] = {}
    for dtype, pipe in sorted(used | {("fp32", "vector")}):
        if peak := gpu.peak_flop_per_s(dtype, pipe):
            name = f"{dtype} {'tensor cores' if pipe == 'tensor' else 'CUDA cores'}"
            pipes[name] = Ceiling(name=name, value=peak, used=(dtype, pipe) in used)
    return (*memory, *sorted(pipes.values(), key=lambda c: -c.value))
