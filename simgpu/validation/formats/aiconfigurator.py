"""Kernels of TensorRT-LLM as NVIDIA's aiconfigurator measured them: GEMM in many formats, fused and latent attention, experts, NCCL.

Source: the data of the PyPI wheel aiconfigurator-core 0.12 and its collector (github.com/ai-dynamo/aiconfigurator).
    Kernels replay from a CUDA graph; the weights alternate between several copies. Weight-only and SmoothQuant rows are
    single shots under TensorRT's layer profiler, their weights cold.
"""

from __future__ import annotations

from simgpu.kernels.kernel import Collective, FusedAttention, Gemm, Rows, Stream
from simgpu.validation.formats.build import LARGE, SMALL, SMALL_BYTES, make_case
from simgpu.validation.formats.experts import distinct_draws, expert_loads
from simgpu.validation.kernels import Case, Launch, launch
from simgpu.validation.table import Row

METHOD = "graph_replay"
BF16, FP8 = 2, 1
COLD = float("inf")

# dtype of the table → (math, bytes of an activation, of a weight)
_GEMM_DTYPES = {
    "bfloat16": ("bf16", 2.0, 2.0),
    "fp8": ("fp8", 1.0, 1.0),
    "fp8_block": ("fp8", 1.0, 1.0),
    "int8_wo": ("fp16", 2.0, 1.0),
    "int4_wo": ("fp16", 2.0, 0.5),
    "sq": ("int8", 1.0, 1.0),
}
# GPUs that talk over PCIe within a box; the others have NVLink.
_PCIE_BOXES = frozenset(("l40s", "l40", "l20", "l4", "a10", "a30", "t4"))
# With an fp8 KV cache, Hopper's context attention also multiplies in fp8 (its rows run at that speed).
_FP8_CONTEXT = ("h100", "h200", "h20", "b200")


def _quantise(m: int, k: int, *, blockwise: bool) -> tuple[Launch, ...]:
    """The kernels that turn 16-bit activations into fp8: one with block scales, four where one scale needs the maximum of all.

    Source: github.com/NVIDIA/TensorRT-LLM, cpp/tensorrt_llm/common/cudaFp8Utils.cu (a memset stands before the maximum).
    """
    elements = m * k
    size, out = elements * BF16, elements * FP8
    cast = Stream(elements=elements, instructions=4, itemsize=BF16)
    if blockwise:
        return (launch(cast, reads=[size], writes=[out, elements / 128 * 4], label="quantise blocks", flop=elements, distances=[size + out]),)
    return (
        launch(Stream(elements=1, inputs=0), reads=[], writes=[4.0], label="clear the maximum", flop=0),
        launch(
            Stream(elements=elements, instructions=2, pattern="reduce", itemsize=BF16),
            reads=[size],
            writes=[4.0],
            label="absolute maximum",
            flop=elements,
            footprint=size + out,
        ),
        launch(Stream(elements=1), reads=[4.0], writes=[4.0], label="scale", flop=1),
        launch(cast, reads=[size, 4.0], writes=[out], label="quantise", flop=elements, distances=[size, 4.0]),
    )


def gemm(row: Row) -> Case:
    m, n, k = row.count("m"), row.count("n"), row.count("k")
    name = row.text("dtype")
    dtype, a_bytes, b_bytes = row.choice("dtype", _GEMM_DTYPES)
    work = Gemm(m=m, n=n, k=k, a_bytes=a_bytes, b_bytes=b_bytes, out_bytes=BF16, layout="tn", scale_block=128 if name == "fp8_block" else 0)
    a, b, out = m * k * a_bytes, n * k * b_bytes, m * n * BF16
    if name.endswith("_wo") or name == "sq":
        one = launch(work, reads=[a, b], writes=[out], dtype=dtype, pipe="tensor", label=f"gemm {name}", distances=[a, COLD])
        return make_case(row, "gemm", name, (one,), op_class="weight_only", dtype=name, method="single_shot_profiler")
    quantise = _quantise(m, k, blockwise=name == "fp8_block") if dtype == "fp8" else ()
    footprint = a + b + out + (m * k * BF16 if quantise else 0)
    distances = [a if quantise else footprint, footprint]
    one = launch(work, reads=[a, b], writes=[out], dtype=dtype, pipe="tensor", label=f"gemm {name}", distances=distances, cycled=1)
    family = "gemm" if name == "bfloat16" else f"gemm_{name}"
    return make_case(row, family, "fwd", (*quantise, one), op_class="gemm", dtype={"bfloat16": "bf16"}.get(name, name), method=METHOD)


