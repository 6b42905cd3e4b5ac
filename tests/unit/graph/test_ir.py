"""A graph as its users see it."""

from __future__ import annotations

from simgpu.frontends.builder import Builder


def test_as_a_networkx_graph_ops_are_nodes_and_tensors_edges():
    b = Builder("diamond")
    x = b.relu(b.input("x", (1, 4)), name="stem")
    graph = b.build(b.add(b.sigmoid(x, name="left"), b.tanh(x, name="right"), name="join"))
    found = graph.digraph
    assert sorted(found.edges) == [("left", "join"), ("right", "join"), ("stem", "left"), ("stem", "right")]
    assert {name: op.type for name, op in found.nodes(data="op")} == {"stem": "Relu", "left": "Sigmoid", "right": "Tanh", "join": "Add"}
    assert found.edges["stem", "left"]["tensor"] == found.edges["stem", "right"]["tensor"]  # one tensor, read twice
