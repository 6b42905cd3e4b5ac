"""A model lowered once, priced on any number of GPU designs at once: what `simulate` says of each, as arrays.

The designs are fields of one GPU record that are arrays of shape (designs, 1); they go through the same cost formulas
as a single GPU, and through the closed form of one stream instead of the event simulation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.api import batch_of, load_model
from simgpu.arch.loader import override_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.machine import machine
from simgpu.cost.model import CostModel, groups_of, one_run
from simgpu.cost.power import idle_w
from simgpu.cost.times import PARTS, Floats, KernelTimes
from simgpu.dtypes import DTYPES
from simgpu.errors import ModelError, OptionError, SimulationError, did_you_mean
from simgpu.graph.ir import Graph
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.memory.footprint import footprint
from simgpu.passes.pipeline import prepare
from simgpu.precision import MATMUL, math_of
from simgpu.precision import precision as precision_named
from simgpu.report.report import HOST_BOUND
from simgpu.runtime import Runtime
from simgpu.runtime import runtime as runtime_named
from simgpu.sim.closed_form import finish_times
from simgpu.sim.host import HostCost, default_host, host_cost, plan_launches

Columns = dict[str, NDArray[Any]]

_PROBLEMS_AT_ONCE = 16384  # distinct problems × designs of one pricing, so that its arrays stay in cache

MODES = ("inference", "train")
BOUNDS = (*PARTS.values(), HOST_BOUND)
SHARES = {name: f"{name.lower().replace(' ', '_')}_bound_fraction" for name in BOUNDS}
# What a study says of each design, column → meaning.
OUTPUTS: Mapping[str, str] = {
    "latency_s": "from the host's first step to the end of the last kernel [s]",
    "device_s": "time in which a kernel runs [s]",
    "host_s": "what the host needs to issue everything [s]",
    "throughput_per_s": "samples a second where one run follows the other [1/s]",
    "energy_j": "energy of a run, the board's idle power included [J]",
    "power_w": "average power [W]",
    "clock_hz": "SM clock under the power limit, averaged over kernel time [Hz]",
    "bound": "what limits the run",
    **{column: f"share of the latency bound by {name}" for name, column in SHARES.items()},
    "mfu_fraction": "the model's FLOP a second over the GPU's peak for the dtype",
    "dram_bytes": "DRAM traffic [B]",
    "memory_bytes": "the most memory in use at once [B]",
    "fits": "whether that is what the GPU has, or less",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A model with its settings, lowered for one kind of GPU.

    Attributes:
        batch: Samples in one run.
        math_dtype: Format of the matrix products, whose peak MFU refers to.
        flop: The model's own work. [FLOP]
        memory_bytes: Peak memory. [B]
    """

    kernels: KernelGraph
    runtime: Runtime
    host: HostCost
    batch: int
    math_dtype: str
    flop: float
    memory_bytes: float

    @property
    def num_problems(self) -> int:
        """Distinct problems, which is what pricing costs time for."""
        return sum(len(group.table.dtype) for group in groups_of(self.kernels))


