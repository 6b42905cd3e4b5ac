"""Configs of toy networks, counted by hand: phases, caches, windows, experts, latent attention, parts and heads."""

from collections import Counter
from typing import Any

import pytest

from simgpu.errors import OptionError
from simgpu.frontends.config import config_names, is_config_name, load_config, load_named_config
from simgpu.frontends.hf.experts import expert_tokens
from simgpu.graph.ir import STATE, Graph
from simgpu.ops.registry import graph_macs

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}
# of a layer: queries and output 24 × 24, keys and values 12 × 24, three matrices of the feed-forward
LLAMA_LAYER = 2 * 24 * 24 + 2 * 12 * 24 + 3 * 24 * 40


def shapes(graph: Graph, kind: str) -> list[tuple[int, ...]]:
    return [t.shape for t in graph.tensors.values() if t.kind == kind]


def ops(graph: Graph, kind: str) -> list[tuple[tuple[int, ...], ...]]:
    """Shapes of the inputs of all ops of a type."""
    return [tuple(t.shape for t in graph.in_tensors(op) if t) for op in graph.ops if op.type == kind]


class TestDecoder:
    def test_parameters_and_work_of_a_prefill(self) -> None:
        graph = load_config(LLAMA, batch=3, seq_len=5)
        assert graph.num_params == 2 * 50 * 24 + 2 * (LLAMA_LAYER + 2 * 24) + 24
        # per token the weights; per sequence and layer 4 heads of size 6, scores and sum, over 5 × 5 positions
        assert graph_macs(graph) == 3 * 5 * (2 * LLAMA_LAYER + 50 * 24) + 3 * 2 * 4 * 5 * 5 * (6 + 6)
        assert graph[graph.outputs[0]].shape == (3, 5, 50)

    def test_prefill_keeps_keys_and_values_as_outputs(self) -> None:
        graph = load_config(LLAMA, batch=3, seq_len=5)
        assert [graph[t].shape for t in graph.outputs[1:]] == 2 * 2 * [(3, 2, 5, 6)]
        assert shapes(graph, STATE) == []

    def test_decode_reads_the_cache_and_itself(self) -> None:
        graph = load_config(LLAMA, batch=3, phase="decode", context=7)
        assert ops(graph, "Attention") == 2 * [((3, 4, 1, 6), (3, 2, 8, 6), (3, 2, 8, 6))]
        assert shapes(graph, STATE) == 2 * 2 * [(3, 2, 8, 6)]
        assert graph_macs(graph) == 3 * (2 * LLAMA_LAYER + 50 * 24) + 3 * 2 * 4 * 8 * (6 + 6)

    def test_decode_continues_the_prompt(self) -> None:
        assert shapes(load_config(LLAMA, phase="decode", seq_len=9), STATE)[0] == (1, 2, 10, 6)

    def test_decode_of_many_tokens_is_the_step_in_the_middle(self) -> None:
        graph = load_config(LLAMA, phase="decode", context=100, new_tokens=21)  # steps read 101, 102 … 121 keys
        assert ops(graph, "Attention")[0][1] == (1, 2, 111, 6)
        assert any("one decode step of 21" in text for text in graph.assumptions)

    def test_prefill_of_a_chunk_reads_what_is_cached(self) -> None:
        graph = load_config(LLAMA, seq_len=4, context=6)
        assert ops(graph, "Attention")[0] == ((1, 4, 4, 6), (1, 2, 10, 6), (1, 2, 10, 6))

    def test_logits_of_the_last_position_only(self) -> None:
        assert load_config(LLAMA, seq_len=5, logits="last").outputs[0] == "lm_head"
        saved = graph_macs(load_config(LLAMA, seq_len=5)) - graph_macs(load_config(LLAMA, seq_len=5, logits="last"))
        assert saved == 4 * 50 * 24

    def test_a_tied_head_counts_once(self) -> None:
        tied = load_config({**LLAMA, "tie_word_embeddings": True}, seq_len=5)
        assert load_config(LLAMA, seq_len=5).num_params - tied.num_params == 50 * 24

    def test_scopes_are_those_of_the_checkpoint(self) -> None:
        graph = load_config(LLAMA, seq_len=5)
        assert "model.layers.1.self_attn.q_proj.weight" in graph.tensors
        assert graph.producer["model.layers.1.mlp.down_proj"].scope == "model.layers.1.mlp.down_proj"

    def test_more_positions_than_trained_for_are_noted(self) -> None:
        graph = load_config({**LLAMA, "max_position_embeddings": 4}, seq_len=5)
        assert "5 positions, more than the 4 the model was trained for" in graph.assumptions

    def test_a_classifier_instead_of_a_language_model(self) -> None:
        graph = load_config({**LLAMA, "architectures": ["LlamaForSequenceClassification"], "num_labels": 3}, batch=2, seq_len=5)
        assert graph[graph.outputs[0]].shape == (2, 1, 3)
        assert load_config({**LLAMA, "architectures": ["LlamaModel"]}, seq_len=5).outputs[0] == "model.norm"


