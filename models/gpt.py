"""GPT-2 and the GPT-3 sizes, with the modules and views of Hugging Face's GPT2LMHeadModel; its Conv1D has weights that lie as (in, out)."""

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("gpt2", family="GPT-2", aliases=("openai-community/gpt2", "gpt2-small"))
@model("gpt2-medium", family="GPT-2", hidden=1024, layers=24, heads=16)
@model("gpt2-large", family="GPT-2", hidden=1280, layers=36, heads=20)
@model("gpt2-xl", family="GPT-2", hidden=1600, layers=48, heads=25)
@model("gpt3-small", family="GPT-3", seq_len=2048, hidden=768, layers=12, heads=12, aliases=("gpt3-125m",))
@model("gpt3-medium", family="GPT-3", seq_len=2048, hidden=1024, layers=24, heads=16, aliases=("gpt3-350m",))
@model("gpt3-large", family="GPT-3", seq_len=2048, hidden=1536, layers=24, heads=16, aliases=("gpt3-760m",))
@model("gpt3-xl", family="GPT-3", seq_len=2048, hidden=2048, layers=24, heads=16, aliases=("gpt3-1.3b",))
@model("gpt3-xl-neusight", family="GPT-3", seq_len=2048, hidden=3072, layers=24, heads=24)
@model("gpt3-2.7b", family="GPT-3", seq_len=2048, hidden=2560, layers=32, heads=32)
@model("gpt3-6.7b", family="GPT-3", seq_len=2048, hidden=4096, layers=32, heads=32)
@model("gpt3-13b", family="GPT-3", seq_len=2048, hidden=5120, layers=40, heads=40)
@model("gpt3-175b", family="GPT-3", seq_len=2048, hidden=12288, layers=96, heads=96, aliases=("gpt3", "davinci"))
def gpt2(
    *,
    name: str,
    batch: int = 1,
    seq_len: int = 1024,
    past_len: int = 0,
    decode: bool = False,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    vocab: int = 50257,
    dropout: float = 0.0,
) -> Graph:
    """Radford et al., "Language models are unsupervised multitask learners", 2019, table 2.

    GPT-3: Brown et al., "Language models are few-shot learners", NeurIPS 2020, table 2.1.

    The table gives GPT-3 13B 5140 channels, which its 40 heads of 128 do not make; 5120 is what they make.
    GPT-3's alternating sparse attention is built dense.

    Args:
        seq_len: Tokens that go in; logits come out for all of them.
        past_len: Tokens before them whose keys and values are cached.
        decode: One new token after a cache of the whole context but one: seq_len = 1, past_len = seq_len - 1.
        dropout: Share that training drops of the embeddings, the attention weights and each block's two results; 0.1 at Hugging Face.
    """
    positions = max(seq_len + past_len, 2048 if name.startswith("gpt3") else 1024)
    if decode:
        seq_len, past_len = 1, past_len or seq_len - 1
    if hidden % heads:
        raise OptionError(f"{name}: {hidden} channels cannot be divided among {heads} heads; choose hidden as a multiple of heads")
    b = Builder(name)
    ids = b.input("input_ids", (batch, seq_len), dtype="int64")
    with b.scope("transformer"):
        words = b.embedding(ids, vocab, hidden, name="wte")
        x = b.add(words, b.embedding(b.constant("position_ids", (1, seq_len), dtype="int64"), positions, hidden, name="wpe"))
        x = b.dropout(x, dropout, name="drop")
        for i in range(layers):
            with b.scope(f"h.{i}"):
                x = _block(b, x, heads, past_len, dropout)
        x = b.layer_norm(x, name="ln_f")
        table = b.weight("wte.weight", (vocab, hidden))
    return b.build(b.linear(x, vocab, bias=False, tied=table, name="lm_head"))


def _block(b: Builder, x: Tensor, heads: int, past_len: int, dropout: float) -> Tensor:
    batch, _, hidden = x.shape
    y = b.layer_norm(x, name="ln_1")
    with b.scope("attn"):
        q, k, v = (b.split_heads(part, heads) for part in b.split(b.linear(y, 3 * hidden, name="c_attn", in_out=True), 3, axis=2))
        if past_len:
            cache = (batch, heads, past_len, hidden // heads)
            k = b.concat([b.state(b.path("past_key"), cache), k], axis=2)
            v = b.concat([b.state(b.path("past_value"), cache), v], axis=2)
        y = b.merge_heads(b.attention(q, k, v, causal=True, dropout=dropout))
        x = b.add(b.dropout(b.linear(y, hidden, name="c_proj", in_out=True), dropout), x)
    y = b.layer_norm(x, name="ln_2")
    with b.scope("mlp"):
        y = b.gelu_new(b.linear(y, 4 * hidden, name="c_fc", in_out=True))
        y = b.linear(y, hidden, name="c_proj", in_out=True)
        y = b.dropout(y, dropout)
    return b.add(x, y)
