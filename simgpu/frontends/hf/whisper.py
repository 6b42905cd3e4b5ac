"""Whisper: an encoder of mel spectrograms and a decoder of text."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import Cache, Heads, attend, cross_attend, load_only, mlp, read_activation
from simgpu.frontends.hf.fields import Fields
from simgpu.frontends.hf.request import Lengths, Request, check_positions, decoder_lengths
from simgpu.graph.ir import Graph, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisper:
    """Sizes of a Whisper model; pairs are encoder and decoder.

    Attributes:
        mels: Mel channels of a frame.
        sources: Positions of the encoder, each two frames. 1500 = 30 s.
        targets: Positions of the decoder.
    """

    name: str
    vocab: int
    hidden: int
    mels: int
    sources: int
    targets: int
    act: str
    layers: tuple[int, int]
    heads: tuple[int, int]
    widths: tuple[int, int]


def whisper(f: Fields, name: str, request: Request) -> Graph:
    """Whisper (Radford et al. 2022). Its encoder's sinusoid positions count as parameters, as in its checkpoints."""
    m = _read(f, name)
    part = request.choose_part(f.where, ("encoder", "decoder"))
    b = Builder(name)
    if part == "encoder":
        request.only_prefill(f.where, "the encoder")
        return b.build(_encoder(b, m, request.batch))
    lengths = decoder_lengths(request, usual=max(1, m.targets - request.generated), prompt=request.target_len or request.seq_len)
    check_positions(f.where, lengths, m.targets)
    if lengths.note:
        b.assume(lengths.note)
    cache, states = Cache(b, lengths), None
    if not request.decode:
        states = b.input("encoder_hidden_states", (request.batch, m.sources, m.hidden)) if part == "decoder" else _encoder(b, m, request.batch)
    logits = _decoder(b, m, request, cache=cache, states=states)
    if request.decode:
        load_only(b, lambda spare: _whole(spare, m, with_encoder=part != "decoder"))
    return b.build((logits, *cache.kept))


def _read(f: Fields, name: str) -> Whisper:
    hidden = f.size("d_model")
    heads = f.size("encoder_attention_heads"), f.size("decoder_attention_heads")
    for side, count in zip(("encoder", "decoder"), heads, strict=True):
        f.divide("d_model", hidden, f"{side}_attention_heads", count)
    return Whisper(
        name=name,
        vocab=f.size("vocab_size"),
        hidden=hidden,
        mels=f.size("num_mel_bins", default=80),
        sources=f.size("max_source_positions", default=1500),
        targets=f.size("max_target_positions", default=448, low=2),
        act=read_activation(f, "activation_function", default="gelu"),
        layers=(f.layers("encoder_layers"), f.layers("decoder_layers")),
        heads=heads,
        widths=(f.size("encoder_ffn_dim"), f.size("decoder_ffn_dim")),
    )


def _heads(m: Whisper, side: int, module: str) -> Heads:
    names = (f"{module}.q_proj", f"{module}.k_proj", f"{module}.v_proj", f"{module}.out_proj")
    return Heads(count=m.heads[side], size=m.hidden // m.heads[side], names=names, bias=(True, False, True, True))


def _whole(b: Builder, m: Whisper, *, with_encoder: bool) -> Tensor:
    """The whole network on one token, for its weights."""
    states = _encoder(b, m, 1) if with_encoder else b.input("encoder_hidden_states", (1, 1, m.hidden))
    return _decoder(b, m, Request(), cache=Cache(b, Lengths(query=1, past=0)), states=states)


def _encoder(b: Builder, m: Whisper, batch: int) -> Tensor:
    """Mel frames (B, mels, 2 · sources) → (B, sources, hidden)."""
    x = b.input("input_features", (batch, m.mels, 2 * m.sources))
    with b.scope("model.encoder"):
        x = b.gelu(b.conv(x, m.hidden, 3, padding=1, bias=True, name="conv1"), name="gelu1")
        x = b.gelu(b.conv(x, m.hidden, 3, stride=2, padding=1, bias=True, name="conv2"), name="gelu2")
        x = b.transpose(x, (0, 2, 1), name="frames_first")
        x = b.add(x, b.weight("embed_positions.weight", (m.sources, m.hidden)), name="add_positions")
        for i in range(m.layers[0]):
            with b.scope(f"layers.{i}"):
                x = b.add(x, attend(b, b.layer_norm(x, name="self_attn_layer_norm"), _heads(m, 0, "self_attn")), name="add_attention")
                x = b.add(x, mlp(b, b.layer_norm(x, name="final_layer_norm"), m.widths[0], act=m.act), name="add_mlp")
        return b.layer_norm(x, name="layer_norm")


def _decoder(b: Builder, m: Whisper, request: Request, *, cache: Cache, states: Tensor | None) -> Tensor:
    """Logits; `states` is the encoder's output, None if its keys and values are cached."""
    lengths = cache.lengths
    ids = b.input("decoder_input_ids", (request.batch, lengths.query), dtype="int64")
    with b.scope("model.decoder"):
        positions = b.constant("position_ids", (lengths.query,), dtype="int64")
        x = b.embedding(ids, m.vocab, m.hidden, name="embed_tokens")
        x = b.add(x, b.embedding(positions, m.targets, m.hidden, name="embed_positions"), name="add_positions")
        for i in range(m.layers[1]):
            with b.scope(f"layers.{i}"):
                y = attend(b, b.layer_norm(x, name="self_attn_layer_norm"), _heads(m, 1, "self_attn"), extend=cache.extend, causal=lengths.query > 1)
                x = b.add(x, y, name="add_attention")
                y = b.layer_norm(x, name="encoder_attn_layer_norm")
                x = b.add(x, cross_attend(b, y, _heads(m, 1, "encoder_attn"), states=states, tokens=m.sources, cache=cache), name="add_cross")
                x = b.add(x, mlp(b, b.layer_norm(x, name="final_layer_norm"), m.widths[1], act=m.act), name="add_mlp")
        x = b.layer_norm(x, name="layer_norm")
        if request.logits == "last" and lengths.query > 1:
            x = b.slice(x, lengths.query - 1, lengths.query, axis=1, name="last_position")
        table = b.weight("embed_tokens.weight", (m.vocab, m.hidden))
    return b.linear(x, m.vocab, bias=False, name="proj_out", tied=table)
