"""What may stand in a GPU file: derived from the records in `spec`, so that there is one schema only.

A key is the field's name without its unit (`clock` for `clock_hz`); the whole name is taken too. Values become SI.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from simgpu.arch.spec import GPU, FrozenTable
from simgpu.dtypes import DTYPES
from simgpu.errors import UnitError, did_you_mean
from simgpu.units import format_quantity, parse_quantity

Kind: TypeAlias = Literal["number", "integer", "flag", "text", "texts", "table", "version"]

_SUFFIX = {"Hz": "_hz", "B": "_bytes", "B/s": "_bytes_per_s", "B/clk": "_bytes_per_clk", "s": "_s", "W": "_w", "clk": "_clk"} | {
    "nm": "_nm",
    "mm2": "_mm2",
    "bit": "_bits",
}
_EXAMPLE = {"Hz": "1410 MHz", "B": "40 MiB", "B/s": "2 TB/s", "s": "400 ns", "FLOP/s": "19.5 TFLOP/s"}  # a bare number in these is a slip
_SOURCE = re.compile(r"(spec|measured|derived|guess|set): \S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A value of a GPU file.

    Attributes:
        path: Where it goes in the record, `dram.clock_hz`.
        key: How people write it, `dram.clock`.
        low: The smallest value taken.
        high: The largest.
    """

    path: str
    key: str
    kind: Kind
    unit: str = ""
    low: float = 0.0
    high: float = math.inf
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All fields by path, the path of every accepted spelling, and the record class of each group."""

    fields: Mapping[str, Field]
    spellings: Mapping[str, str]
    groups: Mapping[str, type]
    required_groups: frozenset[str]

    def keys_of(self, group: str) -> list[str]:
        """The keys of a group, or of the top level for ""."""
        inner = [field.key for field in self.fields.values() if field.key.rpartition(".")[0] == group]
        return [key.rpartition(".")[2] for key in inner] if group else [*inner, *self.groups]

    def find(self, spelling: str) -> tuple[Field, str] | None:
        """The field that a dotted spelling means and, for a table, the row; None if there is no such field."""
        if path := self.spellings.get(spelling):
            return self.fields[path], ""
        table, _, row = spelling.rpartition(".")
        if (path := self.spellings.get(table)) and self.fields[path].kind == "table" and row:
            return self.fields[path], row
        return None

    def nearest(self, spelling: str) -> str:
        """The dotted key that somebody who wrote `spelling` most likely meant, or ""."""
        group, _, word = spelling.rpartition(".")
        near = difflib.get_close_matches(word, self.keys_of(group), n=1)
        if near:
            return f"{group}.{near[0]}" if group else near[0]
        return next((field.key for field in self.fields.values() if field.key.rpartition(".")[2] == word), "")


@cache
def schema() -> Schema:
    """The schema of a GPU file, made once."""
    fields: dict[str, Field] = {"dram.bandwidth_bytes_per_s": Field(path="dram.bandwidth_bytes_per_s", key="dram.bandwidth", kind="number", unit="B/s", low=1)}
    groups: dict[str, type] = {}
    required = set()
    hints = typing.get_type_hints(GPU)
    for field in dataclasses.fields(GPU):
        if field.name == "id":
            continue
        record = _plain(hints[field.name])
        if not dataclasses.is_dataclass(record):
            fields[field.name] = _field(field, record, "")
            continue
        assert isinstance(record, type)
        groups[field.name] = record
        if _has_no_default(field):
            required.add(field.name)
        inner = typing.get_type_hints(record)
        for one in dataclasses.fields(record):
            fields[f"{field.name}.{one.name}"] = _field(one, _plain(inner[one.name]), f"{field.name}.")
    spellings = {field.path: field.path for field in fields.values()} | {field.key: field.path for field in fields.values()}
    return Schema(fields=fields, spellings=spellings, groups=groups, required_groups=frozenset(required))


def _plain(hint: Any) -> Any:
    """`X` of `X | None`."""
    if isinstance(hint, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return hint


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _field(field: dataclasses.Field[Any], hint: Any, prefix: str) -> Field:
    unit = field.metadata.get("unit", "")
    suffix = _SUFFIX.get(unit, "")
    key = field.name.removesuffix(suffix) if suffix else field.name
    kinds: dict[Any, Kind] = {float: "number", int: "integer", bool: "flag", str: "text", tuple[str, ...]: "texts", tuple[int, int]: "version"}
    kind = kinds.get(hint, "table")
    low, high = field.metadata.get("low", 0.0), field.metadata.get("high", math.inf)
    if field.name == "year":
        low, high = 1999, 2100
    return Field(path=prefix + field.name, key=prefix + key, kind=kind, unit=unit, low=low, high=high, required=_has_no_default(field))


def numeric_fields() -> dict[str, str]:
    """The unit of every number of a GPU by its dotted key: what `--set` and sweeps may vary.

    >>> numeric_fields()["dram.bandwidth"], numeric_fields()["l2.size"], numeric_fields()["sm.count"]
    ('B/s', 'B', '')
    """
    numbers = {field.key: field.unit for field in schema().fields.values() if field.kind == "number"}
    return numbers | {f"tensor_cores.flop_per_clk.{name}": "" for name in DTYPES}


class ValueProblem(Exception):
    """A value that does not fit its field; the text says what was expected."""


class RowProblem(ValueProblem):
    """A row of a table that does not exist."""


def convert(field: Field, row: str, value: Any, *, bare: bool) -> Any:
    """A value as text or number to what the record holds.

    Args:
        field: Where it goes.
        row: The row of a table, or "".
        value: From YAML, the command line or Python.
        bare: A number without a unit is taken to be SI (Python, or a key that names its unit).
    Raises:
        ValueProblem: It does not fit.
    """
    match field.kind:
        case "number":
            return _number(field, value, field.unit, bare)
        case "table":
            return _row(field, row, value, bare)
        case "integer":
            number = _number(field, value, "", bare)
            if number != int(number):
                raise ValueProblem(f"expected a whole number, got {value!r}")
            return int(number)
        case "flag":
            words = {"true": True, "false": False}
            flag = words.get(value.lower()) if isinstance(value, str) else value
            if not isinstance(flag, bool):
                raise ValueProblem(f"expected true or false, got {value!r}")
            return flag
        case "text":
            if not isinstance(value, str) or not value.strip():
                raise ValueProblem(f"expected text, got {value!r}")
            return value
        case "texts":
            items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in items):
                raise ValueProblem(f"expected a list of texts, got {value!r}")
            return tuple(str(item) for item in items)
        case "version":
            match = re.fullmatch(r"(\d{1,2})(?:\.(\d))?", str(value))
            if match is None:
                raise ValueProblem(f"expected a compute capability such as 8.0, got {value!r}")
            return int(match[1]), int(match[2] or 0)


def _row(field: Field, row: str, value: Any, bare: bool) -> Any:
    if field.path == "sources":
        known = schema()
        if row not in known.groups and row not in known.spellings:
            raise RowProblem(f"unknown group{did_you_mean(row, [*known.groups, *known.fields])}")
        if not isinstance(value, str) or not _SOURCE.match(value):
            raise ValueProblem(f"expected 'spec: …', 'measured: …', 'derived: …' or 'guess: …', got {value!r}")
        return value
    if field.path == "datasheet":
        known_rows = ["dram", *DTYPES, *(f"tensor_{name}" for name in DTYPES)]
        unit = "B/s" if row == "dram" else "FLOP/s"
    else:
        known_rows, unit = list(DTYPES), ""
    if row not in known_rows:
        raise RowProblem(f"unknown dtype{did_you_mean(row, known_rows)}")
    return _number(field, value, unit, bare)


def _number(field: Field, value: Any, unit: str, bare: bool) -> Any:
    if hasattr(value, "__array__"):  # a sweep's designs
        return _array(field, value)
    try:
        number = parse_quantity(value, unit)
    except UnitError as problem:
        raise ValueProblem(str(problem)) from None
    if not bare and unit in _EXAMPLE and not (isinstance(value, str) and re.search(r"[A-Za-z]\s*$", value.replace("e", ""))):
        raise ValueProblem(f"{value} has no unit, expected {unit}; write it out, such as '{_EXAMPLE[unit]}'")
    if not field.low <= number <= field.high:
        raise ValueProblem(f"expected {_bounds(field, unit)}, got {value}")
    return number


def _array(field: Field, value: Any) -> Any:
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ValueProblem(f"expected numbers, got an array of {array.dtype}")
    if not bool(np.all((array >= field.low) & (array <= field.high))):  # also catches nan
        wrong = array[~((array >= field.low) & (array <= field.high))].flat[0]
        shown = format_quantity(float(wrong), field.unit) if field.unit else f"{wrong:g}"
        raise ValueProblem(f"expected {_bounds(field, field.unit)}, got {shown}")
    return array.astype(np.float64) if array.ndim else float(array)


def _bounds(field: Field, unit: str) -> str:
    least, most = (format_quantity(bound, unit) if unit else f"{bound:g}" for bound in (field.low, field.high))
    low = "more than 0" if 0 < field.low < 1e-200 else f"at least {least}"
    return low if math.isinf(field.high) else f"{low} and at most {most}"


def build(id: str, entries: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[GPU | None, list[str]]:
    """The record that values by path make, and the dotted keys that are missing for it."""
    known = schema()
    missing: list[str] = []
    arguments: dict[str, Any] = {"id": id, "sources": FrozenTable(sources)}
    inner: dict[str, dict[str, Any]] = {group: {} for group in known.groups}
    for path, field in known.fields.items():
        group, _, name = path.rpartition(".")
        target = inner[group] if group else arguments
        if field.kind == "table":
            if path != "sources":
                rows = {key[len(path) + 1 :]: value for key, value in entries.items() if key.startswith(path + ".")}
                if rows:
                    target[name] = FrozenTable(rows)
        elif path in entries:
            target[name] = entries[path]
    for group, record in known.groups.items():
        if not inner[group] and group not in known.required_groups:
            continue
        gaps = [f.key for f in known.fields.values() if f.required and f.path.rpartition(".")[0] == group and f.path not in entries]
        if gaps:
            missing += gaps if inner[group] else [group]
        else:
            arguments[group] = record(**inner[group])
    missing += [f.key for f in known.fields.values() if f.required and "." not in f.path and f.path not in entries]
    return (None, missing) if missing else (GPU(**arguments), [])


def take_apart(gpu: GPU) -> dict[str, Any]:
    """A record's values by path; `build` puts them together again."""
    entries: dict[str, Any] = {}
    for path, field in schema().fields.items():
        if path in ("sources", "dram.bandwidth_bytes_per_s"):
            continue
        group, _, name = path.rpartition(".")
        owner = getattr(gpu, group) if group else gpu
        value = getattr(owner, name) if owner is not None else None
        if field.kind == "table":
            entries |= {f"{path}.{row}": number for row, number in (value or {}).items()}
        elif value is not None:
            entries[path] = value
    return entries
