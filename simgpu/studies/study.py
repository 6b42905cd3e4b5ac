"""A study before it runs: what is asked, checked, and cut into pieces that can be computed one by one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.api import load_gpu, load_model
from simgpu.arch.loader import override_gpu
from simgpu.arch.schema import schema
from simgpu.arch.spec import GPU
from simgpu.cost.calibration import shipped_calibration
from simgpu.errors import OptionError, did_you_mean
from simgpu.graph.ir import Graph
from simgpu.graph.text import to_text
from simgpu.precision import precision
from simgpu.runtime import runtime as runtime_named
from simgpu.sim.host import host_cost
from simgpu.studies.axes import NAMED_SETTINGS, SETTINGS, WHOLE_SETTINGS, Axis, axis
from simgpu.studies.designs import MAX_DESIGNS, Designs, grid, latin_hypercube
from simgpu.studies.die import die_estimate
from simgpu.studies.table import Table
from simgpu.studies.workload import MODES, OUTPUTS, Columns, Workload, alike, with_designs, workload

CHUNK = 256  # designs that are computed, and put on the disk, together
_ALWAYS = ("model", "gpu", "batch", "dtype", "runtime")  # inputs that every table shows
_ONCE = ("model", "gpu", "batch", "host", "attention", "mode", "optimizer")  # settings without a default that an axis replaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question: a model on a GPU, and what varies.

    Attributes:
        settings: Model, GPU and options of `simulate` that are the same everywhere, as given.
        overrides: Fields of the GPU that are the same everywhere.
        options: Those of `load_model`.
    """

    settings: Mapping[str, Any]
    designs: Designs
    overrides: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that say what a row is."""
        varied = {one.name: one.column for one in self.designs.axes}
        others = [name for name in SETTINGS if name not in _ALWAYS and (name in varied or self.settings.get(name) is not None)]
        fields = [column for name, column in varied.items() if name not in SETTINGS]
        return (*_ALWAYS, *others, *(column_of(name) for name in self.overrides), *self.options, *fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of its table."""
        return (*self.inputs, *OUTPUTS)

    def fields(self, index: Any) -> Columns:
        """Values of the GPU's fields that vary, for some designs."""
        return {one.name: self.designs.columns[one.name][index] for one in self.designs.axes if one.is_field}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Designs that share a workload.

    Attributes:
        number: Its place in the plan.
        workload: Chunks with the same number share their workload.
        index: The designs.
        settings: Model, GPU and options of `simulate`.
        gpu: The GPU before its fields vary.
    """

    number: int
    workload: int
    index: NDArray[np.int64]
    settings: Mapping[str, Any]
    gpu: GPU


def plan(
    settings: Mapping[str, Any],
    vary: Mapping[str, str | Iterable[Any]],
    *,
    sample: int | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    max_designs: int | None = MAX_DESIGNS,
) -> Study:
    """The study that these words ask for, checked as far as that goes without computing anything.

    Args:
        settings: Model, GPU, batch, dtype, runtime, host, attention; a list of several makes an axis.
    Raises:
        SimgpuError: Something in it makes no sense.
    """
    overrides, options = overrides or {}, {key: value for key, value in (options or {}).items() if value is not None and value is not False}
    several = {name: value for name, value in settings.items() if isinstance(value, list | tuple)}
    single = {name: value for name, value in settings.items() if name not in several}
    for name in vary:
        if name in several or (single.get(name) is not None and name in _ONCE) or name in options:
            raise OptionError(f"{name}: is given and varies; give it once")
    axes = [*(axis(name, values) for name, values in several.items()), *(axis(name, values) for name, values in vary.items())]
    columns = {column_of(name): name for name in overrides}
    for one in axes:
        if one.column in columns:
            raise OptionError(f"{one.name}: is set and varies, also as {columns[one.column]}; give it once")
    designs = grid(axes, limit=max_designs) if sample is None else latin_hypercube(axes, sample, seed=seed, limit=max_designs)
    varied = {one.name: one for one in axes}
    for name in ("model", "gpu"):
        if name not in varied and single.get(name) is None:
            raise OptionError(f"{name}: missing, expected one, or several that vary")
    study = Study(settings={name: value for name, value in single.items() if name not in varied}, designs=designs, overrides=overrides, options=options)
    _check(study, varied)
    return study


def column_of(name: str) -> str:
    """A field with its unit: dram.bandwidth → dram.bandwidth_bytes_per_s."""
    found = schema().find(name)
    return name if found is None else f"{found[0].path}.{found[1]}" if found[1] else found[0].path


def _check(study: Study, varied: Mapping[str, Axis]) -> None:
    """Refuses names that nobody knows and values that make no sense before any time is spent."""

    def values(name: str) -> tuple[Any, ...]:
        return varied[name].points if name in varied else (study.settings.get(name),)

    for name in values("dtype"):
        precision(name)
    for name in values("runtime"):
        runtime_named(name)
    for name in values("host"):
        if name is not None:
            host_cost(name)
    for name in values("mode"):
        if name not in (None, *MODES):
            raise OptionError(f"unknown mode '{name}', expected one of {', '.join(MODES)}{did_you_mean(name, MODES)}")
    for gpu in values("gpu"):
        base = base_gpu(gpu, study.overrides)
        with_designs(base, study.fields(slice(None)))
    first: dict[str, Any] = {name: int(one.points[0]) for name, one in varied.items() if name in WHOLE_SETTINGS and one.points}
    size = {name: value for name, value in first.items() if name != "batch"} | {name: varied[name].points[0] for name in ("phase",) if name in varied}
    for model in values("model"):
        if not isinstance(model, Graph):
            load_model(model, batch=first.get("batch", study.settings.get("batch")), **{**study.options, **size})


@lru_cache(maxsize=256)
def _gpu_set(gpu: Any, overrides: tuple[tuple[str, Any], ...]) -> GPU:
    base = gpu if isinstance(gpu, GPU) else load_gpu(gpu)
    return override_gpu(base, dict(overrides)) if overrides else base


def base_gpu(gpu: str | os.PathLike[str] | GPU, overrides: Mapping[str, Any]) -> GPU:
    """The GPU before anything varies."""
    return _gpu_set(gpu if isinstance(gpu, GPU) else os.fspath(gpu), tuple(overrides.items()))


def chunks_of(study: Study) -> list[Chunk]:
    """The designs by workload, and cut into pieces: the same ones every time."""
    designs = study.designs
    varied = [one.name for one in designs.axes if not one.is_field]
    kind = np.zeros(designs.count, dtype=np.int64)
    for name in varied:
        codes, size = _codes(designs.columns[name])
        kind = np.unique(kind * size + codes, return_inverse=True)[1].reshape(-1)
    chunks: list[Chunk] = []
    workloads = 0
    for k in range(int(kind.max()) + 1):
        members = np.flatnonzero(kind == k)
        settings = {**study.settings, **{name: designs.columns[name][members[0]] for name in varied}}
        gpu = base_gpu(settings["gpu"], study.overrides)
        fields = study.fields(members)
        groups = [group for _, group in alike(with_designs(gpu, fields))] if fields else [np.arange(len(members))]
        for group in groups:
            index = members[group]
            for piece in np.split(index, range(CHUNK, len(index), CHUNK)):
                chunks.append(Chunk(number=len(chunks), workload=workloads, index=piece, settings=settings, gpu=gpu))
            workloads += 1
    return chunks


def _codes(values: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
    """A number for each value, equal where the values are, and how many there are."""
    if values.dtype.kind != "O":
        distinct, codes = np.unique(values, return_inverse=True)
        return codes.reshape(-1), len(distinct)
    known: dict[Any, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values.tolist()]), len(known)


def fingerprint(study: Study) -> str:
    """What tells a study from every other one: all that its results depend on."""

    def said(value: Any) -> Any:
        if isinstance(value, Graph):
            return to_text(value)
        if isinstance(value, GPU):
            return repr(value)
        path = Path(str(value))
        with contextlib.suppress(OSError, ValueError):
            stat = path.stat()
            return [str(value), stat.st_size, stat.st_mtime_ns]
        return str(value)

    digest = hashlib.sha256()
    gpus = next((one.points for one in study.designs.axes if one.name == "gpu"), (study.settings.get("gpu"),))
    about = {
        "version": metadata.version("simgpu"),
        "calibration": shipped_calibration().values,
        "chunk": CHUNK,
        "settings": {name: said(value) for name, value in study.settings.items()},
        "gpus": [repr(base_gpu(gpu, study.overrides)) for gpu in gpus],
        "options": {name: str(value) for name, value in study.options.items()},
        "columns": study.columns,
    }
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for one in study.designs.axes:
        values = study.designs.columns[one.name]
        digest.update(json.dumps([one.name, [said(value) for value in one.points] if values.dtype.kind == "O" else ""]).encode())
        digest.update((_codes(values)[0] if values.dtype.kind == "O" else values).tobytes())
    return digest.hexdigest()


def prepared(study: Study, chunk: Chunk) -> Workload:
    """The chunk's model, lowered for the first of its designs; all of them have the same units."""
    one = {name: values[0] for name, values in study.fields(chunk.index[:1]).items()}
    settings = {name: chunk.settings.get(name) for name in NAMED_SETTINGS if name not in ("model", "gpu")}
    sizes = {name: int(chunk.settings[name]) for name in WHOLE_SETTINGS if chunk.settings.get(name) is not None}
    gpu = override_gpu(chunk.gpu, one) if one else chunk.gpu
    return workload(chunk.settings["model"], gpu, **settings, **sizes, **study.options)  # type: ignore[arg-type]


