"""The rules of elementwise, normalising, reducing, moving and looking-up operators, on odd sizes."""

from __future__ import annotations

import pytest

from simgpu.errors import ShapeError
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.ops.registry import UnknownOperandError, infer_op, is_view, op_flop, op_macs, op_read_bytes, op_write_bytes
from tests.single_op import one

ELEMENTWISE = [
    # op, input shapes, output shape, FLOP
    ("Relu", [(2, 3, 7)], (2, 3, 7), 42),
    ("Sigmoid", [(2, 3, 7)], (2, 3, 7), 4 * 42),
    ("Swish", [(2, 3, 7)], (2, 3, 7), 5 * 42),
    ("Gelu", [(2, 3, 7)], (2, 3, 7), 5 * 42),
    ("HardSwish", [(2, 3, 7)], (2, 3, 7), 5 * 42),
    ("Tanh", [(2, 3, 7)], (2, 3, 7), 42),
    ("Clip", [(2, 3, 7)], (2, 3, 7), 2 * 42),
    ("Add", [(2, 3, 7), (3, 1)], (2, 3, 7), 42),
    ("Mul", [(2, 1), (1, 5)], (2, 5), 10),
    ("Sum", [(2, 5), (2, 5), (5,)], (2, 5), 2 * 10),
    ("Max", [(5,)], (5,), 0),
    ("PRelu", [(1, 3, 5, 5), (3, 1, 1)], (1, 3, 5, 5), 2 * 75),
    ("Pow", [(2, 5), ()], (2, 5), 10),
    ("Where", [(2, 1), (5,), ()], (2, 5), 10),
    ("BatchNormalization", [(2, 3, 5, 7), (3,), (3,), (3,), (3,)], (2, 3, 5, 7), 2 * 210),
    ("InstanceNormalization", [(2, 3, 5, 7), (3,), (3,)], (2, 3, 5, 7), 7 * 210),
    ("LayerNormalization", [(2, 5, 7), (7,), (7,)], (2, 5, 7), 7 * 70),
    ("RMSNormalization", [(2, 5, 7), (7,)], (2, 5, 7), 4 * 70),
    ("LpNormalization", [(2, 5, 7)], (2, 5, 7), 5 * 70),
    ("LRN", [(1, 3, 5, 7)], (1, 3, 5, 7), (2 * 5 + 4) * 105),
    ("Softmax", [(2, 5, 7)], (2, 5, 7), 5 * 70),
    ("LogSoftmax", [(2, 5, 7)], (2, 5, 7), 5 * 70),
    ("RotaryEmbedding", [(2, 3, 5, 8)], (2, 3, 5, 8), 3 * 240),
    ("QuantizeLinear", [(2, 5), (), ()], (2, 5), 4 * 10),
    ("DequantizeLinear", [(2, 5), (), ()], (2, 5), 2 * 10),
    ("CumSum", [(2, 5)], (2, 5), 10),
]


@pytest.mark.parametrize(("kind", "shapes", "output", "flop"), ELEMENTWISE, ids=[row[0] for row in ELEMENTWISE])
def test_elementwise_and_normalisation(kind, shapes, output, flop):
    graph = one(kind, shapes)
    assert graph["o0"].shape == output
    assert (op_macs(graph, graph.ops[0]), op_flop(graph, graph.ops[0])) == (0, flop)


def test_variants_that_an_attribute_makes():
    tanh = one("Gelu", [(3,)], approximate="tanh")
    assert op_flop(tanh, tanh.ops[0]) == 9 * 3
    group = one("GroupNormalization", [(2, 6, 5), (6,), (6,)], num_groups=3)
    assert op_flop(group, group.ops[0]) == 7 * 60
    old = one("Add", [(2, 3, 5, 7), (3,)], broadcast=1, axis=1)  # opset 6
    assert old["o0"].shape == (2, 3, 5, 7)


