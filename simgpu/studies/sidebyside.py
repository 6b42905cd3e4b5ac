"""Runs side by side: what each does and reaches, and in words why fewer FLOP are not as much less time."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simgpu.report.report import HOST_BOUND, Report
from simgpu.report.text import columns, number, percent
from simgpu.studies.convolutions import BreakEven
from simgpu.studies.ready import Finding, ReadyStudy
from simgpu.studies.table import Table
from simgpu.units import format_quantity

_TOLD = 3  # groups of kernels that the words name


def comparison_table(reports: Sequence[Report], inputs: Mapping[str, Sequence[Any]]) -> Table:
    """A row for each run.

    Args:
        inputs: What tells the runs apart, column → a value a run: model or kind, gpu, batch, channels …
    """
    outputs: dict[str, list[Any]] = {
        "flop": [r.flop for r in reports],
        "dram_bytes": [r.dram_bytes for r in reports],
        "intensity_flop_per_byte": [r.intensity_flop_per_byte for r in reports],
        "latency_s": [r.latency_s for r in reports],
        "throughput_per_s": [r.throughput_per_s for r in reports],
        "flop_per_s": [r.flop_per_s for r in reports],
        "mfu_fraction": [r.utilization.mfu_fraction for r in reports],
        "energy_j": [r.energy_j for r in reports],
        "bound": [r.bound for r in reports],
    }
    return Table(columns={name: _array(values) for name, values in {**inputs, **outputs}.items()}, inputs=tuple(inputs))


def _array(values: Sequence[Any]) -> Any:
    if isinstance(values[0], str):
        column = np.empty(len(values), dtype=object)
        column[:] = list(values)
        return column
    return np.array(values)


def format_comparison(table: Table, *, width: int = 100) -> str:
    """The table as a page; where it is narrow, what follows from other columns is left out."""
    names = [name for name in table.inputs if name in table.varied or len(table) == 1]
    texts = [name for name in names if table[name].dtype.kind == "O"]
    outputs: dict[str, Callable[[dict[str, Any]], str]] = {
        "FLOP": lambda row: format_quantity(row["flop"], "FLOP"),
        "DRAM traffic": lambda row: format_quantity(row["dram_bytes"], "B"),
        "FLOP/B": lambda row: number(row["intensity_flop_per_byte"]),
        "latency": lambda row: format_quantity(row["latency_s"], "s"),
        "samples/s": lambda row: number(row["throughput_per_s"]),
        "of peak": lambda row: percent(row["mfu_fraction"]),
        "bound by": lambda row: str(row["bound"]),
    }
    lines: list[str] = []
    for dropped in ((), ("samples/s",), ("samples/s", "DRAM traffic"), ("samples/s", "DRAM traffic", "FLOP/B")):
        shown = [name for name in outputs if name not in dropped]
        rows = [[*(str(row[n]) if n in texts else f"{row[n]:g}" for n in names), *(outputs[n](row) for n in shown)] for row in table.rows()]
        align = "".join("<" if name in texts or name == "bound by" else ">" for name in (*names, *shown))
        lines = columns(rows, align, header=(*names, *shown))
        if max(map(len, lines)) <= width:
            break
    return "\n".join(line[:width].rstrip() for line in lines) + "\n"


def why(report: Report, reference: Report) -> str:
    """Why a run takes the time it takes, against another one on the same GPU; in words from the parts of its kernels.

    Only differences that the numbers show are named.
    """
    faster = reference.latency_s / report.latency_s
    pace = f"is {faster:.3g} times as fast" if faster >= 1.05 else f"takes {1 / faster:.3g} times as long" if faster <= 0.95 else "takes about as long"
    sentences = [f"{report.model} {_amount(report, reference)} and {pace}"]
    density = report.flop_per_s / reference.flop_per_s if report.flop and reference.flop else 1.0
    if density < 1 / 1.2:
        sentences[0] += f": it does {1 / density:.2g} times fewer FLOP a second"
    elif density > 1.2:
        sentences[0] += f": it does {density:.2g} times more FLOP a second"
    idle = report.bound_fractions.get(HOST_BOUND, 0.0)
    if idle >= 0.1:
        sentences.append(f"{idle:.0%} of its time the GPU waits for the host ({len(report.kernels)} kernels)")
    told: list[str] = []
    for group in report.by_label()[:_TOLD]:
        if group.time_fraction < 0.08 and told:
            break
        work = f"{number(group.flop / group.dram_bytes)} FLOP/B, " if group.flop and group.dram_bytes else ""
        told.append(f"{group.name} {group.time_fraction:.0%} ({work}bound by {group.bound}, {group.roofline_fraction:.0%} of what its work allows)")
    sentences.append("its time goes to " + "; ".join(told))
    ridge = report.gpu.ridge_flop_per_byte(report.math_dtype)
    intensity = report.intensity_flop_per_byte
    if intensity < ridge:
        needed = f"{number(ridge)} are needed to reach the {report.math_dtype} peak, so at most {intensity / ridge:.0%} of it"
        sentences.append(f"it does {number(intensity)} FLOP for each byte of DRAM traffic, {needed}")
    return ". ".join(sentence[:1].upper() + sentence[1:] if i else sentence for i, sentence in enumerate(sentences)) + "."


def _amount(report: Report, reference: Report) -> str:
    """How much work a run is against another one."""
    if not report.flop or not reference.flop:
        return f"needs {format_quantity(report.flop, 'FLOP')}, {reference.model} {format_quantity(reference.flop, 'FLOP')},"
    less = reference.flop / report.flop
    if less >= 1.05:
        return f"needs {less:.3g} times fewer FLOP than {reference.model}"
    return f"needs {1 / less:.3g} times the FLOP of {reference.model}" if less <= 0.95 else f"needs about the same FLOP as {reference.model}"


def format_why(pairs: Sequence[tuple[Report, Report]], *, width: int = 100) -> str:
    """The words for each pair of a run and its reference."""
    lines = ["", "Why"]
    for report, reference in pairs:
        lines += textwrap.wrap(f"{report.gpu.name}: {why(report, reference)}", width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join([*lines, ""])


def format_break_even(found: Sequence[BreakEven]) -> str:
    """From how many channels on separable wins on each GPU."""
    tried = found[0].tried
    shown = [n for n in tried if n in (16, 32, 64, 128, 256, 512, 1024)] or list(tried)
    rows = [
        (
            one.gpu,
            "never" if one.channels is None else "always" if one.channels == tried[0] else f"from {one.channels}",
            *(f"×{one.speed_ups[tried.index(n)]:.2f}" for n in shown),
        )
        for one in found
    ]
    header = ("GPU", "separable wins", *(str(n) for n in shown))
    lines = columns(rows, "<<" + ">" * len(shown), header=header)
    return "\n".join(["", f"Dense over separable time, by channels ({tried[0]} to {tried[-1]} tried)", *lines, ""])


def format_ready(study: ReadyStudy, gpu_name: str, cases: Sequence[Finding]) -> str:
    """A published study: its numbers, and ours beside them."""
    first: dict[str, Finding] = {}
    rows = []
    for case in cases:
        start = first.setdefault(case.group, case)
        measured, ours = case.measured_s / start.measured_s, case.device_s / start.device_s
        rows.append(
            (
                case.group,
                case.variant,
                format_quantity(case.flop, "FLOP"),
                format_quantity(case.measured_s, "s"),
                format_quantity(case.device_s, "s"),
                f"×{measured:.2f}",
                f"×{ours:.2f}",
                f"{ours / measured - 1:+.0%}" if case is not start else "",
            )
        )
    header = ("", "variant", "FLOP", "paper", "simgpu", "paper, to first", "simgpu, to first", "off by")
    lines = [f"{study.title} · {gpu_name}", f"  {study.claim}", f"  Source: {study.source}", ""]
    return "\n".join([*lines, *columns(rows, "<<>>>>>>", header=header), ""])
