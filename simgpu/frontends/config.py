"""Hugging Face `config.json` → Graph, in pure Python: no torch, no weights, no network.

>>> graph = load_config({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
...                      "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100}, seq_len=8)
>>> graph.num_params == 2 * 100 * 64 + 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 2 * 64) + 64
True
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simgpu.data_paths import search_dirs
from simgpu.errors import ModelError, ShapeError, did_you_mean
from simgpu.frontends.hf import bert, decoders, diffusion, gpt, swin, t5, vision, whisper
from simgpu.frontends.hf.decoder import Decoder
from simgpu.frontends.hf.fields import Fields, short
from simgpu.frontends.hf.request import ReadRequest, Request
from simgpu.graph.ir import Graph

MAX_FILE_BYTES = 16 * 1024 * 1024  # config.json files have kilobytes; id2label of the largest has one megabyte

Family = Callable[[Fields, str, Request], Graph]
_USUAL = {field.name: field.default for field in dataclasses.fields(Request)}


def _causal(read: Callable[[Fields, str], Decoder]) -> Family:
    return functools.partial(decoders.causal, read)


# model_type of transformers, _class_name of diffusers → family
FAMILIES: Mapping[str, Family] = {
    "llama": _causal(decoders.llama),
    "mistral": _causal(decoders.mistral),
    "mixtral": _causal(decoders.mixtral),
    "qwen2": _causal(decoders.qwen2),
    "qwen2_moe": _causal(decoders.qwen2_moe),
    "qwen3": _causal(decoders.qwen3),
    "qwen3_moe": _causal(decoders.qwen3_moe),
    "gemma": _causal(decoders.gemma),
    "gemma2": _causal(decoders.gemma2),
    "gemma3_text": _causal(decoders.gemma3),
    "phi": _causal(gpt.phi),
    "phi3": _causal(decoders.phi3),
    "falcon": _causal(gpt.falcon),
    "RefinedWeb": _causal(gpt.falcon),
    "RefinedWebModel": _causal(gpt.falcon),
    "deepseek_v2": _causal(decoders.deepseek_v2),
    "deepseek_v3": _causal(decoders.deepseek_v3),
    "gpt2": _causal(gpt.gpt2),
    "gptj": _causal(gpt.gptj),
    "gpt_neo": _causal(gpt.gpt_neo),
    "gpt_neox": _causal(gpt.gpt_neox),
    "opt": _causal(gpt.opt),
    "bert": bert.bert,
    "roberta": bert.roberta,
    "xlm-roberta": bert.roberta,
    "camembert": bert.roberta,
    "distilbert": bert.distilbert,
    "albert": bert.albert,
    "t5": t5.t5,
    "mt5": t5.t5,
    "switch_transformers": t5.switch,
    "whisper": whisper.whisper,
    "vit": vision.vit,
    "deit": vision.deit,
    "clip": vision.clip,
    "clip_text_model": vision.clip_text,
    "clip_vision_model": vision.clip_vision,
    "swin": swin.swin,
    "UNet2DConditionModel": diffusion.unet,
    "AutoencoderKL": diffusion.vae,
}


def load_config(
    source: str | Path | Mapping[str, Any],
    *,
    name: str | None = None,
    batch: int = 1,
    seq_len: int | None = None,
    target_len: int | None = None,
    context: int | None = None,
    new_tokens: int | None = None,
    phase: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    part: str = "",
    head: str = "auto",
    logits: str = "all",
    latent: str = "absorbed",
    experts: str | Sequence[float] = "balanced",
    capacity_factor: float | None = None,
) -> Graph:
    """The graph of one pass through the network that a config describes.

    Args:
        source: A config.json, a folder that holds one, or the parsed object.
        name: Name of the graph; the file's or its folder's if None.
        batch, seq_len, target_len, context, new_tokens, phase, image_size, part, head, logits, latent, experts, capacity_factor:
            See `simgpu.frontends.hf.request.Request`. The phase is "decode" where only `new_tokens` says so.
    Raises:
        ModelError: The file cannot be read, or a field is missing, of the wrong type, contradictory or of an unknown family.
        OptionError: An option does not fit the network.
    """
    options: dict[str, Any] = {
        "seq_len": seq_len,
        "target_len": target_len,
        "context": context,
        "new_tokens": new_tokens,
        "phase": phase or ("prefill" if new_tokens is None else "decode"),
        "image_size": (image_size, image_size) if isinstance(image_size, int) else image_size,
        "part": part,
        "head": head,
        "logits": logits,
        "latent": latent,
        "experts": experts,
        "capacity_factor": capacity_factor,
    }
    request = ReadRequest(batch=batch, **options)
    if isinstance(source, Mapping):
        where, data = name or "config", source
    else:
        path = _config_path(Path(source))
        where, data = str(path), read_json(path)
        name = name or (path.parent.resolve().name if path.name == "config.json" else path.stem)
    f = Fields(data, where)
    try:
        graph = _family(f)(f, name or _kind(f), request)
    except ShapeError as error:  # fields that each are in range and together make a tensor that is not
        raise ModelError(f"{where}: {error}") from None
    request.check_read(where, (key for key, value in options.items() if value != _USUAL[key]))
    return graph.with_(new_tokens=request.generated) if request.decode else graph


def load_named_config(name: str, **options: Any) -> Graph:
    """The graph of a network whose config is shipped: "llama-3-8b", "meta-llama/Meta-Llama-3-8B", also with ":decode" or ":PART" behind.

    Args:
        options: Those of `load_config`.
    Raises:
        ModelError: No config has that name.
    """
    base, _, suffix = name.partition(":")
    data = read_json(shipped_config(base))
    chosen = {**data.get("_simgpu", {}).get("options", {}), **({"phase": "decode"} if suffix == "decode" else {"part": suffix} if suffix else {}), **options}
    return load_config(data, name=name, **chosen)


def shipped_config(name: str) -> Path:
    """The file of a config that is known by name.

    Raises:
        ModelError: No config has that name.
    """
    path = _by_name().get(_plain(name))
    if path is None:
        raise ModelError(f"unknown config '{name}'{did_you_mean(_plain(name), _by_name())}; `config_names()` lists {len(config_names())} of them")
    return path


def config_names() -> tuple[str, ...]:
    """Names of the shipped configs and of the user's own, sorted."""
    return tuple(sorted({path.stem for path in _files()}))


