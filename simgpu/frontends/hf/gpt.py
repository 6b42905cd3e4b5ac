"""Configs of GPT-2 and its relatives → `Decoder`: layer norms, plain feed-forward blocks, often branches side by side."""

from __future__ import annotations

from dataclasses import replace

from simgpu.frontends.hf.blocks import read_activation
from simgpu.frontends.hf.decoder import Decoder, Names
from simgpu.frontends.hf.decoders import decoder_sizes, even, read_positions, rotary_features
from simgpu.frontends.hf.fields import Fields


def gpt2(f: Fields, name: str) -> Decoder:
    """GPT-2 and GPT-3 (Radford et al. 2019, Brown et al. 2020)."""
    if f.flag("add_cross_attention", default=False):
        f.fail("add_cross_attention", "is true, expected a decoder that stands alone")
    width, heads = f.size("n_embd", "hidden_size"), f.size("n_head", "num_attention_heads")
    positions = read_positions(f, "n_positions", "n_ctx", "max_position_embeddings", default=1024)
    return Decoder(
        name=name,
        vocab=f.size("vocab_size"),
        hidden=width,
        layers=f.layers("n_layer", "num_hidden_layers"),
        heads=heads,
        kv_heads=heads,
        head_dim=f.divide("n_embd", width, "n_head", heads),
        width=f.optional_size("n_inner") or 4 * width,
        max_positions=positions,
        position_rows=positions,
        act=read_activation(f, "activation_function", default="gelu_new"),
        gated=False,
        norm="layer",
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        in_out=True,
        tied=f.flag("tie_word_embeddings", default=True),
        names=Names(
            embed="transformer.wte", positions="transformer.wpe", layers="transformer.h", attention="attn", qkv=("c_attn",), out="c_proj",
            gate_up=("c_fc",), down="c_proj", norm1="ln_1", norm2="ln_2", final_norm="transformer.ln_f",
        ),
    )  # fmt: skip


def gptj(f: Fields, name: str) -> Decoder:
    """GPT-J: GPT-2 with rotary embedding and parallel branches behind one norm (Wang, Komatsuzaki 2021)."""
    d = gpt2(f, name)
    dims = f.optional_size("rotary_dim") or d.head_dim
    return replace(
        d,
        position_rows=0,
        rotary_dim=even(f, "rotary_dim", f.at_most("rotary_dim", dims, "head size", d.head_dim)),
        interleaved=True,
        parallel=True,
        norms=1,
        qkv_bias=False,
        out_bias=False,
        in_out=False,
        head_bias=True,
        tied=f.flag("tie_word_embeddings", default=False),
        names=replace(d.names, qkv=("q_proj", "k_proj", "v_proj"), out="out_proj", gate_up=("fc_in",), down="fc_out"),
    )


def gpt_neo(f: Fields, name: str) -> Decoder:
    """GPT-Neo: layers with and without a window take turns; all keep the full cache (Black et al. 2021)."""
    width, heads, layers = f.size("hidden_size"), f.size("num_heads", "num_attention_heads"), f.layers("num_layers", "num_hidden_layers")
    positions, window = read_positions(f, default=2048), f.size("window_size", default=256)
    return Decoder(
        name=name,
        vocab=f.size("vocab_size"),
        hidden=width,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=f.divide("hidden_size", width, "num_heads", heads),
        width=f.optional_size("intermediate_size") or 4 * width,
        max_positions=positions,
        position_rows=positions,
        act=read_activation(f, "activation_function", default="gelu_new"),
        gated=False,
        norm="layer",
        out_bias=True,
        mlp_bias=True,
        tied=f.flag("tie_word_embeddings", default=True),
        windows=tuple(window if kind == "local" else 0 for kind in _neo_layers(f, layers)),
        rolling=False,
        names=Names(
            embed="transformer.wte", positions="transformer.wpe", layers="transformer.h", attention="attn.attention", out="out_proj",
            gate_up=("c_fc",), down="c_proj", norm1="ln_1", norm2="ln_2", final_norm="transformer.ln_f",
        ),
    )  # fmt: skip


def _neo_layers(f: Fields, layers: int) -> tuple[str, ...]:
    """The kind of each layer, from `attention_layers` or from `attention_types` as [[["global", "local"], 12]]."""
    kinds = f.texts("attention_layers", default=(), choices=("global", "local"))
    groups = f.raw("attention_types")
    if not kinds and groups is not None:
        if not isinstance(groups, list) or len(groups) > layers:
            f.fail("attention_types", "is no list of [[kinds], repeats]")
        for group in groups:
            match group:
                case [list(words), int(repeats)] if 0 < repeats * len(words) <= layers and not isinstance(repeats, bool):
                    kinds += Fields({"kinds": words}, f.where, "attention_types").texts("kinds", choices=("global", "local")) * repeats
                case _:
                    f.fail("attention_types", f"has an entry that is no [[kinds], repeats] for {layers} layers")
    if kinds and len(kinds) != layers:
        f.fail("attention_types", f"describes {len(kinds)} layers, expected num_layers = {layers}")
    return kinds or tuple("local" if i % 2 else "global" for i in range(layers))


