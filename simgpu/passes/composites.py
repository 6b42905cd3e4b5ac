"""Recognises functions that exporters write out in small ops and frameworks run as one kernel: SiLU, hard-swish, GELU, norms, rotary embeddings."""

from __future__ import annotations

from types import MappingProxyType

from simgpu.graph.ir import Attr, Graph, Op
from simgpu.passes.decoder_patterns import Pattern, is_constant, only_user, rms_norm, rotary, users_of
from simgpu.passes.fused import MEMBERS


def lift_composites(graph: Graph) -> Graph:
    """The graph with each such pattern as the one op it came from; the small ops stay in it as members."""
    types = {op.type for op in graph.ops}
    if not types & {"Sigmoid", "HardSigmoid", "Erf", "Pow", "Sub", "Sqrt", "Neg"}:
        return graph
    lifted: dict[str, Op] = {}  # name of a pattern's last op → the op that replaces the pattern
    gone: set[str] = set()
    for op in graph.ops:
        match = _gated(graph, op) or _gelu(graph, op) or _layer_norm(graph, op) or rms_norm(graph, op) or rotary(graph, op)
        if match is None or any(m.name in gone for m in match[0]):
            continue
        parts, kind, inputs, attrs = match
        last = parts[-1]
        attributes: dict[str, Attr] = {**attrs, MEMBERS: parts}
        lifted[last.name] = Op(name=last.name, type=kind, inputs=inputs, outputs=last.outputs, attrs=MappingProxyType(attributes), scope=last.scope)
        gone.update(m.name for m in parts)
    if not lifted:
        return graph
    return graph.with_(ops=[lifted.get(op.name, op) for op in graph.ops if op.name in lifted or op.name not in gone])


def _gated(graph: Graph, op: Op) -> Pattern | None:
    """x · sigmoid(x) and x · hardsigmoid(x)."""
    kind = {"Sigmoid": "Swish", "HardSigmoid": "HardSwish"}.get(op.type)
    if kind is None or (mul := only_user(graph, op, "Mul")) is None or set(mul.inputs) != {op.inputs[0], op.outputs[0]}:
        return None
    return (op, mul), kind, op.inputs[:1], {}


def _gelu(graph: Graph, erf: Op) -> Pattern | None:
    """x · (1 + erf(x / √2)) / 2, with the half anywhere: before, between or after."""
    if erf.type != "Erf":
        return None
    scaled = graph.producer.get(erf.inputs[0])
    if scaled is None or scaled.type not in ("Div", "Mul") or len(users_of(graph, scaled)) != 1:
        return None
    x = scaled.inputs[0]
    parts = [scaled, erf]
    if (plus := only_user(graph, erf, "Add")) is None:
        return None
    parts.append(plus)
    if (mul := only_user(graph, plus, "Mul")) is None:
        return None
    other = next((t for t in mul.inputs if t != plus.outputs[0]), "")
    half = graph.producer.get(other)
    if half is not None and half.type in ("Mul", "Div") and half.inputs[0] == x and len(users_of(graph, half)) == 1:
        return (half, *parts, mul), "Gelu", (x,), {}
    parts.append(mul)
    last = only_user(graph, mul, "Mul") or only_user(graph, mul, "Div")
    if last is None:
        return None
    if other == x or (other and is_constant(graph, other) and x in last.inputs):
        return (*parts, last), "Gelu", (x,), {}
    return None


def _layer_norm(graph: Graph, mean: Op) -> Pattern | None:
    """(x - mean) / √(mean((x - mean)²) + ε) · γ + β, as exporters below opset 17 write it."""
    if mean.type != "ReduceMean" or (sub := only_user(graph, mean, "Sub")) is None or sub.inputs != (mean.inputs[0], mean.outputs[0]):
        return None
    users = users_of(graph, sub)
    square = next((u for u in users if u.type in ("Pow", "Mul") and u.inputs[0] == sub.outputs[0] and (u.type == "Pow" or len(set(u.inputs)) == 1)), None)
    div = next((u for u in users if u.type == "Div" and u.inputs[0] == sub.outputs[0]), None)
    if len(users) != 2 or square is None or div is None:
        return None
    chain: list[Op] = [mean, sub, square]
    for kind in ("ReduceMean", "Add", "Sqrt"):
        following = only_user(graph, chain[-1], kind)
        if following is None:
            return None
        chain.append(following)
    if div.inputs[1] != chain[-1].outputs[0] or only_user(graph, chain[-1], "Div") is None:
        return None
    chain.append(div)
    inputs = [mean.inputs[0]]
    for kind in ("Mul", "Add"):
        following = only_user(graph, chain[-1], kind)
        other = next((t for t in following.inputs if t != chain[-1].outputs[0]), "") if following else ""
        if following is None or not other or not is_constant(graph, other):
            break
        chain.append(following)
        inputs.append(other)
    rank = len(graph[inputs[0]].shape)
    axes = mean.attrs.get("axes", (-1,))
    first = min(a % rank for a in axes) if isinstance(axes, tuple) and axes else 0
    return tuple(chain), "LayerNormalization", tuple(inputs), {"axis": first}
