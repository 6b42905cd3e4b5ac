"""Ops of detectors and of signal processing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Spec, UnknownOperandError, per_output, rule


def _nms_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    """Every candidate kept is held against every box: intersection and union of two boxes take 15 operations."""
    return 15.0 * outs[0].shape[0] * call.shape(0)[1]


@rule("NonMaxSuppression", flop=_nms_flop, bounded=True)
def non_max_suppression(call: Call) -> Sequence[Spec]:
    """Boxes (N, boxes, 4), scores (N, classes, boxes) → (kept, 3); kept is at most max_output_boxes_per_class for each class."""
    boxes, scores = call.shape(0, rank=3), call.shape(1, rank=3)
    try:
        most = call.operand("max_output_boxes_per_class", 2)
    except UnknownOperandError:  # made at run time: all boxes may stay
        most = (boxes[1],)
    limit = most[0] if most else 0
    return (((scores[0] * scores[1] * max(min(limit, boxes[1]), 0), 3), "int64"),)


_ROI_POINTS = 4  # bilinear: one product and one sum for each of four neighbours


def _roi_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    samples = max(call.number("sampling_ratio", 0), 1) ** 2
    return 2.0 * _ROI_POINTS * samples * outs[0].elements


@rule("RoiAlign", flop=_roi_flop)
def roi_align(call: Call) -> Sequence[Spec]:
    x, rois = call.shape(0, rank=4), call.shape(1, rank=2)
    return (((rois[0], x[1], call.number("output_height", 1), call.number("output_width", 1)), call.dtype(0)),)


@rule("MaxRoiPool", flop=per_output(1))
def max_roi_pool(call: Call) -> Sequence[Spec]:
    x, rois = call.shape(0, rank=4), call.shape(1, rank=2)
    return (((rois[0], x[1], *call.integers("pooled_shape", (1, 1), 2)), call.dtype(0)),)


def _grid_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    points = {"nearest": 0, "bilinear": 2, "linear": 2, "bicubic": 4, "cubic": 4}.get(str(call.attr("mode", "bilinear")), 2)
    axes = len(call.shape(0)) - 2
    return 2.0 * points**axes * outs[0].elements if points else 0.0


@rule("GridSample", flop=_grid_flop)
def grid_sample(call: Call) -> Sequence[Spec]:
    x, grid = call.shape(0, rank=3), call.shape(1, rank=3)
    if len(grid) != len(x) or grid[-1] != len(x) - 2:
        raise call.fail(f"an input of {x} meets a grid of {grid}, expected (N, …, {len(x) - 2})")
    return (((x[0], x[1], *grid[1:-1]), call.dtype(0)),)


@rule("AffineGrid", flop=per_output(6))
def affine_grid(call: Call) -> Sequence[Spec]:
    size = call.operand("size", 1)
    if size is None or len(size) not in (4, 5):
        raise call.fail(f"size is {size}, expected 4 or 5 numbers")
    return (((size[0], *size[2:], len(size) - 2), call.dtype(0)),)


def _fft_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    """5 N log2 N for each complex transform of length N (Cooley and Tukey; the count FFTW reports)."""
    length = outs[0].shape[-2]
    return 5.0 * (outs[0].elements / 2) * math.log2(max(length, 2))


@rule("DFT", flop=_fft_flop)
def dft(call: Call) -> Sequence[Spec]:
    x = list(call.shape(0, rank=2))
    axis_operand = call.operand("axis", 2)
    axis = call.axis(axis_operand[0] if axis_operand else -2 if len(call.inputs) > 1 else 1, len(x))
    length = call.operand("dft_length", 1)
    size = length[0] if length else x[axis]
    x[axis] = size // 2 + 1 if call.attr("onesided", 0) else size
    x[-1] = 2
    return ((tuple(x), call.dtype(0)),)


@rule("STFT", flop=_fft_flop)
def stft(call: Call) -> Sequence[Spec]:
    signal, step, length = call.shape(0, rank=2), call.operand("frame_step", 1), call.operand("frame_length", 3)
    size = length[0] if length else call.shape(2)[0] if call.has(2) else signal[1]
    if not step or step[0] < 1 or not 0 < size <= signal[1]:
        raise call.fail(f"frames of {size} every {step} do not fit a signal of {signal}")
    frames = (signal[1] - size) // step[0] + 1
    return (((signal[0], frames, size // 2 + 1 if call.attr("onesided", 1) else size, 2), call.dtype(0)),)


@rule("MelWeightMatrix", flop=per_output(4))
def mel_weight_matrix(call: Call) -> Sequence[Spec]:
    bins, length = call.operand("num_mel_bins", 0), call.operand("dft_length", 1)
    if not bins or not length:
        raise call.fail("has no num_mel_bins or dft_length")
    return (((length[0] // 2 + 1, bins[0]), "fp32"),)


@rule("Det", flop=lambda call, outs: 2 / 3 * call.shape(0)[-1] ** 3 * outs[0].elements)
def det(call: Call) -> Sequence[Spec]:
    """LU decomposition: 2/3 n³."""
    return ((call.shape(0, rank=2)[:-2], call.dtype(0)),)


@rule("SoftmaxCrossEntropyLoss", flop=lambda call, outs: 6.0 * call.tensor(0).elements)
def softmax_cross_entropy_loss(call: Call) -> Sequence[Spec]:
    """LogSoftmax (5) and a weighted sum (1)."""
    shape = call.shape(1) if call.attr("reduction", "mean") == "none" else ()
    return (shape, call.dtype(0)), (call.shape(0), call.dtype(0))


@rule("NegativeLogLikelihoodLoss", flop=lambda call, outs: 1.0 * call.tensor(1).elements)
def negative_log_likelihood_loss(call: Call) -> Sequence[Spec]:
    return ((call.shape(1) if call.attr("reduction", "mean") == "none" else (), call.dtype(0)),)
