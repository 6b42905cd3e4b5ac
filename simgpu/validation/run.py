"""Files of measurements → predictions → errors: what `simgpu validate` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from importlib import resources
from pathlib import Path

from simgpu.arch.names import gpu_names
from simgpu.cost.model import CostModel
from simgpu.errors import DataError, OptionError, did_you_mean
from simgpu.validation.formats import COMMON_COLUMNS, find_format, recognise
from simgpu.validation.kernel_files import kernel_file
from simgpu.validation.kernels import Pricer, collect
from simgpu.validation.model_runs import processes, start
from simgpu.validation.models import ModelCase, is_model_table, judge_models, missing_columns, model_cases
from simgpu.validation.outcome import Validation, Wanted, gpu_id
from simgpu.validation.table import Table, read_table

# With fewer runs than this, starting other processes costs more than it saves.
FEW_RUNS = 24


def carried_data() -> Path:
    """The folder of measurements that come with simgpu."""
    return Path(str(resources.files("simgpu.validation"))) / "data"


def data_files(path: Path) -> list[Path]:
    """The tables in a folder and below it, or the one file.

    Raises:
        DataError: There is no such file or folder, or no table in it.
    """
    try:
        path.exists()
    except OSError as error:  # a name that no file can have
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.name.endswith((".csv", ".csv.gz")) and p.is_file())
        if not found:
            raise DataError(f"{path}: no .csv file in this folder")
        return found
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return [path]


def validate(
    paths: Iterable[Path], *, wanted: Wanted | None = None, cost_model: Pricer | None = None, jobs: int = 1, progress: Callable[[str], None] = lambda _: None
) -> Validation:
    """Predicts every row of the files.

    A file that cannot be used becomes one of `problems`; the others run all the same.

    Args:
        jobs: Processes for whole models.
    """
    wanted, cost_model = wanted or Wanted(), cost_model or CostModel()
    found: dict[Path, Validation] = {}
    kernel_tables: list[Table] = []
    model_tables: dict[Path, list[ModelCase]] = {}
    for path in paths:
        try:
            table = read_table(path)
            if find_format(table) is None and is_model_table(table):
                model_tables[path], found[path] = model_cases(table, wanted)
            else:
                kernel_tables.append(table)
                found[path] = Validation()
        except DataError as error:
            found[path] = Validation(problems=(str(error),))
    runs = [case.run for cases in model_tables.values() for case in cases]
    with processes(jobs) if jobs > 1 and len(runs) > FEW_RUNS else nullcontext() as pool:
        outcomes = start(runs, pool)  # in other processes while the kernels are priced here
        for table in kernel_tables:
            progress(table.path.name)
            found[table.path] += _kernels(table, wanted, cost_model)
        progress("whole models")
        done = outcomes()
    for path, cases in model_tables.items():
        try:
            found[path] += judge_models(path, cases, done)
        except DataError as error:
            found[path] += Validation(problems=(str(error),))
    return sum(found.values(), Validation())


def check_wanted(wanted: Wanted, validation: Validation) -> None:
    """Complains if a filter let nothing through.

    Raises:
        OptionError: No row has that family, GPU or source.
    """
    if validation.rows or validation.skipped or wanted == Wanted():
        return
    hint = did_you_mean(wanted.gpu, gpu_names()) if gpu_id(wanted.gpu) not in gpu_names() else ""
    filters = ", ".join(f"--{k} {v}" for k, v in (("family", wanted.family), ("gpu", wanted.gpu), ("source", wanted.source)) if v)
    raise OptionError(f"no rows for {filters}{hint}")


def _kernels(table: Table, wanted: Wanted, cost_model: Pricer) -> Validation:
    """Predicts a table of kernels; what is wrong with it becomes a problem."""
    try:
        if find_format(table) is None and (missing := missing_columns(table)):
            raise DataError(f"{table.path}: row {table.header_row}, column '{missing[0]}': missing in this table of whole models")
        kind = recognise(table)
        problems = []
        if unknown := kind.unknown_columns(table):
            hint = did_you_mean(unknown[0], kind.required | kind.optional | COMMON_COLUMNS)
            others = f", nor do {', '.join(unknown[1:])}" if unknown[1:] else ""
            where = f"{table.path}: row {table.header_row}, column '{unknown[0]}'"
            problems.append(f"{where}: means nothing in a table of '{kind.name}'{others}{hint}; it is not read")
        return Validation(problems=tuple(problems)) + kernel_file(collect(table, kind.read), wanted, cost_model)
    except DataError as error:
        return Validation(problems=(str(error),))
