"""Configs of LLaMA and its relatives → `Decoder`, and the way from there to a graph. Defaults are those of the Hugging Face configuration classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from simgpu.errors import OptionError
from simgpu.frontends.hf.blocks import read_activation
from simgpu.frontends.hf.decoder import Decoder, build_decoder
from simgpu.frontends.hf.experts import MAX_EXPERTS, Experts
from simgpu.frontends.hf.fields import Fields, short
from simgpu.frontends.hf.latent import Latent
from simgpu.frontends.hf.request import Request, check_positions, decoder_lengths
from simgpu.graph.ir import Graph

USUAL_TOKENS = 2048  # what a prefill has if nobody says, unless the model is made for less


def causal(read: Callable[[Fields, str], Decoder], f: Fields, name: str, request: Request) -> Graph:
    """The graph of a decoder-only model."""
    d = read(f, name)
    request.choose_part(f.where, ())
    usual = max(1, min(USUAL_TOKENS, d.max_positions - request.generated))
    lengths = decoder_lengths(request, usual=usual, prompt=request.seq_len)
    if d.position_rows:
        check_positions(f.where, lengths, d.max_positions)
    head = causal_head(f, request)
    graph = build_decoder(d, request, lengths, head=head, num_labels=num_labels(f) if head == "classify" else 2)
    if lengths.total > d.max_positions:
        return graph.with_(assumptions=(*graph.assumptions, f"{lengths.total} positions, more than the {d.max_positions} the model was trained for"))
    return graph


def causal_head(f: Fields, request: Request) -> str:
    """The head asked for, or the one that `architectures` names; a language model's if it names none."""
    if request.head in ("mlm", "qa"):
        raise OptionError(f"{f.where}: head: is '{request.head}', which a decoder-only model does not have; choose lm, classify or none")
    if request.head != "auto":
        return request.head
    architectures = f.texts("architectures", default=(), max_length=16)
    if not architectures or any(a.endswith(("ForCausalLM", "LMHeadModel")) for a in architectures):
        return "lm"
    if any(a.endswith("ForSequenceClassification") for a in architectures):
        return "classify"
    if any(a.endswith("Model") for a in architectures):
        return "none"
    f.fail("architectures", f"names {short(architectures[0])}, whose head is not known; choose head=lm, classify or none")


def num_labels(f: Fields) -> int:
    """Classes of a classifier: as many as `id2label` names, else `num_labels`, else 2."""
    labels = f.raw("id2label")
    return len(labels) if isinstance(labels, Mapping) and labels else f.size("num_labels", default=2)


# ---- pieces of configs


def decoder_sizes(f: Fields, *, hidden: str = "hidden_size", layers: str = "num_hidden_layers", heads: str = "num_attention_heads") -> dict[str, Any]:
    """Width, depth and heads, with what must divide evenly."""
    width, count = f.size(hidden), f.size(heads)
    kv = f.size("num_key_value_heads", default=count)
    f.divide(heads, count, "num_key_value_heads", kv)
    dim = f.optional_size("head_dim") or f.divide(hidden, width, heads, count)
    return {"hidden": width, "layers": f.layers(layers), "heads": count, "kv_heads": kv, "head_dim": dim, "vocab": f.size("vocab_size")}


def read_positions(f: Fields, *keys: str, default: int) -> int:
    """The longest sequence the model was made for."""
    return f.size(*(keys or ("max_position_embeddings",)), default=default, low=2)


def rotary_features(f: Fields, dim: int, *, key: str = "partial_rotary_factor", default: float = 1.0) -> int:
    """Features of a head that are rotated, from a share that stands at the top or among the rope parameters."""
    for place in (f, *(f.sub(k) for k in ("rope_parameters", "rope_scaling") if isinstance(f.raw(k), Mapping))):
        if place.has(key):
            share = place.number(key, low=1e-9, high=1.0)
            return even(f, key, int(dim * share))
    return even(f, "head_dim", int(dim * default))


def even(f: Fields, key: str, dims: int) -> int:
    """A number of features to rotate, which come in pairs."""
    if dims < 2 or dims % 2:
        f.fail(key, f"leaves {dims} features of a head to rotate, expected an even number of 2 or more")
    return dims


