"""The backward pass: what is computed, for which tensors, and with how much work."""

from __future__ import annotations

from collections import Counter

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import load_zoo
from simgpu.graph.ir import Graph, Tensor
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.ops.registry import op_macs, supported_ops
from simgpu.passes.gradients import GRADIENTS, NO_GRADIENT
from simgpu.passes.pipeline import check, prepare
from simgpu.passes.training import training_step


def step(output: Tensor | tuple[Tensor, ...], b: Builder, optimizer: str = "sgd") -> Graph:
    graph = training_step(b.build(output), optimizer=optimizer)
    check(graph)
    return graph


def backward(graph: Graph, of: str) -> list[tuple[str, tuple[str, ...]]]:
    """Type and inputs of the ops of one op's backward pass."""
    return [(op.type, op.inputs) for op in graph.ops if op.name.startswith(f"{of}/backward/")]


def test_a_linear_layer_has_three_gradients():
    b = Builder("toy")
    x = b.linear(b.input("x", (2, 5)), 7, name="first")
    graph = step(b.linear(x, 3, name="second"), b)
    kinds = backward(graph, "second")
    gradient = kinds[0][1][0]
    assert kinds == [("MatMul", (gradient, "second.weight")), ("Gemm", (gradient, "first")), ("ReduceSum", (gradient,))]
    assert [kind for kind, _ in backward(graph, "first")] == ["Gemm", "ReduceSum"]  # nobody wants the gradient of the input
    shapes = {op.type: graph[op.outputs[0]].shape for op in graph.ops if op.name.startswith("second/backward/")}
    assert shapes == {"MatMul": (2, 7), "Gemm": (3, 7), "ReduceSum": (3,)}


def test_gradients_of_a_tensor_with_two_readers_are_added():
    b = Builder("toy")
    x = b.linear(b.input("x", (2, 5)), 5, name="first")
    graph = step(b.add(b.tanh(x), x), b)
    assert ("Add" in [kind for kind, _ in backward(graph, "tanh")]) != ("Add" in [kind for kind, _ in backward(graph, "add")])
    assert len([op for op in graph.ops if op.type == "PointwiseGrad" and op.attrs["of"] == "Tanh"]) == 1


def test_a_broadcast_operand_gets_a_sum():
    b = Builder("toy")
    x = b.linear(b.input("x", (2, 5)), 5, name="fc")
    graph = step(b.mul(x, b.weight("gate", (1, 5))), b)
    sums = [op for op in graph.ops if op.name.startswith("mul/backward/ReduceSum")]
    assert [(op.attrs["axes"], graph[op.outputs[0]].shape) for op in sums] == [((0,), (1, 5))]


def test_a_convolution_block():
    b = Builder("toy")
    x = b.relu(b.batch_norm(b.conv(b.input("x", (2, 3, 8, 8)), 4, 3, name="conv1"), name="bn1"), name="relu1")
    y = b.max_pool(b.conv(x, 4, 3, bias=True, name="conv2"), 2)
    graph = step(b.linear(b.flatten(y), 10, name="fc"), b)
    order = [op.type for op in graph.ops if "/backward/" in op.name]
    assert order == [
        *("LogSoftmax", "NegativeLogLikelihoodLoss", "PointwiseGrad", "SoftmaxGrad"),
        *("MatMul", "Gemm", "ReduceSum", "Reshape"),  # fc, flatten
        *("PoolGrad", "ConvDataGrad", "ConvWeightGrad", "ReduceSum"),
        *("PointwiseGrad", "BatchNormGrad", "ConvWeightGrad"),
    ]
    assert next(op for op in graph.ops if op.type == "BatchNormalization").attrs["training_mode"] == 1
    assert graph.ops[-1].type == "OptimizerStep"


def test_attention_and_norms():
    b = Builder("toy")
    x = b.layer_norm(b.linear(b.input("x", (2, 4, 8)), 8, name="embed"), name="norm")
    heads = [b.transpose(b.reshape(b.linear(x, 8, name=n), (2, 4, 2, 4)), (0, 2, 1, 3)) for n in "qkv"]
    y = b.reshape(b.transpose(b.attention(*heads), (0, 2, 1, 3)), (2, 4, 8))
    graph = step(b.linear(y, 10, name="head"), b)
    (attention,) = [op for op in graph.ops if op.type == "AttentionGrad"]
    assert attention.attrs["flop"] == 2 * 2 * 2 * 4 * 4 * (4 + 4) * 2
    assert [graph[t].shape for t in attention.outputs] == [(2, 2, 4, 4)] * 3
    norms = [op for op in graph.ops if op.type in ("NormGrad", "NormParamGrad")]
    assert [(op.type, len(op.outputs)) for op in norms] == [("NormGrad", 1), ("NormParamGrad", 2)]
    assert sum(op.name.startswith(("q/", "k/", "v/")) and op.type == "Add" for op in graph.ops) == 2  # three paths into the norm


