"""`simgpu run` as people type it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from simgpu.cli import main
from simgpu.report.records import UTILIZATION

RUN = ["run", "squeezenet1_1", "--gpu", "t4"]


def test_the_page(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--batch", "2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("squeezenet1_1 on Tesla T4\nbatch 2 · fp32 · eager · 1.24 M parameters · ")
    for part in ("Latency", "Limited by", "Where the time goes", "GPU-Util", "MFU", "Kernels by kind", "Assumptions"):
        assert part in out
    assert max(map(len, out.splitlines())) <= 100
    assert err == ""


def test_narrow_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(RUN) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_json_on_stdout_is_nothing_but_json(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--dtype", "fp16", "--runtime", "tensorrt", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["model"], data["gpu"], data["dtype"], data["runtime"]) == ("squeezenet1_1", "t4", "fp16", "tensorrt")
    assert data["num_kernels"] == len(data["kernels"])


def test_a_name_that_no_file_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--json", str(tmp_path / ("y" * 300 + ".json"))]) == 1
    assert "y.json: cannot be written, file name too long" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_output_that_cannot_be_written():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "simgpu", *RUN], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "simgpu: the output cannot be written: no space left on device\n")


def test_all_files_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = {"--json": "a.json", "--csv": "a.csv", "--trace": "a.json.gz", "--roofline": "r.png", "--timeline": "t.svg"}
    arguments = [text for option, name in names.items() for text in (option, str(tmp_path / name))]
    assert main([*RUN, *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("squeezenet1_1 on Tesla T4")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names.values())
    assert err.count("wrote ") == 5
    kernels = json.loads((tmp_path / "a.json").read_text())["kernels"]
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + len(kernels)
    events = json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))["traceEvents"]
    assert sum(e.get("cat") == "kernel" for e in events) == len(kernels)
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "t.svg").read_text()


def test_options_reach_the_model_and_the_gpu(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--json", "-", "--image-size", "64", "--param", "num_classes=10", "--set", "sm.count=80", "--host", "none", "--streams", "2"]) == 0
    small = json.loads(capsys.readouterr().out)
    assert main([*RUN, "--json", "-"]) == 0
    usual = json.loads(capsys.readouterr().out)
    assert small["num_params"] == usual["num_params"] - 990 * 513
    assert small["flop"] < usual["flop"] / 8
    assert small["peak_flop_per_s"] == 2 * usual["peak_flop_per_s"]
    assert (small["num_streams"], small["host"]["name"]) == (2, "none")


def test_language_models(capsys: pytest.CaptureFixture[str]):
    decode = ["run", "opt-125m", "--gpu", "t4", "--dtype", "fp16", "--batch", "2", "--context", "100", "--new-tokens", "21"]
    assert main(decode) == 0
    out = capsys.readouterr().out
    assert "for each token on average" in out
    assert "for all 21 of 2 sequences" in out
    assert main([*decode, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["generation_s"] == 21 * data["token_s"]
    assert data["tokens_per_s"] == pytest.approx(2 / data["token_s"])
    assert data["memory"]["state_bytes"] == 2 * 2 * 12 * 768 * (100 + 10 + 1) * 2  # keys and values of 12 layers in fp16
    assert main(["run", "opt-125m", "--gpu", "t4", "--phase", "prefill", "--seq-len", "16", "--json"]) == 0
    assert "token_s" not in json.loads(capsys.readouterr().out)


def test_experts_that_no_token_reaches_are_not_read(capsys: pytest.CaptureFixture[str]):
    read = {}
    for experts in ("balanced", "1,0,0,0,0,0,0,0"):
        assert main(["model", "switch-base-8", "--batch", "4", "--phase", "decode", "--context", "8", "--experts", experts, "--json"]) == 0
        read[experts] = json.loads(capsys.readouterr().out)["total"]["read_bytes"]
    # 4 tokens go to 4 experts or all to one, in 6 layers; an expert has two matrices of 768 x 3072.
    assert read["balanced"] - read["1,0,0,0,0,0,0,0"] == pytest.approx(3 * 6 * 2 * 768 * 3072 * 4, rel=1e-3)


def test_a_training_step(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--batch", "2", "--mode", "train", "--optimizer", "adam"]) == 0
    out = capsys.readouterr().out
    assert "training step (adam)" in out
    assert "optimizer states" in out


def test_help_defines_every_term_of_utilisation(capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for term, (_, meaning) in UTILIZATION.items():
        assert f"{term} {meaning}" in out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "resnet5O", "--gpu", "t4"], "unknown model 'resnet5O', expected a file or a name that `simgpu models` lists; did you mean 'resnet50'?"),
        (["run", "resnet18", "--gpu", "t40"], "unknown GPU 't40'; did you mean 't4'?"),
        ([*RUN, "--dtype", "fp15"], "unknown dtype 'fp15'"),
        ([*RUN, "--runtime", "tensorflow"], "unknown runtime 'tensorflow'"),
        ([*RUN, "--batch", "0"], "batch: expected a whole number of 1 or more, got 0"),
        ([*RUN, "--batch", "-1"], "batch: expected a whole number of 1 or more, got -1"),
        ([*RUN, "--streams", "0"], "streams: expected 1 or more, got 0"),
        ([*RUN, "--set", "sm.conut=3"], "did you mean 'sm.count'?"),
        ([*RUN, "--set", "sm.count"], "--set sm.count: expected key=value"),
        ([*RUN, "--set", "dram.clock=3 TB"], "3 TB"),
        ([*RUN, "--param", "classes"], "--param classes: expected key=value, such as num_classes=10"),
        ([*RUN, "--param", "num_class=3"], "unknown option 'num_class'"),
        ([*RUN, "--param", "image_size=8", "--image-size", "9"], "--param image_size=8: 'image_size' is given twice"),
        ([*RUN, "--shape", "n"], "--shape n: expected SYMBOL=N or INPUT=1,3,640,640 with whole numbers of 1 or more"),
        ([*RUN, "--shape", "n=0"], "--shape n=0: expected SYMBOL=N"),
        ([*RUN, "--shape", "n=1", "--shape", "n=2"], "--shape n=2: 'n' is given twice"),
        ([*RUN, "--shape", "n=1"], "shapes belong to ONNX models"),
        ([*RUN, "--phase", "decode"], "squeezenet1_1: unknown option 'phase', expected one of"),
        (["run", "vit-large", "--gpu", "t4", "--context", "9"], "vit-large: context: the network caches no tokens; leave it out"),
        (["run", "bert-base", "--gpu", "t4", "--new-tokens", "9"], "bert-base: phase: is 'decode', but an encoder generates no tokens; choose 'prefill'"),
        (["run", "opt-125m", "--gpu", "t4", "--experts", "zipf"], "opt-125m: experts: the network has no experts; leave it out"),
        (["run", "mixtral-8x7b", "--gpu", "t4", "--experts", "zpif"], "experts: is 'zpif', expected balanced, zipf, zipf:EXPONENT"),
        (["run", "mixtral-8x7b", "--gpu", "t4", "--experts", "1,x"], "experts: is '1,x', expected numbers with commas between"),
        (["run", "opt-125m", "--gpu", "t4", "--phase", "decode", "--param", "context=many"], "context: is 'many', expected a whole number"),
        (["run", "opt-125m", "--gpu", "t4", "--mode", "train", "--new-tokens", "3"], "opt-125m: a decode step is not trained"),
        ([*RUN, "--optimizer", "adam"], "--optimizer adam: an inference has none; add --mode train or leave it out"),
        ([*RUN, "--mode", "train", "--optimizer", "adm"], "unknown optimizer 'adm', expected one of sgd, adam, none; did you mean 'adam'?"),
        ([*RUN, "--csv", "/nowhere/a.csv"], "/nowhere/a.csv: cannot be written, the folder '/nowhere' does not exist; create it first"),
        ([*RUN, "--json", "/"], "/: cannot be written, it is a folder; expected the name of a file"),
        ([*RUN, "--roofline", "a.bmp"], "a.bmp: '.bmp' says no picture format, expected .png, .svg, .pdf"),
        ([*RUN, "--csv", "a", "--trace", "./a"], "a: two outputs have this name; give each a file of its own"),
    ],
)
def test_bad_input_is_one_message_and_status_1(arguments, error, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("simgpu: ")
    assert error in err
    assert err.count("\n") == 1


def test_outputs_are_checked_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--csv", str(tmp_path / "good.csv"), "--trace", str(tmp_path / "none" / "bad.json")]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "bad.json: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run"], ["run", "resnet18"], [*RUN, "--bacth", "3"], [*RUN, "--batch", "two"]])
def test_wrong_usage_is_status_2(arguments, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    assert "Usage: simgpu run" in capsys.readouterr().err


def test_a_model_too_large_for_the_gpu_is_reported(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--batch", "4", "--set", "dram.capacity=100 MB"]) == 0
    assert "DOES NOT FIT" in capsys.readouterr().out
