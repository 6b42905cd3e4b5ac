"""Kernels × GPU → seconds: groups kernels by family and hands each family's columns to its formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from simgpu.arch.spec import GPU
from simgpu.cost.attention import price_attention
from simgpu.cost.calibration import Calibration, shipped_calibration
from simgpu.cost.communication import price_collective
from simgpu.cost.conv import price_conv
from simgpu.cost.gemm import price_gemm
from simgpu.cost.laws import overlap_at_clock
from simgpu.cost.machine import LIBRARY_YEAR, Machine, machine
from simgpu.cost.parts import Parts
from simgpu.cost.power import energy_parts_j, sustained_clock_hz, voltage_law
from simgpu.cost.recurrent import price_recurrent
from simgpu.cost.rows import price_rows
from simgpu.cost.stream import price_stream, price_transfer
from simgpu.cost.times import KernelTimes
from simgpu.kernels.kernel import Gemm, Kernel, KernelGraph, columns

Values = Any

FORMULAS: dict[str, Callable[[SimpleNamespace, Machine], Parts]] = {
    "gemm": price_gemm,
    "conv": price_conv,
    "stream": price_stream,
    "rows": price_rows,
    "attention": price_attention,
    "recurrent": price_recurrent,
    "collective": price_collective,
    "transfer": price_transfer,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Distinct problems that one formula call prices.

    Attributes:
        table: Columns (see `columns`), (P,).
        kernels: Indices into the kernel graph, (K,). problem: For each of them its problem, (K,).
    """

    family: str
    table: SimpleNamespace
    kernels: Any
    problem: Any


_GROUPS: WeakKeyDictionary[KernelGraph, tuple[Group, ...]] = WeakKeyDictionary()


def groups_of(graph: KernelGraph) -> tuple[Group, ...]:
    """The kernels grouped by what one formula call prices, equal problems once; kept as long as the graph is."""
    if graph not in _GROUPS:
        _GROUPS[graph] = tuple(_groups(graph))
    return _GROUPS[graph]


def _kind(kernel: Kernel) -> tuple[Any, ...]:
    """What must be alike for one formula call: family, pipe and direction; for a GEMM all that decides which kernels the library has."""
    work = kernel.work
    pipe = kernel.pipe == "tensor"
    if isinstance(work, Gemm):
        dtype = kernel.dtype if pipe else ""
        special = work.b_bytes < work.a_bytes, work.scale_block > 0, bool(work.tokens), work.bias and not pipe
        return kernel.family, pipe, dtype, work.layout, work.batch > 1, *special
    return kernel.family, pipe, getattr(work, "direction", "")


def _groups(graph: KernelGraph) -> list[Group]:
    distances = graph.distances
    members: dict[tuple[Any, ...], dict[tuple[Any, ...], list[int]]] = {}
    for i, kernel in enumerate(graph.kernels):
        problem = (kernel.work, kernel.dtype, kernel.pipe, kernel.repeat, kernel.flop, tuple(a.bytes for a in kernel.reads), distances[i], kernel.write_bytes)
        members.setdefault(_kind(kernel), {}).setdefault(problem, []).append(i)
    result = []
    for kind, problems in members.items():
        first = [indices[0] for indices in problems.values()]
        result.append(
            Group(
                family=kind[0],
                table=columns([graph.kernels[i] for i in first], [distances[i] for i in first]),
                kernels=np.concatenate([np.array(indices) for indices in problems.values()]),
                problem=np.concatenate([np.full(len(indices), p) for p, indices in enumerate(problems.values())]),
            )
        )
    return result


_ARRAYS = tuple(field.name for field in fields(KernelTimes) if field.name not in ("choice", "choices"))


def one_run(kernels: KernelGraph) -> NDArray[np.int64]:
    """The `runs` of kernels that all run one after the other."""
    return np.zeros(len(kernels), dtype=np.int64)


