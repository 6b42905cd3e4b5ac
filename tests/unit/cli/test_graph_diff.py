"""`simgpu graph` and `simgpu diff` as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simgpu
from simgpu.cli import main
from simgpu.graph.text import from_text


def test_text_on_stdout_reads_back(capsys: pytest.CaptureFixture[str]):
    assert main(["graph", "squeezenet1_1", "--batch", "2"]) == 0
    graph = from_text(capsys.readouterr().out)
    assert graph.num_params == simgpu.load_model("squeezenet1_1").num_params
    assert graph[graph.inputs[0]].shape == (2, 3, 224, 224)


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<svg"), ("txt", b"graph squeezenet1_1("), ("onnx", b"\x08")])
def test_each_form(suffix: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / f"g.{suffix}"
    assert main(["graph", "squeezenet1_1", "-o", str(path)]) == 0
    assert path.read_bytes().startswith(start)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"wrote {path}\n")


def test_the_onnx_form_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "g.onnx"
    assert main(["graph", "squeezenet1_1", "-o", str(path)]) == 0
    assert main(["run", str(path), "--gpu", "t4", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["flop"] == simgpu.simulate("squeezenet1_1", "t4").flop


def test_diff_of_a_model_and_itself(capsys: pytest.CaptureFixture[str]):
    assert main(["diff", "resnet18", "resnet18", "--gpu", "t4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("resnet18 (batch 1 · fp32 · eager) → resnet18 (batch 1 · fp32 · eager) on t4\n")
    assert "×" not in out
    assert [line.split()[0] for line in out.splitlines()[3:8]] == ["conv1", "bn1", "relu", "maxpool", "layer1"]


def test_diff_adds_up(capsys: pytest.CaptureFixture[str]):
    assert main(["diff", "resnet18", "resnet34", "--gpu", "t4", "--batch", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_params"] == [11_689_512, 21_797_672]  # torchvision's table
    for i, model in enumerate(("resnet18", "resnet34")):
        report = simgpu.simulate(model, "t4", batch=2)
        assert sum(stage["num_params"][i] for stage in found["stages"]) == report.num_params
        assert sum(stage["time_s"][i] for stage in found["stages"]) == pytest.approx(report.kernel_s)
        assert sum(stage["dram_bytes"][i] for stage in found["stages"]) == pytest.approx(report.dram_bytes)
        assert sum(stage["flop"][i] for stage in found["stages"]) == pytest.approx(report.flop, rel=1e-3)
    assert found["latency_s"][0] < found["latency_s"][1]
    layer3 = next(stage for stage in found["stages"] if stage["name"] == "layer3")
    assert layer3["num_params"][1] > 3 * layer3["num_params"][0]  # six blocks, not two


def test_diff_of_networks_without_a_common_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["diff", "squeezenet1_1", "resnet18", "--gpu", "t4", "--depth", "2", "--html", str(tmp_path / "d.html")]) == 0
    out, err = capsys.readouterr()
    assert "layer4.1" in out and "features." in out
    assert err == f"wrote {tmp_path / 'd.html'}\n"
    assert "2 runs side by side" in (tmp_path / "d.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["graph", "resnet18", "-o", "g.png"], "g.png: '.png' says no form of a graph, expected .svg, .txt, .onnx"),
        (["graph", "resnet18", "-o", "g"], "g: no suffix says no form of a graph"),
        (["graph", "resnet18", "-o", "/nowhere/g.svg"], "/nowhere/g.svg: cannot be written, the folder '/nowhere' does not exist"),
        (["graph", "resnet1B"], "unknown model 'resnet1B'"),
        (["diff", "resnet18", "resnet35", "--gpu", "t4"], "unknown model 'resnet35'"),
        (["diff", "resnet18", "resnet34", "--gpu", "t40"], "unknown GPU 't40'; did you mean 't4'?"),
    ],
)
def test_bad_input_is_one_message_and_status_1(arguments, error, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("simgpu: ")
    assert error in err
    assert err.count("\n") == 1
