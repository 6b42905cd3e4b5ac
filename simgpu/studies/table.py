"""A study's results as a tidy table: a row a design, every input and output named with its unit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.errors import DataError, OptionError, did_you_mean
from simgpu.report.files import write_bytes

FORMATS = (".csv", ".json", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of equal length.

    Attributes:
        columns: Values by name; a name ends in its unit (`_s`, `_bytes_per_s`, `_fraction` …). (rows,) each
        inputs: The columns that say what a row is; the others say what came out.
    """

    columns: Mapping[str, NDArray[Any]]
    inputs: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column.

        Raises:
            OptionError: There is no such column.
        """
        try:
            return self.columns[name]
        except KeyError:
            raise OptionError(f"no column '{name}' in the table, expected one of {', '.join(self.columns)}{did_you_mean(name, self.columns)}") from None

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if name not in self.inputs)

    @property
    def varied(self) -> tuple[str, ...]:
        """Inputs that are not the same in all rows."""
        return tuple(name for name in self.inputs if len(self) and bool((self.columns[name] != self.columns[name][0]).any()))

    def row(self, index: int) -> dict[str, Any]:
        """One row."""
        return {name: values[index].item() if isinstance(values[index], np.generic) else values[index] for name, values in self.columns.items()}

    def rows(self) -> Iterator[dict[str, Any]]:
        return (self.row(i) for i in range(len(self)))

    def take(self, index: Any) -> Table:
        """The rows at `index`."""
        return Table(columns={name: values[index] for name, values in self.columns.items()}, inputs=self.inputs)

    def save(self, path: str | Path) -> Path:
        """Writes the table as .csv, .json or .parquet, whole or not at all.

        Raises:
            OptionError: The suffix is another, the file cannot be written, or Parquet's library is not installed.
        """
        return write_table(path, tuple(self.columns), self.inputs, to_lines(self.columns))


def check_format(path: str | Path) -> str:
    """The suffix of a table's file.

    Raises:
        OptionError: It is none that can be written here.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(f"{path}: '{suffix}' says no format of a table, expected {', '.join(FORMATS)}{did_you_mean(suffix, FORMATS)}")
    if suffix == ".parquet":
        _parquet(path)
    return suffix


def to_lines(columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """Rows as lines of CSV, without the end of the line; numbers with 12 digits.

    >>> to_lines({"x": np.array([0.1, 2.0]), "name": np.array(["a", "b,c"], dtype=object), "fits": np.array([True, False])})
    ['0.1,a,true', '2,"b,c",false']
    """
    texts = [_texts(values) for values in columns.values()]
    return [",".join(cells) for cells in zip(*texts, strict=True)]


def _texts(values: NDArray[Any]) -> list[str]:
    match values.dtype.kind:
        case "f":
            return [f"{value:.12g}" for value in values.tolist()]
        case "i" | "u":
            return [str(value) for value in values.tolist()]
        case "b":
            return ["true" if value else "false" for value in values.tolist()]
    quoted = {text: csv_cells([text]) for text in set(values.tolist())}
    return [quoted[text] for text in values.tolist()]


def csv_cells(cells: Iterable[str]) -> str:
    """A line of CSV, quoted where needed; a row is one line, whatever a name holds."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(" ".join(cell.split("\n")) for cell in cells)
    return text.getvalue()


def read_lines(lines: Iterable[str], names: Sequence[str], inputs: Iterable[str]) -> Table:
    """The table that lines of CSV hold.

    >>> read_lines(["0.1,a,true"], ("x", "name", "fits"), ("x",)).row(0)
    {'x': 0.1, 'name': 'a', 'fits': True}
    """
    cells = list(zip(*csv.reader(lines), strict=True)) or [()] * len(names)
    return Table(columns={name: _column(texts) for name, texts in zip(names, cells, strict=True)}, inputs=tuple(inputs))


def _column(texts: Sequence[str]) -> NDArray[Any]:
    try:
        numbers = np.array(texts, dtype=float)
    except ValueError:
        if set(texts) <= {"true", "false"}:
            return np.array([text == "true" for text in texts])
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        return column
    whole = numbers.astype(np.int64) if np.isfinite(numbers).all() and (np.abs(numbers) < 2**53).all() else None
    return whole if whole is not None and not any("." in text or "e" in text for text in texts) else numbers


def read_table(path: str | Path, inputs: Iterable[str] = ()) -> Table:
    """The table in a CSV file.

    Raises:
        DataError: There is none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        names = next(csv.reader(lines[:1]))
        return read_lines(lines[1:], names, [name for name in inputs if name in names])
    except (OSError, UnicodeDecodeError, StopIteration, ValueError) as error:
        raise DataError(f"{path}: is no table: {error}; expected CSV that `simgpu sweep` wrote") from None


def write_table(path: str | Path, names: Sequence[str], inputs: Sequence[str], lines: Sequence[str]) -> Path:
    """Writes rows given as lines of CSV in the format that the file's name asks for."""
    suffix = check_format(path)
    if suffix == ".csv":
        return write_bytes(path, "\n".join([csv_cells(names), *lines, ""]).encode())
    table = read_lines(lines, names, inputs)
    if suffix == ".json":
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in table.rows())
        return write_bytes(path, f'{{"inputs": {json.dumps(list(inputs))},\n"rows": [\n{rows}\n]}}\n'.encode())
    arrow, parquet = _parquet(path)
    buffer = arrow.BufferOutputStream()
    parquet.write_table(arrow.table({name: arrow.array(values.tolist()) for name, values in table.columns.items()}), buffer)
    return write_bytes(path, buffer.getvalue().to_pybytes())


def _parquet(path: str | Path) -> tuple[Any, Any]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise OptionError(f"{path}: Parquet needs a library that is not installed; pip install 'simgpu[dataframe]', or write .csv") from None
    return arrow, parquet
