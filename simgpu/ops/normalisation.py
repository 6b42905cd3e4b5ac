"""Normalisations and softmax: statistics over some axes, then each element rescaled.

FLOP an element: mean 1, subtraction 1, square 1, sum 1, product with 1/σ 1, scale 1, shift 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from simgpu.ops.registry import Call, Shape, Spec, per_output, rule, same


def _channel(call: Call, *indices: int, size: int) -> None:
    for i in indices:
        if call.has(i) and call.shape(i) not in ((size,), (1,), ()):
            raise call.fail(f"input {i} has shape {call.shape(i)}, expected ({size},)")


@rule("BatchNormalization", flop=per_output(2))
def batch_normalization(call: Call) -> Sequence[Spec]:
    """At inference one product and one sum an element: 1/σ is folded into the scale."""
    x = call.shape(0, rank=1)
    channels = x[1] if len(x) > 1 else x[0]
    _channel(call, 1, 2, 3, 4, size=channels)
    statistic: Spec = ((channels,), call.dtype(0))
    return (x, call.dtype(0)), statistic, statistic, statistic, statistic


@rule("InstanceNormalization", flop=per_output(7))
def instance_normalization(call: Call) -> Sequence[Spec]:
    _channel(call, 1, 2, size=call.shape(0, rank=2)[1])
    return same(call)


@rule("GroupNormalization", flop=per_output(7))
def group_normalization(call: Call) -> Sequence[Spec]:
    x, groups = call.shape(0, rank=2), call.number("num_groups", 1)
    if groups < 1 or x[1] % groups:
        raise call.fail(f"{x[1]} channels do not divide into {groups} groups")
    return same(call)


def _statistics(call: Call) -> Shape:
    """The shape with all normalised axes set to 1."""
    x = call.shape(0, rank=1)
    axis = call.axis(call.number("axis", -1), len(x))
    if call.has(1) and len(call.shape(1)) > len(x) - axis:
        raise call.fail(f"a scale of {call.shape(1)} does not fit the axes {x[axis:]} of its input")
    return (*x[:axis], *(1,) * (len(x) - axis))


@rule("LayerNormalization", flop=per_output(7))
def layer_normalization(call: Call) -> Sequence[Spec]:
    statistic: Spec = (_statistics(call), "fp32")
    return (call.shape(0), call.dtype(0)), statistic, statistic


@rule("RMSNormalization", flop=per_output(4))
def rms_normalization(call: Call) -> Sequence[Spec]:
    """Square, sum, product with 1/rms, scale."""
    return (call.shape(0), call.dtype(0)), (_statistics(call), "fp32")


@rule("LpNormalization", "MeanVarianceNormalization", flop=per_output(5))
def lp_normalization(call: Call) -> Sequence[Spec]:
    return same(call)


@rule("LRN", flop=lambda call, outs: (2.0 * call.number("size", 5) + 4) * outs[0].elements)
def lrn(call: Call) -> Sequence[Spec]:
    """Square and sum over `size` channels, then x / (k + α/n · sum)^β."""
    return same(call)


@rule("Softmax", "LogSoftmax", flop=per_output(5))
@rule("Hardmax", flop=per_output(2))
def softmax(call: Call) -> Sequence[Spec]:
    """Maximum, difference, exponential, sum, quotient."""
    x = call.shape(0)
    call.axis(call.number("axis", -1), len(x))
    return same(call)
