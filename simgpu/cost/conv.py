"""Convolution: implicit GEMM, Winograd fused and non-fused, direct depthwise; the fastest counts, as cuDNN's benchmark picks.

Source of the structure: the grids that cuDNN's kernels launch in the NeuSight measurements, row by row, and the times of DeepBench;
Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016 (Winograd).
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.conv_catalogue import WINOGRAD_TILES, ConvLibrary, conv_library, implicit_gemm_splits, implicit_gemm_tiles
from simgpu.cost.gemm import energy_per_flop_ratio, summed_at_once, tile_work, without_padding
from simgpu.cost.laws import busiest_sm_s, overlap, resident_fraction
from simgpu.cost.machine import Machine
from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from simgpu.cost.parts import Parts, candidates, fastest

Values = Any
Alternative = tuple[Parts, Values, list[str]]  # parts, where it applies, names; dram_bytes None = the compulsory traffic

# Non-fused Winograd: filter size and outputs a tile along one axis, as cuDNN's kernels are named (winograd_..._9x9_5x5 for 5x5).
_WINOGRAD_SIZES = ((3, 4), (5, 5))
# Two CTAs of fused Winograd fit where an SM has 96 KiB of shared memory; inferred from P100 and T4, whose 64 KiB hold one.
_FUSED_SHARED_BYTES = 48.0 * 1024.0
# None of the 54 rows of NeuSight whose transformed images take more runs this algorithm, nor do the 5x5 convolutions of RepVGG
# (arXiv:2101.03697, table 1: 2.9 GiB); its 3x3 ones do (1.7 GiB). Offsets of 32 bits would explain it.
_ADDRESSABLE_BYTES = 2.0**31


def price_conv(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of convolutions that share a pipe and a direction, (N,) or (designs, N)."""
    f = m.factors
    tensor = bool(t.pipe[0] == "tensor")
    direction = str(t.direction[0])
    library = conv_library(m.generation, m.library_year)
    missed, written = missed_bytes(t, m)
    dram_bytes = missed.sum(axis=0) + written
    dram_s = stream_s(dram_bytes, m)

    found = [_depthwise(t, m, direction), *_products(t, m, library, direction, tensor)]
    grouped = (t.groups > 1) & (t.groups < t.c)
    if not tensor and np.any(grouped):
        if not library.takes_groups:
            found = [(parts, possible & ~grouped, names) for parts, possible, names in found]
        found += _group_by_group(t, m, library, direction, grouped)
    alternatives = []
    for parts, possible, names in found:
        if parts.dram_bytes is None:  # reads x and w once and writes y once, beside what the algorithm has of its own
            parts = replace(parts, dram_s=parts.dram_s + dram_s, dram_bytes=dram_bytes)
        time = parts.latency_s + overlap(f.overlap_exponent, parts.math_s, parts.l2_s, parts.dram_s)
        alternatives.append((parts, np.where(possible, time, np.inf), names))
    best = fastest(alternatives)
    return replace(
        best,
        latency_s=best.latency_s + f.conv_fixed_s,
        energy_flop=best.energy_flop * energy_per_flop_ratio(m, t.dtype, t.pipe),
    )


def _products(t: SimpleNamespace, m: Machine, library: ConvLibrary, direction: str, tensor: bool) -> list[Alternative]:
    """The algorithms that the library has for dense and grouped convolutions."""
    found = [_implicit_gemm(t, m, library, direction, tensor)]
    if not tensor and library.winograd_blocks and direction != "bwd_weight":
        found.append(_winograd_fused(t, m, library, direction))
    if not tensor and library.winograd_non_fused:
        found += [_winograd_non_fused(t, m, direction, taps, outputs) for taps, outputs in _WINOGRAD_SIZES]
    if direction == "bwd_data" and not tensor:
        found.append(_scatter(t, m))
    return found


