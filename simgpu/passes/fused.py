"""Ops that stand for several: how fusion keeps account of what it merged.

A pass that merges ops leaves them in the attribute `members` of the op that replaces them, in an order in which they
could run. A pass that splits an op, or replaces it by another formula, writes what the op counted before into the
attribute `flop`, and the op's name into `origin`. So the algorithmic work of a graph is the same after every pass.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

from simgpu.graph.ir import Attr, Graph, Op
from simgpu.ops.registry import op_flop

# Ops whose output elements each need the same place of every input, or a broadcast of it.
_POINTWISE = """
    Abs Add And BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Acos Acosh Cosh
    DequantizeLinear Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log
    Max Mean Min Mish Mod Mul Neg Not Or PRelu PointwiseGrad Pow QuantizeLinear QuickGelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Asin Asinh
    Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Atan Atanh Tanh ThresholdedRelu Where Xor
"""
POINTWISE = frozenset(_POINTWISE.split())

MEMBERS = "members"
FLOP = "flop"
ORIGIN = "origin"
INTERNAL = "internal"  # the framework runs the op within the call of its origin: no operator call of its own


def members(op: Op) -> tuple[Op, ...]:
    """The ops that this one stands for: itself, unless something was fused."""
    return cast("tuple[Op, ...]", op.attrs.get(MEMBERS, (op,)))


def op_names(op: Op) -> tuple[str, ...]:
    """The names of the network's own ops that this one stands for."""
    attrs = op.attrs
    if ORIGIN in attrs:
        return (str(attrs[ORIGIN]),)
    if MEMBERS not in attrs:
        return (op.name,)
    return tuple(dict.fromkeys(name for m in members(op) for name in op_names(m)))


def algorithmic_flop(graph: Graph, op: Op) -> float:
    """FLOP as the network counts them, whatever was fused or decomposed. [FLOP]"""
    if FLOP in op.attrs:
        return float(cast("float", op.attrs[FLOP]))
    if MEMBERS in op.attrs:
        return sum(algorithmic_flop(graph, m) for m in members(op))
    return float(op_flop(graph, op))


def graph_flop(graph: Graph) -> float:
    """The sum over all ops. [FLOP]"""
    return sum(algorithmic_flop(graph, op) for op in graph.ops)


def with_attrs(op: Op, **changes: Attr) -> Op:
    """The op with some attributes set."""
    return op.with_(attrs=MappingProxyType({**op.attrs, **changes}))