def test_formats():
    assert one("Equal", [(2, 3), (3,)])["o0"].dtype == "bool"
    assert one("IsNaN", [(2,)])["o0"].dtype == "bool"
    assert one("Cast", [(2, 3)], to="fp16")["o0"].dtype == "fp16"
    assert one("CastLike", [(2, 3), (1,)], dtypes=("fp32", "int8"))["o0"].dtype == "int8"
    assert one("QuantizeLinear", [(2,), (), ()], dtypes=("fp32", "fp32", "int8"))["o0"].dtype == "int8"
    assert one("DequantizeLinear", [(2,), (), ()], dtypes=("int8", "fp16", "int8"))["o0"].dtype == "fp16"
    assert [one("DynamicQuantizeLinear", [(2, 3)], 3)[f"o{i}"].dtype for i in range(3)] == ["uint8", "fp32", "uint8"]
    assert one("ArgMax", [(2, 3)], axis=1)["o0"].dtype == "int64"
    weight = Tensor(name="w", shape=(5,), dtype="fp32", kind="weight")
    x = Tensor(name="x", shape=(5,), dtype="fp16")
    assert infer_op(Op(name="a", type="Add", inputs=("w", "x"), outputs=("y",)), (weight, x)) == (((5,), "fp16"),)


MOVEMENT = [
    # op, input shapes, attributes, output shape
    ("Reshape", [(2, 3, 7)], {"shape": (0, -1)}, (2, 21)),
    ("Reshape", [(2, 3, 7)], {"shape": (7, 6)}, (7, 6)),
    ("Reshape", [(2, 0, 7)], {"shape": (0, 0, 3), "allowzero": 1}, (0, 0, 3)),
    ("Flatten", [(2, 3, 7, 5)], {}, (2, 105)),
    ("Flatten", [(2, 3, 7, 5)], {"axis": -1}, (42, 5)),
    ("Flatten", [(2, 3, 7, 5)], {"axis": 0}, (1, 210)),
    ("Squeeze", [(1, 3, 1, 5)], {}, (3, 5)),
    ("Squeeze", [(1, 3, 1, 5)], {"axes": (-2,)}, (1, 3, 5)),
    ("Unsqueeze", [(3, 5)], {"axes": (0, -1)}, (1, 3, 5, 1)),
    ("Transpose", [(2, 3, 5)], {}, (5, 3, 2)),
    ("Transpose", [(2, 3, 5)], {"perm": (1, 0, 2)}, (3, 2, 5)),
    ("Concat", [(2, 3, 5), (2, 4, 5)], {"axis": 1}, (2, 7, 5)),
    ("Concat", [(2, 3), (2, 4)], {"axis": -1}, (2, 7)),
    ("Slice", [(7, 9)], {"starts": (1, -3), "ends": (6, 2**40), "axes": (0, 1), "steps": (2, 1)}, (3, 3)),
    ("Slice", [(7, 9)], {"starts": (-1,), "ends": (-(2**40),), "axes": (0,), "steps": (-1,)}, (7, 9)),
    ("Slice", [(7, 9)], {"starts": (5,), "ends": (2,)}, (0, 9)),
    ("Pad", [(2, 3)], {"pads": (1, 0, 2, 5)}, (5, 8)),
    ("Pad", [(2, 3, 5)], {"pads": (1, -2), "axes": (2,)}, (2, 3, 4)),
    ("Expand", [(3, 1)], {"shape": (2, 1, 5)}, (2, 3, 5)),
    ("Tile", [(2, 3)], {"repeats": (3, 2)}, (6, 6)),
    ("DepthToSpace", [(1, 12, 3, 5)], {"blocksize": 2}, (1, 3, 6, 10)),
    ("SpaceToDepth", [(1, 3, 6, 10)], {"blocksize": 2}, (1, 12, 3, 5)),
    ("Resize", [(1, 3, 5, 7)], {"sizes": (1, 3, 10, 21)}, (1, 3, 10, 21)),
    ("Resize", [(1, 3, 5, 7)], {"scales": (1.0, 1.0, 2.0, 1.5)}, (1, 3, 10, 10)),
    ("Resize", [(1, 3, 5, 7)], {"sizes": (10, 21), "axes": (2, 3)}, (1, 3, 10, 21)),
    ("Resize", [(1, 3, 5, 10)], {"sizes": (10, 10), "axes": (2, 3), "keep_aspect_ratio_policy": "not_larger"}, (1, 3, 5, 10)),
    ("Upsample", [(1, 3, 5, 7)], {"scales": (1.0, 1.0, 2.0, 2.0)}, (1, 3, 10, 14)),
    ("Trilu", [(3, 5)], {"upper": 0}, (3, 5)),
    ("ReverseSequence", [(3, 5), (5,)], {}, (3, 5)),
    ("CenterCropPad", [(10, 7, 3)], {"shape": (8, 9), "axes": (0, 1)}, (8, 9, 3)),
    ("Gather", [(30, 8), (2, 5)], {"axis": 0}, (2, 5, 8)),
    ("Gather", [(30, 8), ()], {"axis": 1}, (30,)),
    ("GatherElements", [(3, 5), (2, 5)], {"axis": 0}, (2, 5)),
    ("GatherND", [(3, 5, 7), (2, 2)], {}, (2, 7)),
    ("GatherND", [(2, 3, 5), (2, 1)], {"batch_dims": 1}, (2, 5)),
    ("ScatterND", [(3, 5), (2, 1), (2, 5)], {}, (3, 5)),
    ("ScatterElements", [(3, 5), (1, 5), (1, 5)], {}, (3, 5)),
    ("OneHot", [(2, 3), None, (2,)], {"depth": 7}, (2, 3, 7)),
    ("OneHot", [(2, 3), None, (2,)], {"depth": 7, "axis": 0}, (7, 2, 3)),
    ("NonZero", [(2, 3)], {}, (2, 6)),  # all six, at most
    ("Shape", [(2, 3, 5)], {}, (3,)),
    ("Shape", [(2, 3, 5)], {"start": 1, "end": 2}, (1,)),
    ("Size", [(2, 3, 5)], {}, ()),
    ("ConstantOfShape", [], {"shape": (2, 3)}, (2, 3)),
    ("EyeLike", [(2, 3)], {}, (2, 3)),
    ("Col2Im", [(1, 12, 25)], {"image_shape": (6, 6), "block_shape": (2, 2)}, (1, 3, 6, 6)),
    ("MaxUnpool", [(1, 3, 4, 4), (1, 3, 4, 4)], {"kernel_shape": (2, 2), "strides": (2, 2)}, (1, 3, 8, 8)),
    ("ReduceMean", [(2, 3, 5)], {"axes": (1, -1)}, (2, 1, 1)),
    ("ReduceSum", [(2, 3, 5)], {"axes": (1,), "keepdims": 0}, (2, 5)),
    ("ReduceMax", [(2, 3, 5)], {"keepdims": 0}, ()),
    ("ReduceSum", [(2, 3, 5)], {"noop_with_empty_axes": 1}, (2, 3, 5)),
    ("ArgMax", [(2, 3, 5)], {"axis": 2, "keepdims": 0}, (2, 3)),
    ("TopK", [(2, 9)], {"k": 4}, (2, 4)),
    ("TopK", [(2, 3)], {"k": 4}, (2, 3)),
    ("NonMaxSuppression", [(2, 9, 4), (2, 3, 9)], {"max_output_boxes_per_class": 5}, (2 * 3 * 5, 3)),
    ("NonMaxSuppression", [(2, 9, 4), (2, 3, 9)], {"max_output_boxes_per_class": 50}, (2 * 3 * 9, 3)),
    ("RoiAlign", [(1, 16, 9, 9), (5, 4), (5,)], {"output_height": 7, "output_width": 7}, (5, 16, 7, 7)),
    ("MaxRoiPool", [(1, 16, 9, 9), (5, 5)], {"pooled_shape": (3, 3)}, (5, 16, 3, 3)),
    ("GridSample", [(1, 3, 9, 9), (1, 5, 7, 2)], {}, (1, 3, 5, 7)),
    ("AffineGrid", [(1, 2, 3)], {"size": (1, 3, 5, 7)}, (1, 5, 7, 2)),
    ("STFT", [(1, 100)], {"frame_step": 10, "frame_length": 20}, (1, 9, 11, 2)),
    ("DFT", [(1, 16, 1)], {"onesided": 1}, (1, 9, 2)),
    ("Det", [(2, 3, 3)], {}, (2,)),
    ("Dropout", [(2, 3)], {}, (2, 3)),
    ("Multinomial", [(2, 9)], {"sample_size": 5}, (2, 5)),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "output"), MOVEMENT, ids=[row[0] for row in MOVEMENT])
