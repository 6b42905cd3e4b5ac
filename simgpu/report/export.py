"""A report as JSON and as CSV; keys and columns are the fields of the records."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, fields
from typing import Any

from simgpu.report.records import KernelRecord
from simgpu.report.report import Report


def to_dict(report: Report) -> dict[str, Any]:
    """Everything a report says, as plain values in SI units; the unit is in the key."""
    memory = report.memory
    result: dict[str, Any] = {
        "model": report.model,
        "gpu": report.gpu.id,
        "gpu_name": report.gpu.name,
        "batch": report.batch,
        "dtype": report.dtype,
        "math_dtype": report.math_dtype,
        "runtime": report.runtime.name,
        "num_streams": report.num_streams,
        "mode": "train" if report.optimizer else "inference",
        "optimizer": report.optimizer or None,
        "num_params": report.num_params,
        "num_kernels": len(report.kernels),
        "num_calls": report.num_calls,
        "latency_s": report.latency_s,
        "throughput_per_s": report.throughput_per_s,
        **_generation(report),
        "host_s": report.host_s,
        "device_s": report.device_s,
        "kernel_s": report.kernel_s,
        "roofline_s": report.roofline_s,
        "critical_path_s": report.critical_path_s,
        "bound": report.bound,
        "bound_fractions": report.bound_fractions,
        "utilization": asdict(report.utilization),
        "flop": report.flop,
        "executed_flop": report.executed_flop,
        "dram_bytes": report.dram_bytes,
        "l2_bytes": report.l2_bytes,
        "intensity_flop_per_byte": report.intensity_flop_per_byte,
        "flop_per_s": report.flop_per_s,
        "peak_flop_per_s": report.peak_flop_per_s,
        "energy_j": report.energy_j,
        "power_w": report.power_w,
        "clock_hz": report.clock_hz,
        "memory": {
            "weights_bytes": memory.weights_bytes,
            "input_bytes": memory.input_bytes,
            "gradient_bytes": memory.gradient_bytes,
            "optimizer_bytes": memory.optimizer_bytes,
            "state_bytes": memory.state_bytes,
            "activation_bytes": memory.activation_bytes,
            "workspace_bytes": memory.workspace_bytes,
            "context_bytes": memory.context_bytes,
            "peak_bytes": memory.peak_bytes,
            "capacity_bytes": memory.capacity_bytes,
            "fits": memory.fits,
            "peak_kernel": report.kernels.kernels[memory.peak_kernel].name if memory.peak_kernel >= 0 else None,
        },
        "host": asdict(report.host),
        "by_label": [asdict(g) for g in report.by_label()],
        "by_family": [asdict(g) for g in report.by_family()],
        "by_scope": [asdict(g) for g in report.by_scope()],
        "kernels": [asdict(k) for k in report.records],
        "assumptions": list(report.assumptions),
    }
    return {key: _plain(value) for key, value in result.items()}


def _generation(report: Report) -> dict[str, float]:
    """Figures of a decode; the throughput of one is in tokens of all sequences."""
    if not report.new_tokens:
        return {}
    return {
        "new_tokens": report.new_tokens,
        "token_s": report.latency_s,
        "tokens_per_s": report.throughput_per_s,
        "generation_s": report.generation_s,
    }


def _plain(value: Any) -> Any:
    """Values that JSON knows: infinities (FLOP per byte of nothing) become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def to_json(report: Report) -> str:
    """The report as a JSON object."""
    return json.dumps(to_dict(report), indent=2, allow_nan=False) + "\n"


def to_csv(report: Report) -> str:
    """One row a kernel; the columns are the fields of `KernelRecord`."""
    out = io.StringIO()
    names = [f.name for f in fields(KernelRecord)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(k, name) for name in names] for k in report.records)
    return out.getvalue()