def workload(
    model: str | os.PathLike[str] | Graph,
    gpu: GPU,
    *,
    batch: int | None = None,
    dtype: str = "fp32",
    runtime: str = "eager",
    host: str | None = None,
    attention: str | None = None,
    mode: str | None = None,
    optimizer: str | None = None,
    **options: Any,
) -> Workload:
    """A model lowered for a GPU; the arguments are those of `simulate`.

    Args:
        mode: "inference" (None means that too) or "train": one training step.
        optimizer: Of the training step: "sgd" (None means that too), "adam" or "none".

    Raises:
        SimgpuError: Something that a user can fix.
    """
    if mode not in (None, *MODES):
        raise OptionError(f"unknown mode '{mode}', expected one of {', '.join(MODES)}{did_you_mean(str(mode), MODES)}")
    if optimizer is not None and mode != "train":
        raise OptionError(f"optimizer '{optimizer}': an inference has none; choose mode train or leave it out")
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(model, Graph):
        if options or (batch is not None and batch != batch_of(model)):
            late = next(iter(options), "batch")
            raise OptionError(f"{model.name}: a Graph is built already, '{late}' comes too late; name the model instead, or give it to load_model")
        graph = model
    else:
        graph = load_model(model, batch=batch, **options)
    policy, stack = precision_named(dtype), runtime_named(runtime)
    training = mode == "train"
    if training and graph.new_tokens:
        raise OptionError(f"{graph.name}: a decode step is not trained; train on whole sequences, phase 'prefill'")
    update = (optimizer or "sgd") if training else ""
    prepared = prepare(graph, gpu=gpu, precision=policy, runtime=stack, attention=attention, training=training, optimizer=update)
    kernels = lower(prepared, gpu=gpu, precision=policy, runtime=stack)
    if not len(kernels):
        raise ModelError(f"{graph.name}: there is nothing to run, no operator of the model launches a kernel")
    return Workload(
        kernels=kernels,
        runtime=stack,
        host=default_host(gpu) if host is None else host_cost(host),
        batch=batch or batch_of(graph),
        math_dtype=math_of(policy, MATMUL, gpu).dtype,
        flop=float(sum(k.flop for k in kernels.kernels)),
        memory_bytes=footprint(prepared, kernels, capacity_bytes=float(gpu.dram.capacity_bytes)).peak_bytes,
    )


def with_designs(gpu: GPU, fields: Mapping[str, NDArray[Any]]) -> GPU:
    """The GPU with a value of each field for each design, as arrays (designs, 1).

    Args:
        fields: Values in SI by dotted key. (designs,) each
    Raises:
        ArchError: Values that make no sense.
    """
    count = len(next(iter(fields.values()))) if fields else 1
    arrays = {name: np.asarray(values, dtype=float)[:, np.newaxis] for name, values in fields.items()}
    return override_gpu(gpu, {"sm.count": np.full((count, 1), gpu.sm.count), **arrays})


def alike(gpu: GPU) -> list[tuple[tuple[bool, ...], NDArray[np.int64]]]:
    """Groups of designs for which libraries launch the same kernels: those with the same units, which decide what is computed in which format.

    Returns:
        For each group which units it has, and its designs; in the order of their first ones.
    """
    has: list[Any] = []
    fp32 = gpu.vector_flop_per_clk("fp32")
    for name in DTYPES:
        vector = gpu.vector_flop_per_clk(name)
        has += [np.asarray(gpu.tensor_flop_per_clk(name)) > 0, np.asarray(vector) > 0, np.asarray(vector) >= fp32]
    columns = np.broadcast_arrays(*(np.reshape(one, -1) for one in (*has, gpu.sm.count)))[:-1]
    kinds, first, kind = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    kind = kind.reshape(-1)
    return [(tuple(kinds[k].tolist()), np.flatnonzero(kind == k)) for k in np.argsort(first)]


@cache
def _cost_model() -> CostModel:
    return CostModel()


def outcomes(work: Workload, gpu: GPU, fields: Mapping[str, NDArray[Any]] | None = None, host_factor: Floats | None = None) -> Columns:
    """What `simulate` says of each design of a GPU, on one stream: the columns of `OUTPUTS`. (designs,) each

    Args:
        fields: Values of the GPU's fields in SI by dotted key, (designs,) each; the GPU as it is if None.
        host_factor: How many times as long the host takes for everything. (designs,)
    Raises:
        ArchError: Values that make no sense.
        SimulationError: A kernel has no finite duration on some design.
    """
    fields = fields or {}
    count = len(next(iter(fields.values()))) if fields else 1
    step = max(1, _PROBLEMS_AT_ONCE // work.num_problems)
    parts = []
    for start in range(0, count, step):
        here = slice(start, start + step)
        designs = with_designs(gpu, {name: values[here] for name, values in fields.items()})
        parts.append(_outcomes(work, designs, None if host_factor is None else host_factor[here]))
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS} if len(parts) > 1 else parts[0]


