"""BERT and its relatives: encoders of text whose tokens all see each other."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import Heads, activate, attend, first_token, mlp, read_activation
from simgpu.frontends.hf.decoders import num_labels
from simgpu.frontends.hf.fields import MAX_LAYERS, Fields, short
from simgpu.frontends.hf.request import Request
from simgpu.graph.ir import Graph, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder of text.

    Attributes:
        prefix: Name of the base model among the weights.
        embed_dim: Width of the embeddings where it differs from `hidden` (ALBERT).
        types: Rows of the token type table; 0 = none.
        reserved: Positions that are never used (RoBERTa counts from 2).
    """

    name: str
    prefix: str
    vocab: int
    hidden: int
    layers: int
    heads: int
    width: int
    act: str
    positions: int
    types: int
    reserved: int = 0
    embed_dim: int = 0


def bert(f: Fields, name: str, request: Request) -> Graph:
    """BERT (Devlin et al. 2019) and models that say they are one."""
    e = _read(f, name, "bert")
    head = encoder_head(f, request)
    b, x = _embeddings(e, f, request)
    x = _layers(b, e, x)
    table = b.weight("bert.embeddings.word_embeddings.weight", (e.vocab, e.hidden))
    if head == "mlm":
        with b.scope("cls.predictions"):
            y = b.layer_norm(activate(b, b.linear(x, e.hidden, name="transform.dense"), e.act), name="transform.LayerNorm")
            return b.build(b.linear(y, e.vocab, name="decoder", tied=table))
    if head == "qa":
        return b.build(b.linear(x, 2, name="qa_outputs"))
    pooled = _pooled(b, x, "bert.pooler.dense")
    return b.build(b.linear(pooled, num_labels(f), name="classifier") if head == "classify" else (x, pooled))


def roberta(f: Fields, name: str, request: Request) -> Graph:
    """RoBERTa, XLM-RoBERTa and CamemBERT (Liu et al. 2019)."""
    e = _read(f, name, "roberta", reserved=f.size("pad_token_id", default=1, low=0) + 1)
    head = encoder_head(f, request)
    b, x = _embeddings(e, f, request)
    x = _layers(b, e, x)
    if head == "mlm":
        table = b.weight("roberta.embeddings.word_embeddings.weight", (e.vocab, e.hidden))
        with b.scope("lm_head"):
            y = b.layer_norm(b.gelu(b.linear(x, e.hidden, name="dense"), name="act"), name="layer_norm")
            return b.build(b.linear(y, e.vocab, name="decoder", tied=table))
    if head == "qa":
        return b.build(b.linear(x, 2, name="qa_outputs"))
    if head == "classify":
        y = b.tanh(b.linear(first_token(b, x), e.hidden, name="classifier.dense"), name="classifier.tanh")
        return b.build(b.linear(y, num_labels(f), name="classifier.out_proj"))
    return b.build((x, _pooled(b, x, "roberta.pooler.dense")))


