"""Convolutions and transposed convolutions as the problem a library solves; layout copies around tensor-core kernels."""

from __future__ import annotations

import math

from simgpu.graph.ir import Op, Tensor
from simgpu.kernels.context import Lowering, int_attr, ints_attr, rule
from simgpu.kernels.gemm import epilogue_label, extra_reads
from simgpu.kernels.kernel import Access, Conv, Gemm, Stream
from simgpu.precision import POINTWISE, Math


@rule("Conv", "ConvInteger", "QLinearConv")
def conv(low: Lowering, op: Op) -> None:
    """One kernel, with the bias and whatever was fused in its epilogue."""
    x, w, y = low.input(op, 0), low.input(op, 3 if op.type == "QLinearConv" else 1), low.tensor(op.outputs[0])
    launch_conv(low, op, operands=(x, w), w=w, big=x, small=y, direction="fwd", label="conv")


@rule("ConvTranspose")
def conv_transpose(low: Lowering, op: Op) -> None:
    """The gradient with respect to the input of the convolution that would turn this op's output into its input."""
    x, w, y = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    launch_conv(low, op, operands=(x, w), w=w, big=y, small=x, direction="bwd_data", label="transposed conv")


@rule("DeformConv")
def deform_conv(low: Lowering, op: Op) -> None:
    """Bilinear samples are gathered into columns, which one GEMM multiplies.

    Source: torchvision `deform_conv2d`: `deformable_im2col`, then a matrix product for each group.
    """
    x, w, y = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    groups, taps = int_attr(op, "group", 1), math.prod(w.shape[1:])
    pixels = y.elements // max(y.shape[1], 1)
    columns = Access(tensor=f"{op.name}:columns", bytes=pixels * groups * taps * low.itemsize(x))
    gather = Stream(elements=pixels * groups * taps, instructions=30.0, pattern="gather", window=4.0, itemsize=low.itemsize(x))
    reads = (low.contiguous(op, x.name), *(low.access(t) for t in op.inputs[2:3] if t))
    low.emit(op, gather, label="deformable im2col", reads=reads, writes=(columns,), math_=low.math(POINTWISE), flop=0.0, suffix="columns", internal=True)
    work = Gemm(
        batch=groups, m=pixels, n=w.shape[0] // groups, k=taps, a_bytes=low.itemsize(x), b_bytes=low.itemsize(w), out_bytes=low.itemsize(y), layout="nn"
    )
    low.emit(op, work, label="deformable conv", reads=(columns, low.access(w.name)), writes=(low.access(y.name),), math_=low.product_math(x, w))


def problem(op: Op, *, big: Tensor, small: Tensor, w: Tensor, direction: str, layout: str, itemsizes: tuple[float, float, float]) -> Conv:
    """The 2-D problem of a convolution of 1 to 3 spatial axes.

    Args:
        big, small: Input and output of the forward convolution.
        w: Filters [K, C / groups, …] (of a transposed convolution [C of its input, …], which is the same).
        itemsizes: Bytes of an element of big, w and small.
    """
    rank = len(w.shape) - 2
    strides, dilations = ints_attr(op, "strides") or (1,) * rank, ints_attr(op, "dilations") or (1,) * rank
    if rank != 2:
        flat = (1,) * (2 - min(rank, 2))
        strides, dilations = (*flat, *strides[-2:]), (*flat, *dilations[-2:])
    else:
        flat = ()
    depth_out, depth_filter = (small.shape[2], w.shape[2]) if rank == 3 else (1, 1)
    axes = max(-2, -rank)
    r, s = (*flat, *w.shape[axes:])
    h, wide = (*flat, *big.shape[axes:])
    p, q = (*flat, *small.shape[axes:])
    x_bytes, w_bytes, y_bytes = itemsizes
    return Conv(
        n=big.shape[0] * depth_out,
        c=big.shape[1],
        h=h,
        w=wide,
        k=small.shape[1],
        r=r * depth_filter,
        s=s,
        p=p,
        q=q,
        stride_h=strides[0],
        stride_w=strides[1],
        dilation_h=dilations[0],
        dilation_w=dilations[1],
        groups=int_attr(op, "group", 1),
        direction=direction,
        layout=layout,
        x_bytes=x_bytes,
        w_bytes=w_bytes,
        y_bytes=y_bytes,
    )