def _outcomes(work: Workload, gpu: GPU, host_factor: Floats | None) -> Columns:
    """The same for few enough designs, whose arrays stay in the processor's cache."""
    times = _cost_model().price(work.kernels, gpu, runs=one_run(work.kernels), graph_replay=work.runtime.graph_replay)
    duration_s = times.duration_s
    _check_durations(work.kernels, duration_s)
    available_s, host_s = _launched(work, duration_s, host_factor)
    device_s = duration_s.sum(axis=-1)
    latency_s = np.maximum(finish_times(available_s, duration_s)[:, -1], host_s)
    seconds = _seconds_by_bound(times, duration_s)
    names = np.array(tuple(PARTS.values()), dtype=object)

    def each(values: Any) -> NDArray[Any]:
        return np.broadcast_to(np.reshape(values, -1), latency_s.shape)

    energy_j = times.energy_j.sum(axis=-1) + each(idle_w(machine(gpu, _cost_model().calibration))) * latency_s
    shares = (*(seconds / latency_s), np.maximum(latency_s - device_s, 0.0) / latency_s)
    return {
        "latency_s": latency_s,
        "device_s": device_s,
        "host_s": each(host_s),
        "throughput_per_s": work.batch / latency_s,
        "energy_j": energy_j,
        "power_w": energy_j / latency_s,
        "clock_hz": (duration_s * times.clock_hz).sum(axis=-1) / device_s,
        "bound": np.where(host_s >= device_s, HOST_BOUND, names[np.argmax(seconds, axis=0)]),
        **dict(zip(SHARES.values(), shares, strict=True)),
        "mfu_fraction": work.flop / latency_s / each(gpu.peak_flop_per_s(work.math_dtype)),
        "dram_bytes": times.dram_bytes.sum(axis=-1),
        "memory_bytes": each(work.memory_bytes),
        "fits": work.memory_bytes <= each(gpu.dram.capacity_bytes),
    }


def _launched(work: Workload, duration_s: Floats, host_factor: Floats | None) -> tuple[Floats, Any]:
    """When the host has launched each kernel, and when it is done. [s] (designs, N), (designs,); or alike for all designs."""
    if host_factor is None:
        launches = plan_launches(work.host, work.runtime, work.kernels, duration_s)
        return launches.available_s, launches.host_end_s
    plans = [plan_launches(_hosted(work.host, float(factor)), work.runtime, work.kernels, row) for factor, row in zip(host_factor, duration_s, strict=True)]
    return np.stack([plan.available_s for plan in plans]), np.array([plan.host_end_s for plan in plans])


def _hosted(host: HostCost, factor: float) -> HostCost:
    """A host that takes so many times as long."""
    return replace(
        host,
        launch_s=host.launch_s * factor,
        again_s=host.again_s * factor,
        graph_launch_s=host.graph_launch_s * factor,
        step_s=host.step_s * factor,
    )


def _check_durations(kernels: KernelGraph, duration_s: Floats) -> None:
    good = (np.isfinite(duration_s) & (duration_s >= 0)).all(axis=0)
    if not good.all():
        name = kernels.kernels[int(np.flatnonzero(~good)[0])].name
        raise SimulationError(f"{kernels.graph_name}: kernel '{name}' has no finite duration on some designs; a size or a GPU field must be out of range")


def _seconds_by_bound(times: KernelTimes, duration_s: Floats) -> Floats:
    """Kernel time by the part that binds each kernel. [s] (parts, designs)"""
    bound = times.bound
    return np.stack([np.where(bound == part, duration_s, 0.0).sum(axis=-1) for part in range(len(PARTS))])
