"""Measured whole models: tables → runs of zoo networks → predicted times."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simgpu.frontends.zoo import split_name, zoo_has, zoo_model
from simgpu.validation.model_runs import Outcome, Run
from simgpu.validation.outcome import Described, Validation, Wanted, check_unit
from simgpu.validation.score import Group, Results, Skipped
from simgpu.validation.stacks import Stack, network_of, stack_of
from simgpu.validation.table import Row, Table

FAMILY = "model"
_REQUIRED = frozenset(("model", "gpu", "mode", "batch"))
_TIMES = frozenset(("latency_ms", "throughput_per_s", "measured_ms", "gpu_batches_per_s"))
# Columns that are read; others are remarks of the source, unless they look like one of these.
_READ = (
    *_REQUIRED, *_TIMES, "source", "dtype", "n_gpus", "framework", "image_size", "seq_len", "output_len", "throughput_unit", "throughput_per_s_per_gpu",
    "tpot_ms", "ttft_ms", "mem_gb", "variant",
)  # fmt: skip
_ALIKE = 0.8  # of two words, as difflib counts: seq_length and seq_len
_POLICIES = {"fp32": "fp32", "tf32": "tf32", "amp-fp16": "amp", "amp": "amp", "fp16": "fp16", "bf16": "bf16", "int8": "int8", "int8,fp16": "int8", "fp8": "fp8"}
_WEIGHT_ONLY = {"int8-wo": "int8-weight-only", "int4-g32": "int4"}
_FORWARD = {"infer", "fwd"}
_BACKWARD = {"train": "train", "fwd+bwd": "train", "bwd": "backward"}  # the table's word → ours
_PER_SAMPLE = {"images/s", "sequences/s", "samples/s", "samples/s per GPU"}
_OTHERS = {"neusight_ms": "NeuSight", "habitat_ms": "Habitat", "li_ms": "Li", "roofline_ms": "their roofline"}
# Labels of NeuSight, as (GPU, network, batch). A100 40GB: 0.66 to 0.69 of the sum of their own operators. A100 80GB: the backward pass
# of a step took 1.1 to 1.4 times as long as the forward one, elsewhere 1.5 to 2.
_DOUBTFUL = (
    ("a100-pcie-40gb", "bert-large", None),
    ("a100-pcie-40gb", "gpt2-large", 4),
    ("a100-pcie-80gb", "bert-large", None),
    ("a100-pcie-80gb", "gpt2-large", 1),
    ("a100-pcie-80gb", "gpt3-2.7b", None),
    ("a100-pcie-80gb", "opt-1.3b", 2),
    ("a100-pcie-80gb", "switch-xl-4e", None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCase:
    """One measured row.

    Attributes:
        measured_s: Time of one pass over the batch, or of one token for each of its sequences. [s]
        published_s: Predictor → what it said for this row. [s]
    """

    row: int
    group: Group
    measured_s: float
    run: Run
    published_s: Mapping[str, float]


def is_model_table(table: Table) -> bool:
    """Whether the columns are those of a table of whole models."""
    have = set(table.header)
    return (have >= _REQUIRED and bool(_TIMES & have)) or _is_guidelines(table)


def missing_columns(table: Table) -> tuple[str, ...]:
    """What a table that is almost one of whole models lacks."""
    have = set(table.header)
    return tuple(sorted(_REQUIRED - have)) if have & _TIMES and "model" in have else ()


def _is_guidelines(table: Table) -> bool:
    """ShuffleNetV2's blocks: no networks, but the guidelines' experiments."""
    return {"guideline", "variant", "gpu", "gpu_batches_per_s"} <= set(table.header)


def read_row(row: Row) -> ModelCase | Skipped:
    """A row as a run to simulate, or why it is none."""
    cells = row.cells
    if "guideline" in cells:
        return Skipped(group=Group("shufflenetv2", FAMILY, row.text("gpu"), "fp32", "guidelines"), row=row.number, reason="blocks, not networks")
    stack = stack_of(cells)
    mode, dtype_name = row.text("mode").strip(), row.text("dtype").strip() if "dtype" in cells else "fp32"
    source = stack.label or cells.get("source", "").strip() or ("neusight" if "neusight_ms" in cells else "unnamed")
    name = network_of(row.text("model"), stack)
    trust = stack.trust
    here = row.text("gpu"), name, row.number_or_none("batch")
    if "neusight_ms" in cells and any(all(wanted in (None, found) for wanted, found in zip(doubtful, here, strict=True)) for doubtful in _DOUBTFUL):
        trust = "care"

    def skip(reason: str) -> Skipped:
        return Skipped(group=Group(source, FAMILY, row.text("gpu"), dtype_name, mode, trust), row=row.number, reason=reason)

    if stack.out:
        return skip(stack.out)
    if (gpus := cells.get("n_gpus", "").strip()) not in ("", "1") and not cells.get("throughput_per_s_per_gpu", "").strip():
        return skip(f"runs on {gpus} GPUs")
    if cells.get("variant", "eager").strip() not in ("", "eager", "fusion"):
        return skip(f"runs on several GPUs ({cells['variant']})")
    if mode not in _FORWARD and mode not in _BACKWARD and not mode.startswith("infer-"):
        return skip(f"mode '{mode}' is not simulated")
    batch = row.count("batch") if cells["batch"].strip() else stack.batch
    if batch is None:
        return skip("batch not stated")
    policy = stack.dtype or _policy(row, dtype_name)
    if policy is None:
        return skip(f"number format '{dtype_name}' is not modelled")
    measured = _measured(row, batch, mode, stack)
    if isinstance(measured, str):
        return skip(measured)
    options = _options(row, name, mode, stack)
    if isinstance(options, str):
        return skip(options)
    runtime = "compiled" if cells.get("variant", "").strip() == "fusion" else stack.runtime
    attention = "math" if "neusight_ms" in cells else stack.attention or None  # NeuSight: Hugging Face's eager attention
    run = Run(
        model=name,
        gpu=row.text("gpu"),
        batch=batch,
        dtype=policy,
        runtime=runtime,
        host=stack.host,
        attention=attention,
        options=tuple(sorted(options.items())),
        library_year=stack.library_year,
        optimizer=_optimizer(cells, mode, stack),
        of_inputs=mode in _BACKWARD and stack.of_inputs,
        backward_only=mode == "bwd",
    )
    kinds = {"infer-decode": "decode", "infer-generate": "decode", "infer-prefill": "prefill", **_BACKWARD}
    kind = kinds.get(mode, "infer")
    size = "batch 1" if batch == 1 else "batch 2-7" if batch < 8 else "batch 8+"
    published = {other: ms * 1e-3 for column, other in _OTHERS.items() if (ms := row.number_or_none(column)) is not None}
    group = Group(source, FAMILY, run.gpu, dtype_name, f"{kind}, {size}", trust)
    return ModelCase(row=row.number, group=group, measured_s=measured, run=run, published_s=published)


def _optimizer(cells: Mapping[str, str], mode: str, stack: Stack) -> str:
    """What updates the parameters at the end of the pass; "" at inference. NeuSight timed no update."""
    if mode not in _BACKWARD:
        return ""
    return stack.optimizer if mode == "train" and "neusight_ms" not in cells else "none"


def _policy(row: Row, name: str) -> str | None:
    if name == "object":  # the source's own format was lost; 2 bytes a parameter of a named size give bf16 away
        memory, size = row.number_or_none("mem_gb"), re.search(r"(\d+(?:\.\d+)?)b$", row.text("model"))
        parameters = float(size[1]) if size else {"phi-1.5": 1.3}.get(row.text("model"), 0.0)
        return "bf16" if memory and parameters and 1.6 < memory / parameters < 2.6 else None
    return _POLICIES.get(name) or _WEIGHT_ONLY.get(name)


def _measured(row: Row, batch: int, mode: str, stack: Stack) -> float | str:
    """Time of one pass [s], or why it is not known."""
    cells = row.cells
    if mode in ("infer-decode", "infer-generate"):
        if cells.get("tpot_ms", "").strip():
            return row.time_s("tpot_ms")
        rate = row.number_or_none("throughput_per_s")
        if rate is None or not (stack.decode or mode == "infer-decode" or cells.get("output_len", "").strip()):
            return "time of a token not stated"
        if not stack.decode and mode == "infer-generate":
            return _token_s(row, batch, rate)
        return batch / _positive(row, "throughput_per_s", rate)
    column = "measured_ms" if "measured_ms" in cells else "latency_ms"
    rate = row.number_or_none("throughput_per_s")
    per_sample = cells.get("throughput_unit", "").strip() in _PER_SAMPLE
    if cells.get(column, "").strip() and not (stack.use == "throughput" and rate is not None and per_sample):
        return row.time_s(column)
    if rate is None:
        return "no time published"
    if not per_sample:
        return f"throughput in {cells.get('throughput_unit', '').strip() or 'an unstated unit'} says no time of a pass"
    own = row.number_or_none("throughput_per_s_per_gpu")
    return batch / _positive(row, "throughput_per_s", rate if own is None else own)


def _token_s(row: Row, batch: int, rate: float) -> float | str:
    """Time of a token, from the rate of all and the time to the first one: what is left for the others. [s]"""
    first, answer = row.number_or_none("ttft_ms"), row.number_or_none("output_len")
    if first is None or answer is None or answer < 2:
        return "prompt and answer in one number"
    left_s = answer * batch / _positive(row, "throughput_per_s", rate) - first * 1e-3
    return left_s / (answer - 1) if left_s > 0 else "the first token alone takes longer than all"


def _positive(row: Row, column: str, value: float) -> float:
    if value <= 0:
        raise row.fail(column, f"{value:g}, expected a rate above 0")
    return value


def _options(row: Row, name: str, mode: str, stack: Stack) -> dict[str, Any] | str:
    """What the network is built with, or why it cannot be."""
    cells = row.cells
    if mode.startswith("infer-"):
        prompt = row.count("seq_len") if cells.get("seq_len", "").strip() else 128
        if mode == "infer-prefill":
            return {"seq_len": prompt}
        answer = row.count("output_len") if cells.get("output_len", "").strip() else 0
        return {"phase": "decode", "context": prompt + answer // 2}
    options: dict[str, Any] = {}
    known = _zoo_options(name)
    if cells.get("image_size", "").strip():
        size = re.fullmatch(r"(\d+)(?:[x×](\d+))?", cells["image_size"].strip())
        if size is None and not re.fullmatch(r"\d+(?:[x×-]\d+)+", cells["image_size"].strip()):
            raise row.fail("image_size", f"'{cells['image_size'].strip()[:40]}' is no size, expected pixels such as 224 or 224x224")
        if size is None or (size[2] and size[2] != size[1]):
            return f"image size {cells['image_size'].strip()} is not square"
        if known is None or "image_size" in known:
            options["image_size"] = int(size[1])
    if cells.get("seq_len", "").strip():
        options["seq_len"] = row.count("seq_len")
    if mode in _BACKWARD and stack.dropout and known is not None and "dropout" in known:
        options["dropout"] = stack.dropout
    if known is not None and "head" in known and name == "bert-base" and stack.label in ("nvidia_dle", "tensorrt_bert_demo"):
        options["head"] = "qa"
    return options


@cache
def _zoo_options(name: str) -> Mapping[str, Any] | None:
    """What a network of the zoo can be told; None if the zoo has none of that name."""
    return zoo_model(split_name(name)[0]).options if zoo_has(name) else None


def misspelt_columns(table: Table) -> Iterator[str]:
    """What is wrong with columns that are nearly called like one that is read and missing."""
    missing = [column for column in _READ if column not in table.header]
    for column in table.header:
        if column not in _READ and (near := difflib.get_close_matches(column.lower(), missing, n=1, cutoff=_ALIKE)):
            where = f"{table.path}: row {table.header_row}, column '{column}'"
            yield f"{where}: means nothing in a table of whole models; did you mean '{near[0]}'?; it is not read"


def model_cases(table: Table, wanted: Wanted) -> tuple[list[ModelCase], Validation]:
    """The rows of a table of whole models that are to be simulated; what is skipped, and what is wrong."""
    cases: list[ModelCase] = []
    skipped: list[Skipped] = []
    gpus = Described(table.path)
    for row in table.rows():
        found = read_row(row)
        if not wanted.takes(found.group):
            continue
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        gpu = gpus.find(found.run.gpu, row.number)
        if isinstance(gpu, str):
            skipped.append(Skipped(group=found.group, row=found.row, reason=gpu))
        else:
            cases.append(found)
    return cases, Validation(skipped=tuple(skipped), problems=(*misspelt_columns(table), *gpus.problems))


def judge_models(path: Path, cases: Sequence[ModelCase], outcomes: Mapping[Run, Outcome | str]) -> Validation:
    """Beside what was measured, what the simulation says."""
    predicted: list[tuple[ModelCase, Outcome]] = []
    skipped: list[Skipped] = []
    for case in cases:
        outcome = outcomes[case.run]
        if isinstance(outcome, str):
            skipped.append(Skipped(group=case.group, row=case.row, reason=outcome))
        else:
            predicted.append((case, outcome))
    return Validation(results=_results(path, predicted), skipped=tuple(skipped))


def _results(path: Path, predicted: list[tuple[ModelCase, Outcome]]) -> tuple[Results, ...]:
    if not predicted:
        return ()
    measured = np.array([case.measured_s for case, _ in predicted])
    times = np.array([outcome.latency_s for _, outcome in predicted])
    check_unit(path, predicted[0][0].row, "latency_ms", times, measured)
    others: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = defaultdict(lambda: np.full(len(predicted), np.nan))
    for i, (case, _) in enumerate(predicted):
        for name, value in case.published_s.items():
            others[name][i] = value

    return (
        Results(
            path=str(path),
            groups=[case.group for case, _ in predicted],
            rows=[case.row for case, _ in predicted],
            measured_s=measured,
            predicted_s=times,
            roofline_s=np.array([outcome.roofline_s for _, outcome in predicted]),
            explain=lambda i: predicted[i][1].explanation,
            published_s=dict(others),
        ),
    )
