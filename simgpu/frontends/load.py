"""Whatever a user calls a model → Graph: a file by its suffix, else a name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from simgpu.errors import ModelError, OptionError, did_you_mean
from simgpu.graph.ir import Graph

_SUFFIXES = {
    ".onnx": "an ONNX model",
    ".json": "a Hugging Face config",
    ".pt2": "a program saved by torch.export.save",
    ".py": "a file of network builders",
}
# Options that only configs know: with one of them a name that the zoo has too means its config.
_OF_CONFIGS = frozenset({"phase", "context", "new_tokens", "target_len", "part", "head", "logits", "latent", "experts", "capacity_factor"})


def load_model(
    source: str | os.PathLike[str], *, batch: int | None = None, shapes: Mapping[str, Any] | None = None, allow_unknown: bool = False, **options: Any
) -> Graph:
    """The graph of a model.

    Args:
        source: An ONNX file, a Hugging Face config.json (or the folder that holds it), a saved ExportedProgram (.pt2), or a name: of the zoo, as timm,
            torchvision and Hugging Face spell it, or of a config that is shipped.
        batch: Samples in one run; what the file or network has if None (1 for names).
        shapes: For ONNX: sizes of symbolic dims by name, or whole shapes by input.
        allow_unknown: For ONNX: operators without a rule are priced as memory traffic and listed, not refused.
        options: Of networks known by name or config: image_size, seq_len, num_classes …
    Raises:
        ModelError: There is no such model, or it cannot be read.
        OptionError: An option does not fit it.

    >>> load_model("resnet50", batch=2).inputs
    ('input',)
    """
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise OptionError(f"batch: expected a whole number of 1 or more, got {batch!r}")
    path = Path(source)
    stat = _stat(path)
    given = tuple(sorted((key, _frozen(value)) for key, value in options.items() if value is not None))
    bound = tuple(sorted((key, _frozen(value)) for key, value in (shapes or {}).items()))
    return _load(os.fspath(source), stat, batch, bound, allow_unknown, given, os.environ.get("SIMGPU_PATH", ""))


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def _stat(path: Path) -> tuple[int, int, bool] | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_size, path.is_dir()


@lru_cache(maxsize=16)
def _load(
    source: str,
    stat: tuple[int, int, bool] | None,
    batch: int | None,
    shapes: tuple[tuple[str, Any], ...],
    allow_unknown: bool,
    options: tuple[tuple[str, Any], ...],
    _search_path: str,
) -> Graph:
    """One graph, kept while its file does not change."""
    chosen = dict(options)
    kind = _kind(source, stat)
    if kind != "onnx" and shapes:
        raise OptionError(f"{source}: shapes belong to ONNX models; this one takes options such as image_size or seq_len")
    if kind == "onnx":
        from simgpu.frontends.onnx import load_onnx

        if chosen:
            name = next(iter(chosen))
            raise OptionError(f"{source}: an ONNX model has no option '{name}'; bind its symbolic dims with --shape SYMBOL=N or --shape INPUT=1,3,224,224")
        return load_onnx(source, batch=batch, shapes=dict(shapes), allow_unknown=allow_unknown)
    if kind == "program":
        from simgpu.frontends.torch import load_exported

        if chosen or batch is not None:
            raise OptionError(f"{source}: a saved program has the shapes it was exported with; export it again for another batch or size")
        return load_exported(source)
    chosen["batch"] = batch or 1
    if kind == "zoo" and not (_OF_CONFIGS & chosen.keys() and _is_config(source)):
        from simgpu.frontends.zoo import load_zoo

        return load_zoo(source, **chosen)
    from simgpu.frontends.config import load_config, load_named_config
    from simgpu.frontends.hf.request import from_text

    _check_options(source, load_config, chosen)
    chosen = {key: from_text(key, value) for key, value in chosen.items()}
    return load_config(source, **chosen) if kind == "config" else load_named_config(source, **chosen)


def _kind(source: str, stat: tuple[int, int, bool] | None) -> str:
    """onnx, config (a file or folder), program, named config or zoo."""
    suffix = Path(source).suffix.lower()
    if suffix in (kinds := {".onnx": "onnx", ".json": "config", ".pt2": "program"}):
        if stat is None:
            raise ModelError(f"{source}: no such file; expected {_SUFFIXES[suffix]}")
        return kinds[suffix]
    from simgpu.frontends.zoo import zoo_has

    if zoo_has(source):
        return "zoo"
    if _is_config(source):
        return "named config"
    if stat is not None and stat[2] and (Path(source) / "config.json").is_file():
        return "config"
    if stat is not None:
        what = "a folder without a config.json" if stat[2] else f"a file of an unknown kind ('{suffix or 'no suffix'}')"
        raise ModelError(f"{source}: {what}; expected .onnx, a Hugging Face config.json, or a name that `simgpu models` lists")
    return _unknown(source)


def _is_config(source: str) -> bool:
    from simgpu.frontends.config import is_config_name

    return is_config_name(source)


def _unknown(source: str) -> str:
    from simgpu.frontends.config import config_names
    from simgpu.frontends.zoo import zoo_table

    names = [*(name for row in zoo_table() for name in (row.name, *row.aliases)), *config_names()]
    if "/" in source and Path(source).suffix:
        raise ModelError(f"{source}: no such file; expected .onnx, a Hugging Face config.json, or a name that `simgpu models` lists")
    raise ModelError(f"unknown model '{source}', expected a file or a name that `simgpu models` lists{did_you_mean(source.replace('-', '_'), names)}")


def _check_options(source: str, function: Callable[..., Graph], options: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(function).parameters if name not in ("source", "name", "batch")]
    for key in options:
        if key != "batch" and key not in known:
            raise OptionError(f"{source}: unknown option '{key}', expected one of {', '.join(known)}{did_you_mean(key, known)}")
