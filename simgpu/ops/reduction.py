"""Ops that make many elements into few, or order them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simgpu.ops.registry import Call, Spec, per_input, rule, same

# FLOP for each element reduced.
REDUCTIONS: Mapping[str, float] = {
    "ReduceSum": 1,
    "ReduceMean": 1,
    "ReduceMax": 1,
    "ReduceMin": 1,
    "ReduceProd": 1,
    "ReduceL1": 2,
    "ReduceL2": 2,
    "ReduceSumSquare": 2,
    "ReduceLogSum": 1,
    "ReduceLogSumExp": 2,
}


def _reduce(call: Call) -> Sequence[Spec]:
    x = call.shape(0)
    axes = call.operand("axes", 1)
    if not axes:
        if call.attr("noop_with_empty_axes", 0):
            return same(call)
        axes = tuple(range(len(x)))
    axes = call.axes(axes, len(x))
    keep = call.attr("keepdims", 1)
    return ((tuple(1 if i in axes else d for i, d in enumerate(x) if keep or i not in axes), call.dtype(0)),)


for _name, _flop in REDUCTIONS.items():
    rule(_name, flop=per_input(_flop))(_reduce)


@rule("ArgMax", "ArgMin", flop=per_input(1))
def arg_max(call: Call) -> Sequence[Spec]:
    x = call.shape(0, rank=1)
    axis, keep = call.axis(call.number("axis", 0), len(x)), call.attr("keepdims", 1)
    return ((tuple(1 if i == axis else d for i, d in enumerate(x) if keep or i != axis), "int64"),)


@rule("TopK", flop=per_input(1))
def top_k(call: Call) -> Sequence[Spec]:
    x, k = call.shape(0, rank=1), call.operand("k", 1)
    axis = call.axis(call.number("axis", -1), len(x))
    if k is None or len(k) != 1 or k[0] < 0:
        raise call.fail(f"k is {k}, expected one number of 0 or more")
    shape = (*x[:axis], min(k[0], x[axis]), *x[axis + 1 :])
    return (shape, call.dtype(0)), (shape, "int64")


@rule("CumSum", "CumProd", flop=per_input(1))
def cumulative(call: Call) -> Sequence[Spec]:
    return same(call)


@rule("Unique", flop=per_input(1), bounded=True)
def unique(call: Call) -> Sequence[Spec]:
    """As many as there are elements, at most."""
    x = call.tensor(0)
    if "axis" in call.op.attrs:
        axis = call.axis(call.number("axis", 0), len(x.shape))
        return (x.shape, x.dtype), ((x.shape[axis],), "int64"), ((x.shape[axis],), "int64"), ((x.shape[axis],), "int64")
    flat = (x.elements,)
    return (flat, x.dtype), (flat, "int64"), (flat, "int64"), (flat, "int64")
