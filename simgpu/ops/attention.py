"""Attention as one op."""

from __future__ import annotations

from collections.abc import Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Spec, broadcast, computed_dtype, rule


def _macs(call: Call, outs: tuple[Tensor, ...]) -> float:
    """Scores and weighted sum over the full square, as the literature counts; a mask saves nothing here."""
    batch, heads, queries, dim = call.shape(0)
    _, _, keys, value_dim = call.shape(2)
    return float(batch * heads * queries * keys * (dim + value_dim))


@rule("Attention", macs=_macs)
def attention(call: Call) -> Sequence[Spec]:
    """softmax(q kᵀ · scale + mask) v: q (B, Hq, Sq, D), k (B, Hkv, Skv, D), v (B, Hkv, Skv, Dv), mask → (B, Hq, Sq, Dv)."""
    q, k, v = call.shape(0, rank=4), call.shape(1, rank=4), call.shape(2, rank=4)
    if not len(q) == len(k) == len(v) == 4:
        raise call.fail(f"q {q}, k {k} and v {v} must have 4 dimensions (batch, heads, positions, channels)")
    if q[0] != k[0] or q[3] != k[3] or k[:3] != v[:3]:
        raise call.fail(f"q {q}, k {k} and v {v} do not fit: same batch, same channels of q and k, same heads and positions of k and v")
    if k[1] == 0 or q[1] % k[1]:
        raise call.fail(f"{q[1]} query heads do not divide among {k[1]} key heads")
    if call.has(3):
        broadcast(call, call.shape(3), (q[0], q[1], q[2], k[2]))
    return (((q[0], q[1], q[2], v[3]), computed_dtype(call, 0)),)
