"""The file of an unfinished study: it only grows, and what is torn off its end costs nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from simgpu.errors import OptionError
from simgpu.studies.partial import PartFile, part_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = part_path(tmp_path / "out.csv")
    with PartFile(path, "study") as part:
        part.add(0, ["a,1", "b,2"])
        part.add(2, ["ä,3"])
    return path


def test_chunks_come_back(path: Path):
    with PartFile(path, "study") as part:
        assert part.chunks == {0: ("a,1", "b,2"), 2: ("ä,3",)}
        part.add(1, [])
    with PartFile(path, "study") as part:
        assert part.chunks == {0: ("a,1", "b,2"), 2: ("ä,3",), 1: ()}


def test_cut_anywhere_only_the_torn_chunk_is_lost(path: Path):
    whole = path.read_bytes()
    second = whole.index(b"chunk 0")
    third = whole.index(b"chunk 2")
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with PartFile(path, "study") as part:
            known = set(part.chunks)
            assert known == (set() if size < third else {0})
            part.add(7, ["new"])
        assert path.read_bytes() == whole[: third if size >= third else second] + path.read_bytes()[third if size >= third else second :]
        with PartFile(path, "study") as part:
            assert set(part.chunks) == known | {7}


def test_a_changed_byte_is_noticed(path: Path):
    data = bytearray(path.read_bytes())
    data[data.index(b"b,2")] = ord("x")
    path.write_bytes(data)
    with PartFile(path, "study") as part:
        assert part.chunks == {}


def test_another_study(path: Path):
    with pytest.raises(OptionError, match=r"out.csv.part: belongs to another study .*; start anew with --force"):
        PartFile(path, "other")
    path.write_text("my notes\n")
    with pytest.raises(OptionError, match=r"out.csv.part: is no unfinished study of simgpu"):
        PartFile(path, "study")
    assert path.read_text() == "my notes\n"


def test_two_processes_at_once(path: Path):
    pytest.importorskip("fcntl")
    with PartFile(path, "study"), pytest.raises(OptionError, match=r"another process is working on it"):
        PartFile(path, "study")


def test_where_nothing_can_be_written(tmp_path: Path):
    with pytest.raises(OptionError, match=r"cannot be written, no such file or directory"):
        PartFile(tmp_path / "nowhere" / "out.csv.part", "study")
