"""Files nobody vouches for: each fault ends in one message that names the file and, where there is one, the node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from simgpu.errors import ModelError, ShapeError
from simgpu.frontends.onnx import load_onnx
from tests.onnx_files import array, info, load, model, node, types, weight


def small():
    return model([node("MatMul", ["x", "w"], ["y"]), node("Reshape", ["y", "shape"], ["z"])], {"x": [2, 3]}, ["z"], [weight("w", 3, 5), array("shape", [10])])


FILES = [
    (b"", "is empty, expected an ONNX model"),
    (b"not a model at all, just text", "is no ONNX file, or is damaged or cut off"),
    (b"PK\x03\x04 and so on", r"is a zip archive \(a PyTorch file\?\), expected ONNX"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    (b"\x08\x07", "holds no graph with nodes"),
    (small().SerializeToString()[:-3], "is no ONNX file, or is damaged or cut off"),
    (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "is no ONNX file, or is damaged or cut off"),
    (b"\x0b" * 1000, "is no ONNX file, or is damaged or cut off"),
]


@pytest.mark.parametrize(("data", "message"), FILES)
def test_files_that_are_no_onnx(tmp_path, data, message):
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=rf"broken.onnx: {message}"):
        load_onnx(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"none.onnx: cannot be read \(No such file"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=r"cannot be read \(Is a directory"):
        load_onnx(tmp_path)


def external(location: str, shape=(1,), kind=TensorProto.INT64, **more: str) -> TensorProto:
    tensor = TensorProto(name="shape", dims=shape, data_type=kind, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_external(tensor: TensorProto) -> onnx.ModelProto:
    proto = small()
    del proto.graph.initializer[1]
    proto.graph.initializer.append(tensor)
    return proto


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../b", "C:\\secret", "..\\b", "", "a\0b", "link/secret.bin"])
def test_external_data_stays_in_the_folder_of_the_model(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.int64([10]).tobytes())
    (folder / "link").symlink_to(tmp_path)
    path = folder / "m.onnx"
    path.write_bytes(with_external(external(location)).SerializeToString())
    with pytest.raises(ModelError, match=r"m.onnx: tensor 'shape': its data is said to lie in .*, expected a file in the folder of the model"):
        load_onnx(path)


def test_small_external_data_is_read_and_weights_are_not(tmp_path):
    path = tmp_path / "m.onnx"
    proto = with_external(external("data.bin", offset="8"))
    proto.graph.initializer[0].CopyFrom(external("weights.bin", (3, 5), TensorProto.FLOAT))
    proto.graph.initializer[0].name = "w"
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "data.bin").write_bytes(np.int64([7, 10]).tobytes())
    assert load_onnx(path)["z"].shape == (10,)  # weights.bin does not exist
    (tmp_path / "data.bin").write_bytes(b"")
    with pytest.raises(ShapeError, match="its shape is the tensor 'shape', whose value is not known"):
        load_onnx(path)


def changed(change) -> onnx.ModelProto:
    proto = small()
    change(proto)
    return proto


def drop_first_node(proto):
    del proto.graph.node[0]


def cycle(proto):
    proto.graph.node[0].input[0] = "z"


def self_reference(proto):
    proto.graph.node[0].input[0] = "y"


def twice(proto):
    proto.graph.node.append(proto.graph.node[0])


def same_output_twice(proto):
    proto.graph.node[0].op_type = "Split"
    proto.graph.node[0].output.append("y")


def negative_dims(proto):
    proto.graph.initializer[0].dims[0] = -3


def huge_dims(proto):
    proto.graph.initializer[0].dims[0] = 2**60


def many_dims(proto):
    proto.graph.initializer[0].dims.extend([2] * 80)


def wrong_data(proto):
    proto.graph.initializer[1].raw_data = b"abc"


def wrong_dims(proto):
    proto.graph.initializer[0].dims[0] = 4


def no_outputs(proto):
    del proto.graph.output[:]


def strange_type(proto):
    proto.graph.initializer[0].data_type = 99


def constants_only(proto):
    proto.graph.output[0].name = "w"


def too_many_inputs(proto):
    proto.graph.node[1].op_type = "Concat"
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("axis", 5))


def bad_attribute(proto):
    proto.graph.node[1].op_type = "Softmax"
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("axis", "one"))


def bad_text(proto):
    proto.graph.node[1].attribute.append(onnx.AttributeProto(name="mode", type=onnx.AttributeProto.STRING, s=b"\xff\xfe"))


FAULTS = [
    (drop_first_node, r"node 'reshape' \(Reshape\): the tensor 'y' is made by no node; the file is damaged or was cut"),
    (cycle, "the graph has a cycle through 'matmul', 'reshape'; a network must be acyclic"),
    (self_reference, "the graph has a cycle through 'matmul'"),
    (twice, "the tensor 'y' is made by two nodes: 'matmul' and 'matmul'"),
    (same_output_twice, "the tensor 'y' is made by two nodes: 'matmul' and 'matmul'"),
    (negative_dims, r"tensor 'w': its dimensions \(-3, 5\) are not between 0 and"),
    (huge_dims, r"tensor 'w': its dimensions \(1152921504606846976, 5\) are not between"),
    (many_dims, "tensor 'w': its dimensions"),
    (wrong_data, r"tensor 'shape': its data does not fit its dimensions \(1,\)"),
    (wrong_dims, r"node 'matmul' \(MatMul\): multiplies \(2, 3\) by \(4, 5\): the inner dimensions 3 and 4 differ"),
    (no_outputs, "has no output tensor"),
    (strange_type, "tensor 'w': data type 99 has no arithmetic on a GPU"),
    (constants_only, "nothing is left to compute: all outputs are constants or inputs"),
    (too_many_inputs, r"node 'reshape' \(Concat\): axis 5 is outside of a tensor of 2 dimensions"),
    (bad_attribute, r"node 'reshape' \(Softmax\): attribute 'axis' is 'one', expected an integer"),
    (bad_text, r"node 'reshape' \(Reshape\): .*is no UTF-8 text; the file is damaged"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[f[0].__name__ for f in FAULTS])
def test_faults_inside_a_model(change, message):
    with pytest.raises(ModelError, match=f"^m.onnx: {message}"):
        load(changed(change))


def test_names_that_are_no_utf8(tmp_path):
    data = small().SerializeToString().replace(b"matmul", b"mat\xff\xfel")
    path = tmp_path / "names.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"names.onnx: b'mat.xff.xfel' is no UTF-8 text; the file is damaged"):
        load_onnx(path)


def test_shapes_that_explode():
    nodes = [node("Expand", ["x", "big"], ["y"])]
    with pytest.raises(ShapeError, match=r"m.onnx: node 'expand' \(Expand\): its output would have 1\.\d+e\+18 elements"):
        load(model(nodes, {"x": [1]}, ["y"], [array("big", [2**30, 2**30])]))
    wide = [node("Range", ["zero", "end", "one"], ["r"]), node("ReduceSum", ["r"], ["s"], keepdims=0), node("Add", ["x", "s"], ["y"])]
    graph = load(model(wide, {"x": info("x", [1], TensorProto.INT64)}, ["y"], [array("zero", 0), array("end", 2**40), array("one", 1)]))
    assert types(graph) == ["Add"]  # a constant of 2⁴⁰ elements is never made
    with pytest.raises(ShapeError, match="the scale inf is not between 0 and"):
        load(model([node("Resize", ["x", "", "s"], ["y"])], {"x": [1, 1]}, ["y"], [array("s", np.float32([1, np.inf]))]))