def _group_by_group(t: SimpleNamespace, m: Machine, library: ConvLibrary, direction: str, grouped: Any) -> list[Alternative]:
    """Each group as a dense convolution, one launch after the other: the only way before cuDNN 7.1, and Winograd's way for wide groups.

    Source: ShuffleNet v2 (arXiv:1807.11164) table 2, cuDNN 7.0: 4 groups of 128 channels take 4 times what one takes;
    RepVGG (arXiv:2101.03697) table 4, cuDNN 7.5: 3x3 convolutions of 2 and 4 groups outrun the direct peak.
    """
    shares = {"c": t.c / t.groups, "k": t.k / t.groups, "groups": np.ones_like(t.groups)}
    shares |= {name: getattr(t, name) / t.groups for name in ("read_bytes", "write_bytes", "total_bytes")}
    one = SimpleNamespace(**{**vars(t), **shares})
    result = []
    for parts, possible, names in _products(one, m, library, direction, tensor=False):
        scaled = {name: getattr(parts, name) * t.groups for name in ("math_s", "l2_s", "dram_s", "executed_flop", "energy_flop", "l2_bytes")}
        if parts.dram_bytes is not None:
            scaled["dram_bytes"] = parts.dram_bytes * t.groups
        latency_s = parts.latency_s * t.groups + (t.groups - 1.0) * m.factors.extra_kernel_s
        result.append((replace(parts, latency_s=latency_s, **scaled), possible & grouped, [f"each group: {name}" for name in names]))
    return result


def _group_sizes(t: SimpleNamespace) -> tuple[Values, Values]:
    return t.c / t.groups, t.k / t.groups


def _pad(values: Values, to: float) -> Values:
    return np.ceil(values / to) * to


def _implicit_gemm(t: SimpleNamespace, m: Machine, library: ConvLibrary, direction: str, tensor: bool) -> Alternative:
    """M = output pixels, N = filters, K = c·r·s, gathered on the fly; each gradient is its own GEMM."""
    f = m.factors
    ndim = max(1, np.ndim(m.num_sms))
    tiles = implicit_gemm_tiles(m.generation, direction, tensor=tensor)
    splits = implicit_gemm_splits(library, direction, tensor=tensor)
    packs = (1, 64) if np.any((t.groups > 1) & (t.groups < t.c)) else (1,)  # channels to which groups are joined, block-diagonal
    pairs = [(tile, s, pack) for pack in packs for tile in tiles for s in splits]
    bm, bn, split, channels = candidates([p[0][0] for p in pairs], [p[0][1] for p in pairs], [p[1] for p in pairs], [p[2] for p in pairs], ndim=ndim)
    c, k = _group_sizes(t)
    joined = np.clip(np.floor(channels / np.maximum(c, k)), 1.0, t.groups)
    c, k = c * joined, k * joined
    if tensor:  # NHWC tensor-core kernels want channels in whole 16-byte vectors
        c, k = _pad(c, 8.0), _pad(k, 8.0)
    taps = t.r * t.s
    batch = np.ceil(t.groups / joined)
    if direction == "fwd":
        rows, cols = t.n * t.p * t.q, k
        depth = _pad(taps * _pad(c, library.tap_channels), 32.0) if tensor else taps * c
        row_bytes, col_bytes, out_bytes = t.x_bytes, t.w_bytes, t.y_bytes
        gain: Values = 1.0
    elif direction == "bwd_data":  # one GEMM for each phase of the stride, padded to the largest
        phase = np.ceil(t.r / t.stride_h) * np.ceil(t.s / t.stride_w)
        empty = (taps == 1) & (t.stride_h * t.stride_w > 1) if tensor else np.zeros(len(t.n), dtype=bool)
        rows = np.where(empty, t.n * np.ceil(t.h / t.stride_h) * np.ceil(t.w / t.stride_w), t.n * t.h * t.w)
        cols, depth = c, _pad(phase * _pad(k, library.tap_channels), 32.0) if tensor else phase * k
        row_bytes, col_bytes, out_bytes = t.y_bytes, t.w_bytes, t.x_bytes
        gain = f.tensor_backward_data_efficiency if tensor else f.backward_data_efficiency
    else:
        rows, cols, depth = (c, k, t.n * _pad(t.p * t.q, 8.0)) if tensor else (taps * c, k, t.n * _pad(t.p * t.q, 8.0))
        batch = batch * taps if tensor else batch  # tensor-core tiles do not span filter taps
        row_bytes, col_bytes, out_bytes = t.x_bytes, t.y_bytes, t.w_bytes
        gain = f.tensor_backward_weight_efficiency if tensor else f.backward_weight_efficiency * np.where(taps == 1, f.backward_weight_pointwise, 1.0)
    parts, ctas = tile_work(
        m,
        rows=rows,
        cols=cols,
        depth=depth,
        batch=batch,
        bm=bm,
        bn=bn,
        split=split,
        flop_per_clk=m.flop_per_clk(t.dtype, t.pipe),
        efficiency=gain * (f.conv_tensor_efficiency if tensor else f.conv_efficiency),
        latency_clk=f.conv_tensor_latency_clk if tensor else f.conv_latency_clk,
        feed=f.conv_tensor_feed if tensor else f.conv_feed,
        epilogue_clk=f.conv_tensor_epilogue_clk if tensor else f.conv_epilogue_clk,
        row_bytes=row_bytes,
        col_bytes=col_bytes,
        out_bytes=out_bytes,
        depth_step=8.0,
        split_k_s=f.conv_tensor_split_k_s if tensor else f.split_k_s,
        summed_at_once=summed_at_once(t),
    )
    if tensor and direction == "bwd_weight" and library.converts_weights:
        parts = replace(parts, latency_s=parts.latency_s + f.extra_kernel_s + _conversion_s(t, m))
    if library.computes_offsets:
        parts = replace(parts, latency_s=parts.latency_s + f.extra_kernel_s)
    possible = (split == 1) | (ctas <= 16.0 * m.num_sms)
    if tensor and not library.splits_small:
        possible = possible & ((split == 1) | (t.dtype != "int8"))
    if direction == "fwd" and not tensor:  # cuDNN 8 splits no reduction that spans taps: grids of 708 3x3 rows on A100, V100, T4 and P100
        possible = possible & ((split == 1) | (taps == 1))
    names = [f"implicit GEMM {tile[0]}x{tile[1]}{f' split-K {s}' if s > 1 else ''}{' joined groups' if pack > 1 else ''}" for tile, s, pack in pairs]
    return parts, possible, names


