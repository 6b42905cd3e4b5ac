"""Measured single kernels: tables → cases → one kernel graph → predicted times.

Every repetition of a microbenchmark touches the same buffers, so what is still in L2 follows from the footprint of
one repetition. Each case says for each operand how many bytes were touched since it was last touched (its reuse
distance); no case knows of another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simgpu.cost.machine import LIBRARY_YEAR
from simgpu.kernels.kernel import Access, Kernel, KernelGraph, Work
from simgpu.precision import Math, unit_for
from simgpu.validation.method import GRAPH_REPLAY, METHODS, known_floor_s
from simgpu.validation.score import Floats, Group, Skipped
from simgpu.validation.table import Row, Table

if TYPE_CHECKING:
    from simgpu.arch.spec import GPU
    from simgpu.cost.times import KernelTimes

MAX_WEIGHT_COPIES = 5  # aiconfigurator's collector cycles clip(ceil(L2 / weight bytes), 1, 5) copies


class Pricer(Protocol):
    """What `simgpu.cost.model.CostModel` does."""

    def price(self, kernels: KernelGraph, gpu: GPU, *, load_s: Any = ..., graph_replay: bool = ..., library_year: float = ...) -> KernelTimes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel of a case.

    Attributes:
        distances: For each operand read: bytes touched since it was last touched, itself included; inf = cold. [B]
        cycled: Index of the operand that alternates between several copies, -1 if none does.
    """

    kernel: Kernel
    distances: tuple[float, ...]
    cycled: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measured row.

    Attributes:
        row: Line in the file.
        mode: Pass or phase: fwd, bwd_data, bwd_weight, prefill, decode …; with the data's own split behind a slash.
        op_class: Class of operation that decides the host's floor.
        measured_s: [s]
        launches: What the measured call launches, one after the other.
        method: Name of the method in `simgpu.validation.method.METHODS`.
        trust: "" or "care": see `simgpu.validation.score.Group`.
        library_year: When the cuBLAS and cuDNN that ran were built.
    """

    row: int
    source: str
    family: str
    gpu: str
    dtype: str
    mode: str
    op_class: str
    measured_s: float
    method: str
    launches: tuple[Launch, ...]
    trust: str = ""
    library_year: float = LIBRARY_YEAR

    @property
    def group(self) -> Group:
        """The line of the error table that it belongs to."""
        return Group(self.source, self.family, self.gpu, self.dtype, self.mode, self.trust)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(launch.kernel for launch in self.launches)


@dataclass(frozen=True, slots=True)
class Cases:
    """The rows of one file: those that can be predicted, and the others with the reason."""

    path: Path
    cases: tuple[Case, ...]
    skips: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def by_gpu(self) -> Mapping[str, Cases]:
        """GPU → its rows."""
        result: dict[str, list[Case]] = defaultdict(list)
        for case in self.cases:
            result[case.gpu].append(case)
        return {gpu: Cases(self.path, tuple(cases)) for gpu, cases in result.items()}


def launch(
    work: Work,
    *,
    reads: Sequence[float],
    writes: Sequence[float],
    dtype: str = "fp32",
    pipe: str = "vector",
    label: str = "",
    flop: float | None = None,
    footprint: float | None = None,
    distances: Sequence[float] | None = None,
    cycled: int = -1,
) -> Launch:
    """A kernel that reads and writes arrays of so many bytes, each its own tensor.

    Args:
        footprint: Bytes touched between two uses of the same operand, for all operands alike; this kernel's own bytes if None.
        distances: The same, operand by operand. [B]
    """
    flop = float(getattr(work, "flop", 0.0)) if flop is None else flop
    kernel = Kernel(
        name=label or work.family,
        work=work,
        dtype=dtype,
        pipe=pipe,
        label=label or work.family,
        reads=tuple(Access(tensor=f"in{i}", bytes=size) for i, size in enumerate(reads)),
        writes=tuple(Access(tensor=f"out{i}", bytes=size) for i, size in enumerate(writes)),
        flop=flop,
    )
    if distances is None:
        distances = [sum(reads) + sum(writes) if footprint is None else footprint] * len(reads)
    return Launch(kernel=kernel, distances=tuple(distances), cycled=cycled)


def collect(table: Table, read: Callable[[Row], Case | Skipped]) -> Cases:
    """Reads every row of a table."""
    cases: list[Case] = []
    skips: list[Skipped] = []
    for row in table.rows():
        found = read(row)
        if isinstance(found, Case):
            cases.append(found)
        else:
            skips.append(found)
    return Cases(table.path, tuple(cases), tuple(skips))


def case_graph(cases: Iterable[Case], l2_bytes: float) -> tuple[KernelGraph, NDArray[np.int64]]:
    """All kernels of all cases as one graph, so that pricing is one call.

    Args:
        l2_bytes: Size of the measuring GPU's L2, which decides how many copies of the weights its collector cycled. [B]

    Returns:
        The graph; `offsets` (cases + 1,): case i has the kernels offsets[i] … offsets[i + 1] − 1.
    """
    kernels: list[Kernel] = []
    distances: list[tuple[float, ...]] = []
    offsets = [0]
    for case in cases:
        for one in case.launches:
            kernels.append(one.kernel)
            distance = one.distances
            if one.cycled >= 0:
                weight_bytes = one.kernel.reads[one.cycled].bytes
                copies = min(max(math.ceil(l2_bytes / weight_bytes), 1), MAX_WEIGHT_COPIES)
                distance = tuple(d + (copies - 1) * weight_bytes * (i == one.cycled) for i, d in enumerate(distance))
            distances.append(distance)
        offsets.append(len(kernels))
    return KernelGraph(kernels, [()] * len(kernels), distances=distances), np.array(offsets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """Cases that were measured under the same conditions, and what the cost model says of their kernels.

    Attributes:
        where: Their positions among the cases asked for. (cases,)
        offsets: Case i has the kernels offsets[i] … offsets[i + 1] − 1. (cases + 1,)
        kernels_s: Each case's kernels alone, one after the other. [s] (cases,)
    """

    cases: tuple[Case, ...]
    where: NDArray[np.int64]
    times: KernelTimes
    offsets: NDArray[np.int64]
    kernels_s: Floats


def on_units_of(gpu: GPU, cases: Sequence[Case]) -> list[Case]:
    """The cases as this GPU ran them: a format for which it has no tensor cores on the units that software takes instead."""
    found: dict[str, Math] = {}

    def suited(kernel: Kernel) -> Kernel:
        if kernel.pipe != "tensor":
            return kernel
        if kernel.dtype not in found:
            found[kernel.dtype] = unit_for(kernel.dtype, gpu)
        dtype, pipe = found[kernel.dtype]
        return kernel if pipe == "tensor" and dtype == kernel.dtype else replace(kernel, dtype=dtype, pipe=pipe)

    result = []
    for case in cases:
        kernels = [suited(one.kernel) for one in case.launches]
        if any(kernel is not one.kernel for kernel, one in zip(kernels, case.launches, strict=True)):
            case = replace(case, launches=tuple(replace(one, kernel=kernel) for kernel, one in zip(kernels, case.launches, strict=True)))
        result.append(case)
    return result


def price_cases(cases: Sequence[Case], gpu: GPU, cost_model: Pricer) -> list[Priced]:
    """Prices the kernels of cases on the GPU that measured them: one call for each generation of libraries and way to launch."""
    cases = on_units_of(gpu, cases)
    alike: dict[tuple[float, bool], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        alike[case.library_year, case.method == GRAPH_REPLAY].append(i)
    result = []
    for (year, replay), where in alike.items():
        own = [cases[i] for i in where]
        graph, offsets = case_graph(own, float(gpu.l2.size_bytes))
        # How far the clock has settled under the power limit follows from how long the measurement ran.
        load_s = np.repeat([METHODS[case.method].repetitions * case.measured_s for case in own], np.diff(offsets))
        times = cost_model.price(graph, gpu, load_s=load_s, graph_replay=replay, library_year=year)
        kernels_s = np.add.reduceat(times.duration_s, offsets[:-1])
        result.append(Priced(cases=tuple(own), where=np.array(where), times=times, offsets=offsets, kernels_s=kernels_s))
    return result


def predict(cases: Sequence[Case], gpu: GPU, cost_model: Pricer) -> Floats:
    """What the measurements would have shown, with the floors of known hosts. [s] (cases,)"""
    result = np.zeros(len(cases))
    for priced in price_cases(cases, gpu, cost_model):
        floors_s = np.array([known_floor_s(case.source, case.gpu, case.op_class) or 0.0 for case in priced.cases])
        result[priced.where] = as_measured(priced.cases, priced.kernels_s, floors_s)
    return result


def as_measured(cases: Sequence[Case], kernels_s: Floats, floors_s: Floats) -> Floats:
    """Kernel times → what the measuring method shows: its host's floor comes on top. [s] (cases,) each"""
    shares = np.array([METHODS[case.method].share(case.op_class) for case in cases])
    return np.maximum(floors_s, shares * floors_s + kernels_s)
