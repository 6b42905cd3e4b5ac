"""Every network on every GPU: times are times, nothing is faster than its own roofline, nothing is lost on the way.

A network is lowered once for all GPUs that have the same units (`units`), and all networks are priced together: that a
kernel's price does not depend on its company, and that units are all that lowering asks a GPU for, are tests of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache

import numpy as np
import pytest

from simgpu.api import simulate
from simgpu.arch.loader import load_gpu
from simgpu.arch.names import gpu_names
from simgpu.arch.spec import GPU
from simgpu.cost.model import CostModel
from simgpu.cost.times import PARTS, KernelTimes
from simgpu.dtypes import dtype as dtype_named
from simgpu.frontends.zoo import load_zoo, zoo_names
from simgpu.graph.ir import Graph
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.ops.registry import graph_flop
from simgpu.passes.pipeline import prepare
from simgpu.precision import PRECISIONS, Math, unit_for
from simgpu.runtime import runtime
from simgpu.sim.engine import simulate_kernels
from simgpu.sim.host import default_host

# The networks of the first release.
NETWORKS = (
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "googlenet", "squeezenet1_0", "squeezenet1_1",
    "mobilenet_v1", "mobilenet_v2", "densenet121", "bert-base", "bert-large", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "vit_b_16",
    "conv-block:kind=dense", "conv-block:kind=depthwise", "conv-block:kind=separable", "conv-block:kind=grouped",
)  # fmt: skip
LATER = tuple(name for name in zoo_names() if name not in NETWORKS and name != "conv-block")
POLICIES, BATCHES = ("fp32", "fp16"), (1, 32)
# One of each generation, with the format that people run on it.
GENERATIONS = {
    "8800-gtx": "fp32", "gtx-480": "fp32", "k40": "fp32", "m40": "fp32", "p100": "fp16", "gtx-1080-ti": "fp32", "v100": "fp16", "t4": "fp16", "a100": "fp16",
    "rtx-3090": "fp16", "l4": "fp16", "h100": "fp16", "b200": "fp16", "rtx-5090": "fp16",
}  # fmt: skip

Units = tuple[bool, tuple[Math, ...]]


def units(gpu: GPU, policy: str) -> Units:
    """What lowering asks a GPU for: fused attention, and the pipe of each format that a policy computes in."""
    formats = dict.fromkeys(("fp32", PRECISIONS[policy].storage, PRECISIONS[policy].math))
    return gpu.compute_capability >= (7, 0), tuple(unit_for(name, gpu) for name in formats)


def lowered(graph: Graph, gpu: GPU, policy: str) -> KernelGraph:
    return lower(prepare(graph, gpu=gpu, precision=policy, runtime="eager"), gpu=gpu, precision=policy, runtime="eager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Networks as one kernel graph; network i has the kernels offsets[i] … offsets[i + 1] − 1."""

    all: KernelGraph
    each: tuple[KernelGraph, ...]
    offsets: tuple[int, ...]


def assert_conserved(graph: Graph, kernels: KernelGraph, policy: str) -> None:
    """Passes and lowering keep the arithmetic, and every weight is read whole, in the policy's format, by some kernel.

    Of an embedding's table only the rows that are looked up are read.
    """
    assert sum(k.flop for k in kernels.kernels) == pytest.approx(graph_flop(graph), rel=1e-12)
    most: dict[str, float] = {}
    for kernel in kernels.kernels:
        for access in kernel.reads:
            most[access.tensor] = max(access.bytes, most.get(access.tensor, 0.0))
    whole = {name for op in graph.ops if op.type != "Gather" for name in op.inputs}
    size = dtype_named(PRECISIONS[policy].storage).bytes
    for weight in graph.weights:
        if weight.name in whole:
            assert most[weight.name] == weight.elements * size, weight.name
        else:
            assert 0 < most[weight.name] <= weight.elements * size, weight.name


def together(names: Sequence[str], gpu: GPU, policy: str, batch: int) -> Together:
    each: list[KernelGraph] = []
    for name in names:
        graph = network(name, batch)
        kernels = lowered(graph, gpu, policy)
        assert_conserved(graph, kernels, policy)
        each.append(kernels)
    offsets = np.concatenate([[0], np.cumsum([len(k) for k in each])]).tolist()
    deps = [tuple(d + offset for d in waits) for kernels, offset in zip(each, offsets, strict=False) for waits in kernels.deps]
    graph = KernelGraph([k for kernels in each for k in kernels.kernels], deps, distances=[d for kernels in each for d in kernels.distances])
    return Together(all=graph, each=tuple(each), offsets=tuple(offsets))


@lru_cache(maxsize=64)
def network(name: str, batch: int) -> Graph:
    return load_zoo(name, batch=batch)


