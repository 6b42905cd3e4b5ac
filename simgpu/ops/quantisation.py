"""From floats to integers and back, and arithmetic on quantised tensors."""

from __future__ import annotations

from collections.abc import Sequence

from simgpu.ops.registry import Call, Spec, per_output, rule


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