class TestWindows:
    def test_a_rolling_cache_keeps_no_more_than_the_window(self) -> None:
        config = {**LLAMA, "model_type": "mistral", "sliding_window": 4}
        assert shapes(load_config(config, phase="decode", context=9), STATE)[0] == (1, 2, 4, 6)
        assert shapes(load_config(config, phase="decode", context=2), STATE)[0] == (1, 2, 3, 6)

    def test_gemma2_slides_every_second_layer(self) -> None:
        config = {**LLAMA, "model_type": "gemma2", "head_dim": 6, "sliding_window": 4}
        graph = load_config(config, phase="decode", context=9)
        assert [inputs[1][2] for inputs in ops(graph, "Attention")] == [4, 10]

    def test_layer_types_say_which(self) -> None:
        config = {**LLAMA, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4, "layer_types": ["full_attention", "sliding_attention"]}
        graph = load_config(config, phase="decode", context=9)
        assert [inputs[1][2] for inputs in ops(graph, "Attention")] == [10, 4]

    def test_gpt_neo_masks_but_keeps_all(self) -> None:
        config = {
            "model_type": "gpt_neo", "hidden_size": 24, "num_layers": 2, "num_heads": 4, "vocab_size": 50, "window_size": 4,
            "attention_types": [[["global", "local"], 1]],
        }  # fmt: skip
        graph = load_config(config, phase="decode", context=9)
        assert [inputs[1][2] for inputs in ops(graph, "Attention")] == [10, 10]
        assert [op.attrs["window"] for op in graph.ops if op.type == "Attention"] == [0, 4]


MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}


class TestExperts:
    def test_all_experts_are_weights_and_two_work_on_each_token(self) -> None:
        graph = load_config(MIXTRAL, batch=2, seq_len=5)
        expert = 3 * 24 * 40
        dense = LLAMA_LAYER - expert
        assert graph.num_params == 2 * 50 * 24 + 2 * (dense + 4 * 24 + 4 * expert + 2 * 24) + 24
        assert graph_macs(graph) == 10 * (2 * (dense + 4 * 24 + 2 * expert) + 50 * 24) + 2 * 2 * 4 * 5 * 5 * (6 + 6)
        assert ops(graph, "GroupedLinear")[0] == ((20, 24), (4, 80, 24))

    @pytest.mark.parametrize(
        ("experts", "expected"),
        [
            ("balanced", (5, 5, 5, 5)),
            ([1, 1, 1, 0], (7, 7, 6, 0)),
            ([1, 0, 0, 0], (10, 4, 3, 3)),  # no expert gets a token twice; the others share the second choice
            ("zipf", (10, 5, 3, 2)),  # 20 · 12/25 · (1, 1/2, 1/3, 1/4) = 9.6, 4.8, 3.2, 2.4
            ("zipf:0", (5, 5, 5, 5)),
            ("2,1,1,0", (10, 5, 5, 0)),
        ],
    )
    def test_how_tokens_spread(self, experts: Any, expected: tuple[int, ...]) -> None:
        assert expert_tokens(experts, tokens=10, count=4, top_k=2) == expected
        graph = load_config(MIXTRAL, batch=2, seq_len=5, experts=experts)
        assert {op.attrs["tokens"] for op in graph.ops if op.type == "GroupedLinear"} == {expected}

    def test_one_token_wakes_as_many_experts_as_it_chooses(self) -> None:
        assert expert_tokens("balanced", tokens=1, count=8, top_k=2) == (1, 1, 0, 0, 0, 0, 0, 0)

    def test_capacity_drops_the_overflow(self) -> None:
        graph = load_config(MIXTRAL, batch=2, seq_len=5, experts=[2, 1, 1, 0], capacity_factor=1.2)  # ceil(1.2 · 20 / 4) = 6 of 10
        assert {op.attrs["tokens"] for op in graph.ops if op.type == "GroupedLinear"} == {(6, 5, 5, 0)}
        assert "experts at capacity drop 20.0% of the token-expert pairs" in graph.assumptions

    @pytest.mark.parametrize(
        ("experts", "message"),
        [
            ("unfair", "experts: is 'unfair', expected balanced, zipf"),
            ("zipf:-1", "experts: is 'zipf:-1'"),
            ([1, 2], "experts: has 2 weights for a network of 4 experts"),
            ([1, -1, 1, 1], "experts: expected weights of 0 or more, and one above 0"),
            ([0, 0, 0, 0], "and one above 0"),
        ],
    )
    def test_bad_spreads(self, experts: Any, message: str) -> None:
        with pytest.raises(OptionError, match=message):
            load_config(MIXTRAL, seq_len=5, experts=experts)

    def test_qwen_mixes_dense_layers_and_a_gated_shared_expert(self) -> None:
        config = {
            **LLAMA, "model_type": "qwen2_moe", "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 16, "decoder_sparse_step": 2, "mlp_only_layers": [3],
        }  # fmt: skip
        graph = load_config(config, seq_len=5)
        sparse = {op.scope.split(".")[2] for op in graph.ops if op.type == "GroupedLinear"}
        assert sparse == {"1"}
        assert graph["model.layers.1.mlp.shared_expert_gate.weight"].shape == (1, 24)
        assert graph["model.layers.1.mlp.shared_expert.up_proj.weight"].shape == (16, 24)


