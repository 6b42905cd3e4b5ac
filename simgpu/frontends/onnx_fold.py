"""Small constant subgraphs worked out with NumPy: Shape → Gather → Concat → Reshape and what else exporters write to say a shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simgpu.errors import SimgpuError
from simgpu.frontends.onnx_proto import MAX_VALUE_ELEMENTS, NUMPY, NUMPY_INT, Array
from simgpu.graph.ir import Op, Tensor
from simgpu.ops.movement import slice_ranges
from simgpu.ops.registry import Call, Spec

Evaluate = Callable[[Call, Sequence[Array], Spec], Any]


def _divide(a: Array, b: Array) -> Array:
    """Integers divide toward zero, as ONNX and C do."""
    if a.dtype.kind not in "iu":
        return np.asarray(np.divide(a, b))
    quotient = np.asarray(np.where(b == 0, 0, np.abs(a) // np.maximum(np.abs(b), 1)) * np.sign(a) * np.sign(b))
    return quotient.astype(a.dtype)


def _modulo(call: Call, v: Sequence[Array], spec: Spec) -> Array:
    return np.asarray(np.fmod(v[0], v[1]) if call.attr("fmod", 0) else np.mod(v[0], v[1]))


def _reduce(function: Callable[..., Any]) -> Evaluate:
    def evaluate(call: Call, v: Sequence[Array], spec: Spec) -> Any:
        axes = call.operand("axes", 1)
        if not axes and call.attr("noop_with_empty_axes", 0):
            return v[0]
        return function(v[0], axis=axes or None, keepdims=bool(call.attr("keepdims", 1)))

    return evaluate


def _slice(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    cuts = dict(slice_ranges(call))
    result = v[0]
    for axis, kept in cuts.items():
        result = np.take(result, np.array(kept, dtype=np.int64), axis=axis)
    return result


def _scatter_nd(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    result = v[0].copy()
    if call.attr("reduction", "none") == "none":
        result[tuple(np.moveaxis(v[1], -1, 0))] = v[2]
        return result
    return None


def _scatter_elements(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    result = v[0].copy()
    if call.attr("reduction", "none") != "none":
        return None
    np.put_along_axis(result, v[1], v[2], axis=call.number("axis", 0))
    return result


def _gather_nd(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    return None if call.attr("batch_dims", 0) else v[0][tuple(np.moveaxis(v[1], -1, 0))]


def _one_hot(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    depth = (call.operand("depth", 1) or (0,))[0]
    axis = call.number("axis", -1)
    hot = np.moveaxis(np.arange(depth) == np.mod(v[0], depth)[..., None], -1, axis)
    off, on = v[-1].reshape(-1)[:2]
    return np.where(hot, on, off)


def _clip(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    low, high = call.value("min", 1), call.value("max", 2)
    return v[0] if low is None and high is None else np.clip(v[0], low, high)


def _range(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    start, delta = call.value("start", 0), call.value("delta", 2)
    if start is None or delta is None:
        return None
    return (start.reshape(-1)[0] + delta.reshape(-1)[0] * np.arange(spec[0][0])).astype(v[0].dtype if v else start.dtype)


def _pad(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    pads = call.operand("pads", 1) or ()
    half = len(pads) // 2
    if call.attr("mode", "constant") != "constant" or any(p < 0 for p in pads) or half != v[0].ndim:
        return None
    fill = call.value("constant_value", 2)
    return np.pad(v[0], tuple(zip(pads[:half], pads[half:], strict=True)), constant_values=0 if fill is None or not fill.size else fill.reshape(-1)[0])


def _cumulative(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    axis = call.operand("axis", 1)
    return None if call.attr("exclusive", 0) or call.attr("reverse", 0) or not axis else np.cumsum(v[0], axis=axis[0])


def _constant_of_shape(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    return np.full(spec[0], call.attr("fill", 0.0))


def _compress(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    axis = call.attr("axis")
    return np.compress(v[1].reshape(-1).astype(bool), v[0], axis=axis)


def _arg(function: Callable[..., Any]) -> Evaluate:
    def evaluate(call: Call, v: Sequence[Array], spec: Spec) -> Any:
        return function(v[0], axis=call.number("axis", 0)).reshape(spec[0])

    return evaluate


def _top_k(call: Call, v: Sequence[Array], spec: Spec) -> Any:
    if not call.attr("largest", 1):
        return None
    axis = call.number("axis", -1)
    order = np.argsort(-v[0], axis=axis, kind="stable").take(np.arange(spec[0][axis]), axis=axis)
    return np.take_along_axis(v[0], order, axis=axis), order


def _plain(function: Callable[..., Any]) -> Evaluate:
    return lambda call, v, spec: function(*v)


def _many(function: Callable[[Any, Any], Any]) -> Evaluate:
    def evaluate(call: Call, v: Sequence[Array], spec: Spec) -> Any:
        result = v[0]
        for other in v[1:]:
            result = function(result, other)
        return result

    return evaluate


# Each takes the call, its known values and the first output's shape and dtype; None = cannot say.
EVALUATE: Mapping[str, Evaluate] = {
    "Shape": lambda call, v, spec: np.array(call.shape(0)[call.attr("start", 0) : call.attr("end", len(call.shape(0)))], dtype=np.int64),
    "Size": lambda call, v, spec: np.array(call.tensor(0).elements, dtype=np.int64),
    "Identity": _plain(lambda x: x),
    "Cast": _plain(lambda x: x),
    "CastLike": lambda call, v, spec: v[0],
    "Reshape": lambda call, v, spec: v[0].reshape(spec[0]),
    "Flatten": lambda call, v, spec: v[0].reshape(spec[0]),
    "Squeeze": lambda call, v, spec: v[0].reshape(spec[0]),
    "Unsqueeze": lambda call, v, spec: v[0].reshape(spec[0]),
    "Expand": lambda call, v, spec: np.broadcast_to(v[0], spec[0]),
    "Tile": lambda call, v, spec: np.tile(v[0], call.operand("repeats", 1) or ()),
    "Transpose": lambda call, v, spec: np.transpose(v[0], call.attr("perm")),
    "Concat": lambda call, v, spec: np.concatenate(v, axis=call.number("axis", 0)),
    "Split": lambda call, v, spec: tuple(np.split(v[0], np.cumsum(_split_sizes(call))[:-1], axis=call.number("axis", 0))),
    "Slice": _slice,
    "Pad": _pad,
    "Gather": lambda call, v, spec: np.take(v[0], v[1], axis=call.number("axis", 0)),
    "GatherElements": lambda call, v, spec: np.take_along_axis(v[0], v[1], axis=call.number("axis", 0)),
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Compress": _compress,
    "OneHot": _one_hot,
    "Range": _range,
    "ConstantOfShape": _constant_of_shape,
    "NonZero": _plain(lambda x: np.array(np.nonzero(x))),
    "Trilu": lambda call, v, spec: (np.triu if call.attr("upper", 1) else np.tril)(v[0], (call.operand("k", 1) or (0,))[0]),
    "EyeLike": lambda call, v, spec: np.eye(spec[0][0], spec[0][1], k=call.number("k", 0)),
    "TopK": _top_k,
    "CumSum": _cumulative,
    "ArgMax": _arg(np.argmax),
    "ArgMin": _arg(np.argmin),
    "Where": _plain(np.where),
    "Clip": _clip,
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Div": _plain(_divide),
    "Mod": _modulo,
    "Pow": _plain(np.power),
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Sum": _many(np.add),
    "Neg": _plain(np.negative),
    "Abs": _plain(np.abs),
    "Sign": _plain(np.sign),
    "Floor": _plain(np.floor),
    "Ceil": _plain(np.ceil),
    "Round": _plain(np.round),
    "Sqrt": _plain(np.sqrt),
    "Exp": _plain(np.exp),
    "Log": _plain(np.log),
    "Sin": _plain(np.sin),
    "Cos": _plain(np.cos),
    "Reciprocal": _plain(np.reciprocal),
    "Relu": _plain(lambda x: np.maximum(x, 0)),
    "Not": _plain(np.logical_not),
    "And": _plain(np.logical_and),
    "Or": _plain(np.logical_or),
    "Xor": _plain(np.logical_xor),
    "Equal": _plain(np.equal),
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "IsNaN": _plain(np.isnan),
    "ReduceSum": _reduce(np.sum),
    "ReduceProd": _reduce(np.prod),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceMean": _reduce(np.mean),
}


def _split_sizes(call: Call) -> tuple[int, ...]:
    axis, x = call.number("axis", 0), call.shape(0)
    given = call.operand("split", 1)
    if given:
        return given
    parts = len(call.op.outputs)
    size = -(-x[axis] // parts)
    return tuple(max(min(size, x[axis] - i * size), 0) for i in range(parts))


def evaluate(op: Op, inputs: Sequence[Tensor | None], values: Mapping[str, Array], specs: Sequence[Spec]) -> tuple[Array, ...] | None:
    """Values of the outputs of an op whose inputs are all known; None if it is too large or nobody knows how.

    Args:
        specs: Shape and dtype of the outputs, as the op's rule gives them.
    """
    function = EVALUATE.get(op.type)
    if function is None or any(np.prod(shape, dtype=float) > MAX_VALUE_ELEMENTS for shape, _ in specs):
        return None
    known = () if op.type in ("Shape", "Size") else tuple(values[t.name] for t in inputs if t is not None)
    try:
        with np.errstate(all="ignore"):
            result = function(Call(op, tuple(inputs), values), known, specs[0])
    except (ValueError, TypeError, IndexError, OverflowError, SimgpuError):
        return None
    if result is None:
        return None
    outputs = result if isinstance(result, tuple) else (result,)
    arrays = []
    for array, (shape, dtype) in zip(outputs, specs, strict=False):
        wanted = NUMPY_INT.get(dtype) or NUMPY.get(dtype)
        if wanted is None or np.shape(array) != shape:
            return None
        with np.errstate(all="ignore"):
            arrays.append(np.asarray(array).astype(wanted))
    return tuple(arrays) if len(arrays) == len(specs) else None
