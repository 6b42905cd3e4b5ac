"""Ops that work on whole rows: softmax, normalisations, reductions, sorting."""

from __future__ import annotations

import math

from simgpu.graph.ir import Op, Tensor
from simgpu.kernels.context import Lowering, int_attr, ints_attr, rule
from simgpu.kernels.kernel import Access, Rows
from simgpu.passes.fused import members


def _axes(op: Op, rank: int) -> tuple[int, ...]:
    """The axes reduced, counted from the front; all if none are named."""
    axes = ints_attr(op, "axes")
    return tuple(sorted(a % rank for a in axes)) if axes and rank else tuple(range(rank))


def _emit(
    low: Lowering, op: Op, x: Tensor, *, kind: str, label: str, cols: int, contiguous: bool = True, writes_rows: bool = True, reads: list[Access] | None = None
) -> None:
    """The kernel over the rows of x; every other input is a small operand (scale, shift)."""
    work = Rows(kind=kind, rows=x.elements // cols if cols else 0, cols=cols, writes_rows=writes_rows, contiguous=contiguous, itemsize=low.itemsize(x))
    if reads is None:
        reads = [low.contiguous(op, x.name), *(low.access(t) for t in dict.fromkeys(op.inputs[1:]) if t and t != x.name)]
    low.emit(op, work, label=label, reads=reads, writes=[low.access(t) for t in op.outputs if t])


# ---- normalisations: what one row is

NORM_KINDS = {
    "Softmax": ("softmax", "softmax"),
    "LogSoftmax": ("softmax", "log softmax"),
    "LayerNormalization": ("layer_norm", "layer norm"),
    "RMSNormalization": ("rms_norm", "rms norm"),
    "LpNormalization": ("rms_norm", "Lp normalisation"),
    "GroupNormalization": ("group_norm", "group norm"),
    "InstanceNormalization": ("group_norm", "instance norm"),
    "Hardmax": ("softmax", "hardmax"),
    "MeanVarianceNormalization": ("layer_norm", "mean-variance norm"),
}


def row_of(op: Op, x: Tensor) -> tuple[int, bool]:
    """Elements of a row that an op normalises or reduces together, and whether they lie contiguous.

    >>> row_of(Op(name="s", type="Softmax", inputs=("x",), outputs=("y",)), Tensor(name="x", shape=(2, 3, 4)))
    (4, True)
    """
    rank = len(x.shape)
    if op.type in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "CumSum", "CumProd", "ArgMax", "ArgMin", "TopK"):
        default = 0 if op.type in ("ArgMax", "ArgMin", "CumSum", "CumProd") else -1
        axis = int_attr(op, "axis", default) % max(rank, 1)
        return (x.shape[axis] if rank else 1), axis == rank - 1 or math.prod(x.shape[axis + 1 :]) == 1
    if op.type == "GroupNormalization":
        return math.prod(x.shape[1:]) // max(int_attr(op, "num_groups", 1), 1), True
    if op.type in ("InstanceNormalization", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        return math.prod(x.shape[2:]), True
    if op.type.startswith("Reduce") or op.type == "MeanVarianceNormalization":
        axes = _axes(op, rank)
        return math.prod(x.shape[a] for a in axes), axes == tuple(range(rank - len(axes), rank))
    axis = int_attr(op, "axis", -1) % max(rank, 1)
    return math.prod(x.shape[axis:]), True


@rule(*NORM_KINDS)
def normalise(low: Lowering, op: Op) -> None:
    """Rows are read, their sums formed, and the rows written back."""
    x = low.input(op, 0)
    cols, contiguous = row_of(op, x)
    kind, label = NORM_KINDS[op.type]
    _emit(low, op, x, kind=kind, label=label, cols=cols, contiguous=contiguous)


@rule("FusedRows")
def fused_rows(low: Lowering, op: Op) -> None:
    """A normalisation or reduction with the elementwise ops before and after it in one kernel."""
    parts = members(op)
    anchor = next(p for p in parts if p.type in NORM_KINDS or p.type in _REDUCTIONS)
    x = low.input(anchor, 0)
    cols, contiguous = row_of(anchor, x)
    kind = NORM_KINDS[anchor.type][0] if anchor.type in NORM_KINDS else "reduce"
    writes_rows = any(low.tensor(t).elements >= x.elements for t in op.outputs)
    names = [NORM_KINDS[p.type][1] if p.type in NORM_KINDS else p.type.lower() for p in parts]
    label = " + ".join(names) if len(names) <= 4 else f"{names[0]} + … + {names[-1]} ({len(names)} ops)"
    reads = [low.access(t) for t in dict.fromkeys(op.inputs) if t]
    _emit(low, op, x, kind=kind, label=label, cols=cols, contiguous=contiguous, writes_rows=writes_rows, reads=reads)


def batch_norm_statistics(low: Lowering, op: Op) -> None:
    """Batch norm in training: mean and variance of each channel, then the scaled input."""
    x = low.input(op, 0)
    channels = x.shape[1] if len(x.shape) > 1 else 1
    _emit(low, op, x, kind="batch_norm", label="batch norm", cols=x.elements // channels if channels else 0, contiguous=False)


# ---- reductions: one value a row

_REDUCTIONS = {
    "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min", "ReduceProd": "prod", "ReduceL1": "L1 norm", "ReduceL2": "L2 norm",
    "ReduceSumSquare": "sum of squares", "ReduceLogSum": "log sum", "ReduceLogSumExp": "log sum exp",
    "GlobalAveragePool": "global average pool", "GlobalMaxPool": "global max pool", "GlobalLpPool": "global Lp pool",
}  # fmt: skip


@rule(*_REDUCTIONS)
def reduce(low: Lowering, op: Op) -> None:
    """Rows are read and one value each is written."""
    x = low.input(op, 0)
    cols, contiguous = row_of(op, x)
    _emit(low, op, x, kind="reduce", label=_REDUCTIONS[op.type], cols=cols, contiguous=contiguous, writes_rows=False)


@rule("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def loss(low: Lowering, op: Op) -> None:
    """One value for each row of class scores."""
    x = low.input(op, 0)
    classes = x.shape[1] if len(x.shape) > 1 else x.elements
    kind, label = ("softmax", "cross entropy") if op.type == "SoftmaxCrossEntropyLoss" else ("reduce", "negative log likelihood")
    _emit(low, op, x, kind=kind, label=label, cols=classes, contiguous=len(x.shape) == 2, writes_rows=False)


@rule("ArgMax", "ArgMin")
def argmax(low: Lowering, op: Op) -> None:
    x = low.input(op, 0)
    cols, contiguous = row_of(op, x)
    _emit(low, op, x, kind="argmax", label=op.type.lower(), cols=cols, contiguous=contiguous, writes_rows=False)


@rule("TopK")
def top_k(low: Lowering, op: Op) -> None:
    x = low.input(op, 0)
    cols, contiguous = row_of(op, x)
    _emit(low, op, x, kind="top_k", label="top k", cols=cols, contiguous=contiguous, writes_rows=False)


@rule("CumSum", "CumProd")
def cumsum(low: Lowering, op: Op) -> None:
    x = low.input(op, 0)
    cols, contiguous = row_of(op, x)
    _emit(low, op, x, kind="cumsum", label="cumsum", cols=cols, contiguous=contiguous)


@rule("Unique", "NonMaxSuppression")
def sort(low: Lowering, op: Op) -> None:
    """Sorts its candidates; for NMS the scores (the pairwise overlaps of the survivors are few beside it)."""
    x = low.input(op, 1 if op.type == "NonMaxSuppression" else 0)
    reads = [low.access(t) for t in dict.fromkeys(op.inputs) if t]
    cols = x.shape[-1] if x.shape and op.type == "NonMaxSuppression" else x.elements
    _emit(low, op, x, kind="sort", label="nms" if op.type == "NonMaxSuppression" else "unique", cols=cols, writes_rows=False, reads=reads)
