"""Fused operators of ONNX Runtime (com.microsoft), and attention in all its forms, as the plain operators they stand for.

Attention of any form ends in our op: q (B, heads, S, D), k (B, kv_heads, T, D), v (B, kv_heads, T, Dv).
Source: onnxruntime docs/ContribOperators.md; ONNX operator Attention (opset 23).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simgpu.errors import ModelError
from simgpu.frontends.onnx_proto import SIMGPU_DOMAIN
from simgpu.graph.ir import CONSTANT, Attr

if TYPE_CHECKING:
    from simgpu.frontends.onnx_walk import Walker


@dataclass(frozen=True, slots=True)
class Site:
    """A fused node: what it reads, its attributes, and what its outputs shall be called."""

    walker: Walker
    label: str
    inputs: Sequence[str]
    attrs: Mapping[str, Attr]
    outputs: Sequence[str]

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and bool(self.inputs[index])

    def input(self, index: int) -> str:
        if not self.has(index):
            raise ModelError(f"node '{self.label}': input {index} is missing")
        return self.inputs[index]

    def shape(self, name: str, *ranks: int) -> tuple[int, ...]:
        shape = self.walker.shape(name)
        if ranks and len(shape) not in ranks:
            raise ModelError(f"node '{self.label}': '{name}' has shape {shape}, expected {' or '.join(map(str, ranks))} dimensions")
        return shape

    def number(self, name: str, default: int) -> int:
        value = self.attrs.get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"node '{self.label}': attribute '{name}' is {value!r}, expected an integer")
        return value

    def add(self, kind: str, *inputs: str, name: str = "", **attrs: Attr) -> str:
        return self.walker.add(kind, inputs, attrs, name=f"{self.label}/{name or kind}")[0]

    def result(self, kind: str, *inputs: str, output: int = 0, **attrs: Attr) -> str:
        """The op that makes an output of the node."""
        name = self.outputs[output] if output < len(self.outputs) and self.outputs[output] else self.walker.fresh(f"{self.label}:{output}")
        return self.walker.emit(kind, inputs, attrs, name=self.label, outputs=[name])[0]

    def wants(self, output: int) -> bool:
        return output < len(self.outputs) and bool(self.outputs[output])


# ---- attention


def _heads(site: Site, x: str, heads: int, name: str) -> str:
    """(B, S, heads · D) → (B, heads, S, D)."""
    batch, positions, hidden = site.shape(x, 3)
    if heads < 1 or hidden % heads:
        raise ModelError(f"node '{site.label}': {hidden} channels do not divide into {heads} heads")
    return site.add("Transpose", site.add("Reshape", x, name=f"{name}/reshape", shape=(batch, positions, heads, hidden // heads)), name=name, perm=(0, 2, 1, 3))


def _merge(site: Site, x: str) -> str:
    """(B, heads, S, D) → (B, S, heads · D), the node's first output."""
    batch, heads, positions, dim = site.shape(x, 4)
    return site.result("Reshape", site.add("Transpose", x, name="merge", perm=(0, 2, 1, 3)), shape=(batch, positions, heads * dim))


def _with_past(site: Site, past: int, new: str, output: int, name: str) -> str:
    """The cached keys or values in front of the new ones, (B, heads, P + S, D)."""
    if not site.has(past) or site.shape(site.input(past), 4)[2] == 0:
        if site.wants(output):
            site.walker.assume(f"node '{site.label}': keys and values of this step are handed out without a copy")
        return new
    return (
        site.result("Concat", site.input(past), new, output=output, axis=2)
        if site.wants(output)
        else site.add("Concat", site.input(past), new, name=name, axis=2)
    )


def _attend(site: Site, q: str, k: str, v: str, mask: str = "", *, causal: bool, window: int = 0) -> str:
    scale = site.attrs.get("scale", 0.0)
    dim = site.shape(q, 4)[3]
    factor = scale if isinstance(scale, float) and scale > 0 else dim**-0.5
    inputs = (q, k, v, mask) if mask else (q, k, v)
    return site.add("Attention", *inputs, name="attention", is_causal=int(causal), window=window, scale=factor)


