"""Tables: to text and back, in three formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simgpu.errors import DataError, OptionError
from simgpu.studies.table import Table, read_table, to_lines


@pytest.fixture
def table() -> Table:
    columns = {
        "model": np.array(["a,b", 'say "x"'], dtype=object),
        "batch": np.array([1, 32]),
        "latency_s": np.array([1 / 3, 2e-6]),
        "fits": np.array([True, False]),
    }
    return Table(columns=columns, inputs=("model", "batch"))


def test_numbers_keep_twelve_digits(table: Table):
    assert to_lines(table.columns) == ['"a,b",1,0.333333333333,true', '"say ""x""",32,2e-06,false']


def test_a_row_is_one_line_whatever_a_name_holds():
    assert to_lines({"model": np.array(["two\nlines"], dtype=object)}) == ["two lines"]


def test_csv_comes_back_as_it_went(table: Table, tmp_path: Path):
    back = read_table(table.save(tmp_path / "t.csv"), table.inputs)
    assert back.inputs == table.inputs
    assert back.outputs == ("latency_s", "fits")
    assert back["model"].tolist() == ["a,b", 'say "x"']
    assert back["batch"].dtype.kind == "i"
    assert back["latency_s"].tolist() == pytest.approx([1 / 3, 2e-6], rel=1e-11)
    assert back["fits"].tolist() == [True, False]
    assert back.varied == ("model", "batch")


def test_json_has_a_record_a_row(table: Table, tmp_path: Path):
    data = json.loads(table.save(tmp_path / "t.json").read_text())
    assert data["inputs"] == ["model", "batch"]
    assert data["rows"][1] == {"model": 'say "x"', "batch": 32, "latency_s": 2e-6, "fits": False}


def test_parquet(table: Table, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(table.save(tmp_path / "t.parquet")).to_pylist()
    assert rows[1] == {"model": 'say "x"', "batch": 32, "latency_s": 2e-6, "fits": False}


def test_mistakes(table: Table, tmp_path: Path):
    with pytest.raises(OptionError, match=r"t.xlsx: '.xlsx' says no format of a table, expected .csv, .json, .parquet"):
        table.save(tmp_path / "t.xlsx")
    with pytest.raises(OptionError, match=r"no column 'latency' in the table, .*did you mean 'latency_s'\?"):
        table["latency"]
    with pytest.raises(DataError, match=r"nothing.csv: is no table"):
        read_table(tmp_path / "nothing.csv")


def test_parquet_without_its_library(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(OptionError, match=r"pip install 'simgpu\[dataframe\]', or write .csv"):
        table.save(tmp_path / "t.parquet")
