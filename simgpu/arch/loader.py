"""archs/*.yaml → GPU: `extends:`, overrides, and all mistakes of a file at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from simgpu.arch.names import find_gpu, gpu_names
from simgpu.arch.schema import ValueProblem, build, convert, numeric_fields, schema, take_apart
from simgpu.arch.sheet import OWN, Sheet, read_sheet
from simgpu.arch.spec import GPU
from simgpu.data_paths import is_file
from simgpu.errors import ArchError, did_you_mean
from simgpu.units import format_quantity

__all__ = ["gpu_fields", "gpu_names", "load_gpu", "override_gpu", "parse_settings"]

_BANDWIDTH, _CLOCK, _RATE, _BUS = "dram.bandwidth_bytes_per_s", "dram.clock_hz", "dram.rate", "dram.bus_bits"
_FITS = (("shared.max_per_block_bytes", "shared.size_bytes", "iB"), ("sm.max_threads_per_block", "sm.max_threads", ""))
# What moves in proportion when another field is set: a measured value beside the rated one that it belongs to.
_FOLLOWERS = {
    "clocks.boost_hz": ("clocks.max_hz", "tensor_cores.clock_hz", "l2.measured_bandwidth_bytes_per_s"),
    "l2.bandwidth_bytes_per_clk": ("l2.measured_bandwidth_bytes_per_s",),
}
_MAX_CHAIN = 16
_YAML = (".yaml", ".yml")


def load_gpu(name_or_path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> GPU:
    """The GPU of that name, or in that file.

    Args:
        name_or_path: Id, alias or driver name, or the path of a YAML file.
        overrides: Values to change by dotted key, as for `override_gpu`.
    Raises:
        ArchError: Nobody is called so, or the file has mistakes: all of them, one a line.

    >>> load_gpu("a100").sm.count
    108.0
    """
    path = _path(name_or_path)
    gpu = _assemble(path.stem, tuple(_chain(path)))
    return override_gpu(gpu, overrides) if overrides else gpu


def gpu_fields() -> dict[str, str]:
    """The unit of every number of a GPU by its dotted key: what `--set` and sweeps may vary."""
    return numeric_fields()


def override_gpu(gpu: GPU, overrides: Mapping[str, Any]) -> GPU:
    """The same GPU with other values; its name and its sources say so.

    Args:
        gpu: The GPU to change.
        overrides: Text with a unit ("4 TB/s"), a number in SI or a NumPy array of numbers by dotted key
            (`sm.count`, `dram.bandwidth`, `l2.size`; or the field's full name, `l2.size_bytes`).
            Another DRAM bandwidth means another DRAM clock; another boost clock moves the clock the board really reaches and
            what was measured of its L2 in proportion.
    Raises:
        ArchError: Unknown keys or values that make no sense, all of them.

    >>> override_gpu(load_gpu("a100"), {"dram.bandwidth": "4 TB/s"}).dram.bandwidth_bytes_per_s
    4000000000000.0
    """
    changes, spellings, problems = _read_overrides(overrides)
    values = take_apart(gpu)
    _remove(values, "datasheet")  # what the vendor prints is not said of this one
    followed = _follow(values, changes)
    problems += _apply(values, changes)
    if not problems:
        problems += [text for _, text in _misfits(values)]
    if problems:
        raise ArchError("\n".join(problems))
    groups: dict[str, list[str]] = {}
    for path, spelling in spellings.items():
        groups.setdefault(path.partition(".")[0], []).append(f"{spelling}={_show(overrides[spelling])}")
    sources = {key: text for key, text in gpu.sources.items() if key != "datasheet"}
    for group, settings in groups.items():
        if group in schema().groups or group in sources:
            sources[group] = _then(f"set: {', '.join(settings)}", sources.get(group))
    for key, leader in followed.items():
        sources[key] = _then(f"derived: in proportion to {leader}", sources.get(key, sources.get(key.partition(".")[0])))
    if "name" not in changes:
        values["name"] = f"{gpu.name} [{', '.join(setting for settings in groups.values() for setting in settings)}]"
    changed, missing = build(gpu.id, values, sources)
    if changed is None:
        raise ArchError("\n".join(f"{key}: missing, it must be set too" for key in missing))
    return changed


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """`--set key=value` texts as overrides.

    Raises:
        ArchError: A text without `=`, or a key given twice.

    >>> parse_settings(["sm.count=160", "dram.bandwidth=4 TB/s"])
    {'sm.count': '160', 'dram.bandwidth': '4 TB/s'}
    """
    overrides: dict[str, str] = {}
    for text in settings:
        key, _, value = (part.strip() for part in text.partition("="))
        if not (key and value):
            raise ArchError(f"--set {text}: expected key=value, such as sm.count=160 or dram.bandwidth='4 TB/s'")
        if key in overrides:
            raise ArchError(f"--set {text}: {key} is given twice")
        overrides[key] = value
    return overrides


def _read_overrides(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Values by path, how each path was spelled, and what is wrong."""
    changes: dict[str, Any] = {}
    spellings: dict[str, str] = {}
    problems: list[str] = []
    for spelling, value in overrides.items():
        found = schema().find(spelling)
        if found is None:
            problems.append(f"{spelling}: {_unknown_field(spelling)}")
            continue
        if found[0].path in ("sources", "datasheet"):
            problems.append(f"{spelling}: cannot be set; peaks follow from the other fields")
            continue
        field, row = found
        path = f"{field.path}.{row}" if row else field.path
        if path in spellings:
            problems.append(f"{spelling}: given twice, also as {spellings[path]}")
            continue
        spellings[path] = spelling
        try:
            changes[path] = convert(field, row, value, bare=not isinstance(value, str) or spelling == field.path != field.key)
        except ValueProblem as problem:
            problems.append(f"{spelling}: {problem}")
    return changes, spellings, problems


def _unknown_field(spelling: str) -> str:
    keys = list(numeric_fields())
    same_word = [key for key in keys if key.rpartition(".")[2] == spelling.rpartition(".")[2]]
    hint = f"; did you mean '{same_word[0]}'?" if same_word else did_you_mean(spelling, keys)
    return f"unknown field of a GPU{hint or '; `simgpu gpu NAME --json` shows them all'}"


def _show(value: Any) -> str:
    if hasattr(value, "__array__") and value.ndim > 0:
        return f"{value.size} values"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _then(new: str, old: str | None) -> str:
    return f"{new}; otherwise {old}" if old else new


def _apply(values: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """Puts changes over values; a bandwidth becomes the clock that gives it. What is wrong with that."""
    values |= changes
    if _BANDWIDTH in changes and _CLOCK in changes:
        del values[_BANDWIDTH]
        return ["dram.bandwidth: follows from dram.clock, expected one of the two"]
    if _BANDWIDTH in values and _RATE in values and _BUS in values:
        values[_CLOCK] = values.pop(_BANDWIDTH) * 8 / (values[_RATE] * values[_BUS])
    return []


def _follow(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, str]:
    """Moves what belongs to changed fields and is not changed itself; the keys that moved, and what they follow."""
    followed: dict[str, str] = {}
    for leader, followers in _FOLLOWERS.items():
        if leader not in changes or leader not in values:
            continue
        for path in followers:
            if path in values and path not in changes:
                values[path] = values[path] * (changes[leader] / values[leader])
                followed[schema().fields[path].key] = schema().fields[leader].key
    return followed


def _misfits(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The path and the problem of values that contradict each other."""
    for small, large, unit in _FITS:
        if small in values and large in values:
            room = values[large] - values[small]
            if (room.min() if hasattr(room, "min") else room) < 0:
                fields = schema().fields
                shown = [_show_in(unit, values[path]) for path in (small, large)]
                yield small, f"{fields[small].key}: {shown[0]} does not fit into {fields[large].key} {shown[1]}; change both"


def _show_in(unit: str, value: Any) -> str:
    if not isinstance(value, float):
        return "of some designs"
    return format_quantity(value, unit) if unit else f"{value:g}"


def _path(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    if not isinstance(name_or_path, str) or text.endswith(_YAML):
        return Path(text)
    return Path(text) if _is_path(text) and is_file(Path(text)) else find_gpu(text)  # drivers print "Tesla C2050 / C2070"


def _is_path(text: str) -> bool:
    return text.endswith(_YAML) or "/" in text or os.sep in text


def _chain(path: Path) -> list[Sheet]:
    """The sheet of a file and of all that it extends, nearest first."""
    sheets: list[Sheet] = []
    seen: list[Path] = []
    while True:
        sheet = read_sheet(path)
        sheets.append(sheet)
        seen.append(path.resolve())
        if not sheet.extends:
            return sheets
        at = sheet.positions["extends"]
        try:
            target = _extended(sheet.extends, path)
        except ArchError as problem:
            raise ArchError(f"{at}: extends: {problem}") from None
        if not is_file(target):
            raise ArchError(f"{at}: extends: no file {sheet.extends}, expected the name of a GPU or a path beside this file")
        if target.resolve() in seen:
            raise ArchError(f"{at}: extends: a loop, {' -> '.join([*(one.stem for one in seen), target.stem])}; one of them must stand alone")
        if len(sheets) >= _MAX_CHAIN:
            raise ArchError(f"{at}: extends: more than {_MAX_CHAIN} files in a row")
        path = target


def _extended(name: str, path: Path) -> Path:
    """The file that `extends: name` means in the file at `path`: a path or a neighbour first, then a GPU's name."""
    if _is_path(name):
        return path.parent / name
    neighbour = path.with_name(f"{name}.yaml")
    return neighbour if is_file(neighbour) and neighbour != path else find_gpu(name, but=path)


@lru_cache(maxsize=512)
def _assemble(id: str, sheets: tuple[Sheet, ...]) -> GPU:
    """The GPU that a file and those it extends describe.

    Raises:
        ArchError: All mistakes of all of them.
    """
    errors = [text for sheet in sheets for _, _, text in sorted(sheet.errors)]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    positions: dict[str, str] = {}
    for sheet in reversed(sheets):
        for gone in sheet.removed:
            _remove(values, gone)
            _remove(sources, schema().fields[gone].key if gone in schema().fields else gone)
        own = sheet is sheets[0]
        changes = {path: value for path, value in sheet.values.items() if own or path.partition(".")[0] not in OWN}
        errors += [f"{sheet.positions[_BANDWIDTH]}: {text}" for text in _apply(values, changes)]
        if sheet.extends:
            _own_up(sheet, sources)
        sources |= sheet.sources
        positions |= sheet.positions
    if sheets[0].extends:
        values.setdefault("name", id)
    gpu, missing = build(id, values, sources)
    errors += _missing(sheets, missing)
    errors += [f"{positions[path]}: {text}" for path, text in _misfits(values)]
    if errors or gpu is None:
        raise ArchError("\n".join(errors))
    return gpu


def _remove(table: dict[str, Any], name: str) -> None:
    for key in [key for key in table if key == name or key.startswith(name + ".")]:
        del table[key]


def _missing(sheets: tuple[Sheet, ...], keys: list[str]) -> Iterator[str]:
    """Messages about missing keys, but not about those that are there with a mistake."""
    faulty = {path for sheet in sheets for path in sheet.faulty}
    for key in keys:
        path, group = schema().spellings.get(key, key), key.partition(".")[0]
        if path not in faulty and group not in faulty and not (path == group and any(one.startswith(group + ".") for one in faulty)):
            field = schema().fields.get(path)
            expected = f", expected a quantity in {field.unit}" if field is not None and field.unit else ""
            yield f"{sheets[0].positions.get(group, sheets[0].where + ':1:1')}: {key}: missing{expected}"


def _own_up(sheet: Sheet, sources: dict[str, str]) -> None:
    """Lets the sources say which values a file changes without a source of its own."""
    for group, paths in sheet.changed_groups().items():
        keys = [schema().fields[path].key if path in schema().fields else path for path in paths]
        bare = [key for key in keys if key not in sheet.sources]
        if bare and group not in sheet.sources and (group in schema().groups or group in sources):
            sources[group] = _then(f"guess: {', '.join(bare)} changed in {sheet.where}", sources.get(group))
