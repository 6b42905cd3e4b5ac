"""Memory of small runs, byte by byte."""

from __future__ import annotations

import pytest

from simgpu.frontends.builder import Builder
from simgpu.graph.ir import CONSTANT, INPUT, STATE, WEIGHT, Graph, Tensor
from simgpu.kernels.kernel import Access, Kernel, KernelGraph, Stream
from simgpu.kernels.lower import lower
from simgpu.memory.footprint import footprint, largest_batch, live_activations
from simgpu.passes.pipeline import prepare
from tests.toys import toy_gpu


def graph(*tensors: Tensor, outputs: tuple[str, ...] = ()) -> Graph:
    return Graph(name="toy", ops=(), tensors=tensors, inputs=[t.name for t in tensors if t.kind in (INPUT, STATE)], outputs=outputs)


def kernel(name: str, reads: str, writes: str, size: float = 1.0) -> Kernel:
    def accesses(names: str) -> tuple[Access, ...]:
        return tuple(Access(tensor=t, bytes=size) for t in names.split())

    return Kernel(name=name, work=Stream(elements=1), reads=accesses(reads), writes=accesses(writes))


def chain(*kernels: Kernel) -> KernelGraph:
    return KernelGraph(kernels, [()] * len(kernels))


def act(name: str, elements: int) -> Tensor:
    return Tensor(name=name, shape=(elements,), dtype="fp32")


RESIDUAL = chain(kernel("k0", "x w", "a"), kernel("k1", "a", "b"), kernel("k2", "b", "c"), kernel("k3", "a c", "y"))
NET = graph(
    Tensor(name="x", shape=(1,), kind=INPUT),
    Tensor(name="w", shape=(8,), kind=WEIGHT, dtype="fp16"),
    Tensor(name="unused", shape=(2,), kind=CONSTANT),
    act("a", 10),
    act("b", 20),
    act("c", 30),
    act("y", 5),
    outputs=("y",),
)


def test_buffers_live_from_their_writer_to_their_last_reader():
    # a is kept for k3; b dies after k2.
    assert live_activations(NET, RESIDUAL).tolist() == [40, 40 + 80, 40 + 80 + 120, 40 + 120 + 20]


def test_footprint_by_category():
    memory = footprint(NET, RESIDUAL, capacity_bytes=1000.0, workspace_bytes=7.0, context_bytes=100.0)
    assert (memory.weights_bytes, memory.input_bytes, memory.state_bytes) == (8 * 2 + 2 * 4, 4, 0)
    assert (memory.activation_bytes, memory.peak_kernel) == (240, 2)
    assert memory.peak_bytes == 24 + 4 + 240 + 7 + 100 == sum(memory.by_category().values())
    assert memory.fits
    assert memory.used_fraction == 375 / 1000


def test_a_model_larger_than_the_memory_does_not_fit():
    memory = footprint(NET, RESIDUAL, capacity_bytes=374.0, workspace_bytes=7.0, context_bytes=100.0)
    assert not memory.fits
    assert memory.used_fraction > 1


def test_outputs_live_to_the_end():
    net = graph(act("a", 10), act("b", 1), outputs=("a", "b"))
    assert live_activations(net, chain(kernel("k0", "", "a"), kernel("k1", "", "b"), kernel("k2", "b", "b"))).tolist() == [40, 44, 44]


def test_weights_inputs_and_states_are_no_activations():
    net = graph(Tensor(name="cache", shape=(4,), kind=STATE), Tensor(name="x", shape=(4,), kind=INPUT))
    kernels = chain(kernel("k0", "x cache", "cache"))
    assert live_activations(net, kernels).tolist() == [0]
    assert footprint(net, kernels, capacity_bytes=1.0, context_bytes=0.0).state_bytes == 16


def test_buffers_that_only_kernels_know_have_the_size_written():
    assert live_activations(graph(), chain(kernel("k0", "", "scratch", 12.0), kernel("k1", "scratch", "", 3.0))).tolist() == [12, 12]


def test_a_buffer_written_in_parts_counts_whole_from_the_first():
    net = graph(act("joined", 10), outputs=("joined",))
    assert live_activations(net, chain(kernel("k0", "", "joined", 20.0), kernel("k1", "", "joined", 20.0))).tolist() == [40, 40]


def test_no_kernels():
    memory = footprint(graph(), chain(), capacity_bytes=1.0, context_bytes=0.0)
    assert (memory.peak_bytes, memory.peak_kernel) == (0, -1)


@pytest.mark.parametrize(("capacity", "expected"), [(99, 0), (103, 1), (107, 2), (130, 10), (100 + 3 * 1000, 1000)])
def test_the_largest_batch_that_fits(capacity, expected):
    assert largest_batch(lambda batch: 100 + 3 * batch, capacity) == expected


def test_the_search_stops_at_the_limit():
    tried = []
    assert largest_batch(lambda batch: tried.append(batch) or 0.0, 1.0, limit=64) == 64
    assert max(tried) == 64


def test_a_training_step_has_gradients_and_states_of_the_optimizer():
    """y = W2 · relu(W1 · x) with 7 × 5 and 3 × 7 weights, batch 2, all in 4 bytes."""
    b = Builder("toy")
    x = b.relu(b.linear(b.input("x", (2, 5)), 7, bias=False, name="first"))
    net = b.build(b.linear(x, 3, bias=False, name="second"))
    weights_bytes = 4 * (7 * 5 + 3 * 7)
    for optimizer, states in (("sgd", 1), ("adam", 2)):
        prepared = prepare(net, gpu=toy_gpu(), training=True, optimizer=optimizer)
        memory = footprint(prepared, lower(prepared, gpu=toy_gpu()), capacity_bytes=1e6, context_bytes=0.0)
        assert (memory.weights_bytes, memory.optimizer_bytes, memory.state_bytes) == (weights_bytes, states * weights_bytes, 0)
        assert memory.gradient_bytes == weights_bytes  # so small a net peaks in the update, when all gradients are there
        assert memory.peak_bytes == sum(memory.by_category().values())
    # Adam's foreach form keeps a denominator for every parameter; nothing else but the loss and the logits lives then.
    assert memory.activation_bytes == pytest.approx(weights_bytes + 4 + 4 * 2 * 3)
