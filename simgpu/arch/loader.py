"""archs/*.yaml → GPU: units, `extends:`, overrides, and all mistakes of a file at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from simgpu.arch.names import find_gpu, gpu_names
from simgpu.arch.schema import ValueProblem, build, convert, numeric_fields, schema, take_apart
from simgpu.arch.spec import GPU
from simgpu.data_paths import data_dir
from simgpu.errors import ArchError, did_you_mean
from simgpu.units import format_quantity
from simgpu.yaml_text import Document, KeyPath, read_yaml

__all__ = ["gpu_fields", "gpu_names", "load_gpu", "override_gpu", "parse_settings"]

_BANDWIDTH, _CLOCK, _RATE, _BUS = "dram.bandwidth_bytes_per_s", "dram.clock_hz", "dram.rate", "dram.bus_bits"
_OWN = ("name", "aliases", "datasheet", "notes")  # what a board has as a product; a file that extends it does not inherit these
_FITS = (("shared.max_per_block_bytes", "shared.size_bytes", "iB"), ("sm.max_threads_per_block", "sm.max_threads", ""))
_MAX_CHAIN = 16


@dataclass(slots=True, kw_only=True)
class _Sheet:
    """What one file says, before the file it extends is asked: values by path, and where each stands."""

    where: str
    values: dict[str, Any] = field(default_factory=dict)
    positions: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    errors: list[tuple[int, int, str]] = field(default_factory=list)
    extends: str = ""

    def changed_groups(self) -> dict[str, list[str]]:
        """The groups of which this file gives values, with the keys."""
        changed: dict[str, list[str]] = {}
        for path in self.values:
            if path.partition(".")[0] not in _OWN:
                changed.setdefault(path.partition(".")[0], []).append(path)
        return changed


def load_gpu(name_or_path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> GPU:
    """The GPU of that name, or in that file.

    Args:
        name_or_path: Id, alias or driver name, or the path of a YAML file (it ends in .yaml or has a slash).
        overrides: Values to change by dotted key, as for `override_gpu`.
    Raises:
        ArchError: Nobody is called so, or the file has mistakes: all of them, one a line.

    >>> load_gpu("a100").sm.count
    108.0
    """
    path = _path(name_or_path)
    stat = _stat(path)
    gpu = _load(path, stat.st_mtime_ns, stat.st_size, os.environ.get("SIMGPU_PATH", ""))
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
            Another DRAM bandwidth means another DRAM clock.
    Raises:
        ArchError: Unknown keys or values that make no sense, all of them.

    >>> override_gpu(load_gpu("a100"), {"dram.bandwidth": "4 TB/s"}).dram.bandwidth_bytes_per_s
    4000000000000.0
    """
    known = schema()
    changes: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    problems: list[str] = []
    for spelling, value in overrides.items():
        found = known.find(spelling)
        if found is None or found[0].path in ("sources", "datasheet"):
            problems.append(f"{spelling}: {_unknown_field(spelling)}")
            continue
        one, row = found
        path = f"{one.path}.{row}" if row else one.path
        if path in changes:
            problems.append(f"{spelling}: given twice, also as {spelled[path]}")
            continue
        try:
            changes[path] = convert(one, row, value, bare=not isinstance(value, str) or spelling == one.path != one.key)
        except ValueProblem as problem:
            problems.append(f"{spelling}: {problem}")
        spelled[path] = spelling
    values = take_apart(gpu)
    if not problems:
        problems += _apply(values, changes)
    if problems:
        raise ArchError("\n".join(problems))
    groups: dict[str, list[str]] = {}
    for path, spelling in spelled.items():
        groups.setdefault(path.partition(".")[0], []).append(f"{spelling} = {_show(overrides[spelling])}")
    sources = dict(gpu.sources)
    for group, settings in groups.items():
        if group in known.groups or group in sources:
            sources[group] = "; otherwise ".join(filter(None, (f"set: {', '.join(settings)}", sources.get(group))))
    values["name"] = f"{gpu.name} [{', '.join(setting for settings in groups.values() for setting in settings)}]".replace(" = ", "=")
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
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise ArchError(f"--set {text}: expected key=value, such as sm.count=160 or dram.bandwidth='4 TB/s'")
        if key in overrides:
            raise ArchError(f"--set {text}: {key} is given twice")
        overrides[key] = value.strip("'\"")
    return overrides


