"""Attention of few queries over a long cache of keys and values: the cache is split over CTAs, its stream decides.

Three kernels. The grouped one of TensorRT-LLM gives a CTA all query heads that share keys and multiplies on tensor cores,
so the cache is read once; its single one gives each query head a CTA of its own. The wide one is that of FlashMLA: tiles
of 64 query rows that share keys (128 heads share the latent of DeepSeek-V3), blocks of keys dealt evenly to all SMs.

Source: Dao et al., "Flash-Decoding for long-context inference", 2023; github.com/NVIDIA/TensorRT-LLM, cpp/tensorrt_llm/
    kernels/decoderMaskedMultiheadAttention (Apache-2.0): decoderXQAImplCommon.h computeMultiBlockCount, multi_block_grid_setup;
    github.com/deepseek-ai/FlashMLA (MIT): docs/20250422-new-kernel-deep-dive.md.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.gemm import energy_per_flop_ratio
from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts

Values = Any

_MOST_QUERIES = 64  # positions; beyond, splitting the keys is not what a library does
_MOST_GROUPED_HEADS = 32
_STEP_KEYS = 64.0  # keys a CTA takes at a time
_SPLIT_KEYS = 128.0  # fewest keys worth a CTA of their own
_WAVES = 8.0  # grouped: CTAs an SM gets, one after another, before splitting stops
_SPLIT_LIMIT = 8.0  # grouped: at most √(8 n) of n possible splits, else adding the parts up dominates
_TILE_ROWS = 64.0  # wide: query rows of a CTA; the results of 64 rows of 512 numbers fill half of an SM's registers
_PARTIAL_BYTES = 4.0  # results that are added up are fp32


def decodes(t: SimpleNamespace) -> tuple[Values, Values, Values]:
    """Which problems the grouped, the wide and the single kernel do: latent attention has its own, the wide one. (N,) booleans"""
    few = (t.q_len <= _MOST_QUERIES) & (t.direction == "fwd")
    wide = few & (t.pipe == "tensor") & t.values_in_keys.astype(bool)
    single = few & ~wide & t.split_keys.astype(bool)
    group = t.heads / t.kv_heads
    return single & (t.pipe == "tensor") & (group >= 2) & (group <= _MOST_GROUPED_HEADS), wide, single


def grouped_splits(context: Values, base_ctas: Values, num_sms: Values) -> Values:
    """CTAs that share the keys of one KV head; fractions stand for neighbours that get unequal shares.

    >>> float(grouped_splits(4096.0, 1.0, 100.0)), float(grouped_splits(1024.0, 400.0, 100.0))  # √(8 · 32); 8 · 100 / 400
    (16.0, 2.0)
    """
    possible = np.maximum(context / _SPLIT_KEYS, 1.0)
    return np.clip(np.minimum(possible, np.sqrt(_SPLIT_LIMIT * possible)), 1.0, np.maximum(_WAVES * num_sms / base_ctas, 1.0))


def visible_keys(t: SimpleNamespace) -> Values:
    """Keys that any of the queries sees: all, or those within the window of the last queries. (N,)"""
    return np.where(t.window > 0, np.minimum(t.kv_len, t.window + t.q_len - 1.0), t.kv_len)


def stored_width(t: SimpleNamespace) -> Values:
    """Numbers that the cache holds for a position and KV head: key and value, or a key that the value is part of. (N,)"""
    return t.head_dim + np.where(t.values_in_keys.astype(bool), 0.0, t.v_head_dim)


def _waves(ctas: Values, num_sms: Values) -> Values:
    """CTAs of the busiest SM; with many they even out."""
    share = ctas / num_sms
    return np.where(share <= 4.0, np.maximum(np.ceil(share), 1.0), share)


def price_grouped(t: SimpleNamespace, m: Machine, *, split: bool) -> Parts:
    """All query heads of a KV head in one CTA, one CTA to an SM."""
    f = m.factors
    keys, base = visible_keys(t), t.batch * t.kv_heads
    splits = grouped_splits(keys, base, m.num_sms) if split else np.ones_like(keys)
    width = _padded_width(t) / 128.0
    rows = np.ceil(t.heads / t.kv_heads * t.q_len / 8.0)
    waves_s = _waves(base * splits, m.num_sms) * np.where(t.kv_bytes < 2.0, f.decode_narrow_time, 1.0) / m.clock_hz
    # A CTA starts, fetches its queries and stores its result while nothing streams; then keys and values pass in steps.
    idle_s = waves_s * (f.decode_cta_clk + f.decode_query_clk * (rows - 1.0) * width)
    steps_s = waves_s * np.ceil(keys / splits / _STEP_KEYS) * f.decode_step_clk * width
    return _parts(t, m, ctas=base * splits, split=split, idle_s=idle_s + f.decode_fixed_s, steps_s=steps_s, cache_reads=1.0)


def price_wide(t: SimpleNamespace, m: Machine) -> Parts:
    """64 rows of queries that share keys in a CTA, one CTA to an SM, and as many keys to each SM if keys may be split."""
    f = m.factors
    keys = visible_keys(t)
    tiles = np.ceil(t.heads / t.kv_heads * t.q_len / _TILE_ROWS)
    base = t.batch * t.kv_heads * tiles
    blocks = base * np.ceil(keys / _STEP_KEYS)
    splits = t.split_keys.astype(bool)
    ctas = np.where(splits, np.minimum(blocks, np.maximum(base, m.num_sms)), base)
    steps = np.where(splits, _waves(blocks, m.num_sms), _waves(base, m.num_sms) * blocks / base)
    flop = blocks * 2.0 * _TILE_ROWS * _STEP_KEYS * (t.head_dim + t.v_head_dim)  # a tile is multiplied whole
    step_s = np.maximum(flop / blocks / (m.flop_per_clk(t.dtype, t.pipe) * f.decode_wide_efficiency), f.decode_step_clk) / m.clock_hz
    partial_bytes = np.where(ctas > base, ctas * _TILE_ROWS * t.v_head_dim * _PARTIAL_BYTES, 0.0)
    missed, written = missed_bytes(t, m)
    # Queries come and results go while a CTA has nothing to multiply; partial results are written and read again.
    moved_s = np.maximum(stream_s(missed[0] + written, m), (t.read_bytes[0] + t.write_bytes) / m.l2_bytes_per_s) + 2.0 * partial_bytes / m.l2_bytes_per_s
    starts_s = (1.0 + base / m.num_sms) * f.decode_cta_clk / m.clock_hz  # even shares cross from one sequence into the next
    parts = _parts(
        t,
        m,
        ctas=ctas,
        split=False,
        idle_s=starts_s + moved_s + f.decode_fixed_s + np.where(ctas > base, f.decode_split_s, 0.0),
        steps_s=steps * step_s,
        cache_reads=tiles,
    )
    return replace(parts, executed_flop=flop, energy_flop=flop * energy_per_flop_ratio(m, t.dtype, t.pipe))


def price_single(t: SimpleNamespace, m: Machine, *, split: bool) -> Parts:
    """One CTA for each query head; heads that share keys read them from L2 again."""
    f = m.factors
    keys, base = visible_keys(t), t.batch * t.heads * t.q_len
    most = np.maximum(keys / (_SPLIT_KEYS * 128.0 / t.head_dim), 1.0)
    splits = np.clip(m.num_sms / base, 1.0, most) if split else np.ones_like(keys)
    # A lone CTA is no faster than two on an SM.
    load_s = np.maximum(base * splits / m.num_sms, 2.0) * np.where(t.kv_bytes < 2.0, f.decode_head_narrow_time, 1.0) / m.clock_hz
    outside_s = load_s * f.decode_head_cta_clk
    steps_s = load_s * keys / splits / _STEP_KEYS * f.decode_head_step_clk * _padded_width(t) / 128.0
    # Half of what a CTA does outside its steps hides behind its neighbours' stream.
    return _parts(
        t,
        m,
        ctas=base * splits,
        split=split,
        idle_s=outside_s / 2.0 + f.decode_head_fixed_s,
        steps_s=outside_s / 2.0 + steps_s,
        cache_reads=t.heads / t.kv_heads * t.q_len,
    )


def _padded_width(t: SimpleNamespace) -> Values:
    """Mean head size of keys and values; above 128 as the next power of two."""
    width = (t.head_dim + t.v_head_dim) / 2.0
    return np.where(width > 128.0, 2.0 ** np.ceil(np.log2(width)), width)


def _parts(t: SimpleNamespace, m: Machine, *, ctas: Values, split: bool, idle_s: Values, steps_s: Values, cache_reads: Values) -> Parts:
    """Parts of a decode kernel.

    Args:
        split: CTAs share the keys of a head, so their results have to be added up.
        idle_s, steps_s: Time in which no keys stream, and time to work through the keys. [s]
        cache_reads: How often each byte of the cache comes from L2.
    """
    f = m.factors
    missed, written = missed_bytes(t, m)
    keys = visible_keys(t)
    cache_bytes = t.batch * t.kv_heads * keys * stored_width(t) * t.kv_bytes
    # Operands may be the whole cache, or only what the window shows of it.
    cache_missed = missed[1:3].sum(axis=0) * np.minimum(1.0, cache_bytes / np.maximum(t.read_bytes[1:3].sum(axis=0), 1.0))
    dram_bytes = missed[0] + missed[3:].sum(axis=0) + written + cache_missed
    l2_bytes = cache_bytes * cache_reads + t.read_bytes[0] + t.read_bytes[3:].sum(axis=0) + t.write_bytes
    flop = t.flop * keys / np.maximum(t.kv_len, 1.0)
    efficiency = f.attention_efficiency if str(t.pipe[0]) == "tensor" else f.attention_vector_efficiency
    peak_flop_per_s = m.flop_per_clk(t.dtype, t.pipe) * m.clock_hz * m.num_sms
    return Parts(
        math_s=np.maximum(steps_s, flop / (peak_flop_per_s * efficiency)),
        l2_s=l2_s(l2_bytes, np.minimum(ctas, m.num_sms), m),
        dram_s=stream_s(dram_bytes, m) / f.decode_stream_fraction,
        latency_s=idle_s + (f.decode_split_s if split else 0.0),
        executed_flop=flop,
        energy_flop=flop * energy_per_flop_ratio(m, t.dtype, t.pipe),
        dram_bytes=dram_bytes,
        l2_bytes=l2_bytes,
        ctas=ctas,
        ctas_per_sm=1.0,
        threads_per_cta=256.0,
    )
