"""What one GPU file says, before the file it extends is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from simgpu.arch.schema import RowProblem, ValueProblem, convert, schema
from simgpu.data_paths import data_dir
from simgpu.errors import ArchError
from simgpu.yaml_text import Document, KeyPath, read_yaml

# What a board has as a product; a file that extends it does not inherit these.
OWN = ("name", "aliases", "datasheet", "notes")


@dataclass(eq=False, kw_only=True)
class Sheet:
    """Values of one file.

    Attributes:
        values: By path in the record, in SI.
        positions: Where each stands, `file:line:column`.
        removed: Paths and groups given as null.
        sources: The sources by group or key.
        faulty: Paths and groups with a mistake, which are therefore not missing.
        errors: Line, column and text of each mistake.
        extends: The file or GPU this one changes.
    """

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
            if path.partition(".")[0] not in OWN:
                changed.setdefault(path.partition(".")[0], []).append(path)
        return changed


def read_sheet(path: Path) -> Sheet:
    """What a file says: every mistake in it is in `errors`.

    Raises:
        ArchError: The file cannot be read, is not YAML or is no list of keys.
    """
    stat = file_stat(path)
    return _read(path, stat.st_mtime_ns, stat.st_size)


def file_stat(path: Path) -> os.stat_result:
    """Time and size of a file that should exist.

    Raises:
        ArchError: It does not.
    """
    try:
        return path.stat()
    except OSError as failure:
        raise ArchError(f"{path}: cannot be read: {failure.strerror}") from None
    except ValueError:
        raise ArchError(f"{str(path)!r}: is no file name") from None


@lru_cache(maxsize=512)
def _read(path: Path, _mtime_ns: int, _size: int) -> Sheet:
    where = f"archs/{path.name}" if path.parent == data_dir("archs") else str(path)
    document = read_yaml(path, where=where, error=ArchError)
    sheet = Sheet(where=where)
    if document.data is None:
        raise ArchError(f"{where}: is empty, expected the description of a GPU; `simgpu gpus` lists examples")
    if not isinstance(document.data, dict):
        raise ArchError(f"{where}:1:1: expected keys such as name, sm and dram, got {_kind(document.data)}")
    for key, value in document.data.items():
        if key == "extends":
            if isinstance(value, str) and value:
                sheet.extends = value
                sheet.positions["extends"] = document.at(("extends",), value=True)
            else:
                _fault(sheet, document, (key,), key, f"expected the name of a GPU or a path, got {value!r}", value=True)
        elif key in schema().groups:
            _read_group(sheet, document, key, value)
        elif key in ("datasheet", "sources"):
            _read_table(sheet, document, (key,), key, value)
        else:
            _read_value(sheet, document, (key,), key, value)
    return sheet


def _read_group(sheet: Sheet, document: Document, group: str, value: Any) -> None:
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


def _read_table(sheet: Sheet, document: Document, place: KeyPath, table: str, value: Any) -> None:
    if not isinstance(value, dict):
        _fault(sheet, document, place, table, f"expected a group of keys, got {_kind(value)}", value=True)
        return
    for row, inner in value.items():
        _read_value(sheet, document, (*place, row), f"{table}.{row}", inner, row=row)


def _read_value(sheet: Sheet, document: Document, place: KeyPath, spelling: str, value: Any, *, row: str = "") -> None:
    known = schema()
    found = (known.fields[spelling[: -len(row) - 1]], row) if row else known.find(spelling)
    if found is None:
        meant = known.nearest(spelling)
        group = spelling.rpartition(".")[0]
        hint = f"; did you mean '{meant.removeprefix(group + '.') if group else meant}'?" if meant else ""
        _fault(sheet, document, place, spelling, f"unknown key{hint}")
        sheet.faulty.add(known.spellings.get(meant, meant))  # so that it is not called missing, too
        return
    one, row = found
    path = f"{one.path}.{row}" if row else one.path
    if path in sheet.positions:
        _fault(sheet, document, place, spelling, f"given twice, also in {sheet.positions[path]}")
        return
    sheet.positions[path] = document.at(place)
    if value is None and one.path != "sources":
        sheet.removed.append(path)
        return
    try:
        converted = convert(one, row, value, bare=spelling == one.path != one.key)
    except ValueProblem as problem:
        _fault(sheet, document, place, spelling, str(problem), value=not isinstance(problem, RowProblem))
        sheet.faulty.add(one.path)
        return
    if one.path == "sources":
        sheet.sources[row] = converted
    else:
        sheet.values[path] = converted


def _fault(sheet: Sheet, document: Document, place: KeyPath, name: str, text: str, *, value: bool = False) -> None:
    line, column = (document.values if value else document.keys)[place]
    sheet.errors.append((line, column, f"{document.where}:{line}:{column}: {name}: {text}"))
    sheet.faulty.add(name)


def _kind(value: Any) -> str:
    return "a group of keys" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