class CostModel:
    """Prices kernel graphs.

    Args:
        calibration: Factors; the shipped ones if None.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self.calibration = calibration or shipped_calibration()

    def price(
        self,
        kernels: KernelGraph,
        gpu: GPU,
        *,
        runs: NDArray[np.int64] | None = None,
        load_s: Values = np.inf,
        graph_replay: bool = False,
        library_year: float = LIBRARY_YEAR,
    ) -> KernelTimes:
        """Times of all kernels.

        Args:
            kernels: What to run.
            gpu: On what; its fields may be arrays (designs, 1), and if any is, the number of SMs is one too.
            runs: The run that each kernel belongs to, counted from 0: a run meets the power limit in its mean (but for long
                kernels among short ones, within 2 %). None = each kernel runs by itself, over and over. (N,)
            load_s: How long the GPU has been under this load, per kernel or for all; decides how far the clock has
                settled at what the power limit allows. [s]
            graph_replay: The gap between kernels is that of a replayed graph.
            library_year: When cuBLAS and cuDNN were built; a measurement of 2016 ran on the libraries of 2016.
        """
        m = machine(gpu, self.calibration, library_year)
        shape = (len(kernels),) if np.ndim(m.num_sms) == 0 else (np.shape(m.num_sms)[0], len(kernels))
        out = {name: np.zeros(shape) for name in _ARRAYS}
        choice = np.zeros(shape, dtype=np.int64)
        names: list[str] = [""]
        load = np.broadcast_to(np.asarray(load_s, dtype=float), (len(kernels),))
        gap_s = m.graph_gap_s if graph_replay else m.gap_s
        works = [_work(group, m, gap_s, runs) for group in groups_of(kernels)]
        runs_hz = None if runs is None else _runs_clock_hz(works, m, num_runs=int(runs.max(initial=0)) + 1)
        for work in works:
            first = np.zeros(len(work.run), dtype=np.int64)
            first[work.row] = work.kernels
            for name, values in _times(work, m, runs_hz, load[first]).items():
                out[name][..., work.kernels] = np.broadcast_to(values, (*shape[:-1], len(first)))[..., work.row]
            choice[..., work.kernels] = np.broadcast_to(work.parts.choice, (*shape[:-1], len(first)))[..., work.row] + len(names)
            names += work.parts.choices
        return KernelTimes(**out, choice=choice, choices=tuple(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one formula priced: a row for each problem of each run, (R,) or (designs, R).

    Attributes:
        table: Columns of the rows. latency_s: With the gap to the next kernel.
        body_s: What is not latency as a function of the clock ratio: execution and L2 run on the SM clock; DRAM and what waits for it do not.
        run: The run of each row. launches: How often it is launched there. switching_j, dram_j: See `energy_parts_j`.
        kernels: Indices into the kernel graph, (K,). row: For each of them its row, (K,).
    """

    table: SimpleNamespace
    parts: Parts
    latency_s: Values
    body_s: Callable[[Values], Values]
    run: Any
    launches: Any
    switching_j: Values
    dram_j: Values
    kernels: Any
    row: Any


_COLUMNS = ("dtype", "pipe", "flop", "total_bytes", "repeat")


def _work(group: Group, m: Machine, gap_s: Values, runs: NDArray[np.int64] | None) -> _Work:
    parts, t = FORMULAS[group.family](group.table, m), group.table
    size = len(t.dtype)
    run, row, launches = np.zeros(size, dtype=np.int64), group.problem, t.repeat
    if runs is not None:
        pairs, row = np.unique(runs[group.kernels] * size + group.problem, return_inverse=True)
        run, problem = pairs // size, pairs % size
        launches = t.repeat[problem] * np.bincount(row)
        if len(pairs) != size:  # some problems are part of several runs
            t = SimpleNamespace(**{name: getattr(t, name)[problem] for name in _COLUMNS})
            parts = parts.rows(problem, size)
    body_s = overlap_at_clock(m.factors.overlap_exponent, (parts.math_s, parts.l2_s), (parts.chain_s, parts.dram_s))
    switching_j, dram_j = energy_parts_j(m, parts.energy_flop, parts.l2_bytes, parts.dram_bytes)
    return _Work(
        table=t,
        parts=parts,
        latency_s=parts.latency_s + gap_s,
        body_s=body_s,
        run=run,
        launches=launches,
        switching_j=switching_j,
        dram_j=dram_j,
        kernels=group.kernels,
        row=row,
    )