def _windows(f: Fields, layers: int, *, default: int = 0, used: bool = True, sliding: Callable[[int], bool] = lambda i: True) -> tuple[int, ...]:
    """The window of each layer, 0 where it sees everything: from `layer_types`, else by the family's pattern."""
    size = f.size("sliding_window", default=default, low=0) if used else 0
    if not size:
        return ()
    kinds = f.texts("layer_types", default=(), choices=("full_attention", "sliding_attention"))
    if kinds and len(kinds) != layers:
        f.fail("layer_types", f"has {len(kinds)} entries for {layers} layers")
    return tuple(size if (kinds[i] == "sliding_attention" if kinds else sliding(i)) else 0 for i in range(layers))


# ---- LLaMA and its relatives


def llama(f: Fields, name: str) -> Decoder:
    """LLaMA 1-3 and models that say they are one (Touvron et al. 2023)."""
    sizes = decoder_sizes(f)
    bias = f.flag("attention_bias", default=False)
    return Decoder(
        name=name,
        **sizes,
        width=f.size("intermediate_size"),
        max_positions=read_positions(f, default=2048),
        act=read_activation(f, "hidden_act", default="silu"),
        rotary_dim=rotary_features(f, sizes["head_dim"]),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=f.flag("mlp_bias", default=False),
        tied=f.flag("tie_word_embeddings", default=False),
    )


def mistral(f: Fields, name: str) -> Decoder:
    """LLaMA with a sliding window (Jiang et al. 2023)."""
    d = llama(f, name)
    return replace(d, windows=_windows(f, d.layers))


def mixtral(f: Fields, name: str) -> Decoder:
    """Mistral with experts in every layer (Jiang et al. 2024)."""
    d = mistral(f, name)
    count = f.size("num_local_experts", default=8, high=MAX_EXPERTS)
    top_k = f.at_most("num_experts_per_tok", f.size("num_experts_per_tok", default=2), "num_local_experts", count)
    experts = Experts(count=count, top_k=top_k, width=d.width, act=d.act, normalise=True)
    return replace(d, experts=experts, moe_layers=frozenset(range(d.layers)), names=replace(d.names, mlp="block_sparse_moe"))


def qwen2(f: Fields, name: str) -> Decoder:
    """LLaMA with biases on queries, keys and values (Qwen Team 2024)."""
    d = llama(f, name)
    first = f.size("max_window_layers", default=28, low=0)
    used = f.flag("use_sliding_window", default=False)
    return replace(d, qkv_bias=True, out_bias=False, windows=_windows(f, d.layers, default=4096, used=used, sliding=lambda i: i >= first))


def qwen3(f: Fields, name: str) -> Decoder:
    """LLaMA with normalised queries and keys (Qwen Team 2025)."""
    d = llama(_with_default(f, "head_dim", 128), name)
    first = f.size("max_window_layers", default=28, low=0)
    used = f.flag("use_sliding_window", default=False)
    return replace(d, qk_norm="rms", windows=_windows(f, d.layers, default=4096, used=used, sliding=lambda i: i >= first))


def _sparse_layers(f: Fields, layers: int) -> frozenset[int]:
    """Layers with experts, as the Qwen families choose them."""
    step = f.size("decoder_sparse_step", default=1)
    dense = set(f.sizes("mlp_only_layers", default=(), low=0))
    return frozenset(i for i in range(layers) if i not in dense and (i + 1) % step == 0)


def _qwen_experts(f: Fields, act: str) -> Experts:
    count = f.size("num_experts", "num_local_experts", high=MAX_EXPERTS)
    return Experts(
        count=count,
        top_k=f.at_most("num_experts_per_tok", f.size("num_experts_per_tok"), "num_experts", count),
        width=f.size("moe_intermediate_size"),
        act=act,
        normalise=f.flag("norm_topk_prob", default=False),
    )


def qwen2_moe(f: Fields, name: str) -> Decoder:
    """Qwen2 with routed experts and a gated shared one."""
    d = qwen2(f, name)
    experts = replace(_qwen_experts(f, d.act), shared="shared_expert", shared_width=f.size("shared_expert_intermediate_size"), shared_gate=True)
    return replace(d, qkv_bias=f.flag("qkv_bias", default=True), experts=experts, moe_layers=_sparse_layers(f, d.layers))


def qwen3_moe(f: Fields, name: str) -> Decoder:
    """Qwen3 with routed experts."""
    d = qwen3(f, name)
    return replace(d, experts=_qwen_experts(f, d.act), moe_layers=_sparse_layers(f, d.layers))


