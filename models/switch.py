"""Switch Transformer with four experts, as NeuSight measured it."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("switch-xl-4e", family="Switch Transformer", aliases=("switchxl4",))
def switch(
    *,
    name: str,
    batch: int = 1,
    seq_len: int = 512,
    hidden: int = 1024,
    feed_forward: int = 16384,
    layers: int = 24,
    heads: int = 32,
    head_size: int = 128,
    experts: int = 4,
    capacity: int = 64,
    sparse_step: int = 2,
    vocab: int = 32128,
) -> Graph:
    """Fedus, Zoph, Shazeer, "Switch transformers", JMLR 23, 2022, section 2; sizes: Lee et al., "NeuSight", ASPLOS 2025, table 5.

    Hugging Face's SwitchTransformersForConditionalGeneration as NeuSight patched it: every expert runs on
    capacity · batch tokens, one after the other.

    Args:
        seq_len: Tokens of the encoder, and as many of the decoder.
        capacity: Tokens an expert takes from each sequence.
        sparse_step: Every so many-th layer has experts; the others a dense feed-forward. The file of the authors' network is
            not public; with 2 the plain roofline gives the 156.8 ms on A100 that they print for it (1: 135, 3: 164).
    """
    b = Builder(name)
    ids = b.input("input_ids", (batch, seq_len), dtype="int64")
    decoder_ids = b.input("decoder_input_ids", (batch, seq_len), dtype="int64")
    table = b.weight("shared.weight", (vocab, hidden))
    sizes = (hidden, heads, head_size)

    def feed(x: Tensor, i: int) -> Tensor:
        if i % sparse_step == 1 % sparse_step:
            return _experts(b, x, feed_forward, experts, capacity)
        return _feed_forward(b, x, feed_forward, hidden)

    with b.scope("encoder"):
        x = b.op("Gather", table, ids, axis=0, name="embed_tokens")
        bias = _position_bias(b, seq_len, heads)
        for i in range(layers):
            with b.scope(f"block.{i}"):
                x = _attend(b, x, x, sizes, name="layer.0", bias=bias)
                with b.scope("layer.1"):
                    x = b.add(x, feed(b.rms_norm(x), i))
        memory = b.rms_norm(x, name="final_layer_norm")
    with b.scope("decoder"):
        x = b.op("Gather", table, decoder_ids, axis=0, name="embed_tokens")
        bias = _position_bias(b, seq_len, heads)
        for i in range(layers):
            with b.scope(f"block.{i}"):
                x = _attend(b, x, x, sizes, name="layer.0", bias=bias, causal=True)
                x = _attend(b, x, memory, sizes, name="layer.1")
                with b.scope("layer.2"):
                    x = b.add(x, feed(b.rms_norm(x), i))
        x = b.rms_norm(x, name="final_layer_norm")
    return b.build(b.linear(b.mul(x, b.scalar("scale")), vocab, bias=False, tied=table, name="lm_head"))


def _position_bias(b: Builder, seq_len: int, heads: int) -> Tensor:
    """T5's learned bias of each pair of positions, by their distance in 32 buckets: (1, heads, S, S)."""
    buckets = b.constant("buckets", (seq_len, seq_len), dtype="int64")
    bias = b.embedding(buckets, 32, heads, name="relative_attention_bias")
    return b.reshape(b.transpose(bias, (2, 0, 1)), (1, heads, seq_len, seq_len))


def _attend(b: Builder, x: Tensor, memory: Tensor, sizes: tuple[int, int, int], *, name: str, bias: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention without scaling, as T5 has it; to the layer's own input where `memory` is that."""
    hidden, heads, head_size = sizes
    with b.scope(name):
        y = b.rms_norm(x, name="layer_norm")
        source = y if memory is x else memory
        q, k, v = (b.split_heads(b.linear(t, heads * head_size, bias=False, name=p), heads) for t, p in ((y, "q"), (source, "k"), (source, "v")))
        y = b.merge_heads(b.attention(q, k, v, mask=bias, causal=causal, scale=1.0))
        return b.add(x, b.linear(y, hidden, bias=False, name="o"))


def _feed_forward(b: Builder, x: Tensor, width: int, hidden: int) -> Tensor:
    return b.linear(b.relu(b.linear(x, width, bias=False, name="wi")), hidden, bias=False, name="wo")


def _experts(b: Builder, x: Tensor, width: int, experts: int, capacity: int) -> Tensor:
    """The most probable expert of each token; an expert's tokens are gathered, fed through it and put back."""
    batch, seq_len, hidden = x.shape
    tokens = b.reshape(x, (batch * seq_len, hidden))
    with b.scope("router"):
        scores = b.softmax(b.linear(tokens, experts, bias=False, name="classifier"))
        gate = b.op("ReduceMax", scores, axes=(1,), keepdims=1)
    result = tokens
    for i in range(experts):
        with b.scope(f"experts.{i}"):
            own = b.slice(scores, i, i + 1, axis=1)
            _, chosen = b.ops("TopK", (own,), num_outputs=2, axis=0, k=(batch * min(capacity, seq_len),))
            y = _feed_forward(b, b.op("Gather", tokens, b.reshape(chosen, chosen.shape[:1]), axis=0), width, hidden)
            result = b.op("ScatterND", result, chosen, y)
    return b.reshape(b.mul(result, gate), x.shape)
