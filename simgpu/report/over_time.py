"""A run over time, as numbers: sections of the network, and how busy the chip is in each slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simgpu.report.report import Report

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stretch of one stream in which kernels of one module follow each other. [s]"""

    name: str
    stream: int
    start_s: float
    end_s: float


def time_unit(length_s: float) -> tuple[float, str]:
    """A unit that gives a length two or three digits before the point.

    >>> time_unit(0.004)
    (0.001, 'ms')
    """
    return next(((scale, name) for scale, name in _UNITS if length_s >= 2 * scale), _UNITS[-1])


def sections(report: Report) -> tuple[Section, ...]:
    """The run in sections by the first parts of the module path, by as many as it takes until none is longer than half the run."""
    depths = 1 + max((k.scope.count(".") for k in report.kernels.kernels), default=0)
    for depth in range(1, depths + 1):
        found = _sections(report, depth)
        if max(s.end_s - s.start_s for s in found) <= report.latency_s / 2:
            return found
    return _sections(report, 1)


def _sections(report: Report, depth: int) -> tuple[Section, ...]:
    """Kernels without a path lengthen the section they stand in."""
    found: list[Section] = []
    last: dict[int, int] = {}  # stream → its latest section
    for kernel, span in zip(report.kernels.kernels, report.timeline, strict=True):
        name = ".".join(kernel.scope.split(".")[:depth])
        at = last.get(span.stream)
        if at is not None and name in {"", found[at].name}:
            found[at] = Section(name=found[at].name, stream=span.stream, start_s=found[at].start_s, end_s=span.end_s)
        else:
            last[span.stream] = len(found)
            found.append(Section(name=name, stream=span.stream, start_s=span.start_s, end_s=span.end_s))
    return tuple(found)


def utilisation_over_time(report: Report, bins: int = 200) -> tuple[Any, dict[str, Any]]:
    """How busy the chip is in equal slices of the run.

    Returns:
        Edges of the slices [s] (bins + 1,), and for "SMs", "DRAM" and "math pipes" the mean share of the peak in each slice (bins,):
        SMs that have work, bytes over the datasheet bandwidth, executed FLOP over the peak of the pipe they run on.
    """
    times, spans = report.times, report.timeline
    length_s = np.maximum(spans.end_s - spans.start_s, 1e-12)
    peaks = np.array([report.gpu.peak_flop_per_s(k.dtype, k.pipe) for k in report.kernels.kernels])
    math = np.divide(times.executed_flop, peaks, out=np.zeros(len(peaks)), where=peaks > 0) / length_s
    levels = {"SMs": times.sm_fraction, "DRAM": times.dram_bytes / report.gpu.dram.bandwidth_bytes_per_s / length_s, "math pipes": math}
    edges = np.linspace(0.0, report.timeline.makespan_s, bins + 1)
    return edges, {name: np.minimum(_mean_level(spans.start_s, spans.end_s, level, edges), 1.0) for name, level in levels.items()}


def _mean_level(start_s: Any, end_s: Any, level: Any, edges: Any) -> Any:
    """Mean over each slice of the sum of the levels of the intervals that cover it."""
    moments = np.concatenate((start_s, end_s))
    steps = np.concatenate((level, -level))
    order = np.argsort(moments, kind="stable")
    moments, height = moments[order], np.cumsum(steps[order])
    area = np.concatenate(([0.0], np.cumsum(height[:-1] * np.diff(moments))))
    return np.diff(np.interp(edges, moments, area)) / np.diff(edges)
