"""Products and windows: shapes and multiply-accumulates worked out by hand, on odd sizes."""

from __future__ import annotations

import pytest

from simgpu.errors import ShapeError, UnsupportedError
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.ops.registry import check_supported, graph_macs, is_view, op_flop, op_macs, op_read_bytes, op_write_bytes, supported_ops
from tests.single_op import one


def shape_of(graph: Graph) -> tuple[int, ...]:
    return graph["o0"].shape


PRODUCTS = [
    # op, input shapes, attributes, output shape, multiply-accumulates
    ("MatMul", [(2, 3), (3, 5)], {}, (2, 5), 2 * 5 * 3),
    ("MatMul", [(7, 2, 3), (3, 5)], {}, (7, 2, 5), 7 * 2 * 5 * 3),
    ("MatMul", [(7, 1, 2, 3), (11, 3, 5)], {}, (7, 11, 2, 5), 7 * 11 * 2 * 5 * 3),
    ("MatMul", [(3,), (3, 5)], {}, (5,), 5 * 3),
    ("MatMul", [(2, 3), (3,)], {}, (2,), 2 * 3),
    ("MatMul", [(3,), (3,)], {}, (), 3),
    ("MatMulInteger", [(2, 3), (3, 5)], {}, (2, 5), 2 * 5 * 3),
    ("QLinearMatMul", [(2, 3), (), (), (3, 5), (), (), (), ()], {}, (2, 5), 2 * 5 * 3),
    ("Gemm", [(2, 3), (3, 5), (5,)], {}, (2, 5), 2 * 5 * 3),
    ("Gemm", [(2, 3), (5, 3), (2, 1)], {"transB": 1}, (2, 5), 2 * 5 * 3),
    ("Gemm", [(3, 2), (5, 3)], {"transA": 1, "transB": 1}, (2, 5), 2 * 5 * 3),
    ("Linear", [(7, 2, 3), (5, 3), (5,)], {}, (7, 2, 5), 7 * 2 * 5 * 3),
    ("MatMulNBits", [(7, 32), (5, 1, 16), (5,)], {"K": 32, "N": 5, "bits": 4, "block_size": 32}, (7, 5), 7 * 5 * 32),
    ("Einsum", [(2, 3), (3, 5)], {"equation": "ij,jk->ik"}, (2, 5), 2 * 3 * 5),
    ("Einsum", [(7, 2, 3), (7, 5, 3)], {"equation": "bid,bjd->bij"}, (7, 2, 5), 7 * 2 * 5 * 3),
    ("Einsum", [(7, 11, 2, 3), (3, 5)], {"equation": "...ij,jk->...ik"}, (7, 11, 2, 5), 7 * 11 * 2 * 3 * 5),
    ("Einsum", [(2, 3), (3, 5)], {"equation": "ij,jk"}, (2, 5), 2 * 3 * 5),
    ("Einsum", [(2, 3), (2, 3)], {"equation": "ij,ij->ij"}, (2, 3), 0),  # nothing is summed
    ("Einsum", [(2, 3), (3, 5), (5, 7)], {"equation": "ij,jk,kl->il"}, (2, 7), 2 * 3 * 5 + 2 * 5 * 7),
    ("Conv", [(2, 3, 7, 9), (5, 3, 3, 3)], {}, (2, 5, 5, 7), 2 * 5 * 5 * 7 * 3 * 3 * 3),
    ("Conv", [(1, 3, 224, 224), (64, 3, 7, 7)], {"strides": (2, 2), "pads": (3, 3, 3, 3)}, (1, 64, 112, 112), 64 * 112 * 112 * 3 * 7 * 7),
    ("Conv", [(1, 6, 11, 11), (6, 1, 3, 3)], {"group": 6, "dilations": (2, 2)}, (1, 6, 7, 7), 6 * 7 * 7 * 3 * 3),
    ("Conv", [(1, 6, 11, 11), (9, 2, 3, 1)], {"group": 3, "pads": (1, 0, 1, 0)}, (1, 9, 11, 11), 9 * 11 * 11 * 2 * 3),
    ("Conv", [(2, 3, 17), (5, 3, 4)], {"strides": (3,)}, (2, 5, 5), 2 * 5 * 5 * 3 * 4),
    ("Conv", [(1, 2, 5, 7, 9), (3, 2, 3, 3, 3)], {}, (1, 3, 3, 5, 7), 3 * 3 * 5 * 7 * 2 * 27),
    ("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": (2, 2)}, (1, 5, 4, 4), 5 * 4 * 4 * 27),
    ("Conv", [(1, 3, 8, 8), (5, 3, 3, 3)], {"auto_pad": "SAME_LOWER", "strides": (2, 2)}, (1, 5, 4, 4), 5 * 4 * 4 * 27),
    ("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], {"auto_pad": "VALID"}, (1, 5, 5, 5), 5 * 5 * 5 * 27),
    ("ConvInteger", [(1, 3, 7, 7), (5, 3, 3, 3)], {}, (1, 5, 5, 5), 5 * 5 * 5 * 27),
    ("QLinearConv", [(1, 3, 7, 7), (), (), (5, 3, 3, 3), (), (), (), ()], {}, (1, 5, 5, 5), 5 * 5 * 5 * 27),
    ("DeformConv", [(1, 3, 7, 7), (5, 3, 3, 3), (1, 18, 5, 5)], {}, (1, 5, 5, 5), 5 * 5 * 5 * 27),
    # each of 5 × 5 inputs is spread over 4 × 4 places of 7 channels
    ("ConvTranspose", [(2, 3, 5, 5), (3, 7, 4, 4)], {"strides": (2, 2), "pads": (1, 1, 1, 1)}, (2, 7, 10, 10), 2 * 3 * 5 * 5 * 7 * 4 * 4),
    ("ConvTranspose", [(1, 6, 5), (6, 1, 3)], {"group": 6, "strides": (2,), "output_padding": (1,)}, (1, 6, 12), 6 * 5 * 3),
    ("ConvTranspose", [(1, 3, 5, 5), (3, 2, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": (2, 2)}, (1, 2, 10, 10), 3 * 25 * 2 * 9),
    ("ConvTranspose", [(1, 3, 5, 5), (3, 2, 3, 3)], {"output_shape": (11, 12), "strides": (2, 2)}, (1, 2, 11, 12), 3 * 25 * 2 * 9),
    # queries × keys × (channels of the scores + channels of the values), full square, every query head
    ("Attention", [(2, 6, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4)], {"is_causal": 1}, (2, 6, 5, 4), 2 * 6 * 5 * 7 * (8 + 4)),
    ("LSTM", [(5, 2, 3), (1, 4 * 7, 3), (1, 4 * 7, 7)], {"hidden_size": 7}, (5, 1, 2, 7), 5 * 2 * 4 * 7 * (3 + 7)),
    ("GRU", [(5, 2, 3), (2, 3 * 7, 3), (2, 3 * 7, 7)], {"hidden_size": 7, "direction": "bidirectional"}, (5, 2, 2, 7), 2 * 5 * 2 * 3 * 7 * (3 + 7)),
    ("RNN", [(2, 5, 3), (1, 7, 3), (1, 7, 7)], {"hidden_size": 7, "layout": 1}, (2, 5, 1, 7), 5 * 2 * 7 * (3 + 7)),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "output", "macs"), PRODUCTS, ids=lambda v: v if isinstance(v, str) else "")
def test_products(kind, shapes, attrs, output, macs):
    graph = one(kind, shapes, **attrs)
    assert shape_of(graph) == output
    assert op_macs(graph, graph.ops[0]) == macs == graph_macs(graph)
    assert op_flop(graph, graph.ops[0]) == 2 * macs


POOLS = [
    # op, input, attributes, output, FLOP: one for each element of each window
    ("MaxPool", (1, 3, 7, 7), {"kernel_shape": (3, 3), "strides": (2, 2)}, (1, 3, 3, 3), 27 * 9),
    ("MaxPool", (1, 3, 8, 8), {"kernel_shape": (3, 3), "strides": (2, 2)}, (1, 3, 3, 3), 27 * 9),
    ("MaxPool", (1, 3, 8, 8), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}, (1, 3, 4, 4), 48 * 9),
    ("MaxPool", (1, 3, 9, 9), {"kernel_shape": (3, 3), "dilations": (2, 2)}, (1, 3, 5, 5), 75 * 9),
    # ceil mode would start a third window at 4, beyond the input and its left padding (3 + 1): it is dropped
    ("AveragePool", (1, 2, 3), {"kernel_shape": (2,), "strides": (2,), "pads": (1, 1), "ceil_mode": 1}, (1, 2, 2), 4 * 2),
    ("AveragePool", (1, 2, 5, 5), {"kernel_shape": (2, 2), "auto_pad": "SAME_UPPER", "strides": (2, 2)}, (1, 2, 3, 3), 18 * 4),
    ("LpPool", (1, 2, 5), {"kernel_shape": (2,)}, (1, 2, 4), 8 * 2 * 2),
    ("GlobalAveragePool", (2, 3, 5, 7), {}, (2, 3, 1, 1), 2 * 3 * 5 * 7),
    ("GlobalMaxPool", (2, 3, 5), {}, (2, 3, 1), 2 * 3 * 5),
    ("GlobalLpPool", (2, 3, 5, 7), {}, (2, 3, 1, 1), 2 * 2 * 3 * 5 * 7),
]


@pytest.mark.parametrize(("kind", "shape", "attrs", "output", "flop"), POOLS)
def test_pools(kind, shape, attrs, output, flop):
    graph = one(kind, [shape], **attrs)
    assert shape_of(graph) == output
    assert (op_macs(graph, graph.ops[0]), op_flop(graph, graph.ops[0])) == (0, flop)


def test_states_of_a_recurrent_layer_and_indices_of_a_pool():
    lstm = one("LSTM", [(5, 2, 3), (2, 28, 3), (2, 28, 7)], 3, hidden_size=7, direction="bidirectional")
    assert [lstm[t].shape for t in lstm.outputs] == [(5, 2, 2, 7), (2, 2, 7), (2, 2, 7)]
    pool = one("MaxPool", [(1, 3, 7, 7)], 2, kernel_shape=(3, 3))
    assert [(pool[t].shape, pool[t].dtype) for t in pool.outputs] == [((1, 3, 5, 5), "fp32"), ((1, 3, 5, 5), "int64")]


def test_integer_products():
    assert one("MatMulInteger", [(2, 3), (3, 5)], dtypes=("int8", "int8"))["o0"].dtype == "int32"
    assert one("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], dtypes=("int8", "int8"), output_dtype="int8")["o0"].dtype == "int8"
    assert one("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], dtypes=("fp16", "fp16"))["o0"].dtype == "fp16"


def test_bytes_are_those_of_all_operands_each_tensor_once():
    conv = one("Conv", [(1, 3, 7, 7), (5, 3, 3, 3), (5,)], dtypes=("fp16", "fp16", "fp16"))
    assert op_read_bytes(conv, conv.ops[0]) == 2 * (3 * 7 * 7 + 5 * 27 + 5)
    assert op_write_bytes(conv, conv.ops[0]) == 2 * 5 * 5 * 5
    x = Tensor(name="x", shape=(3, 3), kind="input")
    square = Graph(
        name="g",
        ops=[Op(name="s", type="MatMul", inputs=("x", "x"), outputs=("y",))],
        tensors=[x, Tensor(name="y", shape=(3, 3))],
        inputs=["x"],
        outputs=["y"],
    )
    assert op_read_bytes(square, square.ops[0]) == 4 * 9
    assert not is_view(square.ops[0], square)


BAD = [
    ("MatMul", [(2, 3), (4, 5)], {}, r"node 'node' \(MatMul\): multiplies \(2, 3\) by \(4, 5\): the inner dimensions 3 and 4 differ"),
    ("MatMul", [(2, 2, 3), (5, 3, 4)], {}, r"shapes \(2,\) and \(5,\) do not broadcast"),
    ("MatMul", [(), (3, 4)], {}, "expected at least one dimension"),
    ("MatMul", [(2, 3), None], {}, "input 1 is missing"),
    ("Gemm", [(2, 3), (5, 3)], {}, r"\(transA=0, transB=0\): the inner dimensions 3 and 5 differ"),
    ("Gemm", [(2, 3), (3, 5), (4,)], {}, r"shapes \(4,\) and \(2, 5\) do not broadcast"),
    ("Linear", [(2, 3), (5, 4)], {}, "3 features meet 4"),
    ("Einsum", [(2, 3), (4, 5)], {"equation": "ij,jk->ik"}, "index 'j' is 3 and 4"),
    ("Einsum", [(2, 3)], {"equation": "ij,jk->ik"}, "has 2 operands, expected 1"),
    ("Einsum", [(2, 3)], {"equation": "ij->iz"}, "the output names an index that no operand has"),
    ("Conv", [(1, 4, 7, 7), (5, 3, 3, 3)], {}, "4 input channels meet a weight"),
    ("Conv", [(1, 3, 7, 7), (5, 3, 3)], {}, "an input of"),
    ("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], {"strides": (0, 1)}, "attribute 'strides' is .* expected values of 1 or more"),
    ("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], {"pads": (1, 1)}, "attribute 'pads' is .* expected 4 integers"),
    ("Conv", [(1, 3, 2, 2), (5, 3, 3, 3)], {}, "a window of 3 does not fit an axis of 2"),
    ("Conv", [(1, 3, 7, 7), (5, 3, 3, 3)], {"auto_pad": "SOME"}, "auto_pad is 'SOME', expected NOTSET, VALID, SAME_UPPER or SAME_LOWER"),
    ("Conv", [(1, 6, 7, 7), (5, 3, 3, 3)], {"group": 2}, "in 2 groups"),
    ("ConvTranspose", [(1, 4, 5, 5), (3, 7, 4, 4)], {}, "expected .N, C, …. and .C, K / groups"),
    ("MaxPool", [(1, 3, 7, 7)], {}, "has no kernel_shape"),
    ("MaxPool", [(1, 3)], {"kernel_shape": (2,)}, "expected at least 3 dimensions"),
    ("Attention", [(2, 6, 5, 8), (2, 4, 7, 8), (2, 4, 7, 4)], {}, "6 query heads do not divide among 4 key heads"),
    ("Attention", [(2, 6, 5, 8), (2, 3, 7, 9), (2, 3, 7, 4)], {}, "do not fit"),
    ("LSTM", [(5, 2, 3), (1, 28, 4), (1, 28, 7)], {"hidden_size": 7}, "do not fit an input"),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "message"), BAD)
def test_operands_that_do_not_fit(kind, shapes, attrs, message):
    with pytest.raises(ShapeError, match=message):
        one(kind, shapes, **attrs)


def test_unknown_operators_are_named_together():
    with pytest.raises(UnsupportedError, match=r"node 'node': operator 'Convv' is not known; did you mean 'Conv'\?; --allow-unknown"):
        one("Convv", [(1,)])
    ops = [Op(name=f"n{i}", type=t, inputs=(), outputs=()) for i, t in enumerate(["Foo", "Relu", "Bar", "Foo", "Foo", "Foo"])]
    with pytest.raises(UnsupportedError, match=r"m.onnx: 2 unknown operators: Bar × 1 \(node 'n2'\); Foo × 4 \(node 'n0', 'n3', 'n4', …\)"):
        check_supported(ops, "m.onnx")
    check_supported(ops[1:2], "m.onnx")
    assert {"Conv", "MatMul", "Attention", "LSTM"} < set(supported_ops())


def test_sizes_no_gpu_can_hold_are_refused():
    with pytest.raises(ShapeError, match=r"its output would have 1\.\d+e\+18 elements"):
        one("Expand", [(1, 1)], shape=(2**30, 2**30))


def test_too_many_outputs():
    with pytest.raises(ShapeError, match="has 2 outputs, expected at most 1"):
        one("Relu", [(3,)], 2)
