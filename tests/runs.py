"""Runs worked out by hand: kernels with times that are given, not priced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simgpu.cost.times import PARTS, KernelTimes
from simgpu.kernels.kernel import Kernel, KernelGraph, Stream
from simgpu.memory.footprint import Footprint
from simgpu.report.report import Report
from simgpu.runtime import Runtime, runtime
from simgpu.sim.engine import simulate_kernels
from simgpu.sim.host import HostCost
from simgpu.sim.timeline import Timeline
from tests.toys import toy_gpu

EAGER, GRAPH = runtime("eager"), runtime("graph")
NO_HOST = HostCost(name="none", launch_s=0.0)


def host(launch_s: float, **others: float) -> HostCost:
    return HostCost(name="toy", launch_s=launch_s, **others)


def kernels(*deps: tuple[int, ...], **changes: Sequence[Any]) -> KernelGraph:
    """Kernels a, b, c … that wait for those at the given places; `changes` are columns of other fields."""
    made = []
    for i in range(len(deps)):
        fields = {"work": Stream(elements=1), **{name: column[i] for name, column in changes.items()}}
        made.append(Kernel(name=chr(ord("a") + i), **fields))
    return KernelGraph(made, deps, graph_name="toy")


def times(*duration_s: float, **columns: Sequence[float]) -> KernelTimes:
    """Durations, with 0 for all parts and 1 for waves, occupancy, SMs and clock unless given."""
    n = len(duration_s)
    columns = {"own_roofline_s": columns.get("roofline_s", [0.0] * n), **columns}
    ones = {"waves", "ctas", "occupancy_fraction", "sm_fraction", "clock_hz"}
    names = (*PARTS, "roofline_s", "own_roofline_s", "executed_flop", "dram_bytes", "l2_bytes", "energy_j", *sorted(ones))
    filled = {name: np.array(columns.get(name, [float(name in ones)] * n), dtype=float) for name in names}
    return KernelTimes(duration_s=np.array(duration_s, dtype=float), choice=np.zeros(n, dtype=np.int64), **filled)


def run(graph: KernelGraph, priced: KernelTimes, stack: Runtime = EAGER, launching: HostCost = NO_HOST, *, num_streams: int = 1, **gpu: Any) -> Timeline:
    return simulate_kernels(graph, priced, toy_gpu(**gpu), stack, launching, num_streams=num_streams)


def log(timeline: Timeline) -> list[tuple[str, float, float]]:
    """Name, start and end of each kernel in the order in which they start."""
    spans = sorted(timeline, key=lambda span: (span.start_s, span.kernel))
    return [(chr(ord("a") + span.kernel), span.start_s, span.end_s) for span in spans]


def report(graph: KernelGraph, priced: KernelTimes, stack: Runtime = EAGER, launching: HostCost = NO_HOST, *, num_streams: int = 1, **fields: Any) -> Report:
    """A report of a run on the toy: fp16 on tensor cores, batch 4, 10 W idle."""
    others: dict[str, Any] = {
        "model": "net",
        "batch": 4,
        "dtype": "fp16",
        "math_dtype": "fp16",
        "num_params": 1000,
        "idle_w": 10.0,
        "memory": Footprint(
            weights_bytes=2000.0,
            input_bytes=100.0,
            state_bytes=0.0,
            activation_bytes=300.0,
            workspace_bytes=0.0,
            context_bytes=0.0,
            capacity_bytes=1e6,
            peak_kernel=0,
            live_bytes=np.full(len(graph), 300.0),
        ),
    }
    timeline = run(graph, priced, stack, launching, num_streams=num_streams)
    others.update(fields)
    return Report(gpu=toy_gpu(), runtime=stack, host=launching, num_streams=num_streams, kernels=graph, times=priced, timeline=timeline, **others)


def three_kernels() -> Report:
    """A convolution on tensor cores, a relu and a copy, launched in 1 s each: 1-5 s, 5-7 s, 7-8 s."""
    graph = kernels(
        (),
        (0,),
        (1,),
        flop=(800.0, 10.0, 0.0),
        pipe=("tensor", "vector", "none"),
        dtype=("fp16", "fp32", "fp16"),
        label=("conv 3×3", "relu", "copy"),
        op=("conv", "relu", "copy"),
        scope=("stem.conv", "stem.act", "head"),
    )
    priced = times(
        4,
        2,
        1,
        math_s=[4, 0.1, 0],
        dram_s=[2, 2, 0],
        latency_s=[0, 0, 1],
        roofline_s=[2, 1, 0],
        executed_flop=[1600, 10, 0],
        dram_bytes=[20, 10, 0],
        l2_bytes=[40, 10, 0],
        sm_fraction=[0.5, 1, 0.2],
        occupancy_fraction=[0.5, 1, 0.5],
        energy_j=[5, 3, 0],
    )
    return report(graph, priced, EAGER, host(1.0), assumptions=("the toy is a toy",))
