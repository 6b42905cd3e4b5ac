"""What the host needs to hand work to the GPU: seconds a launch and seconds a run, by software stack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simgpu.arch.spec import GPU
from simgpu.cost.calibration import Calibration, shipped_calibration
from simgpu.cost.times import Floats
from simgpu.errors import OptionError, did_you_mean
from simgpu.kernels.kernel import KernelGraph
from simgpu.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCost:
    """The host's share of a run.

    Attributes:
        launch_s: Host time an operator call takes, from Python to the driver, whatever the library launches within it. [s]
        again_s: Host time of each further launch within one call. [s]
        graph_launch_s: Host time to launch a captured graph. [s]
        step_s: Host time a run takes once, before its first launch, unless it replays a graph. [s]
        source: Where the two numbers come from.
    """

    name: str
    launch_s: float
    again_s: float = 0.0
    graph_launch_s: float = 0.0
    step_s: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if not (self.launch_s >= 0 and self.again_s >= 0 and self.graph_launch_s >= 0 and self.step_s >= 0):
            raise OptionError(f"host '{self.name}': launch {self.launch_s:g} s and step {self.step_s:g} s; expected times of 0 s or more")


# Launches from C++ without a framework: 40-45 µs a layer of 11 kernels, exllamav2 on an RTX 4090 at batch 1.
_C_LAUNCH_S = 4e-6

HOSTS: dict[str, HostCost] = {
    h.name: h
    for h in (
        HostCost(
            name="pytorch-2",
            launch_s=13e-6,
            again_s=_C_LAUNCH_S,
            graph_launch_s=10e-6,
            source="single operators under PyTorch 2.1 on hosts of A100 and V100: 11-15 µs beyond an empty event pair, NeuSight data",
        ),
        HostCost(
            name="pytorch-1",
            launch_s=42e-6,
            again_s=_C_LAUNCH_S,
            graph_launch_s=10e-6,
            step_s=3.4e-3,
            source="PyTorch 1.x on a DGX-1 (Xeon E5-2698 v4): batch-1 latencies of four networks, NVIDIA DeepLearningExamples",
        ),
        HostCost(name="none", launch_s=0.0, source="an ideal host that is never waited for"),
    )
}


def host_cost(name: str) -> HostCost:
    """The host of that name.

    Raises:
        OptionError: No such host.

    >>> host_cost("none").launch_s
    0.0
    """
    try:
        return HOSTS[name]
    except KeyError:
        raise OptionError(f"unknown host '{name}', expected one of {', '.join(HOSTS)}{did_you_mean(name, HOSTS)}") from None


def default_host(gpu: GPU, calibration: Calibration | None = None) -> HostCost:
    """The host that the calibration gives a GPU's generation: what was measured on machines of its time."""
    known = calibration or shipped_calibration()
    factors, group = known.factors(gpu), known.origin(gpu)["host_launch_s"]
    return HostCost(
        name="calibrated",
        launch_s=factors.host_launch_s,
        again_s=min(_C_LAUNCH_S, factors.host_launch_s),
        graph_launch_s=factors.graph_launch_s,
        step_s=factors.host_step_s,
        source=known.source("host_launch_s", group),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Launches:
    """When the host launches each kernel, counted from the start of the run. (N,) each

    Attributes:
        start_s, end_s: The host's time for the kernel. [s]
        available_s: When the device may start it as far as the host goes. [s]
        host_end_s: When everything is issued. [s]
    """

    start_s: Floats
    end_s: Floats
    available_s: Floats
    host_end_s: float


def plan_launches(host: HostCost, runtime: Runtime, kernels: KernelGraph, duration_s: Floats) -> Launches:
    """The host's side of a run: it issues in program order and waits for the device only at the end.

    A kernel with `repeat` r is launched r times, one piece of its duration each. It starts with its first launch, but
    where the host is slower than the device it ends no sooner than one piece after the last launch. A captured graph
    is one launch for all kernels.

    Args:
        duration_s: Time of each kernel on the device, all repeats together. [s] (N,)
    """
    n = len(kernels)
    if runtime.graph_replay:
        start, end = np.zeros(n), np.full(n, host.graph_launch_s)
        return Launches(start_s=start, end_s=end, available_s=end, host_end_s=host.graph_launch_s if n else 0.0)
    first = np.array([host.again_s if k.internal else host.launch_s for k in kernels.kernels])
    repeat = np.array([k.repeat for k in kernels.kernels], dtype=float)
    cost = first + host.again_s * (repeat - 1)
    end = host.step_s + np.cumsum(cost)
    start = end - cost
    available = np.maximum(start + first, end + duration_s / repeat - duration_s)
    return Launches(start_s=start, end_s=end, available_s=available, host_end_s=float(end[-1]) if n else host.step_s)
