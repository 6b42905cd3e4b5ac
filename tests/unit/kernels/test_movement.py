"""What moves elements and what only looks at them differently."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgpu.arch.loader import load_gpu
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.kernels.context import contiguous_strides, is_contiguous
from simgpu.kernels.kernel import KernelGraph, Stream
from simgpu.kernels.lower import lower
from simgpu.kernels.views import reshaped_strides


def run(build: Callable[[Builder], Tensor | tuple[Tensor, ...]]) -> KernelGraph:
    b = Builder("toy")
    return lower(b.build(build(b)), gpu=load_gpu("v100"))


def labels(graph: KernelGraph) -> list[str]:
    return [k.label for k in graph.kernels]


def test_views_launch_nothing_and_name_the_buffer_they_look_into():
    def views(b: Builder) -> Tensor:
        x = b.relu(b.input("x", (2, 3, 4)))
        return b.softmax(b.op("Squeeze", b.reshape(b.op("Unsqueeze", x, axes=(0,)), (1, 6, 4)), axes=(0,)))

    graph = run(views)
    assert labels(graph) == ["relu", "softmax"]
    assert graph.kernels[1].reads[0].tensor == "relu"
    assert graph.deps == ((), (0,))


def test_a_transpose_is_copied_where_order_matters():
    graph = run(lambda b: b.softmax(b.transpose(b.input("x", (3, 4)), (1, 0))))
    copy, softmax = graph.kernels
    assert labels(graph) == ["copy", "softmax"]
    assert copy.work == Stream(elements=12, pattern="transpose", itemsize=4)
    assert (copy.reads[0].tensor, copy.reads[0].bytes, copy.flop) == ("x", 48, 0)
    assert softmax.reads[0].tensor == copy.writes[0].tensor


def test_a_transpose_of_axes_of_size_one_moves_nothing():
    assert labels(run(lambda b: b.softmax(b.transpose(b.input("x", (3, 1, 4)), (1, 0, 2))))) == ["softmax"]


def test_two_transposes_cancel():
    assert labels(run(lambda b: b.softmax(b.transpose(b.transpose(b.input("x", (3, 4)), (1, 0)), (1, 0))))) == ["softmax"]


def test_elementwise_kernels_keep_the_order_of_their_operand():
    """relu of a transpose is written transposed, so that transposing back is free."""
    graph = run(lambda b: b.softmax(b.transpose(b.relu(b.transpose(b.input("x", (3, 4)), (1, 0))), (1, 0))))
    assert labels(graph) == ["relu", "softmax"]
    assert graph.kernels[0].work.pattern == "elementwise"


def test_operands_in_different_orders_are_walked_across():
    graph = run(lambda b: b.add(b.input("y", (4, 3)), b.transpose(b.input("x", (3, 4)), (1, 0))))
    assert graph.kernels[0].work.pattern == "transpose"


def test_merging_axes_after_a_transpose_copies():
    """(2, 3, 4) → (3, 2, 4) → (6, 4): rows of 4 keep together, so whole rows move."""
    graph = run(lambda b: b.relu(b.reshape(b.transpose(b.input("x", (2, 3, 4)), (1, 0, 2)), (6, 4))))
    assert labels(graph) == ["copy", "relu"]
    assert graph.kernels[0].work.pattern == "elementwise"


def test_channel_shuffle_is_one_copy():
    graph = run(lambda b: b.conv(b.channel_shuffle(b.input("x", (1, 8, 4, 4)), 2), 8, 1))
    assert labels(graph) == ["copy", "conv 1×1"]


def test_parts_of_a_tensor_read_their_part():
    def halves(b: Builder) -> Tensor:
        left, right = b.split(b.relu(b.input("x", (2, 8))), 2, axis=1)
        return b.mul(left, right)

    graph = run(halves)
    assert labels(graph) == ["relu", "mul"]
    assert [(a.tensor, a.bytes) for a in graph.kernels[1].reads] == [("relu", 32.0), ("relu", 32.0)]
    assert graph.deps[1] == (0,)


def test_a_slice_of_channels_is_copied_for_a_convolution_but_a_sample_is_not():
    assert labels(run(lambda b: b.conv(b.slice(b.input("x", (2, 8, 4, 4)), 0, 4, axis=1), 4, 1))) == ["copy", "conv 1×1"]
    assert labels(run(lambda b: b.conv(b.slice(b.input("x", (2, 8, 4, 4)), 0, 1, axis=0), 4, 1))) == ["conv 1×1"]


def test_walking_backwards_copies():
    graph = run(lambda b: b.op("Slice", b.input("x", (4, 4)), starts=(3,), ends=(-5,), axes=(1,), steps=(-1,)))
    assert labels(graph) == ["flip"]


def test_expanding_repeats_without_copying_until_order_matters():
    graph = run(lambda b: b.reshape(b.expand(b.op("Unsqueeze", b.input("x", (2, 3)), axes=(1,)), (2, 4, 3)), (8, 3)))
    assert labels(graph) == ["copy"]
    assert graph.kernels[0].reads[0].bytes == 24 and graph.kernels[0].writes[0].bytes == 4 * 24


def test_joining_reads_every_part_once():
    graph = run(lambda b: b.concat([b.input("x", (2, 3)), b.input("y", (2, 5))], axis=1))
    (kernel,) = graph.kernels
    assert ([a.bytes for a in kernel.reads], kernel.writes[0].bytes) == ([24, 40], 64)


def test_an_embedding_reads_the_rows_it_looks_up():
    graph = run(lambda b: b.embedding(b.input("ids", (2, 5), dtype="int64"), 1000, 8, name="wte"))
    (kernel,) = graph.kernels
    assert [(a.tensor, a.bytes) for a in kernel.reads] == [("wte.weight", 4 * 80), ("ids", 80)]
    assert (kernel.label, kernel.work.pattern) == ("embedding", "gather")


def test_a_cache_is_written_in_place():
    def append(b: Builder) -> Tensor:
        cache = b.state("cache", (10, 8))
        return b.op("ScatterElements", cache, b.input("where", (1, 8), dtype="int64"), b.input("new", (1, 8)), axis=0)

    (kernel,) = run(append).kernels
    assert [(a.tensor, a.bytes) for a in kernel.writes] == [("cache", 32)]
    assert [a.tensor for a in kernel.reads] == ["where", "new"]


def test_a_scatter_into_an_activation_copies_it():
    def update(b: Builder) -> Tensor:
        return b.op("ScatterElements", b.relu(b.input("x", (10, 8))), b.input("where", (1, 8), dtype="int64"), b.input("new", (1, 8)), axis=0)

    kernel = run(update).kernels[1]
    assert [a.tensor for a in kernel.reads] == ["relu", "where", "new"]
    assert kernel.writes[0].bytes == 4 * 80


def test_a_pool_reads_its_window_from_the_cache():
    (kernel,) = run(lambda b: b.max_pool(b.input("x", (1, 2, 8, 8)), 3, stride=2, padding=1)).kernels
    assert (kernel.label, kernel.work.pattern, kernel.work.window, kernel.work.elements) == ("max pool 3×3", "window", 9, 2 * 16)
    assert (kernel.reads[0].bytes, [a.bytes for a in kernel.writes]) == (4 * 128, [4 * 32, 8 * 32])  # and where each maximum was


@pytest.mark.parametrize(("mode", "window"), [("nearest", 1), ("linear", 4), ("cubic", 16)])
def test_resizing_reads_neighbours(mode: str, window: int):
    (kernel,) = run(lambda b: b.resize(b.input("x", (1, 2, 4, 4)), (8, 8), mode=mode)).kernels
    assert kernel.work.window == window
    assert kernel.reads[0].bytes == 4 * 32


def test_an_op_nobody_knows_is_memory_traffic_and_said_so():
    tensors = [Tensor(name="x", shape=(2, 3), kind="input"), Tensor(name="y", shape=(4,))]
    graph = Graph(name="toy", ops=[Op(name="n", type="Mystery", inputs=("x",), outputs=("y",))], tensors=tensors, inputs=("x",), outputs=("y",))
    lowered = lower(graph, gpu=load_gpu("v100"))
    (kernel,) = lowered.kernels
    assert (kernel.read_bytes, kernel.write_bytes, kernel.label) == (24, 16, "Mystery")
    assert lowered.assumptions == ("Mystery: no rule for this operator, priced as the memory traffic of its inputs and outputs",)


# ---- strides, against NumPy


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, an order of its axes, and another shape of as many elements."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    rest, new = int(np.prod(shape)), []
    while rest > 1 and len(new) < 4:
        factor = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        new.append(factor)
        rest //= factor
    return shape, order, (*new, rest)


@given(views())
def test_reshaping_needs_a_copy_exactly_where_numpy_copies(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]):
    shape, order, new = case
    array = np.arange(np.prod(shape), dtype=np.int8).reshape(shape).transpose(order)
    strides = tuple(contiguous_strides(shape)[axis] for axis in order)
    expected = array.reshape(new)
    found = reshaped_strides(array.shape, strides, new)
    assert (found is not None) == np.shares_memory(array, expected)
    if found is not None:
        assert np.array_equal(np.lib.stride_tricks.as_strided(np.ascontiguousarray(array.base).reshape(-1), new, found), expected)
    assert is_contiguous(array.shape, strides) == array.flags["C_CONTIGUOUS"]
