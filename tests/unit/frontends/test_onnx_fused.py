"""Fused operators of ONNX Runtime, attention of opset 23, and quantised networks become plain operators."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from simgpu.errors import ModelError
from simgpu.ops.registry import graph_macs, op_macs, op_read_bytes
from tests.onnx_files import array, info, load, model, node, types, weight

MS = "com.microsoft"


def the(graph, kind):
    """The only op of a type."""
    (op,) = [op for op in graph.ops if op.type == kind]
    return op


def fused(kind, inputs, outputs, **attrs):
    return node(kind, inputs, outputs, domain=MS, **attrs)


# ---- attention: B = 2, S = 5 positions, 6 heads of 8 channels


def test_attention_with_its_projection():
    nodes = [fused("Attention", ["x", "w", "b"], ["y"], num_heads=6, unidirectional=1)]
    graph = load(model(nodes, {"x": [2, 5, 32]}, ["y"], [weight("w", 32, 144), weight("b", 144)]))
    op = the(graph, "Attention")
    assert graph[op.inputs[0]].shape == (2, 6, 5, 8)
    assert op.attrs["is_causal"] == 1
    assert op_macs(graph, op) == 2 * 6 * 5 * 5 * (8 + 8)
    assert graph_macs(graph) == 2 * 5 * 32 * 144 + 2 * 6 * 5 * 5 * 16
    assert graph["y"].shape == (2, 5, 48)
    assert graph.num_params == 32 * 144 + 144


def test_attention_with_a_past_hands_out_the_present():
    nodes = [fused("Attention", ["x", "w", "b", "", "past"], ["y", "present"], num_heads=6)]
    inputs = {"x": [2, 1, 32], "past": [2, 2, 6, 7, 8]}
    graph = load(model(nodes, inputs, ["y", "present"], [weight("w", 32, 144), weight("b", 144)]))
    assert graph["present"].shape == (2, 2, 6, 8, 8)
    assert graph[the(graph, "Attention").inputs[1]].shape == (2, 6, 8, 8)
    assert graph["y"].shape == (2, 1, 48)


def test_attention_with_unequal_sizes():
    nodes = [fused("Attention", ["x", "w", "b"], ["y"], num_heads=2, qkv_hidden_sizes=[16, 16, 32])]
    graph = load(model(nodes, {"x": [2, 5, 8]}, ["y"], [weight("w", 8, 64), weight("b", 64)]))
    assert [graph[t].shape for t in the(graph, "Attention").inputs] == [(2, 2, 5, 8), (2, 2, 5, 8), (2, 2, 5, 16)]
    assert graph["y"].shape == (2, 5, 32)


def test_multi_head_attention_in_three_forms():
    apart = model([fused("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=6)], {"q": [2, 5, 48], "k": [2, 7, 48], "v": [2, 7, 48]}, ["y"])
    packed = model([fused("MultiHeadAttention", ["q"], ["y"], num_heads=6)], {"q": [2, 5, 6, 3, 8]}, ["y"])
    cross = model([fused("MultiHeadAttention", ["q", "k", "v"], ["y"], num_heads=6)], {"q": [2, 5, 48], "k": [2, 6, 7, 8], "v": [2, 6, 7, 8]}, ["y"])
    for proto, keys in ((apart, 7), (packed, 5), (cross, 7)):
        graph = load(proto)
        assert graph_macs(graph) == 2 * 6 * 5 * keys * 16
        assert graph["y"].shape == (2, 5, 48)


def test_multi_head_attention_with_a_cache():
    nodes = [fused("MultiHeadAttention", ["q", "k", "v", "", "", "", "pk", "pv"], ["y", "nk", "nv"], num_heads=6)]
    inputs = {"q": [2, 1, 48], "k": [2, 1, 48], "v": [2, 1, 48], "pk": [2, 6, 7, 8], "pv": [2, 6, 7, 8]}
    graph = load(model(nodes, inputs, ["y", "nk", "nv"]))
    assert graph["nk"].shape == graph["nv"].shape == (2, 6, 8, 8)
    assert graph_macs(graph) == 2 * 6 * 1 * 8 * 16


def test_group_query_attention():
    attrs = {"num_heads": 6, "kv_num_heads": 2, "do_rotary": 1, "local_window_size": 3}
    names = ["q", "k", "v", "pk", "pv", "lens", "total", "cos", "sin"]
    inputs = {
        "q": [2, 5, 48],
        "k": [2, 5, 16],
        "v": [2, 5, 16],
        "pk": [2, 2, 7, 8],
        "pv": [2, 2, 7, 8],
        "lens": info("lens", [2], TensorProto.INT32),
        "total": info("total", [], TensorProto.INT32),
    }
    stored = [weight("cos", 64, 4), weight("sin", 64, 4)]
    graph = load(model([fused("GroupQueryAttention", names, ["y", "nk", "nv"], **attrs)], inputs, ["y", "nk", "nv"], stored))
    op = the(graph, "Attention")
    assert [graph[t].shape for t in op.inputs] == [(2, 6, 5, 8), (2, 2, 12, 8), (2, 2, 12, 8)]
    assert (op.attrs["is_causal"], op.attrs["window"]) == (1, 3)
    assert types(graph).count("RotaryEmbedding") == 2
    assert graph["nk"].shape == (2, 2, 12, 8)
    packed = model(
        [fused("GroupQueryAttention", ["q", "", "", "", "", "lens", "total"], ["y"], num_heads=6, kv_num_heads=2)], {**inputs, "q": [2, 5, 80]}, ["y"]
    )
    assert [load(packed)[t].shape for t in the(load(packed), "Attention").inputs] == [(2, 6, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)]


def test_attention_of_opset_23():
    wide = {"q": [2, 5, 48], "k": [2, 7, 16], "v": [2, 7, 16]}
    flat = model([node("Attention", ["q", "k", "v"], ["y"], is_causal=1, q_num_heads=6, kv_num_heads=2)], wide, ["y"], opset=23)
    graph = load(flat)
    assert graph_macs(graph) == 2 * 6 * 5 * 7 * 16
    assert graph["y"].shape == (2, 5, 48)
    inputs = {"q": [2, 6, 1, 8], "k": [2, 2, 1, 8], "v": [2, 2, 1, 8], "pk": [2, 2, 7, 8], "pv": [2, 2, 7, 8]}
    cached = model([node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], scale=0.5)], inputs, ["y", "nk", "nv"], opset=23)
    graph = load(cached)
    assert graph["y"].shape == (2, 6, 1, 8)
    assert graph["nk"].shape == (2, 2, 8, 8)
    assert the(graph, "Attention").attrs["scale"] == 0.5


# ---- other fusions


def test_normalisations_and_activations():
    stored = [weight(n, 8) for n in ("g", "b", "bias")]
    skip = load(
        model([fused("SkipLayerNormalization", ["x", "s", "g", "b", "bias"], ["y", "", "", "sum"])], {"x": [2, 5, 8], "s": [2, 5, 8]}, ["y", "sum"], stored)
    )
    assert types(skip) == ["Add", "Add", "LayerNormalization"]
    assert skip["sum"].shape == (2, 5, 8)
    assert skip.num_params == 3 * 8
    rms = load(model([fused("SkipSimplifiedLayerNormalization", ["x", "s", "g"], ["y"])], {"x": [2, 5, 8], "s": [2, 5, 8]}, ["y"], stored))
    assert types(rms) == ["Add", "RMSNormalization"]
    plain = load(model([node("SimplifiedLayerNormalization", ["x", "g"], ["y"])], {"x": [2, 5, 8]}, ["y"], stored))
    assert types(plain) == ["RMSNormalization"]
    for kind, approximate in (("FastGelu", "tanh"), ("BiasGelu", "none")):
        gelu = load(model([fused(kind, ["x", "b"], ["y"])], {"x": [2, 5, 8]}, ["y"], stored))
        assert types(gelu) == ["Add", "Gelu"]
        assert the(gelu, "Gelu").attrs["approximate"] == approximate


def test_embeddings_with_their_norm():
    stored = [weight("word", 30, 8), weight("pos", 16, 8), weight("seg", 2, 8), weight("g", 8), weight("b", 8)]
    inputs = {name: info(name, [2, 5], TensorProto.INT32) for name in ("ids", "segments", "mask")}
    nodes = [fused("EmbedLayerNormalization", ["ids", "segments", "word", "pos", "seg", "g", "b", "mask"], ["y", "index"])]
    graph = load(model(nodes, inputs, ["y", "index"], stored))
    assert types(graph) == ["Gather", "Slice", "Add", "Gather", "Add", "LayerNormalization", "ReduceSum"]
    assert graph["y"].shape == (2, 5, 8)
    assert graph["index"].shape == (2,)
    assert graph.num_params == 8 * (30 + 16 + 2 + 1 + 1)


def test_products_with_what_follows():
    conv = [weight("w", 5, 3, 3, 3), weight("b", 5)]
    graph = load(
        model([fused("FusedConv", ["x", "w", "b", "z"], ["y"], activation="Relu", pads=[1, 1, 1, 1])], {"x": [1, 3, 7, 7], "z": [1, 5, 7, 7]}, ["y"], conv)
    )
    assert types(graph) == ["Conv", "Add", "Relu"]
    assert graph["y"].shape == (1, 5, 7, 7)
    with pytest.raises(ModelError, match=r"m.onnx: node 'fusedconv': activation 'Jump' is not known, expected one of Clip"):
        load(model([fused("FusedConv", ["x", "w"], ["y"], activation="Jump")], {"x": [1, 3, 7, 7]}, ["y"], conv))
    gemm = load(model([fused("FusedGemm", ["x", "w"], ["y"], activation="Relu", transB=1)], {"x": [2, 3]}, ["y"], [weight("w", 5, 3)]))
    assert types(gemm) == ["Gemm", "Relu"]
    matmul = load(model([fused("FusedMatMul", ["x", "z"], ["y"], transA=1, alpha=0.125)], {"x": [7, 3, 2], "z": [7, 3, 5]}, ["y"]))
    assert types(matmul) == ["Transpose", "MatMul"]
    assert graph_macs(matmul) == 7 * 2 * 3 * 5


def test_few_bit_weights():
    stored = [weight("w", 5, 1, 16, kind=TensorProto.UINT8), weight("s", 5)]
    graph = load(model([fused("MatMulNBits", ["x", "w", "s"], ["y"], K=32, N=5, bits=4, block_size=32)], {"x": [2, 7, 32]}, ["y"], stored))
    assert graph["y"].shape == (2, 7, 5)
    assert graph_macs(graph) == 2 * 7 * 32 * 5
    (packed,) = graph.weights
    assert (packed.shape, packed.dtype, packed.bytes) == ((5, 32), "int4", 5 * 32 // 2)
    assert graph["s"].kind == "constant"
    assert op_read_bytes(graph, graph.ops[0]) == 4 * 2 * 7 * 32 + 5 * 32 / 2 + 4 * 5


# ---- quantised networks


def scale(name="s"):
    return array(name, np.float32(0.1))


def zero(name="z", kind=np.int8):
    return array(name, np.zeros((), dtype=kind))


def test_integer_convolution_and_product():
    stored = [weight("w", 5, 3, 3, 3, kind=TensorProto.INT8), weight("v", 5, 4, kind=TensorProto.INT8)]
    nodes = [node("ConvInteger", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), node("MatMulInteger", ["u", "v"], ["m"])]
    inputs = {"x": info("x", [1, 3, 7, 7], TensorProto.UINT8), "u": info("u", [2, 5], TensorProto.UINT8)}
    graph = load(model(nodes, inputs, ["y", "m"], stored))
    assert types(graph) == ["Conv", "MatMul"]
    assert graph["y"].dtype == graph["m"].dtype == "int32"
    assert graph["w"].dtype == "int8"
    assert graph["w"].kind == graph["v"].kind == "weight"
    assert graph_macs(graph) == 5 * 7 * 7 * 27 + 2 * 5 * 4


def test_qlinear_operators():
    stored = [weight("w", 5, 3, 3, 3, kind=TensorProto.INT8), weight("b", 5, kind=TensorProto.INT32), scale(), zero()]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearConv", ["q", "s", "z", "w", "s", "z", "s", "z", "b"], ["y"]),
        fused("QLinearAdd", ["y", "s", "z", "y", "s", "z", "s", "z"], ["a"]),
        fused("QLinearConcat", ["s", "z", "y", "s", "z", "a", "s", "z"], ["c"], axis=1),
        fused("QLinearGlobalAveragePool", ["c", "s", "z", "s", "z"], ["g"], channels_last=0),
        node("DequantizeLinear", ["g", "s", "z"], ["out"]),
    ]
    graph = load(model(nodes, {"x": [1, 3, 7, 7]}, ["out"], stored))
    assert types(graph) == ["QuantizeLinear", "Conv", "Add", "Concat", "GlobalAveragePool", "DequantizeLinear"]
    assert graph["y"].dtype == graph["c"].dtype == "int8"
    assert graph["out"].shape == (1, 10, 1, 1)
    assert {t.name for t in graph.weights} == {"w", "b"}


def qdq_net(*, residual=False):
    """x → Q/DQ → Conv → Relu → Q/DQ → (Add with itself →) Gemm-like product → output."""
    stored = [weight("w", 5, 3, 3, 3, kind=TensorProto.INT8), weight("b", 5, kind=TensorProto.INT32), weight("v", 5, 4, kind=TensorProto.INT8), scale(), zero()]
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q0"),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "d0"),
        node("DequantizeLinear", ["w", "s", "z"], ["wd"], "dw"),
        node("DequantizeLinear", ["b", "s"], ["bd"], "db"),
        node("Conv", ["xd", "wd", "bd"], ["c"], "conv"),
        node("Relu", ["c"], ["r"], "relu"),
        node("QuantizeLinear", ["r", "s", "z"], ["rq"], "q1"),
        node("DequantizeLinear", ["rq", "s", "z"], ["rd"], "d1"),
    ]
    last = "rd"
    if residual:
        nodes += [
            node("Add", ["rd", "rd"], ["a"], "add"),
            node("QuantizeLinear", ["a", "s", "z"], ["aq"], "q2"),
            node("DequantizeLinear", ["aq", "s", "z"], ["ad"], "d2"),
        ]
        last = "ad"
    nodes += [
        node("Transpose", [last], ["t"], "nhwc", perm=[0, 2, 3, 1]),
        node("QuantizeLinear", ["t", "s", "z"], ["tq"], "q3"),
        node("DequantizeLinear", ["tq", "s", "z"], ["td"], "d3"),
        node("DequantizeLinear", ["v", "s", "z"], ["vd"], "dv"),
        node("MatMul", ["td", "vd"], ["y"], "matmul"),
    ]
    return model(nodes, {"x": [1, 3, 7, 7]}, ["y"], stored)


@pytest.mark.parametrize("residual", [False, True])
def test_quantise_dequantise_pairs_fold(residual):
    """What stays is the quantisation of the input; each op between computes in 8 bits, the last product writes floats."""
    graph = load(qdq_net(residual=residual))
    assert types(graph) == ["QuantizeLinear", "Conv", "Relu", *(["Add"] if residual else []), "Transpose", "MatMul"]
    conv, product = the(graph, "Conv"), the(graph, "MatMul")
    assert [graph[t].dtype for t in conv.inputs] == ["int8", "int8", "int32"]
    assert [graph[t].dtype for t in product.inputs] == ["int8", "int8"]
    assert graph[conv.outputs[0]].dtype == graph[the(graph, "Relu").outputs[0]].dtype == "int8"
    assert graph["y"].dtype == "fp32"
    assert {t.name for t in graph.weights} == {"w", "b", "v"}
    assert graph.num_params == 5 * 27 + 5 + 20


def test_ops_that_need_floats_keep_their_pairs():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q0"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "d0"),
        node("Softmax", ["d"], ["y"], "softmax"),
    ]
    assert types(load(model(nodes, {"x": [2, 3]}, ["y"], [scale(), zero()]))) == ["QuantizeLinear", "DequantizeLinear", "Softmax"]
    weight_only = [node("DequantizeLinear", ["w", "s", "z"], ["wd"], "dw"), node("MatMul", ["x", "wd"], ["y"])]
    graph = load(model(weight_only, {"x": [2, 3]}, ["y"], [weight("w", 3, 5, kind=TensorProto.INT8), scale(), zero()]))
    assert types(graph) == ["DequantizeLinear", "MatMul"]
    assert graph.num_params == 15


def test_an_lstm_with_integer_weights():
    stored = [weight("w", 1, 3, 28, kind=TensorProto.INT8), weight("r", 1, 7, 28, kind=TensorProto.INT8), scale(), zero()]
    names = ["x", "w", "r", "", "", "", "", "", "s", "z", "s", "z"]
    graph = load(model([fused("DynamicQuantizeLSTM", names, ["y"], hidden_size=7)], {"x": [5, 2, 3]}, ["y"], stored))
    assert types(graph) == ["LSTM"]
    assert graph["y"].shape == (5, 1, 2, 7)
    assert graph_macs(graph) == 5 * 2 * 28 * (3 + 7)
    assert {t.dtype for t in graph.weights} == {"int8"}


BAD = [
    (fused("Attention", ["x", "w"], ["y"], num_heads=5), "144 channels do not divide into q, k and v of 5 heads"),
    (fused("Attention", ["x", "w"], ["y"]), "do not divide into q, k and v of 0 heads"),
    (fused("MultiHeadAttention", ["x"], ["y"], num_heads=4), "input 1 is missing"),
    (fused("MatMulNBits", ["x", "w"], ["y"], K=32, N=5, bits=3), "does not hold N=5 × K=32 values of bits=3"),
    (fused("GroupQueryAttention", ["x"], ["y"], num_heads=6), "kv_num_heads 0 must be 1 or more"),
    (fused("SkipLayerNormalization", ["x"], ["y"]), "input 1 is missing"),
    (fused("MultiHeadAttention", ["w", "x", "x"], ["y"], num_heads=6), "'w' has shape .32, 144., expected 3 or 5 dimensions"),
    (fused("FusedMatMul", ["x", "w"], ["y"], transBatchA=1), "transBatchA and transBatchB are not read"),
]


@pytest.mark.parametrize(("broken", "message"), BAD)
def test_fused_operators_that_make_no_sense(broken, message):
    with pytest.raises(ModelError, match=message):
        load(model([broken], {"x": [2, 5, 32]}, ["y"], [weight("w", 32, 144)]))
