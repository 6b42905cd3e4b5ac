"""Rows of `simgpu measure`: kernels replayed from a CUDA graph, or eager calls, on the user's own GPU."""

from __future__ import annotations

from simgpu.dtypes import dtype as number_format
from simgpu.kernels.kernel import Conv, FusedAttention, Gemm, Rows, Stream
from simgpu.validation.formats.build import make_case, skip
from simgpu.validation.formats.neusight import ELEMENTWISE
from simgpu.validation.kernels import Case, Launch, launch
from simgpu.validation.score import Skipped
from simgpu.validation.table import Row

COLD = float("inf")
_TENSOR = ("tf32", "bf16", "fp16")
_DTYPES = {name: name for name in ("fp32", *_TENSOR)}


def kernel(row: Row) -> Case | Skipped:
    """One row; networks and rows without a time are skipped with the reason."""
    family, dtype = row.text("family"), str(row.choice("dtype", _DTYPES))
    mode = "cold" if row.text("l2") == "cold" else "fwd"
    if family == "model":
        return skip(row, family, mode, "networks of simgpu measure are compared by `simgpu run`", dtype=dtype)
    if not row.cells.get("time_ms", "").strip():
        return skip(row, family, mode, f"did not run: {row.cells.get('note', '')}", dtype=dtype)
    one = _launch(row, family, dtype, cold=mode == "cold")
    method = "graph_replay" if row.text("runtime") == "graph" else "event_timed_call"
    return make_case(row, family, mode, (one,), dtype=dtype, method=method)


def _launch(row: Row, family: str, dtype: str, *, cold: bool) -> Launch:
    size, pipe = number_format(dtype).bytes, "tensor" if dtype in _TENSOR else "vector"

    def shape(*names: str) -> tuple[int, ...]:
        return tuple(row.count(name) for name in names)

    def made(work: Gemm | Conv | Stream | Rows | FusedAttention, reads: list[float], writes: list[float], pipe: str = "vector") -> Launch:
        return launch(work, reads=reads, writes=writes, dtype=dtype, pipe=pipe, label=family, distances=[COLD] * len(reads) if cold else None)

    if family in ("linear", "bmm"):
        batch, m, n, k = shape("batch", "m", "n", "k")
        work = Gemm(batch=batch, m=m, n=n, k=k, a_bytes=size, b_bytes=size, out_bytes=size, layout="tn" if family == "linear" else "nn")
        return made(work, [batch * m * k * size, batch * n * k * size], [batch * m * n * size], pipe)
    if family == "conv":
        n, c, h, w, k, r, stride, groups = shape("batch", "c", "h", "w", "filters", "r", "stride", "groups")
        p, q = ((x + 2 * (r // 2) - r) // stride + 1 for x in (h, w))
        layout = row.text("layout")
        conv = Conv(
            n=n, c=c, h=h, w=w, k=k, r=r, s=r, p=p, q=q, stride_h=stride, stride_w=stride, groups=groups,
            layout=layout, x_bytes=size, w_bytes=size, y_bytes=size,
        )  # fmt: skip
        depthwise = groups == c
        reads, writes = [n * c * h * w * size, k * (c // groups) * r * r * size], [n * k * p * q * size]
        return made(conv, reads, writes, "vector" if depthwise else pipe)
    if family == "attention":
        batch, heads, kv_heads, q_len, kv_len, dim = shape("batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim")
        attention = FusedAttention(
            batch=batch, heads=heads, kv_heads=kv_heads, q_len=q_len, kv_len=kv_len, head_dim=dim, v_head_dim=dim,
            causal=row.text("causal") == "1", q_bytes=size, kv_bytes=size,
        )  # fmt: skip
        q_size, kv = batch * heads * q_len * dim * size, batch * kv_heads * kv_len * dim * size
        return made(attention, [q_size, kv, kv], [q_size], pipe)
    rows, cols = shape("rows", "cols")
    total = rows * cols * size
    if family in ("softmax", "layernorm"):
        return made(Rows(kind={"softmax": "softmax", "layernorm": "layer_norm"}[family], rows=rows, cols=cols, itemsize=size), [total], [total])
    if family != "elementwise":
        raise row.fail("family", f"unknown '{family}', expected linear, bmm, conv, softmax, layernorm, elementwise, attention or model")
    op = row.text("op")
    if op not in ELEMENTWISE:
        raise row.fail("op", f"unknown '{op}', expected one of {', '.join(ELEMENTWISE)}")
    instructions, sfu = ELEMENTWISE[op]
    inputs = 2 if op == "add" else 1
    return made(Stream(elements=rows * cols, instructions=instructions, sfu=sfu, inputs=inputs, itemsize=size), [total] * inputs, [total])
