"""Matrix multiplication: tiles × split-K of the generation's library, the fastest counts.

One law serves CUDA cores and tensor cores: CTAs of bm × bn outputs are dealt to the SMs, the busiest SM decides, and
resident accumulators hide latency. Convolutions (implicit GEMM, Winograd) use the same law.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.catalogue import CUBLASLT_YEAR, EPILOGUE, gemm_splits, gemm_tiles
from simgpu.cost.laws import busiest_sm_s, overlap
from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts, candidates, fastest
from simgpu.cost.translation import long_rows_s, sweeps_s

Values = Any

# Energy of a FLOP on CUDA cores over that of FP32. fp16 and fp64: guesses. int8: T4 multiplies on CUDA cores (dp4a, DeepBench) at its full clock.
_VECTOR_ENERGY = {"fp16": 0.6, "fp64": 2.0, "int8": 0.12}
_SCALED_COLUMNS = 128.0  # columns of a block of scales in DeepSeek-V3's format, arXiv:2412.19437, section 3.3.2
_TENSOR_BITS = {"fp4": 4.0, "int4": 4.0, "int8": 8.0, "tf32": 32.0, "fp64": 64.0}  # tensor cores: energy follows the width; 16 for the others


def energy_per_flop_ratio(m: Machine, dtype: Any, pipe: Any) -> Values:
    """Energy of one FLOP relative to FP32 FMA on CUDA cores: tensor cores share operand fetches. (N,)"""
    bits = np.select([dtype == name for name in _TENSOR_BITS], list(_TENSOR_BITS.values()), 16.0)
    wide = np.where(np.isin(dtype, ("fp8", "fp8_e5m2")), m.factors.fp8_energy_ratio, bits / 16.0)  # sums stay FP32, however narrow the factors
    vector = np.select([dtype == name for name in _VECTOR_ENERGY], list(_VECTOR_ENERGY.values()), 1.0)
    return np.where(pipe == "tensor", m.factors.tensor_energy_ratio * wide, vector)


def without_padding(executed_flop: Values, asked_flop: Values, m: Machine) -> Values:
    """FLOP that cost energy: multiplying the zeros with which tiles are filled up switches hardly any transistors."""
    asked = np.minimum(asked_flop, executed_flop)
    return asked + m.factors.padding_energy_ratio * (executed_flop - asked)


def summed_at_once(t: SimpleNamespace) -> Values:
    """Multiply-adds that one instruction of the CUDA cores sums into one output: four bytes in dp4a. (N,)"""
    return np.where((t.pipe != "tensor") & (t.dtype == "int8"), 4.0, 1.0)


def tile_work(
    m: Machine,
    *,
    rows: Values,
    cols: Values,
    depth: Values,
    batch: Values,
    bm: Values,
    bn: Values,
    split: Values,
    flop_per_clk: Values,
    efficiency: Values,
    latency_clk: Values,
    feed: Values,
    epilogue_clk: Values,
    row_bytes: Values,
    col_bytes: Values,
    out_bytes: Values,
    depth_step: Values,
    split_k_s: Values,
    penalty: Values = 0.0,
    widen_per_step: Values = 0.0,
    row_tiles: Values | None = None,
    summed_at_once: Values = 1.0,
) -> tuple[Parts, Values]:
    """The SM, L2 and split-K parts of a tiled GEMM; DRAM is the caller's.

    Args:
        rows, cols, depth, batch: The problem M, N, K and how many of them.
        bm, bn, split: Tile and split-K; a leading axis of alternatives.
        efficiency: Share of the pipe's peak that an infinitely large tile reaches.
        latency_clk: Latency to hide: with this times the FMAs a clock of resident outputs an SM reaches half its rate. [clk]
        feed: Times each operand byte crosses shared memory without being hidden by the math.
        epilogue_clk: Fill, drain and epilogue of a CTA, per output. [clk]
        split_k_s: Fixed cost of a split. [s]
        penalty: Extra share of time, e.g. for misaligned operands.
        row_tiles: Tiles of bm rows, where the rows are not one block (each expert rounds up its own).
        summed_at_once: Multiply-adds of an instruction that go to one output (dp4a: 4); outputs, not multiply-adds, hide latency.
        widen_per_step: Clocks a step of depth that CUDA cores need to widen narrow operands first. [clk]
    Returns:
        Parts without DRAM, and the number of CTAs.
    """
    steps = np.ceil(depth / split / depth_step) * depth_step
    grid = (np.ceil(rows / bm) if row_tiles is None else row_tiles) * np.ceil(cols / bn) * batch
    ctas = grid * split
    outputs = bm * bn
    per_sm = np.clip(np.floor(m.gpu.sm.registers / (2.0 * outputs)), 1.0, np.minimum(16.0, m.gpu.sm.max_blocks))
    math_clk = 2.0 * outputs * steps / flop_per_clk * np.maximum(1.0, 1.0 / efficiency + penalty)
    feed_clk = feed * (bm * row_bytes + bn * col_bytes) * steps / m.gpu.shared.bandwidth_bytes_per_clk
    cta_s = (math_clk + feed_clk + epilogue_clk * outputs + widen_per_step * steps) / m.clock_hz
    math_s = busiest_sm_s(
        ctas, cta_s, num_sms=m.num_sms, per_sm=per_sm, accumulators=outputs, half_accumulators=latency_clk * flop_per_clk / (2.0 * summed_at_once)
    )
    # Thread-block clusters (Hopper on) fetch a tile once for several SMs.
    shared_fetch = np.where(bm * bn >= 128.0 * 128.0, m.factors.cluster_multicast, 1.0)
    operand_bytes = ctas * (np.minimum(bm, rows) * row_bytes + np.minimum(bn, cols) * col_bytes) * steps / shared_fetch  # padding is not loaded
    partial_bytes = np.where(split > 1, 8.0 * split * rows * cols * batch, 0.0)  # FP32 partials, written and read again
    l2_bytes = operand_bytes + rows * cols * batch * out_bytes
    split_s = np.where(split > 1, split_k_s + partial_bytes / m.l2_bytes_per_s, 0.0)
    executed_flop = 2.0 * outputs * steps * ctas
    parts = Parts(
        math_s=math_s,
        l2_s=l2_s(l2_bytes, np.minimum(ctas, m.num_sms), m),
        latency_s=split_s,
        executed_flop=executed_flop,
        energy_flop=without_padding(executed_flop, 2.0 * rows * cols * depth * batch, m),
        l2_bytes=l2_bytes + partial_bytes,
        ctas=ctas,
        ctas_per_sm=per_sm,
        dram_bytes=None,
        threads_per_cta=np.clip(outputs / 64.0, 32.0, 256.0),
    )
    return parts, ctas


def _rescale_clk(t: SimpleNamespace, m: Machine, outputs: Values) -> Values:
    """Clocks a step of depth for block-scaled formats: CUDA cores rescale the accumulators once per block. (..., N)"""
    blocks = np.where(t.scale_block > 0, 1.0 / np.maximum(t.scale_block, 1.0), 0.0)
    return blocks * outputs * m.factors.rescale_instructions / m.gpu.sm.fp32_lanes


def _expert_tiles(t: SimpleNamespace, bms: list[int], ndim: int) -> Values:
    """Row tiles of a grouped GEMM for each tile height: every expert rounds its tokens up. (alternatives, ..., N)"""
    tiles = {bm: np.array([sum(-(-tokens // bm) for tokens in problem) for problem in t.tokens], dtype=float) for bm in set(bms)}
    stacked = np.stack([tiles[bm] for bm in bms])
    return stacked if ndim == 1 else stacked[:, np.newaxis, :]


def price_gemm(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of GEMMs that share pipe, dtype, layout and the kind of kernel (batched, grouped, weight-only, block-scaled), (N,) or (designs, N)."""
    f = m.factors
    ndim = max(1, np.ndim(m.num_sms))
    tensor = t.pipe[0] == "tensor"
    batched = bool(t.batch[0] > 1)
    # PyTorch calls cuBLASLt where a bias is to be added (since 1.11), which has only some of cuBLAS's kernels for old chips.
    epilogue = bool(t.bias[0]) and m.generation in EPILOGUE and m.library_year >= CUBLASLT_YEAR
    tiles = gemm_tiles(m.generation, tensor=tensor, batched=batched, epilogue=epilogue, library_year=m.library_year)
    whole = batched or bool(t.tokens[0]) or bool(t.scale_block[0] > 0) or (tensor and str(t.dtype[0]) == "int8")
    splits = gemm_splits(m.generation, tensor=tensor, whole=whole, narrow=bool(t.b_bytes[0] < t.a_bytes[0]), library_year=m.library_year)
    pairs = [(tile, s) for tile in tiles for s in splits]
    bm, bn, split = candidates([p[0].bm for p in pairs], [p[0].bn for p in pairs], [p[1] for p in pairs], ndim=ndim)
    missed, written = missed_bytes(t, m)
    dram_bytes = missed.sum(axis=0) + written
    misaligned = ((t.n * t.b_bytes % 16 != 0) | (t.k * t.a_bytes % 16 != 0)).astype(float)
    narrow = (t.b_bytes < t.a_bytes).astype(float)  # weight-only quantisation: CUDA cores widen the weights before the math
    parts, ctas = tile_work(
        m,
        rows=t.m,
        cols=t.n,
        depth=t.k,
        batch=t.batch,
        bm=bm,
        bn=bn,
        split=split,
        flop_per_clk=m.flop_per_clk(t.dtype, t.pipe),
        efficiency=(f.tensor_efficiency if tensor else f.fma_efficiency) * (f.grouped_efficiency if t.tokens[0] else 1.0),
        latency_clk=(f.tensor_latency_clk + f.rescale_latency_clk * (t.scale_block > 0)) if tensor else f.fma_latency_clk,
        feed=f.tensor_feed if tensor else f.epilogue_feed if epilogue else f.fma_feed,
        epilogue_clk=f.tensor_epilogue_clk if tensor else f.fma_epilogue_clk,
        row_bytes=t.a_bytes,
        col_bytes=t.b_bytes,
        out_bytes=t.out_bytes,
        depth_step=32.0 if tensor else 8.0,
        split_k_s=f.tensor_split_k_s if tensor else f.split_k_s,
        penalty=misaligned * (f.tensor_misaligned if tensor else f.fma_misaligned),
        widen_per_step=narrow * bn / f.dequantise_per_clk + _rescale_clk(t, m, bm * bn),
        summed_at_once=summed_at_once(t),
        row_tiles=_expert_tiles(t, [tile.bm for tile, _ in pairs], ndim) if t.tokens[0] else None,
    )
    tile_steps, columns = ctas * np.ceil(t.k / split / 8.0), parts.ctas_per_sm * m.num_sms * bn
    walks_s = long_rows_s(t, m, tile_steps=tile_steps, bm=bm, bn=bn)
    # Kernels of a later cuBLAS walk several rows of tiles at a time (grids 4 wide), and P4 shows no sweeps that miss in them.
    if epilogue or m.library_year < CUBLASLT_YEAR:
        walks_s = walks_s + sweeps_s(t, m, tile_steps=tile_steps, columns=columns, bm=bm, bn=bn)
    parts = replace(parts, l2_s=np.hypot(parts.l2_s, walks_s))
    ruled_out = (split > 1) & ((ctas / split >= 4.0 * m.num_sms) | (t.k / split < 64.0))
    if t.scale_block[0] > 0:  # a tile's columns share one block of scales
        ruled_out = ruled_out | (bn > np.maximum(t.scale_block, _SCALED_COLUMNS))
    # Eight steps of k are one sector of each row: CUDA-core kernels stream an operand that lies along k in such slices.
    sliced = 0.0 if tensor else sum(np.isin(t.layout, ("tn", one)) * missed[i] for i, one in enumerate(("nn", "nt")))
    dram_s = stream_s(dram_bytes + sliced * (1.0 / f.slice_dram_fraction - 1.0), m) / f.gemm_dram_efficiency
    total = parts.latency_s + overlap(f.overlap_exponent, parts.math_s, parts.l2_s, dram_s) + np.where(ruled_out, np.inf, 0.0)
    best = fastest([(parts, total, [f"{tile.name}{f' split-K {s}' if s > 1 else ''}" for tile, s in pairs])])
    return replace(
        best,
        latency_s=best.latency_s + f.gemm_fixed_s + f.dram_ramp_s * dram_bytes / np.maximum(t.total_bytes, 1.0),
        dram_s=dram_s,
        dram_bytes=dram_bytes,
        energy_flop=best.energy_flop * energy_per_flop_ratio(m, t.dtype, t.pipe) * np.where(t.accumulator == "fp16", f.half_accumulator_energy, 1.0),
    )
