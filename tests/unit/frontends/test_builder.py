"""The builder: names, shapes, weights, and what bad use gets."""

from __future__ import annotations

import pytest

from simgpu.errors import ModelError, ShapeError
from simgpu.frontends.builder import Builder, round_channels
from simgpu.graph.ir import Graph


def test_scopes_make_the_module_paths_of_pytorch() -> None:
    b = Builder("toy")
    x = b.input("input", (2, 3, 8, 8))
    with b.scope("layer1"), b.scope(0):
        x = b.relu(b.batch_norm(b.conv(x, 4, 3, name="conv1"), name="bn1"))
    graph = b.build(x)
    assert [(op.name, op.scope) for op in graph.ops] == [
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("layer1.0.bn1", "layer1.0.bn1"),
        ("layer1.0.relu", "layer1.0"),
    ]
    assert {t.name for t in graph.weights} == {"layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias"}
    assert graph.outputs == ("layer1.0.relu",)


def test_names_that_are_taken_get_a_number() -> None:
    b = Builder("toy")
    x = b.input("x", (1, 4))
    for _ in range(3):
        x = b.relu(x)
    assert [op.name for op in b.build(x).ops] == ["relu", "relu_1", "relu_2"]


def test_batch_norm_statistics_are_no_parameters() -> None:
    b = Builder("toy")
    graph = b.build(b.batch_norm(b.input("x", (1, 5, 2, 2))))
    assert graph.num_params == 2 * 5
    assert {t.name: t.kind for t in graph.tensors.values()}["bn.running_var"] == "constant"


def test_a_tied_weight_counts_once() -> None:
    b = Builder("toy")
    x = b.embedding(b.input("ids", (1, 7), dtype="int64"), 11, 3, name="wte")
    graph = b.build(b.linear(x, 11, bias=False, tied=b.weight("wte.weight", (11, 3)), name="lm_head"))
    assert graph.num_params == 11 * 3
    assert graph[graph.outputs[0]].shape == (1, 7, 11)


SHAPES = [  # what is built on (2, 6, 8, 8), and its shape worked out by hand
    (lambda b, x: b.conv(x, 5, 3), (2, 5, 8, 8)),
    (lambda b, x: b.conv(x, 5, 3, stride=2), (2, 5, 4, 4)),
    (lambda b, x: b.conv(x, 5, 3, padding=0), (2, 5, 6, 6)),
    (lambda b, x: b.conv(x, 5, 3, dilation=2), (2, 5, 8, 8)),
    (lambda b, x: b.conv(x, 5, (1, 7)), (2, 5, 8, 8)),
    (lambda b, x: b.conv_transpose(x, 5, 2, stride=2), (2, 5, 16, 16)),
    (lambda b, x: b.max_pool(x, 3, stride=2), (2, 6, 3, 3)),
    (lambda b, x: b.max_pool(x, 3, stride=2, ceil_mode=True), (2, 6, 4, 4)),
    (lambda b, x: b.avg_pool(x, 2), (2, 6, 4, 4)),
    (lambda b, x: b.global_avg_pool(x), (2, 6, 1, 1)),
    (lambda b, x: b.adaptive_avg_pool(x, 4), (2, 6, 4, 4)),
    (lambda b, x: b.flatten(x), (2, 384)),
    (lambda b, x: b.squeeze_excite(x, 2), (2, 6, 8, 8)),
    (lambda b, x: b.channel_shuffle(x, 3), (2, 6, 8, 8)),
    (lambda b, x: b.concat([x, x]), (2, 12, 8, 8)),
    (lambda b, x: b.split(x, [1, 5])[1], (2, 5, 8, 8)),
    (lambda b, x: b.slice(x, 1, 3, axis=2), (2, 6, 2, 8)),
    (lambda b, x: b.resize(x, (16, 24)), (2, 6, 16, 24)),
    (lambda b, x: b.pad(x, (0, 0, 1, 1), (0, 0, 0, 0)), (2, 6, 9, 9)),
    (lambda b, x: b.mean(x, (2, 3)), (2, 6)),
    (lambda b, x: b.lrn(x), (2, 6, 8, 8)),
    (lambda b, x: b.group_norm(x, 3), (2, 6, 8, 8)),
    (lambda b, x: b.prelu(x), (2, 6, 8, 8)),
]


@pytest.mark.parametrize(("make", "shape"), SHAPES, ids=range(len(SHAPES)))
def test_shapes(make: object, shape: tuple[int, ...]) -> None:
    b = Builder("toy")
    assert make(b, b.input("x", (2, 6, 8, 8))).shape == shape  # type: ignore[operator]


def test_attention_splits_and_merges_heads() -> None:
    b = Builder("toy")
    x = b.input("x", (2, 7, 12))
    q, k, v = (b.split_heads(x, 3) for _ in "qkv")
    assert q.shape == (2, 3, 7, 4)
    y = b.attention(q, k, v, causal=True, window=5)
    graph = b.build(b.merge_heads(y))
    assert graph[graph.outputs[0]].shape == (2, 7, 12)
    op = next(op for op in graph.ops if op.type == "Attention")
    assert (op.attrs["is_causal"], op.attrs["window"], op.attrs["scale"]) == (1, 5, 0.5)


def test_recurrent_layers_stack() -> None:
    b = Builder("toy")
    graph = b.build(b.recurrent("LSTM", b.input("x", (9, 2, 5)), 4, layers=2))
    assert graph[graph.outputs[0]].shape == (9, 2, 4)
    # four gates: input and recurrent weights, two biases each
    assert graph.num_params == 4 * (4 * 5 + 4 * 4 + 2 * 4) + 4 * (4 * 4 + 4 * 4 + 2 * 4)


def test_gelu_of_gpt2_is_written_out() -> None:
    b = Builder("toy")
    graph = b.build(b.gelu_new(b.input("x", (1, 4))))
    assert sorted(op.type for op in graph.ops) == ["Add", "Add", "Mul", "Mul", "Mul", "Mul", "Pow", "Tanh"]


def test_channels_round_to_a_multiple_but_never_far_down() -> None:
    assert [round_channels(c) for c in (3, 12, 19.2, 22.4, 33.6)] == [8, 16, 24, 24, 32]


def test_what_bad_use_gets() -> None:
    b = Builder("toy")
    x = b.input("x", (1, 6, 8, 8))
    with pytest.raises(ShapeError, match=r"toy: 'conv' divides 6 input and 5 output channels into 4 groups; both must divide evenly"):
        b.conv(x, 5, 3, groups=4)
    with pytest.raises(ShapeError, match=r"toy: 'avgpool' pools \(8, 8\) to 3, which does not divide it; choose another image size"):
        b.adaptive_avg_pool(x, 3)
    with pytest.raises(ModelError, match=r"toy: tensor 'x' exists already; give it another name"):
        b.input("x", (1,))
    with pytest.raises(ShapeError, match=r"expected every dimension to be 1 or more"):
        b.input("y", (0, 3))
    b.weight("w", (2, 3))
    with pytest.raises(ShapeError, match=r"toy: weight 'w' has shape \(2, 3\) and is used as \(3, 2\); tied weights must agree"):
        b.weight("w", (3, 2))
    with pytest.raises(ShapeError, match=r"do not broadcast"):
        b.add(x, b.input("z", (5,)))


def test_assumptions_are_listed_once() -> None:
    b = Builder("toy")
    x = b.input("x", (1,))
    b.assume("dense attention")
    b.assume("dense attention")
    graph: Graph = b.build(b.relu(x))
    assert graph.assumptions == ("dense attention",)
