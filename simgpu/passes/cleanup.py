"""Removes what does nothing at inference: Identity, Dropout, casts to the format a tensor has, results that nobody reads."""

from __future__ import annotations

from simgpu.graph.ir import Graph, Op
from simgpu.passes.fused import algorithmic_flop

_NOTHING = frozenset({"Identity", "Dropout"})


def cleanup(graph: Graph) -> Graph:
    """The graph without ops that neither compute nor move anything.

    Readers of a removed op read its input. Ops whose results lead to no output are removed too, unless they do arithmetic
    that the network counts.
    """
    renamed: dict[str, str] = {}
    kept: list[Op] = []
    outputs = set(graph.outputs)
    for op in graph.ops:
        if renamed and any(t in renamed for t in op.inputs):
            op = op.with_(inputs=tuple(renamed.get(t, t) for t in op.inputs))
        if _does_nothing(graph, op) and op.outputs[0] not in outputs:
            renamed[op.outputs[0]] = op.inputs[0]
        else:
            kept.append(op)
    needed = _needed(graph, kept)
    if len(needed) == len(graph.ops):
        return graph
    return graph.with_(ops=needed)


def _does_nothing(graph: Graph, op: Op) -> bool:
    if op.type in _NOTHING:
        return not op.attrs.get("training_mode") and all(t not in graph.consumers for t in op.outputs[1:])
    return op.type in ("Cast", "CastLike") and graph[op.inputs[0]].dtype == graph[op.outputs[0]].dtype


def _needed(graph: Graph, ops: list[Op]) -> list[Op]:
    """The ops that lead to an output, and all that compute."""
    read = set(graph.outputs)
    result: list[Op] = []
    for op in reversed(ops):
        if any(t in read for t in op.outputs) or algorithmic_flop(graph, op) > 0:
            result.append(op)
            read.update(op.inputs)
    return result[::-1]
