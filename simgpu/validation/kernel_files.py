"""Files of measured kernels → predicted rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np

from simgpu.cost.times import PARTS, KernelTimes
from simgpu.validation.kernels import Case, Cases, Priced, Pricer, as_measured, price_cases
from simgpu.validation.method import METHODS, known_floor_s, read_floor_s, typical_floor_s
from simgpu.validation.outcome import Described, Validation, Wanted, check_unit
from simgpu.validation.score import Floats, Results, Skipped


def kernel_file(cases: Cases, wanted: Wanted, cost_model: Pricer) -> Validation:
    """Predicts a file of kernels, one GPU at a time."""
    total = Validation(skipped=tuple(s for s in cases.skips if wanted.takes(s.group)))
    gpus = Described(cases.path)
    for gpu_id, own in cases.by_gpu().items():
        gpu = gpus.find(gpu_id, own.cases[0].row)
        rows = [case for case in own.cases if wanted.takes(case.group)]
        if isinstance(gpu, str):
            total += Validation(skipped=tuple(Skipped(group=case.group, row=case.row, reason=gpu) for case in rows))
            continue
        for priced in price_cases(rows, gpu, cost_model):
            total += _judge(cases.path, priced)
    return total + Validation(problems=tuple(gpus.problems))


def _judge(path: Path, priced: Priced) -> Validation:
    """Beside what was measured, what the measuring method would have shown."""
    cases, times, offsets = priced.cases, priced.times, priced.offsets
    measured = np.array([case.measured_s for case in cases])
    floors, notes = _floors(path, cases, measured, priced.kernels_s)
    predicted = as_measured(cases, priced.kernels_s, floors)
    check_unit(path, cases[0].row, "time_ms", predicted, measured)

    def explain(i: int) -> str:
        return explain_case(cases[i], times, int(offsets[i]), int(offsets[i + 1]), floors[i])

    result = Results(
        path=str(path),
        groups=[case.group for case in cases],
        rows=[case.row for case in cases],
        measured_s=measured,
        predicted_s=predicted,
        roofline_s=np.add.reduceat(times.roofline_s, offsets[:-1]),
        explain=explain,
    )
    return Validation(results=(result,), notes=notes)


def _floors(path: Path, cases: Sequence[Case], measured_s: Floats, kernels_s: Floats) -> tuple[Floats, tuple[str, ...]]:
    """The floor of each row's host [s]; read off the rows themselves where the host is not known."""
    floors, notes = np.zeros(len(cases)), []
    groups: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        groups[case.source, case.gpu, case.op_class, case.method].append(i)
    for (source, gpu, op_class, method), indices in groups.items():
        known = known_floor_s(source, gpu, op_class)
        if known is None:
            known = read_floor_s(METHODS[method], op_class, measured_s[indices], kernels_s[indices])
            where = "read off its shortest rows"
            if known is None:
                known, where = typical_floor_s(source, op_class), "assumed from other hosts: the file has too few short rows"
            if known:
                notes.append(f"{path.name}: {op_class} on {gpu}: host floor {known * 1e6:.1f} µs, {where}")
        floors[indices] = known
    return floors, tuple(notes)


def explain_case(case: Case, times: KernelTimes, start: int, stop: int, floor_s: float) -> str:
    """What the model says about one row."""
    parts = []
    for i in range(start, stop):
        kernel = case.launches[i - start].kernel
        shares = ", ".join(
            f"{word} {getattr(times, name)[i] * 1e6:.1f}" for name, word in PARTS.items() if getattr(times, name)[i] > 0.02 * times.duration_s[i]
        )
        choice = times.choices[times.choice[i]]
        parts.append(f"{describe(kernel.work)}{f' as {choice}' if choice else ''}: {times.duration_s[i] * 1e6:.1f} µs ({shares})")
    host = f"; host floor {floor_s * 1e6:.1f} µs ({case.method})" if floor_s else ""
    return " + ".join(parts) + host


def describe(work: object) -> str:
    """A kernel's work in one line: fields that are not what they usually are.

    >>> from simgpu.kernels.kernel import Stream
    >>> describe(Stream(elements=10.0, sfu=1.0))
    'stream elements=10 sfu=1'
    """
    words = [str(getattr(work, "family", ""))]
    for item in fields(work):  # type: ignore[arg-type]
        value = getattr(work, item.name)
        if (item.default is MISSING or value != item.default) and not (item.name == "tokens" and not value):
            words.append(
                f"{item.name}={len(value)} experts"
                if item.name == "tokens"
                else f"{item.name}={value:g}"
                if isinstance(value, float)
                else f"{item.name}={value}"
            )
    return " ".join(words)