_lowered: dict[tuple[tuple[str, ...], Units, str, int], Together] = {}


def shared(names: tuple[str, ...], gpu: GPU, policy: str, batch: int) -> Together:
    key = (names, units(gpu, policy), policy, batch)
    if key not in _lowered:
        _lowered[key] = together(names, gpu, policy, batch)
    return _lowered[key]


@cache
def cost_model() -> CostModel:
    return CostModel()


def assert_physical(times: KernelTimes, gpu: GPU) -> None:
    for field in fields(KernelTimes):
        if field.name not in ("choice", "choices"):
            values = getattr(times, field.name)
            assert np.isfinite(values).all(), field.name
            assert (values >= 0).all(), field.name
    assert (times.duration_s > 0).all()
    assert (times.energy_j > 0).all()
    assert (times.duration_s >= times.own_roofline_s * (1 - 1e-9)).all()
    for part in PARTS:
        assert (times.duration_s >= getattr(times, part) * (1 - 1e-9)).all(), part
    for name in ("occupancy_fraction", "sm_fraction"):
        assert (getattr(times, name) <= 1 + 1e-12).all(), name
    highest = gpu.clocks.max_hz or gpu.clocks.boost_hz
    assert (times.clock_hz <= highest).all()
    assert (times.clock_hz > 0.1 * gpu.clocks.base_hz).all()


def assert_runs(found: Together, times: KernelTimes, gpu: GPU) -> None:
    """Each network alone on the GPU: the longest chain of kernels that wait for each other ≤ makespan ≤ host and kernels one after the other."""
    stack, host = runtime("eager"), default_host(gpu)
    for kernels, start in zip(found.each, found.offsets, strict=False):
        own = times.take(slice(start, start + len(kernels)))
        timeline = simulate_kernels(kernels, own, gpu, stack, host)
        chain: list[float] = []
        for duration, waits in zip(own.duration_s.tolist(), kernels.deps, strict=True):
            chain.append(duration + max((chain[d] for d in waits), default=0.0))
        assert 0 < max(chain) <= timeline.makespan_s * (1 + 1e-9), kernels.graph_name
        assert timeline.makespan_s <= (timeline.host_end_s + own.duration_s.sum()) * (1 + 1e-9), kernels.graph_name


def test_all_57_gpus_are_here() -> None:
    assert len(gpu_names()) == 57
    assert len({load_gpu(name).architecture for name in GENERATIONS}) == 11


@pytest.mark.parametrize("name", gpu_names())
def test_every_network_of_the_first_release(name: str) -> None:
    gpu = load_gpu(name)
    for policy in POLICIES:
        for batch in BATCHES:
            found = shared(NETWORKS, gpu, policy, batch)
            times = cost_model().price(found.all, gpu)
            assert_physical(times, gpu)
            assert_runs(found, times, gpu)


@pytest.mark.parametrize("part", range(4))
def test_every_later_network_on_each_generation(part: int) -> None:
    names = LATER[part::4]
    for gpu_name, policy in GENERATIONS.items():
        gpu = load_gpu(gpu_name)
        found = shared(names, gpu, policy, 1)
        times = cost_model().price(found.all, gpu)
        assert_physical(times, gpu)
        if gpu_name in ("gtx-480", "a100"):
            assert_runs(found, times, gpu)
    for key in [key for key in _lowered if key[0] == names]:
        del _lowered[key]


@pytest.mark.parametrize("policy", POLICIES)
def test_units_are_all_that_lowering_asks_for(policy: str) -> None:
    first: dict[Units, KernelGraph] = {}
    for name in gpu_names():
        gpu = load_gpu(name)
        for network_name in ("squeezenet1_1", "bert-base"):
            kernels = lowered(network(network_name, 1), gpu, policy)
            same = first.setdefault((*units(gpu, policy), network_name), kernels)
            assert (same.kernels, same.deps) == (kernels.kernels, kernels.deps), name


@pytest.mark.parametrize(("model", "gpu", "dtype"), [("resnet50", "gtx-580", "fp32"), ("mobilenet_v2", "t4", "fp16"), ("gpt2", "h100", "fp16")])
def test_the_same_run_twice_gives_the_same_bytes(model: str, gpu: str, dtype: str) -> None:
    """From the name on: nothing that an earlier run left behind is used."""
    runs = [simulate(load_zoo(model, batch=32), gpu, dtype=dtype) for _ in range(2)]
    for name in ("start_s", "end_s", "launch_start_s", "stream"):
        assert getattr(runs[0].timeline, name).tobytes() == getattr(runs[1].timeline, name).tobytes(), name
    for field in fields(KernelTimes):
        one, two = (getattr(run.times, field.name) for run in runs)
        assert one == two if field.name == "choices" else one.tobytes() == two.tobytes(), field.name
