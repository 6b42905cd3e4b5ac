"""Graphs as text: what is written is read back, and a line that cannot be read says where."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import MappingProxyType

import pytest

from simgpu.errors import ModelError
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.graph.text import from_text, to_text

GOLDEN = Path(__file__).parents[2] / "golden" / "fire_module.txt"


def same(a: Graph, b: Graph) -> bool:
    return (a.name, a.ops, dict(a.tensors), a.inputs, a.outputs, a.assumptions) == (b.name, b.ops, dict(b.tensors), b.inputs, b.outputs, b.assumptions)


def test_golden_text():
    text = GOLDEN.read_text(encoding="utf-8")
    graph = from_text(text)
    assert to_text(graph) == text
    assert len(graph) == 7
    assert graph.num_params == 2 * 6 + 2 + 4 * 2 + 4 * 2 * 9
    assert graph.ops[2].inputs == ("squeeze.relu", "expand1.weight", "")
    assert graph.ops[2].attrs == {"auto_pad": "SAME_UPPER"}
    assert graph.ops[2].scope == "expand.1x1"
    assert graph.ops[4].outputs == ("pooled", "")
    assert graph["_"].shape == (1, 4, 9, 9)
    assert graph.assumptions == ('a "fire" module, as in SqueezeNet',)


def test_names_of_any_characters_and_attributes_of_any_kind():
    names = ["plain", "with space", "a,b", 'quo"te', "line\nbreak", "_", "#hash", "@at", ":colon", "x:0", "é/ü", "a=b", "(p)", "\u2028", "", "input"][:-2]
    tensors = [Tensor(name=n, shape=(i, 1), dtype="bf16", kind="input" if i == 0 else "activation") for i, n in enumerate(names)]
    attrs = MappingProxyType({"f": 0.1, "i": -3, "s": 'text "q"', "b": True, "none": (), "ints": (1, 2), "nested": ((1, 2.5), ("a",)), "inf": float("inf")})
    ops = [Op(name=f"op {b}", type="com.x.Foo", inputs=(a, ""), outputs=(b,), attrs=attrs, scope=b) for a, b in itertools.pairwise(names)]
    graph = Graph(name="any name", ops=ops, tensors=tensors, inputs=["plain"], outputs=[names[-1]], assumptions=["é", "two\nlines"])
    assert same(from_text(to_text(graph)), graph)


def test_comments_blank_lines_and_other_kinds():
    text = "# a comment\n\ngraph g(x, cache) -> (x)\r\n  input x fp16[]\n  state cache int8[2,0]\n  constant c bool[3]\n"
    graph = from_text(text)
    assert [(t.name, t.kind, t.shape) for t in graph.tensors.values()] == [("x", "input", ()), ("cache", "state", (2, 0)), ("c", "constant", (3,))]
    assert graph.inputs == ("x", "cache")


BAD = [
    ("", r"g.txt: is empty, expected a line 'graph name\(inputs\) -> \(outputs\)'"),
    ("network g() -> ()", "g.txt:1: expected the line to begin with 'graph'"),
    ("graph g(x)", "g.txt:1: ends where '->' is expected"),
    ("graph g() -> ()\nwieght w fp32[3]", "g.txt:2: 'wieght' begins no line; did you mean 'weight'"),
    ("graph g() -> ()\nweight w float[3]", "g.txt:2: unknown dtype 'float' of tensor 'w'"),
    ("graph g() -> ()\nweight w fp32", r"g.txt:2: tensor 'w' needs a shape such as \[1,3,224,224\]"),
    ("graph g() -> ()\nweight w fp32[-3]", "tensor 'w' needs a shape"),
    ("graph g() -> ()\nweight w fp32[1.5]", "tensor 'w' needs a shape"),
    ("graph g() -> ()\nweight w fp32[3] more", "g.txt:2: column 18: expected the end of the line, got 'more'"),
    ("graph g() -> ()\nweight w fp32[3]\nweight w fp32[3]", "g.txt:3: the tensor 'w' was given before"),
    ("graph g() -> ()\nr = Relu x) : y fp32[3]", r"g.txt:2: column 10: expected '\(', got 'x\) : y"),
    ("graph g() -> ()\nr = Relu(x, ) : y fp32[3]", r"column 13: expected a name, got '\) : y"),
    ("graph g() -> ()\nr = Relu(x) a=nope : y fp32[3]", "cannot read the value 'nope : y"),
    ("graph g() -> ()\nr = Relu(x) a={} : y fp32[3]", "attribute 'a' must be a number, text, true, false or a list"),
    ("graph g() -> ()\nr = Relu(x) : y fp32[3]", r"g.txt: g: op 'r' \(Relu\) names the tensor 'x', which does not exist"),
    ("graph g() -> (z)", "g.txt: g: the graph names the tensor 'z', which does not exist"),
    ('graph "open() -> ()', "column 7: cannot read the value"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_text_that_cannot_be_read(text, message):
    with pytest.raises(ModelError, match=message):
        from_text(text, "g.txt")
