"""Fused attention of many queries (prefill, encoders): a CTA holds a tile of queries and walks over tiles of keys.

Source: Dao, "FlashAttention-2", 2023 (tiling); tiles and kernel choice of TensorRT-LLM's fmha_v2 (github.com/NVIDIA/
    TensorRT-LLM, cpp/kernels/fmha_v2/setup.py and fmhaRunner.cpp, Apache-2.0).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.catalogue import WARPGROUP_GENERATIONS
from simgpu.cost.decode import decodes, price_grouped, price_single, price_wide, stored_width, visible_keys
from simgpu.cost.gemm import energy_per_flop_ratio
from simgpu.cost.laws import overlap
from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts, fastest

Values = Any

_ROWS_AT_ONCE = 64.0  # query rows that a group of four warps multiplies; a tile of 128 has two such groups
# Backward: five products instead of two, at 63 instead of 73 % of the peak (Dao, "FlashAttention-2", sections 3.1.2 and 4.1).
_BACKWARD_PRODUCTS, _BACKWARD_SLOWDOWN = 2.5, 0.73 / 0.63
_MOST_CTAS_PER_SM = 3.0  # registers: 128 threads with the accumulators of 64 queries


def price_attention(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of fused attention kernels that share a pipe, (N,) or (designs, N): the fastest of those that can do it."""
    exponent = m.factors.overlap_exponent
    grouped, wide, single = decodes(t)
    several = (t.q_len > 1) | ~(single | wide)  # nobody tiles a single query
    alternatives = []
    for name, parts, allowed in (
        ("flash", _price_context(t, m), several),
        ("decode, grouped heads", price_grouped(t, m, split=False), grouped),
        ("decode, grouped heads, split keys", price_grouped(t, m, split=True), grouped),
        ("decode, 64 heads a CTA", price_wide(t, m), wide),
        ("decode, single heads", price_single(t, m, split=False), single),
        ("decode, single heads, split keys", price_single(t, m, split=True), single),
    ):
        total = parts.latency_s + overlap(exponent, parts.math_s, parts.l2_s, parts.dram_s)
        alternatives.append((parts, np.where(allowed, total, np.inf)[np.newaxis], [name]))
    return fastest(alternatives)


def tiles(t: SimpleNamespace, generation: str) -> tuple[Values, Values]:
    """Queries and keys of a CTA's tile, (N,) each: what fits into shared memory and registers beside each other."""
    width = np.maximum(t.head_dim, t.v_head_dim)
    narrow = np.maximum(t.q_bytes, t.kv_bytes) < 2.0
    if str(t.pipe[0]) != "tensor":
        return np.full_like(width, 64.0), np.full_like(width, 64.0)
    if generation in WARPGROUP_GENERATIONS:
        wide = np.where(narrow, 256.0, 128.0)
        return np.full_like(width, 128.0), np.select([width <= 64, width <= 128], [256.0, wide], wide / 2.0)
    if generation == "Ampere GA100":
        long = t.kv_len >= 64
        return np.where(long & (width <= 64), 128.0, 64.0), np.where(long, 128.0, 32.0)
    # GA10x, Ada, Turing and Volta: less shared memory. Wide heads go through it piece by piece, but not in 8 bits.
    pieces = (t.kv_len > 64) & (width >= 256) & ~narrow
    return np.full_like(width, 64.0), np.select([pieces, (width > 128) & ~narrow], [128.0, 16.0], 32.0)


def _sum_of_ceilings(n: Values, divisor: Values) -> Values:
    """⌈1/d⌉ + ⌈2/d⌉ + … + ⌈n/d⌉.

    >>> float(_sum_of_ceilings(5.0, 2.0))  # 1 + 1 + 2 + 2 + 3
    9.0
    """
    whole = np.floor(n / divisor)
    return divisor * whole * (whole + 1.0) / 2.0 + (n - divisor * whole) * (whole + 1.0)


def key_blocks(q_len: Values, kv_len: Values, causal: Values, window: Values, bq: Values, bk: Values) -> tuple[Values, Values]:
    """Tiles of bq × bk that one head visits, and those of its busiest row of tiles; tiles wholly masked are skipped.

    The last query sees the last key. One of bq and bk is a multiple of the other.

    >>> [float(x) for x in key_blocks(256.0, 256.0, True, 0.0, 128.0, 64.0)]  # 2 + 4
    [6.0, 4.0]
    """
    rows = np.ceil(q_len / bq)
    past = np.maximum(kv_len - q_len, 0.0)  # keys that every query sees
    every = np.ceil(kv_len / bk)
    within = np.where(window > 0, np.minimum(np.ceil((window + bq - 1.0) / bk), every), every)
    tall, flat = np.maximum(bq / bk, 1.0), np.maximum(bk / bq, 1.0)

    def first_rows(n: Values) -> Values:
        """Tiles of the first n rows: row i ends with query i · bq, so it needs ⌈(i · bq + past) / bk⌉."""
        ahead = np.ceil(past / bq)
        low = _sum_of_ceilings(ahead + n, flat) - _sum_of_ceilings(ahead, flat)
        return np.where(flat > 1.0, low, tall * n * (n + 1.0) / 2.0 + n * np.ceil(past / bk))

    # The last row may be cut short; from some row on the window decides.
    uncut = first_rows(rows) - first_rows(rows - 1.0)
    growing = np.clip(np.floor((within * bk - past) / bq), 0.0, rows)
    windowed = first_rows(growing) + (rows - growing) * within
    visited = np.where(window > 0, np.minimum(windowed, first_rows(rows) - uncut + every), first_rows(rows) - uncut + every)
    return np.where(causal, visited, rows * every), np.where(causal, within, every)


