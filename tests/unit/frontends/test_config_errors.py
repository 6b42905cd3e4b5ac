"""What broken configs and options that do not fit are told: file, field, what is wrong, what was expected."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from simgpu.errors import ModelError, OptionError
from simgpu.frontends.config import load_config, load_named_config, read_json, shipped_config

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}


def without(key: str, **more: Any) -> dict[str, Any]:
    return {k: v for k, v in LLAMA.items() if k != key} | more


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (without("hidden_size"), "config: hidden_size: is missing, expected a whole number from 1 to 16777216"),
        (without("vocab_size", vocabsize=50), "config: vocab_size: is missing, expected a whole number from 1 to 16777216; did you mean 'vocabsize'?"),
        ({**LLAMA, "hidden_size": "24"}, "config: hidden_size: is '24', expected a whole number"),
        ({**LLAMA, "hidden_size": 24.0}, "config: hidden_size: is 24.0, expected a whole number"),
        ({**LLAMA, "hidden_size": True}, "config: hidden_size: is True, expected a whole number"),
        ({**LLAMA, "hidden_size": [24]}, "config: hidden_size: is a list of 1 entries, expected a whole number"),
        ({**LLAMA, "hidden_size": -24}, "config: hidden_size: is -24, expected a whole number from 1"),
        ({**LLAMA, "vocab_size": 2**40}, "config: vocab_size: is 1099511627776, expected a whole number from 1 to 16777216"),
        ({**LLAMA, "num_hidden_layers": 100_000}, "config: num_hidden_layers: is 100000, expected a whole number from 1 to 512"),
        ({**LLAMA, "hidden_size": 26}, "config: hidden_size: is 26, which num_attention_heads = 4 does not divide evenly; one of them must be wrong"),
        ({**LLAMA, "num_key_value_heads": 3}, "config: num_attention_heads: is 4, which num_key_value_heads = 3 does not divide evenly"),
        ({**LLAMA, "hidden_act": "silk"}, "config: hidden_act: is 'silk', expected one of gelu, .*; did you mean 'silu'?"),
        ({**LLAMA, "attention_bias": "no"}, "config: attention_bias: is 'no', expected true or false"),
        ({**LLAMA, "partial_rotary_factor": 0.5, "head_dim": 6}, "partial_rotary_factor: leaves 3 features of a head to rotate, expected an even number"),
        ({**LLAMA, "architectures": ["LlamaForTokenTasks"]}, "config: architectures: names 'LlamaForTokenTasks', whose head is not known; choose head=lm"),
        ({**LLAMA, "model_type": "lama"}, "config: model_type: 'lama' is not supported; did you mean 'llama'?; supported: .*whisper"),
        ({}, "config: model_type: is missing, expected a text"),
        ({"_class_name": "FluxTransformer2DModel"}, "config: _class_name: 'FluxTransformer2DModel' is not supported; .*UNet2DConditionModel"),
        ({**LLAMA, "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "num_experts_per_tok: is 3, more than num_local_experts = 2"),
        ({**LLAMA, "model_type": "mistral", "sliding_window": 4, "layer_types": ["full_attention"]}, "layer_types: has 1 entries for 2 layers"),
        (
            {**LLAMA, "model_type": "mistral", "sliding_window": 4, "layer_types": ["full_atention"] * 2},
            "layer_types: names 'full_atention', expected full_attention, sliding_attention; did you mean 'full_attention'?",
        ),
        ({"model_type": "clip", "vision_config": {}}, "config: text_config: is missing, expected an object { … }"),
        ({"model_type": "clip", "text_config": {"hidden_size": 0}, "vision_config": {}}, "config: text_config.hidden_size: is 0, expected a whole number"),
        (
            {"model_type": "gpt_neo", "hidden_size": 24, "num_layers": 2, "num_heads": 4, "vocab_size": 50, "attention_types": [[["global"], 5]]},
            "attention_types: has an entry that is no [[kinds], repeats] for 2 layers",
        ),
        (
            {"model_type": "t5", "d_model": 24, "d_ff": 40, "num_layers": 1, "num_heads": 4, "vocab_size": 50, "feed_forward_proj": "gated-golu"},
            "feed_forward_proj: is 'gated-golu', expected an activation, perhaps with 'gated-' before it",
        ),
        (
            {"model_type": "vit", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 8},
            "patch_size: is 16 × 16, larger than the image of 8 × 8 pixels",
        ),
    ],
)
def test_fields(config: dict[str, Any], message: str) -> None:
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    with pytest.raises(ModelError, match=pattern):
        load_config(config, seq_len=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_out_channels": []}, "block_out_channels: is empty"),
        ({"down_block_types": ["DownBlock2D"]}, "down_block_types: has 1 entries, expected 4 as in block_out_channels"),
        ({"block_out_channels": [320, 640, 1280, 1285]}, r"block_out_channels\[3\]: is 1285, which norm_num_groups = 32 does not divide evenly"),
        ({"class_embed_type": "timestep"}, "class_embed_type: is set; UNets with it are not supported"),
        ({"sample_size": 60}, "sample_size: is 60 × 60, which 3 halvings do not divide"),
        (
            {"layers_per_block": 60, "transformer_layers_per_block": 60},
            "layers_per_block × transformer_layers_per_block: is 14640, more than the limit of layers = 512",
        ),
    ],
)
def test_fields_of_a_unet(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_config({**read_json(shipped_config("sd15-unet")), **change})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("llama-3-8b", {"batch": 0}, "batch: is 0, expected a whole number from 1"),
        ("llama-3-8b", {"seq_len": 2**40}, "seq_len: is 1099511627776, expected a whole number"),
        ("llama-3-8b", {"phase": "decoding"}, "phase: is 'decoding', expected one of prefill, decode; did you mean 'decode'"),
        ("llama-3-8b", {"new_tokens": 4, "phase": "prefill"}, "new_tokens: is 4 in a prefill, which generates none; choose phase 'decode'"),
        ("llama-3-8b", {"part": "encoder"}, "part: has no 'encoder', it is all one part"),
        ("llama-3-8b", {"head": "mlm"}, "head: is 'mlm', which a decoder-only model does not have; choose lm, classify or none"),
        ("mixtral-8x7b", {"capacity_factor": 0}, "capacity_factor: is 0, expected a number above 0"),
        ("gpt2", {"seq_len": 1025}, r"needs 1025 positions \(context 0 and 1025 new\), the model has 1024 learned ones; choose fewer tokens"),
        ("gpt2", {"phase": "decode", "context": 1024}, r"needs 1025 positions \(context 1024 and 1 new\)"),
        ("bert-base", {"seq_len": 513}, "seq_len: is 513, the model has 512 positions; choose fewer tokens"),
        ("bert-base", {"phase": "decode"}, "phase: is 'decode', but an encoder generates no tokens"),
        ("bert-base", {"head": "lm"}, "head: is 'lm', which an encoder does not have"),
        ("t5-small", {"part": "encode"}, "part: has no 'encode', its parts are encoder, decoder; did you mean 'encoder'"),
        ("t5-small", {"part": "encoder", "phase": "decode"}, "phase: is 'decode', but the encoder generates no tokens"),
        ("swin-tiny", {"image_size": 0}, "image_size: is 0, expected a whole number"),
        ("swin-tiny", {"seq_len": 9}, "swin-tiny: seq_len: the network reads no tokens; leave it out"),
        ("bert-base", {"context": 9}, "context: the network caches no tokens; leave it out"),
        ("bert-base", {"new_tokens": 9}, "phase: is 'decode', but an encoder generates no tokens"),
        ("llama-3-8b", {"experts": "zipf"}, "experts: the network has no experts; leave it out"),
        ("llama-3-8b", {"capacity_factor": 2.0}, "capacity_factor: the network has no experts"),
        ("llama-3-8b", {"image_size": 224}, "image_size: the network sees no image"),
        ("llama-3-8b", {"latent": "expanded"}, "latent: the network has no latent attention"),
        ("llama-3-8b", {"target_len": 9}, "target_len: the network has no decoder beside its encoder"),
    ],
)
def test_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_named_config(name, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "llama", "hidden', r"config.json:1:25: is not JSON: .*; the file may be cut off"),
        ("", "config.json:1:1: is not JSON"),
        ("[1, 2]", "config.json: holds a list, expected an object"),
        ('{"a": 1, "a": 2}', "config.json: 'a': is given twice; remove one of them"),
        ("[" * 100_000, "config.json: is not a usable JSON file: RecursionError"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "config.json: is not a usable JSON file: ValueError"),
        (b'{"model_type": "\xff"}', "config.json: byte 16 is not UTF-8 text"),
        (b'\xef\xbb\xbf{"model_type": "nothing"}', "config.json: model_type: 'nothing' is not supported"),
    ],
)
def test_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match=message):
        load_config(path)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder without config.json"):
        load_config(tmp_path)
    with pytest.raises(ModelError, match=r"cannot be read: No such file or directory; give a config.json"):
        load_config(tmp_path / "none.json")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").write_text(json.dumps(LLAMA))
    assert load_config(tmp_path / "toy", seq_len=4).name == "toy"
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ModelError, match="is a pipeline of several networks; give the folder of one of them: toy"):
        load_config(tmp_path)


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(ModelError, match="has 17179869184 bytes, expected a config of at most 16777216"):
        load_config(path)


def test_unknown_names() -> None:
    with pytest.raises(ModelError, match=r"unknown config 'llama-3-8c'; did you mean 'llama-3-8b'?"):
        load_named_config("llama-3-8c")
