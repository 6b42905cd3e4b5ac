"""`simgpu whatif` and `simgpu sweep` as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simgpu.cli import main
from simgpu.cli.progress import Progress

WHATIF = ["whatif", "alexnet", "--gpu", "t4"]
VARY = ["--vary", "sm.count=20:40:10", "--vary", "dram.bandwidth=200..400 GB/s:3"]


def test_the_page(capsys: pytest.CaptureFixture[str]):
    assert main([*WHATIF, "--batch", "4", *VARY, "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "9 designs · alexnet · t4 · batch 4 · fp32 · eager",
        "  sm.count        20 to 40, 3 values",
        "  dram.bandwidth  200 GB/s to 400 GB/s, 3 values",
    ]
    assert lines[4] == "The 3 fastest, and the slowest, by latency"
    assert lines[5].split()[:4] == ["sm.count", "dram.bandwidth", "latency", "bound"]
    assert lines[6].split()[:3] == ["40", "400", "GB/s"] and lines[9].split()[:3] == ["20", "200", "GB/s"]
    assert lines[11].startswith("What limits them: ")
    assert max(map(len, lines)) <= 100


def test_batches_are_ordered_by_throughput(capsys: pytest.CaptureFixture[str]):
    assert main([*WHATIF, "--vary", "batch=1..64:4log", "--vary", "dtype=fp32,fp16"]) == 0
    out = capsys.readouterr().out
    assert "The designs, by samples/s" in out
    assert out.splitlines()[6].split()[:2] == ["64", "fp16"]


def test_gpus_may_vary(capsys: pytest.CaptureFixture[str]):
    assert main(["whatif", "alexnet", "--vary", "gpu=t4,k40", "--vary", "dram.bandwidth=200,400 GB/s"]) == 0
    assert "  gpu             t4, k40\n" in capsys.readouterr().out
    assert main(["whatif", "alexnet", "--vary", "sm.count=10,20"]) == 1
    assert "gpu: missing, expected one, or several that vary" in capsys.readouterr().err
    assert main(["whatif", "alexnet", "--vary", "gpu=t4,k40", "--top", "0", "--target", "1 ms"]) == 1
    assert "--tornado and --target ask about one GPU; give --gpu" in capsys.readouterr().err


def test_a_table_and_what_is_drawn_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = {"-o": "a.csv", "--map": "map.png", "--plot": "plot.svg", "--tornado": "t.svg"}
    arguments = [text for option, name in names.items() for text in (option, str(tmp_path / name))]
    assert main([*WHATIF, *VARY, *arguments, "--pareto", "area,latency", str(tmp_path / "p.png"), "--theme", "dark", "--top", "0"]) == 0
    out, err = capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "map.png", "p.png", "plot.svg", "t.svg"]
    assert err.count("wrote ") == 5
    assert (tmp_path / "a.csv").read_text().splitlines()[0].startswith("model,gpu,batch,dtype,runtime,sm.count,dram.bandwidth_bytes_per_s,latency_s,")
    assert "What matters: the latency with less and more of each field" in out
    assert "batch 1 · fp32 · eager · latency" in (tmp_path / "t.svg").read_text(encoding="utf-8")
    # the same study again: its table is there, and other pictures cost nothing
    assert main([*WHATIF, *VARY, "-o", str(tmp_path / "a.csv"), "--resume", "--map", str(tmp_path / "energy.png"), "--value", "energy"]) == 0
    assert "a.csv is finished already, nothing was computed" in capsys.readouterr().err


def test_curves_over_the_batch_and_lines_of_equal_latency(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    curves, lines = tmp_path / "curves.svg", tmp_path / "lines.svg"
    assert main(["whatif", "alexnet", "--vary", "gpu=t4,v100", "--vary", "batch=1,4", "--latency-throughput", str(curves), "--top", "0"]) == 0
    assert main([*WHATIF, *VARY, "--vary", "dtype=fp16,fp32", "--iso", str(lines), "--theme", "print", "--top", "0"]) == 0
    assert capsys.readouterr().err.splitlines() == [f"wrote {curves}", f"wrote {lines}"]
    study = tmp_path / "study.yaml"
    study.write_text("model: [alexnet, squeezenet1_1]\ngpu: t4\nbatch: [1, 4]\n")
    again = tmp_path / "again.pdf"
    assert main(["sweep", str(study), "--latency-throughput", str(again), "--top", "0"]) == 0
    assert again.read_bytes().startswith(b"%PDF")


def test_what_would_it_take(capsys: pytest.CaptureFixture[str]):
    assert main([*WHATIF, "--batch", "64", "--target", "15 ms"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("\nWhat it takes to run in 15 ms\n")
    assert "all of these together" in out


def test_a_study_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = tmp_path / "study.yaml"
    study.write_text(
        "model: [alexnet, squeezenet1_1]\ngpu: t4\nbatch: [1, 4]\ndtype: fp16\nset: {power.tdp: 100 W}\n"
        "vary:\n  sm.count: 20:40:20\n  clocks.boost: [1 GHz, 1.5 GHz]\noutput: out.json\n"
    )
    assert main(["sweep", str(study)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("16 designs · t4 · fp16 · eager · power.tdp 100 W\n")
    assert f"wrote {tmp_path / 'out.json'}" in err
    data = json.loads((tmp_path / "out.json").read_text())
    assert data["rows"][0] | {"clocks.boost_hz": 1e9, "sm.count": 20, "power.tdp_w": 100, "model": "alexnet", "batch": 1} == data["rows"][0]
    assert main(["sweep", str(study)]) == 1
    assert "out.json: exists already; replace it with --force" in capsys.readouterr().err
    assert main(["sweep", str(study), "--force", "--top", "1"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: gpt2\ngpu: t4\nseq_len: 8\n", "output; write it under 'options', or under 'vary' if it varies"),
        ("model: alexnet\ngpu: t44\nvary: {sm.count: 1:2:1}\n", "s.yaml: unknown GPU 't44'; did you mean 't4'?"),
        ("model: alexnet\ngpu: t4\nset: {power.tdp: 500 GB}\nbatch: [1, 2]\n", "s.yaml:3:18: power.tdp: '500 GB' has the unit 'GB', expected W"),
        ("model: alexnet\ngpu: t4\nvary: {dram.bandwidth: 0..4 TB/s:4}\n", "s.yaml:3:24: dram.bandwidth: expected at least 1 B/s, got 0 B/s"),
        ("model: alexnet\ngpu: t4\nvari: {sm.count: 1:2:1}\n", r"s.yaml:3:1: unknown key 'vari', expected model, gpu"),
        ("model: alexnet\ngpu: t4\nvary: {sm.cuont: 1:2:1}\n", "s.yaml:3:18: sm.cuont: nothing of that name can vary"),
        ("model: alexnet\ngpu: t4\nvary:\n  dram.bandwidth: [1e12, 2e12]\n", "s.yaml:4:19: dram.bandwidth=1000000000000.0,2000000000000.0: has no unit"),
        ("model: alexnet\ngpu: t4\nvary: sm.count\n", "s.yaml:3:7: vary: expected what varies: {sm.count: 54:216:18"),
        ("model: alexnet\ngpu: t4\nvary: {sm.count: {a: 1}}\n", "sm.count: expected start:stop:step, lo..hi UNIT:N or a list"),
        ("model: alexnet\ngpu: t4\nvary: {sm.count: 1:2:1}\nsample: many\n", "s.yaml:4:9: sample: expected a whole number, got 'many'"),
        ("model: alexnet\nvary: {sm.count: 1:2:1}\n", "s.yaml: gpu: missing"),
        ("- model\n", "s.yaml:1:1: expected keys such as model, gpu and vary"),
        ("model: alexnet\ngpu: t4\ndtype: [fp16, fp17]\n", "unknown dtype 'fp17'"),
        ("model: alexnet\ngpu: t4\nvary: {sm.count: 1:2:1}\noutput: [a]\n", "output: expected the name of a file"),
    ],
)
def test_study_files_with_mistakes(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = tmp_path / "s.yaml"
    study.write_text(text)
    assert main(["sweep", str(study)]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing varies; give --vary FIELD=VALUES"),
        (["-o", "a.csv", "--target", "1 ms"], "-o: nothing varies"),
        (["--map", "a.png", "--tornado", "b.png"], "--map: nothing varies"),
        (["--vary", "sm.count"], "--vary sm.count: expected FIELD=VALUES, such as sm.count=54:216:18"),
        (["--vary", "sm.count=1,2", "--vary", "sm.count=3"], "--vary sm.count=3: sm.count is given twice"),
        (["--vary", "sm.cuont=1,2"], "did you mean 'sm.count'?"),
        (["--vary", "dram.bandwidth=4..1 TB/s:3"], "the range is reversed"),
        (["--vary", "dram.bandwidth=1..4 GHz:3"], "unit 'GHz', expected B/s"),
        (["--vary", "sm.count=1:1000:1", "--vary", "batch=1:1000:1"], "1,000,000 designs are more than 100,000; confirm with --yes"),
        (["--vary", "dtype=fp16", "--dtype", "fp32"], "dtype: is given and varies; give it once"),
        (["--vary", "batch=1,2", "--batch", "4"], "batch: is given and varies; give it once"),
        (["--vary", "gpu=a100"], "gpu: is given and varies; give it once"),
        (["--vary", "sm.count=10,20", "--set", "sm.count=5"], "sm.count: is set and varies"),
        (["--vary", "sm.count=10,20", "--resume"], "--resume: there is no output to go with it; give -o FILE"),
        (["--vary", "sm.count=10,20", "-o", "there.csv"], "there.csv: exists already; replace it with --force"),
        (["--vary", "sm.count=10,20", "-o", "new.txt"], "'.txt' says no format of a table"),
        (["--vary", "sm.count=10,20", "--backend", "localhost:8786"], "backend 'localhost:8786': expected dask://host:port"),
        (["--vary", "sm.count=10,20", "--jobs", "0"], "jobs: expected 1 process or more, got 0"),
        (["--vary", "sm.count=10,20", "--map", "m.gif"], "'.gif' says no picture format"),
        (["--vary", "sm.count=10,20", "--map", "m.png"], "--map: sm.count varies, expected two numbers"),
        (["--vary", "sm.count=10,20", "--vary", "dtype=fp16,fp32", "--iso", "m.png"], "--iso: sm.count, dtype vary, expected two numbers"),
        (["--vary", "sm.count=10,20", "--latency-throughput", "m.png"], "--latency-throughput: the batch does not vary; add --vary batch=1,2,4,8,16,32"),
        (["--vary", "sm.count=10,20", "--pareto", "area,latnecy", "m.png"], "did you mean 'latency'?"),
        (["--vary", "dtype=fp16,fp32", "--plot", "m.png"], "--plot: dtype varies, expected a number among it"),
        (["--vary", "sm.count=10,20", "--plot", "m.png", "--value", "latencey"], "latencey: no such column"),
        (["--vary", "sm.count=10,20", "--plot", "m.png", "--map", "m.png"], "m.png: two outputs have this name"),
        (["--vary", "sm.count=10,20", "--pareto", "latency", "m.png"], "--pareto latency: expected two columns"),
        (["--vary", "sm.count=10,20", "--theme", "blue", "--plot", "m.png"], "unknown theme 'blue'"),
        (["--target", "soon"], "expected a number in s, got 'soon'"),
        (["--target", "5"], "--target 5: has no unit, expected a time such as '2 ms'"),
        (["--target", "100 s"], "nothing has to change"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("precious\n")
    assert main([*WHATIF, *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.splitlines()[-1].startswith("simgpu: ")
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "precious\n"


def test_stopped_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def stop(self: Progress, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr("simgpu.studies.study.CHUNK", 4)
    monkeypatch.setattr(Progress, "__call__", stop)
    output = tmp_path / "out.csv"
    assert main([*WHATIF, *VARY, "-o", str(output)]) == 130
    assert f"what is finished lies in {output}.part; go on with --resume" in capsys.readouterr().err
    assert not output.exists()
    monkeypatch.undo()
    monkeypatch.setattr("simgpu.studies.study.CHUNK", 4)
    assert main([*WHATIF, *VARY, "-o", str(output), "--resume"]) == 0
    assert "4 of 9 designs are there already" in capsys.readouterr().err


def test_progress_tells_the_pace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    now = [100.0]
    monkeypatch.setattr("simgpu.cli.progress.time.monotonic", lambda: now[0])
    progress = Progress("designs")
    for done, seconds in ((0, 0), (1000, 10), (2000, 40), (3000, 41), (6000, 80), (10000, 90)):
        now[0] = 100.0 + seconds
        progress(done, 10000)
    # 2000 in 40 s, so 160 s for the rest; no line within 30 s of another one; none at the end
    assert capsys.readouterr().err.splitlines() == ["2,000 of 10,000 designs (20%), 50/s, 2 min 40 s to go", "6,000 of 10,000 designs (60%), 75/s, 53 s to go"]


def test_progress_rewrites_its_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    now = [0.0]
    monkeypatch.setattr("simgpu.cli.progress.time.monotonic", lambda: now[0])
    progress = Progress("designs")
    for done in (0, 5, 10):
        now[0] = float(done)
        progress(done, 10)
    assert capsys.readouterr().err == "\r\033[K5 of 10 designs (50%), 1/s, 5 s to go\r\033[K"
