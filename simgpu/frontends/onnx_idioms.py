"""What exporters write in several nodes and frameworks run as one kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from simgpu.graph.ir import CONSTANT, Op, Tensor


def without_nan_guards(ops: Sequence[Op], outputs: Iterable[str]) -> Sequence[Op]:
    """Ops without Where(IsNaN(y), 0, y) behind a softmax, which torch's exporter adds to attention and torch itself does not run."""
    makers = {op.outputs[0]: op for op in ops if op.type in ("Softmax", "IsNaN")}
    renamed: dict[str, str] = {}
    for op in ops:
        if op.type == "Where" and op.outputs[0] not in outputs:
            test, y = makers.get(op.inputs[0]), makers.get(op.inputs[2])
            if test is not None and y is not None and test.type == "IsNaN" and y.type == "Softmax" and test.inputs[0] == op.inputs[2]:
                renamed[op.outputs[0]] = op.inputs[2]
    if not renamed:
        return ops
    kept = [op for op in ops if op.outputs[0] not in renamed]
    return [op.with_(inputs=tuple(renamed.get(t, t) for t in op.inputs)) if any(t in renamed for t in op.inputs) else op for op in kept]


def unfold_transposes(ops: Sequence[Op], tensors: Mapping[str, Tensor], outputs: Iterable[str]) -> list[Op]:
    """Ops with Reshape to matrices → Transpose → Reshape back as one Transpose of the last two axes, as torch's exporter found it."""
    uses = Counter([*(t for op in ops for t in op.inputs if t), *outputs])
    makers = {op.outputs[0]: op for op in ops if op.type in ("Reshape", "Transpose")}
    result: dict[str, Op] = {}
    for last in ops:
        middle = makers.get(last.inputs[0]) if last.type == "Reshape" else None
        first = makers.get(middle.inputs[0]) if middle is not None and middle.type == "Transpose" and uses[middle.outputs[0]] == 1 else None
        if middle is None or first is None or first.type != "Reshape" or middle.attrs.get("perm") != (0, 2, 1) or uses[first.outputs[0]] > 1:
            continue
        before, after = tensors[first.inputs[0]].shape, tensors[last.outputs[0]].shape
        rank = len(before)
        if rank > 3 and after == (*before[:-2], before[-1], before[-2]) and tensors[first.outputs[0]].shape[1:] == before[-2:]:
            swap = MappingProxyType({"perm": (*range(rank - 2), rank - 1, rank - 2)})
            result[last.name] = last.with_(type="Transpose", inputs=first.inputs[:1], attrs=swap)
            result[middle.name] = result[first.name] = last
    return [result.get(op.name, op) for op in ops if result.get(op.name, op).name == op.name]


def lift_linear(ops: Sequence[Op], tensors: dict[str, Tensor], outputs: Iterable[str]) -> list[Op]:
    """Ops with MatMul by a stored matrix, and the Add of a bias behind it, as one Linear: torch's `nn.Linear`, exported.

    Args:
        tensors: By name; the matrix (in, out) becomes a weight (out, in), stored so beforehand.
    """
    uses = Counter(t for op in ops for t in op.inputs if t)
    leaving = set(outputs)
    readers = {t: op for op in ops for t in op.inputs if t and uses[t] == 1}
    matrices = Counter(op.inputs[1] for op in ops if op.type == "MatMul" and not op.attrs and _is_matrix(tensors[op.inputs[1]]))
    replaced: dict[str, Op | None] = {}
    for op in ops:
        if op.type != "MatMul" or matrices[op.inputs[1]] != uses[op.inputs[1]]:
            continue
        weight, y = tensors[op.inputs[1]], op.outputs[0]
        add = readers.get(y)
        bias = _bias(add, y, weight.shape[1], tensors) if add is not None and y not in leaving else None
        if add is None or bias is None:
            replaced[op.name] = op.with_(type="Linear")
        else:
            tensors[bias] = replace(tensors[bias], shape=weight.shape[1:])
            replaced[op.name] = op.with_(type="Linear", inputs=(*op.inputs, bias), outputs=add.outputs, attrs=MappingProxyType({}))
            replaced[add.name] = None
    for name in {op.inputs[1] for op in replaced.values() if op is not None}:
        tensors[name] = replace(tensors[name], shape=tensors[name].shape[::-1])
    return [kept for op in ops if (kept := replaced.get(op.name, op)) is not None]


def _is_matrix(weight: Tensor) -> bool:
    return weight.kind == CONSTANT and len(weight.shape) == 2 and weight.dtype.startswith(("fp", "bf"))


def _bias(add: Op, y: str, features: int, tensors: dict[str, Tensor]) -> str | None:
    """The constant that an Add puts on the last axis of a product; None if it does something else."""
    if add.type != "Add" or len(add.inputs) != 2:
        return None
    other = tensors[next((t for t in add.inputs if t != y), y)]
    if other.kind != CONSTANT or other.elements != features or other.shape[-1:] != (features,):
        return None
    return other.name if tensors[add.outputs[0]].shape == tensors[y].shape else None
