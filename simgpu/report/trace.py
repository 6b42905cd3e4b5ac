"""A report as a Chrome trace, for ui.perfetto.dev and chrome://tracing: host and streams as tracks, flows and counters.

Event names and categories are those that the PyTorch profiler (Kineto) writes, so tools that read its traces read these.

Source: "Trace Event Format", Google (ph X, M, C, s, f; ts and dur in microseconds).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from simgpu.report.report import Report

_US = 1e-6
_HOST, _DEVICE = 1, 0  # process ids: Kineto numbers devices from 0


def to_trace(report: Report) -> str:
    """The trace as JSON text, one event a line."""
    head = {
        "schemaVersion": 1,
        "displayTimeUnit": "ms",
        "otherData": {"model": report.model, "gpu": report.gpu.name, "setting": report.setting, "simulated by": "simgpu"},
    }
    lines = ",\n".join(json.dumps(event, separators=(",", ":"), allow_nan=False) for event in trace_events(report))
    return f'{json.dumps(head)[:-1]}, "traceEvents": [\n{lines}\n]}}\n'


def trace_events(report: Report) -> Iterator[dict[str, Any]]:
    """Names of tracks, then launches, kernels and the flows between them, then counters."""
    yield from _names(report)
    graph = report.runtime.graph_replay
    if graph and len(report.kernels):
        first = report.timeline[0]
        yield _slice(_HOST, 0, "cudaGraphLaunch", "cuda_runtime", first.launch_start_s, first.launch_end_s, {"correlation": 0})
    if report.host.step_s and not graph:
        yield _slice(_HOST, 0, "step", "user_annotation", 0.0, report.host.step_s, {})
    ends = _clear_ends(report)
    for record, span in zip(report.records, report.timeline, strict=True):
        i = record.index
        args = {
            "stream": span.stream,
            "correlation": i,
            "op": record.op,
            "scope": record.scope,
            "kind": record.label,
            "dtype": record.dtype,
            "bound": record.bound,
            "choice": record.choice,
            "grid": record.ctas,
            "waves": _round(record.waves),
            "est. achieved occupancy %": _round(100 * record.occupancy_fraction),
            "of roofline %": _round(100 * record.roofline_fraction),
            "GFLOP/s": _round(record.flop_per_s / 1e9),
            "DRAM GB/s": _round(record.dram_bytes_per_s / 1e9),
        }
        if not graph:
            yield _slice(_HOST, 0, "cudaLaunchKernel", "cuda_runtime", span.launch_start_s, span.launch_end_s, {"correlation": i, "op": record.op})
        yield _slice(_DEVICE, span.stream, record.name, "kernel", span.start_s, ends[i], args)
        begin = span.launch_start_s
        yield {"ph": "s", "id": i, "pid": _HOST, "tid": 0, "ts": _micro(begin), "cat": "ac2g", "name": "ac2g"}
        yield {"ph": "f", "id": i, "pid": _DEVICE, "tid": span.stream, "ts": _micro(span.start_s), "cat": "ac2g", "name": "ac2g", "bp": "e"}
    yield from _counters(report)


def _names(report: Report) -> Iterator[dict[str, Any]]:
    def name(kind: str, pid: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "ts": 0, "args": args}

    yield name("process_name", _HOST, 0, {"name": "host"})
    yield name("process_sort_index", _HOST, 0, {"sort_index": 0})
    yield name("thread_name", _HOST, 0, {"name": f"launching thread ({report.host.name})"})
    yield name("process_name", _DEVICE, 0, {"name": report.gpu.name})
    yield name("process_labels", _DEVICE, 0, {"labels": f"{report.model}, {report.setting}"})
    yield name("process_sort_index", _DEVICE, 0, {"sort_index": 1})
    for stream in sorted(set(report.timeline.stream.tolist())):
        yield name("thread_name", _DEVICE, stream, {"name": f"stream {stream}"})
        yield name("thread_sort_index", _DEVICE, stream, {"sort_index": stream})


def _slice(pid: int, tid: int, name: str, category: str, start_s: float, end_s: float, args: dict[str, Any]) -> dict[str, Any]:
    begin, end = _micro(start_s), _micro(end_s)
    return {"ph": "X", "cat": category, "name": name, "pid": pid, "tid": tid, "ts": begin, "dur": round(end - begin, 3), "args": args}


def _clear_ends(report: Report) -> list[float]:
    """Ends that never pass the next start of the same stream, since viewers drop slices that overlap on a track. [s]"""
    ends = report.timeline.end_s.copy()
    for stream in set(report.timeline.stream.tolist()):
        mine = np.flatnonzero(report.timeline.stream == stream)
        ends[mine[:-1]] = np.minimum(ends[mine[:-1]], report.timeline.start_s[mine[1:]])
    result: list[float] = ends.tolist()
    return result


_COUNTERS = {  # counter of the report → (title, series, factor)
    "dram_bytes_per_s": ("DRAM throughput [GB/s]", "GB/s", 1e-9),
    "sm_active_fraction": ("SM active [%]", "%", 100.0),
    "memory_bytes": ("memory [MB]", "MB", 1e-6),
}


def _counters(report: Report) -> Iterator[dict[str, Any]]:
    counters = report.counters()
    for key, (title, series, factor) in _COUNTERS.items():
        times, values = counters[key]
        for moment, value in zip(times.tolist(), values.tolist(), strict=True):
            yield {"ph": "C", "name": title, "pid": _DEVICE, "tid": 0, "ts": _micro(moment), "args": {series: _round(value * factor)}}


def _micro(moment_s: float) -> float:
    """Microseconds to the nanosecond, as profilers resolve them."""
    return round(moment_s / _US, 3)


def _round(value: float) -> float:
    return float(f"{value:.4g}")
