"""One operator step by step: the problem, what the datasheet promises, what the library runs, where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simgpu.arch.spec import GPU
from simgpu.cost.times import PARTS
from simgpu.kernels.kernel import Kernel
from simgpu.report.records import KernelRecord
from simgpu.report.report import Report
from simgpu.report.text import bar, columns, number, numbered, percent, seconds
from simgpu.units import format_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A reason why a kernel takes longer than the datasheet roofline says.

    Attributes:
        time_s: The time with this and all reasons before it. [s]
        factor: What it multiplies the time by; 1 at the start.
    """

    name: str
    factor: float
    time_s: float


def steps_from_roofline(kernel: KernelRecord, gpu: GPU, least_bytes: float) -> tuple[Step, ...]:
    """The way from the datasheet's time to the kernel's, along the part that binds it.

    The first step is the datasheet time of that part alone; each further one multiplies it; the last is the kernel's
    duration.

    Args:
        least_bytes: What the kernel must read and write at the least. [B]
    """
    steps: list[Step] = []

    def add(name: str, time_s: float) -> None:
        before = steps[-1].time_s if steps else time_s
        if time_s > 0 and (not steps or abs(time_s / before - 1) >= 0.005):
            steps.append(Step(name=name, factor=time_s / before, time_s=time_s))

    peak = gpu.peak_flop_per_s(kernel.dtype, kernel.pipe)
    bandwidth = gpu.dram.bandwidth_bytes_per_s
    if kernel.bound == "compute" and kernel.flop and peak:
        add(f"{format_quantity(kernel.flop, 'FLOP')} at the {kernel.dtype} peak of {format_quantity(peak, 'FLOP/s')}", kernel.flop / peak)
        saved = kernel.executed_flop < kernel.flop
        add("a faster algorithm does less work" if saved else "padding to whole tiles", kernel.executed_flop / peak)
        slower = gpu.clock_hz / kernel.clock_hz if kernel.clock_hz else 1.0
        add(f"clock of {format_quantity(kernel.clock_hz, 'Hz')}, not {format_quantity(gpu.clock_hz, 'Hz')}", kernel.executed_flop / peak * slower)
        add("SMs without work, last wave, pipes waiting for operands", kernel.math_s)
    elif kernel.bound == "DRAM":
        add(f"{format_quantity(least_bytes, 'B')} at the DRAM peak of {format_quantity(bandwidth, 'B/s')}", least_bytes / bandwidth)
        add("found in L2" if kernel.dram_bytes < least_bytes else "read more than once", kernel.dram_bytes / bandwidth)
        add("what DRAM can sustain", kernel.dram_s)
    else:
        add("the datasheet roofline", kernel.roofline_s)
        binding = {name: part for part, name in PARTS.items()}.get(kernel.bound)
        add(f"bound by {kernel.bound}", getattr(kernel, binding) if binding else kernel.duration_s)
    add("what does not overlap with it", kernel.duration_s)
    return tuple(steps)


