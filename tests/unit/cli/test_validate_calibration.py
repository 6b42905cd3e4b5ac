"""`simgpu validate --calibration FILE`: other factors, other errors; a file that is none is refused."""

from __future__ import annotations

import json
from pathlib import Path

from simgpu.cli import main
from simgpu.cost.calibration import shipped_calibration
from simgpu.validation.calibrate import calibration_text

TABLE = "source,gpu,batch,m,n,k,time_ms\nneusight,v100-pcie-32gb,16,1024,1024,1024,5\nneusight,v100-pcie-32gb,16,512,512,512,1\n"


def bias(data: Path, capsys, *options: str) -> float:
    assert main(["validate", "--data", str(data), "--json", "--quiet", *options]) == 0
    return float(json.loads(capsys.readouterr().out)[0]["bias_pct"])


def test_slower_factors_predict_longer_times(tmp_path, capsys):
    data, factors = tmp_path / "bmm.csv", tmp_path / "slow.json"
    data.write_text(TABLE)
    factors.write_text(calibration_text(shipped_calibration().with_values({"Volta": {"fma_efficiency": 0.3}})))
    assert bias(data, capsys, "--calibration", str(factors)) > bias(data, capsys)


def test_a_file_that_is_no_calibration(tmp_path, capsys):
    wrong = tmp_path / "notes.txt"
    wrong.write_text("not JSON")
    assert main(["validate", "--calibration", str(wrong)]) == 1
    assert "notes.txt: no calibration file" in capsys.readouterr().err
