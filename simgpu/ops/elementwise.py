"""Ops that treat each element by itself, with NumPy's broadcasting.

FLOP an element: each addition, multiplication, division, comparison, square root, exponential, logarithm, tanh, erf or
trigonometric function is 1; moving, converting and choosing without arithmetic is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simgpu.graph.ir import Graph, Tensor
from simgpu.ops.registry import Call, Count, Spec, always, broadcast, computed_dtype, per_output, rule, same

# y = f(x) → FLOP for each element, with the formula where it is more than one operation.
UNARY: Mapping[str, float] = {
    "Abs": 1, "Neg": 1, "Sign": 1, "Floor": 1, "Ceil": 1, "Round": 1,
    "Sqrt": 1, "Exp": 1, "Log": 1, "Erf": 1, "Reciprocal": 1,
    "Sin": 1, "Cos": 1, "Tan": 1, "Asin": 1, "Acos": 1, "Atan": 1,
    "Sinh": 1, "Cosh": 1, "Tanh": 1, "Asinh": 1, "Acosh": 1, "Atanh": 1,
    "BitwiseNot": 1,
    "Relu": 1,  # max(x, 0)
    "ThresholdedRelu": 1,
    "LeakyRelu": 2,  # x > 0 ? x : αx
    "Clip": 2,  # min(max(x, low), high)
    "Shrink": 3,
    "Elu": 3,  # x > 0 ? x : α(eˣ − 1)
    "Celu": 4,
    "Selu": 4,
    "Softsign": 3,  # x / (1 + |x|)
    "Softplus": 3,  # ln(1 + eˣ)
    "Sigmoid": 4,  # 1 / (1 + e⁻ˣ)
    "HardSigmoid": 4,  # min(max(αx + β, 0), 1)
    "HardSwish": 5,  # x · hardsigmoid(x)
    "Swish": 5,  # x · sigmoid(x)
    "QuickGelu": 6,  # x · sigmoid(1.702x)
    "Gelu": 5,  # x/2 · (1 + erf(x/√2))
    "Mish": 5,  # x · tanh(ln(1 + eˣ))
}  # fmt: skip

# z = f(x, y, …) → FLOP for each element of the result and each input after the first.
BINARY: Mapping[str, float] = {
    "Add": 1, "Sub": 1, "Mul": 1, "Div": 1, "Pow": 1, "Mod": 1, "Max": 1, "Min": 1, "Sum": 1, "Mean": 1,
    "BitwiseAnd": 1, "BitwiseOr": 1, "BitwiseXor": 1, "BitShift": 1,
    "PRelu": 2,
}  # fmt: skip

# The same with a truth value as result.
COMPARISON: Mapping[str, float] = {
    "Equal": 1, "Greater": 1, "GreaterOrEqual": 1, "Less": 1, "LessOrEqual": 1, "And": 1, "Or": 1, "Xor": 1,
}  # fmt: skip

TRUTH: Mapping[str, float] = {"Not": 1, "IsNaN": 1, "IsInf": 1}


def _gelu_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    """erf form 5; tanh form x/2 · (1 + tanh(√(2/π)(x + 0.044715x³))) 9."""
    return (9.0 if call.attr("approximate", "none") == "tanh" else 5.0) * outs[0].elements


for _name, _flop in UNARY.items():
    rule(_name, flop=_gelu_flop if _name == "Gelu" else per_output(_flop))(same)


def _truth(call: Call) -> Sequence[Spec]:
    return ((call.shape(0), "bool"),)


for _name, _flop in TRUTH.items():
    rule(_name, flop=per_output(_flop))(_truth)


def _shapes(call: Call) -> tuple[tuple[int, ...], ...]:
    """Shapes of all inputs; opset 6 and older aligns the second one at `axis`."""
    shapes = tuple(call.shape(i) for i in range(len(call.inputs)))
    if call.attr("broadcast", 0) and "axis" in call.op.attrs and len(shapes) == 2:
        first, second = shapes
        axis = call.axis(call.number("axis", 0), len(first))
        return first, (*second, *(1,) * (len(first) - axis - len(second)))
    return shapes


def _broadcast(call: Call) -> Sequence[Spec]:
    return ((broadcast(call, *_shapes(call)), computed_dtype(call)),)


def _compare(call: Call) -> Sequence[Spec]:
    return ((broadcast(call, *_shapes(call)), "bool"),)


def _each_operand(flop: float) -> Count:
    return lambda call, outs: flop * (len(call.inputs) - 1) * outs[0].elements


for _name, _flop in BINARY.items():
    rule(_name, flop=_each_operand(_flop))(_broadcast)
for _name, _flop in COMPARISON.items():
    rule(_name, flop=per_output(_flop))(_compare)


@rule("Where", flop=per_output(1))
def where(call: Call) -> Sequence[Spec]:
    return ((broadcast(call, *(call.shape(i) for i in range(3))), computed_dtype(call, 1, 2)),)


def _same_dtype(call: Call, outs: tuple[Tensor, ...], graph: Graph) -> bool:
    return call.dtype(0) == outs[0].dtype


@rule("Cast", view=_same_dtype)
def cast(call: Call) -> Sequence[Spec]:
    """Attribute `to` is a name of `simgpu.dtypes`."""
    return ((call.shape(0), str(call.attr("to", "fp32"))),)


@rule("CastLike", view=_same_dtype)
def cast_like(call: Call) -> Sequence[Spec]:
    return ((call.shape(0), call.dtype(1)),)


@rule("Identity", view=always)
def identity(call: Call) -> Sequence[Spec]:
    return same(call)


def _is_idle(call: Call, outs: tuple[Tensor, ...], graph: Graph) -> bool:
    return not call.attr("training_mode", 0)


@rule("Dropout", view=_is_idle)
def dropout(call: Call) -> Sequence[Spec]:
    """Does nothing at inference."""
    return (call.shape(0), call.dtype(0)), (call.shape(0), "bool")


@rule("Bernoulli", "RandomNormalLike", "RandomUniformLike", flop=per_output(1))
def random_like(call: Call) -> Sequence[Spec]:
    return ((call.shape(0), str(call.attr("dtype", call.dtype(0)))),)


@rule("RotaryEmbedding", flop=per_output(3))
def rotary_embedding(call: Call) -> Sequence[Spec]:
    """Rotates pairs of channels by a position's angle: two products and a sum an element."""
    return same(call)
