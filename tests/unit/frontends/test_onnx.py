"""ONNX files: the models of the onnx wheel, binding of dimensions, shape subgraphs, kinds of tensors."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from simgpu.errors import ModelError, ShapeError, UnsupportedError
from simgpu.frontends.onnx import load_onnx
from simgpu.ops.registry import graph_macs
from tests.onnx_files import LIGHT, array, info, load, model, node, types, weight

# Parameters and multiply-accumulates counted on torchvision 0.28's own models, where it has the same network.
LIGHT_MODELS = {
    "bvlc_alexnet": (60_965_224, None),  # the grouped network of 2012, here at 224 × 224
    "densenet121": (None, 2_834_161_664),
    "inception_v1": (6_998_552, None),  # GoogLeNet of the paper; its pools round down here
    "inception_v2": (None, None),
    "resnet50": (25_557_032, 4_089_184_256),  # v1.5: the stride sits in the 3 × 3 convolution
    "shufflenet": (None, None),
    "squeezenet": (1_235_496, 349_151_936),
    "vgg19": (143_667_240, 19_632_062_464),
    "zfnet512": (None, None),
}


@pytest.mark.parametrize("name", LIGHT_MODELS)
def test_models_of_the_onnx_wheel(name):
    graph = load_onnx(LIGHT / f"light_{name}.onnx")
    params, macs = LIGHT_MODELS[name]
    assert graph[graph.outputs[0]].shape in ((1, 1000), (1, 1000, 1, 1))
    assert params is None or graph.num_params == params
    assert macs is None or graph_macs(graph) == macs
    assert graph_macs(graph) > 1e8
    assert {t.kind for t in graph.tensors.values()} <= {"input", "weight", "constant", "activation"}


def test_a_file_written_for_batch_1_runs_at_another():
    graph = load_onnx(LIGHT / "light_resnet50.onnx", batch=8)
    assert graph_macs(graph) == 8 * 4_089_184_256
    assert graph[graph.outputs[0]].shape == (8, 1000)
    assert graph.num_params == 25_557_032
    assert any("written for batch 1; batch 8 is set" in note for note in graph.assumptions)


def test_shapes_that_an_exporter_fixed_to_batch_1_grow_with_it():
    """torch.export writes 1 into shapes when the example had batch 1, though the file calls the batch dynamic."""
    nodes = [node("Reshape", ["x", "split"], ["y"]), node("Transpose", ["y"], ["z"], perm=[1, 2, 0, 3])]
    graph = load(model(nodes, {"x": ["S", "batch", 12]}, ["z"], [array("split", [7, 1, 3, 4])]), batch=5, shapes={"S": 7})
    assert graph["z"].shape == (5, 3, 7, 4)
    assert graph.assumptions == ("shapes that the file fixes to batch 1 (1, the first at node 'reshape') grow to batch 5",)


# ---- binding


def conv_net(shape, **options):
    nodes = [
        node("Conv", ["x", "w", "b"], ["y"], "/features/conv/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["y"], ["z"]),
        node("Shape", ["z"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "zero1"], ["n1"]),
        node("Concat", ["n1", "minus"], ["target"], axis=0),
        node("Reshape", ["z", "target"], ["flat"]),
    ]
    stored = [weight("w", 5, 3, 3, 3), weight("b", 5), array("zero", 0), array("zero1", [0]), array("minus", [-1])]
    return load(model(nodes, {"x": shape}, ["flat"], stored), **options)


def test_shape_subgraphs_are_worked_out_and_gone():
    graph = conv_net(["N", 3, 7, 9], batch=2)
    assert types(graph) == ["Conv", "Relu", "Reshape"]
    assert graph["flat"].shape == (2, 5 * 7 * 9)
    assert graph.ops[-1].attrs["shape"] == (2, -1)
    assert graph.ops[-1].inputs == ("z",)
    assert {t.name for t in graph.weights} == {"w", "b"}
    assert graph.num_params == 5 * 27 + 5
    assert graph.ops[0].scope == "features.conv"
    assert graph.assumptions == ()


def test_an_open_batch_is_1_and_says_so():
    graph = conv_net(["batch_size", 3, 7, 9])
    assert graph["x"].shape == (1, 3, 7, 9)
    assert graph.assumptions == ("the file leaves the batch open (batch_size); batch 1 is taken",)
    assert conv_net([None, 3, 7, 9], batch=5)["x"].shape == (5, 3, 7, 9)


def test_symbols_and_whole_inputs_are_bound():
    assert conv_net(["N", 3, "H", "W"], shapes={"H": 8, "W": 4})["y"].shape == (1, 5, 8, 4)
    assert conv_net(["N", 3, "H", "W"], shapes={"x": (2, 3, 8, 4)})["y"].shape == (2, 5, 8, 4)
    assert conv_net(["?", 3, "?", "?"], shapes={"x": (2, 3, 8, 4)})["y"].shape == (2, 5, 8, 4)  # one symbol for three dimensions
    assert conv_net(["D", 3, "D", "D"], shapes={"x": (2, 3, 8, 4)})["y"].shape == (2, 5, 8, 4)
    assert conv_net(None, shapes={"x": (2, 3, 8, 4)})["y"].shape == (2, 5, 8, 4)
    assert conv_net([-1, 3, 8, 4], batch=3)["y"].shape == (3, 5, 8, 4)


def test_a_first_dimension_that_is_no_batch_must_be_bound():
    with pytest.raises(ShapeError, match=r"dimensions are not bound: input 'x' \(seq_len, 4\); bind them with --shape seq_len=N"):
        load(model([node("Relu", ["x"], ["y"])], {"x": ["seq_len", 4]}, ["y"]))
    two = model([node("Add", ["x", "h"], ["y"])], {"x": ["time", "batch", 4], "h": ["batch", 4]}, ["y"])
    assert load(two, batch=3, shapes={"time": 5})["y"].shape == (5, 3, 4)


BAD_BINDINGS = [
    (["N", 3, "H", "W"], {}, r"m.onnx: dimensions are not bound: input 'x' \(N, 3, H, W\); bind them with --shape H=N --shape W=N"),
    (["N", 3, None, 4], {}, r"input 'x' \(N, 3, \?, 4\); bind them with --shape x=1,3,N,4"),
    (None, {}, r"input 'x' of unknown rank; bind them with --shape x=N,N,…"),
    (["N", 3, "height", 4], {"shapes": {"hight": 4}}, r"no input or symbol is called 'hight'; did you mean 'height'\?; it has x, N, height"),
    (["N", 3, 4, 4], {"shapes": {"x": (1, 3, 4)}}, r"--shape x=1,3,4 has 3 dimensions, but the input is \(N, 3, 4, 4\)"),
    (["N", 3, 4, 4], {"shapes": {"x": (1, 3, 0, 4)}}, r"--shape x=1,3,0,4 makes no sense, expected dimensions of 1 or more"),
    (["N", 3, 4, 4], {"shapes": {"N": -1}}, r"--shape N=-1 makes no sense"),
    (["N", 3, 4, 4], {"shapes": {"x": 3}}, r"input 'x' has shape \(N, 3, 4, 4\), expected one number for each dimension"),
    (["N", 3, 4, 4], {"batch": 0}, r"batch 0 makes no sense, expected 1 or more"),
    ([2, 3, 4, 4], {"batch": 8}, r"batch 8 cannot be bound, the first dimensions are fixed: input 'x' \(2, 3, 4, 4\)"),
    ([1, 2**50, 4, 4], {}, r"'x' has a dimension of 1125899906842624, expected at most"),
]


@pytest.mark.parametrize(("shape", "options", "message"), BAD_BINDINGS)
def test_bindings_that_cannot_be(shape, options, message):
    with pytest.raises(ModelError, match=message):
        conv_net(shape, **options)


def test_the_value_of_a_scalar_input_can_be_given():
    proto = model([node("Expand", ["x", "n"], ["y"])], {"x": [1], "n": info("n", [1], TensorProto.INT64)}, ["y"])
    with pytest.raises(ShapeError, match=r"node 'expand' \(Expand\): its shape is the tensor 'n', whose value is not known .* --shape INPUT=N \(inputs .* n\)"):
        load(proto)
    assert load(proto, shapes={"n": 7})["y"].shape == (7,)


def test_the_file_itself_is_the_last_resort():
    proto = model([node("Expand", ["x", "n"], ["y"])], {"x": ["N"], "n": info("n", [2], TensorProto.INT64)}, ["y"], infos=[info("y", ["N", "K"])])
    proto.graph.output[0].CopyFrom(info("y", ["N", "K"]))
    with pytest.raises(ShapeError, match=r"the file gives its shape with the unbound 'K': bind it with --shape K=N"):
        load(proto)
    assert load(proto, shapes={"K": 9})["y"].shape == (1, 9)


# ---- constants


def test_long_shape_arithmetic():
    """An upsampling as TorchScript writes it: sizes from Shape, Slice, Cast, Mul, Floor, Concat."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "two", "four", "zero"], ["hw"]),
        node("Slice", ["s", "zero", "two", "zero"], ["nc"], "slice2"),
        node("Cast", ["hw"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "scale"], ["g"]),
        node("Floor", ["g"], ["h"]),
        node("Cast", ["h"], ["i"], "cast2", to=TensorProto.INT64),
        node("Concat", ["nc", "i"], ["sizes"], axis=0),
        node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest"),
        node("Size", ["y"], ["size"]),
        node("Div", ["size", "seven"], ["rows"]),
        node("Where", ["flag", "rows", "seven"], ["r"]),
        node("Concat", ["r1", "seven1"], ["target"], "concat2", axis=0),
        node("Unsqueeze", ["r", "zero"], ["r1"]),
        node("Reshape", ["y", "target"], ["z"]),
    ]
    stored = [array("two", [2]), array("four", [4]), array("zero", [0]), array("scale", np.float32(1.5)), array("seven", 7), array("seven1", [7])]
    stored.append(array("flag", np.array(True)))
    graph = load(model(nodes, {"x": [1, 2, 5, 14]}, ["z"], stored))
    assert graph["y"].shape == (1, 2, 7, 21)
    assert graph["z"].shape == (2 * 7 * 21 // 7, 7)
    assert types(graph) == ["Resize", "Reshape"]
    assert graph.ops[0].attrs["sizes"] == (1, 2, 7, 21)


def test_kinds_of_constants():
    """Parameters are what a network trains; statistics, masks, scalars, scales and indices are not."""
    nodes = [
        node("BatchNormalization", ["x", "g", "b", "mean", "var"], ["n"]),
        node("Mul", ["n", "half"], ["h"]),
        node("Add", ["h", "layer_scale"], ["i"]),
        node("Add", ["i", "table_rows"], ["j"], "add2"),
        node("Gather", ["table", "ids"], ["table_rows"]),
        node("Softmax", ["k"], ["y"]),
        node("Add", ["j", "mask"], ["k"], "add3"),
    ]
    stored = [weight(n, 4) for n in ("g", "b", "mean", "var")]
    stored += [array("half", np.float32(0.5)), weight("layer_scale", 4, 1), weight("table", 30, 4), array("ids", [2, 3, 5, 7]), weight("mask", 4, 4)]
    graph = load(model(nodes, {"x": [3, 4, 4, 4]}, ["y"], stored))
    assert {t.name for t in graph.weights} == {"g", "b", "layer_scale", "table"}
    assert graph["mean"].kind == graph["half"].kind == graph["ids"].kind == graph["mask"].kind == "constant"


def test_weights_keep_their_format_and_are_prepared_offline():
    nodes = [
        node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        node("Cast", ["wt"], ["wh"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "wh"], ["y"]),
        node("MatMul", ["y", "v"], ["z"], "matmul2"),
        node("ConstantOfShape", ["dims"], ["v"]),
    ]
    stored = [weight("w", 5, 3, kind=TensorProto.FLOAT16), array("dims", [5, 7])]
    graph = load(model(nodes, {"x": [2, 3]}, ["z"], stored))
    assert types(graph) == ["Linear", "Linear"]
    assert {t.name: t.shape for t in graph.weights} == {"wh": (5, 3), "v": (7, 5)}
    bf16 = load(
        model([node("MatMul", ["x", "w"], ["y"])], {"x": info("x", [2, 3], TensorProto.BFLOAT16)}, ["y"], [weight("w", 3, 5, kind=TensorProto.BFLOAT16)])
    )
    assert bf16["w"].dtype == bf16["y"].dtype == "bf16"


def test_a_product_with_a_stored_matrix_is_a_linear_layer():
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Add", ["b", "a"], ["c"]),  # a bias
        node("MatMul", ["c", "v"], ["d"], "matmul2"),
        node("Add", ["d", "row"], ["e"], "add2"),  # no bias: it differs from row to row
        node("MatMul", ["e", "e"], ["y"], "matmul3"),
    ]
    stored = [weight("w", 4, 5), weight("b", 1, 5), weight("v", 5, 3), weight("row", 3, 3)]
    graph = load(model(nodes, {"x": [2, 3, 4]}, ["y"], stored))
    assert types(graph) == ["Linear", "Linear", "Add", "MatMul"]
    assert graph.ops[0].inputs == ("x", "w", "b")
    assert [graph[t].shape for t in ("w", "b", "v", "c")] == [(5, 4), (5,), (3, 5), (2, 3, 5)]
    assert graph_macs(graph) == 2 * 3 * (4 * 5 + 5 * 3 + 3 * 3)


