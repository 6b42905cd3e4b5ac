"""Writes out what PyTorch has no kernel for: RMS norm and rotary embeddings run as the small ops of the model's own code."""

from __future__ import annotations

from types import MappingProxyType

from simgpu.graph.ir import ACTIVATION, CONSTANT, Attr, Graph, Op, Tensor
from simgpu.passes.fused import FLOP, ORIGIN, algorithmic_flop


def expand_composites(graph: Graph) -> Graph:
    """The graph with RMSNormalization and RotaryEmbedding as sequences of elementwise ops, for runtimes that fuse nothing.

    Source: Hugging Face transformers `LlamaRMSNorm` and `apply_rotary_pos_emb`; the same kernels in litgpt.
    """
    if not any(op.type in _EXPANSIONS for op in graph.ops):
        return graph
    tensors = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        expand = _EXPANSIONS.get(op.type)
        if expand is not None and len(op.outputs) == 1 and len(op.inputs) >= _INPUTS[op.type]:
            writer = _Writer(graph, op, tensors)
            expand(writer)
            ops.extend(writer.ops)
        else:
            ops.append(op)
    return graph.with_(ops=ops, tensors=tensors)


class _Writer:
    """Collects the ops that one op becomes; the last one counts its arithmetic."""

    def __init__(self, graph: Graph, op: Op, tensors: dict[str, Tensor]) -> None:
        self.op = op
        self.tensors = tensors
        self.flop = algorithmic_flop(graph, op)
        self.ops: list[Op] = []

    def add(self, kind: str, *inputs: str, suffix: str = "", shape: tuple[int, ...] | None = None, dtype: str = "", **attrs: Attr) -> str:
        """An op on the first input's shape and dtype, unless said otherwise; without a suffix it makes the result."""
        output = f"{self.op.name}/{suffix}" if suffix else self.op.outputs[0]
        like = self.tensors[inputs[0]]
        if suffix:
            self.tensors[output] = Tensor(name=output, shape=like.shape if shape is None else shape, dtype=dtype or like.dtype, kind=ACTIVATION)
        attributes: dict[str, Attr] = {FLOP: 0.0 if suffix else self.flop, ORIGIN: self.op.name, **attrs}
        name = f"{self.op.name}/{suffix}" if suffix else self.op.name
        self.ops.append(Op(name=name, type=kind, inputs=inputs, outputs=(output,), attrs=MappingProxyType(attributes), scope=self.op.scope))
        return output

    def constant(self, suffix: str, like: str) -> str:
        name = f"{self.op.name}/{suffix}"
        self.tensors[name] = Tensor(name=name, shape=(), dtype=self.tensors[like].dtype, kind=CONSTANT)
        return name


def _rms_norm(w: _Writer) -> None:
    """x · 1/√(mean(x²) + ε) in fp32, then · weight: six kernels, and two casts around them where x is narrower."""
    x = w.op.inputs[0]
    narrow = w.tensors[x].dtype
    is_narrow = narrow in ("fp16", "bf16")
    wide = w.add("Cast", x, suffix="float", dtype="fp32", to="fp32") if is_narrow else x
    axis = w.op.attrs.get("axis", -1)
    rank = len(w.tensors[x].shape)
    first = (axis if isinstance(axis, int) else -1) % rank
    reduced = tuple(1 if i >= first else d for i, d in enumerate(w.tensors[x].shape))
    square = w.add("Pow", wide, w.constant("two", wide), suffix="pow")
    mean = w.add("ReduceMean", square, suffix="mean", shape=reduced, axes=tuple(range(first, rank)), keepdims=1)
    shifted = w.add("Add", mean, w.constant("epsilon", mean), suffix="add_epsilon")
    root = w.add("Reciprocal", shifted, suffix="rsqrt")
    has_weight = len(w.op.inputs) > 1
    y = w.add("Mul", wide, root, suffix="" if not (is_narrow or has_weight) else "normalised")
    if is_narrow:
        y = w.add("Cast", y, suffix="to" if has_weight else "", dtype=narrow, to=narrow)
    if has_weight:
        w.add("Mul", y, w.op.inputs[1])


def _rotary(w: _Writer) -> None:
    """x · cos + rotate_half(x) · sin: two products, a sum, and the rotated half negated and joined.

    Where only the first channels turn, the others are joined to them at the end.
    """
    whole, cos, sin = w.op.inputs[:3]
    shape = w.tensors[whole].shape
    last = len(shape) - 1
    dims = w.op.attrs.get("rotary_embedding_dim", 0)
    size = dims if isinstance(dims, int) and 0 < dims < shape[-1] else shape[-1]

    def part(name: str, start: int, end: int, suffix: str) -> str:
        return w.add("Slice", name, suffix=suffix, shape=(*shape[:-1], end - start), starts=(start,), ends=(end,), axes=(last,), steps=(1,))

    x = whole if size == shape[-1] else part(whole, 0, size, "turning")
    turning = w.tensors[x].shape
    direct = w.add("Mul", x, cos, suffix="cos")
    upper, lower = part(x, size // 2, size, "upper"), part(x, 0, size // 2, "lower")
    half = w.add("Concat", w.add("Neg", upper, suffix="neg"), lower, suffix="rotate_half", shape=turning, axis=last)
    turned = w.add("Mul", half, sin, suffix="sin")
    if x == whole:
        w.add("Add", direct, turned)
    else:
        w.add("Concat", w.add("Add", direct, turned, suffix="add"), part(whole, size, shape[-1], "passing"), axis=last)


_EXPANSIONS = {"RMSNormalization": _rms_norm, "RotaryEmbedding": _rotary}
_INPUTS = {"RMSNormalization": 1, "RotaryEmbedding": 3}
