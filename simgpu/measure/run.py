"""Measures case after case into a CSV that grows a row at a time, within a time budget; started again, it goes on."""

from __future__ import annotations

import csv
import datetime
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from simgpu.measure.cases import COLUMNS, Case
from simgpu.measure.timing import Clock, Timing, measure

RESULTS = ("time_ms", "fastest_ms", "repeats", "sm_clock_mhz", "power_w", "note")
DEVICE = ("source", "gpu", "device", "driver", "torch", "cuda", "power_limit_w", "date")
HEADER = (*DEVICE, *COLUMNS, *RESULTS)


class MeasureError(Exception):
    """A mistake of the user: one message, status 1."""


def done_cases(path: Path) -> set[Case]:
    """The cases that a file holds already.

    Raises:
        MeasureError: The file is something else.
    """
    text = _whole_rows(path)
    if not text:
        return set()
    try:
        reader = csv.DictReader(text.decode("utf-8").splitlines())
        if tuple(reader.fieldnames or ()) != HEADER:
            raise ValueError("another header")
        kinds = {name: type(value) for name, value in Case("", "").__dict__.items()}
        return {Case(**{name: kinds[name](row[name]) for name in COLUMNS}) for row in reader if row["time_ms"] or row["note"]}
    except (ValueError, TypeError, csv.Error):
        raise MeasureError(f"{path}: exists and is no file of simgpu measure; name another with --out") from None


def _whole_rows(path: Path) -> bytes:
    """What a file holds up to its last line break: a row that was being written when the machine went down is not counted."""
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1] or text


def run(
    cases: Iterable[Case],
    path: Path,
    *,
    budget_s: float,
    device: Mapping[str, Any],
    prepare: Callable[[Case], Callable[[], Any]],
    clock: Clock,
    state: Callable[[], Mapping[str, Any]] = dict,
    progress: Callable[[str], None] = lambda _: None,
    now_s: Callable[[], float] = time.monotonic,
) -> int:
    """Measures until the cases or the budget are through; the number of rows written.

    A case that does not run here leaves a row with a note and no time, so that it is not tried again.
    """
    finished = done_cases(path)
    whole = _whole_rows(path)
    if path.exists() and path.stat().st_size > len(whole):
        path.write_bytes(whole)
    end_s, written = now_s() + budget_s, 0
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        if not whole:
            writer.writeheader()
        for case in cases:
            if case in finished:
                continue
            if now_s() >= end_s:
                break
            progress(f"{case.family} {case.op} {case.dtype}")
            row: dict[str, Any] = {**device, **case.__dict__, **dict.fromkeys(RESULTS, "")}
            try:
                timing = measure(prepare(case), clock, graph=case.runtime == "graph", cold=case.l2 == "cold")
                row |= _columns(timing) | dict(state())
            except Exception as error:  # a case may fail in as many ways as libraries have; the row keeps the reason
                row["note"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            writer.writerow(row)
            file.flush()
            os.fsync(file.fileno())
            written += 1
    return written


def _columns(timing: Timing) -> dict[str, Any]:
    return {"time_ms": f"{timing.median_s * 1e3:.6g}", "fastest_ms": f"{timing.fastest_s * 1e3:.6g}", "repeats": timing.repeats}


def _smi(fields: str) -> list[str]:
    """What nvidia-smi says of the first GPU, empty texts where it says nothing."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return [""] * (fields.count(",") + 1)
    return [text.strip() for text in answer.strip().split(",")]


def gpu_state() -> dict[str, Any]:
    """Clock and power right now."""
    clock, power = _smi("clocks.sm,power.draw")
    return {"sm_clock_mhz": clock, "power_w": power}


def describe_device(gpu: str | None) -> dict[str, Any]:
    """The columns that say what was measured on.

    Raises:
        MeasureError: There is no NVIDIA GPU, or no PyTorch.
    """
    try:
        import torch
    except ImportError:
        raise MeasureError("measuring needs PyTorch: pip install torch") from None
    if not torch.cuda.is_available():
        raise MeasureError("measuring needs an NVIDIA GPU that PyTorch can use, and finds none; simulating does not: see `simgpu run`")
    name = torch.cuda.get_device_name(0)
    driver, limit = _smi("driver_version,power.limit")
    return {
        "source": "simgpu measure",
        "gpu": gpu or name,
        "device": name,
        "driver": driver,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "power_limit_w": limit,
        "date": datetime.date.today().isoformat(),
    }
