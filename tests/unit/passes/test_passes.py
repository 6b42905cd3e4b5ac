"""What each pass does to a small graph."""

from __future__ import annotations

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.errors import ModelError, OptionError
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.passes.attention import decompose_attention, fuse_attention
from simgpu.passes.batch_norm import fold_batch_norm
from simgpu.passes.bias import split_conv_bias
from simgpu.passes.cleanup import cleanup
from simgpu.passes.composites import lift_composites
from simgpu.passes.fused import algorithmic_flop, graph_flop, members, op_names
from simgpu.passes.pipeline import check, prepare
from simgpu.passes.qdq import fold_dequantize
from simgpu.runtime import runtime


def types(graph: Graph) -> list[str]:
    return [op.type for op in graph.ops]


# ---- cleanup


def test_cleanup_removes_what_does_nothing():
    b = Builder("toy")
    x = b.input("x", (2, 3))
    y = b.op("Dropout", b.op("Identity", b.op("Cast", x, to="fp32")))
    unused = b.op("Cast", x, to="fp16")
    graph = b.build(b.relu(y))
    assert unused.name in graph.tensors
    cleaned = cleanup(graph)
    assert types(cleaned) == ["Relu"]
    assert cleaned.ops[0].inputs == ("x",)


def test_cleanup_keeps_an_identity_that_is_an_output():
    b = Builder("toy")
    graph = b.build(b.op("Identity", b.relu(b.input("x", (2,)))))
    assert types(cleanup(graph)) == ["Relu", "Identity"]


def test_cleanup_keeps_arithmetic_that_nobody_reads():
    b = Builder("toy")
    x = b.input("x", (2,))
    b.tanh(x)
    assert types(cleanup(b.build(b.relu(x)))) == ["Tanh", "Relu"]


# ---- batch norm and biases


def conv_bn(*, bias: bool = False, second_reader: bool = False) -> Graph:
    b = Builder("toy")
    x = b.input("x", (1, 3, 8, 8))
    y = b.conv(x, 4, 3, bias=bias)
    z = b.relu(b.batch_norm(y))
    return b.build(b.add(z, y) if second_reader else z)


def test_batch_norm_becomes_the_bias():
    graph = conv_bn()
    folded = fold_batch_norm(graph)
    assert types(folded) == ["Conv", "Relu"]
    conv = folded.ops[0]
    assert conv.inputs == ("x", "conv.weight", "bn.bias")
    assert op_names(conv) == ("conv", "bn")
    # 4 filters of 3 × 3 × 3 at 64 places, and a product and a sum for each of the 4 · 64 outputs.
    assert algorithmic_flop(folded, conv) == 2 * 4 * 27 * 64 + 2 * 4 * 64
    assert graph_flop(folded) == graph_flop(graph)


def test_batch_norm_shifts_a_bias_that_is_there():
    assert fold_batch_norm(conv_bn(bias=True)).ops[0].inputs[2] == "conv.bias"


def test_batch_norm_stays_where_the_convolution_is_read_twice():
    assert "BatchNormalization" in types(fold_batch_norm(conv_bn(second_reader=True)))


def test_a_bias_is_an_addition_of_its_own():
    b = Builder("toy")
    x = b.conv(b.input("x", (1, 4, 8, 8)), 4, 3, bias=True, name="dense")
    graph = b.build(b.conv(x, 4, 3, groups=4, bias=True, name="depthwise"))
    split = split_conv_bias(graph)
    assert [(op.type, op.name) for op in split.ops] == [("Conv", "dense"), ("Add", "dense/bias"), ("Conv", "depthwise")]
    assert graph_flop(split) == graph_flop(graph)
    assert op_names(split.ops[1]) == ("dense",)


# ---- composites


def test_exported_silu_and_hard_swish_are_one_op():
    b = Builder("toy")
    x = b.input("x", (2, 8))
    y = b.mul(x, b.sigmoid(x))
    graph = b.build(b.mul(b.hard_sigmoid(y), y))
    lifted = lift_composites(graph)
    assert types(lifted) == ["Swish", "HardSwish"]
    assert graph_flop(lifted) == graph_flop(graph)


def test_a_gate_of_another_tensor_is_no_silu():
    b = Builder("toy")
    x, y = b.input("x", (2, 8)), b.input("y", (2, 8))
    assert types(lift_composites(b.build(b.mul(x, b.sigmoid(y))))) == ["Sigmoid", "Mul"]


@pytest.mark.parametrize("half", ["first", "between", "last"])
def test_exported_gelu_is_one_op(half: str):
    b = Builder("toy")
    x = b.input("x", (2, 8))
    one = b.add(b.op("Erf", b.op("Div", x, b.scalar("sqrt2"))), b.scalar("one"))
    if half == "first":
        y = b.mul(b.mul(x, b.scalar("half")), one)
    elif half == "between":
        y = b.mul(b.mul(one, b.scalar("half")), x)
    else:
        y = b.mul(b.mul(x, one), b.scalar("half"))
    graph = b.build(y)
    lifted = lift_composites(graph)
    assert types(lifted) == ["Gelu"]
    assert lifted.ops[0].inputs == ("x",)
    assert graph_flop(lifted) == graph_flop(graph)


