"""Ops that look elements up, write them somewhere, or make new ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Spec, always, per_output, rule, same


def _as_written(call: Call, outs: tuple[Tensor, ...]) -> Mapping[int, float]:
    """Of the table only the rows that are looked up are read."""
    return {0: outs[0].bytes}


@rule("Gather", read=_as_written)
def gather(call: Call) -> Sequence[Spec]:
    """Rows of input 0 along an axis: an embedding where axis is 0."""
    x, indices = call.shape(0, rank=1), call.shape(1)
    axis = call.axis(call.number("axis", 0), len(x))
    return (((*x[:axis], *indices, *x[axis + 1 :]), call.dtype(0)),)


@rule("GatherElements", read=_as_written)
def gather_elements(call: Call) -> Sequence[Spec]:
    if len(call.shape(0)) != len(call.shape(1)):
        raise call.fail(f"data of {call.shape(0)} and indices of {call.shape(1)} must have as many dimensions")
    return ((call.shape(1), call.dtype(0)),)


@rule("GatherND", read=_as_written)
def gather_nd(call: Call) -> Sequence[Spec]:
    data, indices, batch = call.shape(0, rank=1), call.shape(1, rank=1), call.number("batch_dims", 0)
    depth = batch + indices[-1]
    if not 0 <= batch < len(indices) or depth > len(data):
        raise call.fail(f"indices of {indices} with {batch} batch dimensions reach deeper than data of {data}")
    return (((*indices[:-1], *data[depth:]), call.dtype(0)),)


@rule("ScatterND", "ScatterElements", "Scatter", "TensorScatter")
def scatter(call: Call) -> Sequence[Spec]:
    """The data with some elements replaced; written anew as a whole."""
    call.tensor(1), call.tensor(2)
    return same(call)


@rule("Compress", bounded=True)
def compress(call: Call) -> Sequence[Spec]:
    x = call.tensor(0)
    known = call.values.get(call.tensor(1).name)
    if "axis" not in call.op.attrs:
        return (((x.elements if known is None else int((known != 0).sum()),), x.dtype),)
    axis = call.axis(call.number("axis", 0), len(x.shape))
    return (((*x.shape[:axis], x.shape[axis] if known is None else int((known != 0).sum()), *x.shape[axis + 1 :]), x.dtype),)


@rule("NonZero", bounded=True)
def non_zero(call: Call) -> Sequence[Spec]:
    """As many as the input has elements, unless it is known."""
    x = call.tensor(0)
    known = call.values.get(x.name)
    return (((len(x.shape), x.elements if known is None else int((known != 0).sum())), "int64"),)


@rule("OneHot")
def one_hot(call: Call) -> Sequence[Spec]:
    indices, depth = call.shape(0), call.operand("depth", 1)
    if not depth or depth[0] < 0:
        raise call.fail(f"depth is {depth}, expected one number")
    axis = call.axis(call.number("axis", -1), len(indices) + 1)
    return (((*indices[:axis], depth[0], *indices[axis:]), call.dtype(2) if call.has(2) else "fp32"),)


# ---- new tensors


@rule("Shape", view=always)
def shape(call: Call) -> Sequence[Spec]:
    rank = len(call.shape(0))
    return (((len(range(rank)[call.attr("start", 0) : call.attr("end", rank)]),), "int64"),)


@rule("Size", view=always)
def size(call: Call) -> Sequence[Spec]:
    call.tensor(0)
    return (((), "int64"),)


@rule("ConstantOfShape")
def constant_of_shape(call: Call) -> Sequence[Spec]:
    wanted = call.operand("shape", 0)
    if wanted is None:
        raise call.fail("has no shape")
    return ((wanted, str(call.attr("dtype", "fp32"))),)


@rule("Constant")
def constant(call: Call) -> Sequence[Spec]:
    return ((call.integers("shape", ()), str(call.attr("dtype", "fp32"))),)


@rule("RandomNormal", "RandomUniform", flop=per_output(1))
def random(call: Call) -> Sequence[Spec]:
    return ((call.integers("shape", ()), str(call.attr("dtype", "fp32"))),)


@rule("Multinomial", flop=per_output(1))
def multinomial(call: Call) -> Sequence[Spec]:
    return (((call.shape(0, rank=2)[0], call.number("sample_size", 1)), "int32"),)


@rule("Range")
def range_(call: Call) -> Sequence[Spec]:
    start, limit, delta = (call.value(name, i) for i, name in enumerate(("start", "limit", "delta")))
    if start is None or limit is None or delta is None or delta.reshape(-1)[:1].tolist() in ([], [0]):
        raise call.fail("start, limit and a delta other than 0 must be given")
    count = (float(limit.reshape(-1)[0]) - float(start.reshape(-1)[0])) / float(delta.reshape(-1)[0])
    if not math.isfinite(count):
        raise call.fail("its length is not finite")
    return (((max(math.ceil(count), 0),), call.dtype(0) if call.has(0) else "int64"),)


@rule("EyeLike")
def eye_like(call: Call) -> Sequence[Spec]:
    return ((call.shape(0, rank=2), str(call.attr("dtype", call.dtype(0)))),)


@rule("HannWindow", "HammingWindow", "BlackmanWindow", flop=per_output(4))
def window(call: Call) -> Sequence[Spec]:
    length = call.operand("size", 0)
    if not length:
        raise call.fail("has no size")
    return ((length[:1], "fp32"),)