DEEPSEEK = {
    **LLAMA, "model_type": "deepseek_v3", "num_key_value_heads": 4, "q_lora_rank": 10, "kv_lora_rank": 8, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4,
    "v_head_dim": 5, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 7, "first_k_dense_replace": 1,
}  # fmt: skip


class TestLatentAttention:
    def test_prefill_expands_the_latent_and_keeps_it_small(self) -> None:
        graph = load_config(DEEPSEEK, batch=3, seq_len=5)
        assert ops(graph, "Attention")[0] == ((3, 4, 5, 10), (3, 4, 5, 10), (3, 4, 5, 5))
        assert [graph[t].shape for t in graph.outputs[1:3]] == [(3, 1, 5, 8), (3, 1, 5, 4)]

    def test_absorbed_decode_attends_to_the_latent_itself(self) -> None:
        graph = load_config(DEEPSEEK, batch=3, phase="decode", context=7)
        assert ops(graph, "Attention")[0] == ((3, 4, 1, 12), (3, 1, 8, 12), (3, 1, 8, 8))
        assert shapes(graph, STATE) == 2 * [(3, 1, 8, 12)]
        assert ((4, 3, 6), (4, 6, 8)) in ops(graph, "MatMul")  # queries of all sequences into the latent, a product for each head
        assert ((4, 3, 8), (4, 8, 5)) in ops(graph, "MatMul")

    def test_reexpanded_decode_projects_the_whole_cache(self) -> None:
        graph = load_config(DEEPSEEK, batch=3, phase="decode", context=7, latent="reexpanded")
        assert ((3, 8, 8), (4 * (6 + 5), 8)) in ops(graph, "Linear")
        assert sorted(set(shapes(graph, STATE))) == [(3, 1, 8, 4), (3, 1, 8, 8)]

    def test_expanded_decode_caches_every_head(self) -> None:
        graph = load_config(DEEPSEEK, batch=3, phase="decode", context=7, latent="expanded")
        assert sorted(set(shapes(graph, STATE))) == [(3, 4, 8, 5), (3, 4, 8, 10)]

    def test_the_first_layers_are_dense(self) -> None:
        graph = load_config(DEEPSEEK, seq_len=5)
        assert {op.scope.split(".")[2] for op in graph.ops if op.type == "GroupedLinear"} == {"1"}


T5 = {"model_type": "t5", "d_model": 24, "d_ff": 40, "d_kv": 5, "num_layers": 2, "num_heads": 4, "vocab_size": 50}


