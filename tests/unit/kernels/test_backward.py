"""Kernels of gradients whose problem is not that of a forward op."""

from __future__ import annotations

from simgpu.arch.loader import load_gpu
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Tensor
from simgpu.kernels.kernel import FusedAttention, Gemm, Kernel, Recurrent, Rows
from simgpu.kernels.lower import lower
from simgpu.passes.pipeline import prepare


def step(output: Tensor, b: Builder, **options: str) -> dict[str, Kernel]:
    """The kernels of a training step by label."""
    gpu = load_gpu("a100")
    policy = options.get("dtype", "fp32")
    graph = lower(prepare(b.build(output), gpu=gpu, precision=policy, training=True, optimizer=options.get("optimizer", "sgd")), gpu=gpu, precision=policy)
    assert len({k.name for k in graph.kernels}) == len(graph)
    return {k.label: k for k in graph.kernels}


def test_linear():
    b = Builder("toy")
    kernels = step(b.linear(b.linear(b.input("x", (2, 3, 5)), 7, name="first"), 11, name="second"), b)
    data = kernels["matmul"].work
    assert (data.m, data.n, data.k, data.layout) == (6, 7, 11, "nn")
    weight = next(k for k in kernels.values() if k.op == "first" and k.work.family == "gemm" and k.work.layout == "nt").work
    assert (weight.m, weight.n, weight.k) == (7, 5, 6)


def test_convolutions_read_what_their_direction_needs():
    b = Builder("toy")
    x = b.conv(b.input("x", (2, 3, 8, 8)), 4, 1, name="first")
    y = b.global_avg_pool(b.conv(x, 6, 3, stride=2, name="second"))
    kernels = step(b.flatten(y), b)
    data, weight = kernels["conv backward data 3×3 s2"], kernels["conv backward weight 3×3 s2"]
    assert (data.work.n, data.work.c, data.work.h, data.work.k, data.work.p) == (weight.work.n, weight.work.c, weight.work.h, weight.work.k, weight.work.p)
    assert (data.work.c, data.work.h, data.work.k, data.work.p) == (4, 8, 6, 4)
    sizes = {"x": 4 * 2 * 4 * 64, "w": 4 * 6 * 4 * 9, "y": 4 * 2 * 6 * 16}
    assert ([a.bytes for a in data.reads], data.writes[0].bytes) == ([sizes["y"], sizes["w"]], sizes["x"])
    assert ([a.bytes for a in weight.reads], weight.writes[0].bytes) == ([sizes["x"], sizes["y"]], sizes["w"])


def test_fused_attention_backwards():
    b = Builder("toy")
    x = b.linear(b.input("x", (2, 4, 8)), 8, name="fc")
    heads = b.transpose(b.reshape(x, (2, 4, 2, 4)), (0, 2, 1, 3))
    y = b.reshape(b.transpose(b.attention(heads, heads, heads, causal=True), (0, 2, 1, 3)), (2, 4, 8))
    kernels = step(y, b, dtype="fp16")
    main = kernels["attention backward"]
    assert main.work == FusedAttention(batch=2, heads=2, kv_heads=2, q_len=4, kv_len=4, head_dim=4, v_head_dim=4, causal=True, direction="bwd")
    assert main.flop == main.work.flop == 2 * kernels["attention"].flop
    assert kernels["attention backward sums"].work == Rows(kind="reduce", rows=2 * 2 * 4, cols=4, writes_rows=False, itemsize=2)


def test_a_recurrent_layer_backwards():
    b = Builder("toy")
    kernels = step(b.reshape(b.recurrent("GRU", b.linear(b.input("x", (7, 2, 5)), 5, name="fc"), 3, name="gru"), (14, 3)), b)
    assert kernels["gru backward 7 steps"].work == Recurrent(gates=3, hidden=3, batch=2, steps=7, direction="bwd_data")
    assert kernels["gru backward recurrent weight"].work.direction == "bwd_weight"
    assert kernels["gru backward input"].work == Gemm(m=14, n=5, k=9, a_bytes=4, b_bytes=4, out_bytes=4, layout="nn")
    assert kernels["gru backward weight"].work == Gemm(m=9, n=5, k=14, a_bytes=4, b_bytes=4, out_bytes=4, layout="nt")
    backward = [k.flop for label, k in kernels.items() if label.startswith("gru backward")]
    assert sum(backward) == 2 * 2 * 14 * 9 * (5 + 3)


def test_experts_backwards():
    b = Builder("toy")
    x = b.linear(b.input("x", (6, 8)), 8, name="fc")
    kernels = step(b.op("GroupedLinear", x, b.weight("w", (3, 10, 8)), tokens=(4, 0, 2)), b)
    data, weight = kernels["grouped linear backward data"].work, kernels["grouped linear backward weight"].work
    assert (data.m, data.n, data.k, data.tokens) == (6, 8, 10, (4, 0, 2))
    assert (weight.m, weight.n, weight.k, weight.layout) == (6, 10, 8, "nt")


def test_rows_backwards():
    b = Builder("toy")
    x = b.batch_norm(b.conv(b.input("x", (2, 3, 4, 4)), 6, 1))
    y = b.softmax(b.layer_norm(b.reshape(x, (12, 16))))
    kernels = step(y, b)
    assert kernels["batch norm backward"].work == Rows(kind="batch_norm", rows=6, cols=32, contiguous=False)
    assert kernels["layer norm backward"].work == Rows(kind="layer_norm", rows=12, cols=16)
    assert kernels["norm backward weight"].work == Rows(kind="reduce", rows=16, cols=12, contiguous=False, writes_rows=False)
    assert kernels["softmax backward"].work == Rows(kind="softmax", rows=12, cols=16)


def test_an_embedding_fills_its_table_with_zeros():
    b = Builder("toy")
    kernels = step(b.embedding(b.input("ids", (2, 3), dtype="int64"), 100, 8), b)
    assert kernels["fill zeros"].write_bytes == 4 * 800
    assert kernels["scatter add"].write_bytes == 4 * 48


def test_a_pool_backwards_reads_where_the_maxima_were():
    b = Builder("toy")
    y = b.max_pool(b.conv(b.input("x", (2, 3, 8, 8)), 4, 1), 3, stride=2, padding=1)
    kernel = step(b.flatten(y), b)["pool backward"]
    assert [(a.tensor.split(":")[-1], a.bytes) for a in kernel.reads][1] == ("indices", 8 * 2 * 4 * 16)
    assert (kernel.work.elements, kernel.work.window) == (2 * 4 * 64, 4)  # windows of 3 every 2: up to 2 × 2 cover an input


def test_large_optimizers_launch_several_times():
    """2 matrices of 4096 × 4096: 512 chunks of 65,536 elements, 320 a launch."""
    b = Builder("toy")
    x = b.linear(b.linear(b.input("x", (1, 4096)), 4096, bias=False, name="a"), 4096, bias=False, name="b")
    update = step(x, b, optimizer="adam")["adam addcdiv"]
    assert update.repeat == 2
    assert update.read_bytes * update.repeat == 3 * 4 * 2 * 4096 * 4096
