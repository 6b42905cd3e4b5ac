"""Multi-head latent attention (MLA) of DeepSeek: keys and values come from a small cached latent."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import Cache, Tables, merge_heads, rotate, split_heads
from simgpu.graph.ir import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Sizes of latent attention, as DeepSeek-V2's paper names them.

    Attributes:
        q_rank: Width that queries are compressed to; 0 = they are not.
        kv_rank: Width of the latent that is cached.
        nope, rope: Features of a head without and with rotary embedding.
        value: Features of a head's value.
    """

    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int
    bias: bool = False


def latent_attention(b: Builder, x: Tensor, s: Latent, *, heads: int, tables: Tables | None, cache: Cache, form: str) -> Tensor:
    """x (B, S, hidden) → (B, S, hidden).

    Args:
        form: With cached tokens: "absorbed" leaves the latent compressed and moves the up-projections to queries and output;
            "expanded" caches the keys and values of all heads; "reexpanded" expands the whole latent at every step.
            Without cached tokens keys and values are expanded once, whatever the form.
    Source:
        DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434, section 2.1 and appendix C; absorption: section 2.1.2.
    """
    assert tables is not None
    batch, seq, hidden = x.shape
    dim = s.nope + s.rope
    if s.q_rank:
        q = b.linear(b.rms_norm(b.linear(x, s.q_rank, bias=s.bias, name="q_a_proj"), name="q_a_layernorm"), heads * dim, bias=False, name="q_b_proj")
    else:
        q = b.linear(x, heads * dim, bias=False, name="q_proj")
    q_nope, q_rope = b.split(split_heads(b, q, heads, name="q"), (s.nope, s.rope), axis=-1, name="q_parts")
    q_rope = rotate(b, q_rope, tables, interleaved=True, name="q_rotary")
    compressed = b.linear(x, s.kv_rank + s.rope, bias=s.bias, name="kv_a_proj_with_mqa")
    latent, k_rope = b.split(compressed, (s.kv_rank, s.rope), axis=-1, name="kv_parts")
    latent = b.reshape(b.rms_norm(latent, name="kv_a_layernorm"), (batch, 1, seq, s.kv_rank), name="latent")
    k_rope = rotate(b, split_heads(b, k_rope, 1, name="k"), tables, interleaved=True, name="k_rotary")
    scale = dim**-0.5
    if form == "absorbed" and cache.lengths.past:
        y = _absorbed(b, s, q_nope, q_rope, latent, k_rope, heads=heads, cache=cache, scale=scale)
    else:
        cached = form != "expanded" or not cache.lengths.past
        if cached:
            latent, k_rope = cache.extend(latent, "latent_cache"), cache.extend(k_rope, "rope_cache")
        k, v = _expand(b, s, latent, k_rope, heads)
        if not cached:
            k, v = cache.extend(k, "k_cache"), cache.extend(v, "v_cache")
        query = b.concat((q_nope, q_rope), axis=-1, name="query")
        y = b.attention(query, k, v, causal=seq > 1, scale=scale)
    return b.linear(merge_heads(b, y), hidden, bias=s.bias, name="o_proj")


def _expand(b: Builder, s: Latent, latent: Tensor, k_rope: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Keys and values of all heads: latent (B, 1, T, rank) → (B, heads, T, nope + rope) and (B, heads, T, value)."""
    batch, _, tokens, rank = latent.shape
    flat = b.reshape(latent, (batch, tokens, rank), name="flat_latent")
    both = split_heads(b, b.linear(flat, heads * (s.nope + s.value), bias=False, name="kv_b_proj"), heads, name="kv")
    k_nope, v = b.split(both, (s.nope, s.value), axis=-1, name="kv_heads_parts")
    rope = b.expand(k_rope, (batch, heads, tokens, s.rope), name="k_rope_all_heads")
    return b.concat((k_nope, rope), axis=-1, name="key"), v


def _absorbed(b: Builder, s: Latent, q_nope: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, *, heads: int, cache: Cache, scale: float) -> Tensor:
    """Attention over the latent itself: one key head of rank + rope features, whose first `rank` are also the value."""
    batch, _, seq, _ = q_nope.shape
    weight = b.weight("kv_b_proj.weight", (heads * (s.nope + s.value), s.kv_rank))
    per_head = b.reshape(weight, (heads, s.nope + s.value, s.kv_rank), name="kv_b_proj.heads")
    up_k, up_v = b.split(per_head, (s.nope, s.value), axis=1, name="kv_b_proj.parts")

    def by_head(y: Tensor, matrix: Tensor, name: str) -> Tensor:
        """(B, heads, S, in) by (heads, in, out) → (B, heads, S, out), one product a head for the whole batch."""
        rows = b.reshape(b.transpose(y, (1, 0, 2, 3), name=f"{name}.rows"), (heads, batch * seq, y.shape[-1]), name=f"{name}.flat")
        product = b.reshape(b.matmul(rows, matrix, name=name), (heads, batch, seq, matrix.shape[-1]), name=f"{name}.heads")
        return b.transpose(product, (1, 0, 2, 3), name=f"{name}.back")

    query = b.concat((by_head(q_nope, up_k, "absorb_k"), q_rope), axis=-1, name="query")
    key = cache.extend(b.concat((latent, k_rope), axis=-1, name="key"), "latent_cache")
    value = b.slice(key, 0, s.kv_rank, axis=-1, name="value")
    y = b.attention(query, key, value, causal=seq > 1, scale=scale)
    return by_head(y, b.transpose(up_v, (0, 2, 1), name="absorb_v.weight"), "absorb_v")