def gemma(f: Fields, name: str) -> Decoder:
    """Gemma: wide heads, GeGLU, scaled and tied embedding (Gemma Team 2024)."""
    d = llama(_with_default(f, "head_dim", 256), name)
    act = read_activation(f, "hidden_activation", "hidden_act", default="gelu_pytorch_tanh")
    return replace(d, act="gelu_pytorch_tanh" if act == "gelu" else act, tied=f.flag("tie_word_embeddings", default=True), embed_scaled=True)


def gemma2(f: Fields, name: str) -> Decoder:
    """Gemma 2: four norms a layer, every second layer with a window, capped scores and logits."""
    d = gemma(f, name)
    return replace(
        d,
        norms=4,
        windows=_windows(f, d.layers, default=4096, sliding=lambda i: i % 2 == 0),
        score_cap=f.number("attn_logit_softcapping", default=50.0),
        logit_cap=f.has("final_logit_softcapping") or "final_logit_softcapping" not in f.data,
    )


def gemma3(f: Fields, name: str) -> Decoder:
    """Gemma 3 (text): normalised queries and keys instead of caps, five layers with a window to one without."""
    d = gemma(f, name)
    pattern = f.size("sliding_window_pattern", default=6)
    return replace(d, norms=4, qk_norm="rms", windows=_windows(f, d.layers, default=4096, sliding=lambda i: (i + 1) % pattern != 0))


def phi3(f: Fields, name: str) -> Decoder:
    """LLaMA with one matrix for queries, keys and values and one for gate and up (Abdin et al. 2024)."""
    d = llama(f, name)
    return replace(d, windows=_windows(f, d.layers), names=replace(d.names, qkv=("qkv_proj",), gate_up=("gate_up_proj",)))


def deepseek_v2(f: Fields, name: str) -> Decoder:
    """DeepSeek-V2: latent attention, shared and routed experts (DeepSeek-AI 2024)."""
    return _deepseek(f, name, v3=False)


def deepseek_v3(f: Fields, name: str) -> Decoder:
    """DeepSeek-V3 and R1: sigmoid scores with a correction bias. The multi-token prediction layer is left out."""
    return _deepseek(f, name, v3=True)


def _deepseek(f: Fields, name: str, *, v3: bool) -> Decoder:
    nope, rope = f.size("qk_nope_head_dim", default=128), f.size("qk_rope_head_dim", default=64)
    sizes = {**decoder_sizes(_with_default(f, "head_dim", nope + rope)), "head_dim": nope + rope}
    act = read_activation(f, "hidden_act", default="silu")
    latent = Latent(
        q_rank=f.optional_size("q_lora_rank") or 0,
        kv_rank=f.size("kv_lora_rank"),
        nope=nope,
        rope=even(f, "qk_rope_head_dim", rope),
        value=f.size("v_head_dim", default=128),
        bias=f.flag("attention_bias", default=False),
    )
    count, inner = f.size("n_routed_experts", "num_local_experts", high=MAX_EXPERTS), f.size("moe_intermediate_size")
    experts = Experts(
        count=count,
        top_k=f.at_most("num_experts_per_tok", f.size("num_experts_per_tok"), "n_routed_experts", count),
        width=inner,
        act=act,
        score="sigmoid" if v3 else f.text("scoring_func", default="softmax", choices=("softmax", "sigmoid")),
        normalise=f.flag("norm_topk_prob", default=v3),
        scale=True,
        shared_width=inner * f.size("n_shared_experts", default=1 if v3 else 2, low=0, high=1024),
        correction_bias=v3,
    )
    first, step = f.size("first_k_dense_replace", default=3 if v3 else 0, low=0), f.size("moe_layer_freq", default=1)
    return Decoder(
        name=name,
        **sizes,
        width=f.size("intermediate_size"),
        max_positions=read_positions(f, default=4096 if v3 else 2048),
        act=act,
        rotary_dim=rope,
        latent=latent,
        tied=f.flag("tie_word_embeddings", default=False),
        experts=experts,
        moe_layers=frozenset(i for i in range(sizes["layers"]) if i >= first and i % step == 0),
    )


def _with_default(f: Fields, key: str, value: int) -> Fields:
    """The same fields with one filled in where it is missing."""
    return f if f.has(key) else Fields({**f.data, key: value}, f.where, f.path)