def test_every_parameter_is_updated_once_and_has_its_state():
    b = Builder("toy")
    x = b.embedding(b.input("ids", (2, 3), dtype="int64"), 10, 8, name="wte")
    graph = step(b.linear(x, 10, bias=False, name="head", tied=b.weight("wte.weight", (10, 8))), b, "adam")
    optimizer = graph.ops[-1]
    assert optimizer.inputs[0] == "wte.weight"
    assert len(optimizer.inputs) == 1 + 1 + 2
    states = [t for t in graph.tensors.values() if t.kind == "state"]
    assert [(t.name, t.shape, t.dtype) for t in states] == [("wte.weight:exp_avg", (10, 8), "fp32"), ("wte.weight:exp_avg_sq", (10, 8), "fp32")]
    gradient = graph.producer[optimizer.inputs[1]]
    assert gradient.type == "Add"  # the head's and the table's


def test_what_no_gradient_is_known_for_is_said():
    b = Builder("toy")
    x = b.linear(b.input("x", (2, 4)), 4, name="fc")
    graph = step(b.op("CumProd", x, b.constant("axis", (), dtype="int64"), axis=1), b)
    assert "training: no gradient is known for CumProd; nothing flows back through them" in graph.assumptions


def test_gradients_are_named_for_known_operators_only():
    passes_own = {"PointwiseGrad"}
    assert set(GRADIENTS) - passes_own <= set(supported_ops())
    assert not set(GRADIENTS) & NO_GRADIENT


@pytest.mark.parametrize(("dtype", "runtime"), [("int8", "eager"), ("int4", "compiled"), ("fp16", "tensorrt")])
def test_what_only_runs_inference_is_refused(dtype: str, runtime: str):
    with pytest.raises(OptionError, match=r"runs inference only; train with fp32, tf32, bf16, fp16 or amp on eager, graph or compiled"):
        prepare(load_zoo("resnet18"), gpu=load_gpu("v100"), precision=dtype, runtime=runtime, training=True)


def test_unknown_optimizers_are_refused():
    with pytest.raises(OptionError, match=r"unknown optimizer 'sdg', expected one of sgd, adam; did you mean 'sgd'\?"):
        prepare(load_zoo("resnet18"), gpu=load_gpu("v100"), training=True, optimizer="sdg")


# ---- whole networks


def kernels(name: str, *, training: bool, dtype: str = "fp32", runtime: str = "eager") -> KernelGraph:
    gpu = load_gpu("v100")
    return lower(prepare(load_zoo(name), gpu=gpu, precision=dtype, runtime=runtime, training=training), gpu=gpu, precision=dtype, runtime=runtime)


def products(graph: KernelGraph) -> float:
    return sum(k.flop for k in graph.kernels if k.family in ("gemm", "conv", "attention", "recurrent"))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "bert-base", "gpt2"])
@pytest.mark.parametrize(("dtype", "runtime"), [("fp32", "eager"), ("amp", "compiled")])
def test_the_backward_pass_is_twice_the_forward_pass(name: str, dtype: str, runtime: str):
    """Less the gradient of the network's input, which nobody wants."""
    graph = load_zoo(name)
    first = next(op for op in graph.ops if op.type in ("Conv", "Linear"))
    saved = 2 * op_macs(graph, first) if first.type == "Conv" else 0.0
    forward = products(kernels(name, training=False, dtype=dtype, runtime=runtime))
    assert products(kernels(name, training=True, dtype=dtype, runtime=runtime)) == pytest.approx(3 * forward - saved, rel=1e-12)


def test_the_work_of_resnet18_convolutions_is_that_of_their_problems():
    step_ = kernels("resnet18", training=True)
    for kernel in step_.kernels:
        if kernel.family == "conv":
            assert kernel.flop == kernel.work.flop, kernel.name
    directions = Counter(k.work.direction for k in step_.kernels if k.family == "conv")
    assert directions == {"fwd": 20, "bwd_weight": 20, "bwd_data": 19}


def test_the_optimizer_waits_for_all_gradients_and_frees_them():
    step_ = kernels("resnet18", training=True)
    last = step_.kernels[-1]
    assert last.label == "sgd update"
    assert {k.label for k in step_.kernels[-4:]} == {"sgd weight decay", "sgd momentum mul", "sgd momentum add", "sgd update"}
    weight_gradients = {i for i, k in enumerate(step_.kernels) if k.family == "conv" and k.work.direction == "bwd_weight"}
    assert weight_gradients <= set(step_.deps[-4])
    # 11,689,512 parameters in 4 bytes, read with their momentum: in one launch each, 62 tensors of at most 64.
    assert last.repeat == 1
    assert last.read_bytes == 2 * 4 * 11_689_512
