"""JSON, CSV and the trace."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest

from simgpu.errors import OptionError
from simgpu.report.export import to_csv, to_json
from simgpu.report.files import check_writable, write_bytes, write_text
from simgpu.report.records import KernelRecord
from simgpu.report.trace import to_trace
from tests.runs import EAGER, GRAPH, host, kernels, report, three_kernels, times


def test_json_has_the_figures_under_their_names():
    data = json.loads(to_json(three_kernels()))
    assert (data["model"], data["gpu"], data["latency_s"], data["bound"]) == ("net", "toy", 8, "compute")
    assert data["utilization"]["gpu_util_fraction"] == 7 / 8
    assert data["memory"]["fits"] is True
    assert data["memory"]["peak_bytes"] == 2400
    assert [k["label"] for k in data["kernels"]] == ["conv 3×3", "relu", "copy"]
    assert data["assumptions"] == ["the toy is a toy"]
    assert sum(data["bound_fractions"].values()) == pytest.approx(1)


def test_json_of_a_decode_and_of_a_training_step():
    usual = json.loads(to_json(three_kernels()))
    assert (usual["mode"], usual["optimizer"]) == ("inference", None)
    assert "token_s" not in usual
    data = json.loads(to_json(replace(three_kernels(), new_tokens=5, optimizer="adam")))
    assert (data["new_tokens"], data["token_s"], data["tokens_per_s"], data["generation_s"]) == (5, 8, 0.5, 40)
    assert (data["mode"], data["optimizer"]) == ("train", "adam")
    assert (data["memory"]["gradient_bytes"], data["memory"]["optimizer_bytes"]) == (0, 0)


def test_json_knows_no_infinity():
    data = json.loads(to_json(report(kernels((), flop=(5.0,)), times(1))), parse_constant=pytest.fail)
    assert data["intensity_flop_per_byte"] is None


def test_csv_is_a_row_a_kernel():
    rows = list(csv.DictReader(io.StringIO(to_csv(three_kernels()))))
    assert list(rows[0]) == [f.name for f in fields(KernelRecord)]
    assert [(r["name"], float(r["span_s"]), r["bound"]) for r in rows] == [("a", 4, "compute"), ("b", 2, "DRAM"), ("c", 1, "latency")]


def events(text: str, phase: str) -> list[dict]:
    return [e for e in json.loads(text)["traceEvents"] if e["ph"] == phase]


def test_trace_shows_kernels_launches_and_flows():
    text = to_trace(three_kernels())
    kernel, *_ = [e for e in events(text, "X") if e["cat"] == "kernel"]
    assert (kernel["name"], kernel["ts"], kernel["dur"], kernel["tid"], kernel["args"]["stream"]) == ("a", 1e6, 4e6, 0, 0)
    launches = [e for e in events(text, "X") if e["cat"] == "cuda_runtime"]
    assert [(e["ts"], e["dur"]) for e in launches] == [(0, 1e6), (1e6, 1e6), (2e6, 1e6)]
    starts, ends = events(text, "s"), events(text, "f")
    assert [e["id"] for e in starts] == [e["id"] for e in ends] == [0, 1, 2]
    assert [e["ts"] for e in ends] == [1e6, 5e6, 7e6]
    assert {e["args"]["name"] for e in events(text, "M") if e["name"] == "thread_name"} == {"launching thread (toy)", "stream 0"}


def test_trace_counters_step_with_the_kernels():
    counters = [e for e in events(to_trace(three_kernels()), "C") if e["name"].startswith("SM active")]
    assert [(e["ts"], e["args"]["%"]) for e in counters] == [(1e6, 50), (5e6, 100), (7e6, 20), (8e6, 0)]


def test_a_replayed_graph_is_one_launch_in_the_trace():
    text = to_trace(report(kernels((), ()), times(1, 1), GRAPH, host(1.0, graph_launch_s=0.5, step_s=9.0)))
    assert [e["name"] for e in events(text, "X") if e["pid"] == 1] == ["cudaGraphLaunch"]


def test_slices_of_a_track_never_overlap():
    # Times that do not end on whole nanoseconds, on two streams.
    graph = kernels(*[()] * 30)
    r = report(graph, times(*[1e-6 / 3 + i * 1e-10 for i in range(30)], waves=[0.4] * 30), EAGER, host(1e-7 / 7), num_streams=2)
    for stream in (0, 1):
        slices = [e for e in events(to_trace(r), "X") if e["cat"] == "kernel" and e["tid"] == stream]
        assert len(slices) > 5
        assert all(round(a["ts"] + a["dur"], 3) <= b["ts"] for a, b in pairwise(slices))


def test_files_appear_whole_with_usual_rights(tmp_path: Path):
    path = tmp_path / "a.json"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_gz_is_compressed_the_same_way_every_time(tmp_path: Path):
    first, second = write_text(tmp_path / "a.json.gz", "text").read_bytes(), write_text(tmp_path / "b.json.gz", "text").read_bytes()
    assert gzip.decompress(first) == b"text"
    assert first == second


def test_links_and_devices_are_written_through(tmp_path: Path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    write_text("/dev/null", "gone")
    assert not Path("/dev/null").is_file()


def test_outputs_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(OptionError, match=r"cannot be written, it is a folder; expected the name of a file"):
        check_writable(tmp_path)
    with pytest.raises(OptionError, match=r"x\.json: cannot be written, the folder '.*none' does not exist; create it first"):
        check_writable(tmp_path / "none" / "x.json")
    with pytest.raises(OptionError, match=r"cannot be written"):
        write_bytes("/dev/full", b"data")


def test_a_folder_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OptionError, match=r"x: cannot be written, permission denied"):
        check_writable(tmp_path / "x")


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OptionError, match=r"x: cannot be written, no space left on device"):
        write_text(tmp_path / "x", "text")
    assert list(tmp_path.iterdir()) == []