def format_operator(report: Report, problem: Sequence[str], *, width: int = 100) -> str:
    """The page that `simgpu op` prints.

    Args:
        problem: The problem in words, a line each.
    """
    gpu = report.gpu
    kernels = list(zip(report.records, report.kernels.kernels, strict=True))
    least_bytes = sum(k.read_bytes + k.write_bytes for _, k in kernels)
    head = f"{report.model} on {gpu.name}, {report.dtype}"
    ridge = report.peak_flop_per_s / gpu.dram.bandwidth_bytes_per_s
    blocks = [
        [head, "─" * width],
        [
            "1  The problem",
            *(f"     {line}" for line in problem),
            f"     {format_quantity(report.flop, 'FLOP')} (1 MAC = 2), at least {format_quantity(least_bytes, 'B')} to read and write: "
            f"{number(report.flop / least_bytes)} FLOP/B, where this GPU's roofline bends at {number(ridge)}",
        ],
        ["2  What the datasheet promises", *_datasheet(report, kernels)],
        ["3  What the library runs", *_launches(kernels)],
    ]
    longest = sorted(kernels, key=lambda pair: -pair[0].duration_s)[:3]
    blocks += [_kernel(record, kernel, gpu, alone=len(kernels) == 1) for record, kernel in longest]
    total = sum(record.duration_s for record, _ in kernels)
    rates = f"{format_quantity(report.flop / total, 'FLOP/s')}, {format_quantity(report.dram_bytes / total, 'B/s')} of DRAM traffic"
    summary = ["6  In all", f"     {seconds(total)} on the device: {rates}, {percent(report.roofline_s / total)} of the datasheet roofline"]
    if report.host_s > total:
        summary.append(f"     {seconds(report.host_s)} on the host to issue it ({report.runtime.name}), longer than the device needs")
    blocks.append(summary)
    notes = (*report.assumptions, "operands start in DRAM unless an earlier kernel of the operator has just touched them")
    blocks.append(["Assumptions", *numbered(notes, width)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _datasheet(report: Report, kernels: Sequence[tuple[KernelRecord, Kernel]]) -> list[str]:
    gpu = report.gpu
    rows = []
    by_pipe: dict[tuple[str, str], float] = {}
    for record, _ in kernels:
        if record.flop:
            by_pipe[record.dtype, record.pipe] = by_pipe.get((record.dtype, record.pipe), 0.0) + record.flop
    for (dtype, pipe), flop in by_pipe.items():
        if peak := gpu.peak_flop_per_s(dtype, pipe):
            units = "tensor cores" if pipe == "tensor" else "CUDA cores"
            rows.append(("math", f"{format_quantity(flop, 'FLOP')} / {format_quantity(peak, 'FLOP/s')} ({dtype}, {units})", seconds(flop / peak)))
    size = sum(kernel.read_bytes + kernel.write_bytes for _, kernel in kernels)
    bandwidth = gpu.dram.bandwidth_bytes_per_s
    rows.append(("DRAM", f"{format_quantity(size, 'B')} / {format_quantity(bandwidth, 'B/s')}", seconds(size / bandwidth)))
    rows.append(("roofline", "the longer one of each kernel", seconds(report.roofline_s)))
    return columns(rows, "<<>", indent=5)


def _launches(kernels: Sequence[tuple[KernelRecord, Kernel]]) -> list[str]:
    rows = [
        (
            k.label,
            k.choice or "–",
            number(k.ctas),
            number(k.waves),
            percent(k.occupancy_fraction),
            percent(k.sm_fraction),
            f"×{k.executed_flop / k.flop:.3g}" if k.flop else "–",
            seconds(k.duration_s),
        )
        for k, _ in kernels
    ]
    return columns(rows, "<<>>>>>>", header=("kernel", "tile or algorithm", "CTAs", "waves", "occupancy", "SMs busy", "work done", "time"), indent=5)


def _kernel(record: KernelRecord, kernel: Kernel, gpu: GPU, *, alone: bool) -> list[str]:
    which = "" if alone else f": {record.label}"
    rows = []
    for part, name in PARTS.items():
        value = getattr(record, part)
        mark = "  ← binds" if name == record.bound else ""
        rows.append((name, seconds(value), bar(value / record.duration_s, 30) + mark))
    rows.append(("together", seconds(record.duration_s), "they overlap"))
    steps = steps_from_roofline(record, gpu, kernel.read_bytes + kernel.write_bytes)
    reasons = [("" if i == 0 else f"×{s.factor:.3g}", s.name, seconds(s.time_s)) for i, s in enumerate(steps)]
    return [
        f"4  Where its time goes{which}",
        *columns(rows, "<><", indent=5),
        "",
        f"5  Why it is not the roofline{which}",
        *columns(reasons, "><>", indent=5),
    ]