def gpt_neox(f: Fields, name: str) -> Decoder:
    """GPT-NeoX and Pythia: rotary embedding, parallel branches behind a norm each (Black et al. 2022)."""
    sizes, bias = decoder_sizes(f), f.flag("attention_bias", default=True)
    key = "rotary_pct" if f.has("rotary_pct") else "partial_rotary_factor"
    return Decoder(
        name=name,
        **sizes,
        width=f.size("intermediate_size"),
        max_positions=read_positions(f, default=2048),
        act=read_activation(f, "hidden_act", default="gelu"),
        gated=False,
        rotary_dim=rotary_features(f, sizes["head_dim"], key=key, default=0.25),
        norm="layer",
        parallel=f.flag("use_parallel_residual", default=True),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=True,
        tied=f.flag("tie_word_embeddings", default=False),
        names=Names(
            embed="gpt_neox.embed_in", layers="gpt_neox.layers", attention="attention", qkv=("query_key_value",), out="dense",
            gate_up=("dense_h_to_4h",), down="dense_4h_to_h", final_norm="gpt_neox.final_layer_norm", head="embed_out",
        ),
    )  # fmt: skip


def opt(f: Fields, name: str) -> Decoder:
    """OPT (Zhang et al. 2022); its position table has two rows more than positions."""
    sizes, positions = decoder_sizes(f), read_positions(f, default=2048)
    bias, before = f.flag("enable_bias", default=True), f.flag("do_layer_norm_before", default=True)
    embed = f.size("word_embed_proj_dim", default=sizes["hidden"])
    return Decoder(
        name=name,
        **sizes,
        width=f.size("ffn_dim"),
        max_positions=positions,
        position_rows=positions + 2,
        act=read_activation(f, "activation_function", default="relu"),
        gated=False,
        norm="layer" if f.flag("layer_norm_elementwise_affine", default=True) else "plain",
        post_norm=not before,
        final_norm=before and not f.flag("_remove_final_layer_norm", default=False),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        tied=f.flag("tie_word_embeddings", default=True),
        embed_dim=0 if embed == sizes["hidden"] else embed,
        names=Names(
            embed="model.decoder.embed_tokens", positions="model.decoder.embed_positions", layers="model.decoder.layers", mlp="mlp", out="out_proj",
            gate_up=("fc1",), down="fc2", norm1="self_attn_layer_norm", norm2="final_layer_norm", final_norm="model.decoder.final_layer_norm",
        ),
    )  # fmt: skip


def phi(f: Fields, name: str) -> Decoder:
    """Phi-1, 1.5 and 2: parallel branches behind one norm, biases everywhere (Li et al. 2023)."""
    sizes = decoder_sizes(f)
    return Decoder(
        name=name,
        **sizes,
        width=f.size("intermediate_size"),
        max_positions=read_positions(f, default=2048),
        act=read_activation(f, "hidden_act", default="gelu_new"),
        gated=False,
        rotary_dim=rotary_features(f, sizes["head_dim"], default=0.5),
        norm="layer",
        norms=1,
        parallel=True,
        qk_norm="layer" if f.flag("qk_layernorm", default=False) else "",
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        head_bias=True,
        tied=f.flag("tie_word_embeddings", default=False),
        names=Names(out="dense", gate_up=("fc1",), down="fc2", final_norm="model.final_layernorm"),
    )


def falcon(f: Fields, name: str) -> Decoder:
    """Falcon: one matrix for queries, keys and values, one or few key heads (Almazrouei et al. 2023)."""
    width, heads = f.size("hidden_size"), f.size("num_attention_heads", "n_head")
    dim = f.divide("hidden_size", width, "num_attention_heads", heads)
    new, parallel = f.flag("new_decoder_architecture", default=False), f.flag("parallel_attn", default=True)
    multi_query = f.flag("multi_query", default=True)
    kv = f.size("num_kv_heads", "n_head_kv", default=heads) if new else 1 if multi_query else heads
    f.divide("num_attention_heads", heads, "num_kv_heads", kv)
    alibi, bias = f.flag("alibi", default=False), f.flag("bias", default=False)
    two = new and f.size("num_ln_in_parallel_attn", default=2, high=2) == 2
    return Decoder(
        name=name,
        vocab=f.size("vocab_size"),
        hidden=width,
        layers=f.layers("num_hidden_layers", "n_layer"),
        heads=heads,
        kv_heads=kv,
        head_dim=dim,
        width=f.optional_size("ffn_hidden_size") or 4 * width,
        max_positions=read_positions(f, default=2048),
        act=read_activation(f, "activation", default="gelu"),
        gated=False,
        rotary_dim=0 if alibi else even(f, "num_attention_heads", dim),
        alibi=alibi,
        norm="layer",
        norms=2 if two or not (new or parallel) else 1,
        parallel=new or parallel,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        tied=f.flag("tie_word_embeddings", default=True),
        names=Names(
            embed="transformer.word_embeddings", layers="transformer.h", attention="self_attention", qkv=("query_key_value",), out="dense",
            gate_up=("dense_h_to_4h",), down="dense_4h_to_h", norm1="ln_attn" if two else "input_layernorm",
            norm2="ln_mlp" if two else "post_attention_layernorm", final_norm="transformer.ln_f",
        ),
    )  # fmt: skip
