"""Folds batch norm into the convolution before it: its scale goes into the filters, its shift becomes the bias."""

from __future__ import annotations

from simgpu.graph.ir import Graph, Op
from simgpu.passes.fused import MEMBERS, members, with_attrs

_FOLDS_INTO = frozenset({"Conv", "ConvTranspose", "Linear", "Gemm"})


def fold_batch_norm(graph: Graph) -> Graph:
    """The graph without batch norms that follow a convolution (or linear layer) nobody else reads.

    The folded op keeps both as members, so that their arithmetic is still counted; its bias is the batch norm's shift.
    """
    outputs = set(graph.outputs)
    folded: dict[str, Op] = {}  # name of the convolution → its batch norm
    gone: set[str] = set()
    for op in graph.ops:
        if op.type != "BatchNormalization" or op.attrs.get("training_mode"):
            continue
        maker = graph.producer.get(op.inputs[0])
        if maker is not None and maker.type in _FOLDS_INTO and len(graph.consumers[op.inputs[0]]) == 1 and op.inputs[0] not in outputs:
            folded[maker.name] = op
            gone.add(op.name)
    if not folded:
        return graph
    ops: list[Op] = []
    for op in graph.ops:
        if norm := folded.get(op.name):
            bias = op.inputs[2] if len(op.inputs) > 2 and op.inputs[2] else norm.inputs[2]
            op = with_attrs(op, **{MEMBERS: (*members(op), norm)})
            op = op.with_(inputs=(*op.inputs[:2], bias, *op.inputs[3:]), outputs=norm.outputs[:1])
        if op.name not in gone:
            ops.append(op)
    return graph.with_(ops=ops)