def _padded(head_dim: Values, narrow: Values, generation: str) -> Values:
    """Head size as the kernels compute it: a multiple of 32, above 128 the next power of two (in 16 bits, and on Hopper)."""
    whole = (head_dim > 128) & (~narrow | (generation in WARPGROUP_GENERATIONS))
    return np.where(whole, 2.0 ** np.ceil(np.log2(head_dim)), np.ceil(head_dim / 32.0) * 32.0)


def _kernel_slowness(t: SimpleNamespace, narrow: Values, m: Machine) -> Values:
    """Time over that of the kernel for 128-wide heads, for 8-bit kernels that are known to be worse. (N,)"""
    table = {float(k): v for k, v in m.factors.attention_narrow_slowness.items()}
    sizes = sorted(table)
    index = np.minimum(np.searchsorted(sizes, np.maximum(t.head_dim, t.v_head_dim)), len(sizes) - 1)
    return np.where(narrow, np.array([table[size] for size in sizes])[index], 1.0)


def _price_context(t: SimpleNamespace, m: Machine) -> Parts:
    f = m.factors
    tensor = str(t.pipe[0]) == "tensor"
    narrow = np.maximum(t.q_bytes, t.kv_bytes) < 2.0
    bq, bk = tiles(t, m.generation)
    rate = m.flop_per_clk(t.dtype, t.pipe) * m.clock_hz
    warpgroups = tensor and m.generation in WARPGROUP_GENERATIONS
    efficiency = f.attention_warpgroup_efficiency if warpgroups else f.attention_efficiency if tensor else f.attention_vector_efficiency
    efficiency = efficiency * np.where(narrow, f.attention_narrow_efficiency, 1.0)
    slowdown = np.maximum(1.0, 1.0 / efficiency + f.attention_feed * (bq + bk) / (bq * bk))
    key_width, value_width = _padded(t.head_dim, narrow, m.generation), _padded(t.v_head_dim, narrow, m.generation)
    # An exponential a score: hidden behind other CTAs' math, unless the warpgroups of one CTA have the SM to themselves.
    exp_s = 1.0 / (m.gpu.sm.sfu_lanes * m.clock_hz) if warpgroups else 0.0
    backward = t.direction == "bwd"
    products = np.where(backward, _BACKWARD_PRODUCTS, 1.0)
    score_s = 2.0 * (key_width + value_width) / rate * slowdown * products * np.where(backward, _BACKWARD_SLOWDOWN, 1.0) + exp_s
    unit = np.minimum(bq, _ROWS_AT_ONCE)
    blocks, most = key_blocks(t.q_len, t.kv_len, t.causal, t.window, unit, bk)
    block_s = unit * bk * score_s
    tile_bytes = (bq * key_width + bk * (key_width + value_width)) * np.where(narrow, 1.0, np.maximum(t.q_bytes, t.kv_bytes))
    per_sm = np.clip(np.floor(m.gpu.shared.size_bytes / tile_bytes), 1.0, _MOST_CTAS_PER_SM)
    cta_s = f.attention_cta_clk / m.clock_hz / per_sm  # latencies of a CTA's start and end hide behind its neighbours
    heads = t.batch * t.heads
    rows = np.ceil(t.q_len / bq)
    ctas = heads * rows
    slow = _kernel_slowness(t, narrow, m)
    average_s = heads * (blocks * block_s + rows * cta_s) * slow / m.num_sms
    longest_s = (most * block_s * np.minimum(bq / unit, np.ceil(t.q_len / unit)) + cta_s) * slow
    # The SM that gets the longest CTA last is late by so much (Graham's bound for list scheduling).
    late_s = longest_s * (1.0 - 1.0 / np.maximum(ctas / m.num_sms, 1.0))
    missed, written = missed_bytes(t, m)
    seen = np.minimum(1.0, visible_keys(t) / np.maximum(t.kv_len, 1.0))
    # Queries come and outputs go while a CTA has nothing to multiply; backward, the outputs' gradients come with the queries.
    with_queries = np.where(backward, missed[3:].sum(axis=0), 0.0)
    moved_s = np.maximum(stream_s(missed[0] + with_queries + written, m), (t.read_bytes[0] + t.write_bytes) / m.l2_bytes_per_s)
    l2_bytes = heads * blocks * bk * stored_width(t) * t.kv_bytes * unit / bq + t.read_bytes[0] + t.write_bytes
    dram_bytes = missed[0] + missed[1:3].sum(axis=0) * seen + missed[3:].sum(axis=0) + written
    executed = heads * blocks * 2.0 * unit * bk * (key_width + value_width) * products
    return Parts(
        math_s=np.maximum(average_s + late_s, longest_s) + moved_s,
        l2_s=l2_s(l2_bytes, np.minimum(ctas, m.num_sms), m),
        dram_s=stream_s(dram_bytes, m),
        latency_s=f.attention_fixed_s,
        executed_flop=executed,
        energy_flop=executed * energy_per_flop_ratio(m, t.dtype, t.pipe),
        dram_bytes=dram_bytes,
        l2_bytes=l2_bytes,
        ctas=ctas,
        ctas_per_sm=per_sm,
        threads_per_cta=2.0 * bq,
    )