def test_shapes(kind, shapes, attrs, output):
    assert one(kind, shapes, **attrs)["o0"].shape == output


def test_operands_may_be_inputs_of_known_value():
    assert one("Reshape", [(2, 3), (1,)], values={1: [6]})["o0"].shape == (6,)
    assert one("Slice", [(7, 9), (1,), (1,), (1,)], values={1: [2], 2: [5], 3: [1]})["o0"].shape == (7, 3)
    assert one("Range", [(), (), ()], values={0: 1, 1: 10, 2: 3})["o0"].shape == (3,)
    assert one("NonZero", [(2, 3)], values={0: [[1, 0, 1], [0, 0, 1]]})["o0"].shape == (2, 3)
    assert one("Compress", [(5,), (5,)], values={1: [1, 0, 0, 1, 0]}, axis=0)["o0"].shape == (2,)
    assert one("Resize", [(1, 1, 4, 4), (4,)], values={1: [1.0, 1.0, 2.0, 2.0]})["o0"].shape == (1, 1, 8, 8)  # opset 10
    with pytest.raises(UnknownOperandError, match="its shape is the tensor 'i1', whose value is not known before the network runs"):
        one("Reshape", [(2, 3), (1,)])


def test_split_and_other_ops_of_several_outputs():
    equal = one("Split", [(7, 3)], 3, axis=0)
    assert [equal[t].shape for t in equal.outputs] == [(3, 3), (3, 3), (1, 3)]
    given = one("Split", [(7, 3)], 2, axis=0, split=(2, 5))
    assert [given[t].shape for t in given.outputs] == [(2, 3), (5, 3)]
    top = one("TopK", [(2, 9)], 2, k=4)
    assert [(top[t].shape, top[t].dtype) for t in top.outputs] == [((2, 4), "fp32"), ((2, 4), "int64")]
    norm = one("LayerNormalization", [(2, 5, 7), (5, 7)], 3, axis=1)
    assert [norm[t].shape for t in norm.outputs] == [(2, 5, 7), (2, 1, 1), (2, 1, 1)]
    unique = one("Unique", [(5,)], 2)
    assert [unique[t].shape for t in unique.outputs] == [(5,), (5,)]


