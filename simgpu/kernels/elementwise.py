"""Elementwise ops, alone and fused: one stream over memory, and how many instructions an element takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from simgpu.graph.ir import Op, Tensor
from simgpu.kernels.context import Layout, Lowering, Strides, int_attr, is_dense, keeps_rows, rule
from simgpu.kernels.kernel import Access, Stream
from simgpu.passes.fused import POINTWISE, algorithmic_flop, members


class Instructions(NamedTuple):
    """What the threads execute for an element besides its loads and stores.

    Attributes:
        alu: Instructions of the FP32/integer pipes.
        sfu: Results of the special-function unit: MUFU.EX2, LG2, RCP, RSQ, SQRT, TANH (from Turing on), SIN, COS.
    """

    alu: float
    sfu: float = 0.0


def _each(names: str, one: Instructions) -> dict[str, Instructions]:
    return dict.fromkeys(names.split(), one)


# Instructions an element, read off the algorithms of CUDA's single-precision functions as nvcc compiles them without
# -use_fast_math: expf is one EX2 and about 6 instructions of scaling, a division by an inline reciprocal is one RCP and about
# 8 with its range check, erff two polynomials of degree 9, of which each warp mostly runs both, and one EX2.
# Source: CUDA C++ Programming Guide, sections "Arithmetic Instructions" and "Mathematical Functions"; the order of
# magnitude was checked against A100 measurements, where pow alone stays below memory speed.
INSTRUCTIONS: dict[str, Instructions] = {
    # one instruction, or a compare and a select
    **_each("Add Sub Mul Max Min And Or Xor Not BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Neg Abs Relu Identity", Instructions(1)),
    **_each("Equal Greater GreaterOrEqual Less LessOrEqual Where IsNaN IsInf Floor Ceil Round Sign LeakyRelu PRelu ThresholdedRelu Clip Cast", Instructions(2)),
    "Shrink": Instructions(4),
    "CastLike": Instructions(2),
    "HardSigmoid": Instructions(3),
    "HardSwish": Instructions(4),
    "Mean": Instructions(1),
    "Sum": Instructions(1),
    "BatchNormalization": Instructions(2),  # x · a + b, after a and b of the channel
    "QuantizeLinear": Instructions(5),  # multiply, round, saturate on both sides, pack
    "DynamicQuantizeLinear": Instructions(7),
    "DequantizeLinear": Instructions(3),
    "RotaryEmbedding": Instructions(4),  # two FMAs and the index of the partner
    "Mod": Instructions(20),
    "Div": Instructions(8, 1),
    "Reciprocal": Instructions(8, 1),
    "Sqrt": Instructions(8, 1),
    "Exp": Instructions(6, 1),
    "Log": Instructions(20),
    "Sigmoid": Instructions(14, 2),  # exp, add, division
    "Swish": Instructions(15, 2),
    "QuickGelu": Instructions(16, 2),
    "Tanh": Instructions(16, 2),
    "Softplus": Instructions(28, 1),
    "Softsign": Instructions(10, 1),
    "Mish": Instructions(48, 4),  # softplus, tanh, multiply
    "Elu": Instructions(14, 1),
    "Celu": Instructions(22, 2),
    "Selu": Instructions(15, 1),
    "Gelu": Instructions(23, 1),  # erf, and three around it
    "Erf": Instructions(20, 1),
    "Pow": Instructions(44, 2),  # powf works in two floats for its accuracy
    "Sin": Instructions(24),
    "Cos": Instructions(24),
    "Tan": Instructions(30, 1),
    **_each("Sinh Cosh Asin Acos Atan Asinh Acosh Atanh", Instructions(24, 2)),
    "LRN": Instructions(60, 4),  # sum of the neighbours' squares, a power and a division
    "EyeLike": Instructions(3),
}
_TANH_GELU = Instructions(22, 2)
_OTHERS = {
    **_each("Bernoulli RandomUniformLike", Instructions(20)),
    "RandomNormalLike": Instructions(40, 3),
    "RandomNormal": Instructions(40, 3),
    "RandomUniform": Instructions(20),
    "Multinomial": Instructions(30),
    **_each("HannWindow HammingWindow BlackmanWindow", Instructions(40)),
    "AffineGrid": Instructions(12),
}
INSTRUCTIONS.update(_OTHERS)


def instructions(op: Op) -> Instructions:
    """Instructions an element of the op's output.

    >>> instructions(Op(name="r", type="Relu", inputs=("x",), outputs=("y",)))
    Instructions(alu=1, sfu=0.0)
    """
    if op.type == "PointwiseGrad":  # the derivative takes about what the function takes, and is multiplied
        alu, sfu = INSTRUCTIONS.get(str(op.attrs["of"]), Instructions(1))
        return Instructions(alu + 1, sfu)
    found = INSTRUCTIONS[op.type]
    if op.type == "Gelu" and op.attrs.get("approximate") == "tanh":
        return _TANH_GELU
    if op.type in ("Sum", "Mean", "Max", "Min"):
        return Instructions(max(1.0, len(op.inputs) - 1.0))
    return found


def _total(graph_elements: float, low: Lowering, ops: Iterable[Op]) -> Instructions:
    """Instructions of fused ops for each of so many output elements."""
    alu = sfu = 0.0
    for op in ops:
        one = instructions(op)
        share = low.tensor(op.outputs[0]).elements / graph_elements if graph_elements else 0.0
        alu += one.alu * share
        sfu += one.sfu * share
    return Instructions(alu, sfu)


def _label(op: Op) -> str:
    if op.type == "PointwiseGrad":
        return f"{_label(op.with_(type=str(op.attrs['of'])))} backward"
    return _LABELS.get(op.type) or op.type.lower()


_LABELS = {"BatchNormalization": "batch norm", "QuantizeLinear": "quantize", "DequantizeLinear": "dequantize", "Swish": "silu"}


@rule(*sorted(POINTWISE - {"BatchNormalization"}), "LRN", "DynamicQuantizeLinear", "EyeLike", *_OTHERS)
def pointwise(low: Lowering, op: Op) -> None:
    """One kernel that reads every operand once, wherever it lies, and writes the result."""
    parts = members(op)
    stream(low, op, parts if any(p.type == op.type for p in parts) else (op,), label=_label(op))


@rule("FusedPointwise")
def fused_pointwise(low: Lowering, op: Op) -> None:
    """Several elementwise ops in one kernel: what passes between them stays in registers."""
    parts = members(op)
    names = [_label(p) for p in parts]
    label = " + ".join(names) if len(names) <= 4 else f"{names[0]} + … + {names[-1]} ({len(names)} ops)"
    stream(low, op, parts, label=label)


def stream(low: Lowering, op: Op, parts: tuple[Op, ...], *, label: str) -> None:
    """The kernel of elementwise ops."""
    outs = [low.tensor(t) for t in op.outputs if t]
    largest = outs[0] if len(outs) == 1 else max(outs, key=lambda t: t.elements)
    elements = largest.elements
    alu, sfu = instructions(parts[0]) if len(parts) == 1 else _total(elements, low, parts)
    names = [t for t in dict.fromkeys(op.inputs) if t]
    inputs = [low.tensor(t) for t in names]
    full = sum(1 for t in inputs if t.shape == largest.shape or t.elements >= elements)
    work = Stream(elements=elements, instructions=alu, sfu=sfu, pattern=_walk(low, inputs, outs), inputs=max(full, 1), itemsize=low.itemsize(largest))
    low.emit(op, work, label=label, reads=[low.access(t) for t in names], writes=[low.access(t.name) for t in outs])


def _walk(low: Lowering, inputs: list[Tensor], outs: list[Tensor]) -> str:
    """The pattern of memory accesses; places the outputs as PyTorch's TensorIterator does: in the order of the first full operand."""
    first: Strides | None = None
    found = False
    pattern = "elementwise"
    for tensor in inputs:
        if tensor.shape != outs[0].shape:
            continue
        strides = low.strides(tensor.name)
        if strides is not None and not is_dense(tensor.shape, strides):
            if not keeps_rows(tensor.shape, strides):
                pattern = "transpose"
            strides = None  # a slice: the result is written in order
        if not found:
            first, found = strides, True
        elif strides != first:
            pattern = "transpose"
    if first is not None:
        for out in outs:
            if out.shape == outs[0].shape:
                low.place(out.name, Layout(out.name, first))
    return pattern


