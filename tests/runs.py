"""Runs worked out by hand: kernels with times that are given, not priced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simgpu.cost.times import PARTS, KernelTimes
from simgpu.kernels.kernel import Kernel, KernelGraph, Stream
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
    ones = {"waves", "ctas", "occupancy_fraction", "sm_fraction", "clock_hz"}
    names = (*PARTS, "roofline_s", "executed_flop", "dram_bytes", "l2_bytes", "energy_j", *sorted(ones))
    filled = {name: np.array(columns.get(name, [float(name in ones)] * n), dtype=float) for name in names}
    return KernelTimes(duration_s=np.array(duration_s, dtype=float), choice=np.zeros(n, dtype=np.int64), **filled)


def run(graph: KernelGraph, priced: KernelTimes, stack: Runtime = EAGER, launching: HostCost = NO_HOST, *, num_streams: int = 1, **gpu: Any) -> Timeline:
    return simulate_kernels(graph, priced, toy_gpu(**gpu), stack, launching, num_streams=num_streams)


def log(timeline: Timeline) -> list[tuple[str, float, float]]:
    """Name, start and end of each kernel in the order in which they start."""
    spans = sorted(timeline, key=lambda span: (span.start_s, span.kernel))
    return [(chr(ord("a") + span.kernel), span.start_s, span.end_s) for span in spans]