def _unknown_field(spelling: str) -> str:
    keys = list(numeric_fields())
    short = [key for key in keys if key.rpartition(".")[2] == spelling]
    hint = f"; did you mean '{short[0]}'?" if short else did_you_mean(spelling, keys)
    return f"unknown field of a GPU{hint or '; `simgpu gpu NAME --json` shows them all'}"


def _show(value: Any) -> str:
    if hasattr(value, "__array__") and value.ndim > 0:
        return f"{value.size} values"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _apply(values: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """Puts changes over values; a bandwidth becomes the clock that gives it. What is wrong with the outcome."""
    if _BANDWIDTH in changes and _CLOCK in changes:
        return ["dram.bandwidth: follows from dram.clock; give one of the two"]
    values |= changes
    if _BANDWIDTH in values:
        bandwidth = values.pop(_BANDWIDTH)
        if _RATE in values and _BUS in values:
            values[_CLOCK] = bandwidth * 8 / (values[_RATE] * values[_BUS])
    return list(_misfits(values))


def _misfits(values: Mapping[str, Any]) -> Iterator[str]:
    """Pairs of values that contradict each other."""
    for small, large, unit in _FITS:
        if small in values and large in values:
            room = values[large] - values[small]
            if (room.min() if hasattr(room, "min") else room) < 0:
                shown = [format_quantity(value, unit) if isinstance(value := values[path], float) else "of some designs" for path in (small, large)]
                fields = schema().fields
                yield f"{fields[small].key}: {shown[0]} does not fit into {fields[large].key} {shown[1]}; change both"


def _path(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    if not isinstance(name_or_path, str) or text.endswith((".yaml", ".yml")) or "/" in text or os.sep in text:
        return Path(text)
    return find_gpu(text)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as failure:
        raise ArchError(f"{path}: cannot be read: {failure.strerror}") from None
    except ValueError:
        raise ArchError(f"{str(path)!r}: is no file name") from None


@lru_cache(maxsize=512)
def _load(path: Path, _mtime_ns: int, _size: int, _search_path: str) -> GPU:
    sheets = _chain(path)
    own = sheets[0]
    errors = [text for sheet in sheets for _, _, text in sorted(sheet.errors)]
    faulty = {key for sheet in sheets for key in sheet.faulty}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for depth, sheet in reversed(list(enumerate(sheets))):
        for gone in sheet.removed:
            key_gone = schema().fields[gone].key if gone in schema().fields else gone
            for table, name in ((values, gone), (sources, key_gone)):
                for key in [key for key in table if key == name or key.startswith(name + ".")]:
                    del table[key]
        changes = {key: value for key, value in sheet.values.items() if depth == 0 or key.partition(".")[0] not in _OWN}
        errors += [f"{sheet.positions.get(schema().spellings.get(text.partition(':')[0], ''), sheet.where)}: {text}" for text in _apply(values, changes)]
        if sheet.extends:
            _own_up(sheet, sources)
        sources |= sheet.sources
    if own.extends:
        values.setdefault("name", path.stem)
    gpu, missing = build(path.stem, values, sources)
    faulty_groups = {key for key in faulty if "." not in key}
    for key in missing:
        group = key.partition(".")[0]
        if schema().spellings.get(key, key) not in faulty and group not in faulty_groups:
            one = schema().fields.get(schema().spellings.get(key, ""))
            expected = f", expected a quantity in {one.unit}" if one is not None and one.unit else ""
            errors.append(f"{own.positions.get(group, own.where + ':1:1')}: {key}: missing{expected}")
    if errors or gpu is None:
        raise ArchError("\n".join(errors))
    return gpu


def _own_up(sheet: _Sheet, sources: dict[str, str]) -> None:
    """Lets the sources say which values a file changes without a source of its own."""
    for group, paths in sheet.changed_groups().items():
        keys = [schema().fields[path].key if path in schema().fields else path for path in paths]
        bare = [key for key in keys if key not in sheet.sources]
        if bare and group not in sheet.sources and (group in schema().groups or group in sources):
            sources[group] = "; otherwise ".join(filter(None, (f"guess: {', '.join(bare)} changed in {sheet.where}", sources.get(group))))


def _chain(path: Path) -> list[_Sheet]:
    """The sheet of a file and of all that it extends, nearest first."""
    sheets: list[_Sheet] = []
    seen: list[Path] = []
    while True:
        sheet, document = _read(path)
        sheets.append(sheet)
        seen.append(path.resolve())
        if not sheet.extends:
            return sheets
        at = document.at(("extends",), value=True)
        try:
            target = _extended(sheet.extends, path)
        except ArchError as problem:
            raise ArchError(f"{at}: extends: {problem}") from None
        if not target.is_file():
            raise ArchError(f"{at}: extends: no file {sheet.extends}, expected the name of a GPU or a path beside this file")
        if target.resolve() in seen:
            loop = " -> ".join([*(one.stem for one in seen), target.stem])
            raise ArchError(f"{at}: extends: a loop, {loop}")
        if len(sheets) >= _MAX_CHAIN:
            raise ArchError(f"{at}: extends: more than {_MAX_CHAIN} files in a row")
        path = target


def _extended(name: str, path: Path) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name:
        return path.parent / name
    beside = path.parent / f"{name}.yaml"
    return beside if beside.is_file() and beside != path else find_gpu(name, but=path)


def _read(path: Path) -> tuple[_Sheet, Document]:
    where = f"archs/{path.name}" if path.parent == data_dir("archs") else str(path)
    document = read_yaml(path, where=where, error=ArchError)
    sheet = _Sheet(where=where)
    if document.data is None:
        raise ArchError(f"{where}: is empty, expected the description of a GPU; `simgpu gpus` lists examples")
    if not isinstance(document.data, dict):
        raise ArchError(f"{where}:1:1: expected keys such as name, sm and dram, got {_kind(document.data)}")
    for key, value in document.data.items():
        if key == "extends":
            if isinstance(value, str) and value:
                sheet.extends = value
            else:
                _fault(sheet, document, (key,), key, f"expected the name of a GPU or a path, got {value!r}", value=True)
        elif key in schema().groups:
            _read_group(sheet, document, key, value)
        elif key in ("datasheet", "sources"):
            _read_table(sheet, document, (key,), key, value)
        else:
            _read_value(sheet, document, (key,), key, value)
    return sheet, document


def _read_group(sheet: _Sheet, document: Document, group: str, value: Any) -> None:
    sheet.positions[group] = document.at((group,))
    if value is None:
        sheet.removed.append(group)
    elif not isinstance(value, dict):
        keys = ", ".join(schema().keys_of(group)[:3])
        _fault(sheet, document, (group,), group, f"expected a group of keys such as {keys}, got {_kind(value)}", value=True)
    else:
        for key, inner in value.items():
            found = schema().find(f"{group}.{key}")
            if found is not None and found[0].kind == "table":
                _read_table(sheet, document, (group, key), found[0].path, inner)
            else:
                _read_value(sheet, document, (group, key), f"{group}.{key}", inner)


def _read_table(sheet: _Sheet, document: Document, place: KeyPath, table: str, value: Any) -> None:
    if not isinstance(value, dict):
        _fault(sheet, document, place, table, f"expected a group of keys, got {_kind(value)}", value=True)
        return
    for row, inner in value.items():
        _read_value(sheet, document, (*place, row), f"{table}.{row}", inner, row=row)


def _read_value(sheet: _Sheet, document: Document, place: KeyPath, spelling: str, value: Any, *, row: str = "") -> None:
    known = schema()
    found = (known.fields[spelling[: -len(row) - 1]], row) if row else known.find(spelling)
    if found is None:
        _fault(sheet, document, place, spelling, known.unknown(spelling))
        return
    one, row = found
    path = f"{one.path}.{row}" if row else one.path
    if path in sheet.positions:
        _fault(sheet, document, place, spelling, f"given twice, also in {sheet.positions[path]}")
        return
    sheet.positions[path] = document.at(place)
    if value is None and not row:
        sheet.removed.append(path)
        return
    try:
        converted = convert(one, row, value, bare=spelling == one.path != one.key)
    except ValueProblem as problem:
        _fault(sheet, document, place, spelling, str(problem), value=True)
        sheet.faulty.add(one.path)
        return
    if one.path == "sources":
        sheet.sources[row] = converted
    else:
        sheet.values[path] = converted


def _fault(sheet: _Sheet, document: Document, place: KeyPath, name: str, text: str, *, value: bool = False) -> None:
    line, column = (document.values if value else document.keys)[place]
    sheet.errors.append((line, column, f"{document.where}:{line}:{column}: {name}: {text}"))
    sheet.faulty.add(name)


def _kind(value: Any) -> str:
    return "a group of keys" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
