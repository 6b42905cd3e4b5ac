"""Linear layers, matrix products, convolutions and attention as the problems that libraries solve."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.errors import ShapeError
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Tensor
from simgpu.kernels.kernel import Conv, FusedAttention, Gemm, Kernel, KernelGraph, Recurrent
from simgpu.kernels.lower import lower
from simgpu.passes.pipeline import prepare


def run(build: Callable[[Builder], Tensor | tuple[Tensor, ...]], *, gpu: str = "v100", dtype: str = "fp32", runtime: str = "eager", **options) -> KernelGraph:
    b = Builder("toy")
    graph = b.build(build(b))
    device = load_gpu(gpu)
    return lower(prepare(graph, gpu=device, precision=dtype, runtime=runtime, **options), gpu=device, precision=dtype, runtime=runtime)


def only(graph: KernelGraph, family: type = Gemm) -> Kernel:
    (kernel,) = [k for k in graph.kernels if isinstance(k.work, family)]
    return kernel


def reads(kernel: Kernel) -> list[tuple[str, float]]:
    return [(a.tensor, a.bytes) for a in kernel.reads]


def test_a_linear_layer_folds_its_leading_axes():
    kernel = only(run(lambda b: b.linear(b.input("x", (2, 5, 7)), 11, name="fc")))
    assert kernel.work == Gemm(m=10, n=11, k=7, a_bytes=4, b_bytes=4, out_bytes=4, layout="tn", bias=True)
    assert reads(kernel) == [("x", 4 * 70), ("fc.weight", 4 * 77), ("fc.bias", 4 * 11)]
    assert [(a.tensor, a.bytes) for a in kernel.writes] == [("fc", 4 * 110)]
    assert kernel.flop == 2 * 10 * 11 * 7
    assert (kernel.label, kernel.pipe, kernel.dtype) == ("linear", "vector", "fp32")


def test_a_weight_that_lies_as_in_out():
    kernel = only(run(lambda b: b.linear(b.input("x", (2, 5, 7)), 11, bias=False, name="fc", in_out=True)))
    assert kernel.work == Gemm(m=10, n=11, k=7, a_bytes=4, b_bytes=4, out_bytes=4, layout="nn")


def test_weights_of_few_bits():
    kernel = only(run(lambda b: b.linear(b.input("x", (4, 256)), 16, name="fc"), gpu="a100", dtype="int4"))
    assert (kernel.work.a_bytes, kernel.work.b_bytes, kernel.work.out_bytes) == (2, 0.5, 2)
    assert reads(kernel)[1] == ("fc.weight", 16 * 256 / 2 + 32 * (2 + 0.5))  # 32 groups of 128, each with a scale and a zero point
    assert (kernel.dtype, kernel.pipe) == ("fp16", "tensor")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((2, 3, 4, 5), (2, 3, 5, 6), {"batch": 6, "m": 4, "n": 6, "k": 5, "shared_b": False}),
        ((2, 3, 4, 5), (5, 6), {"batch": 1, "m": 24, "n": 6, "k": 5, "shared_b": False}),  # one B: all rows are one matrix
        ((1, 4, 5), (3, 5, 6), {"batch": 3, "m": 4, "n": 6, "k": 5, "shared_b": False}),
        ((5,), (5, 6), {"batch": 1, "m": 1, "n": 6, "k": 5, "shared_b": False}),
        ((4, 5), (5,), {"batch": 1, "m": 4, "n": 1, "k": 5, "shared_b": False}),
    ],
)
def test_matmul_batches(a: tuple[int, ...], b: tuple[int, ...], expected: dict[str, object]):
    work = only(run(lambda builder: builder.matmul(builder.input("a", a), builder.input("b", b)))).work
    assert {name: getattr(work, name) for name in expected} == expected
    assert work.layout == "nn"


def test_a_transposed_key_is_read_as_it_lies():
    graph = run(lambda b: b.matmul(b.input("q", (2, 3, 4, 5)), b.transpose(b.input("k", (2, 3, 6, 5)), (0, 1, 3, 2))))
    kernel = only(graph)
    assert len(graph) == 1
    assert (kernel.work.layout, kernel.work.batch, kernel.work.n) == ("tn", 6, 6)
    assert reads(kernel) == [("q", 4 * 120), ("k", 4 * 180)]


def test_heads_that_do_not_fold_into_a_batch_are_copied():
    """(B, S, H, D) → (B, H, S, D): batch and heads have no common stride unless there is one sample."""

    def product(b: Builder, batch: int) -> Tensor:
        q = b.transpose(b.input("q", (batch, 4, 3, 5)), (0, 2, 1, 3))
        return b.matmul(q, b.input("k", (batch, 3, 5, 6)))

    assert [k.label for k in run(lambda b: product(b, 2)).kernels] == ["copy", "matmul"]
    assert [k.label for k in run(lambda b: product(b, 1)).kernels] == ["matmul"]


def test_einsum_is_a_batched_product():
    kernel = only(run(lambda b: b.op("Einsum", b.input("a", (2, 3, 4)), b.input("b", (2, 5, 4)), equation="bik,bjk->bij")))
    assert (kernel.work.batch, kernel.work.m, kernel.work.n, kernel.work.k) == (2, 3, 5, 4)
    with pytest.raises(ShapeError, match=r"toy: op 'einsum': Einsum 'a,b,c->abc' is no product of two operands .* split it before export"):
        run(lambda b: b.op("Einsum", *(b.input(n, (2,)) for n in "abc"), equation="a,b,c->abc"))


def test_experts_without_rows_are_not_read():
    kernel = only(run(lambda b: b.op("GroupedLinear", b.input("x", (6, 8)), b.weight("w", (4, 10, 8)), tokens=(4, 0, 2, 0))))
    assert kernel.work == Gemm(m=6, n=10, k=8, a_bytes=4, b_bytes=4, out_bytes=4, tokens=(4, 0, 2, 0))
    assert reads(kernel)[1] == ("w", 4 * 4 * 80 / 2)


# ---- convolutions


def test_a_convolution():
    kernel = only(run(lambda b: b.conv(b.input("x", (2, 6, 9, 8)), 4, (3, 5), stride=2, padding=(1, 2), groups=2)), Conv)
    assert kernel.work == Conv(n=2, c=6, h=9, w=8, k=4, r=3, s=5, p=5, q=4, stride_h=2, stride_w=2, groups=2)
    assert kernel.flop == kernel.work.flop == 2 * 2 * 4 * 5 * 4 * 3 * 15
    assert kernel.label == "grouped conv 3×5 s2"


def test_one_and_three_axes():
    line = only(run(lambda b: b.conv(b.input("x", (2, 6, 9)), 4, 3, stride=2, padding=1)), Conv).work
    assert (line.h, line.w, line.r, line.s, line.p, line.q, line.stride_h, line.stride_w) == (1, 9, 1, 3, 1, 5, 1, 2)
    kernel = only(run(lambda b: b.conv(b.input("x", (2, 6, 5, 9, 8)), 4, 3, padding=1)), Conv)
    assert (kernel.work.n, kernel.work.r, kernel.work.s, kernel.work.h, kernel.work.p) == (2 * 5, 9, 3, 9, 9)
    assert kernel.flop == kernel.work.flop == 2 * (2 * 5 * 9 * 8) * 4 * 6 * 27


def test_a_transposed_convolution_is_the_gradient_of_one():
    kernel = only(run(lambda b: b.conv_transpose(b.input("x", (2, 6, 5, 5)), 4, 2, stride=2)), Conv)
    work = kernel.work
    assert (work.direction, work.c, work.h, work.k, work.p) == ("bwd_data", 4, 10, 6, 5)
    assert kernel.flop == work.flop == 2 * (2 * 6 * 25) * 4 * 4
    assert reads(kernel)[0] == ("x", 4 * 300)


def test_tensor_cores_read_channels_last():
    graph = run(lambda b: b.conv(b.input("x", (2, 8, 4, 4)), 16, 3, name="conv"), dtype="fp16")
    assert [(k.label, k.internal) for k in graph.kernels] == [("NCHW → NHWC", True), ("NCHW → NHWC", True), ("conv 3×3", False)]
    x, w, conv = graph.kernels
    assert reads(x) == [("x", 2 * 256)] and x.flop == 0
    assert reads(w) == [("conv.weight", 2 * 16 * 72)]
    assert [a.tensor for a in conv.reads] == [x.writes[0].tensor, w.writes[0].tensor]
    assert graph.deps == ((), (), (0, 1))
    assert conv.work.layout == "nhwc"
    assert any("read NHWC" in a for a in graph.assumptions)


def test_what_needs_no_layout_copy():
    pointwise = run(lambda b: b.conv(b.input("x", (2, 8, 1, 1)), 16, 1), dtype="fp16")
    assert len(pointwise) == 1  # one pixel, one tap
    assert len(run(lambda b: b.conv(b.input("x", (2, 8, 4, 4)), 16, 3), dtype="fp16", runtime="tensorrt")) == 1
    assert len(run(lambda b: b.conv(b.input("x", (2, 8, 4, 4)), 16, 3), dtype="fp16", gpu="p100")) == 1  # no tensor cores
    assert len(run(lambda b: b.conv(b.input("x", (2, 8, 4, 4)), 16, 3), dtype="fp32", gpu="a100")) == 1


def test_depthwise_convolutions_stay_on_cuda_cores():
    kernel = only(run(lambda b: b.conv(b.input("x", (2, 8, 4, 4)), 8, 3, groups=8), dtype="fp16"), Conv)
    assert (kernel.label, kernel.pipe, kernel.dtype, kernel.work.x_bytes) == ("depthwise conv 3×3", "vector", "fp32", 2)


def test_a_fused_convolution_reads_its_residual():
    def block(b: Builder) -> Tensor:
        x = b.input("x", (1, 4, 8, 8))
        return b.relu(b.add(b.batch_norm(b.conv(x, 4, 3)), x))

    kernel = only(run(block, runtime="tensorrt"), Conv)
    assert kernel.label == "conv 3×3 + add + relu"
    assert [a.tensor for a in kernel.reads] == ["x", "conv.weight", "bn.bias", "x"]
    assert kernel.ops == ("conv", "bn", "add", "relu")
    assert kernel.op == "conv"
    assert kernel.flop == 2 * 4 * 4 * 9 * 64 + (2 + 1 + 1) * 4 * 64


# ---- attention and recurrent layers


def heads(b: Builder, x: Tensor, name: str) -> Tensor:
    """A linear layer and its heads: (B, S, 12) → (B, 3, S, 4)."""
    y = b.linear(x, 12, name=name)
    return b.transpose(b.reshape(y, (*x.shape[:2], 3, 4)), (0, 2, 1, 3))


def attention(b: Builder) -> Tensor:
    x = b.input("x", (2, 5, 12))
    y = b.attention(*(heads(b, x, n) for n in "qkv"), causal=True)
    return b.linear(b.reshape(b.transpose(y, (0, 2, 1, 3)), (2, 5, 12)), 12, name="out")


def test_fused_attention_reads_heads_where_they_lie_and_writes_them_merged():
    graph = run(attention, gpu="a100", dtype="fp16")
    assert [k.label for k in graph.kernels] == ["linear"] * 3 + ["attention", "linear"]
    kernel = only(graph, FusedAttention)
    assert kernel.work == FusedAttention(batch=2, heads=3, kv_heads=3, q_len=5, kv_len=5, head_dim=4, v_head_dim=4, causal=True)
    assert reads(kernel) == [(n, 2 * 120) for n in "qkv"]
    assert graph.deps == ((), (), (), (0, 1, 2), (3,))
    assert kernel.flop == kernel.work.flop == 2 * 2 * 3 * 25 * 8


def test_attention_in_parts_copies_heads():
    graph = run(attention, gpu="p100")
    assert [k.label for k in graph.kernels] == [
        *("linear",) * 3,
        *("copy", "copy", "matmul"),  # q and k, whose heads do not fold into a batch
        *("mul", "add", "softmax"),
        *("copy", "matmul"),
        *("copy", "linear"),  # the merged heads
    ]
    scores = next(k for k in graph.kernels if k.label == "matmul")
    assert scores.work.layout == "tn"
    assert sum(k.flop for k in graph.kernels if k.op.startswith("attention")) == 2 * 2 * 3 * 25 * 8
    assert {k.ops for k in graph.kernels[5:9]} == {("attention",)}


def test_decode_reads_the_cache_of_few_heads():
    def decode(b: Builder) -> Tensor:
        k, v = (b.state(n, (2, 2, 100, 8)) for n in ("k", "v"))
        return b.attention(b.input("q", (2, 8, 1, 8)), k, v, causal=True, window=30)

    kernel = only(run(decode, gpu="a100", dtype="fp16"), FusedAttention)
    assert (kernel.work.q_len, kernel.work.kv_len, kernel.work.kv_heads, kernel.work.window) == (1, 100, 2, 30)
    assert kernel.label == "attention decode"


def test_values_within_the_keys_are_read_with_them():
    """Latent attention: keys of 12 numbers for 100 positions of 2 sequences, in 2 B each; the first 8 of the 12 are the value."""

    def decode(b: Builder) -> Tensor:
        k = b.state("k", (2, 1, 100, 12))
        return b.attention(b.input("q", (2, 8, 1, 12)), k, b.slice(k, 0, 8, axis=-1))

    kernel = only(run(decode, gpu="a100", dtype="fp16"), FusedAttention)
    assert kernel.work.values_in_keys
    assert reads(kernel) == [("q", 2 * 8 * 12 * 2), ("k", 2 * 100 * 4 * 2), ("k", 2 * 100 * 8 * 2)]


def test_keys_and_values_side_by_side_are_read_both():
    """One matrix makes both: they lie in one buffer, but are different numbers."""

    def both(b: Builder) -> Tensor:
        k, v = b.split(b.input("kv", (2, 1, 100, 12)), (6, 6), axis=-1)
        return b.attention(b.input("q", (2, 8, 1, 6)), k, v)

    kernel = only(run(both, gpu="a100", dtype="fp16"), FusedAttention)
    assert not kernel.work.values_in_keys
    assert [size for _, size in reads(kernel)] == [2 * 8 * 6 * 2, 2 * 100 * 6 * 2, 2 * 100 * 6 * 2]


def test_values_that_are_the_keys_are_read_once():
    def same(b: Builder) -> Tensor:
        k = b.state("k", (2, 1, 100, 12))
        return b.attention(b.input("q", (2, 8, 1, 12)), k, k)

    assert sum(size for name, size in reads(only(run(same, gpu="a100", dtype="fp16"), FusedAttention)) if name == "k") == 2 * 100 * 12 * 2


def test_a_recurrent_layer_is_one_product_and_a_chain_of_steps():
    graph = run(lambda b: b.recurrent("LSTM", b.input("x", (7, 2, 5)), 3, name="lstm"))
    product, steps = graph.kernels
    assert product.work == Gemm(m=14, n=12, k=5, a_bytes=4, b_bytes=4, out_bytes=4)
    assert steps.work == Recurrent(gates=4, hidden=3, batch=2, steps=7)
    assert product.flop == 2 * 14 * 12 * 5
    assert steps.flop == steps.work.flop == 2 * 14 * 12 * 3
    assert graph.deps == ((), (0,))
