"""YAML text to plain data that knows where it stands; the one home of PyYAML.

Files are untrusted. What is read is mappings with text keys, lists and scalars; tags, anchors and aliases are
refused, and so are duplicate keys, deep nesting and big files. Scalars follow YAML 1.2: `1e12` is a number, `no`
and `12:30` are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import yaml

from simgpu.errors import SimgpuError

MAX_BYTES = 2_000_000
MAX_DEPTH = 32
MAX_NODES = 200_000

KeyPath: TypeAlias = tuple[str | int, ...]

# libyaml where PyYAML was built with it: ten times as fast as the pure Python parser, same events.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,40}\Z")
_FLOAT = re.compile(r"[-+]?(?=[0-9.]{1,40}(?:[eE]|\Z))(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?\Z")
_WORDS: dict[str, bool | None] = {"true": True, "True": True, "false": False, "False": False, "null": None, "Null": None, "~": None, "": None}


class _Mark(Protocol):
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Data and positions.

    Attributes:
        where: The name that messages give the text.
        data: dict, list, str, int, float, bool or None.
        keys: Line and column of each key and list item, from 1, by the path that leads to it.
        values: The same for their values.
    """

    where: str
    data: Any
    keys: Mapping[KeyPath, tuple[int, int]]
    values: Mapping[KeyPath, tuple[int, int]]

    def at(self, path: KeyPath, *, value: bool = False) -> str:
        """`file:line:column` of a key, or of its value; of the nearest parent if the path does not exist."""
        positions = self.values if value else self.keys
        while path not in positions and path:
            path = path[:-1]
        line, column = positions.get(path, (1, 1))
        return f"{self.where}:{line}:{column}"


def read_yaml(path: str | Path, *, where: str | None = None, error: type[SimgpuError] = SimgpuError) -> Document:
    """The document in a file.

    Args:
        path: The file.
        where: What to call it in messages; its path if not given.
        error: The class of what is raised.
    Raises:
        SimgpuError: `error`, if the file cannot be read or is not the YAML we take.
    """
    where = str(path) if where is None else where
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as failure:
        raise error(f"{where}: cannot be read: {failure.strerror or failure}") from None
    if len(content) > MAX_BYTES:
        raise error(f"{where}: is larger than {MAX_BYTES // 1_000_000} MB, expected a short YAML file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{where}: is not text in UTF-8, expected a YAML file") from None
    return parse_yaml(text, where=where, error=error)


def parse_yaml(text: str, *, where: str, error: type[SimgpuError] = SimgpuError) -> Document:
    """The document in a text.

    Raises:
        SimgpuError: `error`, if it is not the YAML we take: the first mistake with its line and column.

    >>> parse_yaml("clock: 1593 MHz\\nrate: 2\\n", where="dram.yaml").data
    {'clock': '1593 MHz', 'rate': 2}
    """
    return _Reader(text, where, error).document()


def scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means.

    >>> scalar("1e12"), scalar("108"), scalar("no"), scalar("12:30"), scalar("true")
    (1000000000000.0, 108, 'no', '12:30', True)
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


class _Reader:
    """Builds data from the parser's events, so that what we refuse is never built."""

    def __init__(self, text: str, where: str, error: type[SimgpuError]) -> None:
        self._text, self._where, self._error = text, where, error
        self._keys: dict[KeyPath, tuple[int, int]] = {}
        self._values: dict[KeyPath, tuple[int, int]] = {}
        self._nodes = 0

    def document(self) -> Document:
        data: Any = None
        try:
            self._events = yaml.parse(self._text, Loader=_LOADER)
            documents = 0
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise self._refuse(event.start_mark, "a second document (---), expected one")
                    data = self._node(self._next(), ())
        except yaml.MarkedYAMLError as failure:
            mark = failure.problem_mark or failure.context_mark
            raise self._refuse(mark, f"not YAML: {failure.problem or failure.context}") from None
        except yaml.YAMLError as failure:
            raise self._error(f"{self._where}: not YAML: {str(failure).splitlines()[0]}") from None
        except RecursionError:
            raise self._error(f"{self._where}: is nested too deep, expected at most {MAX_DEPTH} levels") from None
        return Document(where=self._where, data=data, keys=self._keys, values=self._values)

    def _next(self) -> Any:
        return next(self._events)

    def _refuse(self, mark: _Mark | None, what: str) -> SimgpuError:
        at = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        return self._error(f"{self._where}{at}: {what}")

    def _check(self, event: Any, path: KeyPath) -> None:
        mark: Any = event.start_mark
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._refuse(mark, f"more than {MAX_NODES} values, expected a short file")
        if len(path) > MAX_DEPTH:
            raise self._refuse(mark, f"nested too deep, expected at most {MAX_DEPTH} levels")
        if event.anchor is not None:  # an alias has one too
            raise self._refuse(mark, "anchors and aliases (& and *) are not taken; write the value out")
        if event.tag is not None:
            raise self._refuse(mark, f"tags ({event.tag}) are not taken; write a plain value")

    def _node(self, event: Any, path: KeyPath) -> Any:
        self._check(event, path)
        self._values[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style in ("'", '"', "|", ">") else scalar(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._mapping(path)

    def _list(self, path: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            inner = (*path, len(items))
            self._keys[inner] = (event.start_mark.line + 1, event.start_mark.column + 1)
            items.append(self._node(event, inner))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            mark: Any = event.start_mark
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(mark, "a key must be a word; quote text that starts with a brace, a bracket or a star")
            self._check(event, path)
            key, inner = event.value, (*path, event.value)
            if key in data:
                line, _ = self._keys[inner]
                raise self._refuse(mark, f"{'.'.join(map(str, inner))}: duplicate key, first given in line {line}")
            self._keys[inner] = (mark.line + 1, mark.column + 1)
            data[key] = self._node(self._next(), inner)
        return data