class TestEncoderDecoder:
    def test_decode_reads_both_caches_and_runs_no_encoder(self) -> None:
        graph = load_config(T5, batch=3, seq_len=6, phase="decode", context=7)
        assert [inputs[1] for inputs in ops(graph, "Attention")] == 2 * [(3, 4, 8, 5), (3, 4, 6, 5)]
        assert not any(op.scope.startswith("encoder") for op in graph.ops)
        assert graph.num_params == load_config(T5, seq_len=6).num_params

    def test_the_parts_make_the_whole(self) -> None:
        whole = load_config(T5, seq_len=6, target_len=4)
        parts = [load_config(T5, seq_len=6, target_len=4, part=part) for part in ("encoder", "decoder")]
        assert graph_macs(whole) == sum(map(graph_macs, parts))
        assert whole.num_params == sum(p.num_params for p in parts) - 50 * 24  # the shared embedding

    def test_gated_variants_scale_no_logits(self) -> None:
        config = {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        assert load_config(config, seq_len=6).num_params - load_config(T5, seq_len=6).num_params == 4 * 24 * 40 + 50 * 24

    def test_switch_has_experts_in_every_second_layer(self) -> None:
        config = {**T5, "model_type": "switch_transformers", "num_layers": 4, "num_experts": 8, "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 0}
        graph = load_config(config, seq_len=6)
        assert {op.scope.split(".layer")[0] for op in graph.ops if op.type == "GroupedLinear"} == {"encoder.block.1", "encoder.block.3"}

    def test_whisper_sees_frames_and_runs_its_decoder(self) -> None:
        config = {
            "model_type": "whisper", "d_model": 24, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
            "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "num_mel_bins": 10, "max_source_positions": 30, "max_target_positions": 12, "vocab_size": 50,
        }  # fmt: skip
        graph = load_config(config)
        assert graph["input_features"].shape == (1, 10, 60)
        assert graph[graph.outputs[0]].shape == (1, 12, 50)
        assert ops(load_config(config, phase="decode"), "Attention") == [
            ((1, 4, 1, 6), (1, 4, 12, 6), (1, 4, 12, 6)),
            ((1, 4, 1, 6), (1, 4, 30, 6), (1, 4, 30, 6)),
        ]
        with pytest.raises(OptionError, match=r"needs 13 positions \(context 0 and 13 new\), the model has 12 learned ones"):
            load_config(config, target_len=13)


BERT = {
    "model_type": "bert",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 16,
}


class TestEncoders:
    def test_heads_of_bert(self) -> None:
        base = load_config(BERT, batch=2, seq_len=8)
        outputs = {head: load_config(BERT, batch=2, seq_len=8, head=head) for head in ("none", "mlm", "qa", "classify")}
        assert {head: graph[graph.outputs[-1]].shape for head, graph in outputs.items()} == {
            "none": (2, 24),
            "mlm": (2, 8, 50),
            "qa": (2, 8, 2),
            "classify": (2, 2),
        }
        pooler = 24 * 24 + 24
        assert outputs["mlm"].num_params - base.num_params == (24 * 24 + 24) + 2 * 24 + 50 - pooler  # transform, its norm, a bias for each word
        assert outputs["classify"].num_params - base.num_params == 2 * 24 + 2

    def test_albert_shares_one_layer(self) -> None:
        config = {**BERT, "model_type": "albert", "embedding_size": 8}
        one, four = load_config({**config, "num_hidden_layers": 1}, seq_len=8), load_config({**config, "num_hidden_layers": 4}, seq_len=8)
        assert one.num_params == four.num_params
        assert len(ops(four, "Attention")) == 4

    def test_swin_masks_shifted_windows(self) -> None:
        config = {
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [2, 1],
            "num_heads": [2, 4],
            "window_size": 4,
            "image_size": 32,
            "patch_size": 4,
            "num_labels": 3,
        }
        graph = load_config(config, batch=5)
        # 8 × 8 patches: 4 windows of 4 × 4; the second layer shifts them; then 4 × 4 patches of twice the width are one window
        assert [inputs[0] for inputs in ops(graph, "Attention")] == [(20, 2, 16, 4), (20, 2, 16, 4), (5, 4, 16, 4)]
        assert [inputs[3] for inputs in ops(graph, "Attention")] == [(1, 2, 16, 16), (20, 2, 16, 16), (1, 4, 16, 16)]

    def test_vit_at_another_image_size(self) -> None:
        config = {**BERT, "model_type": "vit", "image_size": 32, "patch_size": 8, "num_labels": 3}
        assert load_config(config)["vit.embeddings.position_embeddings"].shape == (1, 17, 24)
        larger = load_config(config, image_size=(32, 48))
        assert larger["vit.embeddings.position_embeddings"].shape == (1, 25, 24)
        assert any("4 × 6 entries" in text for text in larger.assumptions)


UNET = {
    "_class_name": "UNet2DConditionModel", "sample_size": 8, "block_out_channels": [8, 16], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 2, "cross_attention_dim": 12,
}  # fmt: skip


class TestDiffusion:
    def test_the_unet_attends_where_its_blocks_say(self) -> None:
        graph = load_config(UNET, batch=2, seq_len=5)
        heads = [(inputs[0], inputs[1]) for inputs in ops(graph, "Attention")]
        high = [((2, 2, 64, 4), (2, 2, 64, 4)), ((2, 2, 64, 4), (2, 2, 5, 4))]
        low = [((2, 2, 16, 8), (2, 2, 16, 8)), ((2, 2, 16, 8), (2, 2, 5, 8))]
        assert heads == high + low + 2 * high  # down, middle, and one layer more on the way up
        assert graph[graph.outputs[0]].shape == (2, 4, 8, 8)

    def test_image_size_is_in_pixels(self) -> None:
        assert load_config(UNET, image_size=128)["sample"].shape == (1, 4, 16, 16)

    def test_the_halves_of_the_autoencoder(self) -> None:
        config = {
            "_class_name": "AutoencoderKL", "sample_size": 32, "block_out_channels": [8, 16], "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2, "norm_num_groups": 4,
        }  # fmt: skip
        decoder, encoder = load_config(config), load_config(config, part="encoder")
        assert (decoder["latents"].shape, decoder[decoder.outputs[0]].shape) == ((1, 4, 16, 16), (1, 3, 32, 32))
        assert encoder[encoder.outputs[0]].shape == (1, 8, 16, 16)
        assert decoder.num_params == encoder.num_params


class TestNames:
    @pytest.mark.parametrize("name", ["llama-3-8b", "meta-llama/Meta-Llama-3-8B", "Meta-Llama-3-8B", "LLAMA_3_8B"])
    def test_spellings(self, name: str) -> None:
        assert is_config_name(name)
        assert load_named_config(name, seq_len=4).num_params == 8_030_261_248  # as the model card's safetensors say

    def test_a_suffix_names_phase_or_part(self) -> None:
        assert shapes(load_named_config("gpt2:decode", context=9), STATE)[0] == (1, 12, 10, 64)
        assert load_named_config("whisper-tiny:encoder").outputs[0].endswith("encoder.layer_norm")

    def test_names_are_sorted_and_many(self) -> None:
        names = config_names()
        assert list(names) == sorted(names)
        assert {"llama-3-8b", "deepseek-v3", "sdxl-unet", "gpt3-175b"} <= set(names)

    def test_own_configs_come_first(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "models" / "configs").mkdir(parents=True)
        (tmp_path / "models" / "configs" / "mine.json").write_text('{"model_type": "gpt2", "n_embd": 24, "n_layer": 1, "n_head": 4, "vocab_size": 50}')
        monkeypatch.setenv("SIMGPU_PATH", str(tmp_path))
        assert "mine" in config_names()
        assert load_named_config("mine", seq_len=4).num_params == 50 * 24 + 1024 * 24 + 12 * 24 * 24 + 13 * 24 + 2 * 24


def test_ops_of_a_layer_of_llama() -> None:
    """What runs: a name for each step, in the order of the reference code."""
    graph = load_config({**LLAMA, "num_hidden_layers": 1}, seq_len=5)
    assert Counter(op.type for op in graph.ops) == {
        "Gather": 1, "RMSNormalization": 3, "Linear": 8, "Reshape": 4, "Transpose": 4, "RotaryEmbedding": 2, "Attention": 1, "Add": 2, "Swish": 1, "Mul": 1
    }  # fmt: skip