def shown_inputs(study: Study, chunk: Chunk, batch: int) -> Columns:
    """The inputs of a chunk's rows, column by column."""
    count = len(chunk.index)
    axes = {one.column: one for one in study.designs.axes}
    constant: dict[str, Any] = {**{column_of(name): value for name, value in study.overrides.items()}, **study.options}
    result: Columns = {}
    for name in study.inputs:
        if name in axes and axes[name].is_field:
            result[name] = study.designs.columns[axes[name].name][chunk.index]
            continue
        value = batch if name == "batch" else chunk.settings.get(name, constant.get(name))
        if name in constant:
            value = _set_value(chunk.gpu, name, constant[name])
        if isinstance(value, float | int) and not isinstance(value, bool):
            result[name] = np.full(count, value)
        else:
            shown = value.name if isinstance(value, Graph) else value.id if isinstance(value, GPU) else str(value)
            result[name] = np.full(count, shown, dtype=object)
    return result


def _set_value(gpu: GPU, column: str, given: Any) -> Any:
    """A constant field as the GPU has it, in SI; an option of the model as it was given."""
    if schema().find(column) is None:
        return given
    value: Any = gpu
    for part in column.split("."):
        value = value.get(part, given) if isinstance(value, Mapping) else getattr(value, part)
    return value


def with_die_estimate(study: Study, table: Table) -> Table:
    """The table with two more columns: die area and cost, both estimates (see `simgpu.studies.die`)."""
    area, cost = np.zeros(len(table)), np.zeros(len(table))
    for chunk in chunks_of(study):
        die = die_estimate(with_designs(chunk.gpu, study.fields(chunk.index)))
        area[chunk.index], cost[chunk.index] = die.area_mm2, die.cost_usd
    return Table(columns={**table.columns, "die_area_estimate_mm2": area, "die_cost_estimate_usd": cost}, inputs=table.inputs)
