"""The backward pass: what is computed, for which tensors, and with how much work."""

from __future__ import annotations

from collections import Counter

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder
from simgpu.frontends.config import load_config
from simgpu.frontends.zoo import load_zoo
from simgpu.graph.ir import Graph, Tensor
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.ops.registry import op_macs, supported_ops
from simgpu.passes.fused import algorithmic_flop
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


def scattered(kind: str, **attrs: str | int) -> tuple[Graph, Builder]:
    """Three rows of four numbers put into six rows; both come from layers of their own."""
    b = Builder("toy")
    data = b.linear(b.input("x", (6, 5)), 4, bias=False, name="data")
    updates = b.linear(b.input("y", (3, 5)), 4, bias=False, name="updates")
    places = b.constant("places", (3, 1) if kind == "ScatterND" else (3, 4), dtype="int64")
    return step(b.op(kind, data, places, updates, name="scatter", **attrs), b), b


@pytest.mark.parametrize(("kind", "back"), [("ScatterND", "GatherND"), ("ScatterElements", "GatherElements")])
def test_what_was_scattered_is_gathered(kind, back):
    """Added: the data's gradient is the output's. Put in their place: those rows of it are zero."""
    added, _ = scattered(kind, reduction="add")
    (gather,) = backward(added, "scatter")
    gradient = gather[1][0]
    assert gather == (back, (gradient, "places"))
    assert ("Gemm", (gradient, "x")) in backward(added, "data")
    replaced, _ = scattered(kind)
    assert backward(replaced, "scatter") == [(back, (gradient, "places")), (kind, (gradient, "places", "scatter/backward/zero"))]
    assert {op.type: replaced[op.outputs[0]].shape for op in replaced.ops if op.name.startswith("scatter/backward/")} == {back: (3, 4), kind: (6, 4)}
    assert ("Gemm", (f"scatter/backward/{kind}", "x")) in backward(replaced, "data")
    assert all(op.attrs.get("reduction") is None for op in replaced.ops)


def test_scattering_a_maximum_has_no_known_gradient():
    graph, _ = scattered("ScatterND", reduction="max")
    assert "training: no gradient is known for ScatterND with reduction max; nothing flows back through them" in graph.assumptions


def test_scattered_bytes():
    """Rows gathered back: 3 of 4 numbers, read and written, and 3 places of 8 B. Zeros put in: 6 rows copied."""
    graph, _ = scattered("ScatterND")
    kernels = {k.name: k for k in lower(prepare(graph, gpu=load_gpu("a100")), gpu=load_gpu("a100"), precision="fp32", runtime="eager").kernels}
    gather, zeros = kernels["scatter/backward/GatherND"], kernels["scatter/backward/ScatterND"]
    assert (sum(a.bytes for a in gather.writes), sorted(a.bytes for a in gather.reads)) == (3 * 4 * 4, [3 * 8, 64])
    assert (sum(a.bytes for a in zeros.writes), sorted(a.bytes for a in zeros.reads)) == (6 * 4 * 4, [4, 3 * 8, 6 * 4 * 4])


def test_the_chosen_get_their_gradients_back():
    b = Builder("toy")
    values, _ = b.ops("TopK", (b.linear(b.input("x", (2, 5)), 8, name="fc"),), name="top", num_outputs=2, axis=-1, k=3)
    ((kind, inputs),) = backward(step(values, b), "top")
    assert (kind, inputs[1]) == ("EmbeddingGrad", "top:1")


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3"])
def test_every_weight_of_a_mixture_of_experts_is_trained(family):
    """Router, experts and what comes before them; the experts' products cost twice in the backward pass what they cost forward."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 40}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 64}
    latent = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4, "moe_intermediate_size": 8}
    latent |= {"n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 0}
    config = {"model_type": family, **sizes, **experts, **(latent if family == "deepseek_v3" else {})}
    graph = load_config(config, batch=2, seq_len=8)
    trained = training_step(graph)
    check(trained)
    assert not [note for note in trained.assumptions if "no gradient" in note]
    updated = {t for t in trained.ops[-1].inputs if trained[t].kind == "weight"}
    assert updated == {t.name for t in graph.weights}
    work = Counter()
    for op in trained.ops:
        work[op.type] += algorithmic_flop(trained, op)
    assert work["GroupedLinearDataGrad"] == work["GroupedLinearWeightGrad"] == work["GroupedLinear"]


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


def test_without_an_optimizer_the_gradients_are_what_comes_out():
    b = Builder("toy")
    graph = step(b.linear(b.input("x", (2, 5)), 3, name="fc"), b, "none")
    assert {op.type for op in graph.ops}.isdisjoint({"OptimizerStep"})
    assert [graph[t].shape for t in graph.outputs] == [(2, 3), (), (3, 5), (3,)]  # logits, loss, and one for weight and bias
    assert "no optimizer" in graph.assumptions[0]


def test_the_input_gets_a_gradient_where_it_is_asked_for():
    b = Builder("toy")
    toy = b.build(b.linear(b.input("x", (2, 5)), 3, name="fc"))
    kinds = [op.type for op in training_step(toy, optimizer="none").ops]
    asked = training_step(toy, optimizer="none", of_inputs=True)
    check(asked)
    assert [op.type for op in asked.ops].count("MatMul") == kinds.count("MatMul") + 1
    assert (2, 5) in [asked[t].shape for t in asked.outputs]


def test_dropout_runs_in_training_only_and_drops_the_same_again():
    b = Builder("toy")
    toy = b.build(b.linear(b.dropout(b.linear(b.input("x", (2, 6)), 4, name="first"), 0.5), 3, name="second"))
    gpu = load_gpu("v100")
    assert all(op.type != "Dropout" for op in prepare(toy, gpu=gpu).ops)
    graph = prepare(toy, gpu=gpu, training=True, optimizer="none")
    kernels = {k.label: k for k in lower(graph, gpu=gpu).kernels}
    assert (kernels["dropout"].read_bytes, kernels["dropout"].write_bytes) == (2 * 4 * 4, 2 * 4 * 4 + 2 * 4)  # a byte says what was dropped
    assert (kernels["dropout backward"].read_bytes, kernels["dropout backward"].write_bytes) == (2 * 4 * 4 + 2 * 4, 2 * 4 * 4)
    assert "no dropout" not in graph.assumptions[0]


def test_attention_drops_its_weights():
    graph = prepare(load_zoo("bert-base", batch=1, seq_len=8, layers=1, dropout=0.1), gpu=load_gpu("v100"), attention="math", training=True)
    dropped = [graph[op.outputs[0]].shape for op in graph.ops if op.type == "Dropout"]
    assert dropped == [(1, 8, 768), (1, 12, 8, 8), (1, 8, 768), (1, 8, 768)]  # embeddings, weights, and what each half of the layer adds


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
    with pytest.raises(OptionError, match=r"unknown optimizer 'sdg', expected one of sgd, adam, none; did you mean 'sgd'\?"):
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
