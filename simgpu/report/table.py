"""A report on a terminal: how long, what limits it, how busy, why, and what was taken for granted."""

from __future__ import annotations

import textwrap

from simgpu.report.records import UTILIZATION, GroupRecord, KernelRecord
from simgpu.report.report import HOST_BOUND, Report
from simgpu.report.text import bar, columns, numbered, percent, quantity, seconds, shorten, side_by_side
from simgpu.units import format_quantity

MIN_WIDTH, MAX_WIDTH = 80, 120

# What a bound means for the one who reads it.
BOUND_MEANING = {
    HOST_BOUND: "no kernel runs: the device waits for the host",
    "compute": "math pipes, at the work really executed",
    "shared memory": "shared memory and L1 ports",
    "L2": "traffic between L2 and SMs",
    "DRAM": "traffic to device memory",
    "latency": "start, end and dependent steps of kernels too short to fill the GPU",
}


def format_report(report: Report, *, width: int = 100, top: int = 10) -> str:
    """The page that `simgpu run` prints.

    Args:
        width: Columns of the terminal; 80 to 120 are used.
        top: Kernels listed one by one; 0 = none.
    """
    width = max(MIN_WIDTH, min(width, MAX_WIDTH))
    blocks = [
        _head(report, width),
        _where_the_time_goes(report, width),
        side_by_side(_how_busy(report), _work(report), width),
        _by_kind(report, width),
        _slowest(report, width, top) if top else [],
        ["Assumptions", *numbered(report.assumptions, width)] if report.assumptions else [],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def verdict(report: Report) -> str:
    """What limits the run, and the figures that say so, in a sentence."""
    shares = report.bound_fractions
    share = percent(shares.get(report.bound, 0.0))
    match report.bound:
        case "host launch":
            calls = f"{report.num_calls} calls" if not report.runtime.graph_replay else "one graph launch"
            return (
                f"the host needs {seconds(report.host_s)} to issue {calls}, the device {seconds(report.device_s)} to run them: "
                f"it waits {percent(shares.get(HOST_BOUND, 0.0))} of the time"
            )
        case "DRAM":
            rate = report.dram_bytes / report.latency_s
            return (
                f"kernels wait for device memory {share} of the time; it moves {format_quantity(rate, 'B/s')}, "
                f"{percent(report.utilization.dram_active_fraction)} of its peak"
            )
        case "compute":
            return (
                f"kernels wait for the math pipes {share} of the time; the model gets {format_quantity(report.flop_per_s, 'FLOP/s')}, "
                f"{percent(report.utilization.mfu_fraction)} of the {report.math_dtype} peak"
            )
        case "latency":
            return f"kernels too short to fill the GPU: their start, end and dependent steps take {share} of the time"
        case bound:
            return f"kernels wait for {bound} {share} of the time"


def advice(report: Report) -> str:
    """What would make the run faster, as far as the bound says."""
    match report.bound:
        case "host launch":
            return "a larger batch hides the host" if report.runtime.graph_replay else "a larger batch or --runtime graph hides the host"
        case "latency":
            return "a larger batch or fused kernels (--runtime compiled, tensorrt) give each kernel more to do"
        case "DRAM":
            return "fewer bytes: fused kernels (--runtime compiled, tensorrt) or a narrower dtype"
        case "compute" if report.math_dtype in {"fp32", "fp64"} and any(report.gpu.tensor_flop_per_clk(d) for d in ("fp16", "tf32")):
            return "this GPU has tensor cores: --dtype fp16, amp or tf32 where it has them"
        case _:
            return ""


def _head(report: Report, width: int) -> list[str]:
    title = f"{report.model} on {report.gpu.name}"
    facts = [
        report.setting,
        f"{format_quantity(report.num_params, '')} parameters",
        f"{format_quantity(report.flop, 'FLOP')} (1 MAC = 2)",
        f"{len(report.kernels)} kernels",
    ]
    rate = f"{format_quantity(report.throughput_per_s, '')} samples/s"
    lead = "  Limited by  "
    because = f"{report.bound}: {verdict(report)}"
    return [
        title,
        *textwrap.wrap(" · ".join(facts), width, break_on_hyphens=False),
        "─" * width,
        f"  Latency     {seconds(report.latency_s)}   ({rate})",
        *textwrap.wrap(because, width, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False),
        *([f"  Would help  {advice(report)}"] if advice(report) else []),
        f"  Memory      {_memory_line(report)}",
    ]


def _memory_line(report: Report) -> str:
    memory = report.memory
    peak, capacity = format_quantity(memory.peak_bytes, "iB"), format_quantity(memory.capacity_bytes, "iB")
    if memory.fits:
        return f"{peak} of {capacity} at the peak"
    return f"DOES NOT FIT: {peak} needed, {capacity} there; the times below are those of a GPU with enough"


def _where_the_time_goes(report: Report, width: int) -> list[str]:
    bar_width = min(36, width - 66)
    rows = [
        (name, f"{bar(share, bar_width):<{bar_width}}", percent(share), seconds(share * report.latency_s)) for name, share in report.bound_fractions.items()
    ]
    lines = columns(rows, "<<>>")
    room = width - max((len(line) for line in lines), default=0) - 2
    notes = [BOUND_MEANING.get(name, "") for name, *_ in rows]
    lines = [f"{line}  {note}" if len(note) <= room else line for line, note in zip(lines, notes, strict=True)]
    ladder = [f"datasheet roofline {seconds(report.roofline_s)}", f"kernels one by one {_times(report.kernel_s, report.roofline_s)}"]
    if report.num_streams > 1:
        ladder.append(f"critical path {seconds(report.critical_path_s)}")
    ladder.append(f"this run {_times(report.latency_s, report.roofline_s)}")
    return ["Where the time goes", *lines, *textwrap.wrap(" → ".join(ladder), width, initial_indent="  ", subsequent_indent="  ")]


def _times(value_s: float, base_s: float) -> str:
    return f"{seconds(value_s)} (×{value_s / base_s:.3g})" if base_s > 0 else seconds(value_s)


def _how_busy(report: Report) -> list[str]:
    rows = []
    for term, (field, _) in UTILIZATION.items():
        share = getattr(report.utilization, field)
        rows.append((term, percent(share), bar(share, 20)))
    return ["How busy the GPU is", *columns(rows, "<><")]


def _work(report: Report) -> list[str]:
    ridge = report.peak_flop_per_s / report.gpu.dram.bandwidth_bytes_per_s
    clock = f"{format_quantity(report.clock_hz, 'Hz')} of {format_quantity(report.gpu.clock_hz, 'Hz')}"
    categories = [(name, format_quantity(value, "iB")) for name, value in report.memory.by_category().items() if value > 0]
    rows = [
        ("DRAM traffic", format_quantity(report.dram_bytes, "B")),
        ("FLOP per byte", f"{report.intensity_flop_per_byte:.3g} (ridge {ridge:.3g})"),
        ("FLOP executed", f"{format_quantity(report.executed_flop, 'FLOP')}" + (f" (×{report.executed_flop / report.flop:.2f})" if report.flop else "")),
        ("Energy", f"{format_quantity(report.energy_j, 'J')} at {format_quantity(report.power_w, 'W')} of {format_quantity(report.gpu.power.tdp_w, 'W')}"),
        ("SM clock", clock),
        ("Memory", " + ".join(f"{value} {name}" for name, value in categories[:2])),
        *([("", "+ " + " + ".join(f"{value} {name}" for name, value in categories[2:]))] if len(categories) > 2 else []),
    ]
    return ["Work, energy, memory", *columns(rows, "<<")]


def _by_kind(report: Report, width: int) -> list[str]:
    groups = report.by_label()
    shown, rest = groups[:12], groups[12:]
    wide = width >= 96

    def row(g: GroupRecord) -> tuple[str, ...]:
        cells = [shorten(g.name, 26), str(g.count), seconds(g.time_s), percent(g.time_fraction), seconds(g.time_s / g.count)]
        if wide:
            cells += [quantity(g.flop_per_s, "FLOP/s"), quantity(g.dram_bytes_per_s, "B/s")]
        return (*cells, g.bound, percent(g.roofline_fraction))

    header = ["", "count", "time", "share", "each", *(["math", "DRAM"] if wide else []), "bound", "of roofline"]
    lines = columns([row(g) for g in shown], "<>>>>>><>" if wide else "<>>>><>", header=header)
    if rest:
        lines.append(f"  and {len(rest)} more kinds, {percent(sum(g.time_fraction for g in rest))} of the kernel time")
    return ["Kernels by kind", *lines]


def _slowest(report: Report, width: int, top: int) -> list[str]:
    kernels = report.top_kernels(top)
    wide = width >= 96

    def row(k: KernelRecord) -> tuple[str, ...]:
        share = k.span_s / report.kernel_s if report.kernel_s else 0.0
        cells = (
            shorten(k.scope or k.op or k.name, 30 if wide else 24),
            shorten(k.label, 18),
            seconds(k.span_s),
            percent(share),
            k.bound,
            percent(k.roofline_fraction),
        )
        return (*cells, shorten(_how(k), 24)) if wide else cells

    header = ("", "kind", "time", "share", "bound", "of roofline", *(("tile, waves",) if wide else ()))
    lines = columns([row(k) for k in kernels], "<<>><><" if wide else "<<>><>", header=header)
    return [f"Slowest kernels ({len(kernels)} of {len(report.kernels)})", *lines]


def _how(kernel: KernelRecord) -> str:
    return ", ".join(part for part in (kernel.choice, f"{kernel.waves:.2g} waves" if kernel.waves else "") if part)
