"""What is merged into what, and what must not be."""

from __future__ import annotations

import pytest

from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph
from simgpu.passes.fused import graph_flop, op_names
from simgpu.passes.fusion import fuse
from simgpu.runtime import runtime

COMPILED, TENSORRT, EAGER = runtime("compiled"), runtime("tensorrt"), runtime("eager")


def shape_of(graph: Graph) -> list[tuple[str, tuple[str, ...]]]:
    return [(op.type, op_names(op)) for op in graph.ops]


def chain() -> Graph:
    b = Builder("toy")
    x = b.input("x", (2, 8))
    return b.build(b.tanh(b.add(b.relu(x), b.input("y", (2, 8)))))


def test_a_chain_is_one_kernel():
    fused = fuse(chain(), COMPILED)
    assert shape_of(fused) == [("FusedPointwise", ("relu", "add", "tanh"))]
    assert fused.ops[0].inputs == ("x", "y")
    assert fused.ops[0].outputs == ("tanh",)
    assert graph_flop(fused) == graph_flop(chain()) == 3 * 2 * 8


def test_eager_fuses_nothing():
    graph = chain()
    assert fuse(graph, EAGER) is graph


def test_what_others_read_leaves_the_kernel():
    b = Builder("toy")
    x = b.relu(b.input("x", (2, 8)))
    y = b.tanh(x)
    fused = fuse(b.build((y, b.matmul(x, b.weight("w", (8, 3))))), COMPILED)
    assert [(op.type, op.outputs) for op in fused.ops] == [("FusedPointwise", ("relu", "tanh")), ("MatMul", ("matmul",))]


def test_no_cycle_through_an_op_in_between():
    """relu → matmul → add(relu, ·): the two elementwise ops cannot be one kernel."""
    b = Builder("toy")
    x = b.relu(b.input("x", (8, 8)))
    fused = fuse(b.build(b.add(x, b.matmul(x, b.weight("w", (8, 8))))), COMPILED)
    assert [op.type for op in fused.ops] == ["Relu", "MatMul", "Add"]


def test_no_cycle_between_two_groups():
    """Two chains that feed each other crosswise: one of the four ops stays out."""
    b = Builder("toy")
    a, c = b.relu(b.input("x", (8, 8)), name="a"), b.relu(b.input("y", (8, 8)), name="c")
    weight = b.weight("w", (8, 8))
    d = b.add(a, b.matmul(c, weight), name="d")
    e = b.add(c, b.matmul(a, weight), name="e")
    fused = fuse(b.build((d, e)), COMPILED)  # Graph refuses cycles
    assert len([op for op in fused.ops if op.type == "FusedPointwise"]) == 1
    assert sorted(n for op in fused.ops for n in op_names(op)) == ["a", "c", "d", "e", "matmul", "matmul_1"]


def test_other_sizes_are_other_kernels():
    b = Builder("toy")
    small = b.relu(b.input("x", (8,)))
    fused = fuse(b.build(b.add(small, b.input("y", (4, 8)))), COMPILED)
    assert [op.type for op in fused.ops] == ["Relu", "Add"]


def test_a_residual_joins_the_layer_norm():
    b = Builder("toy")
    x, y = b.input("x", (2, 5, 8)), b.input("y", (2, 5, 8))
    skip = b.add(x, y)
    fused = fuse(b.build((b.layer_norm(skip), skip)), COMPILED)
    assert shape_of(fused) == [("FusedRows", ("add", "norm"))]
    assert fused.ops[0].outputs == ("add", "norm")
    assert fused.ops[0].inputs == ("x", "y", "norm.weight", "norm.bias")


def test_rms_norm_in_small_ops_is_one_kernel():
    b = Builder("toy")
    x = b.input("x", (4, 8))
    mean = b.mean(b.op("Pow", x, b.scalar("two")), (-1,), keepdims=True)
    y = b.op("Div", x, b.op("Sqrt", b.add(mean, b.scalar("epsilon"))))
    fused = fuse(b.build(b.mul(y, b.weight("gamma", (8,)))), COMPILED)
    assert [op.type for op in fused.ops] == ["FusedRows"]


def test_an_activation_joins_the_group_norm():
    b = Builder("toy")
    fused = fuse(b.build(b.silu(b.group_norm(b.input("x", (2, 4, 8, 8)), 2))), TENSORRT)
    assert shape_of(fused) == [("FusedRows", ("norm", "silu"))]


def test_branches_that_meet_are_one_kernel():
    """x/2 · (1 + tanh(x)): neither branch feeds the other until the last product."""
    b = Builder("toy")
    x = b.matmul(b.input("a", (4, 4)), b.weight("w", (4, 4)))
    half = b.mul(x, b.scalar("a_half"), name="half")
    fused = fuse(b.build(b.mul(half, b.add(b.tanh(x), b.scalar("one")))), COMPILED)
    assert [op.type for op in fused.ops] == ["MatMul", "FusedPointwise"]
    assert set(op_names(fused.ops[1])) == {"half", "tanh", "add", "mul"}


def block() -> Graph:
    b = Builder("toy")
    x = b.input("x", (1, 4, 8, 8))
    y = b.relu(b.conv(x, 4, 3, name="conv1"), name="relu1")
    return b.build(b.relu(b.add(b.conv(y, 4, 3, name="conv2"), x), name="relu2"))


def test_a_convolution_takes_residual_and_activation_in():
    fused = fuse(block(), TENSORRT)
    assert shape_of(fused) == [("Conv", ("conv1", "relu1")), ("Conv", ("conv2", "add", "relu2"))]
    assert fused.ops[1].inputs == ("relu1", "conv2.weight", "", "x")
    assert fused.ops[1].attrs["kernel_shape"] == (3, 3)
    assert graph_flop(fused) == graph_flop(block())


def test_a_compiler_leaves_library_calls_alone():
    assert [op.type for op in fuse(block(), COMPILED).ops] == ["Conv", "Relu", "Conv", "FusedPointwise"]


def test_an_epilogue_writes_one_result():
    """The convolution's own result is needed too, so nothing joins it."""
    b = Builder("toy")
    y = b.conv(b.input("x", (1, 4, 8, 8)), 4, 3)
    fused = fuse(b.build((b.relu(y), y)), TENSORRT)
    assert [op.type for op in fused.ops] == ["Conv", "Relu"]


@pytest.mark.parametrize("fixed", [COMPILED, TENSORRT])
def test_fusing_twice_changes_nothing(fixed):
    once = fuse(block(), fixed)
    assert shape_of(fuse(once, fixed)) == shape_of(once)
