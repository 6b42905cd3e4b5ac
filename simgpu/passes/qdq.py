"""Runs quantised models in integers: products between DequantizeLinear and QuantizeLinear multiply what was quantised."""

from __future__ import annotations

from types import MappingProxyType

from simgpu.graph.ir import Attr, Graph, Op
from simgpu.passes.fused import FLOP, MEMBERS, POINTWISE, members
from simgpu.runtime import Runtime

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Linear"})
_CARRIERS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Concat"})
_OPERANDS = 2


def fold_dequantize(graph: Graph, runtime: Runtime) -> Graph:
    """The graph with DequantizeLinear taken into its readers.

    Both operands of a product must come from one: the product is then of integers, and rescaled in its epilogue. A
    runtime that fuses epilogues also lets elementwise ops and pools read integers. A DequantizeLinear stays for all
    other readers; one that is taken in everywhere is a member of its first reader.
    """
    sources = {op.outputs[0]: op for op in graph.ops if op.type == "DequantizeLinear"}
    if not sources:
        return graph
    changed: dict[str, Op] = {}
    for op in graph.ops:
        operands = op.inputs[:_OPERANDS] if op.type in _PRODUCTS else op.inputs
        found = {t: sources[t] for t in operands if t in sources}
        if op.type in _PRODUCTS:
            takes = len(found) == _OPERANDS
        else:
            takes = bool(found) and runtime.fuses_epilogues and (op.type in POINTWISE or op.type in _CARRIERS) and op.type != "DequantizeLinear"
        if takes:
            changed[op.name] = op.with_(inputs=tuple(found[t].inputs[0] if t in found else t for t in op.inputs))
    read = {t for op in graph.ops for t in changed.get(op.name, op).inputs} | set(graph.outputs)
    gone = {op.name: op for op in sources.values() if op.outputs[0] not in read}
    homeless = dict(gone)
    ops: list[Op] = []
    for op in graph.ops:
        if op.name in gone:
            continue
        new = changed.get(op.name, op)
        taken = [homeless.pop(d.name) for t in dict.fromkeys(op.inputs) if (d := sources.get(t)) is not None and d.name in homeless]
        if taken:
            attrs: dict[str, Attr] = {k: v for k, v in new.attrs.items() if k != FLOP}
            attrs[MEMBERS] = (*taken, *(members(op) if FLOP not in op.attrs else (op,)))
            new = new.with_(attrs=MappingProxyType(attrs))
        ops.append(new)
    return graph.with_(ops=ops)
