"""Rows that are reduced: softmax, normalisations, reductions. Several passes over memory, a latency chain a row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.laws import resident_fraction
from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts

Values = Any

_FLOP_PER_ELEMENT = 5.0  # softmax: compare, subtract, exponential, add, divide; norms and reductions do about as many


def _row_kernel(t: SimpleNamespace) -> tuple[Values, Values, Values, Values, Values]:
    """How the library walks a row: threads a block, rows a block, passes over memory, loads in a chain a pass, reductions.

    Source: PyTorch 2.1 kernels: softmax_warp_forward up to 1024 columns (aten/src/ATen/native/cuda/PersistentSoftmax.cuh),
    cunn_SoftMaxForward beyond (SoftMax.cu), vectorized_layer_norm_kernel (layer_norm_kernel.cu).
    """
    cols = t.cols
    softmax, norm = t.kind == "softmax", np.isin(t.kind, ("layer_norm", "rms_norm"))
    vector = np.maximum(1.0, 16.0 / np.maximum(t.itemsize, 0.5))
    vector = np.minimum(vector, 4.0)
    warp = softmax & (cols <= 1024)
    block_threads = np.where(cols <= 2048, 256.0, 512.0)
    threads = np.where(warp | norm, 128.0, np.where(softmax, block_threads, 256.0))
    pow2 = 2.0 ** np.ceil(np.log2(np.maximum(cols, 1.0)))
    reduce_threads = np.clip(pow2 / vector, 1.0, 256.0)  # of Reduce.cuh: short rows share a block
    rows_per_block = np.where(warp, np.where(pow2 <= 128, 8.0, 4.0), np.where(softmax | norm, 1.0, 256.0 / reduce_threads))
    passes = np.where(warp, 1.0, np.where(softmax, 3.0, np.where(norm, 2.0, np.where(t.writes_rows, 2.0, 1.0))))
    aligned = cols % vector == 0
    whole = np.floor(cols / (vector * threads)) + np.ceil((cols % (vector * threads)) / threads)
    shifted = 1.0 + np.floor(np.maximum(cols - threads, 0) / (vector * threads)) + np.ceil((np.maximum(cols - threads, 0) % (vector * threads)) / threads)
    # The loads of a norm's pass do not wait for one another: 8 rows of 12288 take no longer than short ones (LLMCompass, A100).
    chain = np.where(warp | norm, 1.0, np.where(softmax, np.where(aligned, whole, shifted), np.ceil(cols / (vector * threads))))
    reductions = np.where(warp, 1.0, np.where(softmax, 4.0, 3.0))
    return threads, rows_per_block, passes, chain, reductions


def price_rows(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of row kernels, (N,) or (designs, N)."""
    f = m.factors
    threads, rows_per_block, passes, chain, reductions = _row_kernel(t)
    sm = m.gpu.sm
    resident_blocks = np.minimum(np.floor(sm.max_threads / threads), np.minimum(sm.max_blocks, 16.0))
    # A reduction with few rows splits them over blocks, as every library does.
    share = np.where(~t.writes_rows, np.clip(np.ceil(t.cols / 4096.0), 1.0, np.maximum(1.0, np.floor(4.0 * m.num_sms / np.maximum(t.rows, 1.0)))), 1.0)
    rows, cols = t.rows * share, t.cols / share
    resident_rows = resident_blocks * rows_per_block
    in_flight_rows = np.minimum(resident_rows * m.num_sms, rows)
    row_bytes = cols * t.itemsize
    missed, written = missed_bytes(t, m)
    # Later passes re-read a row; it is still in L2 unless the rows in flight overflow it.
    between = f.row_reuse_spread * in_flight_rows * row_bytes
    again = (passes - 1.0) * t.rows * t.cols * t.itemsize
    lost = 1.0 - np.exp(-((between / np.maximum(m.l2_bytes, 1.0)) ** f.row_reuse_sharpness))
    resident = resident_fraction(t.total_bytes, m.l2_bytes)
    dram_bytes = missed.sum(axis=0) + written + again * lost * (1.0 - resident)
    l2_bytes = t.total_bytes + again
    pow2 = 2.0 ** np.ceil(np.log2(np.maximum(cols, 1.0)))
    lanes = sm.fp32_lanes
    vector_steps = np.ceil(cols / (4.0 * 128.0))
    cycles = np.select(
        [t.kind == "softmax", np.isin(t.kind, ("layer_norm", "rms_norm"))],
        [
            np.where(
                t.cols <= 1024,
                f.softmax_warp_clk + f.softmax_warp_clk_per_element * pow2 / lanes,
                f.softmax_block_clk + f.softmax_block_clk_per_element * cols / lanes,
            ),
            f.norm_block_clk * f.norm_clk_scale + f.norm_clk_per_step * f.norm_clk_scale * 8.0 * vector_steps * 64.0 / lanes,
        ],
        f.reduce_block_clk / rows_per_block + f.reduce_clk_per_element * cols / lanes,
    )
    sorting = np.where(np.isin(t.kind, ("sort", "top_k")), np.log2(np.maximum(t.cols, 2.0)) ** 2, 1.0)
    math_s = np.ceil(rows / m.num_sms) * cycles * sorting / m.clock_hz
    load_s = f.chain_latency_scale * m.dram_latency_s
    chain_s = np.maximum(rows / (resident_rows * m.num_sms), 1.0) * (passes * chain * load_s + reductions * f.block_reduction_s)
    walk = np.where(t.contiguous, 1.0, 1.0 / f.transpose_efficiency)
    return Parts(
        math_s=np.maximum(math_s, 0.0),
        chain_s=chain_s,
        l2_s=l2_s(l2_bytes, np.minimum(rows, m.num_sms), m),
        dram_s=stream_s(dram_bytes * walk, m),
        latency_s=f.rows_fixed_s,
        executed_flop=t.rows * t.cols * _FLOP_PER_ELEMENT,
        energy_flop=t.rows * t.cols * _FLOP_PER_ELEMENT * passes,
        dram_bytes=dram_bytes * walk,
        l2_bytes=l2_bytes,
        ctas=np.ceil(rows / rows_per_block),
        ctas_per_sm=resident_blocks,
        threads_per_cta=threads,
    )
