"""Decoder-only language models: one description that the families fill in, and the graph built from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import Cache, Tables, activate, gated_mlp, merge_heads, mlp, rotary_tables, rotate, scaled, softcap, split_heads
from simgpu.frontends.hf.experts import Experts, moe
from simgpu.frontends.hf.latent import Latent, latent_attention
from simgpu.frontends.hf.request import Lengths, Request
from simgpu.graph.ir import Attr, Graph, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the modules are called, as in the checkpoint; those of LLaMA unless the family says otherwise.

    Attributes:
        qkv: One name: the three projections are one matrix. Three names: they are three.
        gate_up: One name: gate and up are one matrix. Two names: they are two.
    """

    embed: str = "model.embed_tokens"
    positions: str = ""
    layers: str = "model.layers"
    attention: str = "self_attn"
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    out: str = "o_proj"
    mlp: str = "mlp"
    gate_up: tuple[str, ...] = ("gate_proj", "up_proj")
    down: str = "down_proj"
    norm1: str = "input_layernorm"
    norm2: str = "post_attention_layernorm"
    final_norm: str = "model.norm"
    head: str = "lm_head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A decoder-only language model.

    Attributes:
        max_positions: Longest sequence it was made for.
        position_rows: Rows of a learned position table; 0 = rotary or none.
        rotary_dim: Features of each head that are rotated; 0 = none.
        norm: "rms", "layer" or "plain" (layer norm without parameters).
        parallel: Attention and feed-forward read the same residual and are added together.
        norms: Norms of a layer: 1 shared by both branches of a parallel layer, 2, or 4 (before and after each branch).
        post_norm: Norms stand after the residual addition instead of before the branch.
        qk_norm: Queries and keys are normalised per head: "", "rms" or "layer".
        in_out: Weights lie as (in, out) in memory: Conv1D of transformers.
        gated: Feed-forward is act(gate) · up.
        windows: For each layer the keys a query sees at most; 0 = all.
        rolling: A layer with a window keeps only that many keys.
        embed_dim: Width of the embedding where it differs from `hidden` (OPT-350m).
        embed_scaled: The embedding is multiplied by a number.
        score_cap: Attention scores go through cap · tanh(x / cap); 0 = no cap.
        logit_cap: The logits do so.
        experts: Of the layers in `moe_layers`; the others are dense.
    """

    name: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    max_positions: int
    act: str = "silu"
    gated: bool = True
    position_rows: int = 0
    rotary_dim: int = 0
    interleaved: bool = False
    norm: str = "rms"
    norms: int = 2
    parallel: bool = False
    post_norm: bool = False
    final_norm: bool = True
    qk_norm: str = ""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    in_out: bool = False
    tied: bool = False
    alibi: bool = False
    windows: tuple[int, ...] = ()
    rolling: bool = True
    embed_dim: int = 0
    embed_scaled: bool = False
    score_cap: float = 0.0
    logit_cap: bool = False
    experts: Experts | None = None
    moe_layers: frozenset[int] = frozenset()
    latent: Latent | None = None
    names: Names = field(default_factory=Names)

    def norm_of(self, b: Builder, x: Tensor, name: str, kind: str = "") -> Tensor:
        """A norm of the kind this model uses."""
        kind = kind or self.norm
        if kind == "rms":
            return b.rms_norm(x, name=name)
        if kind == "plain":
            return b.op("LayerNormalization", x, name=name, axis=-1, epsilon=1e-5)
        return b.layer_norm(x, name=name)


def build_decoder(d: Decoder, request: Request, lengths: Lengths, *, head: str, num_labels: int = 2) -> Graph:
    """One pass: token ids (B, query) → logits (B, query, vocab), or what the head makes.

    Args:
        head: "lm", "classify" or "none" (hidden states).
    """
    b = Builder(d.name)
    cache = Cache(b, lengths)
    if lengths.note:
        b.assume(lengths.note)
    ids = b.input("input_ids", (request.batch, lengths.query), dtype="int64")
    x = b.embedding(ids, d.vocab, d.embed_dim or d.hidden, name=d.names.embed)
    if d.embed_dim:
        x = b.linear(x, d.hidden, bias=False, name="model.decoder.project_in")
    if d.position_rows:
        positions = b.input("position_ids", (1, lengths.query), dtype="int64")
        x = b.add(x, b.embedding(positions, d.position_rows, d.hidden, name=d.names.positions), name="add_positions")
    if d.embed_scaled:
        x = scaled(b, x, name="embed_scaled")
    tables = rotary_tables(b, lengths.query, d.rotary_dim) if d.rotary_dim else None
    for i in range(d.layers):
        with b.scope(f"{d.names.layers}.{i}"):
            x = _layer(b, d, x, i, request=request, tables=tables, cache=cache)
    if d.final_norm:
        x = d.norm_of(b, x, d.names.final_norm)
    if d.embed_dim:
        x = b.linear(x, d.embed_dim, bias=False, name="model.decoder.project_out")
    if head == "classify":
        x = b.linear(_last_position(b, x), num_labels, bias=False, name="score")
    elif head == "lm":
        x = _logits(b, d, x, request)
    return b.build((x, *cache.kept))


def _last_position(b: Builder, x: Tensor) -> Tensor:
    return b.slice(x, x.shape[1] - 1, x.shape[1], axis=1, name="last_position") if x.shape[1] > 1 else x


def _logits(b: Builder, d: Decoder, x: Tensor, request: Request) -> Tensor:
    if request.logits == "last":
        x = _last_position(b, x)
    table = b.weight(f"{d.names.embed}.weight", (d.vocab, d.embed_dim or d.hidden)) if d.tied else None
    logits = b.linear(x, d.vocab, bias=d.head_bias, name=d.names.head, tied=table)
    return softcap(b, logits, name="logits_softcap") if d.logit_cap else logits


def _layer(b: Builder, d: Decoder, x: Tensor, i: int, *, request: Request, tables: Tables | None, cache: Cache) -> Tensor:
    n = d.names

    def attend(y: Tensor) -> Tensor:
        with b.scope(n.attention):
            if d.latent is not None:
                return latent_attention(b, y, d.latent, heads=d.heads, tables=tables, cache=cache, form=request.latent)
            return _attention(b, d, y, i, tables=tables, cache=cache)

    def feed(y: Tensor) -> Tensor:
        with b.scope(n.mlp):
            return moe(b, y, d.experts, request) if d.experts is not None and i in d.moe_layers else _feed_forward(b, d, y)

    if d.parallel:
        y = d.norm_of(b, x, n.norm1)
        z = y if d.norms == 1 else d.norm_of(b, x, n.norm2)
        return b.add(b.add(attend(y), feed(z), name="add_branches"), x, name="add_residual")
    if d.post_norm:
        x = d.norm_of(b, b.add(attend(x), x, name="add_attention"), n.norm1)
        return d.norm_of(b, b.add(feed(x), x, name="add_mlp"), n.norm2)
    y = attend(d.norm_of(b, x, n.norm1))
    if d.norms == 4:
        y = d.norm_of(b, y, n.norm2)
    x = b.add(x, y, name="add_attention")
    y = feed(d.norm_of(b, x, "pre_feedforward_layernorm" if d.norms == 4 else n.norm2))
    if d.norms == 4:
        y = d.norm_of(b, y, "post_feedforward_layernorm")
    return b.add(x, y, name="add_mlp")


def _attention(b: Builder, d: Decoder, x: Tensor, i: int, *, tables: Tables | None, cache: Cache) -> Tensor:
    n, dim = d.names, d.head_dim
    widths = (d.heads * dim, d.kv_heads * dim, d.kv_heads * dim)
    if len(n.qkv) == 1:
        q, k, v = b.split(b.linear(x, sum(widths), bias=d.qkv_bias, name=n.qkv[0], in_out=d.in_out), widths, axis=-1, name="qkv")
    else:
        q, k, v = (b.linear(x, width, bias=d.qkv_bias, name=name) for name, width in zip(n.qkv, widths, strict=True))
    q, k, v = split_heads(b, q, d.heads, name="q"), split_heads(b, k, d.kv_heads, name="k"), split_heads(b, v, d.kv_heads, name="v")
    if d.qk_norm:
        q, k = d.norm_of(b, q, "q_norm", d.qk_norm), d.norm_of(b, k, "k_norm", d.qk_norm)
    if tables is not None:
        q, k = rotate(b, q, tables, interleaved=d.interleaved, name="q_rotary"), rotate(b, k, tables, interleaved=d.interleaved, name="k_rotary")
    window = d.windows[i] if d.windows else 0
    held = window if d.rolling else 0
    k, v = cache.extend(k, "k_cache", window=held), cache.extend(v, "v_cache", window=held)
    mask = b.constant("alibi", (1, d.heads, 1, k.shape[2])) if d.alibi else None
    attrs: dict[str, Attr] = {"is_causal": int(q.shape[2] > 1), "window": window, "scale": dim**-0.5}
    if d.score_cap:
        attrs["softcap"] = d.score_cap
    y = b.op("Attention", q, k, v, *([mask] if mask else []), name="attention", **attrs)
    return b.linear(merge_heads(b, y), d.hidden, bias=d.out_bias, name=n.out, in_out=d.in_out)


def _feed_forward(b: Builder, d: Decoder, x: Tensor) -> Tensor:
    n = d.names
    if not d.gated:
        return mlp(b, x, d.width, act=d.act, up=n.gate_up[0], down=n.down, bias=d.mlp_bias, in_out=d.in_out)
    if len(n.gate_up) == 2:
        return gated_mlp(b, x, d.width, act=d.act, gate=n.gate_up[0], up=n.gate_up[1], down=n.down, bias=d.mlp_bias)
    gate, up = b.split(b.linear(x, 2 * d.width, bias=d.mlp_bias, name=n.gate_up[0]), 2, axis=-1, name="gate_up")
    return b.linear(b.mul(activate(b, gate, d.act), up, name="gated"), d.hidden, bias=d.mlp_bias, name=n.down)
