"""What validating yields: predicted rows, skipped rows, problems; and which rows are wanted."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from simgpu.arch.loader import load_gpu
from simgpu.arch.names import find_gpu
from simgpu.arch.spec import GPU
from simgpu.errors import ArchError, DataError
from simgpu.validation.method import hosts
from simgpu.validation.score import Floats, Group, Results, Score, Skipped, errors, scores

# Predictions further off than this in the median mean that the times are in another unit.
UNIT_DOUBT = 60.0
_GPU_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows to look at; "" = all."""

    family: str = ""
    gpu: str = ""
    source: str = ""

    def takes(self, group: Group) -> bool:
        return (
            self.family in ("", group.family)
            and (not self.gpu or self.gpu == group.gpu or gpu_id(self.gpu) == gpu_id(group.gpu))
            and (not self.source or self.source.lower() in group.source.lower())
        )


@cache
def gpu_id(name: str) -> str:
    """What a GPU is called in archs/, by any of its names; the name itself if nobody knows it."""
    try:
        return find_gpu(name).stem
    except ArchError:
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What came out.

    Attributes:
        problems: One message for each file, or part of it, that could not be used.
        notes: What was taken for granted.
    """

    results: tuple[Results, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Validation) -> Validation:
        return Validation(
            results=self.results + other.results,
            skipped=self.skipped + other.skipped,
            problems=self.problems + other.problems,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
        )

    @property
    def rows(self) -> int:
        return sum(len(r) for r in self.results)

    def scores(self, by: Sequence[str] = Group._fields) -> list[Score]:
        return scores(self.results, self.skipped, by=by, printed=printed_errors())

    def worst(self, count: int) -> list[tuple[Results, int]]:
        """The rows furthest off, by the ratio of predicted and measured time, worst first."""
        if not self.results or count < 1:
            return []
        ratio = np.concatenate([np.abs(np.log(r.predicted_s / r.measured_s)) for r in self.results])
        where = [(r, i) for r in self.results for i in range(len(r))]
        return [where[i] for i in np.argsort(-ratio, kind="stable")[:count]]


@cache
def printed_errors() -> Mapping[tuple[str, str], Mapping[str, float]]:
    """(source, family) → predictor → the MAPE its authors print. [%]"""
    data = json.loads(resources.files("simgpu.validation").joinpath("published.json").read_text(encoding="utf-8"))
    result: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for line in data["mape_pct"]:
        result[line["source"], line["family"]][line["predictor"]] = line["mape_pct"]
    return result


class Described:
    """The GPUs of a table, each looked up once.

    Attributes:
        problems: One message for each GPU that nobody knows.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self.problems: list[str] = []
        self._known: dict[str, GPU | str] = {}

    def find(self, gpu: str, row: int) -> GPU | str:
        """The GPU of a row, or the reason why its rows are skipped."""
        if gpu not in self._known:
            self._known[gpu] = self._look_up(gpu, row)
        return self._known[gpu]

    def _look_up(self, gpu: str, row: int) -> GPU | str:
        try:
            if not _GPU_NAME.fullmatch(gpu):  # tables name GPUs; they do not open files
                raise ArchError(f"'{gpu[:40]}' is no name of a GPU")
            return load_gpu(gpu)
        except ArchError as error:
            reason: str | None = hosts()["undescribed_gpus"].get(gpu)
            if reason is not None:
                return reason
            self.problems.append(f"{self.table}: row {row}, column 'gpu': {error}")
            return f"unknown GPU '{gpu[:40]}'"


def check_unit(path: Path, row: int, column: str, predicted_s: Floats, measured_s: Floats) -> None:
    """Complains about times that can hardly be in the unit the column promises.

    Raises:
        DataError: The median prediction is off by more than `UNIT_DOUBT`.
    """
    ratio = float(np.median(measured_s / predicted_s))
    if not 1 / UNIT_DOUBT < ratio < UNIT_DOUBT:
        wrong = f"{ratio:.3g} times as long as" if ratio > 1 else f"{1 / ratio:.3g} times shorter than"
        raise DataError(
            f"{path}: row {row}, column '{column}': from here on, times are {wrong} the prediction in the median; expected milliseconds, check the unit"
        )


def by_family(validation: Validation) -> dict[str, tuple[dict[str, tuple[Floats, Floats]], str]]:
    """For each family, GPU → (measured, predicted) times [s], and a line that says how far off they are."""
    gathered: dict[str, dict[str, tuple[list[float], list[float]]]] = defaultdict(lambda: defaultdict(lambda: ([], [])))
    for result in validation.results:
        for i, group in enumerate(result.groups):
            measured, predicted = gathered[group.family][group.gpu]
            measured.append(float(result.measured_s[i]))
            predicted.append(float(result.predicted_s[i]))
    pictures = {}
    for family, gpus in sorted(gathered.items()):
        points = {gpu: (np.array(measured), np.array(predicted)) for gpu, (measured, predicted) in sorted(gpus.items())}
        found = errors(np.concatenate([p for _, p in points.values()]), np.concatenate([m for m, _ in points.values()]))
        rows = sum(len(m) for m, _ in points.values())
        pictures[family] = points, f"{rows} rows · mean error {found.mape_pct:.1f} %, median {found.median_ape_pct:.1f} % · band ±20 %"
    return pictures
