"""T5 and Switch Transformers: an encoder and a decoder with relative position biases."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import ACTIVATIONS, Cache, Heads, activate, attend, cross_attend, gated_mlp, load_only, read_activation, scaled
from simgpu.frontends.hf.experts import MAX_EXPERTS, Experts, moe
from simgpu.frontends.hf.fields import Fields, short
from simgpu.frontends.hf.request import Lengths, Request, decoder_lengths
from simgpu.graph.ir import Graph, Tensor

USUAL_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class T5:
    """An encoder-decoder of the T5 family.

    Attributes:
        layers: Of the encoder and of the decoder.
        sparse: Layers with experts, of the encoder and of the decoder.
    """

    name: str
    vocab: int
    hidden: int
    heads: int
    head_dim: int
    width: int
    layers: tuple[int, int]
    buckets: int
    act: str
    gated: bool
    tied: bool
    experts: Experts | None = None
    sparse: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())


def t5(f: Fields, name: str, request: Request) -> Graph:
    """T5, T5 v1.1, Flan-T5 and mT5 (Raffel et al. 2020)."""
    return _build(_read(f, name), f, request)


def switch(f: Fields, name: str, request: Request) -> Graph:
    """Switch Transformers: T5 with one of many experts for each token in every second layer (Fedus et al. 2022)."""
    m = _read(f, name)
    count = f.size("num_experts", high=MAX_EXPERTS)
    experts = Experts(count=count, top_k=1, width=m.width, gated=False, act=m.act, router="router.classifier", up="wi", down="wo")
    sparse = [_sparse_layers(f, side, layers) for side, layers in zip(("encoder", "decoder"), m.layers, strict=True)]
    return _build(replace(m, experts=experts, sparse=(sparse[0], sparse[1])), f, request)


def _sparse_layers(f: Fields, side: str, layers: int) -> frozenset[int]:
    """Every step-th layer has experts; the step is given or follows from how many such layers there are."""
    wanted = f.size(f"num_sparse_{side}_layers", default=3, low=0)
    step = f.size(f"{side}_sparse_step", default=layers // wanted if wanted else 0, low=0)
    return frozenset(i for i in range(layers) if step == 1 or (step > 1 and i % step == 1))


def _read(f: Fields, name: str) -> T5:
    kind = f.text("feed_forward_proj", default="relu")
    gated, act = kind.startswith("gated-"), kind.removeprefix("gated-")
    if f.has("dense_act_fn"):
        act = read_activation(f, "dense_act_fn", default="relu")
    elif act not in ACTIVATIONS:
        f.fail("feed_forward_proj", f"is {short(kind)}, expected an activation, perhaps with 'gated-' before it, such as relu or gated-gelu")
    layers = f.layers("num_layers")
    return T5(
        name=name,
        vocab=f.size("vocab_size"),
        hidden=f.size("d_model"),
        heads=f.size("num_heads"),
        head_dim=f.size("d_kv", default=64),
        width=f.size("d_ff"),
        layers=(layers, f.layers("num_decoder_layers", default=layers)),
        buckets=f.size("relative_attention_num_buckets", default=32),
        act="gelu_new" if kind == "gated-gelu" else act,
        gated=f.flag("is_gated_act", default=gated),
        tied=f.flag("tie_word_embeddings", default=True),
    )


def _build(m: T5, f: Fields, request: Request) -> Graph:
    part = request.choose_part(f.where, ("encoder", "decoder"))
    if part == "encoder":
        request.only_prefill(f.where, "the encoder")
    tokens = USUAL_TOKENS if request.seq_len is None else request.seq_len
    lengths = decoder_lengths(request, usual=USUAL_TOKENS - request.decode, prompt=request.target_len)
    b = Builder(m.name)
    if lengths.note:
        b.assume(lengths.note)
    cache = Cache(b, lengths)
    states: Tensor | None = None
    if part != "decoder" and not request.decode:
        states = _encoder(b, m, request, tokens)
        if part == "encoder":
            return b.build(states)
    elif not request.decode:
        states = b.input("encoder_hidden_states", (request.batch, tokens, m.hidden))
    logits = _decoder(b, m, request, cache=cache, states=states, tokens=tokens)
    if request.decode:
        load_only(b, lambda spare: _whole(spare, m, with_encoder=part != "decoder"))
    return b.build((logits, *cache.kept))


def _whole(b: Builder, m: T5, *, with_encoder: bool) -> Tensor:
    """The whole network on one token, for its weights."""
    once = Request()
    states = _encoder(b, m, once, 1) if with_encoder else b.input("encoder_hidden_states", (1, 1, m.hidden))
    return _decoder(b, m, once, cache=Cache(b, Lengths(query=1, past=0)), states=states, tokens=1)


def _encoder(b: Builder, m: T5, request: Request, tokens: int) -> Tensor:
    ids = b.input("input_ids", (request.batch, tokens), dtype="int64")
    x = b.embedding(ids, m.vocab, m.hidden, name="shared")
    bias = None
    for i in range(m.layers[0]):
        with b.scope(f"encoder.block.{i}"):
            if i == 0:
                bias = _position_bias(b, m, tokens, tokens)
            with b.scope("layer.0"):
                x = b.add(x, attend(b, _norm(b, x), _heads(m, "SelfAttention"), mask=bias))
            with b.scope("layer.1"):
                x = b.add(x, _feed_forward(b, m, _norm(b, x), i in m.sparse[0], request))
    return b.rms_norm(x, name="encoder.final_layer_norm")


def _decoder(b: Builder, m: T5, request: Request, *, cache: Cache, states: Tensor | None, tokens: int) -> Tensor:
    """Logits of the decoder.

    Args:
        states: Output of the encoder; None if its keys and values are cached.
        tokens: Tokens of the encoder.
    """
    lengths = cache.lengths
    ids = b.input("decoder_input_ids", (request.batch, lengths.query), dtype="int64")
    table = b.weight("shared.weight", (m.vocab, m.hidden))
    x = b.op("Gather", table, ids, name="decoder.embed_tokens", axis=0)
    bias = None
    for i in range(m.layers[1]):
        with b.scope(f"decoder.block.{i}"):
            if i == 0:
                bias = _position_bias(b, m, lengths.query, lengths.total)
            with b.scope("layer.0"):
                x = b.add(x, attend(b, _norm(b, x), _heads(m, "SelfAttention"), extend=cache.extend, mask=bias, causal=lengths.query > 1))
            with b.scope("layer.1"):
                x = b.add(x, cross_attend(b, _norm(b, x), _heads(m, "EncDecAttention"), states=states, tokens=tokens, cache=cache))
            with b.scope("layer.2"):
                x = b.add(x, _feed_forward(b, m, _norm(b, x), i in m.sparse[1], request))
    x = b.rms_norm(x, name="decoder.final_layer_norm")
    if request.logits == "last" and lengths.query > 1:
        x = b.slice(x, lengths.query - 1, lengths.query, axis=1, name="last_position")
    if m.tied:
        x = scaled(b, x, name="scale_logits")
    return b.linear(x, m.vocab, bias=False, name="lm_head", tied=table if m.tied else None)


def _norm(b: Builder, x: Tensor) -> Tensor:
    return b.rms_norm(x, name="layer_norm")


def _heads(m: T5, module: str) -> Heads:
    names = (f"{module}.q", f"{module}.k", f"{module}.v", f"{module}.o")
    return Heads(count=m.heads, size=m.head_dim, names=names, bias=(False,) * 4, scale=1.0)


def _position_bias(b: Builder, m: T5, queries: int, keys: int) -> Tensor:
    """A learned bias for each head and distance, (1, heads, queries, keys); all layers use that of the first."""
    with b.scope("layer.0.SelfAttention"):
        buckets = b.constant("relative_position_bucket", (queries, keys), dtype="int64")
        bias = b.transpose(b.embedding(buckets, m.buckets, m.heads, name="relative_attention_bias"), (2, 0, 1), name="bias_heads_first")
        return b.reshape(bias, (1, m.heads, queries, keys), name="position_bias")


def _feed_forward(b: Builder, m: T5, x: Tensor, sparse: bool, request: Request) -> Tensor:
    if sparse and m.experts is not None:
        with b.scope("mlp"):
            return moe(b, x, m.experts, request)
    with b.scope("DenseReluDense"):
        if m.gated:
            return gated_mlp(b, x, m.width, act=m.act, gate="wi_0", up="wi_1", down="wo")
        return b.linear(activate(b, b.linear(x, m.width, bias=False, name="wi"), m.act), m.hidden, bias=False, name="wo")
