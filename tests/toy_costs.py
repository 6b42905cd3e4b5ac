"""Cost formulas without anything fitted: efficiencies are 1, fixed costs 0, caches ideal, so that a time is work over rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simgpu.arch.spec import GPU
from simgpu.cost.calibration import COMMON, Calibration, shipped_calibration
from simgpu.cost.machine import Machine, machine
from simgpu.cost.model import CostModel
from simgpu.cost.times import KernelTimes
from simgpu.kernels.kernel import Access, Conv, Gemm, Kernel, KernelGraph, Work
from tests.toys import toy_gpu

LIMITLESS = 1e30
COLD = float("inf")
# Compute capability → the generation whose kernels count.
FERMI, KEPLER, MAXWELL, PASCAL, VOLTA, TURING, AMPERE, HOPPER = (2, 0), (3, 5), (5, 2), (6, 1), (7, 0), (7, 5), (8, 0), (9, 0)

_BY_UNIT: dict[str, Any] = {"s": 0.0, "clk": 0.0, "J": 0.0, "B": LIMITLESS, "B/clk": LIMITLESS, "1/clk": LIMITLESS, "": 1.0, "V": 0.0, "V/Hz": 0.0}
# Dimensionless factors that add something rather than scale it.
_NOTHING = (
    "fma_feed",
    "epilogue_feed",
    "tensor_feed",
    "conv_feed",
    "conv_tensor_feed",
    "fma_misaligned",
    "tensor_misaligned",
    "stream_instructions_per_element",
    "window_instructions",
    "depthwise_instructions_per_output",
    "rescale_instructions",
    "row_reuse_spread",
    "idle_fraction",
    "attention_feed",
)


def toy_calibration(**factors: Any) -> Calibration:
    """A calibration that every generation shares: nothing costs extra, parts overlap fully (the longest counts), 1 V at any clock.

    Args:
        factors: Those that a test is about.
    """
    shipped = shipped_calibration()
    values: dict[str, Any] = {name: _BY_UNIT[about.get("unit", "")] for name, about in shipped.parameters.items()}
    values.update(dict.fromkeys(_NOTHING, 0.0))
    values.update(
        attention_narrow_slowness={"256": 1.0},
        overlap_exponent=1e9,
        flop_energy_j={"10": 0.0},
        voltage_offset_v={"10": 1.0},
        voltage_slope_v_per_hz={"10": 0.0},
        voltage_floor_v={"10": 0.0},
    )
    unknown = set(factors) - set(values)
    assert not unknown, f"no such factors: {sorted(unknown)}"
    return Calibration(parameters=shipped.parameters, values={COMMON: {**values, **factors}}, inherits={}, nearest={}, fit={})


def compute_gpu(capability: tuple[int, int] = AMPERE, **changes: Any) -> GPU:
    """The toy with limitless memory, no latencies, no gaps and room for 16 CTAs on an SM: only its 10 SMs of 10 FLOP a clock at 1 Hz count."""
    groups: dict[str, dict[str, Any]] = {
        "sm": {"max_blocks": 16.0, "registers": 65536.0, "max_threads": 2048.0, "max_warps": 64.0},
        "l2": {"bandwidth_bytes_per_clk": LIMITLESS},
        "dram": {"clock_hz": LIMITLESS, "latency_s": 0.0},
        "launch": {"stream_gap_s": 0.0, "graph_gap_s": 0.0},
        "power": {"tdp_w": LIMITLESS, "idle_w": 0.0},
    }
    for name, change in changes.items():
        groups[name] = {**groups.get(name, {}), **change}
    return toy_gpu(compute_capability=capability, **groups)


def memory_gpu(**changes: Any) -> GPU:
    """The toy with limitless arithmetic, no latencies and no gaps: DRAM 10 B/s, L2 of 1000 B at 40 B/s."""
    groups: dict[str, dict[str, Any]] = {
        "sm": {"fp32_lanes": LIMITLESS, "sfu_lanes": LIMITLESS, "issue_per_scheduler": LIMITLESS, "max_threads": 2048.0},
        "dram": {"latency_s": 0.0},
        "launch": {"stream_gap_s": 0.0, "graph_gap_s": 0.0},
    }
    for name, change in changes.items():
        groups[name] = {**groups.get(name, {}), **change}
    return toy_gpu(**groups)


def toy_machine(gpu: GPU | None = None, **factors: Any) -> Machine:
    """What the formulas see of a GPU (the toy, if none is given) under the toy calibration."""
    return machine(toy_gpu() if gpu is None else gpu, toy_calibration(**factors))


def kernel(work: Work, *, reads: Sequence[float] = (), writes: Sequence[float] = (), name: str = "k", **fields: Any) -> Kernel:
    """A kernel that reads and writes arrays of so many bytes, each a tensor of its own."""
    return Kernel(
        name=name,
        work=work,
        reads=tuple(Access(tensor=f"{name}.in{i}", bytes=size) for i, size in enumerate(reads)),
        writes=tuple(Access(tensor=f"{name}.out{i}", bytes=size) for i, size in enumerate(writes)),
        **{"flop": getattr(work, "flop", 0.0), **fields},
    )


def gemm(
    m: int, n: int, k: int, *, batch: int = 1, size: float = 4.0, b_size: float | None = None, name: str = "gemm", layout: str = "tn", **fields: Any
) -> Kernel:
    """A GEMM; `size` is the bytes of an element, `b_size` those of the weights if they differ; on tensor cores: dtype="fp16", pipe="tensor"."""
    b_size = size if b_size is None else b_size
    special = {key: fields.pop(key) for key in ("tokens", "scale_block", "shared_b", "accumulate", "bias") if key in fields}
    work = Gemm(batch=batch, m=m, n=n, k=k, a_bytes=size, b_bytes=b_size, out_bytes=size, layout=layout, **special)
    return kernel(work, reads=(batch * m * k * size, batch * n * k * b_size), writes=(batch * m * n * size,), name=name, **fields)


def conv(
    *,
    c: int,
    h: int,
    k: int,
    n: int = 1,
    r: int = 3,
    w: int = 0,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    direction: str = "fwd",
    size: float = 4.0,
    name: str = "conv",
    **fields: Any,
) -> Kernel:
    """A convolution with r × r filters over h × w inputs (square if w is 0), padded so that stride 1 keeps the size."""
    w = w or h
    p, q = -(-h // stride), -(-w // stride)
    work = Conv(
        n=n, c=c, h=h, w=w, k=k, r=r, s=r, p=p, q=q, stride_h=stride, stride_w=stride, dilation_h=dilation, dilation_w=dilation, groups=groups,
        direction=direction, x_bytes=size, w_bytes=size, y_bytes=size,
    )  # fmt: skip
    x, y, weight = n * c * h * w * size, n * k * p * q * size, k * (c // groups) * r * r * size
    read, written = {"fwd": ((x, weight), y), "bwd_data": ((y, weight), x), "bwd_weight": ((x, y), weight)}[direction]
    return kernel(work, reads=read, writes=(written,), name=name, **fields)


def price(
    *kernels: Kernel, gpu: GPU | None = None, distances: Sequence[Sequence[float]] | None = None, factors: dict[str, Any] | None = None, **conditions: Any
) -> KernelTimes:
    """Times of kernels under the toy calibration; what they read comes from DRAM unless `distances` says otherwise.

    Args:
        factors: Of the calibration, those the test is about.
        conditions: Those of `CostModel.price`: runs, load_s, graph_replay, library_year.
    """
    far = [tuple(COLD for _ in k.reads) for k in kernels] if distances is None else [tuple(d) for d in distances]
    graph = KernelGraph(kernels, [()] * len(kernels), distances=far)
    return CostModel(toy_calibration(**(factors or {}))).price(graph, toy_gpu() if gpu is None else gpu, **conditions)
