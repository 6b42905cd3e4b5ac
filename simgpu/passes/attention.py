"""Attention as one op or as its parts."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from simgpu.graph.ir import ACTIVATION, CONSTANT, Attr, Graph, Op, Tensor
from simgpu.passes.fused import FLOP, MEMBERS, ORIGIN, algorithmic_flop

_SCALES = frozenset({"Mul", "Div"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """The ops of one attention and what goes into it; kᵀ is [.., D, Skv]."""

    ops: tuple[Op, ...]
    q: str
    k_transposed: str
    v: str
    mask: str


def fuse_attention(graph: Graph) -> Graph:
    """The graph with MatMul → [scale, mask] → Softmax → MatMul as one op "Attention" each.

    Transposes and reshapes around it stay: they are views. A key that is stored transposed gets a transpose back,
    which is a view again.
    """
    matches = {m.ops[-1].name: m for op in graph.ops if op.type == "Softmax" and (m := _match(graph, op)) is not None}
    if not matches:
        return graph
    gone = {op.name for m in matches.values() for op in m.ops}
    tensors = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        if match := matches.get(op.name):
            ops.extend(_fused(graph, match, tensors))
        elif op.name not in gone:
            ops.append(op)
    return graph.with_(ops=ops, tensors=tensors)


def _match(graph: Graph, softmax: Op) -> _Match | None:
    """The attention around a softmax over the last axis, if it is one."""
    rank = len(graph[softmax.inputs[0]].shape)
    axis = softmax.attrs.get("axis", -1)
    if not isinstance(axis, int) or rank < 2 or axis % rank != rank - 1:
        return None
    above: list[Op] = []
    mask = ""
    name = softmax.inputs[0]
    while (op := _maker(graph, name)) is not None and op.type != "MatMul":
        if op.type in ("Add", "Where") and not mask and len(op.inputs) >= 2:
            scores = next((t for t in op.inputs if t in graph.producer and graph[t].shape == graph[name].shape), "")
            mask = next((t for t in op.inputs if t != scores), "")
        elif op.type in _SCALES and graph[op.inputs[1]].elements == 1:
            scores = op.inputs[0]
        else:
            return None
        if not scores:
            return None
        above.append(op)
        name = scores
    below = _only_user(graph, softmax.outputs[0])
    if op is None or below is None or below.type != "MatMul" or below.inputs[0] != softmax.outputs[0]:
        return None
    q, k_transposed, v = op.inputs[0], op.inputs[1], below.inputs[1]
    first: list[Op] = [op]
    q, first = _unscaled(graph, q, first)
    k_transposed, first = _unscaled(graph, k_transposed, first)
    shapes = [graph[t].shape for t in (q, k_transposed, v)]
    if any(len(s) != rank for s in shapes) or len({s[:-2] for s in shapes}) > 1 or rank > 4 or rank < 3:
        return None
    return _Match(ops=(*reversed(first), *reversed(above), softmax, below), q=q, k_transposed=k_transposed, v=v, mask=mask)


def _unscaled(graph: Graph, name: str, ops: list[Op]) -> tuple[str, list[Op]]:
    """The operand before a multiplication with a scalar (torch scales q and k by the root of the scale)."""
    op = _maker(graph, name)
    if op is not None and op.type in _SCALES and graph[op.inputs[1]].elements == 1 and graph[op.inputs[1]].kind == CONSTANT:
        return op.inputs[0], [*ops, op]
    return name, ops


def _maker(graph: Graph, name: str) -> Op | None:
    """The op that makes a tensor which nobody else reads."""
    return graph.producer.get(name) if len(graph.consumers.get(name, ())) == 1 and name not in graph.outputs else None


def _only_user(graph: Graph, name: str) -> Op | None:
    users = graph.consumers.get(name, ())
    return users[0] if len(users) == 1 and name not in graph.outputs else None


def _fused(graph: Graph, match: _Match, tensors: dict[str, Tensor]) -> list[Op]:
    last = match.ops[-1]
    made: list[Op] = []

    def view(kind: str, source: str, suffix: str, shape: tuple[int, ...], **attrs: Attr) -> str:
        name = f"{last.name}/{suffix}"
        tensors[name] = Tensor(name=name, shape=shape, dtype=graph[match.q].dtype)
        attributes = MappingProxyType({FLOP: 0.0, ORIGIN: last.name, **attrs})
        made.append(Op(name=name, type=kind, inputs=(source,), outputs=(name,), attrs=attributes, scope=last.scope))
        return name

    rank = len(graph[match.q].shape)
    shape = graph[match.k_transposed].shape
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    k = view("Transpose", match.k_transposed, "k", (*shape[:-2], shape[-1], shape[-2]), perm=swapped)
    q, v, mask, out = match.q, match.v, match.mask, last.outputs[0]
    if rank == 3:
        q, k, v = (view("Unsqueeze", t, f"{n}4", (1, *tensors[t].shape), axes=(0,)) for t, n in ((q, "q"), (k, "k"), (v, "v")))
        out = f"{last.name}/out4"
        tensors[out] = Tensor(name=out, shape=(1, *graph[last.outputs[0]].shape), dtype=graph[last.outputs[0]].dtype)
    attrs: dict[str, Attr] = {"is_causal": 0, "window": 0, MEMBERS: match.ops}
    inputs = (q, k, v, mask) if mask else (q, k, v)
    made.append(Op(name=last.name, type="Attention", inputs=inputs, outputs=(out,), attrs=MappingProxyType(attrs), scope=last.scope))
    if rank == 3:
        squeeze: dict[str, Attr] = {FLOP: 0.0, ORIGIN: last.name, "axes": (0,)}
        made.append(Op(name=f"{last.name}/out", type="Squeeze", inputs=(out,), outputs=last.outputs, attrs=MappingProxyType(squeeze), scope=last.scope))
    return made


def decompose_attention(graph: Graph) -> Graph:
    """The graph with each op "Attention" as MatMul, scale, mask, Softmax and MatMul, as code without a fused kernel runs it.

    Fewer key heads than query heads are repeated first, as Hugging Face's `repeat_kv` does: a copy.
    """
    if all(op.type != "Attention" for op in graph.ops):
        return graph
    tensors = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        if op.type == "Attention" and len(graph[op.inputs[0]].shape) == 4:
            ops.extend(_Parts(graph, op, tensors).ops)
        else:
            ops.append(op)
    return graph.with_(ops=ops, tensors=tensors)


class _Parts:
    """The ops that one attention falls into."""

    def __init__(self, graph: Graph, op: Op, tensors: dict[str, Tensor]) -> None:
        self.op = op
        self.tensors = tensors
        self.dtype = graph[op.inputs[0]].dtype
        self.ops: list[Op] = []
        if MEMBERS in op.attrs:  # it was fused from these
            self.ops.extend(op.attrs[MEMBERS])  # type: ignore[arg-type]
            return
        total = algorithmic_flop(graph, op)
        batch, heads, q_len, size = graph[op.inputs[0]].shape
        _, kv_heads, kv_len, v_size = graph[op.inputs[2]].shape
        k, v = op.inputs[1], op.inputs[2]
        if kv_heads < heads:
            k, v = self._repeated(k, "k", heads), self._repeated(v, "v", heads)
        square = (batch, heads, q_len, kv_len)
        share = size / (size + v_size)
        scores = self._add("MatMul", (op.inputs[0], k), "scores", square, flop=total * share, transB=1)
        scores = self._add("Mul", (scores, self._constant("scale_factor", ())), "scale", square)
        window = op.attrs.get("window", 0)
        if len(op.inputs) > 3 and op.inputs[3]:
            scores = self._add("Add", (scores, op.inputs[3]), "mask", square)
        elif (op.attrs.get("is_causal") or window) and q_len > 1:
            scores = self._add("Add", (scores, self._constant("causal_mask", (q_len, kv_len))), "mask", square)
        weights = self._add("Softmax", (scores,), "softmax", square, axis=-1)
        if op.attrs.get("training_mode"):
            weights = self._add("Dropout", (weights,), "dropout", square, ratio=op.attrs["dropout"], training_mode=1)
        self._add("MatMul", (weights, v), "values", (batch, heads, q_len, v_size), flop=total * (1 - share), output=op.outputs[0])

    def _constant(self, name: str, shape: tuple[int, ...]) -> str:
        full = f"{self.op.name}/{name}"
        self.tensors[full] = Tensor(name=full, shape=shape, dtype=self.dtype, kind=CONSTANT)
        return full

    def _repeated(self, name: str, letter: str, heads: int) -> str:
        batch, kv_heads, length, size = self.tensors[name].shape
        wide = (batch, kv_heads, heads // kv_heads, length, size)
        x = self._add("Unsqueeze", (name,), f"{letter}_groups", (batch, kv_heads, 1, length, size), axes=(2,))
        x = self._add("Expand", (x,), f"{letter}_expand", wide, shape=wide)
        return self._add("Reshape", (x,), f"{letter}_repeat", (batch, heads, length, size), shape=(batch, heads, length, size))

    def _add(self, kind: str, inputs: tuple[str, ...], suffix: str, size: tuple[int, ...], *, flop: float = 0.0, output: str = "", **attrs: Attr) -> str:
        name = f"{self.op.name}/{suffix}"
        if not output:
            output = name
            self.tensors[output] = Tensor(name=output, shape=size, dtype=self.dtype, kind=ACTIVATION)
        attributes = MappingProxyType({FLOP: flop, ORIGIN: self.op.name, **attrs})
        self.ops.append(Op(name=name, type=kind, inputs=inputs, outputs=(output,), attrs=attributes, scope=self.op.scope))
        return output
