"""The whole pipeline; the file to read first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from simgpu.arch.loader import load_gpu, override_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.model import CostModel, one_run
from simgpu.cost.times import KernelTimes
from simgpu.errors import ModelError, OptionError
from simgpu.frontends.load import load_model
from simgpu.graph.ir import INPUT, Graph
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.memory.footprint import Footprint, footprint
from simgpu.memory.footprint import largest_batch as _largest_batch
from simgpu.passes.pipeline import prepare
from simgpu.precision import MATMUL, math_of
from simgpu.precision import precision as precision_named
from simgpu.report.report import Report
from simgpu.runtime import runtime as runtime_named
from simgpu.sim.engine import simulate_kernels
from simgpu.sim.host import HostCost, default_host, host_cost

__all__ = ["compare", "largest_batch", "load_gpu", "load_model", "simulate"]

Model = str | os.PathLike[str] | Graph


def simulate(
    model: Model,
    gpu: str | os.PathLike[str] | GPU,
    *,
    batch: int | None = None,
    dtype: str = "fp32",
    runtime: str = "eager",
    num_streams: int = 1,
    host: str | HostCost | None = None,
    overrides: Mapping[str, Any] | None = None,
    attention: str | None = None,
    training: bool = False,
    optimizer: str = "sgd",
    **options: Any,
) -> Report:
    """Runs a model on a GPU once and says how long it takes, and why.

    Args:
        model: A graph, or what `load_model` takes: a file or a name.
        gpu: A record, or what `load_gpu` takes: a name or a file.
        batch: Samples in one run; what the model has if None.
        dtype: Precision policy: fp32, tf32, bf16, fp16, amp, int8, fp8, int4 …
        runtime: Software stack: eager, graph, compiled or tensorrt.
        num_streams: Streams that branches of the graph may be spread over.
        host: What launches cost the host; None = the calibrated host of the GPU's generation.
        overrides: Fields of the GPU to change, {"sm.count": 160}.
        attention: "fused" or "math"; None = what the runtime does on this GPU.
        training: One training step instead of a forward pass: loss, backward pass and the optimizer's update behind it.
        optimizer: Of the training step: "sgd" (momentum, weight decay), "adam", or "none" for the gradients alone.
        options: Those of `load_model`: shapes, image_size, seq_len …
    Raises:
        SimgpuError: Something that a user can fix; its message says what.

    >>> report = simulate("resnet50", "a100", dtype="fp16", runtime="tensorrt")
    >>> round(report.flop / 1e9, 1)  # 4.1 GMAC of convolutions and the classifier, and the additions and activations between them
    8.2
    """
    machine = gpu if isinstance(gpu, GPU) else load_gpu(gpu)
    machine = override_gpu(machine, overrides) if overrides else machine
    graph = _graph(model, batch, options)
    policy, stack = precision_named(dtype), runtime_named(runtime)
    issuing = default_host(machine) if host is None else host_cost(host) if isinstance(host, str) else host

    trainer = _trainer(graph, training, optimizer)
    prepared, kernels = _lowered(graph, machine, policy.name, stack.name, attention, trainer)
    if not len(kernels):
        raise ModelError(f"{graph.name}: there is nothing to run, no operator of the model launches a kernel")
    times = _priced(kernels, machine, stack.graph_replay)
    timeline = simulate_kernels(kernels, times, machine, stack, issuing, num_streams=num_streams)
    return Report(
        model=graph.name,
        gpu=machine,
        batch=batch or batch_of(graph),
        dtype=policy.name,
        math_dtype=math_of(policy, MATMUL, machine).dtype,
        runtime=stack,
        host=issuing,
        num_streams=num_streams,
        num_params=graph.num_params,
        kernels=kernels,
        times=times,
        timeline=timeline,
        idle_w=_idle_w(machine),
        new_tokens=graph.new_tokens,
        optimizer=trainer or "",
        memory=_footprint(prepared, kernels, float(machine.dram.capacity_bytes)),
        assumptions=(*kernels.assumptions, *_assumptions(issuing, stack.graph_replay, machine)),
    )


def compare(models: Model | Iterable[Model], gpus: str | GPU | Iterable[str | GPU], **options: Any) -> tuple[Report, ...]:
    """A report for each model on each GPU, models first.

    Args:
        options: Those of `simulate`.
    """
    networks = [models] if isinstance(models, str | os.PathLike | Graph) else list(models)
    machines = [gpus] if isinstance(gpus, str | GPU) else list(gpus)
    return tuple(simulate(model, gpu, **options) for model in networks for gpu in machines)


def largest_batch(
    model: str | os.PathLike[str],
    gpu: str | GPU,
    *,
    dtype: str = "fp32",
    runtime: str = "eager",
    training: bool = False,
    optimizer: str = "sgd",
    **options: Any,
) -> int:
    """The largest batch of a model, run or trained, that fits the GPU's memory; 0 if not even one sample does."""
    machine = gpu if isinstance(gpu, GPU) else load_gpu(gpu)
    capacity_bytes = float(machine.dram.capacity_bytes)

    def peak_bytes(batch: int) -> float:
        graph = load_model(model, batch=batch, **options)
        trainer = _trainer(graph, training, optimizer)
        prepared, kernels = _lowered(graph, machine, precision_named(dtype).name, runtime_named(runtime).name, None, trainer)
        return _footprint(prepared, kernels, capacity_bytes).peak_bytes

    return _largest_batch(peak_bytes, capacity_bytes)


