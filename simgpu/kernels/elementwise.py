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


# Instructions an element, counted in the machine code that NVRTC 12.9 makes of CUDA's single-precision functions for sm_80
# without fast math (sm_90 differs by one at most), on the way that ordinary arguments take: no slow path of a division,
# no Payne-Hanek reduction. Loads, stores and addresses are not counted.
INSTRUCTIONS: dict[str, Instructions] = {
    **_each("Add Sub Mul Max Min And Or Xor Not BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot Neg Abs Relu Floor Ceil Round Identity", Instructions(1)),
    **_each("Equal Greater GreaterOrEqual Less LessOrEqual Where IsNaN IsInf LeakyRelu PRelu ThresholdedRelu Clip Cast CastLike", Instructions(2)),
    **_each("Sum Mean", Instructions(1)),
    "Shrink": Instructions(4),
    "Sign": Instructions(6),
    "HardSigmoid": Instructions(3),
    "HardSwish": Instructions(4),
    "BatchNormalization": Instructions(2),  # x · a + b, after a and b of the channel
    "QuantizeLinear": Instructions(6),  # multiply, round, saturate on both sides, convert, pack
    "DynamicQuantizeLinear": Instructions(6),
    "DequantizeLinear": Instructions(3),
    "RotaryEmbedding": Instructions(4),  # two FMAs and the index of the partner
    "Div": Instructions(10, 1),
    "Reciprocal": Instructions(10, 1),
    "Sqrt": Instructions(10, 1),
    "Mod": Instructions(10, 1),
    "Exp": Instructions(8, 1),
    "Log": Instructions(28),
    "Sigmoid": Instructions(19, 2),
    "Swish": Instructions(19, 2),
    "QuickGelu": Instructions(20, 2),
    "Tanh": Instructions(15, 2),
    "Erf": Instructions(29, 1),
    "Gelu": Instructions(30, 1),
    "Softplus": Instructions(44, 1),
    "Softsign": Instructions(11, 1),
    "Mish": Instructions(57, 3),
    "Elu": Instructions(35, 1),
    "Celu": Instructions(44, 1),
    "Selu": Instructions(35, 1),
    "Pow": Instructions(86, 1),  # powf computes the logarithm in two floats
    "Sin": Instructions(28),
    "Cos": Instructions(29),
    "Tan": Instructions(24, 1),
    "Sinh": Instructions(28, 2),
    "Cosh": Instructions(20, 2),
    "Asin": Instructions(24, 1),
    "Acos": Instructions(25, 1),
    "Atan": Instructions(18, 1),
    "Asinh": Instructions(15, 1),
    "Acosh": Instructions(33),
    "Atanh": Instructions(42, 1),
    "LRN": Instructions(86, 1),  # a power; the sums of neighbours' squares are few beside it
    "EyeLike": Instructions(3),
}
_TANH_GELU = Instructions(21, 2)
# By a scalar: PyTorch multiplies by the reciprocal, and squares or cubes where the exponent is 2 or 3, as it is in networks.
# Source: PyTorch aten/src/ATen/native/cuda/BinaryDivTrueKernel.cu and PowKernel.cu.
_BY_SCALAR = {"Div": Instructions(1), "Pow": Instructions(2)}
# Estimates, of ops that stand beside the network: Philox takes some 20 instructions a number, Box-Muller as many again.
_OTHERS = {
    **_each("Bernoulli RandomUniform RandomUniformLike Multinomial", Instructions(20)),
    **_each("RandomNormal RandomNormalLike", Instructions(40, 3)),
    **_each("HannWindow HammingWindow BlackmanWindow", Instructions(30)),
    "AffineGrid": Instructions(12),
}
INSTRUCTIONS.update(_OTHERS)


def instructions(op: Op, *, by_scalar: bool = False) -> Instructions:
    """Instructions an element of the op's output.

    Args:
        by_scalar: The second operand is a single number.

    >>> div = Op(name="d", type="Div", inputs=("x", "y"), outputs=("z",))
    >>> instructions(div), instructions(div, by_scalar=True)
    (Instructions(alu=10, sfu=1), Instructions(alu=1, sfu=0.0))
    """
    if by_scalar and op.type in _BY_SCALAR:
        return _BY_SCALAR[op.type]
    if op.type == "PointwiseGrad":  # the derivative takes about what the function takes, and is multiplied
        alu, sfu = INSTRUCTIONS.get(str(op.attrs["of"]), Instructions(1))
        return Instructions(alu + 1, sfu)
    if op.type == "Gelu" and op.attrs.get("approximate") == "tanh":
        return _TANH_GELU
    if op.type in ("Sum", "Mean", "Max", "Min"):
        return Instructions(max(1.0, len(op.inputs) - 1.0))
    return INSTRUCTIONS[op.type]


def _by_scalar(low: Lowering, op: Op) -> bool:
    return op.type in _BY_SCALAR and len(op.inputs) > 1 and low.tensor(op.inputs[1]).elements == 1


def _total(graph_elements: float, low: Lowering, ops: Iterable[Op]) -> Instructions:
    """Instructions of fused ops for each of so many output elements."""
    alu = sfu = 0.0
    for op in ops:
        one = instructions(op, by_scalar=_by_scalar(low, op))
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
    alu, sfu = instructions(parts[0], by_scalar=_by_scalar(low, parts[0])) if len(parts) == 1 else _total(elements, low, parts)
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
