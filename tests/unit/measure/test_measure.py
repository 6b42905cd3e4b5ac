"""Measuring against a fake clock: what is written, what a budget and a restart do, what does not run."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgpu.cli import main
from simgpu.measure.cases import Case, cases
from simgpu.measure.run import HEADER, MeasureError, done_cases, run
from simgpu.measure.timing import FEWEST, MOST, measure

DEVICE = {
    "source": "simgpu measure", "gpu": "a100", "device": "NVIDIA A100-SXM4-80GB", "driver": "550", "torch": "2.5", "cuda": "12.4",
    "power_limit_w": "400", "date": "2026-01-01",
}  # fmt: skip
ADD = Case("elementwise", "fp32", op="add", rows=1024, cols=1024)
SOFTMAX = Case("softmax", "fp16", rows=4096, cols=1024)


class FakeClock:
    """Calls take as long as they say; a flushed one twice that."""

    def __init__(self) -> None:
        self.captures = 0

    def elapsed_s(self, call: Callable[[], Any], *, flush: bool) -> float:
        return float(call()) * (2 if flush else 1)

    def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        self.captures += 1
        return call


def started(path: Path, wanted: list[Case], budget_s: float = 1e9, **changes: Any) -> int:
    ticks = iter(range(10**6))
    return run(
        wanted, path, budget_s=budget_s, device=DEVICE, prepare=lambda case: lambda: 0.002, clock=FakeClock(), now_s=lambda: float(next(ticks)), **changes
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_median_of_many_and_the_fastest():
    times = iter([5.0, 5.0, *[1.0, 3.0, 2.0] * 100])
    timing = measure(lambda: next(times), FakeClock(), graph=False, cold=False)  # slow: 0.3 s allow the fewest repeats
    assert timing.repeats == FEWEST
    assert (timing.median_s, timing.fastest_s) == (2.0, 1.0)


def test_short_calls_are_repeated_more_but_not_forever():
    assert measure(lambda: 0.01, FakeClock(), graph=False, cold=False).repeats == 30  # 0.3 s / 10 ms
    assert measure(lambda: 1e-6, FakeClock(), graph=False, cold=False).repeats == MOST


def test_a_flush_precedes_cold_calls_only():
    assert measure(lambda: 0.01, FakeClock(), graph=False, cold=True).median_s == pytest.approx(0.02)


def test_graph_cases_are_captured_once():
    clock = FakeClock()
    measure(lambda: 0.01, clock, graph=True, cold=False)
    assert clock.captures == 1


def test_rows_say_what_where_and_how(tmp_path):
    out = tmp_path / "m.csv"
    assert started(out, [ADD, SOFTMAX], state=lambda: {"sm_clock_mhz": "1410", "power_w": "300"}) == 2
    first, second = rows(out)
    assert (first["family"], first["op"], first["time_ms"], first["driver"], first["sm_clock_mhz"]) == ("elementwise", "add", "2", "550", "1410")
    assert (second["family"], second["rows"], second["cols"]) == ("softmax", "4096", "1024")
    assert tuple(first) == HEADER


def test_started_again_it_goes_on(tmp_path):
    out = tmp_path / "m.csv"
    assert started(out, [ADD, SOFTMAX], budget_s=1.5) == 1  # the third look at the clock is past the budget
    assert done_cases(out) == {ADD}
    assert started(out, [ADD, SOFTMAX]) == 1
    assert done_cases(out) == {ADD, SOFTMAX}
    assert started(out, [ADD, SOFTMAX]) == 0


def test_what_does_not_run_leaves_its_reason_and_is_not_tried_again(tmp_path):
    out = tmp_path / "m.csv"

    def prepare(case: Case) -> Callable[[], Any]:
        raise RuntimeError("no kernel image is available\nmore")

    assert run([ADD], out, budget_s=9.0, device=DEVICE, prepare=prepare, clock=FakeClock()) == 1
    assert rows(out)[0]["note"] == "RuntimeError: no kernel image is available"
    assert rows(out)[0]["time_ms"] == ""
    assert done_cases(out) == {ADD}


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"a,b", bytes(range(256))])
def test_another_file_is_not_overwritten(content, tmp_path):
    out = tmp_path / "notes.csv"
    out.write_bytes(content)
    with pytest.raises(MeasureError, match=r"notes\.csv: exists and is no file of simgpu measure; name another with --out"):
        started(out, [ADD])
    assert out.read_bytes() == content


def test_a_row_that_was_not_written_to_its_end_is_measured_again(tmp_path):
    out = tmp_path / "m.csv"
    started(out, [ADD, SOFTMAX])
    whole = out.read_bytes()
    for torn in (whole[:-5], whole[: -len(whole.splitlines()[-1]) + 3]):
        out.write_bytes(torn)
        assert done_cases(out) == {ADD}
        assert started(out, [ADD, SOFTMAX]) == 1
        assert out.read_bytes() == whole
    out.write_bytes(b"")
    assert started(out, [ADD, SOFTMAX]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "nan"], "argument --budget: 'nan' is no time above 0"),
        (["--budget", "soon"], "argument --budget: 'soon' is no time above 0"),
        (["--budget", "-3"], "argument --budget: '-3' is no time above 0"),
        (["--family", "convolution"], "argument --family: invalid choice: 'convolution'"),
    ],
)
def test_options_that_make_no_sense(arguments, message, tmp_path, capsys):
    assert main(["measure", "--out", str(tmp_path / "m.csv"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_every_case_is_listed_once_and_every_family_comes_early():
    listed = list(cases())
    assert len(set(listed)) == len(listed)
    assert {case.family for case in listed} == {"linear", "bmm", "conv", "softmax", "layernorm", "elementwise", "attention", "model"}


def test_without_a_gpu_it_says_so(tmp_path, capsys):
    out = tmp_path / "m.csv"
    assert main(["measure", "--out", str(out)]) == 1
    assert "measuring needs" in capsys.readouterr().err
    assert not out.exists()


def test_needs_nothing_but_the_standard_library_to_start():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['numpy', 'simpy', 'networkx', 'click', 'yaml', 'onnx', 'matplotlib', 'joblib']));"
        "from simgpu.measure.__main__ import main; sys.exit(main(['--out', 'never.csv']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, "measuring needs" in ended.stderr) == (1, True)


def test_validate_reads_what_measure_writes(tmp_path, capsys):
    out = tmp_path / "m.csv"
    wanted = [
        ADD,
        SOFTMAX,
        Case("linear", "fp16", m=512, n=512, k=512),
        Case("conv", "fp16", batch=8, c=64, h=56, w=56, filters=64, r=3, layout="nhwc"),
        Case("attention", "fp16", batch=1, heads=8, kv_heads=2, q_len=512, kv_len=512, head_dim=64, causal=1),
        Case("model", "fp16", op="resnet50"),
    ]
    ticks = iter(range(10**6))
    run(wanted, out, budget_s=1e9, device=DEVICE, prepare=lambda case: lambda: 3e-5, clock=FakeClock(), now_s=lambda: float(next(ticks)))
    assert main(["validate", "--data", str(out), "--quiet"]) == 0
    shown = capsys.readouterr().out
    for family in ("elementwise", "softmax", "linear", "conv", "attention"):
        assert family in shown
    assert "networks of simgpu measure are compared by `simgpu run`" in shown
