"""Refits the factors of `calibration.json` on measured kernels: what `simgpu calibrate` does.

A coordinate search: each factor in turn is scaled up or down while that lowers the error, in rounds of shrinking steps.
It needs no gradient, is deterministic (same data → same file) and never leaves a factor's bounds. The loss is the mean
over groups of rows (source, GPU, family, number format, pass) of their absolute errors, as `simgpu validate` reports them, so
that a table with many rows counts no more than one with twenty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.calibration import COMMON, Calibration, generation
from simgpu.cost.model import CostModel
from simgpu.errors import DataError
from simgpu.kernels.kernel import KernelGraph
from simgpu.validation.formats import find_format, recognise
from simgpu.validation.kernels import Case, as_measured, case_graph, collect, on_units_of
from simgpu.validation.method import GRAPH_REPLAY, METHODS, known_floor_s
from simgpu.validation.table import read_table

Floats = NDArray[np.float64]

STEPS = (1.3, 1.12, 1.04)  # a factor moves by these, one round each; further rounds repeat the last
MOST_MOVES = 6  # of one factor in one round
LEAST_GAIN = 2e-5  # of the loss, for a move to count
WORST = 0.8  # an error counts at most so much, so that a few rows nobody can explain do not steer
PULL = 0.01  # of the loss, that a factor pays for each e-fold it leaves where it started: what does not clearly help stays
DIGITS = 4  # significant digits of a fitted factor
ROWS_PER_GROUP = 120
WHOLE_GROUP = 20  # rows from which on a group counts as much as any other


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Cases of one file, GPU and measuring method, ready to be priced again and again."""

    gpu: GPU
    generation: str
    families: frozenset[str]
    cases: tuple[Case, ...]
    graph: KernelGraph
    offsets: NDArray[np.int64]
    floors_s: Floats
    measured_s: Floats
    load_s: Floats
    group: NDArray[np.int64]
    library_year: float
    graph_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A number that is fitted: `key` names an entry of a factor that depends on the process node."""

    place: str  # "common" or a generation
    name: str
    key: str = ""
    families: frozenset[str]
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name}[{self.key} nm]" if self.key else self.name

    def value(self, calibration: Calibration) -> float:
        value = next(calibration.values[group][self.name] for group in calibration.chain(self.place) if self.name in calibration.values.get(group, {}))
        return float(value[self.key] if self.key else value)

    def replaced(self, calibration: Calibration, value: float) -> Calibration:
        new = {**calibration.values[self.place][self.name], self.key: value} if self.key else value
        return calibration.with_values({self.place: {self.name: new}})


class Bench:
    """Measured kernels as jobs, and the error of a calibration on them."""

    def __init__(self, paths: Iterable[Path], *, rows_per_group: int = ROWS_PER_GROUP) -> None:
        self.groups: list[tuple[str, str, str, str, str]] = []  # source, GPU, family, number format, mode
        self.jobs: list[Job] = []
        for path in paths:
            table = read_table(path)
            if find_format(table) is None:
                continue  # whole models are not fitted on
            self._add(collect(table, recognise(table).read).cases, rows_per_group)
        if not self.jobs:
            raise DataError("no measured kernels to fit on; give tables with the columns of those that come with simgpu")

    def _add(self, cases: Sequence[Case], rows_per_group: int) -> None:
        alike: dict[tuple[str, float, bool], dict[tuple[str, str, str, str, str], list[Case]]] = {}
        for case in cases:
            if case.trust == "care":
                continue
            kind = (case.source, case.gpu, _fitted_as(case), case.dtype, case.mode)
            alike.setdefault((case.gpu, case.library_year, case.method == GRAPH_REPLAY), {}).setdefault(kind, []).append(case)
        for (name, year, replay), kinds in sorted(alike.items()):
            gpu = load_gpu(name)
            chosen: list[Case] = []
            group: list[int] = []
            for kind, own in sorted(kinds.items()):
                thinned = [own[i] for i in np.unique(np.linspace(0, len(own) - 1, min(len(own), rows_per_group)).round().astype(int))]
                chosen += thinned
                group += [len(self.groups)] * len(thinned)
                self.groups.append(kind)
            graph, offsets = case_graph(on_units_of(gpu, chosen), float(gpu.l2.size_bytes))
            self.jobs.append(
                Job(
                    gpu=gpu,
                    generation=generation(gpu),
                    families=frozenset(_fitted_as(case) for case in chosen),
                    cases=tuple(chosen),
                    graph=graph,
                    offsets=offsets,
                    floors_s=np.array([known_floor_s(case.source, case.gpu, case.op_class) or 0.0 for case in chosen]),
                    measured_s=np.array([case.measured_s for case in chosen]),
                    load_s=np.repeat([METHODS[case.method].repetitions * case.measured_s for case in chosen], np.diff(offsets)),
                    group=np.array(group),
                    library_year=year,
                    graph_replay=replay,
                )
            )

    def without(self, gpu: str) -> Bench:
        """The same measurements but those of one GPU."""
        return self._of(job for job in self.jobs if job.gpu.id != gpu)

    def only(self, gpu: str) -> Bench:
        """The measurements of one GPU."""
        return self._of(job for job in self.jobs if job.gpu.id == gpu)

    def _of(self, jobs: Iterable[Job]) -> Bench:
        bench = object.__new__(Bench)
        bench.groups, bench.jobs = self.groups, list(jobs)
        return bench

    @property
    def gpus(self) -> list[str]:
        return sorted({job.gpu.id for job in self.jobs})

    def ratios(self, calibration: Calibration, families: frozenset[str] = frozenset(), generations: frozenset[str] = frozenset()) -> dict[int, Floats]:
        """For each group of rows predicted / measured; only those of the families and generations, if any are named."""
        model = CostModel(calibration)
        found: dict[int, Floats] = {}
        for job in self.jobs:
            if (generations and job.generation not in generations) or (families and not job.families & families):
                continue
            times = model.price(job.graph, job.gpu, load_s=job.load_s, graph_replay=job.graph_replay, library_year=job.library_year)
            predicted = as_measured(job.cases, np.add.reduceat(times.duration_s, job.offsets[:-1]), job.floors_s)
            for group in np.unique(job.group):
                if not families or self.groups[group][2] in families:
                    found[int(group)] = (predicted / job.measured_s)[job.group == group]
        return found

    def loss(self, calibration: Calibration, families: frozenset[str], generations: frozenset[str] = frozenset()) -> float:
        """Mean absolute error over groups of rows, as a share of the measured time; nan if no row has these families and generations."""
        ratios = self.ratios(calibration, families, generations).values()
        errors = [np.minimum(np.abs(r - 1.0), WORST).mean() for r in ratios]
        return float(np.average(errors, weights=[min(len(r), WHOLE_GROUP) for r in ratios])) if errors else float("nan")

    def mape_by_family(self, calibration: Calibration, families: frozenset[str] = frozenset()) -> dict[str, float]:
        """Mean absolute error of each family, over its rows. [%]"""
        collected: dict[str, list[Floats]] = {}
        for group, ratio in self.ratios(calibration, families).items():
            collected.setdefault(self.groups[group][2], []).append(np.abs(ratio - 1.0))
        return {family: 100.0 * float(np.mean(np.concatenate(errors))) for family, errors in sorted(collected.items())}


def _fitted_as(case: Case) -> str:
    """The family whose factors a case may steer: tensor cores have theirs, and single cold shots of quantised products steer no others."""
    if case.op_class == "weight_only":
        return "gemm weight-only"
    if case.dtype == "int8":
        return f"{case.family} int8"
    on_tensor = case.family in ("gemm", "conv") and any(launch.kernel.pipe == "tensor" for launch in case.launches)
    return f"{case.family} tensor" if on_tensor else case.family


def fitted_factors(calibration: Calibration, places: Iterable[str] | None = None, *, shared: bool = False) -> list[Factor]:
    """Every factor that the file says is fitted, in the file's order; generations first, then what they share.

    Args:
        shared: Also those for which a generation has no value of its own yet, numbers by process node excepted.
    """
    wanted = list(places) if places is not None else [*(p for p in calibration.values if p != COMMON), COMMON]
    result: list[Factor] = []
    for place in wanted:
        values = dict(calibration.values.get(place, {}))
        if shared:
            values = {name: value for name, value in calibration.values[COMMON].items() if not isinstance(value, Mapping)} | values
        for name, value in values.items():
            about = calibration.parameters[name]
            if "families" not in about:
                continue
            low, high = about.get("bounds", (0.0, float("inf")))
            keys = tuple(value) if isinstance(value, Mapping) else ("",)
            result += [Factor(place=place, name=name, key=key, families=frozenset(about["families"]), low=low, high=high) for key in keys]
    return result


def heirs(calibration: Calibration, place: str) -> frozenset[str]:
    """The generations whose predictions a value at that place may change; empty = all."""
    if place == COMMON:
        return frozenset()
    return frozenset(name for name in (*calibration.values, *calibration.inherits, place) if name != COMMON and place in calibration.chain(name))


def fit(
    bench: Bench,
    calibration: Calibration,
    *,
    places: Iterable[str] | None = None,
    shared: bool = False,
    rounds: int = 3,
    pull: float = PULL,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """A calibration with lower error on the bench's measurements.

    Args:
        places: Only factors of these generations (or "common"); all if None.
        shared: Generations may get values of their own for factors that they share with others so far.
        rounds: Sweeps over all factors.
        pull: What a factor pays for each e-fold that it moves away from where it started. [loss]
    """
    origin = calibration
    for number in range(rounds):
        step = STEPS[min(number, len(STEPS) - 1)]
        for factor in fitted_factors(calibration, places, shared=shared):
            generations = heirs(calibration, factor.place)
            best = bench.loss(calibration, factor.families, generations) + pull * _distance(factor, calibration, origin)
            if not np.isfinite(best):
                continue  # no measurement says anything about it
            progress(f"round {number + 1}: {factor.place} {factor}")
            for direction in (step, 1.0 / step):
                moves = 0
                while moves < MOST_MOVES:
                    value = factor.value(calibration) * direction
                    if not factor.low <= value <= factor.high:
                        break
                    tried = factor.replaced(calibration, _rounded(value))
                    loss = bench.loss(tried, factor.families, generations) + pull * _distance(factor, tried, origin)
                    if not loss < best - LEAST_GAIN:
                        break
                    best, calibration, moves = loss, tried, moves + 1
                if moves:
                    break
    return calibration


def _distance(factor: Factor, calibration: Calibration, origin: Calibration) -> float:
    """How many e-folds a factor is away from its origin."""
    now, before = factor.value(calibration), factor.value(origin)
    return abs(math.log(now / before)) if now > 0.0 and before > 0.0 else 0.0


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How well a GPU is predicted by factors that never saw it. mape_pct: family → error; from_place: whose factors it took."""

    gpu: str
    from_place: str
    mape_pct: Mapping[str, float]