def batch_of(graph: Graph) -> int:
    """Samples in one run of a graph: the first dimension of its first input."""
    shape = next((graph[name].shape for name in graph.inputs if graph[name].kind == INPUT), ())
    return shape[0] if shape else 1


def _graph(model: Model, batch: int | None, options: Mapping[str, Any]) -> Graph:
    if not isinstance(model, Graph):
        return load_model(model, batch=batch, **options)
    if options:
        raise OptionError(f"{model.name}: a Graph is built already, the option '{next(iter(options))}' comes too late; give it to load_model")
    if batch is not None and batch != batch_of(model):
        raise OptionError(f"{model.name}: the Graph is built for batch {batch_of(model)}, not {batch}; load it with that batch")
    return model


@cache
def _cost_model() -> CostModel:
    return CostModel()


def _trainer(graph: Graph, training: bool, optimizer: str) -> str | None:
    """The optimizer of a training step; None for inference."""
    if not training:
        return None
    if graph.new_tokens:
        raise OptionError(f"{graph.name}: a decode step is not trained; train on whole sequences, phase 'prefill'")
    return optimizer


@lru_cache(maxsize=32)
def _lowered(graph: Graph, gpu: GPU, precision: str, runtime: str, attention: str | None, trainer: str | None) -> tuple[Graph, KernelGraph]:
    """The prepared graph and its kernels, kept for the next run of the same model."""
    prepared = prepare(graph, gpu=gpu, precision=precision, runtime=runtime, attention=attention, training=trainer is not None, optimizer=trainer or "")
    return prepared, lower(prepared, gpu=gpu, precision=precision, runtime=runtime)


@lru_cache(maxsize=32)
def _priced(kernels: KernelGraph, gpu: GPU, graph_replay: bool) -> KernelTimes:
    """What each kernel costs, kept for the next run with another host, other streams or another question."""
    return _cost_model().price(kernels, gpu, runs=one_run(kernels), graph_replay=graph_replay)


@lru_cache(maxsize=32)
def _footprint(prepared: Graph, kernels: KernelGraph, capacity_bytes: float) -> Footprint:
    return footprint(prepared, kernels, capacity_bytes=capacity_bytes)


def _idle_w(gpu: GPU) -> float:
    """Power of the board that no kernel accounts for. [W]"""
    known = gpu.power.idle_w
    return float(gpu.power.tdp_w * _cost_model().calibration.factors(gpu).idle_fraction if known is None else known)


def _assumptions(host: HostCost, graph_replay: bool, gpu: GPU) -> tuple[str, ...]:
    """What the simulation takes for granted."""
    launching = (
        f"all kernels are launched at once by replaying a captured graph, {host.graph_launch_s * 1e6:.3g} µs"
        if graph_replay
        else f"the host takes {host.launch_s * 1e6:.3g} µs an operator call and {host.step_s * 1e3:.3g} ms a run ({host.source or host.name})"
    )
    idle = () if gpu.power.idle_w is not None else ("the board's idle power is not known: a usual share of the power limit is in the energy",)
    return (
        launching,
        "inputs are on the GPU already; one run ends before the next begins; weights stay in memory between runs",
        *idle,
    )
