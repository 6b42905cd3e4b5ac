"""Convolutions and pools: a window walks over the spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Count, Shape, Spec, per_input, product_dtype, rule


def window_pads(call: Call, size: Shape, kernel: Shape, strides: Shape, dilations: Shape) -> tuple[Shape, Shape]:
    """Padding before and after each spatial axis, `auto_pad` resolved.

    Source:
        ONNX operator Conv, attribute auto_pad: SAME gives ceil(size / stride) outputs, UPPER pads more at the end.
    """
    rank = len(size)
    auto = str(call.attr("auto_pad", "NOTSET"))
    if auto in ("NOTSET", ""):
        pads = call.integers("pads", (0,) * (2 * rank), 2 * rank, low=0)
        return pads[:rank], pads[rank:]
    if auto == "VALID":
        return (0,) * rank, (0,) * rank
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.fail(f"auto_pad is '{auto}', expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    totals = [max((math.ceil(i / s) - 1) * s + (k - 1) * d + 1 - i, 0) for i, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def window_output(call: Call, size: Shape, kernel: Shape, *, ceil_mode: bool = False) -> Shape:
    """Positions of a window on each spatial axis.

    A last window that would lie wholly in the padding after the end is dropped, in ceil mode too.

    Source:
        ONNX operators Conv and MaxPool; torch `pooling_output_shape`.
    """
    rank = len(size)
    strides, dilations = call.integers("strides", (1,) * rank, rank, low=1), call.integers("dilations", (1,) * rank, rank, low=1)
    before, after = window_pads(call, size, kernel, strides, dilations)
    result = []
    for i, k, s, d, p, q in zip(size, kernel, strides, dilations, before, after, strict=True):
        room = i + p + q - ((k - 1) * d + 1)
        if room < 0:
            raise call.fail(f"a window of {(k - 1) * d + 1} does not fit an axis of {i} with padding {p} and {q}")
        count = (math.ceil(room / s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= i + p:
            count -= 1
        result.append(count)
    return tuple(result)


def _conv_shape(call: Call, x: Shape, weight: Shape) -> Shape:
    kernel = call.integers("kernel_shape", weight[2:], len(weight) - 2, low=1)
    if len(x) != len(weight) or kernel != weight[2:]:
        raise call.fail(f"an input of {x} meets a weight of {weight} and kernel_shape {kernel}, expected (N, C, …) and (K, C / groups, *kernel_shape)")
    groups = call.number("group", 1)
    if groups < 1 or x[1] != weight[1] * groups or weight[0] % groups:
        raise call.fail(f"{x[1]} input channels meet a weight of {weight} in {groups} groups, expected {weight[1]} × {groups} input channels")
    return (x[0], weight[0], *window_output(call, x[2:], kernel))


def _conv_macs(weight: int) -> Count:
    def macs(call: Call, outs: tuple[Tensor, ...]) -> float:
        return float(outs[0].elements * math.prod(call.shape(weight)[1:]))

    return macs


@rule("Conv", macs=_conv_macs(1))
def conv(call: Call) -> Sequence[Spec]:
    return ((_conv_shape(call, call.shape(0, rank=3), call.shape(1, rank=3)), product_dtype(call)),)


@rule("ConvInteger", macs=_conv_macs(1))
def conv_integer(call: Call) -> Sequence[Spec]:
    return ((_conv_shape(call, call.shape(0, rank=3), call.shape(1, rank=3)), "int32"),)


@rule("QLinearConv", macs=_conv_macs(3))
def qlinear_conv(call: Call) -> Sequence[Spec]:
    zero_point = 7
    return ((_conv_shape(call, call.shape(0, rank=3), call.shape(3, rank=3)), call.dtype(zero_point) if call.has(zero_point) else call.dtype(0)),)


@rule("DeformConv", macs=_conv_macs(1))
def deform_conv(call: Call) -> Sequence[Spec]:
    return conv(call)


def _transposed_macs(call: Call, outs: tuple[Tensor, ...]) -> float:
    return float(call.tensor(0).elements * math.prod(call.shape(1)[1:]))


@rule("ConvTranspose", macs=_transposed_macs)
def conv_transpose(call: Call) -> Sequence[Spec]:
    """Each input element is spread over a window of the output; weight (C, K / groups, *kernel)."""
    x, weight = call.shape(0, rank=3), call.shape(1, rank=3)
    rank, groups = len(x) - 2, call.number("group", 1)
    if len(weight) != len(x) or groups < 1 or weight[0] != x[1] or x[1] % groups:
        raise call.fail(f"an input of {x} meets a weight of {weight} in {groups} groups, expected (N, C, …) and (C, K / groups, …)")
    kernel = call.integers("kernel_shape", weight[2:], rank, low=1)
    strides, dilations = call.integers("strides", (1,) * rank, rank, low=1), call.integers("dilations", (1,) * rank, rank, low=1)
    extra = call.integers("output_padding", (0,) * rank, rank, low=0)
    given = call.integers("output_shape", (), low=1)
    auto = str(call.attr("auto_pad", "NOTSET"))
    if given:
        size = given[-rank:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        size = tuple(i * s for i, s in zip(x[2:], strides, strict=True))
    else:
        pads = call.integers("pads", (0,) * (2 * rank), 2 * rank, low=0) if auto != "VALID" else (0,) * (2 * rank)
        size = tuple(
            (i - 1) * s + e + (k - 1) * d + 1 - p - q
            for i, k, s, d, e, p, q in zip(x[2:], kernel, strides, dilations, extra, pads[:rank], pads[rank:], strict=True)
        )
    if len(size) != rank or any(d < 1 for d in size):
        raise call.fail(f"its output would have the spatial shape {size}")
    return (((x[0], weight[1] * groups, *size), product_dtype(call)),)


# ---- pools


def _pool_shape(call: Call) -> Shape:
    x = call.shape(0, rank=3)
    kernel = call.integers("kernel_shape", (), len(x) - 2, low=1)
    if len(kernel) != len(x) - 2:
        raise call.fail("has no kernel_shape")
    return (*x[:2], *window_output(call, x[2:], kernel, ceil_mode=bool(call.attr("ceil_mode", 0))))


def _pool_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    """One comparison or addition for each element of the window."""
    return float(outs[0].elements * math.prod(call.integers("kernel_shape", (1,))))


@rule("MaxPool", flop=_pool_flop)
def max_pool(call: Call) -> Sequence[Spec]:
    shape = _pool_shape(call)
    return (shape, call.dtype(0)), (shape, "int64")


@rule("AveragePool", flop=_pool_flop)
def average_pool(call: Call) -> Sequence[Spec]:
    return ((_pool_shape(call), call.dtype(0)),)


@rule("LpPool", flop=lambda call, outs: 2.0 * _pool_flop(call, outs))
def lp_pool(call: Call) -> Sequence[Spec]:
    return ((_pool_shape(call), call.dtype(0)),)


@rule("GlobalAveragePool", "GlobalMaxPool", flop=per_input(1))
@rule("GlobalLpPool", flop=per_input(2))
def global_pool(call: Call) -> Sequence[Spec]:
    x = call.shape(0, rank=3)
    return (((*x[:2], *(1,) * (len(x) - 2)), call.dtype(0)),)


@rule("MaxUnpool")
def max_unpool(call: Call) -> Sequence[Spec]:
    x, given = call.shape(0, rank=3), call.operand("output_shape", 2)
    if given is not None:
        return ((given, call.dtype(0)),)
    rank = len(x) - 2
    kernel, strides = call.integers("kernel_shape", (1,) * rank, rank, low=1), call.integers("strides", (1,) * rank, rank, low=1)
    pads = call.integers("pads", (0,) * (2 * rank), 2 * rank, low=0)
    size = tuple((i - 1) * s + k - p - q for i, k, s, p, q in zip(x[2:], kernel, strides, pads[:rank], pads[rank:], strict=True))
    return (((*x[:2], *size), call.dtype(0)),)


@rule("Col2Im")
def col2im(call: Call) -> Sequence[Spec]:
    x, image, block = call.shape(0, rank=3), call.operand("image_shape", 1), call.operand("block_shape", 2)
    if not image or not block or x[1] % math.prod(block):
        raise call.fail(f"an input of {x} does not hold blocks of {block}")
    return (((x[0], x[1] // math.prod(block), *image), call.dtype(0)),)