def distilbert(f: Fields, name: str, request: Request) -> Graph:
    """DistilBERT (Sanh et al. 2019): half of BERT's layers, no token types, no pooler."""
    hidden, heads = f.size("dim", "hidden_size"), f.size("n_heads", "num_attention_heads")
    e = Encoder(
        name=name,
        prefix="distilbert",
        vocab=f.size("vocab_size"),
        hidden=hidden,
        layers=f.layers("n_layers", "num_hidden_layers"),
        heads=heads,
        width=f.size("hidden_dim"),
        act=read_activation(f, "activation", default="gelu"),
        positions=f.size("max_position_embeddings", default=512),
        types=0,
    )
    f.divide("dim", hidden, "n_heads", heads)
    head = encoder_head(f, request)
    b, x = _embeddings(e, f, request)
    names = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin")
    for i in range(e.layers):
        with b.scope(f"distilbert.transformer.layer.{i}"):
            y = attend(b, x, Heads(count=heads, size=hidden // heads, names=names))
            x = b.layer_norm(b.add(y, x, name="add_attention"), name="sa_layer_norm")
            y = mlp(b, x, e.width, act=e.act, up="ffn.lin1", down="ffn.lin2")
            x = b.layer_norm(b.add(y, x, name="add_ffn"), name="output_layer_norm")
    if head == "mlm":
        table = b.weight("distilbert.embeddings.word_embeddings.weight", (e.vocab, hidden))
        y = b.layer_norm(activate(b, b.linear(x, hidden, name="vocab_transform"), e.act), name="vocab_layer_norm")
        return b.build(b.linear(y, e.vocab, name="vocab_projector", tied=table))
    if head == "qa":
        return b.build(b.linear(x, 2, name="qa_outputs"))
    if head == "classify":
        y = b.relu(b.linear(first_token(b, x), hidden, name="pre_classifier"))
        return b.build(b.linear(y, num_labels(f), name="classifier"))
    return b.build(x)


def albert(f: Fields, name: str, request: Request) -> Graph:
    """ALBERT (Lan et al. 2020): narrow embeddings, and layers that share their weights."""
    e = _read(f, name, "albert", embed_dim=f.size("embedding_size", default=128))
    groups, inner = f.layers("num_hidden_groups", default=1), f.layers("inner_group_num", default=1)
    f.at_most("num_hidden_groups", groups, "num_hidden_layers", e.layers)
    f.at_most("inner_group_num × num_hidden_layers", inner * e.layers, "the limit of layers", MAX_LAYERS)
    head = encoder_head(f, request)
    b, x = _embeddings(e, f, request)
    x = b.linear(x, e.hidden, name="albert.encoder.embedding_hidden_mapping_in")
    for i in range(e.layers):
        group = int(i / (e.layers / groups))
        for j in range(inner):
            with b.scope(f"albert.encoder.albert_layer_groups.{group}.albert_layers.{j}"):
                x = _shared_layer(b, e, x)
    if head == "mlm":
        table = b.weight("albert.embeddings.word_embeddings.weight", (e.vocab, e.embed_dim))
        with b.scope("predictions"):
            y = b.layer_norm(activate(b, b.linear(x, e.embed_dim, name="dense"), e.act), name="LayerNorm")
            return b.build(b.linear(y, e.vocab, name="decoder", tied=table))
    if head == "qa":
        return b.build(b.linear(x, 2, name="qa_outputs"))
    pooled = _pooled(b, x, "albert.pooler")
    return b.build(b.linear(pooled, num_labels(f), name="classifier") if head == "classify" else (x, pooled))


# ---- pieces


def _read(f: Fields, name: str, prefix: str, *, reserved: int = 0, embed_dim: int = 0) -> Encoder:
    hidden, heads = f.size("hidden_size"), f.size("num_attention_heads")
    f.divide("hidden_size", hidden, "num_attention_heads", heads)
    return Encoder(
        name=name,
        prefix=prefix,
        vocab=f.size("vocab_size"),
        hidden=hidden,
        layers=f.layers("num_hidden_layers"),
        heads=heads,
        width=f.size("intermediate_size"),
        act=read_activation(f, "hidden_act", default="gelu"),
        positions=f.size("max_position_embeddings", default=512),
        types=f.size("type_vocab_size", default=2),
        reserved=reserved,
        embed_dim=embed_dim,
    )


def encoder_head(f: Fields, request: Request) -> str:
    """The head asked for, or the one that `architectures` names; none if it names none."""
    if request.head == "lm":
        raise OptionError(f"{f.where}: head: is 'lm', which an encoder does not have; choose mlm, qa, classify or none")
    if request.head != "auto":
        return request.head
    known = {"ForMaskedLM": "mlm", "ForQuestionAnswering": "qa", "ForSequenceClassification": "classify", "Model": "none"}
    architectures = f.texts("architectures", default=(), max_length=16)
    for architecture in architectures:
        for ending, head in known.items():
            if architecture.endswith(ending):
                return head
    if architectures:
        f.fail("architectures", f"names {short(architectures[0])}, whose head is not known; choose head=mlm, qa, classify or none")
    return "none"


def _embeddings(e: Encoder, f: Fields, request: Request) -> tuple[Builder, Tensor]:
    """Word, position and type embeddings, added and normalised: (B, S, embed_dim)."""
    request.only_prefill(f.where, "an encoder")
    request.choose_part(f.where, ())
    usable = e.positions - e.reserved
    seq = min(512, usable) if request.seq_len is None else request.seq_len
    if seq > usable or seq < 1:
        raise OptionError(f"{f.where}: seq_len: is {seq}, the model has {usable} positions; choose fewer tokens")
    b, width = Builder(e.name), e.embed_dim or e.hidden
    with b.scope(f"{e.prefix}.embeddings"):
        ids = b.input("input_ids", (request.batch, seq), dtype="int64")
        x = b.embedding(ids, e.vocab, width, name="word_embeddings")
        if e.types:
            types = b.input("token_type_ids", (request.batch, seq), dtype="int64")
            x = b.add(x, b.embedding(types, e.types, width, name="token_type_embeddings"), name="add_types")
        positions = b.constant("position_ids", (1, seq), dtype="int64")
        x = b.add(x, b.embedding(positions, e.positions, width, name="position_embeddings"), name="add_positions")
        return b, b.layer_norm(x, name="LayerNorm")


def _layers(b: Builder, e: Encoder, x: Tensor) -> Tensor:
    names = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    for i in range(e.layers):
        with b.scope(f"{e.prefix}.encoder.layer.{i}"):
            y = attend(b, x, Heads(count=e.heads, size=e.hidden // e.heads, names=names))
            x = b.layer_norm(b.add(y, x, name="add_attention"), name="attention.output.LayerNorm")
            y = mlp(b, x, e.width, act=e.act, up="intermediate.dense", down="output.dense")
            x = b.layer_norm(b.add(y, x, name="add_output"), name="output.LayerNorm")
    return x


def _pooled(b: Builder, x: Tensor, name: str) -> Tensor:
    """tanh of a linear layer on the first token: (B, S, hidden) → (B, hidden)."""
    return b.tanh(b.linear(first_token(b, x), x.shape[-1], name=name), name=f"{name}.tanh")


def _shared_layer(b: Builder, e: Encoder, x: Tensor) -> Tensor:
    """A layer whose weights bear the same names each time, so that the builder makes them once."""
    batch, seq, _ = x.shape
    dim = e.hidden // e.heads

    def linear(y: Tensor, features: int, name: str) -> Tensor:
        return b.op("Linear", y, b.weight(f"{name}.weight", (features, y.shape[-1])), b.weight(f"{name}.bias", (features,)), name=name)

    def norm(y: Tensor, name: str) -> Tensor:
        own = [b.weight(f"{name}.{part}", (e.hidden,)) for part in ("weight", "bias")]
        return b.op("LayerNormalization", y, *own, name=name, axis=-1, epsilon=1e-12)

    def heads(name: str) -> Tensor:
        y = b.reshape(linear(x, e.hidden, f"attention.{name}"), (batch, seq, e.heads, dim), name=f"{name}_heads")
        return b.transpose(y, (0, 2, 1, 3), name=f"{name}_first")

    y = b.attention(heads("query"), heads("key"), heads("value"))
    y = b.reshape(b.transpose(y, (0, 2, 1, 3), name="merge_last"), (batch, seq, e.hidden), name="merge")
    x = norm(b.add(x, linear(y, e.hidden, "attention.dense"), name="add_attention"), "attention.LayerNorm")
    y = linear(activate(b, linear(x, e.width, "ffn"), e.act), e.hidden, "ffn_output")
    return norm(b.add(y, x, name="add_ffn"), "full_layer_layer_norm")
