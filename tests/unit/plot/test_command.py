"""`simgpu roofline`, from arguments to the picture and the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgpu.cli import main


def test_one_picture_and_a_row_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "two.svg"
    assert main(["roofline", "alexnet", "--gpu", "v100", "--gpu", "t4", "--dtype", "fp16", "-o", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert err == f"wrote {picture}\n"
    header, *rows = out.splitlines()
    assert header.split() == ["model", "GPU", "latency", "intensity", "ridge", "performance", "of", "peak", "bound", "by"]
    assert [row.split()[0] for row in rows] == ["alexnet", "alexnet"]
    assert "V100" in rows[0] and "T4" in rows[1]
    assert picture.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alexnet", "--gpu", "v100", "-o", "x.gif"], "x.gif: '.gif' says no picture format, expected .png, .svg, .pdf\n"),
        (["alexnet", "--gpu", "v100", "--theme", "drak"], "unknown theme 'drak', expected light, dark, print; did you mean 'dark'?\n"),
        (["alexnet", "--gpu", "v100", "--gpu", "v100"], "--gpu v100: given twice; name each once\n"),
        (["alexnet", "--gpu", "v100", "-o", "no/such/x.png"], "no/such/x.png: cannot be written, the folder"),
        (["alexnte", "--gpu", "v100"], "did you mean 'alexnet'"),
    ],
)
def test_a_mistake_is_one_message_and_no_file(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["roofline", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("simgpu: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
