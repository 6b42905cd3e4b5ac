"""`simgpu calibrate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgpu.cli import main
from simgpu.cost.calibration import parse_calibration, shipped_calibration

TABLE = """source,gpu,split,dtype_in,tensor_core,m,n,k,bias,time_ms,kernel,split_k
lab,v100-pcie-32gb,test,fp32,no,4096,1024,1024,yes,1.5,,no
lab,v100-pcie-32gb,test,fp32,no,8192,2048,2048,yes,10,,no
lab,v100-pcie-32gb,test,fp32,no,5000,5000,5000,yes,35,,no
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(TABLE)
    return path


def test_errors_before_and_after_are_printed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """About 7 TFLOP/s where a V100 reaches 13: half the efficiency explains it."""
    assert main(["calibrate", "--data", str(data), "--only", "Volta", "--rounds", "2"]) == 0
    out, err = capsys.readouterr()
    head, line = out.splitlines()
    assert head.split()[:3] == ["family", "before", "after"]
    family, before, after = line.split()
    assert family == "linear"
    assert float(after) < float(before) / 2
    assert err == ""  # progress is for terminals


def test_the_result_is_a_file_that_validate_takes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        assert main(["calibrate", "--data", str(data), "--only", "Volta", "--rounds", "1", "-o", str(file)]) == 0
        assert capsys.readouterr().out.endswith(f"\nwritten: {file}\n")
    assert files[0].read_bytes() == files[1].read_bytes()
    fitted = parse_calibration(files[0].read_text(), "one.json")
    assert fitted.fit["rows"] == 3
    assert fitted.values["Volta"] != shipped_calibration().values["Volta"]
    assert main(["validate", "--data", str(data), "--calibration", str(files[0])]) == 0
    assert "linear" in capsys.readouterr().out


def test_without_rounds_nothing_changes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--data", str(data), "--rounds", "0"]) == 0
    _, before, after = capsys.readouterr().out.splitlines()[1].split()
    assert before == after


def test_blind_errors_name_whose_factors_were_taken(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--data", str(data), "--rounds", "0", "--leave-one-out"]) == 0
    assert f"v100-pcie-32gb by factors of {shipped_calibration().nearest['Volta']}:\n  linear " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "Volt"], "simgpu: --only Volt: no such generation, expected one of common, "),
        (["--data", "none.csv"], "simgpu: none.csv: no such file or folder\n"),
        (["-o", "nowhere/new.json"], "simgpu: nowhere/new.json: cannot be written, the folder "),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)


def test_a_near_miss_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--only", "Volt"]) == 1
    assert capsys.readouterr().err.endswith("; did you mean 'Volta'?\n")


def test_a_table_with_mistakes_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.write_text(TABLE.replace("1.5", "-1.5"))
    assert main(["calibrate", "--data", str(data)]) == 1
    assert capsys.readouterr().err == f"simgpu: {data}: row 2, column 'time_ms': -1.5 ms, expected a time above 0\n"


def test_rounds_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--rounds", "-1"]) == 2