def test_exported_layer_norm_is_one_op():
    b = Builder("toy")
    x = b.input("x", (2, 5, 8))
    centred = b.op("Sub", x, b.mean(x, (-1,), keepdims=True))
    variance = b.mean(b.op("Pow", centred, b.scalar("two")), (-1,), keepdims=True)
    y = b.op("Div", centred, b.op("Sqrt", b.add(variance, b.scalar("epsilon"))))
    graph = b.build(b.add(b.mul(y, b.weight("gamma", (8,))), b.weight("beta", (8,))))
    lifted = lift_composites(graph)
    assert types(lifted) == ["LayerNormalization"]
    assert lifted.ops[0].inputs == ("x", "gamma", "beta")
    assert lifted.ops[0].attrs["axis"] == 2
    assert len(members(lifted.ops[0])) == 9


# ---- attention


def explicit_attention(*, mask: bool = False, heads_first: bool = True, scale: str = "Div") -> Graph:
    b = Builder("toy")
    shape = (2, 3, 5, 7) if heads_first else (6, 5, 7)
    q, k, v = (b.input(n, shape) for n in "qkv")
    swap = (0, 1, 3, 2) if heads_first else (0, 2, 1)
    scores = b.op(scale, b.matmul(q, b.transpose(k, swap)), b.scalar("scale"))
    if mask:
        scores = b.add(scores, b.input("mask", (1, 1, 5, 5) if heads_first else (1, 5, 5)))
    return b.build(b.matmul(b.softmax(scores), v))


@pytest.mark.parametrize("scale", ["Div", "Mul"])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("heads_first", [False, True])
def test_attention_is_recognised(mask: bool, heads_first: bool, scale: str):
    graph = explicit_attention(mask=mask, heads_first=heads_first, scale=scale)
    fused = fuse_attention(graph)
    (attention,) = [op for op in fused.ops if op.type == "Attention"]
    assert ("mask" in attention.inputs) == mask
    assert fused[attention.inputs[1]].shape == ((2, 3, 5, 7) if heads_first else (1, 6, 5, 7))
    assert graph_flop(fused) == graph_flop(graph)
    assert len(op_names(attention)) == 4 + mask  # two products, scale, softmax; the transpose stays a view


def test_scaled_operands_belong_to_attention():
    """Torch's exporter multiplies q and k by the root of the scale."""
    b = Builder("toy")
    q, k, v = (b.input(n, (2, 3, 5, 7)) for n in "qkv")
    root = b.scalar("root")
    scores = b.matmul(b.mul(q, root), b.mul(b.transpose(k, (0, 1, 3, 2)), root))
    fused = fuse_attention(b.build(b.matmul(b.softmax(scores), v)))
    assert types(fused) == ["Transpose", "Transpose", "Attention"]


def test_a_softmax_whose_scores_are_read_elsewhere_is_no_attention():
    b = Builder("toy")
    q, k, v = (b.input(n, (2, 3, 5, 7)) for n in "qkv")
    weights = b.softmax(b.matmul(q, b.transpose(k, (0, 1, 3, 2))))
    graph = b.build((b.matmul(weights, v), weights))
    assert types(fuse_attention(graph)) == types(graph)


def one_attention(*, kv_heads: int = 4, causal: bool = False, window: int = 0, queries: int = 5) -> Graph:
    b = Builder("toy")
    q = b.input("q", (2, 4, queries, 8))
    k, v = b.input("k", (2, kv_heads, 6, 8)), b.input("v", (2, kv_heads, 6, 10))
    return b.build(b.attention(q, k, v, causal=causal, window=window))


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (one_attention(), ["MatMul", "Mul", "Softmax", "MatMul"]),
        (one_attention(causal=True), ["MatMul", "Mul", "Add", "Softmax", "MatMul"]),
        (one_attention(window=3), ["MatMul", "Mul", "Add", "Softmax", "MatMul"]),
        (one_attention(causal=True, queries=1), ["MatMul", "Mul", "Softmax", "MatMul"]),  # one query sees all keys
        (one_attention(kv_heads=2), ["Unsqueeze", "Expand", "Reshape"] * 2 + ["MatMul", "Mul", "Softmax", "MatMul"]),
    ],
)
def test_attention_falls_into_its_parts(graph: Graph, expected: list[str]):
    parts = decompose_attention(graph)
    assert types(parts) == expected
    queries = graph["q"].shape[2]
    assert graph_flop(parts) == graph_flop(graph) == 2 * 2 * 4 * queries * 6 * (8 + 10)
    assert {name for op in parts.ops for name in op_names(op)} == {"attention"}
    assert parts.outputs == graph.outputs


# ---- quantised models


def quantised(b: Builder, x: Tensor, name: str) -> Tensor:
    return b.op("DequantizeLinear", x, b.constant(f"{name}_scale", ()), name=f"{name}_dq")


