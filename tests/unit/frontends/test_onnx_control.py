"""If, Loop, Scan, sequences and local functions: with static shapes they unroll."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from simgpu.errors import ModelError, ShapeError
from simgpu.ops.registry import graph_macs
from tests.onnx_files import array, info, load, model, node, types, weight


def body(nodes, inputs, outputs, stored=()):
    return helper.make_graph(nodes, "body", [i if not isinstance(i, str) else info(i) for i in inputs], [info(o) for o in outputs], initializer=stored)


def if_node(condition: str, name: str = "choice") -> onnx.NodeProto:
    small = body([node("Relu", ["x"], ["r"])], [], ["r"])
    large = body([node("MatMul", ["x", "w"], ["m"])], [], ["m"], [weight("w", 3, 5)])
    return node("If", [condition], ["y"], name, then_branch=small, else_branch=large)


def test_if_with_a_known_condition():
    for flag, kinds, shape in ((True, ["Relu"], (2, 3)), (False, ["Linear"], (2, 5))):
        graph = load(model([if_node("flag")], {"x": [2, 3]}, ["y"], [array("flag", np.array(flag))]))
        assert types(graph) == kinds
        assert graph[graph.outputs[0]].shape == shape
        assert graph.assumptions == ()


def test_if_with_a_condition_that_a_shape_decides():
    nodes = [node("Shape", ["x"], ["s"]), node("Size", ["s"], ["rank"]), node("Equal", ["rank", "two"], ["flag"]), if_node("flag")]
    assert types(load(model(nodes, {"x": [2, 3]}, ["y"], [array("two", 2)]))) == ["Relu"]


def test_if_with_an_unknown_condition_takes_the_branch_with_more_work():
    graph = load(model([if_node("flag")], {"x": [2, 3], "flag": info("flag", [], TensorProto.BOOL)}, ["y"]))
    assert types(graph) == ["Linear"]
    assert graph.num_params == 3 * 5
    assert graph.assumptions == ("node 'choice' (If): its condition is not known before the run; the branch with more work (else_branch) is taken",)


def test_the_value_of_an_input_decides():
    nodes = [node("Equal", ["rate", "limit"], ["flag"]), if_node("flag")]
    proto = model(nodes, {"x": [2, 3], "rate": info("rate", [], TensorProto.INT64)}, ["y"], [array("limit", 16000)])
    assert types(load(proto, shapes={"rate": 16000})) == ["Relu"]
    assert types(load(proto, shapes={"rate": 8000})) == ["Linear"]


def loop_net(count, *, keep=True, unknown_stop=False, trip_input=None):
    inner = [node("MatMul", ["h", "w"], ["h2"]), node("Identity", ["go" if not unknown_stop else "stop"], ["more"]), node("Relu", ["h2"], ["out"])]
    if unknown_stop:
        inner.insert(1, node("ReduceMax", ["h2"], ["top"], keepdims=0))
        inner.insert(2, node("Greater", ["top", "zero"], ["stop"]))
    if not keep:
        inner[1] = node("Less", ["i", "two"], ["more"])
    loop_body = body(inner, [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), "h"], ["more", "h2", "out"])
    inputs = {"x": [2, 3]}
    stored = [weight("w", 3, 3), array("two", 2), array("zero", np.float32(0)), array("yes", np.array(True))]
    if trip_input:
        inputs["n"] = info("n", [], TensorProto.INT64)
    else:
        stored.append(array("n", count))
    return model([node("Loop", ["n", "yes", "x"], ["last", "all"], body=loop_body)], inputs, ["last", "all"], stored)


def test_a_loop_unrolls():
    graph = load(loop_net(4))
    assert types(graph).count("Linear") == 4
    assert [graph[t].shape for t in graph.outputs] == [(2, 3), (4, 2, 3)]
    assert graph_macs(graph) == 4 * 2 * 3 * 3
    assert graph.num_params == 9


def test_rounds_of_a_loop_share_what_the_body_stores():
    inner = [node("MatMul", ["h", "w"], ["h2"]), node("Constant", [], ["c"], value=weight("c", 3)), node("Add", ["h2", "c"], ["h3"])]
    loop_body = body(inner, [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), "h"], ["go", "h3"], [weight("w", 3, 3)])
    graph = load(model([node("Loop", ["n", "", "x"], ["y"], body=loop_body)], {"x": [2, 3]}, ["y"], [array("n", 5)]))
    assert types(graph) == ["Linear"] * 5
    assert graph.num_params == 9 + 3


def test_a_loop_ends_when_its_condition_says_so():
    graph = load(loop_net(10, keep=False))  # goes on while the iteration is below 2: three rounds
    assert graph[graph.outputs[1]].shape == (3, 2, 3)


def test_a_loop_that_data_may_end_runs_all_rounds():
    graph = load(loop_net(5, unknown_stop=True))
    assert graph[graph.outputs[1]].shape == (5, 2, 3)
    assert any("it runs all 5 times" in note for note in graph.assumptions)


def test_loops_without_an_end():
    with pytest.raises(ShapeError, match=r"node 'loop' \(Loop\): how often it runs is not known before the run; export .* --shape INPUT=N"):
        load(loop_net(0, trip_input=True))
    assert load(loop_net(0, trip_input=True), shapes={"n": 2})
    with pytest.raises(ShapeError, match="runs more than 2000 times"):
        load(loop_net(2**62))


def test_scan_walks_along_an_axis():
    step = body([node("Add", ["h", "x_t"], ["h2"]), node("Relu", ["h2"], ["y_t"])], ["h", "x_t"], ["h2", "y_t"])
    proto = model([node("Scan", ["h0", "x"], ["h_last", "y"], body=step, num_scan_inputs=1)], {"h0": [4], "x": [5, 4]}, ["h_last", "y"])
    graph = load(proto)
    assert types(graph).count("Add") == types(graph).count("Relu") == 5
    assert [graph[t].shape for t in graph.outputs] == [(4,), (5, 4)]
    assert graph.ops[0].attrs["starts"] == (0,)
    proto.graph.node[0].attribute.append(helper.make_attribute("scan_input_directions", [1]))
    assert load(proto).ops[0].attrs["starts"] == (4,)


def test_sequences_are_lists():
    nodes = [
        node("SplitToSequence", ["x", "two"], ["parts"], axis=0),
        node("SequenceLength", ["parts"], ["n"]),
        node("SequenceAt", ["parts", "minus"], ["last"]),
        node("SequenceInsert", ["parts", "last"], ["more"]),
        node("SequenceErase", ["more", "zero"], ["fewer"]),
        node("ConcatFromSequence", ["fewer"], ["y"], axis=0),
        node("Expand", ["y", "target"], ["z"]),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "rest"], ["target"], axis=0),
    ]
    stored = [array("two", 2), array("minus", -1), array("zero", 0), array("axes", [0]), array("rest", [1, 1])]
    graph = load(model(nodes, {"x": [5, 3]}, ["z"], stored))
    assert graph[graph.ops[-1].inputs[0]].shape == (2 + 1 + 1, 3)  # pieces of 2, 2, 1; the last once more; the first erased
    assert graph["z"].shape == (3, 4, 3)  # three pieces


def test_an_empty_sequence_fills_up():
    nodes = [
        node("SequenceEmpty", [], ["s0"]),
        node("SequenceInsert", ["s0", "x"], ["s1"]),
        node("SequenceInsert", ["s1", "x", "zero"], ["s2"], "insert2"),
        node("ConcatFromSequence", ["s2"], ["y"], axis=0, new_axis=1),
    ]
    assert load(model(nodes, {"x": [5, 3]}, ["y"], [array("zero", 0)]))["y"].shape == (2, 5, 3)


def function(name, inputs, outputs, nodes, attributes=()):
    return helper.make_function("local", name, inputs, outputs, nodes, [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)], attributes)


def test_local_functions_are_inlined():
    scaled = node("Concat", ["a", "b"], ["c"])
    scaled.attribute.append(onnx.AttributeProto(name="axis", type=onnx.AttributeProto.INT, ref_attr_name="where"))
    join = function("Join", ["a", "b"], ["c"], [scaled], ["where"])
    twice = function("Twice", ["p"], ["q"], [node("Join", ["p", "p"], ["q"], "inner", domain="local", where=1)])
    nodes = [node("Twice", ["x"], ["t"], "outer", domain="local"), node("Join", ["t", "t"], ["y"], "end", domain="local", where=0)]
    graph = load(model(nodes, {"x": [2, 3]}, ["y"], functions=[join, twice]))
    assert types(graph) == ["Concat", "Concat"]
    assert [op.name for op in graph.ops] == ["outer/inner/concat", "end/concat"]
    assert graph[graph.outputs[0]].shape == (4, 6)


def test_a_function_that_calls_itself():
    endless = function("Endless", ["a"], ["b"], [node("Endless", ["a"], ["b"], "again", domain="local")])
    with pytest.raises(ModelError, match="function 'Endless' calls itself, or functions are nested deeper than 64"):
        load(model([node("Endless", ["x"], ["y"], domain="local")], {"x": [3]}, ["y"], functions=[endless]))


def test_functions_that_multiply_like_a_zip_bomb():
    functions = [function("F0", ["a"], ["b"], [node("Relu", ["a"], ["b"])])]
    for i in range(1, 8):
        chain = [node(f"F{i - 1}", [f"v{j}"], [f"v{j + 1}"], f"n{j}", domain="local") for j in range(30)]
        functions.append(function(f"F{i}", ["v0"], ["v30"], chain))
    with pytest.raises(ModelError, match="loops and functions make more than 20000 of few"):
        load(model([node("F7", ["x"], ["y"], domain="local")], {"x": [3]}, ["y"], functions=functions))


def test_subgraphs_in_subgraphs():
    inner = body([node("Relu", ["x"], ["r0"])], [], ["r0"])
    for i in range(20):
        inner = body([node("If", ["flag"], [f"r{i + 1}"], "n", then_branch=inner, else_branch=body([node("Exp", ["x"], ["e"])], [], ["e"]))], [], [f"r{i + 1}"])
    proto = model([node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)], {"x": [3]}, ["y"], [array("flag", np.array(True))])
    assert types(load(proto)) == ["Relu"]


BAD = [
    (node("If", ["flag"], ["y"]), "has no subgraph 'then_branch'"),
    (
        node("Loop", ["", "", "x"], ["y"], body=body([node("Relu", ["h"], ["h2"])], ["i", "h"], ["h2"])),
        "its body takes 2 inputs and makes 1 outputs for 1 carried",
    ),
    (node("Scan", ["x"], ["y"], body=body([node("Relu", ["h"], ["h2"])], ["h"], ["h2"]), num_scan_inputs=3), "3 scanned inputs do not fit a body of 1"),
    (node("SequenceAt", ["x", "zero"], ["y"]), "'x' is no sequence of tensors"),
    (node("SplitToSequence", ["x", "x"], ["y"]), "the sizes of the pieces are not known before the run"),
    (node("SplitToSequence", ["x"], ["y"], axis=7), "axis 7 is outside"),
]


@pytest.mark.parametrize(("broken", "message"), BAD)
def test_control_flow_that_makes_no_sense(broken, message):
    with pytest.raises(ModelError, match=message):
        load(model([broken], {"x": [2, 3]}, ["y"], [array("flag", np.array(True)), array("zero", 0)]))
