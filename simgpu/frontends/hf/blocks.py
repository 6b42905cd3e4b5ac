"""Pieces that the families share: activations, feed-forward blocks, heads, the KV cache, parts that are loaded but not run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.fields import Fields
from simgpu.frontends.hf.request import Lengths
from simgpu.graph.ir import Tensor

Activation = Callable[[Builder, Tensor], Tensor]


def _quick_gelu(b: Builder, x: Tensor) -> Tensor:
    """x · sigmoid(1.702 x), as CLIP has it."""
    return b.mul(x, b.sigmoid(b.mul(x, b.scalar("act.c"), name="act.scaled"), name="act.sigmoid"), name="act")


# Names as in Hugging Face's `ACT2FN`. The tanh GELU of GPT-2 is written out in eight ops there; "gelu_pytorch_tanh" is one.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": lambda b, x: b.gelu(x, name="act"),
    "gelu_new": lambda b, x: b.gelu_new(x, name="act"),
    "gelu_fast": lambda b, x: b.gelu_new(x, name="act"),
    "gelu_pytorch_tanh": lambda b, x: b.gelu(x, approximate="tanh", name="act"),
    "quick_gelu": _quick_gelu,
    "relu": lambda b, x: b.relu(x, name="act"),
    "silu": lambda b, x: b.silu(x, name="act"),
    "swish": lambda b, x: b.silu(x, name="act"),
    "mish": lambda b, x: b.mish(x, name="act"),
    "tanh": lambda b, x: b.tanh(x, name="act"),
    "sigmoid": lambda b, x: b.sigmoid(x, name="act"),
}


def read_activation(f: Fields, *keys: str, default: str) -> str:
    """The name of an activation that the config gives."""
    return f.text(*keys, default=default, choices=tuple(ACTIVATIONS))


def activate(b: Builder, x: Tensor, act: str) -> Tensor:
    """act(x), elementwise."""
    return ACTIVATIONS[act](b, x)


def mlp(
    b: Builder, x: Tensor, width: int, *, act: str, up: str = "fc1", down: str = "fc2", bias: bool = True, out: int | None = None, in_out: bool = False
) -> Tensor:
    """act(x · up) · down."""
    y = activate(b, b.linear(x, width, bias=bias, name=up, in_out=in_out), act)
    return b.linear(y, x.shape[-1] if out is None else out, bias=bias, name=down, in_out=in_out)


def gated_mlp(
    b: Builder, x: Tensor, width: int, *, act: str, gate: str = "gate_proj", up: str = "up_proj", down: str = "down_proj", bias: bool = False
) -> Tensor:
    """(act(x · gate) * (x · up)) · down.

    Source:
        Shazeer, "GLU Variants Improve Transformer", arXiv:2002.05202, 2020, equation 6.
    """
    gated = b.mul(activate(b, b.linear(x, width, bias=bias, name=gate), act), b.linear(x, width, bias=bias, name=up), name="gated")
    return b.linear(gated, x.shape[-1], bias=bias, name=down)


def split_heads(b: Builder, x: Tensor, heads: int, *, name: str) -> Tensor:
    """(B, S, heads · D) → (B, heads, S, D)."""
    batch, seq, width = x.shape
    return b.transpose(b.reshape(x, (batch, seq, heads, width // heads), name=f"{name}_heads"), (0, 2, 1, 3), name=f"{name}_first")


def merge_heads(b: Builder, x: Tensor, *, name: str = "merge") -> Tensor:
    """(B, heads, S, D) → (B, S, heads · D)."""
    batch, heads, seq, dim = x.shape
    return b.reshape(b.transpose(x, (0, 2, 1, 3), name=f"{name}_last"), (batch, seq, heads * dim), name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """An attention block: how many heads of what size, and what its projections are called.

    Attributes:
        bias: Of the query, key, value and output projections.
        scale: Factor on the scores; None = 1 / √size.
    """

    count: int
    size: int
    names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "out_proj")
    bias: tuple[bool, bool, bool, bool] = (True, True, True, True)
    scale: float | None = None


def attend(
    b: Builder,
    x: Tensor,
    h: Heads,
    *,
    source: Tensor | None = None,
    cached: tuple[Tensor, Tensor] | None = None,
    extend: Callable[[Tensor, str], Tensor] | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """Multi-head attention of x (B, S, width) → (B, S, width).

    Args:
        source: Where keys and values come from, (B, T, any width); x itself if None.
        cached: Keys and values (B, heads, T, size) of an earlier pass, instead of projecting them.
        extend: Puts cached entries before new keys ("k_cache") and values ("v_cache").
    Source:
        Vaswani et al., "Attention Is All You Need", 2017, section 3.2.2.
    """
    width = h.count * h.size
    q = split_heads(b, b.linear(x, width, bias=h.bias[0], name=h.names[0]), h.count, name="q")
    if cached is None:
        given = x if source is None else source
        k = split_heads(b, b.linear(given, width, bias=h.bias[1], name=h.names[1]), h.count, name="k")
        v = split_heads(b, b.linear(given, width, bias=h.bias[2], name=h.names[2]), h.count, name="v")
        if extend is not None:
            k, v = extend(k, "k_cache"), extend(v, "v_cache")
    else:
        k, v = cached
    y = b.attention(q, k, v, causal=causal, scale=h.scale, mask=mask)
    return b.linear(merge_heads(b, y), x.shape[-1], bias=h.bias[3], name=h.names[3])


class Cache:
    """Keys and values between passes.

    In a decode step each layer's cache is a state tensor that the new keys are written into, in place. A prefill without
    cached tokens computes them all, so they are simply kept: they become outputs of the graph.
    """

    def __init__(self, b: Builder, lengths: Lengths) -> None:
        self.b = b
        self.lengths = lengths
        self.kept: list[Tensor] = []

    def keep(self, new: Tensor, name: str) -> Tensor:
        """Keys or values that a later pass will read."""
        self.kept.append(new)
        return new

    def extend(self, new: Tensor, name: str, *, window: int = 0) -> Tensor:
        """All cached entries and the new ones: new (B, heads, S, D) → (B, heads, past + S, D).

        Args:
            window: Entries a layer with a sliding window keeps at most; 0 = all.
        """
        past = self.lengths.past
        if past == 0:
            return self.keep(new, name)
        batch, heads, seq, dim = new.shape
        held = past + seq if window == 0 else min(past + seq, max(window, seq))
        state = self.b.state(self.b.path(name), (batch, heads, held, dim))
        return self.b.op("TensorScatter", state, new, self.b.constant(f"{name}.position", (batch,), dtype="int64"), name=f"{name}.update", axis=2)


def cross_attend(b: Builder, x: Tensor, h: Heads, *, states: Tensor | None, tokens: int, cache: Cache) -> Tensor:
    """Attention of a decoder to the encoder's output, whose keys and values are computed once and kept.

    Args:
        states: The encoder's output, (B, tokens, width); None if its keys and values are cached.
    """
    if states is not None:
        return attend(b, x, h, source=states, extend=cache.keep)
    shape, module = (x.shape[0], h.count, tokens, h.size), h.names[1].rpartition(".")[0]
    cached = b.state(b.path(f"{module}.k_cache"), shape), b.state(b.path(f"{module}.v_cache"), shape)
    return attend(b, x, h, cached=cached)


Tables = tuple[Tensor, Tensor]


def rotary_tables(b: Builder, positions: int, dims: int, *, name: str = "rotary_emb") -> Tables:
    """Cosines and sines of the positions of a pass, (1, positions, dims / 2) each."""
    shape = (1, positions, dims // 2)
    return b.constant(f"{name}.cos", shape), b.constant(f"{name}.sin", shape)


def rotate(b: Builder, x: Tensor, tables: Tables, *, interleaved: bool = False, name: str) -> Tensor:
    """Rotary position embedding of x (B, heads, S, D), of as many of its first features as the tables have angles for.

    Source:
        Su et al., "RoFormer", arXiv:2104.09864, equation 34.
    """
    dims = 2 * tables[0].shape[-1]
    return b.op("RotaryEmbedding", x, *tables, name=name, rotary_embedding_dim=0 if dims == x.shape[-1] else dims, interleaved=int(interleaved))


def load_only(b: Builder, build: Callable[[Builder], Tensor]) -> None:
    """Adds the weights of a part that is in memory but not run in this pass: the encoder during decode."""
    spare = Builder(b.name, dtype=b.dtype)
    for tensor in spare.build(build(spare)).weights:
        b.weight(tensor.name, tensor.shape)


def first_token(b: Builder, x: Tensor) -> Tensor:
    """(B, S, width) → (B, width), of the first token of each sequence."""
    return b.reshape(b.slice(x, 0, 1, axis=1, name="first"), (x.shape[0], x.shape[2]), name="first_token")


def softcap(b: Builder, x: Tensor, *, name: str = "softcap") -> Tensor:
    """cap · tanh(x / cap)."""
    with b.scope(name):
        cap = b.scalar("cap")
        return b.mul(b.tanh(b.op("Div", x, cap)), cap)


def scaled(b: Builder, x: Tensor, *, name: str) -> Tensor:
    """x times a fixed number."""
    return b.mul(x, b.scalar(f"{name}.factor"), name=name)