VIEWS = [
    ("Reshape", [(2, 3)], {"shape": (6,)}, True),
    ("Flatten", [(2, 3, 5)], {}, True),
    ("Unsqueeze", [(3,)], {"axes": (0,)}, True),
    ("Identity", [(3,)], {}, True),
    ("Dropout", [(3,)], {}, True),
    ("Cast", [(3,)], {"to": "fp32"}, True),
    ("Cast", [(3,)], {"to": "fp16"}, False),
    ("Slice", [(7, 9)], {"starts": (2,), "ends": (5,), "axes": (0,)}, True),  # rows lie together
    ("Slice", [(7, 9)], {"starts": (2,), "ends": (5,), "axes": (1,)}, False),
    ("Slice", [(1, 9)], {"starts": (2,), "ends": (5,), "axes": (1,)}, True),
    ("Slice", [(7, 9)], {"starts": (0,), "ends": (7,), "axes": (0,), "steps": (2,)}, False),
    ("Slice", [(7, 9)], {"starts": (0,), "ends": (9,), "axes": (1,)}, True),  # all of it
    ("Transpose", [(1, 3, 5)], {"perm": (1, 0, 2)}, True),  # only an axis of size 1 moves
    ("Transpose", [(2, 3, 5)], {"perm": (1, 0, 2)}, False),
    ("Expand", [(1, 3)], {"shape": (4, 3)}, False),
    ("Relu", [(3,)], {}, False),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "view"), VIEWS)
