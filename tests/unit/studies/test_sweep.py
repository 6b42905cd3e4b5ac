"""Sweeps: restartable, the same on one core, on several and on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from simgpu.errors import ArchError, ModelError, OptionError
from simgpu.studies import study as module
from simgpu.studies.partial import part_path
from simgpu.studies.sweep import sweep

SMALL: dict[str, Any] = {"model": "alexnet", "gpu": "t4", "vary": {"sm.count": "20:60:4", "batch": "1,2"}}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CHUNK", 4)


def test_the_order_is_that_of_the_grid():
    table = sweep(**SMALL)
    assert table["sm.count"].tolist() == [float(count) for count in range(20, 61, 4) for _ in range(2)]
    assert table["batch"].tolist() == [1, 2] * 11
    assert table.inputs == ("model", "gpu", "batch", "dtype", "runtime", "sm.count")


def test_inputs_are_named_with_units_and_constants_shown():
    table = sweep("squeezenet1_1", "t4", vary={"dram.bandwidth": "1..2 TB/s:2"}, overrides={"l2.size": "8 MiB"}, image_size=128, host="none")
    assert table.row(0)["l2.size_bytes"] == 8 * 2**20
    assert table.row(1)["dram.bandwidth_bytes_per_s"] == 2e12
    assert (table.row(0)["image_size"], table.row(0)["host"], table.row(0)["host_s"]) == (128, "none", 0.0)


def test_files_are_those_of_the_table(tmp_path: Path):
    table = sweep(**SMALL, output=tmp_path / "a.csv")
    table.save(tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_progress_counts_designs():
    seen: list[tuple[int, int]] = []
    sweep(**SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 22) for done in (0, 4, 8, 11, 15, 19, 22)]  # 11 of each batch, four at a time


def test_several_processes_write_the_same_file(tmp_path: Path):
    sweep(**SMALL, output=tmp_path / "one.csv")
    sweep(**SMALL, output=tmp_path / "two.csv", jobs=2)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


class Stop(Exception):
    pass


def stop_after(designs: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= designs:
            raise Stop

    return progress


def test_what_is_finished_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from simgpu.studies import sweep as sweeping

    computed: list[int] = []
    usual = sweeping._lines

    def counted(number: int, *others: Any) -> Any:
        computed.append(number)
        return usual(number, *others)

    monkeypatch.setattr(sweeping, "_lines", counted)
    sweep(**SMALL, output=tmp_path / "whole.csv")
    computed.clear()
    output = tmp_path / "out.csv"
    for designs in (8, 15):
        with pytest.raises(Stop):
            sweep(**SMALL, output=output, resume=True, progress=stop_after(designs))
        assert not output.exists()
    sweep(**SMALL, output=output, resume=True)
    assert sorted(computed) == list(range(6))
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not part_path(output).exists()
    sweep(**SMALL, output=output, resume=True)
    assert len(computed) == 6


def _child(output: Path, log: Path) -> None:
    with log.open("a") as file:

        def progress(done: int, total: int) -> None:
            file.write(f"{done}\n")
            file.flush()

        sweep(**SMALL, output=output, resume=True, progress=progress)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_ten_times_at_random_moments(tmp_path: Path):
    whole, output = tmp_path / "whole.csv", tmp_path / "out.csv"
    began = time.monotonic()
    sweep(**SMALL, output=whole)
    usual_s = time.monotonic() - began
    part, log = part_path(output), tmp_path / "log"
    context, dice, before, kills = multiprocessing.get_context("fork"), random.Random(5), b"", 0
    while not output.exists() and kills < 10:
        child = context.Process(target=_child, args=(output, log))
        child.start()
        time.sleep(dice.random() * usual_s / 4)
        if child.exitcode is None and child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
        now = part.read_bytes() if part.exists() else before
        # a torn chunk at the end may be replaced; everything before it stays as it is
        kept = before[: before.rfind(b"chunk ")] if b"chunk " in before else b""
        assert now.startswith(kept)
        before = now
    table = sweep(**SMALL, output=output, resume=True)
    assert output.read_bytes() == whole.read_bytes()
    assert len(table) == 22
    assert kills


def test_an_output_is_not_lost_by_accident(tmp_path: Path):
    output = tmp_path / "out.csv"
    output.write_text("precious\n")
    with pytest.raises(OptionError, match=r"out.csv: exists already; replace it with --force, or choose another output"):
        sweep(**SMALL, output=output)
    with pytest.raises(OptionError, match=r"out.csv: is the result of another study; replace it with --force"):
        sweep(**SMALL, output=output, resume=True)
    with pytest.raises(OptionError, match=r"--resume keeps what is there, --force replaces it"):
        sweep(**SMALL, output=output, resume=True, force=True)
    with pytest.raises(Stop):
        sweep(**SMALL, output=output, force=True, progress=stop_after(8))
    assert output.read_text() == "precious\n"
    with pytest.raises(OptionError, match=r"out.csv.part: an unfinished study lies here; go on with --resume, or start anew with --force"):
        sweep(**SMALL, output=output)
    sweep(**SMALL, output=output, force=True)
    assert output.read_text().startswith("model,gpu,batch")


def test_another_study_is_not_continued(tmp_path: Path):
    output = tmp_path / "out.csv"
    with pytest.raises(Stop):
        sweep(**SMALL, output=output, progress=stop_after(8))
    for change in ({"dtype": "fp16"}, {"overrides": {"l2.size": "8 MiB"}}, {"vary": {"sm.count": "20:60:2"}}, {"model": "resnet18"}, {"num_classes": 10}):
        with pytest.raises(OptionError, match=r"out.csv.part: belongs to another study"):
            sweep(**{**SMALL, **change}, output=output, resume=True)
    sweep(**SMALL, output=output, resume=True)
    with pytest.raises(OptionError, match=r"out.csv: is the result of another study"):
        sweep(**{**SMALL, "dtype": "fp16"}, output=output, resume=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vary": {"dtype": "fp16,fp61"}}, OptionError, r"unknown dtype 'fp61', .*did you mean 'fp"),
        ({"vary": {"runtime": "eager,tensort"}}, OptionError, "did you mean 'tensorrt'"),
        ({"vary": {"host": "none,me"}}, OptionError, "unknown host 'me'"),
        ({"gpu": None, "vary": {"gpu": "t4,a1000"}}, ArchError, "a1000"),
        ({"model": None, "vary": {"model": "alexnet,resnet51"}}, ModelError, "resnet51"),
        ({"model": None}, OptionError, "model: missing, expected one, or several that vary"),
        ({"vary": {"gpu": "t4,a100"}}, OptionError, "gpu: is given and varies; give it once"),
        ({"vary": {"sm.count": "0,1"}}, ArchError, "sm.count: expected at least 1, got 0"),
        ({"vary": {"sm.count": "8,16"}, "overrides": {"sm.count": 4}}, OptionError, "sm.count: is set and varies"),
        ({"vary": {"dram.bandwidth": "1,2 TB/s", "dram.clock": "1,2 GHz"}}, ArchError, "follows from dram.clock"),
        ({"vary": {"nvlink.lanes": "1,2"}}, ArchError, "nvlink"),
        ({"vary": {"shared.size": "1,2 KiB"}}, ArchError, "does not fit into shared.size"),
        ({"jobs": 0}, OptionError, "jobs: expected 1 process or more, got 0"),
        ({"sample": 0}, OptionError, "sample: expected 1 design or more, got 0"),
        ({"backend": "spark://here"}, OptionError, "backend 'spark://here': expected dask://host:port"),
        ({"max_designs": 10}, OptionError, "22 designs are more than 10; confirm with --yes"),
        ({"output": "nowhere/out.csv"}, OptionError, "the folder '.*nowhere' does not exist"),
        ({"output": "out.xls"}, OptionError, "'.xls' says no format of a table"),
    ],
)
def test_mistakes_are_found_before_anything_is_computed(change: dict[str, Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simgpu.studies.sweep.outcomes", None)
    with pytest.raises(error, match=message):
        sweep(**{**SMALL, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_leaves_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from simgpu.studies import sweep as sweeping

    class Broken:
        def __call__(self, tasks: Any) -> Any:
            task = next(iter(tasks))
            yield task[0](*task[1])
            raise RuntimeError("gone\nfor good")

    usual = sweeping.joblib_pool
    monkeypatch.setattr(sweeping, "joblib_pool", lambda *_: Broken())
    output = tmp_path / "out.csv"
    with pytest.raises(OptionError, match=r"the workers failed: RuntimeError: gone; what is finished lies in .*out.csv.part, go on with --resume"):
        sweep(**SMALL, output=output, jobs=2)
    monkeypatch.setattr(sweeping, "joblib_pool", usual)
    seen: list[int] = []
    sweep(**SMALL, output=output, resume=True, progress=lambda done, total: seen.append(done))
    assert seen[0] == 4


def test_another_version_on_a_worker():
    from simgpu.studies.sweep import _lines

    with pytest.raises(OptionError, match=r"a worker has simgpu .*, here it is 0.0.0; install the same version everywhere"):
        _lines(0, b"", None, {}, {}, "0.0.0")  # type: ignore[arg-type]


def test_a_cluster_that_is_not_there(tmp_path: Path):
    pytest.importorskip("distributed")
    with pytest.raises(OptionError, match=r"dask://127.0.0.1:1: no scheduler answers there"):
        sweep(**SMALL, backend="dask://127.0.0.1:1", output=tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_without_its_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(OptionError, match=r"dask://h:1: needs a library that is not installed; pip install 'simgpu\[cluster\]'"):
        sweep(**SMALL, backend="dask://h:1")


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_writes_the_same_file(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    sweep(**SMALL, output=tmp_path / "one.csv")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        sweep(**SMALL, output=tmp_path / "dask.csv", backend=f"dask://{address}")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "dask.csv").read_bytes()