def _conversion_s(t: SimpleNamespace, m: Machine) -> Values:
    """Time to convert a gradient of the weights from FP32: written and read again unless L2 holds it, and written as it should be."""
    weights = t.k * (t.c / t.groups) * t.r * t.s
    spilled = 1.0 - resident_fraction(4.0 * weights, m.l2_bytes)
    return stream_s((8.0 * spilled + t.w_bytes) * weights, m)


def _depthwise(t: SimpleNamespace, m: Machine, direction: str) -> Alternative:
    """Direct kernel for depthwise convolution: a thread an output, so many instructions a tap, on CUDA cores.

    Source: the loops of PyTorch's native depthwise kernels (aten/src/ATen/native/cuda/DepthwiseConv2d.cu).
    """
    f = m.factors
    outputs = {"fwd": t.n * t.k * t.p * t.q, "bwd_data": t.n * t.c * t.h * t.w, "bwd_weight": t.k * t.r * t.s}[direction]
    taps = {"fwd": t.r * t.s, "bwd_data": np.ceil(t.r / t.stride_h) * np.ceil(t.s / t.stride_w), "bwd_weight": t.n * t.p * t.q}[direction]
    instructions = outputs * (taps * f.depthwise_instructions_per_tap + f.depthwise_instructions_per_output)
    ctas = np.ceil(outputs / 256.0) if direction != "bwd_weight" else t.k * t.r * t.s
    busy = np.minimum(ctas, m.num_sms)
    math_s = instructions / (busy * m.issue_lanes * m.clock_hz)
    # Neighbouring outputs share their taps in L1; each output still fetches about its own input pixels from L2.
    l2_bytes = t.total_bytes * f.depthwise_l2_reads
    parts = Parts(
        math_s=math_s[np.newaxis],
        l2_s=l2_s(l2_bytes, busy, m)[np.newaxis],
        executed_flop=(2.0 * outputs * taps)[np.newaxis],
        energy_flop=(2.0 * outputs * taps)[np.newaxis],
        l2_bytes=np.asarray(l2_bytes)[np.newaxis],
        ctas=np.asarray(ctas)[np.newaxis],
        ctas_per_sm=np.floor(m.gpu.sm.max_threads / 256.0),
        dram_bytes=None,
    )
    return parts, ((t.groups == t.c) & (t.groups > 1))[np.newaxis], ["direct depthwise"]


def _winograd_possible(t: SimpleNamespace, taps: int) -> Any:
    return (
        ~np.isin(t.dtype, ("int8", "fp64"))
        & (t.r == taps)
        & (t.s == taps)
        & (t.stride_h == 1)
        & (t.stride_w == 1)
        & (t.dilation_h == 1)
        & (t.dilation_w == 1)
        & (t.groups == 1)
    )


def _moved(bytes_: Values, m: Machine) -> tuple[Values, Values]:
    """Time of a pass over so many bytes and its DRAM bytes; what the kernel before left in L2 is not fetched again."""
    dram = bytes_ * (1.0 - resident_fraction(bytes_, m.l2_bytes))
    return np.maximum(dram / m.dram_bytes_per_s, bytes_ / m.l2_bytes_per_s), dram


