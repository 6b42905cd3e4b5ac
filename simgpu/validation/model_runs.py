"""Many runs of networks, fast: graphs and kernels are shared by runs that differ only in GPU or host.

The same steps as `simgpu.api.simulate` on one stream, without the timeline and memory of a report; a test holds both
to the same latency.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.machine import LIBRARY_YEAR
from simgpu.cost.model import CostModel
from simgpu.cost.times import KernelTimes
from simgpu.errors import SimgpuError
from simgpu.frontends.config import is_config_name
from simgpu.frontends.load import load_model
from simgpu.frontends.zoo import zoo_has
from simgpu.graph.ir import Graph
from simgpu.kernels.kernel import KernelGraph
from simgpu.kernels.lower import lower
from simgpu.passes.pipeline import attention_kind, prepare
from simgpu.precision import Precision, unit_for
from simgpu.precision import precision as precision_named
from simgpu.runtime import runtime as runtime_named
from simgpu.sim.closed_form import finish_times
from simgpu.sim.host import default_host, plan_launches
from simgpu.validation.stacks import host_of

_RUNS_PER_TASK = 12  # neighbours share graphs, so they go to the same process
_ANY_GPU = "v100-sxm2-16gb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A network, what it runs on, and how.

    Attributes:
        host: Name of a host for `simgpu.validation.stacks.host_of`; "" = the usual one of the GPU's time.
        options: Of the network: image_size, seq_len …
        optimizer: Of a training step, "none" for its gradients alone; "" = inference.
        of_inputs: The training step also computes the gradient of the network's input.
        backward_only: Of a training step, what comes after the forward pass.
        library_year: When the cuBLAS and cuDNN that ran were built.
    """

    model: str
    gpu: str
    batch: int
    dtype: str
    runtime: str
    host: str = ""
    attention: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    library_year: float = LIBRARY_YEAR
    optimizer: str = ""
    of_inputs: bool = False
    backward_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run yields.

    Attributes:
        roofline_s: Sum of the kernels' datasheet rooflines. [s]
        explanation: What the time goes into, in words.
    """

    latency_s: float
    roofline_s: float
    explanation: str


def start(runs: Iterable[Run], pool: Executor | None = None) -> Callable[[], dict[Run, Outcome | str]]:
    """Starts the runs.

    Args:
        pool: Other processes to spread them over; None = they run here, when the result is asked for.

    Returns:
        A function that waits for the outcome of each run, or the reason why it cannot be simulated.
    """
    # Runs of the same graph come one after the other.
    todo = sorted(dict.fromkeys(runs), key=lambda r: (r.model, r.options, r.batch, r.optimizer, r.of_inputs, r.runtime, r.dtype, r.gpu))
    chunks = [todo[i : i + _RUNS_PER_TASK] for i in range(0, len(todo), _RUNS_PER_TASK)]
    done: Iterable[list[Outcome | str]] = map(run_all, chunks) if pool is None else pool.map(run_all, chunks)
    return lambda: dict(zip(todo, (outcome for chunk in done for outcome in chunk), strict=True))


@contextmanager
def processes(jobs: int) -> Iterator[Executor]:
    """So many processes to run in. Whoever stops half-way does not wait for the runs that have not begun."""
    methods = multiprocessing.get_all_start_methods()
    pool = ProcessPoolExecutor(max_workers=jobs, mp_context=multiprocessing.get_context("fork" if "fork" in methods else "spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def run_all(runs: Sequence[Run]) -> list[Outcome | str]:
    """The outcome of each run, or why it cannot be simulated."""
    collecting = gc.isenabled()
    gc.disable()  # graphs are hundreds of thousands of small objects and no cycles worth looking for meanwhile
    try:
        kernels = [_kernels_or_reason(run) for run in runs]
        alike: dict[tuple[str, bool, float], list[int]] = defaultdict(list)
        for i, (run, graph) in enumerate(zip(runs, kernels, strict=True)):
            if isinstance(graph, KernelGraph):
                alike[run.gpu, runtime_named(run.runtime).graph_replay, run.library_year].append(i)
        outcomes: list[Outcome | str] = [graph if isinstance(graph, str) else "" for graph in kernels]
        for (gpu_name, replay, year), indices in alike.items():
            graphs = {id(graph): graph for i in indices if isinstance(graph := kernels[i], KernelGraph)}
            priced = dict(zip(graphs, _price(list(graphs.values()), load_gpu(gpu_name), replay, year), strict=True))
            for i in indices:
                outcomes[i] = _outcome(runs[i], graphs[id(kernels[i])], priced[id(kernels[i])])
        return outcomes
    finally:
        if collecting:
            gc.enable()


def _kernels_or_reason(run: Run) -> KernelGraph | str:
    if not _is_known(run.model):
        return f"no network '{run.model}' in the zoo"
    try:
        gpu = load_gpu(run.gpu)
        like, attention = _Like(gpu, precision_named(run.dtype)), attention_kind(gpu, run.runtime, run.attention)
        return _kernels(run.model, run.batch, run.options, run.dtype, run.runtime, attention, run.optimizer, run.of_inputs, like)
    except SimgpuError as error:
        return str(error)


@cache
def _is_known(model: str) -> bool:
    return zoo_has(model) or is_config_name(model)


def _price(graphs: Sequence[KernelGraph], gpu: GPU, replay: bool, library_year: float) -> list[KernelTimes]:
    """Times of the kernels of each graph, all graphs priced in one call."""
    distances = [distance for graph in graphs for distance in graph.distances]
    everything = KernelGraph([k for graph in graphs for k in graph.kernels], [()] * len(distances), distances=distances)
    runs = np.repeat(np.arange(len(graphs)), [len(graph) for graph in graphs])
    times = _cost_model().price(everything, gpu, runs=runs, graph_replay=replay, library_year=library_year)
    ends = np.cumsum([len(graph) for graph in graphs])
    return [times.take(slice(end - len(graph), end)) for end, graph in zip(ends.tolist(), graphs, strict=True)]


def _outcome(run: Run, kernels: KernelGraph, times: KernelTimes) -> Outcome:
    stack = runtime_named(run.runtime)
    host = host_of(run.host) if run.host else default_host(load_gpu(run.gpu))
    if run.backward_only:
        kernels, times = _backward(kernels, times)
    launches = plan_launches(host, stack, kernels, times.duration_s)
    finish_s = finish_times(launches.available_s, times.duration_s)
    latency_s = max(float(finish_s[-1]), launches.host_end_s) if len(finish_s) else launches.host_end_s
    return Outcome(latency_s=latency_s, roofline_s=float(times.roofline_s.sum()), explanation=_explain(run, kernels, times, host.name, host.launch_s))


def _backward(kernels: KernelGraph, times: KernelTimes) -> tuple[KernelGraph, KernelTimes]:
    """What is launched after the forward pass, in a step whose pieces the host waits for one by one."""
    first = next((i for i, kernel in enumerate(kernels.kernels) if "/backward/" in kernel.name), len(kernels))
    rest = KernelGraph(kernels.kernels[first:], [()] * (len(kernels) - first), distances=kernels.distances[first:])
    return rest, times.take(slice(first, None))


@cache
def _cost_model() -> CostModel:
    return CostModel()


class _Like:
    """A GPU that equals all that multiply in the same formats on the same pipes: they launch the same kernels."""

    def __init__(self, gpu: GPU, policy: Precision) -> None:
        self.gpu = gpu
        formats = {policy.math, policy.storage, *(("int8", "fp8", "fp4") if policy.weights or policy.activations else ())}
        self.kind = (gpu.vector_flop_per_clk("fp64") > 0, *(unit_for(name, gpu) for name in sorted(formats)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Like) and self.kind == other.kind

    def __hash__(self) -> int:
        return hash(self.kind)


@lru_cache(maxsize=_RUNS_PER_TASK)
def _kernels(
    model: str,
    batch: int,
    options: tuple[tuple[str, Any], ...],
    dtype: str,
    runtime: str,
    attention: str,
    optimizer: str,
    of_inputs: bool,
    like: _Like,
) -> KernelGraph:
    return lower(_prepared(model, batch, options, dtype, runtime, attention, optimizer, of_inputs), gpu=like.gpu, precision=dtype, runtime=runtime)


@lru_cache(maxsize=4)
def _prepared(model: str, batch: int, options: tuple[tuple[str, Any], ...], dtype: str, runtime: str, attention: str, optimizer: str, of_inputs: bool) -> Graph:
    """The graph that all GPUs lower: of the passes only attention looks at the GPU, and `attention` says what it found."""
    graph = load_model(model, batch=batch, **dict(options))
    any_gpu = load_gpu(_ANY_GPU)
    training = bool(optimizer)
    return prepare(graph, gpu=any_gpu, precision=dtype, runtime=runtime, attention=attention, training=training, optimizer=optimizer, of_inputs=of_inputs)


def _explain(run: Run, kernels: KernelGraph, times: KernelTimes, host: str, launch_s: float) -> str:
    device_s = float(times.duration_s.sum())
    by_label: dict[str, float] = defaultdict(float)
    for kernel, seconds in zip(kernels.kernels, times.duration_s.tolist(), strict=True):
        by_label[kernel.label] += seconds
    top = ", ".join(f"{label} {100 * s / device_s:.0f} %" for label, s in sorted(by_label.items(), key=lambda item: -item[1])[:5])
    options = "".join(f" {key}={value}" for key, value in run.options)
    step = ", backward pass" if run.backward_only else f", training step, optimizer {run.optimizer}" if run.optimizer else ""
    return (
        f"{run.model} batch {run.batch}{options} {run.dtype} {run.runtime}{step}: {len(kernels)} kernels, {device_s * 1e3:.3g} ms on the device ({top}); "
        f"host '{host}' {launch_s * 1e6:.3g} µs a launch"
    )