def is_config_name(name: str) -> bool:
    """Whether `load_named_config` knows the name, by itself or as an alias."""
    return _plain(name.partition(":")[0]) in _by_name()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: The file cannot be read, is too large, is not JSON or names a key twice.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: has {path.stat().st_size} bytes, expected a config of at most {MAX_FILE_BYTES}")
        text = path.read_bytes().decode("utf-8-sig")
        data = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}; give a config.json or a folder that holds one") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: byte {error.start} is not UTF-8 text; expected a JSON file") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}:{error.lineno}:{error.colno}: is not JSON: {error.msg}; the file may be cut off") from None
    except (RecursionError, ValueError) as error:  # nested a thousand deep; an integer of thousands of digits
        raise ModelError(f"{path}: is not a usable JSON file: {type(error).__name__}: {str(error)[:100]}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path}: holds a {type(data).__name__}, expected an object {{ … }} of fields")
    return data


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ModelError(f"{path}: {short(twice)}: is given twice; remove one of them")
    return result


def _config_path(path: Path) -> Path:
    """The file itself; inside a folder its config.json."""
    if not path.is_dir():
        return path
    if (path / "config.json").is_file():
        return path / "config.json"
    if (path / "model_index.json").is_file():
        parts = sorted(p.parent.name for p in path.glob("*/config.json"))
        raise ModelError(f"{path}: is a pipeline of several networks; give the folder of one of them: {', '.join(parts)}")
    raise ModelError(f"{path}: is a folder without config.json")


def _kind(f: Fields) -> str:
    """model_type, or _class_name in files of diffusers."""
    return f.text("_class_name" if f.has("_class_name") and not f.has("model_type") else "model_type")


def _family(f: Fields) -> Family:
    kind = _kind(f)
    try:
        return FAMILIES[kind]
    except KeyError:
        key = "model_type" if f.has("model_type") else "_class_name"
        f.fail(key, f"{short(kind)} is not supported{did_you_mean(kind[:60], FAMILIES)}; supported: {', '.join(sorted(FAMILIES))}")


# ---- configs by name


def _files() -> list[Path]:
    """Shipped configs and the user's own, which stand first and win."""
    found: dict[str, Path] = {}
    for folder in search_dirs("models"):
        for path in sorted((folder / "configs").glob("*.json")):
            found.setdefault(path.stem, path)
    return list(found.values())


@functools.cache
def _aliases(files: tuple[Path, ...]) -> Mapping[str, Path]:
    """Names in plain spelling → file: the file's own name, and the repositories it stands for, with and without their owner."""
    result: dict[str, Path] = {}
    for path in files:
        result.setdefault(_plain(path.stem), path)
    for path in files:
        for alias in read_json(path).get("_simgpu", {}).get("aliases", ()):
            result.setdefault(_plain(alias), path)
            result.setdefault(_plain(alias.rpartition("/")[2]), path)
    return result


def _by_name() -> Mapping[str, Path]:
    return _aliases(tuple(_files()))


def _plain(name: str) -> str:
    """A name in one spelling: lower case, underscores and spaces as dashes."""
    return re.sub(r"[_\s]+", "-", name.strip().lower())