def test_guards_against_nan_behind_a_softmax_are_gone():
    nodes = [node("Softmax", ["x"], ["s"]), node("IsNaN", ["s"], ["n"]), node("Where", ["n", "zero", "s"], ["w"]), node("MatMul", ["w", "x"], ["y"])]
    assert types(load(model(nodes, {"x": [3, 3]}, ["y"], [array("zero", np.float32(0))]))) == ["Softmax", "MatMul"]


def test_a_transpose_of_matrices_in_batches_is_one_transpose():
    nodes = [node("Reshape", ["x", "flat"], ["a"]), node("Transpose", ["a"], ["b"], perm=[0, 2, 1]), node("Reshape", ["b", "back"], ["y"], "reshape2")]
    stored = [array("flat", [-1, 5, 7]), array("back", [2, 3, 7, 5])]
    graph = load(model(nodes, {"x": [2, 3, 5, 7]}, ["y"], stored))
    assert [(op.type, dict(op.attrs)) for op in graph.ops] == [("Transpose", {"perm": (0, 1, 3, 2)})]
    other = load(model(nodes, {"x": [6, 35]}, ["y"], stored))  # no such transpose: the matrices were not there before
    assert types(other) == ["Reshape", "Transpose", "Reshape"]


def test_a_gather_of_one_index_is_a_slice():
    nodes = [
        node("Gather", ["x", "last"], ["y"], axis=0),
        node("Gather", ["x", "first"], ["z"], "gather2", axis=1),
        node("Gather", ["x", "two"], ["w"], "gather3"),
    ]
    graph = load(model(nodes, {"x": [3, 4, 5]}, ["y", "z", "w"], [array("last", -1), array("first", [0]), array("two", [0, 2])]))
    assert types(graph) == ["Slice", "Squeeze", "Slice", "Gather"]
    assert graph.ops[0].attrs["starts"] == (2,)
    assert [graph[t].shape for t in ("y", "z", "w")] == [(4, 5), (3, 1, 5), (2, 4, 5)]
    with pytest.raises(ModelError, match=r"node 'gather': index 7 is outside of axis 0 of 'x' \(3, 4, 5\)"):
        load(model(nodes[:1], {"x": [3, 4, 5]}, ["y"], [array("last", 7)]))


