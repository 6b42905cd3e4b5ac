"""The picture of a network: what is folded, what a row says, and that names are text."""

from __future__ import annotations

from xml.etree import ElementTree

import simgpu
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.report.graph_svg import Box, Row, folded, graph_svg

SVG = "{http://www.w3.org/2000/svg}"


def chain(*ops: tuple[str, str, str]) -> Graph:
    """Ops (name, type, scope) one after the other on eight numbers."""
    tensors = [Tensor(name="x", shape=(8,), kind="input"), *(Tensor(name=name, shape=(8,)) for name, _, _ in ops)]
    made = [
        Op(name=name, type=kind, inputs=(before,), outputs=(name,), scope=scope)
        for (name, kind, scope), before in zip(ops, ["x", *(o[0] for o in ops)], strict=False)
    ]
    return Graph(name="net", ops=made, tensors=tensors, inputs=["x"], outputs=[ops[-1][0]])


def outline(box: Box) -> list[object]:
    """Names and counts, boxes as lists."""
    return [(item.name, item.count, outline(item)) if isinstance(item, Box) else item.name for item in box.items]


def test_equal_blocks_that_follow_each_other_are_one():
    blocks = [(f"b.{i}.{name}", kind, f"b.{i}") for i in range(3) for name, kind in (("a", "Exp"), ("c", "Sqrt"))]
    net = folded(chain(*blocks, ("b.3.a", "Exp", "b.3"), ("b.3.c", "Exp", "b.3")))
    assert outline(net) == [("b", 1, [("0", 3, ["a", "c"]), ("3", 1, ["a", "c"])])]


def test_a_block_of_another_shape_stands_apart():
    net = folded(simgpu.load_model("resnet18"))
    layer1, layer2 = (box for box in net.items if isinstance(box, Box) and box.name in {"layer1", "layer2"})
    assert [item.count for item in layer1.items] == [2]
    assert [item.count for item in layer2.items] == [1, 1]  # the first block has a stride


def test_activations_stand_beside_what_they_follow():
    net = folded(chain(("a", "Exp", ""), ("r", "Relu", ""), ("s", "Exp", "")))
    assert [[op.type for op in row.ops] for row in net.items if isinstance(row, Row)] == [["Exp", "Relu"], ["Exp"]]


def test_a_row_says_what_else_it_reads():
    net = folded(simgpu.load_model("resnet18"))
    layer2 = next(box for box in net.items if isinstance(box, Box) and box.name == "layer2")
    first = layer2.items[0]
    assert isinstance(first, Box)
    add = next(row for row in first.items if isinstance(row, Row) and row.ops[0].type == "Add")
    assert set(add.reads) == {"conv2", "downsample.0"}


def test_the_picture_of_a_large_model_is_short():
    tree = ElementTree.fromstring(graph_svg(simgpu.load_model("llama-3-8b")))
    texts = ["".join(node.itertext()) for node in tree.iter(f"{SVG}text")]
    assert "×32" in texts
    assert "8.03 G parameters" in " ".join(texts)
    assert len(list(tree.iter(f"{SVG}rect"))) < 100


def test_names_are_text():
    name = '<script>alert("x")</script>'
    tree = ElementTree.fromstring(graph_svg(chain((name, "Exp", name))))
    assert not list(tree.iter(f"{SVG}script"))
    assert any(name in "".join(node.itertext()) for node in tree.iter(f"{SVG}title"))


def test_the_same_graph_gives_the_same_picture():
    assert graph_svg(simgpu.load_model("resnet18")) == graph_svg(simgpu.load_model("resnet18"))
