"""Two runs side by side, stage by stage: parameters, arithmetic, traffic and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simgpu.graph.ir import Graph
from simgpu.report.report import Report
from simgpu.report.summary import summarize
from simgpu.report.text import columns, shorten_path
from simgpu.units import format_quantity

OUTSIDE = "(no scope)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A module of one network; what it does not have is 0.

    Attributes:
        num_params: Trained parameters it is the first to read.
        flop: All arithmetic, 1 MAC = 2. [FLOP]
        dram_bytes: DRAM traffic of its kernels. [B]
        time_s: Time of its kernels on the device. [s]
    """

    num_params: int = 0
    flop: float = 0.0
    dram_bytes: float = 0.0
    time_s: float = 0.0

    def __add__(self, other: Stage) -> Stage:
        return Stage(
            num_params=self.num_params + other.num_params,
            flop=self.flop + other.flop,
            dram_bytes=self.dram_bytes + other.dram_bytes,
            time_s=self.time_s + other.time_s,
        )


def stages(graph: Graph, report: Report, depth: int = 1) -> dict[str, Stage]:
    """The modules of a network at a depth of the module path, in order, with what stands in no module at the end.

    Args:
        depth: Parts of the module path that tell stages apart.
    """
    result: dict[str, Stage] = {}
    for module in summarize(graph).modules:
        if module.type:  # a single op
            name = _stage(module.path, depth)
            result[name] = result.get(name, Stage()) + Stage(num_params=module.num_params, flop=module.flop)
    for record in report.records:
        name = _stage(record.scope or record.op, depth)
        result[name] = result.get(name, Stage()) + Stage(dram_bytes=record.dram_bytes, time_s=record.span_s)
    return result


def _stage(path: str, depth: int) -> str:
    return ".".join(path.split(".")[:depth]) or OUTSIDE


def diff(graphs: tuple[Graph, Graph], reports: tuple[Report, Report], depth: int = 1) -> dict[str, Any]:
    """Both networks as plain data: stages in the order of the first network, then those that only the second has."""
    first, second = (stages(graph, report, depth) for graph, report in zip(graphs, reports, strict=True))
    names = list(dict.fromkeys((*first, *second)))
    return {
        "models": [report.model for report in reports],
        "gpu": reports[0].gpu.id,
        "settings": [report.setting for report in reports],
        "latency_s": [report.latency_s for report in reports],
        "num_params": [graph.num_params for graph in graphs],
        "flop": [sum(stage.flop for stage in of.values()) for of in (first, second)],
        "dram_bytes": [report.dram_bytes for report in reports],
        "stages": [
            {
                "name": name,
                **{field: [getattr(of.get(name, Stage()), field) for of in (first, second)] for field in ("num_params", "flop", "dram_bytes", "time_s")},
            }
            for name in names
        ],
    }


_COLUMNS: tuple[tuple[str, str, str], ...] = (("num_params", "parameters", ""), ("flop", "FLOP", ""), ("dram_bytes", "DRAM [B]", ""), ("time_s", "time", "s"))


def format_diff(found: dict[str, Any]) -> str:
    """The page that `simgpu diff` prints: for each quantity the first network, the second, and the factor between them."""

    def cells(values: Callable[[str], tuple[float, float]]) -> list[str]:
        row = []
        for field, _, unit in _COLUMNS:
            a, b = values(field)
            row += [format_quantity(a, unit) if a else "–", format_quantity(b, unit) if b else "–", _factor(a, b)]
        return row

    shown = [stage for stage in found["stages"] if any(any(stage[field]) for field, _, _ in _COLUMNS)]  # views do nothing
    header = ["", *(text for _, title, _ in _COLUMNS for text in (title, "", ""))]
    rows = [[shorten_path(stage["name"], 28), *cells(lambda field, stage=stage: tuple(stage[field]))] for stage in shown]  # type: ignore[misc]
    sums = {field: (sum(stage[field][0] for stage in shown), sum(stage[field][1] for stage in shown)) for field, _, _ in _COLUMNS}
    rows.append(["all kernels", *cells(lambda field: sums[field])])
    latency = found["latency_s"]
    rows.append(["latency", *[""] * 9, format_quantity(latency[0], "s"), format_quantity(latency[1], "s"), _factor(*latency)])
    first, second = (f"{model} ({setting})" for model, setting in zip(found["models"], found["settings"], strict=True))
    lines = columns(rows, "<" + ">>>" * len(_COLUMNS), header=header, indent=0)
    return "\n".join([f"{first} → {second} on {found['gpu']}", "", *lines]) + "\n"


def _factor(first: float, second: float) -> str:
    """How the second compares to the first.

    >>> _factor(2, 3), _factor(2, 2), _factor(0, 3)
    ('×1.5', '=', '')
    """
    if not first or not second:
        return ""
    ratio = second / first
    return "=" if abs(ratio - 1) < 5e-4 else f"×{ratio:.3g}"
