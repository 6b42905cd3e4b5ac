"""What `simgpu run` draws, and runs beside the one that was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simgpu.cli import main
from simgpu.report.palette import THEMES

RUN = ["run", "alexnet", "--gpu", "v100", "--top", "0"]


def test_every_picture_in_every_format_and_theme(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    kinds = {"roofline": "svg", "time-roofline": "svg", "timeline": "pdf", "layers": "svg", "waterfall": "png"}
    files = {kind: tmp_path / f"{kind}.{suffix}" for kind, suffix in kinds.items()}
    assert main([*RUN, "--theme", "dark", *(text for kind, path in files.items() for text in (f"--{kind}", str(path)))]) == 0
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(f"wrote {path}" for path in files.values())
    for kind, path in files.items():
        start = path.read_bytes()[:8]
        assert start.startswith({"svg": b"<?xml", "pdf": b"%PDF-", "png": b"\x89PNG"}[kinds[kind]])
        if kinds[kind] == "svg":
            assert f"fill: {THEMES['dark'].background}" in path.read_text(encoding="utf-8")


def test_runs_beside_it_are_on_the_page_and_on_the_roofline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page, chart = tmp_path / "page.html", tmp_path / "chart.svg"
    others = ["--beside", "gpu=t4", "--beside", "dtype=fp16,batch=2,dram.clock=2 GHz"]
    assert main([*RUN, "--html", str(page), "--roofline", str(chart), *others]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("alexnet on Tesla V100 SXM2 16GB\nbatch 1 · fp32 · eager · ")
    assert sorted(err.splitlines()) == [f"wrote {chart}", f"wrote {page}"]
    text = page.read_text(encoding="utf-8")
    assert "3 runs side by side" in text
    (titles,) = re.findall("<title>(alexnet.*?)</title>", text)
    assert titles == "alexnet on Tesla V100 SXM2 16GB · alexnet on Tesla T4 · alexnet on Tesla V100 SXM2 16GB [dram.clock=2 GHz]"
    assert text.count("batch 2 · fp16 · eager") > 1
    assert chart.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beside", "gpu=t4"], "--beside gpu=t4: shows in --html and --roofline only; add --html FILE"),
        (["--html", "a.html", "--beside", "t4"], "--beside t4: expected KEY=VALUE, such as gpu=t4 or dtype=fp16,batch=64"),
        (["--html", "a.html", "--beside", "dtpye=fp16"], "--beside dtpye=fp16: 'dtpye' cannot differ, expected one of model, gpu, batch, dtype"),
        (["--html", "a.html", "--beside", "batch=many"], "--beside batch=many: batch: expected a whole number of 1 or more, got 'many'"),
        (["--html", "a.html", "--beside", "mode=trian"], "--beside mode=trian: mode: expected inference or train, got 'trian'"),
        (["--html", "a.html", "--beside", "sm.cuont=3"], "did you mean 'sm.count'?"),
        (["--theme", "drak"], "unknown theme 'drak', expected light, dark, print; did you mean 'dark'?"),
        (["--layers", "a.gif"], "a.gif: '.gif' says no picture format, expected .png, .svg, .pdf"),
        (["--layers", "a.png", "--waterfall", "./a.png"], "a.png: two outputs have this name; give each a file of its own"),
    ],
)
def test_a_mistake_is_one_message_and_no_file(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("simgpu: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
