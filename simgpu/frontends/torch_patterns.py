"""What model code writes out in small calls and libraries run as one: RMS norm, rotary embedding, causal masks, repeated key heads."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from simgpu.frontends.torch_walk import Walk
    from simgpu.graph.ir import Tensor

Node: TypeAlias = Any  # torch.fx.Node; torch itself is loaded only where it computes
_MAX_MASK = 2**26  # elements of a mask that is worked out to see whether it is causal

Pattern = tuple[str, tuple[Any, ...], dict[str, Any]]


@dataclass(slots=True)
class Patterns:
    """Patterns of a graph.

    Attributes:
        found: Last node of each pattern → op type, input nodes and attributes.
        inner: Nodes that the patterns replace.
    """

    found: dict[Any, Pattern] = field(default_factory=dict)
    inner: set[Any] = field(default_factory=set)


def find_patterns(graph: Any) -> Patterns:
    """RMS norms and rotary embeddings of a graph."""
    result = Patterns()
    for node in graph.nodes:
        match = _rms_norm(node) if is_call(node, "rsqrt") else _rotary(node) if is_call(node, "add") else None
        if match is not None:
            last, pattern, inner = match
            result.found[last] = pattern
            result.inner |= inner
    return result


def is_node(value: Any) -> bool:
    """Is it a node of an fx graph?"""
    return type(value).__name__ == "Node" and hasattr(value, "all_input_nodes")


def is_call(value: Any, *names: str) -> bool:
    """Is it a call of an aten operator of one of these names?"""
    return is_node(value) and value.op == "call_function" and getattr(value.target, "_opname", "") in names


_Match = tuple[Any, Pattern, set[Any]]


def _only_user(node: Node) -> Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _before_casts(node: Any, seen: set[Any] | None = None) -> Any:
    """The value that casts, and assertions on it, lead back to."""
    while is_call(node, "to", "_to_copy", "float", "type_as"):
        if seen is not None and len(_readers(node)) == 1:
            seen.add(node)
        node = node.args[0]
    return node


def _readers(node: Node) -> list[Node]:
    """Who uses a value, assertions about it aside."""
    return [u for u in node.users if not is_call(u, "_assert_tensor_metadata")]


def _next(node: Node, inner: set[Any]) -> Node | None:
    """The only reader behind casts."""
    while True:
        readers = _readers(node)
        if len(readers) != 1:
            return None
        if not is_call(readers[0], "to", "_to_copy", "type_as"):
            return readers[0]
        inner.add(readers[0])
        node = readers[0]


def _rms_norm(rsqrt: Node) -> _Match | None:
    """weight · x / √(mean(x²) + ε), also with 1 + weight (Gemma).

    Source:
        `LlamaRMSNorm.forward`, `T5LayerNorm.forward`, `GemmaRMSNorm.forward` of Hugging Face transformers.
    """
    inner: set[Any] = {rsqrt}
    plus = rsqrt.args[0]
    if not is_call(plus, "add") or not is_call(plus.args[0], "mean"):
        return None
    mean = plus.args[0]
    power = mean.args[0]
    if not is_call(power, "pow") or power.args[1] != 2 or list(mean.args[1]) != [-1]:
        return None
    inner |= {plus, mean, power}
    squared = power.args[0]
    scaled = _next(rsqrt, inner)
    if scaled is None or not is_call(scaled, "mul") or squared not in scaled.args:
        return None
    last = _next(scaled, inner)
    if last is None or not is_call(last, "mul"):
        return None
    other = next((a for a in last.args if not _leads_to(a, scaled)), None)
    weight = _before_casts(other)
    if is_call(weight, "add") and weight.args[1] == 1.0:
        weight = _before_casts(weight.args[0])
    if not is_node(weight) or weight.op != "placeholder" or len(weight.meta["val"].shape) != 1:
        return None
    inner.add(scaled)
    x = squared
    if is_call(x, "to", "_to_copy") and set(_readers(x)) == {power, scaled}:
        inner.add(x)
        x = x.args[0]
    return last, ("RMSNormalization", (x, weight), {"axis": -1, "epsilon": 1e-6}), inner


def _leads_to(value: Any, node: Node) -> bool:
    return _before_casts(value) is node


def _rotary(plus: Node) -> _Match | None:
    """x · cos + rotate_half(x) · sin.

    Source:
        `apply_rotary_pos_emb` of Hugging Face transformers (LLaMA and its relatives).
    """
    if len(plus.args) < 2 or not (is_call(plus.args[0], "mul") and is_call(plus.args[1], "mul")):
        return None
    straight, turned = plus.args
    cat = next((a for a in turned.args if is_call(a, "cat")), None)
    if cat is None or not isinstance(cat.args[0], list | tuple) or len(cat.args[0]) != 2:
        return None
    negative, low = cat.args[0]
    if not is_call(negative, "neg") or not is_call(low, "slice") or not is_call(negative.args[0], "slice"):
        return None
    high = negative.args[0]
    x = low.args[0]
    if high.args[0] is not x or x not in straight.args:
        return None
    cos, sin = (next(a for a in m.args if a is not other) for m, other in ((straight, x), (turned, cat)))
    inner = {straight, turned, cat, negative, low, high}
    if any(set(_readers(n)) - inner - {plus} for n in inner):
        return None
    return plus, ("RotaryEmbedding", (x, cos, sin), {"interleaved": 0}), inner


# ---- masks


def constant_mask(node: Any, queries: int, keys: int) -> int | None:
    """What a mask that depends on no input does: 0 = causal, n > 0 = causal with a window of n keys, None = something else.

    The calls that make it are run on the host.
    """
    import torch

    if not is_node(node) or queries * keys > _MAX_MASK:
        return None
    try:
        mask = _evaluate(node, {})
    except (_Unknown, RuntimeError, TypeError, ValueError):
        return None
    allowed = mask if mask.dtype == torch.bool else mask >= 0
    if allowed.shape[-2:] != (queries, keys):
        return None
    rows = torch.arange(keys - queries, keys)[:, None]
    distance = rows - torch.arange(keys)[None, :]
    causal = distance >= 0
    if bool((allowed == causal).all()):
        return 0
    window = int((allowed.reshape(-1, queries, keys)[0, -1]).sum())
    return window if window > 0 and bool((allowed == (causal & (distance < window))).all()) else None


class _Unknown(Exception):
    """The value hangs on an input."""


def _evaluate(value: Any, known: dict[Any, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_evaluate(v, known) for v in value]
    if type(value).__name__ == "device":
        return "cpu"
    if not is_node(value):
        return value
    if value not in known:
        if value.op != "call_function" or (not hasattr(value.target, "_schema") and value.target is not operator.getitem):
            raise _Unknown(value.name)
        if math.prod(getattr(value.meta.get("val"), "shape", ())) > _MAX_MASK:
            raise _Unknown(value.name)
        arguments = [_evaluate(a, known) for a in value.args]
        named = {key: _evaluate(a, known) for key, a in value.kwargs.items()}
        known[value] = value.target(*arguments, **named)
    return known[value]


# ---- key heads repeated for their queries


def unrepeated(walk: Walk, node: Any) -> Tensor | None:
    """Keys (B, few heads, S, D) where the node repeats them to (B, many heads, S, D) for grouped-query attention; None if it does not.

    Source:
        `repeat_kv` of Hugging Face transformers: `x[:, :, None].expand(B, few, n, S, D).reshape(B, few · n, S, D)`.
    """
    if is_call(node, "contiguous", "clone"):
        return unrepeated(walk, node.args[0])
    if is_call(node, "repeat_interleave") and len(node.args) >= 3 and node.args[2] in (1, -3):
        found: Tensor = walk.resolve(node.args[0])
        return found
    if not is_call(node, "reshape", "view", "_unsafe_view") or not is_call(node.args[0], "expand"):
        return None
    wide = node.args[0]
    shape, narrow = tuple(wide.meta["val"].shape), wide.args[0]
    if len(shape) != 5 or tuple(narrow.meta["val"].shape) != (*shape[:2], 1, *shape[3:]):
        return None
    few = (*shape[:2], *shape[3:])
    while is_call(narrow, "unsqueeze", "slice", "alias") and tuple(narrow.meta["val"].shape) != few:
        narrow = narrow.args[0]
    x: Tensor = walk.resolve(narrow)
    return walk.reshape(x, few)


# ---- values written into a part of a tensor


@dataclass(slots=True)
class Written:
    """Values put into slices of a new tensor, which become one concatenation when somebody reads it.

    Attributes:
        axis: The axis that the slices cut.
        parts: Start, end and value of each.
    """

    axis: int
    parts: list[tuple[int, int, Tensor]] = field(default_factory=list)

    def finish(self, walk: Walk, base: Node) -> None:
        """Makes the base what was written into it."""
        old: Tensor = walk.env[base]
        parts = sorted(self.parts, key=lambda p: p[0])
        pieces, at = [], 0
        for start, end, value in parts:
            if start > at:
                pieces.append(walk.slice(old, self.axis, at, start))
            pieces.append(value)
            at = end
        if at < old.shape[self.axis]:
            pieces.append(walk.slice(old, self.axis, at, old.shape[self.axis]))
        walk.env[base] = walk.op("Concat", *pieces, axis=self.axis)