def is_depthwise(w: Tensor, groups: int) -> bool:
    """Each group has one input channel: no products to share, so libraries run a direct kernel on CUDA cores."""
    return groups > 1 and w.shape[1] == 1


def conv_math(low: Lowering, op: Op, operands: tuple[Tensor, Tensor], w: Tensor) -> Math:
    """Depthwise convolutions never run on tensor cores: they accumulate in fp32 on CUDA cores."""
    found = low.product_math(*operands)
    if found.pipe == "tensor" and is_depthwise(w, int_attr(op, "group", 1)):
        return low.math(POINTWISE)
    return found


def launch_conv(low: Lowering, op: Op, *, operands: tuple[Tensor, Tensor], w: Tensor, big: Tensor, small: Tensor, direction: str, label: str) -> None:
    """The kernel of a convolution or of one of its gradients, with the layout copies it needs.

    Args:
        operands: What is read: (input, filters), (gradient, filters) or (input, gradient); an epilogue's follow in the op.
        w: The filters, or their gradient.
        big, small: Input and output of the forward convolution, or their gradients.
    """
    first, second = operands
    math_ = conv_math(low, op, operands, w)
    on_tensor = math_.pipe == "tensor"
    sizes = (low.itemsize(big), low.itemsize(w), low.itemsize(small))
    work = problem(op, big=big, small=small, w=w, direction=direction, layout="nhwc" if on_tensor or low.runtime.channels_last else "nchw", itemsizes=sizes)
    reads = [low.contiguous(op, first.name), low.contiguous(op, second.name)]
    if on_tensor and not low.runtime.channels_last:
        reads = [_to_nhwc(low, op, first, reads[0]), _to_nhwc(low, op, second, reads[1])]
    size = "×".join(map(str, w.shape[2:]))
    stride = ints_attr(op, "strides")
    groups = int_attr(op, "group", 1)
    kind = "depthwise " if is_depthwise(w, groups) else "grouped " if groups > 1 else ""
    title = f"{kind}{label} {size}" + (f" s{stride[-1]}" if stride and max(stride) > 1 else "")
    low.emit(
        op,
        work,
        label=epilogue_label(title, op),
        reads=(*reads, *extra_reads(low, op, op.inputs.index(second.name) + 1)),
        writes=[low.access(t) for t in op.outputs if t],
        math_=math_,
    )


def _to_nhwc(low: Lowering, op: Op, tensor: Tensor, source: Access) -> Access:
    """The tensor with channels last: tensor-core kernels read no other layout. They write either, so the output needs no copy.

    Nothing moves if there is one channel or one pixel.

    Source: the kernels cuDNN launches for NCHW half-precision tensors: `nchwToNhwcKernel`, then `…_nhwc2nchw_…`.
    """
    if tensor.shape[1] == 1 or math.prod(tensor.shape[2:]) == 1:
        return source
    low.assume(
        "convolutions on tensor cores read NHWC: each input and filter of a network in NCHW is transposed first, the output is written as NCHW "
        "(runtimes with channels_last have no such copies)"
    )
    target = Access(tensor=f"{tensor.name}:nhwc:{op.name}", bytes=low.bytes_of(tensor.name))
    work = Stream(elements=tensor.elements, pattern="transpose", itemsize=low.itemsize(tensor))
    what = "first" if tensor.name == op.inputs[0] else "second"
    low.emit(op, work, label="NCHW → NHWC", reads=(source,), writes=(target,), math_=low.math(POINTWISE), flop=0.0, suffix=f"nhwc:{what}", internal=True)
    return target
