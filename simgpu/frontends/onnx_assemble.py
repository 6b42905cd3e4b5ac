"""What the walk over an ONNX model found → Graph: only what leads to an output, and which constants are parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from simgpu.errors import ModelError
from simgpu.frontends.onnx_idioms import lift_linear, unfold_transposes, without_nan_guards
from simgpu.frontends.onnx_quantised import fold_quantisation
from simgpu.frontends.onnx_walk import Walker
from simgpu.graph.ir import ACTIVATION, CONSTANT, INPUT, WEIGHT, Graph, Op, Tensor

# Inputs of an op that are trained parameters whatever made them; elsewhere a float initializer of several elements is one.
PARAMETERS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "Conv": frozenset({1, 2}),
        "ConvTranspose": frozenset({1, 2}),
        "DeformConv": frozenset({1, 3}),
        "Gemm": frozenset({0, 1, 2}),
        "MatMul": frozenset({0, 1}),
        "Linear": frozenset({1, 2}),
        "BatchNormalization": frozenset({1, 2}),
        "InstanceNormalization": frozenset({1, 2}),
        "GroupNormalization": frozenset({1, 2}),
        "LayerNormalization": frozenset({1, 2}),
        "RMSNormalization": frozenset({1}),
        "PRelu": frozenset({1}),
        "LSTM": frozenset({1, 2, 3, 7}),
        "GRU": frozenset({1, 2, 3}),
        "RNN": frozenset({1, 2, 3}),
        "DequantizeLinear": frozenset({0}),
    }
)
# Op types whose other constant inputs are never parameters: running statistics, scales, zero points, initial states.
_NO_OTHERS = frozenset({"BatchNormalization", "LSTM", "GRU", "RNN", "QuantizeLinear", "DequantizeLinear", "Linear"})


def assemble(walker: Walker, *, name: str, inputs: Sequence[str], outputs: Mapping[str, str], where: str) -> Graph:
    """Ops that lead to an output, the tensors they touch, and which of those are parameters.

    Args:
        outputs: What the file calls an output → what it is called here; it gets the file's name if that is free.
    Raises:
        ModelError: Nothing leads to an output.
    """
    made = tuple(dict.fromkeys(t for t in outputs.values() if t in walker.tensors))
    if not made:
        raise ModelError(f"{where}: has no output tensor")
    needed, ops = set(made), []
    for op in reversed(without_nan_guards(walker.ops, made)):
        if needed.intersection(op.outputs):
            needed.update(op.inputs)
            ops.append(op)
    ops = [op.with_(outputs=_trimmed(op, needed)) for op in reversed(ops)]
    known = dict(walker.tensors)
    ops = lift_linear(unfold_transposes(ops, known, made), known, made)
    weights = parameters(ops, known, walker.trained)
    touched = {t: None for t in (*inputs, *(t for op in ops for t in (*op.inputs, *op.outputs)), *made) if t}
    if not ops:
        raise ModelError(f"{where}: nothing is left to compute: all outputs are constants or inputs")
    names = {t: wanted for wanted, t in outputs.items() if wanted not in touched and known.get(t, Tensor(name=t, shape=())).kind == ACTIVATION}
    tensors = {names.get(t, t): replace(known[t], name=names.get(t, t), kind=_kind(known[t], weights, inputs)) for t in touched}
    if names:
        ops = [op.with_(inputs=tuple(names.get(t, t) for t in op.inputs), outputs=tuple(names.get(t, t) for t in op.outputs)) for op in ops]
    final = [names.get(t, t) for t in made]
    return fold_quantisation(Graph(name=name, ops=ops, tensors=tensors, inputs=inputs, outputs=final, assumptions=tuple(walker.assumptions)))


def _trimmed(op: Op, needed: set[str]) -> tuple[str, ...]:
    """Outputs without those nobody reads (masks, saved statistics), but always the first."""
    kept = [t if t in needed else "" for t in op.outputs]
    while len(kept) > 1 and not kept[-1]:
        kept.pop()
    return tuple(kept) if any(kept) else op.outputs[:1]


def _kind(tensor: Tensor, weights: set[str], inputs: Iterable[str]) -> str:
    if tensor.kind == CONSTANT:
        return WEIGHT if tensor.name in weights else CONSTANT
    return INPUT if tensor.kind == INPUT and tensor.name in inputs else ACTIVATION


def parameters(ops: Sequence[Op], tensors: Mapping[str, Tensor], trained: set[str]) -> set[str]:
    """Constants that are trained parameters, by where they are used."""
    result: set[str] = set()
    scores = {op.inputs[0] for op in ops if op.type == "Softmax"}
    for op in ops:
        slots = PARAMETERS.get(op.type, frozenset())
        for i, name in enumerate(op.inputs):
            if not name or tensors[name].kind != CONSTANT:
                continue
            table = op.type == "Gather" and i == 0 and tensors[name].dtype not in ("int64", "int32", "int16", "bool")
            shape = tensors[name].shape  # of a mask: the same for all heads, different for each query
            mask = op.type == "Add" and op.outputs[0] in scores and shape[-3:-2] in ((), (1,)) and shape[-2:-1] not in ((), (1,))
            if i in slots or table or (name in trained and op.type not in _NO_OTHERS and not mask):
                result.add(name)
    return result