def attention(row: Row) -> Case:
    phase = row.choice("op_name", {"context_attention": "prefill", "generation_attention": "decode"})
    batch, isl, heads, kv_heads, dim = (row.count(c) for c in ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim"))
    window = row.count("window_size", low=0) if "window_size" in row.cells else 0
    step = row.count("step", low=0)
    dtype = row.choice("dtype", {"bfloat16": "bf16", "fp8": "fp8", "float16": "fp16"})
    kv_dtype = row.choice("kv_cache_dtype", {"bfloat16": "bf16", "fp8": "fp8", "float16": "fp16"})
    kv_bytes = FP8 if kv_dtype == "fp8" else BF16
    label = f"{dtype}, {kv_dtype} KV" if kv_dtype != dtype else str(dtype)
    launches = (_prefill if phase == "prefill" else _decode)(row, batch, isl, heads, kv_heads, dim, window, step, str(dtype), kv_bytes)
    return make_case(row, f"attention_{phase}", phase, launches, op_class="attention", dtype=label, method=METHOD)


def _prefill(row: Row, batch: int, isl: int, heads: int, kv_heads: int, dim: int, window: int, step: int, dtype: str, kv_bytes: int) -> tuple[Launch, ...]:
    """Offsets of the sequences, rotary embedding and the write into the KV cache in one kernel, then fused attention."""
    if kv_bytes == FP8 and row.text("gpu").startswith(_FP8_CONTEXT):
        dtype = "fp8"
    q_bytes = FP8 if dtype == "fp8" else BF16
    tokens = batch * isl
    qkv, q, kv = tokens * (heads + 2 * kv_heads) * dim * BF16, tokens * heads * dim * q_bytes, tokens * kv_heads * dim * kv_bytes
    out = tokens * heads * dim * BF16
    total = qkv + q + 2 * kv + out
    offsets = launch(Stream(elements=batch), reads=[4 * batch], writes=[8 * batch], label="sequence offsets", flop=batch)
    rope = Stream(elements=tokens * (heads + 2 * kv_heads) * dim, instructions=8, sfu=0, itemsize=BF16)
    work = FusedAttention(
        batch=batch, heads=heads, kv_heads=kv_heads, q_len=isl, kv_len=isl + step, head_dim=dim, v_head_dim=dim,
        causal=True, window=window, q_bytes=q_bytes, kv_bytes=kv_bytes, split_keys=False,
    )  # fmt: skip
    return (
        offsets,
        launch(rope, reads=[qkv], writes=[q, kv, kv], dtype="bf16", label="rotary + KV write", flop=4 * rope.elements, footprint=total),
        launch(work, reads=[q, kv, kv], writes=[out], dtype=dtype, pipe="tensor", label="attention prefill", distances=[q + 2 * kv] * 3),
    )


def _decode(row: Row, batch: int, isl: int, heads: int, kv_heads: int, dim: int, window: int, step: int, dtype: str, kv_bytes: int) -> tuple[Launch, ...]:
    """Rotary embedding and the write into the cache, then attention; one of the library's two kernels does the former itself, in as much time."""
    context = isl + step
    seen = min(context, window) if window else context
    q, kv = batch * heads * dim * BF16, batch * kv_heads * seen * dim * kv_bytes
    work = FusedAttention(
        batch=batch, heads=heads, kv_heads=kv_heads, q_len=1, kv_len=context, head_dim=dim, v_head_dim=dim,
        causal=True, window=window, q_bytes=BF16, kv_bytes=kv_bytes,
    )  # fmt: skip
    footprint = 2 * q + 2.0 * kv
    # Collector of version 1.0.0: the cache pool holds keys only and values alias them, so grouped-query rows find V in L2.
    aliased = row.text("version") == "1.0.0" and heads != kv_heads
    distances = [q, footprint, 0.0 if aliased else footprint]
    elements = batch * (heads + 2 * kv_heads) * dim
    rope = Stream(elements=elements, instructions=8, itemsize=BF16)
    return (
        launch(rope, reads=[elements * BF16], writes=[elements * BF16], dtype="bf16", label="rotary + KV write", flop=4 * elements),
        launch(work, reads=[q, kv, kv], writes=[q], dtype=dtype, pipe="tensor", label="attention decode", distances=distances),
    )


_LATENT, _ROTARY = 512, 64  # numbers of a cached position in DeepSeek's latent attention: value and key, and key alone


def mla(row: Row) -> Case:
    """Rotary embedding of a part of the queries and the new latent's way into the cache, then all heads against the latents of each sequence.

    Version 1.0.0 gives all keys of a sequence to one CTA: one sequence takes as long as 32 do.
    """
    batch, heads, isl = (row.count(c) for c in ("batch_size", "num_heads", "isl"))
    context = isl + row.count("step", low=0)
    dtype, kv_bytes = row.choice("mla_dtype", {"bfloat16": "bf16"}), row.choice("kv_cache_dtype", {"bfloat16": BF16})
    q, out = batch * heads * (_LATENT + _ROTARY) * BF16, batch * heads * _LATENT * BF16
    rotary, latent = batch * context * _ROTARY * kv_bytes, batch * context * _LATENT * kv_bytes
    work = FusedAttention(
        batch=batch, heads=heads, kv_heads=1, q_len=1, kv_len=context, head_dim=_LATENT + _ROTARY, v_head_dim=_LATENT,
        values_in_keys=True, q_bytes=BF16, kv_bytes=kv_bytes, split_keys=row.text("version") != "1.0.0",
    )  # fmt: skip
    footprint = q + rotary + latent + out
    rotated = batch * (heads * _ROTARY + _LATENT + _ROTARY)
    rope = Stream(elements=rotated, instructions=8, itemsize=BF16)
    launches = (
        launch(rope, reads=[rotated * BF16], writes=[rotated * BF16], dtype="bf16", label="rotary + KV write", flop=4 * rotated, footprint=footprint),
        launch(
            work,
            reads=[q, rotary, latent],
            writes=[out],
            dtype=str(dtype),
            pipe="tensor",
            label="attention decode",
            distances=[footprint, footprint, footprint],
        ),
    )
    return make_case(row, "mla_decode", "decode", launches, op_class="attention", dtype=str(dtype), method=METHOD)


_COMBINE_VECTOR = 256 * 4  # elements that a block of 256 threads adds at a time


def _routing(tokens: int, experts: int, topk: int, *, first: bool) -> tuple[Launch, ...]:
    """The kernels that choose experts and find each token's place among theirs.

    Up to 256 experts a warp picks a token's largest logits, and places follow from three prefix sums. Beyond, both select
    and sort digit by digit, a block a token and some nine kernels. Version 1.0.0 has many small kernels above 128 experts.
    """
    logits, chosen = tokens * experts * 4.0, tokens * topk * 8.0
    pick = launch(Stream(elements=tokens * experts, instructions=2.0 * topk, sfu=1), reads=[logits], writes=[chosen], label="route", flop=tokens * experts)
    digits = Rows(kind="reduce", rows=tokens, cols=experts, writes_rows=False)
    digit = launch(digits, reads=[logits], writes=[chosen], label="route and place, a digit", flop=tokens * experts)
    place = launch(Stream(elements=tokens * topk, instructions=4), reads=[chosen], writes=[chosen], label="place by expert", flop=tokens * topk)
    if first:
        return (pick, *[place] * (13 if experts > 128 else 5))
    return (digit,) * 9 if experts > 256 else (pick, *[place] * 3)


def moe(row: Row) -> Case:
    """Route, permute, grouped GEMM, activation, grouped GEMM, combine; on the expert-parallel rank with the most tokens."""
    tokens, hidden, inter, topk, experts = (row.count(c) for c in ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts"))
    tp, ep = row.count("moe_tp_size"), row.count("moe_ep_size")
    dtype = row.choice("dtype", {"bfloat16": "bf16", "fp8": "fp8", "float16": "fp16"})
    size = FP8 if dtype == "fp8" else BF16
    distribution = row.text("distribution")
    alpha = 0.0
    if distribution != "balanced":
        try:
            alpha = float(distribution.removeprefix("power_law_"))
        except ValueError:
            raise row.fail("distribution", f"unknown '{distribution}', expected balanced or power_law_ALPHA") from None
    if topk > experts or experts % ep:
        raise row.fail("moe_ep_size" if experts % ep else "topk", f"{experts} experts cannot be chosen {topk} at a time and dealt to {ep} ranks")
    first = row.text("kernel_source") == "moe_torch_flow"  # TensorRT-LLM 1.0.0; later versions name the kernels behind it
    loads = expert_loads(tokens, experts, topk, ep, alpha, spread=not first)
    routed, active = sum(loads), sum(1 for load in loads if load)
    gated = not row.text("kernel_source").endswith("nongated")
    width = max(inter // tp, 1)
    up = width * (2 if gated else 1)
    weights_up, weights_down = active * hidden * up * size, active * width * hidden * size
    rows_in, mid, mid_in, rows_out = routed * hidden * size, routed * up * BF16, routed * width * size, routed * hidden * BF16
    x = tokens * hidden * BF16
    # Drawn loads take turns, so the weights of all draws' experts pass before a weight is read again.
    local = experts // ep * hidden * (up + width) * size
    cycle = min(distinct_draws(tokens, experts, topk, alpha) * (weights_up + weights_down), local) + x + rows_in + mid + mid_in + rows_out

    def grouped(n: int, k: int) -> Gemm:
        return Gemm(m=max(routed, 1), n=n, k=k, a_bytes=size, b_bytes=size, out_bytes=BF16, layout="tn", tokens=loads)

    permute = Stream(elements=routed * hidden, pattern="gather", itemsize=size)
    activate = Stream(elements=routed * width, instructions=8, sfu=2, inputs=2 if gated else 1, itemsize=BF16)
    # A block a token: its threads look up one chosen expert after another, there or not, and add a vector of its row.
    combine = Rows(kind="reduce", rows=tokens, cols=topk * _COMBINE_VECTOR, writes_rows=False, itemsize=BF16)
    quantise = launch(Stream(elements=tokens * hidden, instructions=4, itemsize=BF16), reads=[x], writes=[x / 2], label="quantise", flop=0, footprint=cycle)
    launches = (
        *_routing(tokens, experts, topk, first=first),
        *([quantise] if size == FP8 else []),
        launch(permute, reads=[min(tokens * hidden * size, rows_in)], writes=[rows_in], label="permute", flop=0, footprint=cycle),
        # What a kernel wrote has been followed by all else that it touched when the next one reads it.
        launch(grouped(up, hidden), reads=[rows_in, weights_up], writes=[mid], dtype=dtype, pipe="tensor", label="experts up", distances=[2 * rows_in, cycle]),
        launch(activate, reads=[mid], writes=[mid_in], label="activation", flop=routed * width * 4, distances=[mid + rows_in + weights_up]),
        launch(
            grouped(hidden, width),
            reads=[mid_in, weights_down],
            writes=[rows_out],
            dtype=dtype,
            pipe="tensor",
            label="experts down",
            distances=[mid + mid_in, cycle],
        ),
        launch(combine, reads=[rows_out], writes=[x], label="combine", flop=routed * hidden, distances=[rows_out + mid_in + weights_down]),
    )
    return make_case(row, "moe", "gated" if gated else "non-gated", launches, dtype=str(dtype), method=METHOD)


def collective(row: Row) -> Case:
    op = row.choice("op_name", {"all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter", "alltoall": "all_to_all"})
    size = row.count("message_size") * row.choice("dtype", {"half": 2, "int8": 1, "float": 4})
    link = "pcie" if row.text("gpu") in _PCIE_BOXES or "pcie" in row.text("gpu") else "nvlink"
    work = Collective(op=op, size_bytes=size, num_gpus=row.count("num_gpus"), link=link)
    one = launch(work, reads=[size], writes=[size], pipe="none", label=op)
    return make_case(row, "collective", SMALL if size <= SMALL_BYTES else LARGE, (one,), op_class="collective", dtype=row.text("dtype"), method=METHOD)
