"""`simgpu models` and `simgpu model`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simgpu.cli import main


def test_models_are_listed_by_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "squeezenet"]) == 0
    assert capsys.readouterr().out == (
        "  model          parameters   MACs  input        also known as\n"
        "SqueezeNet\n"
        "  squeezenet1_0      1.25 M  819 M  1×3×224×224  squeezenet\n"
        "  squeezenet1_1      1.24 M  349 M  1×3×224×224\n"
        "\n"
        "2 models in 1 family\n"
    )


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "bert-base-uncased", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["params"], row["file"]) == ("bert-base", 109_482_240, "bert.py")


def test_no_model_matches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "squeeznet"]) == 1
    assert capsys.readouterr().err == "simgpu: no model has 'squeeznet' in its name; did you mean 'SqueezeNet'?\n"


def test_a_model_is_summarised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "conv-block", "--batch", "2", "--param", "kind=separable", "--param", "channels=8", "--param", "size=4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "conv-block: input 2×8×4×4 fp32"
    # depthwise: 2·8·4·4 results of 9 MACs; pointwise: of 8
    assert [line.split() for line in lines[4:6]] == [
        ["depthwise", "(Conv)", "2×8×4×4", "72", "2.3", "k", "1.02", "kB", "1.97"],
        ["pointwise", "(Conv)", "2×8×4×4", "64", "2.05", "k", "1.02", "kB", "1.78"],
    ]


def test_a_model_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "bert-base", "--seq-len", "128", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["total"]["num_params"] == 109_482_240
    assert main(["model", "bert-base", "--seq-len", "128", "--json", str(tmp_path / "b.json")]) == 0
    assert json.loads((tmp_path / "b.json").read_text()) == printed


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "resnet5"]) == 1
    assert "did you mean 'resnet50'?" in capsys.readouterr().err


def test_configs_stand_behind_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "llama-3-8b"]) == 0
    assert capsys.readouterr().out == ("From a Hugging Face config, with prefill, :decode and options of their own\n  llama  llama-3-8b\n\n1 config\n")


def test_a_broken_config_of_the_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.json").write_text("[1, 2]")
    monkeypatch.setenv("SIMGPU_PATH", str(tmp_path))
    assert main(["models", "mine"]) == 1
    assert "mine.json: is no Hugging Face config, expected a JSON object with a model_type" in capsys.readouterr().err
