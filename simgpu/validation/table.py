"""A CSV of measurements as columns of text, with access that checks and names file, row and column."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgpu.errors import DataError

MAX_FILE_BYTES = 200_000_000
# No measured kernel is larger, and none shorter or longer; beyond, products of sizes would overflow.
MAX_COUNT = 2**40
SHORTEST_MS, LONGEST_MS = 1e-6, 1e9


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; every access checks what it reads.

    Attributes:
        number: Line in the file, the header being line 1 (comment lines count too).
    """

    table: Table
    number: int
    cells: Mapping[str, str]

    def fail(self, column: str, wrong: str, todo: str = "") -> DataError:
        return DataError(f"{self.table.path}: row {self.number}, column '{column}': {wrong}" + (f"; {todo}" if todo else ""))

    def text(self, column: str) -> str:
        return self.cells[column]

    def _number(self, column: str, convert: Callable[[str], Any], expected: str) -> Any:
        text = self.cells[column].strip()
        try:
            value = convert(text)
        except ValueError:
            raise self.fail(column, f"'{text[:40]}' is not {expected}" if text else f"empty, expected {expected}") from None
        if not math.isfinite(value):
            raise self.fail(column, f"'{text}' is not finite, expected {expected}")
        return value

    def count(self, column: str, *, low: int = 1) -> int:
        """A whole number of at least `low`."""
        value = self._number(column, float, "a whole number")
        if value != int(value) or value < low:
            raise self.fail(column, f"{self.cells[column].strip()} is no whole number of at least {low}")
        if value > MAX_COUNT:
            raise self.fail(column, f"{self.cells[column].strip()} is more than any measured kernel has, expected at most {MAX_COUNT:,}")
        return int(value)

    def time_s(self, column: str) -> float:
        """A time above zero, from milliseconds. [s]"""
        value = float(self._number(column, float, "a time in ms"))
        if value <= 0:
            raise self.fail(column, f"{self.cells[column].strip()} ms, expected a time above 0")
        if not SHORTEST_MS <= value <= LONGEST_MS:
            raise self.fail(column, f"{self.cells[column].strip()} ms, expected {SHORTEST_MS:g} to {LONGEST_MS:g}", "check the unit")
        return value * 1e-3

    def number_or_none(self, column: str) -> float | None:
        """A number, or None where the cell is empty or the column absent."""
        if not self.cells.get(column, "").strip():
            return None
        return float(self._number(column, float, "a number"))

    def choice(self, column: str, known: Mapping[str, Any]) -> Any:
        """What a word stands for."""
        word = self.cells[column].strip()
        if word not in known:
            raise self.fail(column, f"unknown '{word}', expected one of {', '.join(known)}")
        return known[word]


@dataclass(frozen=True, slots=True)
class Table:
    path: Path
    header: tuple[str, ...]
    lines: tuple[tuple[int, tuple[str, ...]], ...]  # (line number, cells)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def header_row(self) -> int:
        """Line of the header."""
        return self.lines[0][0] - 1

    def rows(self) -> Iterator[Row]:
        for number, cells in self.lines:
            yield Row(self, number, dict(zip(self.header, cells, strict=True)))


def read_table(path: Path) -> Table:
    """Reads a CSV (or .csv.gz); lines that start with # are comments.

    Raises:
        DataError: The file cannot be read, is empty, repeats a column, or a line has more or fewer cells than the header.
    """
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: larger than {MAX_FILE_BYTES // 1_000_000} MB; split it")
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text in UTF-8, expected a CSV table") from None
    source = text.splitlines()
    skipped = 0
    while skipped < len(source) and (source[skipped].startswith("#") or not source[skipped].strip()):
        skipped += 1
    reader = csv.reader(source[skipped:])
    try:
        records = [(skipped + reader.line_num, tuple(cells)) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(f"{path}: row {skipped + reader.line_num}: {error}, expected a CSV table") from None
    if not records:
        raise DataError(f"{path}: the file is empty, expected a header and rows")
    header = tuple(name.strip() for name in records[0][1])
    if len(header) == 1 and (separator := next((c for c in ";\t|" if c in header[0]), "")):
        raise DataError(f"{path}: row {records[0][0]}: cells are separated by {separator!r}, expected commas")
    for position, name in enumerate(header):
        if name in header[:position]:
            raise DataError(f"{path}: row {records[0][0]}, column '{name}': appears twice in the header")
    if len(records) == 1:
        raise DataError(f"{path}: has a header but no rows")
    for number, cells in records[1:]:
        if len(cells) != len(header):
            short = header[len(cells)] if len(cells) < len(header) else header[-1]
            raise DataError(f"{path}: row {number}, column '{short}': {len(cells)} cells, but the header has {len(header)}")
    return Table(path, header, tuple(records[1:]))
