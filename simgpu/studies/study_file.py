"""A study in a YAML file: what `simgpu sweep` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgpu.errors import OptionError, SimgpuError, did_you_mean
from simgpu.studies.axes import SETTINGS
from simgpu.studies.designs import MAX_DESIGNS
from simgpu.studies.study import Study, plan
from simgpu.yaml_text import Document, read_yaml

# key → what it holds
KEYS = {
    "model": "a file or a name, or a list of them",
    "gpu": "a name or a YAML file, or a list of them",
    "batch": "samples in one run, or a list",
    "dtype": "precision, or a list",
    "runtime": "software stack, or a list",
    "host": "who launches, or a list",
    "attention": "fused or math, or a list",
    "mode": "inference or train, or a list",
    "optimizer": "sgd, adam or none, or a list",
    "set": "fields of the GPU that are the same everywhere: {l2.size: 80 MiB}",
    "vary": "what varies: {sm.count: 54:216:18, dram.bandwidth: 1..4 TB/s:16}",
    "options": "options of the model: {seq_len: 128}",
    "sample": "draw so many designs instead of every combination",
    "seed": "which sample",
    "output": "the table (.csv, .json, .parquet), beside this file unless absolute",
}
_DEFAULTS = {"dtype": "fp32", "runtime": "eager"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFile:
    """A study, and where its table goes, if the file says so."""

    study: Study
    output: Path | None


def read_study(path: str | Path, *, max_designs: int | None = MAX_DESIGNS) -> StudyFile:
    """The study that a file describes.

    Raises:
        OptionError: The file cannot be read or holds something else; file, line and column are in the message.
    """
    document = read_yaml(path, error=OptionError)
    data = _mapping(document, ())
    for key in data:
        if key not in KEYS:
            hint = "; write it under 'options', or under 'vary' if it varies" if key in SETTINGS else did_you_mean(key, KEYS)
            raise OptionError(f"{document.at((key,))}: unknown key '{key}', expected {', '.join(KEYS)}{hint}")
    settings = {name: data.get(name, _DEFAULTS.get(name)) for name in SETTINGS if name in KEYS}
    vary = {name: _values(document, name, value) for name, value in _mapping(document, ("vary",)).items()}
    for name in ("sample", "seed"):
        if name in data and (isinstance(data[name], bool) or not isinstance(data[name], int)):
            raise OptionError(f"{document.at((name,), value=True)}: {name}: expected a whole number, got {data[name]!r}")
    output = data.get("output")
    if output is not None and not isinstance(output, str):
        raise OptionError(f"{document.at(('output',), value=True)}: output: expected the name of a file, got {output!r}")
    try:
        study = plan(
            settings,
            vary,
            sample=data.get("sample"),
            seed=data.get("seed", 0),
            overrides=_mapping(document, ("set",)),
            options=_mapping(document, ("options",)),
            max_designs=max_designs,
        )
    except SimgpuError as problem:
        key = str(problem).partition(":")[0].partition("=")[0]
        place = next((at for at in (("vary", key), ("set", key), ("options", key), (key,)) if at in document.keys), ())
        raise OptionError(f"{document.at(place, value=True) if place else document.where}: {problem}") from None
    return StudyFile(study=study, output=Path(path).parent / output if output else None)


def _mapping(document: Document, path: tuple[str, ...]) -> dict[str, Any]:
    data = document.data
    for key in path:
        data = data.get(key, {})
    if not isinstance(data, dict):
        where = f"{path[0]}: " if path else ""
        example = KEYS[path[0]] if path else "keys such as model, gpu and vary"
        raise OptionError(f"{document.at(path, value=True)}: {where}expected {example}")
    return data


def _values(document: Document, name: str, value: Any) -> Any:
    if isinstance(value, dict) or value is None or isinstance(value, bool):
        raise OptionError(f"{document.at(('vary', name), value=True)}: {name}: expected start:stop:step, lo..hi UNIT:N or a list, got {value!r}")
    # numbers are read like text, so that one without a unit is refused here as on the command line
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)
