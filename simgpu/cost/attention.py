"""Fused attention: prefill as tiles of queries × keys on chip, decode as a stream over the KV cache.

Source: Dao, "FlashAttention-2", 2023 (tiling, work per block); Hong et al., "FlashDecoding", 2023 (split over keys).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.gemm import energy_per_flop_ratio
from simgpu.cost.laws import overlap
from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts, candidates, fastest

Values = Any

_TILES = ((128, 128), (128, 64), (64, 64))  # queries × keys of a CTA
_BACKWARD = 2.5  # five products instead of two (Dao, "FlashAttention-2", arXiv:2307.08691, section 4.1)
_DECODE_QUERIES = 8  # up to so many query positions the kernel splits the keys instead


def price_attention(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of fused attention kernels, (N,) or (designs, N)."""
    f = m.factors
    ndim = max(1, np.ndim(m.num_sms))
    prefill, names = _prefill(t, m, ndim)
    decode = _decode(t, m)
    short = t.q_len <= _DECODE_QUERIES

    def total(parts: Parts) -> Values:
        return parts.latency_s + overlap(f.overlap_exponent, parts.math_s, parts.l2_s, parts.dram_s)

    return fastest(
        [
            (prefill, np.where(short, np.inf, total(prefill)), names),
            (decode, np.where(short, total(decode), np.inf)[np.newaxis], ["split over keys"]),
        ]
    )


def key_blocks(q_len: Values, kv_len: Values, causal: Values, window: Values, bq: Values, bk: Values) -> Values:
    """Tiles of bq × bk that a causal (or windowed) kernel visits for one head; the tiles wholly masked are skipped.

    >>> float(key_blocks(256.0, 256.0, True, 0.0, 128.0, 64.0))  # 2 + 4
    6.0
    """
    rows = np.ceil(q_len / bq)
    past = np.maximum(kv_len - q_len, 0.0)  # keys that every query sees
    most = np.ceil(kv_len / bk)
    seen = np.where(window > 0, np.minimum(most, np.ceil((window + bq) / bk)), most)
    step = bq / bk
    first = np.ceil(past / bk)
    ramp = np.clip(np.floor((seen - first) / step), 0.0, rows)  # row blocks that see fewer than `seen`
    causal_blocks = rows * 0.0 + ramp * first + step * ramp * (ramp + 1.0) / 2.0 + (rows - ramp) * seen
    return np.where(causal, causal_blocks, rows * seen)


def _prefill(t: SimpleNamespace, m: Machine, ndim: int) -> tuple[Parts, list[str]]:
    f = m.factors
    bq, bk = candidates([x[0] for x in _TILES], [x[1] for x in _TILES], ndim=ndim)
    rate = m.flop_per_clk(t.dtype, t.pipe) * m.clock_hz
    heads = t.batch * t.heads
    blocks = key_blocks(t.q_len, t.kv_len, t.causal, t.window, bq, bk)
    width = np.ceil((t.head_dim + t.v_head_dim) / 32.0) * 32.0 * np.where(t.direction == "bwd", _BACKWARD, 1.0)
    slow = np.where(bq < 128, f.attention_small_tile, 0.0)
    block_s = 2.0 * bq * bk * width / (rate * f.attention_efficiency) * (1.0 + slow)
    rows = np.ceil(t.q_len / bq)
    ctas = heads * rows
    longest = np.ceil(np.minimum(t.kv_len, np.where(t.window > 0, t.window + bq, t.kv_len)) / bk) * block_s + f.attention_cta_s
    work_s = heads * (blocks * block_s + rows * f.attention_cta_s)
    few = rows <= 2
    spread = np.where(few, np.ceil(ctas / m.num_sms) / (ctas / m.num_sms), 1.0)
    math_s = np.maximum(work_s / m.num_sms * spread, longest)
    l2_bytes = heads * blocks * bk * (t.head_dim + t.v_head_dim) * t.kv_bytes + t.total_bytes
    missed, written = missed_bytes(t, m)
    dram_bytes = missed.sum(axis=0) + written
    executed = heads * blocks * 2.0 * bq * bk * width
    parts = Parts(
        math_s=math_s,
        l2_s=l2_s(l2_bytes, np.minimum(ctas, m.num_sms), m),
        dram_s=stream_s(dram_bytes, m),
        latency_s=f.attention_fixed_s,
        executed_flop=executed,
        energy_flop=executed * energy_per_flop_ratio(m, t.dtype, t.pipe),
        dram_bytes=dram_bytes,
        l2_bytes=l2_bytes,
        ctas=ctas,
        ctas_per_sm=1.0,
        threads_per_cta=256.0,
    )
    return parts, [f"flash {x[0]}x{x[1]}" for x in _TILES]


def _decode(t: SimpleNamespace, m: Machine) -> Parts:
    f = m.factors
    group = t.heads / t.kv_heads
    grouped = (group >= 2) & (group <= 32)  # one CTA serves all query heads of a KV head
    base = t.batch * np.where(grouped, t.kv_heads, t.heads)
    slots = m.num_sms * np.where(grouped, f.decode_ctas_per_sm, 2.0 * f.decode_ctas_per_sm)
    context = np.where(t.window > 0, np.minimum(t.kv_len, t.window), t.kv_len)
    splits = np.clip(np.floor(slots / base), 1.0, np.ceil(context / f.decode_split_keys))
    steps = np.ceil(context / splits / 64.0)
    waves = base * splits / slots
    waves = np.where(waves <= 4.0, np.maximum(1.0, np.ceil(waves)), waves)
    cta_s = f.decode_cta_s + np.where(grouped, f.decode_query_s * np.ceil(group / 8.0) * 8.0 * t.head_dim / 1024.0, 0.0)
    math_s = waves * (cta_s + steps * f.decode_step_s * t.head_dim / 128.0)
    cache = t.batch * t.kv_heads * context * (t.head_dim + t.v_head_dim) * t.kv_bytes
    l2_bytes = cache * np.where(grouped, 1.0, group) + t.total_bytes - t.read_bytes[1:3].sum(axis=0)
    missed, written = missed_bytes(t, m)
    window_share = context / np.maximum(t.kv_len, 1.0)
    dram_bytes = missed[0] + missed[1:3].sum(axis=0) * window_share + missed[3:].sum(axis=0) + written
    return Parts(
        math_s=math_s,
        l2_s=l2_s(l2_bytes, np.minimum(base * splits, m.num_sms), m),
        dram_s=stream_s(dram_bytes, m),
        latency_s=f.decode_fixed_s + np.where(splits > 1, f.split_k_s, 0.0),
        executed_flop=t.flop * window_share,
        energy_flop=t.flop * window_share * energy_per_flop_ratio(m, t.dtype, t.pipe),
        dram_bytes=dram_bytes,
        l2_bytes=l2_bytes,
        ctas=base * splits,
        ctas_per_sm=np.maximum(1.0, f.decode_ctas_per_sm),
        threads_per_cta=256.0,
    )
