"""The gradient of each op, as the ops that PyTorch's autograd would run.

Ops that have no ONNX name: ConvDataGrad (gradient, filters), ConvWeightGrad (gradient, input), PointwiseGrad (gradient, saved
operands; attribute `of`), NormGrad and NormParamGrad, BatchNormGrad, SoftmaxGrad, PoolGrad, EmbeddingGrad, ResizeGrad,
AttentionGrad, RecurrentGrad, GroupedLinearDataGrad and GroupedLinearWeightGrad.

Source: PyTorch tools/autograd/derivatives.yaml.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from simgpu.graph.ir import Attr, Op
from simgpu.passes.fused import FLOP, MEMBERS, ORIGIN, POINTWISE, algorithmic_flop

if TYPE_CHECKING:
    from simgpu.passes.training import Backward

Rule = Callable[["Backward", Op, tuple[str, ...]], None]
GRADIENTS: dict[str, Rule] = {}

# Results that do not change with their inputs, or only in steps.
NO_GRADIENT = frozenset(
    {"Shape", "Size", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf"}
    | {"Floor", "Ceil", "Round", "Sign", "NonZero", "NonMaxSuppression", "OneHot", "Range", "ConstantOfShape", "Constant", "QuantizeLinear"}
)


def gradient(*op_types: str) -> Callable[[Rule], Rule]:
    """Registers a function as the gradient of some op types."""

    def register(rule: Rule) -> Rule:
        GRADIENTS.update(dict.fromkeys(op_types, rule))
        return rule

    return register


def _own(op: Op) -> dict[str, Attr]:
    """The op's attributes without the bookkeeping of passes."""
    return {k: v for k, v in op.attrs.items() if k not in (FLOP, MEMBERS, ORIGIN)}


def _like(*names: str) -> tuple[tuple[str, None], ...]:
    """Outputs that are like these tensors, in shape and format."""
    return tuple((name, None) for name in names)


# ---- products