def qdq_conv(*, weights_too: bool = True) -> Graph:
    b = Builder("toy")
    x = quantised(b, b.op("QuantizeLinear", b.input("x", (1, 4, 8, 8)), b.constant("s", ()), name="q_in"), "x")
    w = quantised(b, b.constant("w_int8", (4, 4, 1, 1), dtype="int8"), "w") if weights_too else b.weight("w", (4, 4, 1, 1))
    y = b.relu(b.op("Conv", x, w, kernel_shape=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0), group=1, name="conv"))
    return b.build(b.op("QuantizeLinear", y, b.constant("s2", ()), name="q_out"))


def test_a_product_of_dequantised_operands_is_one_of_integers():
    graph = qdq_conv()
    folded = fold_dequantize(graph, runtime("eager"))
    assert types(folded) == ["QuantizeLinear", "Conv", "Relu", "QuantizeLinear"]
    assert [folded[t].dtype for t in folded.ops[1].inputs] == ["uint8", "int8"]
    assert graph_flop(folded) == graph_flop(graph)


def test_a_product_with_float_weights_is_one_of_floats():
    graph = qdq_conv(weights_too=False)
    assert types(fold_dequantize(graph, runtime("eager"))) == types(graph)


def test_a_quantised_convolution_is_one_kernel_in_tensorrt():
    prepared = prepare(qdq_conv(), gpu=load_gpu("t4"), precision="fp16", runtime="tensorrt")
    assert types(prepared) == ["QuantizeLinear", "Conv"]


# ---- what PyTorch writes out


def test_rms_norm_is_small_ops_in_eager_mode():
    b = Builder("toy")
    graph = b.build(b.rms_norm(b.input("x", (2, 5, 8))))
    v100 = load_gpu("v100")
    single = prepare(graph, gpu=v100)
    assert types(single) == ["Pow", "ReduceMean", "Add", "Reciprocal", "Mul", "Mul"]
    half = prepare(graph, gpu=v100, precision="fp16")
    assert types(half) == ["Cast", "Pow", "ReduceMean", "Add", "Reciprocal", "Mul", "Cast", "Mul"]
    assert [half[op.outputs[0]].dtype for op in half.ops] == ["fp32"] * 6 + ["fp16"] * 2
    assert half[half.ops[2].outputs[0]].shape == (2, 5, 1)
    assert graph_flop(half) == graph_flop(graph)
    assert {op_names(op) for op in half.ops} == {("norm",)}


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (0, ["Mul", "Slice", "Slice", "Neg", "Concat", "Mul", "Add"]),
        (4, ["Slice", "Mul", "Slice", "Slice", "Neg", "Concat", "Mul", "Add", "Slice", "Concat"]),  # 4 of 8 channels turn
    ],
)
def test_rotary_embedding_is_small_ops_in_eager_mode(dims: int, expected: list[str]):
    b = Builder("toy")
    x = b.input("x", (1, 2, 5, 8))
    tables = (b.constant(n, (5, (dims or 8) // 2)) for n in ("cos", "sin"))
    graph = b.build(b.op("RotaryEmbedding", x, *tables, rotary_embedding_dim=dims))
    eager = prepare(graph, gpu=load_gpu("v100"))
    assert types(eager) == expected
    assert graph_flop(eager) == graph_flop(graph)
    assert eager[eager.ops[-1].outputs[0]].shape == (1, 2, 5, 8)
    assert types(prepare(graph, gpu=load_gpu("v100"), runtime="compiled")) == ["RotaryEmbedding"]


# ---- the pipeline


def test_attention_follows_the_gpu_unless_told():
    graph = one_attention()
    assert types(prepare(graph, gpu=load_gpu("v100"))) == ["Attention"]
    assert "Softmax" in types(prepare(graph, gpu=load_gpu("p100")))
    assert "Softmax" in types(prepare(graph, gpu=load_gpu("v100"), attention="math"))
    assert types(prepare(graph, gpu=load_gpu("p100"), attention="fused")) == ["Attention"]
    with pytest.raises(OptionError, match=r"unknown attention 'fussed', expected one of fused, math; did you mean 'fused'\?"):
        prepare(graph, gpu=load_gpu("v100"), attention="fussed")


def test_assumptions_are_collected_once():
    gpu = load_gpu("m40")
    once = prepare(one_attention(), gpu=gpu, precision="fp16")
    assert len([a for a in once.assumptions if "FP16" in a]) == 1
    assert prepare(once, gpu=gpu, precision="fp16").assumptions == once.assumptions


def test_a_tensor_from_nowhere_is_found():
    tensors = [Tensor(name="ghost", shape=(2,)), Tensor(name="y", shape=(2,))]
    graph = Graph(name="toy", ops=[Op(name="r", type="Relu", inputs=("ghost",), outputs=("y",))], tensors=tensors, inputs=(), outputs=("y",))
    with pytest.raises(ModelError, match=r"toy: op 'r' \(Relu\) reads the tensor 'ghost', which no op makes and which is no input"):
        check(graph)
