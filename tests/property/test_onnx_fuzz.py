"""Mutated ONNX files end in a graph or in one message: no traceback, no hang, no flood of memory."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from simgpu.errors import SimgpuError
from simgpu.frontends.onnx import load_onnx
from simgpu.graph.ir import Graph
from simgpu.graph.text import from_text, to_text
from simgpu.ops.registry import graph_flop, supported_ops
from tests.onnx_files import array, info, model, node, weight

MUTATIONS = 250  # of each model and each kind: 4 · 2 · 260 = 2080 files
MAX_SECONDS = 5.0
MAX_GROWTH_BYTES = 2**30


def conv_net() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c", "b", "b", "b", "b"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Shape", ["p"], ["s"]),
        node("Gather", ["s", "zero"], ["batch"]),
        node("Unsqueeze", ["batch", "axis"], ["b1"]),
        node("Concat", ["b1", "minus"], ["target"], axis=0),
        node("Reshape", ["p", "target"], ["f"]),
        node("Gemm", ["f", "v"], ["g"], transB=1),
        node("Softmax", ["g"], ["y"], axis=-1),
        node("Resize", ["p", "", "scales"], ["up"]),
        node("Slice", ["up", "axis", "two", "axis"], ["cut"]),
        node("Concat", ["cut", "cut"], ["z"], "cat", axis=1),
    ]
    stored = [weight("w", 5, 3, 3, 3), weight("b", 5), weight("v", 7, 20), array("zero", 0), array("axis", [0]), array("minus", [-1])]
    stored += [array("scales", np.float32([1, 1, 2, 2])), array("two", [2])]
    return model(nodes, {"x": ["N", 3, 8, 8]}, ["y", "z"], stored)


def control_net() -> onnx.ModelProto:
    step = helper.make_graph(
        [node("Add", ["h", "x"], ["h2"]), node("Less", ["i", "three"], ["more"])],
        "step",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("h")],
        [info("more"), info("h2"), info("h2")],
    )
    scan = helper.make_graph([node("Mul", ["row", "row"], ["sq"])], "scan", [info("row")], [info("sq")])
    branch = helper.make_graph([node("Exp", ["last"], ["e"])], "then", [], [info("e")])
    other = helper.make_graph([node("Call", ["last"], ["e2"], domain="local")], "else", [], [info("e2")])
    nodes = [
        node("Loop", ["n", "yes", "x"], ["last", "all"], body=step),
        node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=other),
        node("Scan", ["all"], ["squares"], body=scan, num_scan_inputs=1),
        node("Call", ["chosen"], ["called"], domain="local"),
        node("SplitToSequence", ["called"], ["parts"], axis=0),
        node("SequenceAt", ["parts", "n"], ["one"]),
        node("Einsum", ["squares", "squares"], ["y"], equation="bij,bkj->bik"),
    ]
    function = helper.make_function("local", "Call", ["a"], ["b"], [node("Tanh", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    stored = [array("n", 1), array("three", 3), array("yes", np.array(True))]
    return model(nodes, {"x": [2, 3]}, ["y", "one"], stored, functions=[function])


def text_net() -> onnx.ModelProto:
    ms = "com.microsoft"
    nodes = [
        node("EmbedLayerNormalization", ["ids", "", "word", "pos", "", "g", "g"], ["e"], domain=ms),
        node("Attention", ["e", "qkv", "qkvb"], ["a"], "attn", domain=ms, num_heads=2),
        node("SkipLayerNormalization", ["a", "e", "g", "g"], ["s"], domain=ms),
        node("Transpose", ["s"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "w", "r"], ["h", "last"], hidden_size=4),
        node("Squeeze", ["h", "axis"], ["q"]),
        node("TopK", ["q", "k"], ["top", "index"]),
        node("MatMul", ["q", "proj"], ["y"]),
    ]
    stored = [weight("word", 30, 8), weight("pos", 16, 8), weight("g", 8), weight("qkv", 8, 24), weight("qkvb", 24), weight("w", 1, 16, 8)]
    stored += [weight("r", 1, 16, 4), weight("proj", 4, 5), array("axis", [1]), array("k", [2])]
    return model(nodes, {"ids": info("ids", ["batch", 6], TensorProto.INT32)}, ["y", "top"], stored)


def quantised_net() -> onnx.ModelProto:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "d0"),
        node("DequantizeLinear", ["w", "s", "z"], ["wd"], "dw"),
        node("ConvTranspose", ["d", "wd"], ["c"], strides=[2, 2]),
        node("LeakyRelu", ["c"], ["l"]),
        node("QuantizeLinear", ["l", "s", "z"], ["lq"], "q1"),
        node("QLinearConv", ["lq", "s", "z", "w", "s", "z", "s", "z"], ["o"], group=1),
        node("Pad", ["o", "pads"], ["p"]),
        node("NonZero", ["p"], ["nz"]),
        node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        node("ReduceMean", ["f"], ["y"], axes=[2, 3]),
    ]
    stored = [
        weight("w", 3, 3, 2, 2, kind=TensorProto.INT8),
        array("s", np.float32(0.5)),
        array("z", np.int8(0).reshape(())),
        array("pads", [0, 0, 1, 1, 0, 0, 1, 1]),
    ]
    return model(nodes, {"x": [1, 3, 5, 5]}, ["y", "nz"], stored)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {"conv": conv_net, "control": control_net, "text": text_net, "quantised": quantised_net}


# ---- mutations of bytes


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(changed))
        kind = rng.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.randrange(256)
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            changed[at:at] = rng.randbytes(rng.randrange(1, 20))
        else:
            source = rng.randrange(len(changed))
            changed[at : at + 16] = changed[source : source + 16]
        if not changed:
            break
    return bytes(changed)


# ---- mutations of the message

_WILD = (0, 1, -1, 2, 3, 7, 255, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, -(2**62))
_WILD_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))


def every_node(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    nodes = list(proto.graph.node)
    for part in proto.graph.node:
        nodes += [n for a in part.attribute if a.type == onnx.AttributeProto.GRAPH for n in a.g.node]
    return nodes


def mutated_proto(proto: onnx.ModelProto, rng: random.Random) -> onnx.ModelProto:
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    graph = proto.graph
    for _ in range(rng.choice((1, 1, 2, 3))):
        nodes = every_node(proto)
        if not nodes:
            break
        chosen = rng.choice(nodes)
        names = [t for n in nodes for t in (*n.input, *n.output)] + ["", "nothing", "x"]
        kind = rng.randrange(13)
        if kind == 0 and len(graph.node):
            del graph.node[rng.randrange(len(graph.node))]
        elif kind == 1 and chosen.input:
            chosen.input[rng.randrange(len(chosen.input))] = rng.choice(names)
        elif kind == 2 and chosen.output:
            chosen.output[rng.randrange(len(chosen.output))] = rng.choice(names)
        elif kind == 3 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            if tensor.dims:
                tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_WILD)
            else:
                tensor.dims.append(rng.choice(_WILD))
        elif kind == 4 and graph.input:
            dims = graph.input[0].type.tensor_type.shape.dim
            if dims:
                rng.choice(dims).dim_value = rng.choice(_WILD)
        elif kind == 5:
            chosen.op_type = rng.choice(supported_ops())
        elif kind == 6 and chosen.attribute:
            attribute = rng.choice(chosen.attribute)
            attribute.i = rng.choice(_WILD)
            attribute.ints[:] = [rng.choice(_WILD) for _ in attribute.ints] if rng.random() < 0.8 else []
            attribute.f = rng.choice(_WILD_FLOATS)
        elif kind == 7 and chosen.attribute:
            rng.choice(chosen.attribute).type = rng.randrange(13)
        elif kind == 8 and chosen.attribute:
            del chosen.attribute[rng.randrange(len(chosen.attribute))]
        elif kind == 9 and graph.initializer:
            tensor = rng.choice(graph.initializer)
            tensor.CopyFrom(array(tensor.name, [rng.choice(_WILD) for _ in range(rng.randrange(1, 5))]))
        elif kind == 10:
            chosen.input.append(rng.choice(names))
        elif kind == 11 and chosen.input:
            del chosen.input[-1]
        elif kind == 12 and graph.initializer:
            rng.choice(graph.initializer).data_type = rng.randrange(26)
    return proto


@pytest.mark.parametrize("name", MODELS)
def test_models_before_mutation(name, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(MODELS[name]().SerializeToString())
    graph = load_onnx(path)
    assert graph_flop(graph) > 0
    assert to_text(from_text(to_text(graph))) == to_text(graph)


@pytest.mark.parametrize("kind", ["bytes", "message"])
@pytest.mark.parametrize("name", MODELS)
def test_mutated_models(name, kind, tmp_path):
    proto = MODELS[name]()
    data = proto.SerializeToString()
    rng = random.Random(f"{name} {kind}")
    path = tmp_path / "m.onnx"
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    graphs = 0
    for _ in range(MUTATIONS + 10):
        path.write_bytes(mutated_bytes(data, rng) if kind == "bytes" else mutated_proto(proto, rng).SerializeToString())
        start_s = time.process_time()
        graphs += ends_well(path)
        assert time.process_time() - start_s < MAX_SECONDS
    assert graphs > 0  # some mutations do no harm
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - memory_bytes < MAX_GROWTH_BYTES


def ends_well(path: Path) -> bool:
    """True for a graph, False for one message that names the file."""
    try:
        graph = load_onnx(path, allow_unknown=True)
    except SimgpuError as error:
        assert str(error).startswith(str(path)), error
        return False
    assert isinstance(graph, Graph)
    assert graph_flop(graph) >= 0
    return True
