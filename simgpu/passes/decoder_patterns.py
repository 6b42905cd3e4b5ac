"""What exporters write out of language models: RMS norm, rotary embedding, and key heads repeated for their queries.

Source: Hugging Face transformers `LlamaRMSNorm.forward`, `apply_rotary_pos_emb` and `repeat_kv`, as `torch.onnx.export` writes them.
"""

from __future__ import annotations

from simgpu.graph.ir import CONSTANT, WEIGHT, Attr, Graph, Op
from simgpu.passes.cleanup import cleanup

Pattern = tuple[tuple[Op, ...], str, tuple[str, ...], dict[str, Attr]]


def users_of(graph: Graph, op: Op) -> tuple[Op, ...]:
    """Who reads an op's only result; nobody if it leaves the graph."""
    return () if op.outputs[0] in graph.outputs else graph.consumers.get(op.outputs[0], ())


def only_user(graph: Graph, op: Op, *kinds: str) -> Op | None:
    """The only reader of an op's result, if it is of one of those types."""
    users = users_of(graph, op)
    return users[0] if len(users) == 1 and users[0].type in kinds else None


def is_constant(graph: Graph, name: str) -> bool:
    return bool(name) and graph[name].kind in (WEIGHT, CONSTANT)


def other_input(op: Op, name: str) -> str:
    """The operand of a binary op that is not the one named."""
    return next((t for t in op.inputs if t != name), "")


def rms_norm(graph: Graph, square: Op) -> Pattern | None:
    """weight · x / √(mean(x²) + ε) over the last axis, also with casts to fp32 and back around it."""
    if square.type not in ("Pow", "Mul") or not _is_square(graph, square):
        return None
    x = square.inputs[0]
    chain = [square]
    for kind in ("ReduceMean", "Add", "Sqrt"):
        following = only_user(graph, chain[-1], kind)
        if following is None:
            return None
        chain.append(following)
    rank = len(graph[x].shape)
    if graph[chain[1].outputs[0]].shape != (*graph[x].shape[:-1], 1) or not is_constant(graph, other_input(chain[2], chain[1].outputs[0])):
        return None
    root = chain[-1].outputs[0]
    inverse = only_user(graph, chain[-1], "Reciprocal", "Div")
    if inverse is None or (inverse.type == "Div" and inverse.inputs[1] != root):
        return None
    chain.append(inverse)
    if inverse.type == "Reciprocal" or is_constant(graph, inverse.inputs[0]):  # 1/√, then a product
        scaled = only_user(graph, inverse, "Mul")
        if scaled is None or other_input(scaled, inverse.outputs[0]) != x:
            return None
        chain.append(scaled)
    elif inverse.inputs[0] != x:
        return None
    scaled = chain[-1]
    cast = graph.producer.get(x)
    if cast is not None and cast.type == "Cast" and {user.name for user in users_of(graph, cast)} == {square.name, scaled.name}:
        chain.insert(0, cast)
        x = cast.inputs[0]
    if (back := only_user(graph, chain[-1], "Cast")) is not None:
        chain.append(back)
    inputs = [x]
    last = only_user(graph, chain[-1], "Mul")
    weight = other_input(last, chain[-1].outputs[0]) if last is not None else ""
    if last is not None and is_constant(graph, weight) and graph[weight].shape == graph[x].shape[-1:]:
        chain.append(last)
        inputs.append(weight)
    if graph[chain[-1].outputs[0]].dtype != graph[x].dtype:
        return None
    return tuple(chain), "RMSNormalization", tuple(inputs), {"axis": rank - 1}


def _is_square(graph: Graph, op: Op) -> bool:
    return len(set(op.inputs)) == 1 if op.type == "Mul" else is_constant(graph, op.inputs[1]) and graph[op.inputs[1]].elements == 1


def rotary(graph: Graph, plus: Op) -> Pattern | None:
    """x · cos + rotate_half(x) · sin, where rotate_half joins the negated second half of the channels to the first."""
    if plus.type != "Add" or len(set(plus.inputs)) != 2:
        return None
    products = [graph.producer.get(t) for t in plus.inputs]
    for straight, turned in (products, products[::-1]):
        if straight is None or turned is None or straight.type != "Mul" or turned.type != "Mul":
            return None
        joined = next((p for t in turned.inputs if (p := graph.producer.get(t)) is not None and p.type == "Concat" and len(p.inputs) == 2), None)
        if joined is None:
            continue
        negative, low = (graph.producer.get(t) for t in joined.inputs)
        high = graph.producer.get(negative.inputs[0]) if negative is not None and negative.type == "Neg" else None
        if negative is None or low is None or high is None or {low.type, high.type} - {"Slice", "Split"}:
            continue
        x = low.inputs[0]
        inner = {op.name: op for op in (low, high, negative, joined, straight, turned)}
        if (
            high.inputs[0] != x
            or x not in straight.inputs
            or any(u.name not in inner and u is not plus for op in inner.values() for u in _all_users(graph, op))
        ):
            continue
        shape = graph[x].shape
        half = (*shape[:-1], shape[-1] // 2)
        if graph[joined.inputs[0]].shape != half or graph[joined.inputs[1]].shape != half:
            continue
        cos, sin = other_input(straight, x), other_input(turned, joined.outputs[0])
        return (*inner.values(), plus), "RotaryEmbedding", (x, cos, sin), {"interleaved": 0}
    return None


def _all_users(graph: Graph, op: Op) -> tuple[Op, ...]:
    return tuple(user for t in op.outputs for user in graph.consumers.get(t, ()))


def share_key_heads(graph: Graph) -> Graph:
    """The graph with keys and values that are repeated for groups of query heads read where they are stored: kernels of attention take few key heads."""
    changed: dict[str, Op] = {}
    for op in graph.ops:
        if op.type == "Attention" and len(op.inputs) >= 3:
            k, v = (_unrepeated(graph, t) for t in op.inputs[1:3])
            if k and v and graph[k].shape[:3] == graph[v].shape[:3]:
                changed[op.name] = op.with_(inputs=(op.inputs[0], k, v, *op.inputs[3:]))
    return cleanup(graph.with_(ops=[changed.get(op.name, op) for op in graph.ops])) if changed else graph


def _unrepeated(graph: Graph, name: str) -> str:
    """Keys (B, few, S, D) that a tensor (B, many, S, D) repeats; "" if it does not."""
    shape = graph[name].shape
    swapped = False  # exporters turn the keys and turn them back, as (B, many, S, D) or as (B · many, S, D)
    op = graph.producer.get(name)
    while op is not None and op.type in ("Transpose", "Reshape"):
        before, after = graph[op.inputs[0]].shape, graph[op.outputs[0]].shape
        if op.type == "Transpose":
            if op.attrs.get("perm") != (*range(len(before) - 2), len(before) - 1, len(before) - 2):
                return ""
            swapped = not swapped
        elif before[-2:] != after[-2:]:
            return ""
        op = graph.producer.get(op.inputs[0])
    wide = op
    if wide is None or wide.type != "Expand" or swapped:
        return ""
    narrow, repeated = graph[wide.inputs[0]].shape, graph[wide.outputs[0]].shape
    if len(shape) != 4 or len(repeated) != 5 or narrow != (*repeated[:2], 1, *repeated[3:]) or shape != (shape[0], repeated[1] * repeated[2], *repeated[3:]):
        return ""
    source = graph.producer.get(wide.inputs[0])
    if source is None or source.type not in ("Unsqueeze", "Reshape") or graph[source.inputs[0]].shape != (*narrow[:2], *narrow[3:]):
        return ""
    return source.inputs[0]
