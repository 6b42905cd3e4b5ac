"""ONNX files of transformers as PyTorch's exporter writes them: norms, rotary embeddings, GELU and attention in small ops, weights without numbers."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto

from tests.onnx_files import array, info, model, node, weight


class Writer:
    """Collects nodes and initializers."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._known: set[str] = set()

    def op(self, kind: str, *inputs: str, **attrs: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(node(kind, inputs, [name], name, **attrs))
        return name

    def weight(self, name: str, *shape: int) -> str:
        if name not in self._known:
            self._known.add(name)
            self.stored.append(weight(name, *shape))
        return name

    def number(self, value: Any) -> str:
        name = f"const_{value}".replace(" ", "")
        if name not in self._known:
            self._known.add(name)
            self.stored.append(array(name, value))
        return name

    def linear(self, x: str, name: str, n: int, k: int, *, bias: bool) -> str:
        y = self.op("MatMul", x, self.weight(f"{name}.weight", k, n))
        return self.op("Add", self.weight(f"{name}.bias", n), y) if bias else y

    def heads(self, x: str, batch: int, seq: int, count: int, size: int) -> str:
        return self.op("Transpose", self.op("Reshape", x, self.number([batch, seq, count, size])), perm=(0, 2, 1, 3))

    def attention(self, q: str, k: str, v: str, size: int, mask: str = "") -> str:
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=(0, 1, 3, 2)))
        scores = self.op("Div", scores, self.number(float(size**0.5)))
        return self.op("MatMul", self.op("Softmax", self.op("Add", scores, mask) if mask else scores, axis=-1), v)

    def merged(self, x: str, batch: int, seq: int, width: int) -> str:
        return self.op("Reshape", self.op("Transpose", x, perm=(0, 2, 1, 3)), self.number([batch, seq, width]))

    def file(self, batch: int, seq: int, output: str) -> onnx.ModelProto:
        return model(self.nodes, {"input_ids": info("input_ids", (batch, seq), TensorProto.INT64)}, [output], self.stored)


def bert(*, batch: int, seq: int, layers: int, hidden: int, heads: int, width: int, vocab: int, positions: int) -> onnx.ModelProto:
    """BERT with its pooler; layer norm and GELU in small ops."""
    w = Writer()

    def norm(x: str, name: str) -> str:
        centred = w.op("Sub", x, w.op("ReduceMean", x, axes=[-1]))
        variance = w.op("ReduceMean", w.op("Pow", centred, w.number(2.0)), axes=[-1])
        y = w.op("Div", centred, w.op("Sqrt", w.op("Add", variance, w.number(1e-12))))
        return w.op("Add", w.op("Mul", y, w.weight(f"{name}.weight", hidden)), w.weight(f"{name}.bias", hidden))

    def gelu(x: str) -> str:
        inner = w.op("Add", w.op("Erf", w.op("Div", x, w.number(2.0**0.5))), w.number(1.0))
        return w.op("Mul", w.op("Mul", x, inner), w.number(0.5))

    x = w.op("Gather", w.weight("word_embeddings.weight", vocab, hidden), "input_ids")
    x = w.op("Add", x, w.op("Gather", w.weight("token_type_embeddings.weight", 2, hidden), w.number([[0] * seq])))
    x = w.op("Add", x, w.op("Gather", w.weight("position_embeddings.weight", positions, hidden), w.number([list(range(seq))])))
    x = norm(x, "embeddings.LayerNorm")
    for i in range(layers):
        at = f"encoder.layer.{i}"
        q, k, v = (w.heads(w.linear(x, f"{at}.{n}", hidden, hidden, bias=True), batch, seq, heads, hidden // heads) for n in ("query", "key", "value"))
        y = w.merged(w.attention(q, k, v, hidden // heads), batch, seq, hidden)
        x = norm(w.op("Add", w.linear(y, f"{at}.attention.output", hidden, hidden, bias=True), x), f"{at}.attention.LayerNorm")
        y = w.linear(gelu(w.linear(x, f"{at}.intermediate", width, hidden, bias=True)), f"{at}.output", hidden, width, bias=True)
        x = norm(w.op("Add", y, x), f"{at}.LayerNorm")
    first = w.op("Gather", x, w.number(0), axis=1)
    return w.file(batch, seq, w.op("Tanh", w.linear(first, "pooler", hidden, hidden, bias=True)))


def llama(*, batch: int, seq: int, layers: int, hidden: int, heads: int, kv_heads: int, width: int, vocab: int) -> onnx.ModelProto:
    """LLaMA with logits: RMS norm, rotary embedding, SiLU and repeated key heads in small ops; the rotary tables are stored."""
    w = Writer()
    size = hidden // heads
    cos, sin, mask = w.weight("cos", 1, 1, seq, size), w.weight("sin", 1, 1, seq, size), w.weight("mask", 1, 1, seq, seq)

    def norm(x: str, name: str) -> str:
        mean = w.op("ReduceMean", w.op("Pow", x, w.number(2.0)), axes=[-1])
        root = w.op("Sqrt", w.op("Add", mean, w.number(1e-5)))
        return w.op("Mul", w.weight(f"{name}.weight", hidden), w.op("Mul", x, w.op("Div", w.number(1.0), root)))

    def part(x: str, start: int, end: int) -> str:
        return w.op("Slice", x, w.number([start]), w.number([end]), w.number([3]))

    def rotated(x: str) -> str:
        half = w.op("Concat", w.op("Neg", part(x, size // 2, 2**62)), part(x, 0, size // 2), axis=-1)
        return w.op("Add", w.op("Mul", x, cos), w.op("Mul", half, sin))

    def repeated(x: str) -> str:
        wide = w.op("Expand", w.op("Unsqueeze", x, w.number([2])), w.number([batch, kv_heads, heads // kv_heads, seq, size]))
        return w.op("Reshape", wide, w.number([batch, heads, seq, size]))

    def project(x: str, name: str, n: int, k: int) -> str:
        return w.linear(x, name, n, k, bias=False)

    x = w.op("Gather", w.weight("embed_tokens.weight", vocab, hidden), "input_ids")
    for i in range(layers):
        at = f"layers.{i}"
        y = norm(x, f"{at}.input_layernorm")
        q = rotated(w.heads(project(y, f"{at}.q_proj", hidden, hidden), batch, seq, heads, size))
        k, v = (w.heads(project(y, f"{at}.{n}", kv_heads * size, hidden), batch, seq, kv_heads, size) for n in ("k_proj", "v_proj"))
        y = w.merged(w.attention(q, repeated(rotated(k)), repeated(v), size, mask), batch, seq, hidden)
        x = w.op("Add", x, project(y, f"{at}.o_proj", hidden, hidden))
        y = norm(x, f"{at}.post_attention_layernorm")
        gate = project(y, f"{at}.gate_proj", width, hidden)
        y = w.op("Mul", w.op("Mul", gate, w.op("Sigmoid", gate)), project(y, f"{at}.up_proj", width, hidden))
        x = w.op("Add", x, project(y, f"{at}.down_proj", hidden, width))
    return w.file(batch, seq, project(norm(x, "norm"), "lm_head", vocab, hidden))