def _transform(bytes_: Values, m: Machine) -> tuple[Values, Values]:
    """Time and DRAM bytes of a transform of Winograd: a pass over memory, in which each SM also computes."""
    moved_s, dram = _moved(bytes_, m)
    return np.hypot(moved_s, bytes_ / (m.factors.transform_bytes_per_clk * m.num_sms * m.clock_hz)), dram


def _winograd_fused(t: SimpleNamespace, m: Machine, library: ConvLibrary, direction: str) -> Alternative:
    """F(2×2, 3×3) in one kernel: a CTA makes 32 filters × 32 tiles of 2×2 outputs; 16 multiplies replace 36."""
    f = m.factors
    ndim = max(1, np.ndim(m.num_sms))
    bn, bp, bq = candidates(*zip(*library.winograd_blocks, strict=True), ndim=ndim)
    rows, cols, ci, co = (t.p, t.q, t.c, t.k) if direction == "fwd" else (t.h, t.w, t.k, t.c)
    ctas = np.ceil(t.n / bn) * np.ceil(rows / bp) * np.ceil(cols / bq) * np.ceil(co / 32.0)
    accumulators = 16.0 * 32.0 * 32.0  # 16 points of the transform for each tile and filter
    per_sm = np.clip(np.floor(m.gpu.shared.size_bytes / _FUSED_SHARED_BYTES), 1.0, 2.0)
    flop = 2.0 * accumulators * ci
    flop_per_clk = m.flop_per_clk(t.dtype, t.pipe)
    math_s = busiest_sm_s(
        ctas,
        (flop / (flop_per_clk * f.winograd_fused_efficiency) + f.conv_epilogue_clk * accumulators) / m.clock_hz,
        num_sms=m.num_sms,
        per_sm=per_sm,
        accumulators=accumulators,
        half_accumulators=f.conv_latency_clk * flop_per_clk / 2.0,
    )
    filters = t.c * t.k * 9.0 * t.w_bytes
    transform_s = _transform(filters * (1.0 + 16.0 / 9.0), m)[0] * f.filter_transform_slowness
    l2_bytes = t.total_bytes * 2.0
    parts = Parts(
        math_s=math_s,
        l2_s=l2_s(l2_bytes, np.minimum(ctas, m.num_sms), m),
        latency_s=transform_s + f.extra_kernel_s,
        executed_flop=flop * ctas,
        energy_flop=without_padding(flop * ctas, 2.0 * 4.0 * t.n * rows * cols * ci * co, m) * f.winograd_fused_energy_ratio,
        l2_bytes=l2_bytes,
        ctas=ctas,
        ctas_per_sm=per_sm,
        dram_bytes=None,
    )
    possible = _winograd_possible(t, 3) & (t.n % bn == 0)
    return parts, possible, [f"Winograd F(2x2,3x3) fused {b[0]}x{b[1]}x{b[2]}" for b in library.winograd_blocks]