@gradient("Conv")
def conv(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x, w = op.inputs[:2]
    flop = algorithmic_flop(b.graph, op)
    if b.needs(x):
        b.give(x, b.add("ConvDataGrad", (dy[0], w), like=x, flop=flop, attrs=_own(op)))
    if b.needs(w):
        b.give(w, b.add("ConvWeightGrad", (x, dy[0]), like=w, flop=flop, attrs=_own(op)))
    _bias(b, op, dy[0], channel_axis=1)


@gradient("ConvTranspose")
def conv_transpose(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x, w = op.inputs[:2]
    flop = algorithmic_flop(b.graph, op)
    if b.needs(x):
        b.give(x, b.add("Conv", (dy[0], w), like=x, flop=flop, attrs=_own(op)))
    if b.needs(w):
        b.give(w, b.add("ConvWeightGrad", (dy[0], x), like=w, flop=flop, attrs=_own(op)))
    _bias(b, op, dy[0], channel_axis=1)


def _bias(b: Backward, op: Op, dy: str, *, channel_axis: int) -> None:
    if len(op.inputs) > 2 and op.inputs[2] and b.needs(op.inputs[2]):
        rank = len(b.shape(dy))
        axes = tuple(a for a in range(rank) if a != channel_axis % rank)
        b.give(op.inputs[2], b.add("ReduceSum", (dy,), like=op.inputs[2], attrs={"axes": axes, "keepdims": 0}) if axes else dy)


def _folded(b: Backward, name: str) -> str:
    """The tensor as a matrix [rows, last axis]."""
    shape = b.shape(name)
    if len(shape) == 2:
        return name
    rows = (math.prod(shape[:-1]), shape[-1])
    return b.add("Reshape", (name,), shape=rows)


@gradient("Linear")
def linear(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """dX = dY · W, dW = dYᵀ · X."""
    x, w = op.inputs[:2]
    if b.needs(x):
        b.give(x, b.add("MatMul", (dy[0], w), like=x))
    if b.needs(w):
        b.give(w, b.add("Gemm", (_folded(b, dy[0]), _folded(b, x)), like=w, attrs={"transA": 1}))
    _bias(b, op, dy[0], channel_axis=-1)


@gradient("Gemm")
def gemm(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    a, w = op.inputs[:2]
    trans_a, trans_b = bool(op.attrs.get("transA")), bool(op.attrs.get("transB"))
    flop = algorithmic_flop(b.graph, op)
    if b.needs(a):
        operands = (w, dy[0]) if trans_a else (dy[0], w)
        b.give(a, b.add("Gemm", operands, like=a, flop=flop, attrs={"transA": int(trans_a and trans_b), "transB": int(trans_a or not trans_b)}))
    if b.needs(w):
        operands = (dy[0], a) if trans_b else (a, dy[0])
        b.give(w, b.add("Gemm", operands, like=w, flop=flop, attrs={"transA": int(trans_b or not trans_a), "transB": int(trans_b and trans_a)}))
    if len(op.inputs) > 2 and op.inputs[2]:
        b.give(op.inputs[2], dy[0])


@gradient("MatMul")
def matmul(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """dA = dC · Bᵀ, dB = Aᵀ · dC; a weight shared by all batches gets one product over all rows."""
    x, w = op.inputs[:2]
    flop = algorithmic_flop(b.graph, op)
    trans_b = int(bool(op.attrs.get("transB")))
    out = b.shape(dy[0])
    if b.needs(x):
        b.give(x, b.add("MatMul", (dy[0], w), like=x, shape=_batched(out, b.shape(x)), flop=flop, attrs={"transB": 1 - trans_b}))
    if b.needs(w):
        if len(b.shape(w)) == 2 and not trans_b:
            b.give(w, b.add("Gemm", (_folded(b, x), _folded(b, dy[0])), like=w, flop=flop, attrs={"transA": 1}))
        else:
            operands = (dy[0], x) if trans_b else (x, dy[0])
            b.give(w, b.add("MatMul", operands, like=w, shape=_batched(out, b.shape(w)), flop=flop, attrs={"transA": 1}))


def _batched(out: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an operand's gradient before broadcast batches are summed."""
    return (*out[:-2], *shape[-2:]) if len(shape) > 1 else shape


@gradient("GroupedLinear")
def grouped_linear(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x, w = op.inputs[:2]
    flop = algorithmic_flop(b.graph, op)
    if b.needs(x):
        b.give(x, b.add("GroupedLinearDataGrad", (dy[0], w), like=x, flop=flop, attrs=_own(op)))
    b.give(w, b.add("GroupedLinearWeightGrad", (x, dy[0]), like=w, flop=flop, attrs=_own(op)))


@gradient("Einsum")
def einsum(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """The gradient of either operand is the product of the result's gradient with the other one."""
    left, _, result = str(op.attrs.get("equation", "")).replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2:
        b.stopped.add(op.type)
        return
    flop = algorithmic_flop(b.graph, op)
    for i, name in enumerate(op.inputs):
        if b.needs(name):
            b.give(name, b.add("Einsum", (dy[0], op.inputs[1 - i]), like=name, flop=flop, attrs={"equation": f"{result},{terms[1 - i]}->{terms[i]}"}))


@gradient("Attention")
def attention(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Four products of the size of the forward pass's two: dV, dP, dQ, dK; the kernel also computes the scores again."""
    q, k, v = op.inputs[:3]
    made = b.add_many(
        "AttentionGrad", (dy[0], q, k, v, op.outputs[0]), ((q, None), (k, None), (v, None)), flop=2 * algorithmic_flop(b.graph, op), attrs=_own(op)
    )
    for name, grad in zip((q, k, v), made, strict=True):
        b.give(name, grad)


@gradient("LSTM", "GRU", "RNN")
def recurrent(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x, w, r = op.inputs[:3]
    made = b.add_many(
        "RecurrentGrad",
        (dy[0], x, w, r, op.outputs[0]),
        _like(x, w, r),
        flop=2 * algorithmic_flop(b.graph, op),
        attrs={**_own(op), "of": op.type},
    )
    for name, grad in zip((x, w, r), made, strict=True):
        b.give(name, grad)


# ---- elementwise

_SAVES_RESULT = frozenset({"Relu", "Sigmoid", "Tanh", "Sqrt", "Exp", "Reciprocal", "Clip", "HardSigmoid"})


@gradient(*(POINTWISE - NO_GRADIENT - {"BatchNormalization", "Add", "Sub", "Mul", "Sum", "Cast", "CastLike", "DequantizeLinear", "PointwiseGrad"}), "LRN")
def pointwise(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """One kernel for each operand, of the gradient and what the derivative needs."""
    flop = algorithmic_flop(b.graph, op)
    saved = op.outputs[:1] if op.type in _SAVES_RESULT else tuple(t for t in op.inputs if t)
    for name in op.inputs:
        if name and b.needs(name):
            b.give(name, b.add("PointwiseGrad", (dy[0], *saved), flop=flop, attrs={"of": op.type}))


@gradient("Add", "Sum")
def add(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    for name in op.inputs:
        if name:
            b.give(name, dy[0])


@gradient("Sub")
def sub(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    b.give(op.inputs[0], dy[0])
    if b.needs(op.inputs[1]):
        b.give(op.inputs[1], b.add("Neg", dy))


@gradient("Mul")
def mul(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x, y = op.inputs
    for name, other in ((x, y), (y, x)):
        if b.needs(name):
            b.give(name, b.add("Mul", (dy[0], other)))


@gradient("Cast", "CastLike")
def cast(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x = op.inputs[0]
    if b.needs(x):
        b.give(x, b.add("Cast", dy, like=x, flop=0.0, attrs={"to": b.tensors[x].dtype}))


@gradient("RotaryEmbedding")
def rotary(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Turned back by the same angles."""
    b.give(op.inputs[0], b.add("RotaryEmbedding", (dy[0], *op.inputs[1:]), attrs=_own(op)))


# ---- rows


@gradient("BatchNormalization")
def batch_norm(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x, scale, shift = op.inputs[:3]
    made = b.add_many("BatchNormGrad", (dy[0], x, scale), _like(x, scale, shift), flop=2 * algorithmic_flop(b.graph, op))
    for name, grad in zip((x, scale, shift), made, strict=True):
        b.give(name, grad)


@gradient("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "LpNormalization")
def norm(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """One kernel for the input, and one that sums over all rows for scale and shift."""
    x, *own = (t for t in op.inputs if t)
    flop = algorithmic_flop(b.graph, op)
    if b.needs(x):
        b.give(x, b.add("NormGrad", (dy[0], x, *own[:1]), like=x, flop=flop, attrs={**_own(op), "of": op.type}))
    wanted = tuple(t for t in own if b.needs(t))
    if wanted:
        made = b.add_many("NormParamGrad", (dy[0], x), _like(*wanted), flop=flop)
        for name, grad in zip(wanted, made, strict=True):
            b.give(name, grad)


@gradient("Softmax", "LogSoftmax")
def softmax(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    b.give(op.inputs[0], b.add("SoftmaxGrad", (dy[0], op.outputs[0]), flop=algorithmic_flop(b.graph, op), attrs={"axis": op.attrs.get("axis", -1)}))


@gradient("ReduceSum", "ReduceMean", "GlobalAveragePool")
def reduce(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """The gradient is repeated along the reduced axes, which is a view; a mean divides it."""
    x = op.inputs[0]
    shape = b.shape(x)
    small = dy[0]
    if len(b.shape(small)) != len(shape):
        axes = op.attrs.get("axes", ())
        gone = {a % len(shape) for a in axes} if isinstance(axes, tuple) and axes else set(range(len(shape)))
        small = b.add("Reshape", (small,), shape=tuple(1 if i in gone else d for i, d in enumerate(shape)))
    wide = b.add("Expand", (small,), shape=shape)
    b.give(x, wide if op.type == "ReduceSum" else b.add("PointwiseGrad", (wide,), flop=float(math.prod(shape)), attrs={"of": "Mul"}))


@gradient("ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd", "GlobalMaxPool", "CumSum")
def other_reduction(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    x = op.inputs[0]
    b.give(x, b.add("PointwiseGrad", (dy[0], x), like=x, flop=algorithmic_flop(b.graph, op), attrs={"of": "Mul"}))


# ---- pools and resampling


@gradient("MaxPool", "AveragePool", "LpPool")
def pool(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Each input looks up the windows it was in; a maximum also needs their positions."""
    x = op.inputs[0]
    saved = (x,) if op.type == "LpPool" else ()
    b.give(x, b.add("PoolGrad", (dy[0], *saved), like=x, flop=algorithmic_flop(b.graph, op), attrs={**_own(op), "of": op.type}))


@gradient("Resize", "Upsample", "GridSample", "RoiAlign")
def resize(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    b.give(op.inputs[0], b.add("ResizeGrad", dy, like=op.inputs[0], flop=algorithmic_flop(b.graph, op)))


# ---- movement


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def view(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    shape = b.shape(op.inputs[0])
    b.give(op.inputs[0], b.add("Reshape", dy, shape=shape))


@gradient("Dropout")
def dropout(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """The same elements are dropped again."""
    mask = op.outputs[1:2] if op.attrs.get("training_mode") else ()
    b.give(op.inputs[0], b.add("PointwiseGrad", (dy[0], *mask), flop=0.0, attrs={"of": "Dropout"}) if mask else dy[0])


@gradient("Identity")
def identity(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    b.give(op.inputs[0], dy[0])


@gradient("Transpose")
def transpose(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    shape = b.shape(op.inputs[0])
    perm = op.attrs.get("perm")
    order = perm if isinstance(perm, tuple) and perm else tuple(reversed(range(len(shape))))
    back = tuple(order.index(i) for i in range(len(order)))
    b.give(op.inputs[0], b.add("Transpose", dy, shape=shape, attrs={"perm": back}))


@gradient("Concat")
def concat(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Parts of the gradient: views."""
    parts = b.add_many("Split", dy, _like(*op.inputs), attrs={"axis": op.attrs.get("axis", 0)})
    for name, part in zip(op.inputs, parts, strict=True):
        b.give(name, part)


@gradient("Split")
def split(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """The parts' gradients joined; a part that nothing depends on counts as zeros that are written."""
    b.give(op.inputs[0], b.add("Concat", tuple(d for d in dy if d), like=op.inputs[0], attrs={"axis": op.attrs.get("axis", 0)}))


@gradient("Slice", "Gather", "GatherElements", "GatherND")
def gather(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Zeros of the whole size, and the gradient added where it came from."""
    x = op.inputs[0]
    if b.needs(x):
        b.give(x, b.add("EmbeddingGrad", (dy[0], *(t for t in op.inputs[1:] if t)), like=x))


_GATHER_BACK = {"ScatterND": "GatherND", "ScatterElements": "GatherElements"}


@gradient("ScatterND", "ScatterElements")
def scatter(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Updates get what their places got; data too, but nothing where they were overwritten (added to, they are all still there)."""
    data, indices, updates = op.inputs[:3]
    reduction = op.attrs.get("reduction", "none")
    if reduction not in ("none", "add"):
        b.stopped.add(f"{op.type} with reduction {reduction}")
        return
    own = {k: v for k, v in _own(op).items() if k != "reduction"}
    if b.needs(updates):
        b.give(updates, b.add(_GATHER_BACK[op.type], (dy[0], indices), shape=b.shape(updates), attrs=own))
    if b.needs(data):
        b.give(data, dy[0] if reduction == "add" else b.add(op.type, (dy[0], indices, b.constant("zero")), attrs=own))


@gradient("TopK")
def top_k(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    """Zeros of the whole size, and the gradients of the values that were chosen."""
    if dy[0]:
        b.give(op.inputs[0], b.add("EmbeddingGrad", (dy[0], op.outputs[1]), like=op.inputs[0]))


@gradient("Pad")
def pad(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    shape = b.shape(op.inputs[0])
    b.give(op.inputs[0], b.add("Slice", dy, shape=shape, attrs={"steps": (1,) * len(shape), "axes": tuple(range(len(shape)))}))


@gradient("Expand")
def expand(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    b.give(op.inputs[0], dy[0])


@gradient("DepthToSpace", "SpaceToDepth")
def shuffle(b: Backward, op: Op, dy: tuple[str, ...]) -> None:
    other = "SpaceToDepth" if op.type == "DepthToSpace" else "DepthToSpace"
    b.give(op.inputs[0], b.add(other, dy, like=op.inputs[0], attrs=_own(op)))
