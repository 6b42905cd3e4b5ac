"""`simgpu gpus` and `simgpu gpu`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simgpu.cli import main


def test_all_gpus_are_listed_by_generation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    generations = [line for line in lines if line and not line.startswith(" ")][:-1]
    assert generations == ["Tesla", "Fermi", "Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell"]
    assert lines[-1] == "57 GPUs in 11 generations. `simgpu gpu NAME` has the spec sheet and the sources."
    assert max(map(len, lines)) <= 85


def test_gpus_by_pattern_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpus", "gh100", "--json"]) == 0
    assert [gpu["id"] for gpu in json.loads(capsys.readouterr().out)] == ["h100-pcie-80gb", "h100-sxm5-80gb", "h200-sxm5-141gb"]
    assert main(["gpus", "Ampre"]) == 1
    assert capsys.readouterr().err == "simgpu: no GPU has 'Ampre' in its name; did you mean 'Ampere'?\n"


def test_a_broken_file_of_the_user_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("extends: t4\nsm: {cuont: 1}\n")
    monkeypatch.setenv("SIMGPU_PATH", str(tmp_path))
    assert main(["gpus", "t4"]) == 1
    printed = capsys.readouterr()
    assert "\n  t4  " in printed.out
    assert printed.err == f"simgpu: {tmp_path}/mine.yaml:2:6: sm.cuont: unknown key; did you mean 'count'?\n"


def test_the_sheet_of_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "Tesla V100-SXM2-16GB", "--set", "sm.count=160", "--set", "dram.bandwidth=2 TB/s"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Tesla V100 SXM2 16GB [sm.count=160, dram.bandwidth=2 TB/s] (v100-sxm2-16gb)\n")
    assert "  SMs             160\n" in out


def test_a_gpu_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "a100", "--set", "l2.size=80 MB", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["id"], data["l2"]["size_bytes"]) == ("a100-sxm4-80gb", 80_000_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a1000"], "simgpu: unknown GPU 'a1000'; did you mean 'a100'?; `simgpu gpus` lists them\n"),
        (["none.yaml"], "simgpu: none.yaml: cannot be read: No such file or directory\n"),
        (["t4", "--set", "sm.cout=1"], "simgpu: sm.cout: unknown field of a GPU; did you mean 'sm.count'?\n"),
        (["t4", "--set", "sm.count"], "simgpu: --set sm.count: expected key=value, such as sm.count=160 or dram.bandwidth='4 TB/s'\n"),
        (["t4", "--set", "dram.bandwidth=4"], "simgpu: dram.bandwidth: 4 has no unit, expected B/s; write it out, such as '2 TB/s'\n"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", *arguments]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", message)