def leave_one_out(bench: Bench, calibration: Calibration, *, rounds: int = 2, progress: Callable[[str], None] = lambda _: None) -> list[LeftOut]:
    """Each GPU predicted without its own rows.

    Its generation's factors are fitted anew on the generation's other GPUs, starting from those of the nearest relative and
    held back to them; a GPU that is alone in its generation takes the nearest relative's as they are. Factors that all generations share
    stay as they are (they saw all GPUs).
    """
    result = []
    for gpu in bench.gpus:
        progress(f"without {gpu}")
        place = generation(load_gpu(gpu))
        others = [job for job in bench.jobs if job.generation == place and job.gpu.id != gpu]
        blind = calibration.on_loan(place)
        source = calibration.nearest.get(place, place)
        if others:
            blind = fit(bench.without(gpu), blind, places=[place], rounds=rounds)
            source = f"{place}, other GPUs"
        result.append(LeftOut(gpu=gpu, from_place=source, mape_pct=bench.only(gpu).mape_by_family(blind)))
    return result


def calibration_text(calibration: Calibration) -> str:
    """The calibration as the file's JSON text."""
    data: dict[str, Any] = {
        "parameters": calibration.parameters,
        "values": calibration.values,
        "inherits": calibration.inherits,
        "nearest": calibration.nearest,
        "fit": calibration.fit,
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def with_record(calibration: Calibration, bench: Bench, before: Mapping[str, float], after: Mapping[str, float], left_out: Sequence[LeftOut]) -> Calibration:
    """The calibration with a note of what it was fitted on and how well."""
    record: dict[str, Any] = {
        "rows": sum(len(job.cases) for job in bench.jobs),
        "gpus": bench.gpus,
        "mape_pct_before": {k: round(v, 2) for k, v in before.items()},
        "mape_pct_after": {k: round(v, 2) for k, v in after.items()},
    }
    if left_out:
        record["leave_one_out"] = [{"gpu": o.gpu, "factors_of": o.from_place, "mape_pct": {k: round(v, 2) for k, v in o.mape_pct.items()}} for o in left_out]
    return replace(calibration, fit=record)
