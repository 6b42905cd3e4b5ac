"""Fused attention: softmax(q kᵀ) v in one kernel."""

from __future__ import annotations

from dataclasses import replace

from simgpu.graph.ir import Op, Tensor
from simgpu.kernels.context import Layout, Lowering, int_attr, rule
from simgpu.kernels.kernel import Access, FusedAttention


def _heads(op: Op, x: Tensor, attr: str) -> tuple[int, int, int, int]:
    """(batch, heads, length, head size) of [B, H, S, D], or of [B, S, H · D] with the heads in an attribute."""
    if len(x.shape) == 4:
        batch, heads, length, size = x.shape
        return batch, heads, length, size
    batch, length, width = x.shape
    heads = max(int_attr(op, attr, 1), 1)
    return batch, heads, length, width // heads


@rule("Attention")
def attention(low: Lowering, op: Op) -> None:
    """Any strides whose last axis is contiguous are taken; the output lies as [B, S, H, D], so that merging its heads is free.

    Source: PyTorch `scaled_dot_product_attention`: flash and memory-efficient kernels return the transpose of a
    (batch, length, heads, size) tensor.
    """
    q, k, v = (low.input(op, i) for i in range(3))
    batch, heads, q_len, size = _heads(op, q, "q_num_heads")
    _, kv_heads, kv_len, _ = _heads(op, k, "kv_num_heads")
    v_size = _heads(op, v, "kv_num_heads")[3]
    out = low.tensor(op.outputs[0])
    window = int_attr(op, "window")
    key, value = _operand(low, op, k), _operand(low, op, v)
    shared = key.tensor == value.tensor and _part_of(low, v, k)
    work = FusedAttention(
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        q_len=q_len,
        kv_len=kv_len,
        head_dim=size,
        v_head_dim=v_size,
        causal=bool(int_attr(op, "is_causal")),
        window=window if 0 < window < kv_len else 0,
        q_bytes=low.itemsize(q),
        kv_bytes=low.itemsize(k),
        values_in_keys=shared,
    )
    # What both are made of is read once: the keys' operand is then what is not a value too.
    reads = [_operand(low, op, q), replace(key, bytes=max(key.bytes - value.bytes, 0.0)) if shared else key, value]
    reads += [low.access(t) for t in dict.fromkeys(op.inputs[3:]) if t]
    label = "attention decode" if q_len == 1 else "attention"
    low.emit(op, work, label=label, reads=reads, writes=[low.access(t) for t in op.outputs if t], math_=low.product_math(q, k))
    if len(out.shape) == 4 and q_len > 1:
        low.place(out.name, Layout(out.name, (heads * q_len * v_size, v_size, heads * v_size, 1)))


def _part_of(low: Lowering, x: Tensor, whole: Tensor) -> bool:
    """Whether a tensor is another one, or a slice of it."""
    name = x.name
    while name != whole.name:
        maker = low.graph.producer.get(name)
        if maker is None or maker.type not in ("Slice", "Identity"):
            return False
        name = maker.inputs[0]
    return True


def _operand(low: Lowering, op: Op, x: Tensor) -> Access:
    strides = low.strides(x.name)
    if strides is None or strides[-1] == 1:
        return low.access(x.name)
    return low.contiguous(op, x.name)