def test_a_tied_weight_counts_once():
    nodes = [
        node("Gather", ["table", "ids"], ["e"]),
        node("Transpose", ["table"], ["t"], perm=[1, 0]),
        node("MatMul", ["e", "t"], ["logits"]),
    ]
    graph = load(model(nodes, {"ids": info("ids", [1, 5], TensorProto.INT64)}, ["logits"], [weight("table", 30, 8)]))
    assert graph.num_params == 30 * 8
    assert graph["logits"].shape == (1, 5, 30)


def test_a_part_of_a_weight_leaves_the_weight_whole():
    nodes = [node("Slice", ["pos", "zero", "five"], ["p"]), node("Add", ["x", "p"], ["y"])]
    graph = load(model(nodes, {"x": [5, 8]}, ["y"], [weight("pos", 512, 8), array("zero", [0]), array("five", [5])]))
    assert graph.num_params == 512 * 8
    assert types(graph) == ["Slice", "Add"]


def test_dead_and_idle_nodes_are_gone():
    nodes = [
        node("Dropout", ["x"], ["d"]),
        node("Identity", ["d"], ["i"]),
        node("Relu", ["i"], ["y"]),
        node("Exp", ["x"], ["unused"]),
        node("MaxPool", ["y"], ["z", "indices"], kernel_shape=[2, 2]),
    ]
    graph = load(model(nodes, {"x": [1, 2, 5, 5]}, ["z"]))
    assert types(graph) == ["Relu", "MaxPool"]
    assert graph.ops[0].inputs == ("x",)
    assert graph.ops[1].outputs == ("z",)