def _winograd_non_fused(t: SimpleNamespace, m: Machine, direction: str, taps: int, outputs: int) -> Alternative:
    """F(4×4, 3×3) as transforms around 36 batched GEMMs: a quarter of the multiplies, paid in memory traffic; F(5×5, 5×5) around 81."""
    f = m.factors
    points = float((outputs + taps - 1) ** 2)
    ndim = max(1, np.ndim(m.num_sms))
    pairs = [(tile, s) for tile in WINOGRAD_TILES for s in ((1,) if direction != "bwd_weight" else (1, 2, 4))]
    bm, bn, split = candidates([p[0][0] for p in pairs], [p[0][1] for p in pairs], [p[1] for p in pairs], ndim=ndim)
    rows, cols, ci, co = (t.h, t.w, t.k, t.c) if direction == "bwd_data" else (t.p, t.q, t.c, t.k)
    images = t.n if direction == "bwd_weight" else _pad(t.n, 16.0)  # cuDNN pads the batch to 16; seen in every recorded grid
    tiles = images * np.ceil(rows / outputs) * np.ceil(cols / outputs)
    size = t.x_bytes
    v_bytes, u_bytes, o_bytes = points * tiles * ci * size, points * ci * co * size, points * tiles * co * size
    g_rows, g_cols, g_depth = (ci, co, tiles) if direction == "bwd_weight" else (tiles, co, ci)
    parts, ctas = tile_work(
        m,
        rows=g_rows,
        cols=g_cols,
        depth=g_depth,
        batch=points,
        bm=bm,
        bn=bn,
        split=split,
        flop_per_clk=m.flop_per_clk(t.dtype, t.pipe),
        efficiency=f.winograd_gemm_efficiency,
        latency_clk=f.conv_latency_clk,
        feed=f.conv_feed,
        epilogue_clk=f.conv_epilogue_clk,
        row_bytes=size,
        col_bytes=size,
        out_bytes=size,
        depth_step=8.0,
        split_k_s=f.split_k_s,
    )

    x_bytes, y_bytes, w_bytes = t.n * t.c * t.h * t.w * size, t.n * t.k * t.p * t.q * size, t.c * t.k * float(taps**2) * size
    source, result = (y_bytes, x_bytes) if direction == "bwd_data" else (x_bytes, y_bytes)
    if direction == "bwd_weight":
        passes = [_transform(x_bytes + v_bytes, m), _transform(y_bytes + o_bytes, m)]
        slowness = 1.0  # the way back reads 36 planes side by side
    else:
        passes = [_transform(source + v_bytes, m), _transform(o_bytes + result, m)]
        slowness = f.filter_transform_slowness
    filters_s, filters_dram = _transform(w_bytes + u_bytes, m)
    transforms_s = sum((p[0] for p in passes), np.float64(0.0)) + filters_s * slowness
    if taps == 5:
        transforms_s = transforms_s * f.large_transform_slowness
    gemm_s, gemm_dram = _moved(v_bytes + u_bytes + o_bytes, m)
    parts = replace(
        parts,
        latency_s=parts.latency_s + transforms_s + 3.0 * f.extra_kernel_s,
        dram_s=gemm_s,
        dram_bytes=gemm_dram + filters_dram + sum((p[1] for p in passes), np.float64(0.0)),
        l2_bytes=parts.l2_bytes + 2.0 * (v_bytes + u_bytes + o_bytes),
    )
    names = [f"Winograd F({outputs}x{outputs},{taps}x{taps}) {tile[0]}x{tile[1]}{f' split-K {s}' if s > 1 else ''}" for tile, s in pairs]
    addressable = np.maximum(np.maximum(v_bytes, o_bytes), u_bytes) < _ADDRESSABLE_BYTES
    possible = _winograd_possible(t, taps) & addressable & ((split == 1) | (ctas <= 16.0 * m.num_sms))
    return parts, possible, names


def _scatter(t: SimpleNamespace, m: Machine) -> Alternative:
    """Backward data as GEMM (n·p·q × c·r·s) whose results are added atomically into dx; cuDNN's ALGO_0, for few channels and strided layers.

    Before, dx is filled with zeros; the additions fetch it and write it back. On six GPUs of DeepBench strided 1x1 layers take the time
    of this GEMM and that of three times dx from DRAM.
    """
    f = m.factors
    ndim = max(1, np.ndim(m.num_sms))
    tiles = implicit_gemm_tiles(m.generation, "fwd", tensor=False)
    bm, bn, split = candidates([x[0] for x in tiles], [x[1] for x in tiles], [1] * len(tiles), ndim=ndim)
    c, k = _group_sizes(t)
    parts, _ = tile_work(
        m,
        rows=t.n * t.p * t.q,
        cols=c * t.r * t.s,
        depth=k,
        batch=t.groups,
        bm=bm,
        bn=bn,
        split=split,
        flop_per_clk=m.flop_per_clk(t.dtype, t.pipe),
        efficiency=f.conv_efficiency,
        latency_clk=f.conv_latency_clk,
        feed=f.conv_feed,
        epilogue_clk=f.conv_epilogue_clk,
        row_bytes=t.y_bytes,
        col_bytes=t.w_bytes,
        out_bytes=t.x_bytes,
        depth_step=8.0,
        split_k_s=f.split_k_s,
    )
    reads, _ = missed_bytes(t, m)
    read_bytes = reads.sum(axis=0)
    swept_bytes = 3.0 * t.n * t.c * t.h * t.w * t.x_bytes
    added_bytes = t.n * t.p * t.q * t.c * t.r * t.s * t.x_bytes
    added_s = added_bytes / (m.l2_bytes_per_s * f.atomic_fraction) + stream_s(swept_bytes, m)
    parts = replace(
        parts,
        dram_s=stream_s(read_bytes, m),
        latency_s=parts.latency_s + added_s + f.extra_kernel_s,
        dram_bytes=read_bytes + swept_bytes,
        l2_bytes=parts.l2_bytes + added_bytes,
    )
    return parts, np.ones((len(tiles), *[1] * ndim), dtype=bool), [f"scatter GEMM {x[0]}x{x[1]}" for x in tiles]
