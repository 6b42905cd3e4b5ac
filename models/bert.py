"""BERT, with the modules and views of Hugging Face's BertModel."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

LARGE = {"hidden": 1024, "layers": 24, "heads": 16}


@model("bert-base", family="BERT", aliases=("bert-base-uncased", "google-bert/bert-base-uncased"))
@model("bert-base-mlm", family="BERT", head="mlm")
@model("bert-large", family="BERT", aliases=("bert-large-uncased", "google-bert/bert-large-uncased"), **LARGE)
@model("bert-large-qa", family="BERT", head="qa", seq_len=384, aliases=("bert-large-uncased-whole-word-masking-finetuned-squad",), **LARGE)
@model("bert-large-classifier", family="BERT", head="classifier", aliases=("bert-large-neusight",), **LARGE)
def bert(
    *,
    name: str,
    batch: int = 1,
    seq_len: int = 512,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    vocab: int = 30522,
    head: str = "pooler",
    dropout: float = 0.0,
) -> Graph:
    """Devlin et al., "BERT: Pre-training of deep bidirectional transformers", NAACL 2019, section 3 (base and large).

    Args:
        head: "pooler" (BertModel: dense and tanh on the first token), "classifier" (pooler and two labels), "qa" (start and
            end of the answer), "mlm" (the vocabulary for every token, tied with the word embedding).
        dropout: Share that training drops of the embeddings, the attention weights and each layer's two results; 0.1 in the paper.
    """
    b = Builder(name)
    ids = b.input("input_ids", (batch, seq_len), dtype="int64")
    with b.scope("embeddings"):
        words = b.embedding(ids, vocab, hidden, name="word_embeddings")
        types = b.embedding(b.constant("token_type_ids", (batch, seq_len), dtype="int64"), 2, hidden, name="token_type_embeddings")
        positions = b.embedding(b.constant("position_ids", (1, seq_len), dtype="int64"), 512, hidden, name="position_embeddings")
        x = b.dropout(b.layer_norm(b.add(b.add(words, types), positions), name="LayerNorm"), dropout)
    for i in range(layers):
        with b.scope(f"encoder.layer.{i}"):
            x = _layer(b, x, heads, dropout)
    if head == "mlm":
        with b.scope("cls.predictions"):
            x = b.layer_norm(b.gelu(b.linear(x, hidden, name="transform.dense")), name="transform.LayerNorm")
        table = b.weight("embeddings.word_embeddings.weight", (vocab, hidden))
        return b.build(b.linear(x, vocab, tied=table, name="cls.predictions.decoder"))
    if head == "qa":
        return b.build(b.linear(x, 2, name="qa_outputs"))
    first = b.reshape(b.slice(x, 0, 1), (batch, hidden), name="first_token")
    pooled = b.tanh(b.linear(first, hidden, name="pooler.dense"), name="pooler.activation")
    return b.build(b.linear(pooled, 2, name="classifier") if head == "classifier" else pooled)


def _layer(b: Builder, x: Tensor, heads: int, dropout: float) -> Tensor:
    hidden = x.shape[-1]
    with b.scope("attention"):
        with b.scope("self"):
            q, k, v = (b.split_heads(b.linear(x, hidden, name=part), heads) for part in ("query", "key", "value"))
            y = b.merge_heads(b.attention(q, k, v, dropout=dropout))
        with b.scope("output"):
            x = b.layer_norm(b.add(b.dropout(b.linear(y, hidden, name="dense"), dropout), x), name="LayerNorm")
    y = b.gelu(b.linear(x, 4 * hidden, name="intermediate.dense"), name="intermediate.act")
    with b.scope("output"):
        return b.layer_norm(b.add(b.dropout(b.linear(y, hidden, name="dense"), dropout), x), name="LayerNorm")
