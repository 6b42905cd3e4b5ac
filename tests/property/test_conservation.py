"""From the network to its kernels nothing is lost and nothing invented: arithmetic, weights, order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgpu.arch.loader import load_gpu
from simgpu.dtypes import dtype
from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import load_zoo
from simgpu.graph.ir import Graph
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.ops.registry import graph_flop
from simgpu.passes.pipeline import prepare
from simgpu.precision import PRECISIONS
from simgpu.runtime import RUNTIMES

NETWORKS = ("resnet18", "mobilenet_v2", "googlenet", "bert-base", "vit_tiny_patch16_224", "gpt2")


def kernels(graph: Graph, *, gpu: str, policy: str, stack: str, attention: str | None = None) -> KernelGraph:
    device = load_gpu(gpu)
    return lower(prepare(graph, gpu=device, precision=policy, runtime=stack, attention=attention), gpu=device, precision=policy, runtime=stack)


def assert_sound(graph: Graph, lowered: KernelGraph) -> None:
    """FLOP and ops of the kernels are those of the network, and no kernel reads what no earlier one wrote."""
    assert sum(k.flop for k in lowered.kernels) == pytest.approx(graph_flop(graph), rel=1e-12)
    assert {name for k in lowered.kernels for name in k.ops} <= {op.name for op in graph.ops}
    assert len({k.name for k in lowered.kernels}) == len(lowered)
    written = {t.name for t in graph.tensors.values() if t.name not in graph.producer}
    writer: dict[str, int] = {}
    for i, (kernel, deps) in enumerate(zip(lowered.kernels, lowered.deps, strict=True)):
        assert kernel.pipe == "vector" or kernel.family in ("gemm", "conv", "attention", "recurrent"), (kernel.name, kernel.pipe)
        for access in kernel.reads:
            if access.tensor in writer:
                assert writer[access.tensor] in deps, (kernel.name, access.tensor)
            else:
                assert access.tensor in written or "/" in access.tensor, (kernel.name, access.tensor)
        writer.update({access.tensor: i for access in kernel.writes})
        assert all(math.isfinite(a.bytes) and a.bytes >= 0 for a in (*kernel.reads, *kernel.writes))


@pytest.mark.parametrize("name", NETWORKS)
def test_flop_of_the_kernels_is_flop_of_the_network(name: str):
    graph = load_zoo(name)
    policies = ("fp32", "fp16", "amp", "int8", "nf4")
    for i, policy in enumerate(policies):
        for stack in RUNTIMES:
            attention = ("fused", "math")[i % 2]
            assert_sound(graph, kernels(graph, gpu="a100", policy=policy, stack=stack, attention=attention))


@pytest.mark.parametrize("policy", sorted(PRECISIONS))
def test_every_policy_runs_on_every_generation(policy: str):
    graph = load_zoo("resnet18")
    for gpu in ("8800-gtx", "gtx-480", "k40", "m40", "p100", "v100", "t4", "a100", "l4", "h100", "b200"):
        lowered = kernels(graph, gpu=gpu, policy=policy, stack="tensorrt")
        assert_sound(graph, lowered)
        machine = load_gpu(gpu)
        for kernel in lowered.kernels:
            assert machine.peak_flop_per_s(kernel.dtype, kernel.pipe) > 0, (gpu, policy, kernel.name, kernel.dtype, kernel.pipe)


@pytest.mark.parametrize(("policy", "stored"), [("fp32", "fp32"), ("fp16", "fp16"), ("fp64", "fp64"), ("tf32", "fp32")])
def test_every_weight_is_read_once_a_run(policy: str, stored: str):
    """Weights of a network without reuse: each is read, whole, by one kernel. (ResNet-18: 11,689,512 parameters, torchvision.)"""
    graph = load_zoo("resnet18")
    weights = {t.name for t in graph.weights}
    accesses = [a for k in kernels(graph, gpu="p100", policy=policy, stack="eager").kernels for a in k.reads if a.tensor in weights]
    assert len({a.tensor for a in accesses}) == len(accesses)
    assert sum(a.bytes for a in accesses) == 11_689_512 * dtype(stored).bytes


def test_fused_runtimes_move_fewer_bytes_in_fewer_kernels():
    graph = load_zoo("resnet18")
    eager, compiled, tensorrt = (kernels(graph, gpu="p100", policy="fp32", stack=s) for s in ("eager", "compiled", "tensorrt"))
    assert len(eager) > len(compiled) > len(tensorrt)
    totals = [sum(k.read_bytes + k.write_bytes for k in g.kernels) for g in (eager, compiled, tensorrt)]
    assert totals == sorted(totals, reverse=True)


def test_the_same_input_gives_the_same_kernels():
    one, two = (kernels(load_zoo("googlenet"), gpu="a100", policy="amp", stack="compiled") for _ in range(2))
    assert one.kernels == two.kernels
    assert one.deps == two.deps


@st.composite
def elementwise_graphs(draw: st.DrawFn) -> Graph:
    """Random graphs of elementwise ops, products, norms and transposes over matrices of 4 × 4."""
    b = Builder("random")
    tensors = [b.input("x", (4, 4)), b.input("y", (4, 4))]
    weight = b.weight("w", (4, 4))
    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(["relu", "add", "mul", "matmul", "norm", "transpose", "tanh", "linear"]))
        x, y = (tensors[draw(st.integers(0, len(tensors) - 1))] for _ in range(2))
        if kind in ("add", "mul", "matmul"):
            tensors.append(b.op({"add": "Add", "mul": "Mul", "matmul": "MatMul"}[kind], x, y))
        elif kind == "linear":
            tensors.append(b.linear(x, 4, bias=False, tied=weight))
        elif kind == "norm":
            tensors.append(b.layer_norm(x))
        elif kind == "transpose":
            tensors.append(b.transpose(x, (1, 0)))
        else:
            tensors.append(b.op(kind.capitalize(), x))
    outputs = [t for t in tensors if draw(st.booleans())] or tensors[-1:]
    return b.build(list(dict.fromkeys(outputs)))


@given(elementwise_graphs(), st.sampled_from(sorted(RUNTIMES)), st.sampled_from(["fp32", "fp16", "amp", "int8"]))
@settings(max_examples=150, deadline=None)
def test_random_graphs_keep_their_arithmetic(graph: Graph, stack: str, policy: str):
    assert_sound(graph, kernels(graph, gpu="a100", policy=policy, stack=stack))


@given(elementwise_graphs(), st.sampled_from(["eager", "compiled"]), st.sampled_from(["fp32", "amp"]))
@settings(max_examples=80, deadline=None)
def test_random_graphs_can_be_trained(graph: Graph, stack: str, policy: str):
    """Every kernel of the step waits for what it reads; a weight that reaches the first output gets a gradient."""
    gpu = load_gpu("a100")
    lowered = lower(prepare(graph, gpu=gpu, precision=policy, runtime=stack, training=True), gpu=gpu, precision=policy, runtime=stack)
    assert len({k.name for k in lowered.kernels}) == len(lowered)
    writer: dict[str, int] = {}
    for i, (kernel, deps) in enumerate(zip(lowered.kernels, lowered.deps, strict=True)):
        assert all(writer[a.tensor] in deps for a in kernel.reads if a.tensor in writer)
        writer.update({access.tensor: i for access in kernel.writes})
    products = [sum(k.flop for k in g.kernels if k.family == "gemm") for g in (kernels(graph, gpu="a100", policy=policy, stack=stack), lowered)]
    assert products[0] <= products[1] <= 3 * products[0]