def test_nodes_in_any_order_and_names_given_twice():
    nodes = [node("Relu", ["y"], ["z"], "same"), node("Exp", ["x"], ["y"], "same")]
    graph = load(model(nodes, {"x": [3]}, ["z"]))
    assert [(op.name, op.type) for op in graph.ops] == [("same", "Exp"), ("same#2", "Relu")]


# ---- what differs between opsets


def test_old_opsets():
    old = model([node("Softmax", ["x"], ["y"]), node("Upsample", ["y"], ["z"], scales=[1.0, 1.0, 2.0, 2.0])], {"x": [1, 2, 3, 5]}, ["z"], opset=7)
    graph = load(old)
    assert graph.ops[0].attrs["axis"] == 1
    assert graph["z"].shape == (1, 2, 6, 10)
    ten = model([node("Resize", ["x", "scales"], ["y"])], {"x": [1, 2, 3, 5]}, ["y"], [array("scales", np.float32([1, 1, 2, 2]))], opset=10)
    assert load(ten)["y"].shape == (1, 2, 6, 10)
    pad = model([node("Pad", ["x"], ["y"], pads=[0, 1, 0, 2])], {"x": [3, 5]}, ["y"], opset=2)
    assert load(pad).assumptions == ("the file uses opset 2; simgpu knows opset 7 to 23",)