def test_views_move_nothing(kind, shapes, attrs, view):
    graph = one(kind, shapes, **attrs)
    assert is_view(graph.ops[0], graph) is view
    assert (op_read_bytes(graph, graph.ops[0]) + op_write_bytes(graph, graph.ops[0]) == 0) is view


def test_a_lookup_reads_the_rows_it_wants():
    graph = one("Gather", [(30000, 8), (2, 5)], dtypes=("fp16", "int64"), axis=0)
    assert op_read_bytes(graph, graph.ops[0]) == 2 * 5 * 8 * 2 + 2 * 5 * 8  # ten rows of eight, ten indices
    assert op_write_bytes(graph, graph.ops[0]) == 2 * 5 * 8 * 2
    crop = one("Slice", [(7, 9)], starts=(2,), ends=(5,), axes=(1,))
    assert op_read_bytes(crop, crop.ops[0]) == 7 * 3 * 4


def test_interpolation_and_others_that_compute():
    nearest = one("Resize", [(1, 3, 5, 7)], sizes=(1, 3, 10, 14), mode="nearest")
    linear = one("Resize", [(1, 3, 5, 7)], sizes=(1, 3, 10, 14), mode="linear")
    assert op_flop(nearest, nearest.ops[0]) == 0
    assert op_flop(linear, linear.ops[0]) == 2 * 4 * 3 * 10 * 14  # four neighbours, a product and a sum each
    roi = one("RoiAlign", [(1, 16, 9, 9), (5, 4), (5,)], output_height=7, output_width=7, sampling_ratio=2)
    assert op_flop(roi, roi.ops[0]) == 2 * 4 * 4 * 5 * 16 * 7 * 7
    grid = one("GridSample", [(1, 3, 9, 9), (1, 5, 7, 2)])
    assert op_flop(grid, grid.ops[0]) == 2 * 4 * 3 * 5 * 7
    det = one("Det", [(3, 3)])
    assert op_flop(det, det.ops[0]) == 18  # 2/3 · 27


