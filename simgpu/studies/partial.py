"""The unfinished result of a study: a file that only grows, chunk by chunk, so that nothing done is done twice.

A header line says which study it is; then each chunk is a line `chunk ID BYTES CRC` and its rows. A chunk counts once all
of it is on the disk; what a killed process left behind it is cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from simgpu.errors import OptionError

SUFFIX = ".part"
_KIND = "unfinished simgpu study"


def part_path(output: str | Path) -> Path:
    """Where the unfinished result of an output file lies.

    >>> part_path("out.csv").name
    'out.csv.part'
    """
    return Path(f"{output}{SUFFIX}")


class PartFile:
    """An open file of chunks; use it as a context manager.

    Args:
        path: Where it lies; created if it does not exist.
        study: What tells this study from others.
    Raises:
        OptionError: Another study's, in use by another process, or it cannot be written.
    """

    def __init__(self, path: str | Path, study: str) -> None:
        self.path = Path(path)
        self.chunks: dict[int, tuple[str, ...]] = {}
        header = json.dumps({"kind": _KIND, "study": study}).encode() + b"\n"
        with contextlib.ExitStack() as stack:
            try:
                self._file: BinaryIO = stack.enter_context(self.path.open("a+b"))
                self._begin(header)
            except OSError as error:
                raise OptionError(f"{self.path}: cannot be written, {(error.strerror or str(error)).lower()}") from None
            self._open = stack.pop_all()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._open.close()

    def add(self, chunk: int, lines: Sequence[str]) -> None:
        """Puts a chunk on the disk.

        Raises:
            OptionError: The disk is full, or the file has gone.
        """
        assert chunk not in self.chunks, f"chunk {chunk} is there already"
        data = "".join(f"{line}\n" for line in lines).encode()
        try:
            self._append(b"chunk %d %d %08x\n" % (chunk, len(data), zlib.crc32(data)) + data)
        except OSError as error:
            raise OptionError(f"{self.path}: cannot be written, {(error.strerror or str(error)).lower()}; make room and go on with --resume") from None
        self.chunks[chunk] = tuple(lines)

    def remove(self) -> None:
        """Deletes the file: the study is finished."""
        self.path.unlink(missing_ok=True)

    def _begin(self, header: bytes) -> None:
        """Reads what is there and cuts off what is torn."""
        _lock(self._file, self.path)
        self._file.seek(0)
        good = self._read(header)
        self._file.truncate(good)
        if good == 0:
            self._append(header)

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, header: bytes) -> int:
        """Reads the chunks that are there; how many bytes of the file are good. [B]"""
        first = self._file.readline()
        if not first.endswith(b"\n") and header.startswith(first):
            return 0
        if first != header:
            raise OptionError(f"{self.path}: {_whose(first)}; start anew with --force, or choose another output")
        good = self._file.tell()
        while (chunk := _next_chunk(self._file)) is not None:
            number, lines = chunk
            self.chunks[number] = lines
            good = self._file.tell()
        return good


def _next_chunk(file: BinaryIO) -> tuple[int, tuple[str, ...]] | None:
    words = file.readline().split()
    if len(words) != 4 or words[0] != b"chunk":
        return None
    try:
        number, size, crc = int(words[1]), int(words[2]), int(words[3], 16)
    except ValueError:
        return None
    data = file.read(size)
    if len(data) != size or zlib.crc32(data) != crc:
        return None
    return number, tuple(data.decode().split("\n")[:-1])


def _whose(header: bytes) -> str:
    with contextlib.suppress(ValueError):
        known = json.loads(header)
        if isinstance(known, Mapping) and known.get("kind") == _KIND:
            return "belongs to another study (other fields, models, options or another version of simgpu)"
    return "is no unfinished study of simgpu"


def _lock(file: BinaryIO, path: Path) -> None:
    """One process at a time, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OptionError(f"{path}: another process is working on it; wait for it, or choose another output") from None