@rule("BatchNormalization")
def batch_norm(low: Lowering, op: Op) -> None:
    """At inference a scale and a shift for each channel; in training the statistics of the batch come first."""
    if int_attr(op, "training_mode"):
        from simgpu.kernels.reduction import batch_norm_statistics

        batch_norm_statistics(low, op)
        return
    x = low.input(op, 0)
    reads = [low.contiguous(op, x.name), *(low.access(t) for t in op.inputs[1:] if t)]
    alu, sfu = INSTRUCTIONS["BatchNormalization"]
    work = Stream(elements=x.elements, instructions=alu, sfu=sfu, itemsize=low.itemsize(x))
    low.emit(op, work, label="batch norm", reads=reads, writes=(low.access(op.outputs[0]),))


@rule("DFT", "STFT", "Det", "MelWeightMatrix")
def transform(low: Lowering, op: Op) -> None:
    """Signal processing beside the network: its arithmetic spread over the elements it writes."""
    out = low.tensor(op.outputs[0])
    work = Stream(elements=out.elements, instructions=algorithmic_flop(low.graph, op) / max(out.elements, 1), itemsize=low.itemsize(out))
    reads = [low.access(t) for t in dict.fromkeys(op.inputs) if t]
    low.emit(op, work, label=op.type.lower(), reads=reads, writes=[low.access(t) for t in op.outputs if t])


@rule("RotaryEmbedding")
def rotary(low: Lowering, op: Op) -> None:
    """Pairs of channels turned by the angle of their position; each element is read once, its partner from the cache."""
    x = low.tensor(op.outputs[0])
    alu, sfu = INSTRUCTIONS["RotaryEmbedding"]
    work = Stream(elements=x.elements, instructions=alu, sfu=sfu, itemsize=low.itemsize(x))
    reads: list[Access] = [low.part(t, low.bytes_of(op.outputs[0])) for t in op.inputs if t]
    low.emit(op, work, label="rotary embedding", reads=reads, writes=(low.access(op.outputs[0]),))
