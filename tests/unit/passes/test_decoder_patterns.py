"""Language models as exporters write them: what is recognised, and what only looks alike."""

from __future__ import annotations

from collections import Counter

import pytest
from onnx import TensorProto

from simgpu.graph.ir import Graph
from simgpu.passes.attention import fuse_attention
from simgpu.passes.cleanup import cleanup
from simgpu.passes.composites import lift_composites
from simgpu.passes.decoder_patterns import share_key_heads
from simgpu.passes.fused import graph_flop
from tests import written_out
from tests.onnx_files import info, load, model
from tests.written_out import Writer


def lifted(w: Writer, inputs: dict[str, tuple[int, ...]], *outputs: str) -> Graph:
    return lift_composites(load(model(w.nodes, inputs, outputs, w.stored)))


def types(graph: Graph) -> list[str]:
    return [op.type for op in graph.ops]


def test_a_whole_block():
    graph = load(written_out.llama(batch=2, seq=8, layers=1, hidden=32, heads=4, kv_heads=2, width=48, vocab=50))
    result = lift_composites(graph)
    assert Counter(types(result)) & Counter({"RMSNormalization": 9, "RotaryEmbedding": 9, "Swish": 9}) == {
        "RMSNormalization": 3,
        "RotaryEmbedding": 2,
        "Swish": 1,
    }
    assert graph_flop(result) == graph_flop(graph)
    fused = share_key_heads(fuse_attention(result))
    (attention,) = [op for op in fused.ops if op.type == "Attention"]
    assert [fused[t].shape for t in attention.inputs[:3]] == [(2, 4, 8, 8), (2, 2, 8, 8), (2, 2, 8, 8)]
    assert "Expand" not in types(fused)
    assert graph_flop(fused) == graph_flop(graph)


def norm(w: Writer, x: str, form: str) -> str:
    square = w.op("Mul", x, x) if form == "mul" else w.op("Pow", x, w.number(2.0))
    root = w.op("Sqrt", w.op("Add", w.op("ReduceMean", square, axes=[-1]), w.number(1e-6)))
    if form == "div":
        y = w.op("Div", x, root)
    else:
        y = w.op("Mul", x, w.op("Reciprocal", root) if form == "reciprocal" else w.op("Div", w.number(1.0), root))
    return w.op("Mul", y, w.weight("g", 8))


@pytest.mark.parametrize("form", ["mul", "reciprocal", "div", "pow"])
def test_rms_norms_in_every_spelling(form: str):
    w = Writer()
    graph = lifted(w, {"x": (2, 8)}, norm(w, "x", form))
    (op,) = graph.ops
    assert (op.type, op.inputs, op.attrs["axis"]) == ("RMSNormalization", ("x", "g"), 1)


def test_casts_around_a_norm_belong_to_it():
    w = Writer()
    wide = w.op("Cast", "x", to=TensorProto.FLOAT)
    root = w.op("Sqrt", w.op("Add", w.op("ReduceMean", w.op("Pow", wide, w.number(2.0)), axes=[-1]), w.number(1e-6)))
    y = w.op("Cast", w.op("Mul", wide, w.op("Reciprocal", root)), to=TensorProto.FLOAT16)
    proto = model(w.nodes, {"x": info("x", (2, 8), TensorProto.FLOAT16)}, [y], w.stored)
    (op,) = lift_composites(cleanup(load(proto))).ops
    assert (op.type, op.inputs) == ("RMSNormalization", ("x",))


def test_a_norm_whose_parts_others_read_stays():
    w = Writer()
    square = w.op("Pow", "x", w.number(2.0))
    root = w.op("Sqrt", w.op("Add", w.op("ReduceMean", square, axes=[-1]), w.number(1e-6)))
    assert "RMSNormalization" not in types(lifted(w, {"x": (2, 8)}, w.op("Div", "x", root), square))
    w = Writer()
    root = w.op("Sqrt", w.op("Add", w.op("ReduceMean", w.op("Pow", "x", w.number(2.0)), axes=[-1]), w.number(1e-6)))
    assert "RMSNormalization" not in types(lifted(w, {"x": (2, 8), "y": (2, 8)}, w.op("Div", "y", root)))  # divides something else


@pytest.mark.parametrize(("cut", "found"), [(4, True), (2, False)])
def test_only_halves_are_rotated(cut: int, found: bool):
    w = Writer()
    high = w.op("Slice", "x", w.number([cut]), w.number([8]), w.number([3]))
    low = w.op("Slice", "x", w.number([0]), w.number([cut]), w.number([3]))
    half = w.op("Concat", w.op("Neg", high), low, axis=-1)
    y = w.op("Add", w.op("Mul", half, w.weight("sin", 1, 1, 3, 8)), w.op("Mul", "x", w.weight("cos", 1, 1, 3, 8)))
    graph = lifted(w, {"x": (1, 2, 3, 8)}, y)
    assert (types(graph) == ["RotaryEmbedding"]) is found
    if found:
        assert graph.ops[0].inputs == ("x", "cos", "sin")