def onnx_attention(site: Site) -> list[str]:
    """Attention of opset 23: 3-D or 4-D operands, cache in and out."""
    q, k, v = site.input(0), site.input(1), site.input(2)
    flat = len(site.shape(q, 3, 4)) == 3
    if flat:
        q = _heads(site, q, site.number("q_num_heads", 0), "q")
        k, v = (_heads(site, t, site.number("kv_num_heads", 0), n) for t, n in ((k, "k"), (v, "v")))
    k, v = _with_past(site, 4, k, 1, "keys"), _with_past(site, 5, v, 2, "values")
    y = _attend(site, q, k, v, site.inputs[3] if site.has(3) else "", causal=bool(site.attrs.get("is_causal", 0)))
    return [_merge(site, y) if flat else y, k, v]


def ms_attention(site: Site) -> list[str]:
    """x (B, S, in) · weights (in, 3 · hidden) + bias, then attention; past and present (2, B, heads, P, D)."""
    x, weight, heads = site.input(0), site.input(1), site.number("num_heads", 0)
    batch, positions, _ = site.shape(x, 3)
    total = site.shape(weight, 2)[1]
    sizes = site.attrs.get("qkv_hidden_sizes") or (total // 3,) * 3
    if not isinstance(sizes, tuple) or len(sizes) != 3 or sum(sizes) != total or heads < 1 or any(s % heads for s in sizes):
        raise ModelError(f"node '{site.label}': {total} channels do not divide into q, k and v of {heads} heads")
    y = site.add("MatMul", x, weight)
    if site.has(2):
        y = site.add("Add", y, site.input(2), name="bias")
    if len(set(sizes)) == 1:  # one transposing copy, as the runtime's kernel does it
        dim = total // 3 // heads
        y = site.add("Reshape", y, name="qkv/reshape", shape=(batch, positions, 3, heads, dim))
        y = site.add("Transpose", y, name="qkv", perm=(2, 0, 3, 1, 4))
        parts = site.walker.add("Split", [y], {"axis": 0, "split": (1, 1, 1)}, name=f"{site.label}/split", num_outputs=3)
        q, k, v = (site.add("Reshape", p, name=n, shape=(batch, heads, positions, dim)) for p, n in zip(parts, "qkv", strict=True))
    else:
        parts = site.walker.add("Split", [y], {"axis": 2, "split": sizes}, name=f"{site.label}/split", num_outputs=3)
        q, k, v = (_heads(site, p, heads, n) for p, n in zip(parts, "qkv", strict=True))
    present = ""
    if site.has(4):
        past = site.walker.add("Split", [site.input(4)], {"axis": 0, "split": (1, 1)}, name=f"{site.label}/past", num_outputs=2)
        old = [site.add("Squeeze", p, name=f"past/{n}", axes=(0,)) for p, n in zip(past, "kv", strict=True)]
        k, v = (site.add("Concat", o, t, name=f"cat/{n}", axis=2) for o, t, n in ((old[0], k, "k"), (old[1], v, "v")))
    if site.wants(1):
        wide = [site.add("Unsqueeze", t, name=f"present/{n}", axes=(0,)) for t, n in ((k, "k"), (v, "v"))]
        present = site.result("Concat", *wide, output=1, axis=0)
    mask = site.inputs[5] if site.has(5) else ""
    return [_merge(site, _attend(site, q, k, v, mask, causal=bool(site.attrs.get("unidirectional", 0)))), present]


def multi_head_attention(site: Site) -> list[str]:
    """query (B, S, hidden) or packed (B, S, heads, 3, D); key (B, T, hidden), packed (B, T, heads, 2, D) or (B, heads, T, D)."""
    query, heads = site.input(0), site.number("num_heads", 0)
    shape = site.shape(query, 3, 5)
    if len(shape) == 5:
        q, k, v = _unpack(site, query, 3)
    else:
        if site.has(3):  # one bias of q, k and v together
            query = site.add("Add", query, _first(site, site.input(3), shape[2]), name="bias")
        q, key = _heads(site, query, heads, "q"), site.input(1)
        rank = len(site.shape(key, 3, 4, 5))
        if rank == 5:
            k, v = _unpack(site, key, 2)
        elif rank == 4:
            k, v = key, site.input(2)
        else:
            k, v = _heads(site, key, heads, "k"), _heads(site, site.input(2), heads, "v")
    k, v = _with_past(site, 6, k, 1, "keys"), _with_past(site, 7, v, 2, "values")
    mask = site.inputs[5] if site.has(5) else ""
    return [_merge(site, _attend(site, q, k, v, mask, causal=bool(site.attrs.get("unidirectional", 0)))), k, v]


def _first(site: Site, bias: str, size: int) -> str:
    return site.add("Slice", bias, name="bias/q", starts=(0,), ends=(size,), axes=(0,), steps=(1,))


def _unpack(site: Site, packed: str, count: int) -> tuple[str, ...]:
    """(B, S, heads, count, D) → count tensors (B, heads, S, D)."""
    batch, positions, heads, _, dim = site.shape(packed, 5)
    parts = site.walker.add("Split", [packed], {"axis": 3, "split": (1,) * count}, name=f"{site.label}/split", num_outputs=count)
    flat = (site.add("Reshape", p, name=f"part{i}", shape=(batch, positions, heads, dim)) for i, p in enumerate(parts))
    return tuple(site.add("Transpose", p, name=f"head{i}", perm=(0, 2, 1, 3)) for i, p in enumerate(flat))


def group_query_attention(site: Site) -> list[str]:
    """query (B, S, heads · D), key and value (B, S, kv_heads · D), or all packed in query; caches (B, kv_heads, P, D)."""
    query, heads, kv_heads = site.input(0), site.number("num_heads", 0), site.number("kv_num_heads", 0)
    hidden = site.shape(query, 3)[2]
    if heads < 1 or kv_heads < 1:
        raise ModelError(f"node '{site.label}': num_heads {heads} and kv_num_heads {kv_heads} must be 1 or more")
    if site.has(1):
        parts: Sequence[str] = (query, site.input(1), site.input(2))
    else:
        dim = hidden // (heads + 2 * kv_heads)
        cut: dict[str, Attr] = {"axis": 2, "split": (heads * dim, kv_heads * dim, kv_heads * dim)}
        parts = site.walker.add("Split", [query], cut, name=f"{site.label}/split", num_outputs=3)
    q, k, v = (_heads(site, t, n, name) for t, n, name in zip(parts, (heads, kv_heads, kv_heads), "qkv", strict=True))
    if site.attrs.get("do_rotary", 0) and site.has(7) and site.has(8):
        q, k = (site.add("RotaryEmbedding", t, site.input(7), site.input(8), name=f"rotary/{n}") for t, n in ((q, "q"), (k, "k")))
    k, v = _with_past(site, 3, k, 1, "keys"), _with_past(site, 4, v, 2, "values")
    window = max(site.number("local_window_size", 0), 0)
    return [_merge(site, _attend(site, q, k, v, causal=True, window=window)), k, v]


# ---- normalisation, activation and convolution with what follows or precedes


def _norm(site: Site, kind: str, x: str, scale: int, bias: int | None) -> str:
    inputs = (x, site.input(scale), *((site.input(bias),) if bias is not None and site.has(bias) else ()))
    return site.result(kind, *inputs, axis=-1, epsilon=_epsilon(site))


def _epsilon(site: Site) -> float:
    value = site.attrs.get("epsilon", 1e-5)
    return value if isinstance(value, float) else 1e-5


def skip_layer_norm(site: Site) -> list[str]:
    """x + skip (+ bias), layer-normalised; output 3 is the sum."""
    total = site.add("Add", site.input(0), site.input(1), name="skip")
    if site.has(4):
        total = site.add("Add", total, site.input(4), name="bias")
    return [_norm(site, "LayerNormalization", total, 2, 3), "", "", total]


def skip_rms_norm(site: Site) -> list[str]:
    """x + skip (+ bias), RMS-normalised; output 3 is the sum."""
    total = site.add("Add", site.input(0), site.input(1), name="skip")
    if site.has(3):
        total = site.add("Add", total, site.input(3), name="bias")
    return [_norm(site, "RMSNormalization", total, 2, None), "", "", total]


def rms_norm(site: Site) -> list[str]:
    return [_norm(site, "RMSNormalization", site.input(0), 1, None)]


def embed_layer_norm(site: Site) -> list[str]:
    """Word, position and segment embeddings, summed and layer-normalised; output 2 is the sum."""
    ids = site.input(0)
    total = site.add("Gather", site.input(2), ids, name="word", axis=0)
    positions = site.shape(site.input(3), 2)
    length = site.shape(ids, 2)[1]
    if site.has(8):
        place = site.add("Gather", site.input(3), site.input(8), name="position", axis=0)
    else:
        place = site.add("Slice", site.input(3), name="position", starts=(0,), ends=(min(length, positions[0]),), axes=(0,), steps=(1,))
    total = site.add("Add", total, place, name="add_position")
    if site.has(1) and site.has(4):
        total = site.add("Add", total, site.add("Gather", site.input(4), site.input(1), name="segment", axis=0), name="add_segment")
    inputs = (total, site.input(5), *((site.input(6),) if site.has(6) else ()))
    y = site.result("LayerNormalization", *inputs, axis=-1, epsilon=_epsilon(site))
    mask = site.add("ReduceSum", site.input(7), name="mask", axes=(1,), keepdims=0) if site.has(7) and site.wants(1) else ""
    return [y, mask, total]


def _gelu(approximate: str) -> Callable[[Site], list[str]]:
    def rewrite(site: Site) -> list[str]:
        x = site.add("Add", site.input(0), site.input(1), name="bias") if site.has(1) else site.input(0)
        return [site.result("Gelu", x, approximate=approximate)]

    return rewrite


_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip", "HardSigmoid", "Elu", "Softplus", "HardSwish"})


def _activated(site: Site, y: str) -> str:
    activation = str(site.attrs.get("activation", ""))
    if not activation:
        return y
    if activation not in _ACTIVATIONS:
        raise ModelError(f"node '{site.label}': activation '{activation}' is not known, expected one of {', '.join(sorted(_ACTIVATIONS))}")
    return site.result(activation, y)


def _plain(site: Site, *drop: str) -> dict[str, Any]:
    return {k: v for k, v in site.attrs.items() if not k.startswith("activation") and k not in drop}


def fused_conv(site: Site) -> list[str]:
    """Convolution, sum with a fourth input, activation."""
    plain = _plain(site)
    last = not site.has(3) and not site.attrs.get("activation")
    make = site.result if last else site.add
    y = make("Conv", *site.inputs[:3], **plain)
    if site.has(3):
        y = site.add("Add", y, site.input(3), name="sum")
    return [_activated(site, y)]


def fused_gemm(site: Site) -> list[str]:
    make = site.add if site.attrs.get("activation") else site.result
    return [_activated(site, make("Gemm", *site.inputs, **_plain(site)))]


def fused_matmul(site: Site) -> list[str]:
    """MatMul with transposed operands; the factor alpha rides along in the product."""
    parts = []
    for i, name in ((0, "A"), (1, "B")):
        x = site.input(i)
        rank = len(site.shape(x))
        if site.attrs.get(f"trans{name}", 0) and rank > 1:
            x = site.add("Transpose", x, name=f"trans{name}", perm=(*range(rank - 2), rank - 1, rank - 2))
        parts.append(x)
    if site.attrs.get("transBatchA", 0) or site.attrs.get("transBatchB", 0):
        raise ModelError(f"node '{site.label}': transBatchA and transBatchB are not read")
    return [site.result("MatMul", *parts)]


def qgemm(site: Site) -> list[str]:
    """Inputs a, scale, zero point, b, scale, zero point, c …"""
    c = (site.input(6),) if site.has(6) else ()
    return [site.result("Gemm", site.input(0), site.input(3), *c, **_plain(site))]


def matmul_integer_to_float(site: Site) -> list[str]:
    """Integer product, scaled to floats; inputs a, b, scales, zero points, bias."""
    y = site.add("MatMulInteger", site.input(0), site.input(1))
    y = site.add("Cast", y, to="fp32")
    y = site.add("Mul", y, site.input(3), name="scale")
    return [site.add("Add", y, site.input(6), name="bias") if site.has(6) else y]


def dynamic_quantize_matmul(site: Site) -> list[str]:
    """Float a, quantised on the fly, times integer b; inputs a, b, scale of b, zero point, bias."""
    a = site.walker.add("DynamicQuantizeLinear", [site.input(0)], {}, name=f"{site.label}/quantise", num_outputs=3)
    y = site.add("Cast", site.add("MatMulInteger", a[0], site.input(1)), to="fp32")
    y = site.add("Mul", y, site.input(2), name="scale")
    return [site.add("Add", y, site.input(4), name="bias") if site.has(4) else y]


def dynamic_quantize_lstm(site: Site) -> list[str]:
    """LSTM with integer weights, stored transposed: (directions, input, 4 · hidden)."""
    weights = [site.add("Transpose", site.input(i), name=n, perm=(0, 2, 1)) for i, n in ((1, "W"), (2, "R"))]
    inputs = [site.input(0), *weights, *site.inputs[3:8]]
    return site.walker.emit("LSTM", inputs, site.attrs, name=site.label, outputs=list(site.outputs))


def select(site: Site) -> list[str]:
    """Gather with one known index is a Slice, which moves nothing where the axis leads; torch's `x[0]` is exported so."""
    data, index = site.input(0), site.walker.known(site.input(1))
    shape, axis = site.shape(data), site.number("axis", 0)
    if index is None or index.size != 1 or index.ndim > 1 or not -len(shape) <= axis < len(shape) or site.walker.tensors[data].kind == CONSTANT:
        return [site.result("Gather", *site.inputs, **_plain(site))]
    size = shape[axis]
    at = int(index.reshape(-1)[0])
    if not -size <= at < size:
        raise ModelError(f"node '{site.label}': index {at} is outside of axis {axis} of '{data}' {shape}")
    cut: dict[str, Any] = {"starts": (at % size,), "ends": (at % size + 1,), "axes": (axis,), "steps": (1,)}
    if index.ndim == 1:
        return [site.result("Slice", data, **cut)]
    return [site.result("Squeeze", site.add("Slice", data, **cut), axes=(axis,))]


Rewrite = Callable[[Site], list[str]]

_MICROSOFT: Mapping[str, Rewrite] = MappingProxyType(
    {
        "Attention": ms_attention,
        "MultiHeadAttention": multi_head_attention,
        "GroupQueryAttention": group_query_attention,
        "SkipLayerNormalization": skip_layer_norm,
        "SkipSimplifiedLayerNormalization": skip_rms_norm,
        "SimplifiedLayerNormalization": rms_norm,
        "EmbedLayerNormalization": embed_layer_norm,
        "FastGelu": _gelu("tanh"),
        "BiasGelu": _gelu("none"),
        "FusedConv": fused_conv,
        "FusedGemm": fused_gemm,
        "FusedMatMul": fused_matmul,
        "TransposeMatMul": fused_matmul,
        "QGemm": qgemm,
        "MatMulIntegerToFloat": matmul_integer_to_float,
        "DynamicQuantizeMatMul": dynamic_quantize_matmul,
        "DynamicQuantizeLSTM": dynamic_quantize_lstm,
    }
)
_PLAIN: Mapping[str, Rewrite] = MappingProxyType({"Attention": onnx_attention, "Gather": select})
_ANY_DOMAIN = frozenset({"SimplifiedLayerNormalization", "SkipLayerNormalization"})  # ONNX Runtime writes some without a domain


def rewriter(domain: str, kind: str) -> Rewrite | None:
    """What turns a fused or quantised node into plain operators; None for plain ones."""
    from simgpu.frontends import onnx_quantised

    if domain == SIMGPU_DOMAIN:
        return None
    if domain not in ("", "ai.onnx"):
        return _MICROSOFT.get(kind) or onnx_quantised.MICROSOFT.get(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    return _MICROSOFT[kind] if kind in _ANY_DOMAIN else onnx_quantised.STANDARD.get(kind)