def _runs_clock_hz(works: Sequence[_Work], m: Machine, *, num_runs: int) -> Values:
    """The clock at which each run meets the power limit in its mean. [Hz] (num_runs,) or (designs, num_runs)

    A board holds its power over milliseconds, longer than most kernels take: those that wait for memory leave room to those that compute.
    """
    shares = [np.eye(num_runs)[work.run] * work.launches[:, np.newaxis] for work in works]  # (R, num_runs)

    def of_runs(rows: Callable[[_Work], Values]) -> Values:
        """The sum of something over the launches of each run."""
        total: Values = 0.0
        for work, share in zip(works, shares, strict=True):
            values = np.asarray(rows(work))
            total = total + np.broadcast_to(values, (*values.shape[:-1], len(share))) @ share
        return total

    return sustained_clock_hz(
        m,
        of_runs(lambda work: work.switching_j),
        of_runs(lambda work: work.dram_j),
        lambda ratio: of_runs(lambda work: work.body_s(ratio[..., work.run]) + work.latency_s),
    )


def _times(work: _Work, m: Machine, runs_hz: Values | None, load_s: Values) -> dict[str, Values]:
    """What is reported of each row."""
    f, t, parts, latency_s = m.factors, work.table, work.parts, work.latency_s
    settled = sustained_clock_hz(m, work.switching_j, work.dram_j, lambda ratio: work.body_s(ratio) + parts.latency_s)
    if runs_hz is not None:  # the clock follows a kernel as far as it lasts
        of_run = runs_hz[..., work.run]
        settled = of_run + (settled - of_run) * -np.expm1(-work.body_s(settled / m.clock_hz) / f.clock_settling_s)
    clock_hz = m.clock_hz - (m.clock_hz - settled) * -np.expm1(-load_s / f.clock_settling_s)
    ratio = clock_hz / m.clock_hz
    duration_s = work.body_s(ratio) + latency_s
    peak = m.flop_per_clk(t.dtype, t.pipe) * m.num_sms * m.clock_hz
    busy = np.minimum(1.0, parts.ctas / (m.num_sms * np.maximum(1.0, np.ceil(parts.ctas / m.num_sms))))
    fits = np.minimum(parts.ctas_per_sm, np.maximum(1.0, np.ceil(parts.ctas / m.num_sms)))
    repeat = t.repeat
    return {
        "duration_s": duration_s * repeat,
        "math_s": parts.math_s / ratio * repeat,
        "chain_s": parts.chain_s * repeat,
        "l2_s": parts.l2_s / ratio * repeat,
        "dram_s": parts.dram_s * repeat,
        "latency_s": latency_s * repeat,
        "roofline_s": np.maximum(t.flop / peak, t.total_bytes / m.dram_peak_bytes_per_s) * repeat,
        "own_roofline_s": np.maximum(np.minimum(t.flop, parts.executed_flop) / peak, np.minimum(t.total_bytes, parts.dram_bytes) / m.dram_peak_bytes_per_s)
        * repeat,
        "executed_flop": parts.executed_flop * repeat,
        "dram_bytes": parts.dram_bytes * repeat,
        "l2_bytes": parts.l2_bytes * repeat,
        "ctas": parts.ctas,
        "waves": parts.ctas / (m.num_sms * np.maximum(parts.ctas_per_sm, 1.0)),
        "occupancy_fraction": np.minimum(1.0, fits * parts.threads_per_cta / m.gpu.sm.max_threads),
        "sm_fraction": busy * np.minimum(1.0, (duration_s - latency_s) / np.maximum(duration_s, 1e-12)),
        "energy_j": (voltage_law(m)(clock_hz) ** 2 * work.switching_j + work.dram_j) * repeat,
        "clock_hz": clock_hz,
    }