BAD = [
    ("Add", [(2, 3), (2,)], {}, r"shapes \(2, 3\) and \(2,\) do not broadcast"),
    ("Reshape", [(2, 3)], {"shape": (4,)}, r"an input of \(2, 3\) \(6 elements\) cannot be reshaped to \(4,\)"),
    ("Reshape", [(2, 3)], {"shape": (-1, 4)}, "cannot be reshaped"),
    ("Reshape", [(2, 3)], {"shape": (-1, -1)}, "a negative dimension other than one -1"),
    ("Reshape", [(2, 3)], {"shape": (2, 3, 0)}, "keeps dimension 2 of an input"),
    ("Reshape", [(2, 3)], {}, "has no shape"),
    ("Squeeze", [(2, 3)], {"axes": (0,)}, "which are not all 1"),
    ("Unsqueeze", [(2, 3)], {"axes": (0, 0)}, "inserts an axis twice"),
    ("Transpose", [(2, 3)], {"perm": (0, 0)}, "is no permutation"),
    ("Concat", [(2, 3), (3, 4)], {"axis": 1}, "all other dimensions must agree"),
    ("Concat", [(2, 3)], {"axis": 2}, "axis 2 is outside of a tensor of 2 dimensions"),
    ("Split", [(7, 3)], {"axis": 0, "split": (2, 2)}, "splits axis 0"),
    ("Slice", [(7,)], {"starts": (1,), "ends": (2, 3)}, "must be given and of one length"),
    ("Slice", [(7,)], {"starts": (1,), "ends": (2,), "steps": (0,)}, "no step 0"),
    ("Pad", [(2, 3)], {"pads": (1, 1)}, "must hold a number before and one after each of 2 axes"),
    ("Pad", [(2, 3)], {"pads": (-3, 0, 0, 0)}, "negative shape"),
    ("DepthToSpace", [(1, 6, 3, 3)], {"blocksize": 2}, "6 channels do not hold blocks of 2 × 2"),
    ("Resize", [(1, 3)], {}, "has neither sizes nor scales"),
    ("Resize", [(1, 3)], {"scales": (1.0,)}, "1 scales do not fit"),
    ("Upsample", [(1, 3)], {"scales": (1.0, float("inf"))}, "the scale inf is not between"),
    ("GatherND", [(3, 5), (2, 3)], {}, "reach deeper"),
    ("TopK", [(2, 9)], {"k": -1}, "expected one number of 0 or more"),
    ("BatchNormalization", [(2, 3, 5), (4,), (3,), (3,), (3,)], {}, r"input 1 has shape \(4,\), expected \(3,\)"),
    ("LayerNormalization", [(2, 5), (2, 5, 7)], {}, "a scale of"),
    ("GroupNormalization", [(2, 5, 7), (5,), (5,)], {"num_groups": 2}, "5 channels do not divide into 2 groups"),
    ("Softmax", [(2, 3)], {"axis": 5}, "axis 5 is outside"),
    ("Softmax", [(2, 3)], {"axis": "last"}, "attribute 'axis' is 'last', expected an integer"),
    ("Range", [(), (), ()], {"start": 0, "limit": 5, "delta": 0}, "a delta other than 0"),
    ("GridSample", [(1, 3, 9, 9), (1, 5, 7, 3)], {}, "meets a grid"),
    ("OneHot", [(2,), None, (2,)], {}, "depth is None"),
]


@pytest.mark.parametrize(("kind", "shapes", "attrs", "message"), BAD, ids=[f"{row[0]}-{i}" for i, row in enumerate(BAD)])
def test_operands_that_make_no_sense(kind, shapes, attrs, message):
    with pytest.raises(ShapeError, match=message):
        one(kind, shapes, **attrs)


def test_transposes_that_tell_a_product_how_to_walk():
    """A swap of the last two axes before a product, and the heads of attention, move nothing."""

    def chain(perm, shape, user):
        x = Tensor(name="x", shape=shape, kind="input")
        t = Tensor(name="t", shape=tuple(shape[a] for a in perm))
        ops = [Op(name="tr", type="Transpose", inputs=("x",), outputs=("t",), attrs={"perm": perm}), user]
        others = [Tensor(name=n, shape=(1,)) for n in (*user.inputs, *user.outputs) if n not in ("x", "t")]
        return Graph(name="g", ops=ops, tensors=[x, t, *others], inputs=["x"], outputs=["y"])

    product = Op(name="u", type="MatMul", inputs=("a", "t"), outputs=("y",))
    attention = Op(name="u", type="Attention", inputs=("t", "b", "c"), outputs=("y",))
    relu = Op(name="u", type="Relu", inputs=("t",), outputs=("y",))
    for perm, shape, user, view in (
        ((0, 2, 1), (2, 3, 5), product, True),
        ((1, 0, 2), (2, 3, 5), product, False),
        ((0, 2, 1, 3), (2, 3, 5, 7), attention, True),
        ((0, 2, 1), (2, 3, 5), relu, False),
    ):
        graph = chain(perm, shape, user)
        assert is_view(graph.ops[0], graph) is view
