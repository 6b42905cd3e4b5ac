"""Designs in, table out: in one process, on all cores, or on a Dask cluster; what is finished is never computed again."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from simgpu.arch.spec import GPU
from simgpu.errors import OptionError, SimgpuError
from simgpu.graph.ir import Graph
from simgpu.studies.designs import MAX_DESIGNS
from simgpu.studies.output import check_output
from simgpu.studies.partial import PartFile, part_path
from simgpu.studies.study import Chunk, Study, chunks_of, fingerprint, plan, prepared, shown_inputs
from simgpu.studies.table import Table, read_lines, to_lines, write_table
from simgpu.studies.workload import Columns, Workload, outcomes

Model = str | os.PathLike[str] | Graph
Progress = Callable[[int, int], None]

_ALL_CORES_FROM = 20_000  # designs from which starting processes pays
_DASK = "dask://"
_CONNECT_S = 5.0


def sweep(
    model: Model | Sequence[Model] | None = None,
    gpu: str | GPU | Sequence[str | GPU] | None = None,
    *,
    vary: Mapping[str, str | Iterable[Any]] | None = None,
    sample: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    dtype: str = "fp32",
    runtime: str = "eager",
    host: str | None = None,
    attention: str | None = None,
    mode: str | None = None,
    optimizer: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    jobs: int | None = None,
    backend: str | None = None,
    max_designs: int | None = MAX_DESIGNS,
    progress: Progress | None = None,
    **options: Any,
) -> Table:
    """Runs a model on many designs of a GPU: every combination of what varies, or a sample of them.

    Args:
        model, gpu: As for `simulate`; several, or none if they vary.
        vary: Values by name: {"sm.count": "54:216:18", "dram.bandwidth": "1..4 TB/s:16", "batch": [1, 8]}. A name is a field of
            a GPU, or one of `simgpu.studies.axes.SETTINGS`; values are text as for `--vary`, or numbers in SI.
        mode: "inference" or "train", one training step; `optimizer` is "sgd", "adam" or "none".
        sample: Draw so many designs as a Latin hypercube instead of every combination; `seed` says which.
        output: Also write the table there (.csv, .json, .parquet). While it is being made, what is finished lies in
            `OUTPUT.part`.
        resume: Go on with the part file that an interrupted study left.
        force: Replace what is there.
        jobs: Processes; None = one, and all cores for large studies.
        backend: "dask://host:port" of a scheduler whose workers shall compute.
        max_designs: Refuse more; None = any number.
        progress: Called with designs done and in all.
        options: Those of `load_model`.
    Returns:
        A row a design: its inputs, and the columns of `simgpu.studies.workload.OUTPUTS`. All on one stream.
    Raises:
        SimgpuError: Something that a user can fix; what was computed stays in the part file.

    >>> table = sweep("resnet50", "a100", vary={"sm.count": "54:108:54", "dtype": "fp16"}, batch=64)
    >>> table["sm.count"].tolist(), bool(table["latency_s"][0] > table["latency_s"][1])
    ([54, 108], True)
    """
    settings = {"model": model, "gpu": gpu, "batch": batch, "dtype": dtype, "runtime": runtime, "host": host, "attention": attention}
    settings |= {"mode": mode, "optimizer": optimizer}
    study = plan(settings, vary or {}, sample=sample, seed=seed, overrides=overrides or {}, options=options, max_designs=max_designs)
    return run_study(study, output=output, resume=resume, force=force, jobs=jobs, backend=backend, progress=progress)


def run_study(
    study: Study,
    *,
    output: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    jobs: int | None = None,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Table:
    """The table of a study; the arguments are those of `sweep`."""
    if jobs is not None and jobs < 1:
        raise OptionError(f"jobs: expected 1 process or more, got {jobs}")
    if backend is not None and not (backend.startswith(_DASK) and backend.removeprefix(_DASK)):
        raise OptionError(f"backend '{backend}': expected dask://host:port, the scheduler of a Dask cluster")
    if output is not None and (finished := check_output(Path(output), study, resume=resume, force=force)) is not None:
        return finished
    chunks = chunks_of(study)
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(_workers(jobs, backend, study.designs.count))
        part = stack.enter_context(PartFile(part_path(output), fingerprint(study))) if output is not None else None
        done = dict(part.chunks) if part else {}
        count = sum(len(chunks[number].index) for number in done)
        if progress:
            progress(count, study.designs.count)
        for number, lines in _computed(study, [chunk for chunk in chunks if chunk.number not in done], workers, part):
            if part:
                part.add(number, lines)
            done[number] = tuple(lines)
            count += len(lines)
            if progress:
                progress(count, study.designs.count)
        rows = [""] * study.designs.count
        for chunk in chunks:
            for i, line in zip(chunk.index.tolist(), done[chunk.number], strict=True):
                rows[i] = line
        if part and output is not None:
            write_table(output, study.columns, study.inputs, rows)
            part.remove()
    return read_lines(rows, study.columns, study.inputs)


def _lines(number: int, packed: bytes | Workload, gpu: GPU, fields: Columns, inputs: Columns, version: str) -> tuple[int, list[str]]:
    """What one task does: prices the designs of a chunk and writes their rows."""
    if version != metadata.version("simgpu"):
        raise OptionError(f"a worker has simgpu {metadata.version('simgpu')}, here it is {version}; install the same version everywhere")
    work = packed if isinstance(packed, Workload) else _unpacked(packed)
    columns = outcomes(work, gpu, fields)
    count = len(next(iter(inputs.values())))
    return number, to_lines({**inputs, **{name: np.broadcast_to(values, (count,)) for name, values in columns.items()}})


@lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> Workload:
    """A workload as it was sent, kept for the next chunk."""
    work: Workload = pickle.loads(packed)  # our own bytes, made by the process that sends the task
    return work


def _tasks(study: Study, chunks: Iterable[Chunk], *, packed: bool) -> Iterator[tuple[Any, ...]]:
    """The arguments of `_lines` for each chunk; each workload is lowered once."""
    version = metadata.version("simgpu")
    last, work, payload = -1, None, None
    for chunk in chunks:
        if work is None or chunk.workload != last:
            last, work = chunk.workload, prepared(study, chunk)
            assert work.num_problems  # groups the kernels, here and not in each process
            payload = pickle.dumps(work) if packed else work
        yield chunk.number, payload, chunk.gpu, study.fields(chunk.index), shown_inputs(study, chunk, work.batch), version


def _computed(study: Study, chunks: Sequence[Chunk], workers: Any, part: PartFile | None) -> Iterator[tuple[int, list[str]]]:
    """Number and rows of each chunk, as they come."""
    if workers is None:
        for task in _tasks(study, chunks, packed=False):
            yield _lines(*task)
        return
    import joblib

    try:
        yield from workers(joblib.delayed(_lines)(*task) for task in _tasks(study, chunks, packed=True))
    except SimgpuError:
        raise
    except Exception as error:  # a process that was killed, a cluster that went away, a worker without simgpu
        text = str(error).partition("\n")[0]
        safe = f"; what is finished lies in {part.path}, go on with --resume" if part else ""
        raise OptionError(f"the workers failed: {type(error).__name__}: {text}{safe}") from error


@contextlib.contextmanager
def _workers(jobs: int | None, backend: str | None, count: int) -> Iterator[Any]:
    """A joblib pool: processes here, or the workers of a cluster; None for this process alone."""
    import joblib

    if backend is None:
        processes = jobs or (joblib.cpu_count() if count >= _ALL_CORES_FROM else 1)
        yield joblib_pool(processes) if processes > 1 else None
        return
    address = backend.removeprefix(_DASK)
    try:
        from distributed import Client
    except ImportError:
        raise OptionError(f"{backend}: needs a library that is not installed; pip install 'simgpu[cluster]'") from None
    try:
        client = Client(f"tcp://{address}" if "://" not in address else address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise OptionError(f"{backend}: no scheduler answers there ({str(error).partition(chr(10))[0]}); start one with `dask scheduler`") from None
    with client, joblib.parallel_config(backend="dask", client=client, wait_for_workers_timeout=_CONNECT_S):
        if not client.ncores():
            raise OptionError(f"{backend}: the scheduler has no workers; start some with `dask worker {address}`")
        yield joblib_pool(jobs or -1)


def joblib_pool(jobs: int) -> Any:
    """A joblib pool that hands results out as they come and holds few of them."""
    import joblib

    return joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="3*n_jobs", batch_size=1)