def test_module_paths():
    torchscript = node("Conv", ["x", "w"], ["y"], "/layer1/layer1.0/conv1/Conv")
    dynamo = node("Relu", ["y"], ["z"], "node_relu_3")
    dynamo.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="['', 'layer1', 'layer1.0', 'layer1.0.relu', 'relu']")
    broken = node("Exp", ["z"], ["e"], "node_exp")
    broken.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="__import__('os')")
    graph = load(model([torchscript, dynamo, broken], {"x": [1, 3, 5, 5]}, ["e"], [weight("w", 5, 3, 3, 3)]))
    assert [op.scope for op in graph.ops] == ["layer1.0.conv1", "layer1.0.relu", ""]


# ---- unknown operators


def unknown_net():
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Frobnicate", ["a"], ["b"], "frob", domain="my.ops"),
        node("Convolve", ["b"], ["c"], "conv"),
        node("MatMul", ["c", "w"], ["d"]),
        node("Frobnicate", ["d"], ["e"], "frob2", domain="my.ops"),
    ]
    return model(nodes, {"x": [2, 3]}, ["e"], [weight("w", 4, 5)])


def test_unknown_operators_are_refused_together():
    """Also those behind the point where a guessed shape no longer fits."""
    with pytest.raises(
        UnsupportedError, match=r"m.onnx: 2 unknown operators: Convolve × 1 \(node 'conv'\).*; my.ops.Frobnicate × 2 \(node 'frob', 'frob2'\).*--allow-unknown"
    ):
        load(unknown_net())


def test_unknown_operators_may_be_kept():
    proto = unknown_net()
    proto.graph.value_info.append(info("c", [2, 4]))
    graph = load(proto, allow_unknown=True)
    assert types(graph) == ["Relu", "my.ops.Frobnicate", "Convolve", "Linear", "my.ops.Frobnicate"]
    assert graph["b"].shape == (2, 3)  # as its input
    assert graph["c"].shape == (2, 4)  # as the file says
    assert graph["e"].shape == (2, 5)
    assert "node 'frob': operator 'my.ops.Frobnicate' is not known; it is priced as memory traffic" in graph.assumptions


def test_strings_are_refused():
    with pytest.raises(UnsupportedError, match="input 'x': data type STRING has no arithmetic on a GPU"):
        load(model([node("Relu", ["x"], ["y"])], {"x": info("x", [3], TensorProto.STRING)}, ["y"]))


def test_a_large_file_costs_what_its_graph_costs(tmp_path):
    """Weights are cut out before parsing, wherever they stand; what is small stays."""
    big = np.zeros(400_000, dtype=np.float32)
    nodes = [
        node("Add", ["x", "w"], ["y"]),
        node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(big, "c")),
        node("Add", ["y", "c"], ["z"], "add2"),
        node("Reshape", ["z", "shape"], ["r"]),
    ]
    proto = model(nodes, {"x": [400_000]}, ["r"], [onnx.numpy_helper.from_array(big, "w"), array("shape", [500, 800])])
    path = tmp_path / "big.onnx"
    onnx.save(proto, path)
    from simgpu.frontends.onnx import read_proto

    assert read_proto(path).ByteSize() < 2000 < 3_200_000 < path.stat().st_size
    assert load_onnx(path)["r"].shape == (500, 800)
    assert load_onnx(path).num_params == 800_000
