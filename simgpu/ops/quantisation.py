"""From floats to integers and back, and arithmetic on quantised tensors."""

from __future__ import annotations

from collections.abc import Sequence

from simgpu.ops.registry import Call, Spec, broadcast, per_output, rule


@rule("QuantizeLinear", flop=per_output(4))
def quantize_linear(call: Call) -> Sequence[Spec]:
    """clip(round(x / scale) + zero_point): quotient, rounding, sum, saturation."""
    default = str(call.attr("output_dtype", "uint8"))
    return ((call.shape(0), call.dtype(2) if call.has(2) else default),)


@rule("DequantizeLinear", flop=per_output(2))
def dequantize_linear(call: Call) -> Sequence[Spec]:
    """(x - zero_point) · scale."""
    return ((call.shape(0), call.dtype(1)),)


@rule("DynamicQuantizeLinear", flop=per_output(6))
def dynamic_quantize_linear(call: Call) -> Sequence[Spec]:
    """Minimum and maximum of the tensor, then as QuantizeLinear."""
    return (call.shape(0), "uint8"), ((), "fp32"), ((), "uint8")


@rule("QLinearAdd", "QLinearMul", flop=per_output(9))
def qlinear_binary(call: Call) -> Sequence[Spec]:
    """Both operands dequantised (2 each), one operation, quantised again (4); com.microsoft."""
    return ((broadcast(call, call.shape(0), call.shape(3)), call.dtype(0)),)


@rule("QLinearSigmoid", "QLinearLeakyRelu", flop=per_output(10))
def qlinear_unary(call: Call) -> Sequence[Spec]:
    """Dequantised (2), the function (4), quantised again (4); com.microsoft."""
    return ((call.shape(0), call.dtype(0)),)


@rule("QLinearConcat")
def qlinear_concat(call: Call) -> Sequence[Spec]:
    """Inputs: scale and zero point of the output, then each tensor with its scale and zero point; com.microsoft."""
    tensors = [call.shape(i) for i in range(2, len(call.inputs), 3)]
    if not tensors:
        raise call.fail("has no input")
    axis = call.axis(call.number("axis", 0), len(tensors[0]))
    if any(len(t) != len(tensors[0]) for t in tensors):
        raise call.fail(f"joins tensors of {tensors}")
    return (((*tensors[0][:axis], sum(t[axis] for t in tensors), *tensors[0][axis + 1 :]), call.dtype(2)),)


@rule("QLinearSoftmax", flop=per_output(11))
def qlinear_softmax(call: Call) -> Sequence[Spec]:
    """Dequantised (2), softmax (5), quantised again (4); com.microsoft."""
    return ((call.shape(0), call.dtype(0)),)
