"""A report on a terminal: how long, what limits it, how busy, why, and what was taken for granted."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from simgpu.report.records import UTILIZATION, GroupRecord, KernelRecord
from simgpu.report.report import HOST_BOUND, Report
from simgpu.report.text import bar, columns, joined, number, numbered, percent, quantity, seconds, shorten, shorten_path, side_by_side
from simgpu.units import format_quantity

MIN_WIDTH, MAX_WIDTH = 80, 120

# What a bound means for the one who reads it.
BOUND_MEANING = {
    HOST_BOUND: "no kernel runs, the device waits",
    "compute": "math pipes of SMs that have work",
    "memory latency": "loads waiting for one another",
    "L2": "traffic between L2 and SMs",
    "DRAM": "traffic to device memory",
    "latency": "start, end and dependent steps",
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
                f"{percent(report.utilization.mfu_fraction)} of the {report.math_dtype} peak{_few_sms(report)}"
            )
        case "latency":
            return f"kernels are too short for this GPU: their start, end and dependent steps take {share} of the time{_few_sms(report)}"
        case bound:
            return f"kernels wait for {bound} {share} of the time"


def _few_sms(report: Report) -> str:
    """Says so where most SMs have nothing to do while kernels run."""
    busy = report.utilization.sm_active_fraction / report.utilization.gpu_util_fraction if report.device_s else 1.0
    return f"; grids are too small: {percent(1 - busy)} of the SMs have no work while kernels run" if busy < 0.6 else ""


def advice(report: Report) -> str:
    """What would make the run faster, as far as the bound says."""
    match report.bound:
        case "host launch":
            return "a larger batch hides the host" if report.runtime.graph_replay else "a larger batch or --runtime graph hides the host"
        case "latency":
            return "a larger batch or fused kernels (--runtime compiled, tensorrt) give each kernel more to do"
        case "DRAM":
            return "fewer bytes: fused kernels (--runtime compiled, tensorrt) or a narrower dtype"
        case "compute" if _few_sms(report):
            return "a larger batch fills the SMs"
        case "compute" if report.math_dtype in {"fp32", "fp64"} and any(report.gpu.tensor_flop_per_clk(d) for d in ("fp16", "tf32")):
            return "this GPU has tensor cores: --dtype fp16, amp or tf32 where it has them"
        case _:
            return ""


def _head(report: Report, width: int) -> list[str]:
    title = f"{report.model} on {report.gpu.name}"
    facts = [
        *report.setting.split(" · "),
        f"{format_quantity(report.num_params, '')} parameters",
        f"{format_quantity(report.flop, 'FLOP')} (1 MAC = 2)",
        f"{len(report.kernels)} kernels",
    ]
    rate = f"{number(report.throughput_per_s)} {'tokens' if report.new_tokens else 'samples'}/s"
    lead = "  Limited by  "
    because = f"{report.bound}: {verdict(report)}"
    return [
        title,
        *joined(facts, width, " ·"),
        "─" * width,
        f"  Latency     {seconds(report.latency_s)}   ({rate})",
        *([f"  Generation  {_generation_line(report)}"] if report.new_tokens else []),
        *textwrap.wrap(because, width, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False),
        *([f"  Would help  {advice(report)}"] if advice(report) else []),
        f"  Memory      {_memory_line(report)}",
    ]


def _generation_line(report: Report) -> str:
    """Time of a token, and of all where more than one is wanted."""
    each = f"{seconds(report.latency_s)} for each token"
    if report.new_tokens == 1:
        return each
    return (
        f"{each} on average, {seconds(report.generation_s)} for all {report.new_tokens} of {'a sequence' if report.batch == 1 else f'{report.batch} sequences'}"
    )


def _memory_line(report: Report) -> str:
    memory = report.memory
    peak, capacity = format_quantity(memory.peak_bytes, "iB"), format_quantity(memory.capacity_bytes, "iB")
    if memory.fits:
        return f"{peak} of {capacity} at the peak"
    return f"DOES NOT FIT: {peak} needed, {capacity} there; the times below are those of a GPU with enough"


def _where_the_time_goes(report: Report, width: int) -> list[str]:
    rows = [
        (name, f"{bar(share, 24):<24}", percent(share), seconds(share * report.latency_s), BOUND_MEANING.get(name, ""))
        for name, share in report.bound_fractions.items()
    ]
    ladder = [f"datasheet roofline {seconds(report.roofline_s)}", f"kernels one by one {_times(report.kernel_s, report.roofline_s)}"]
    if report.num_streams > 1:
        ladder.append(f"critical path {seconds(report.critical_path_s)}")
    ladder.append(f"this run {_times(report.latency_s, report.roofline_s)}")
    lines = columns(rows if width >= 94 else [row[:4] for row in rows], "<<>><" if width >= 94 else "<<>>")
    return ["Where the time goes", *lines, *("  " + line for line in joined(ladder, width - 2, " →"))]


def _times(value_s: float, base_s: float) -> str:
    return f"{seconds(value_s)} (×{value_s / base_s:.3g})" if base_s > 0 else seconds(value_s)


def _how_busy(report: Report) -> list[str]:
    rows = []
    for term, (field, _) in UTILIZATION.items():
        share = getattr(report.utilization, field)
        rows.append((term, percent(share), bar(share, 14)))
    return ["How busy the GPU is", *columns(rows, "<><")]


def _work(report: Report) -> list[str]:
    ridge = report.peak_flop_per_s / report.gpu.dram.bandwidth_bytes_per_s
    clock = f"{format_quantity(report.clock_hz, 'Hz')} of {format_quantity(report.gpu.clock_hz, 'Hz')}"
    categories = [f"{format_quantity(value, 'iB')} {name}" for name, value in report.memory.by_category().items() if value > 0]
    rows = [
        ("DRAM traffic", format_quantity(report.dram_bytes, "B")),
        ("FLOP per byte", f"{number(report.intensity_flop_per_byte)} (ridge {number(ridge)})"),
        ("FLOP executed", f"{format_quantity(report.executed_flop, 'FLOP')}" + (f" (×{report.executed_flop / report.flop:.2f})" if report.flop else "")),
        ("Energy", f"{format_quantity(report.energy_j, 'J')} at {format_quantity(report.power_w, 'W')} of {format_quantity(report.gpu.power.tdp_w, 'W')}"),
        ("SM clock", clock),
        *(("Memory" if i == 0 else "", text) for i, text in enumerate(joined(categories, 42))),
    ]
    return ["Work, energy, memory", *columns(rows, "<<")]


# Columns that a narrow terminal can do without, those first that go first.
_OPTIONAL = (frozenset({"each", "math", "DRAM"}), frozenset({"math", "DRAM"}), frozenset({"each"}), frozenset[str]())


def _by_kind(report: Report, width: int) -> list[str]:
    groups = report.by_label()
    shown, rest = groups[:12], groups[12:]

    def cells(g: GroupRecord, room: int) -> dict[str, str]:
        return {
            "": shorten(g.name, room),
            "count": str(g.count),
            "time": seconds(g.time_s),
            "share": percent(g.time_fraction),
            "each": seconds(g.time_s / g.count),
            "math": quantity(g.flop_per_s, "FLOP/s"),
            "DRAM": quantity(g.dram_bytes_per_s, "B/s"),
            "bound": g.bound,
            "roofline": percent(g.roofline_fraction),
        }

    def lines_with(room: int, kept: frozenset[str]) -> list[str]:
        rows = [{key: text for key, text in cells(g, room).items() if key in kept or key not in _OPTIONAL[0]} for g in shown]
        header = list(rows[0]) if rows else []
        return columns([list(row.values()) for row in rows], "".join("<" if key in ("", "bound") else ">" for key in header), header=header)

    kept = next((k for k in _OPTIONAL if max(map(len, lines_with(20, k)), default=0) <= width), frozenset())
    lines = _fitting(lambda room: lines_with(room, kept), width)
    if rest:
        lines.append(f"  and {len(rest)} more kinds, {percent(sum(g.time_fraction for g in rest))} of the kernel time")
    return ["Kernels by kind", *lines]


def _slowest(report: Report, width: int, top: int) -> list[str]:
    groups = report.distinct_kernels(top)

    def row(k: KernelRecord, count: int, time_s: float, room: int) -> tuple[str, ...]:
        where, share = shorten_path(k.scope or k.op or k.name, room), time_s / report.kernel_s if report.kernel_s else 0.0
        cells = (where, str(count), shorten(k.label, max(room * 2 // 3, 10)), seconds(k.duration_s), percent(share), k.bound, percent(k.roofline_fraction))
        return (*cells, number(k.waves) if k.waves else "–")

    header = ("", "count", "kind", "each", "share", "bound", "roofline", "waves")
    lines = _fitting(lambda room: columns([row(*group, room) for group in groups], "<><>><>>", header=header), width)
    longest = max(map(len, lines))
    if width - longest - 2 >= 12:
        how = ["tile or algorithm", *(k.choice for k, *_ in groups)]
        lines = [f"{line:<{longest}}  {shorten(text, width - longest - 2)}".rstrip() for line, text in zip(lines, how, strict=True)]
    return ["Where most kernel time goes, kernels that are alike together", *lines]


def _fitting(lines_with: Callable[[int], list[str]], width: int) -> list[str]:
    """The lines with as many characters for names as the width allows."""
    return next(lines for room in range(30, 5, -1) if max(map(len, lines := lines_with(room)), default=0) <= width or room == 6)
