"""The output file of a study: refused if something would be lost, and recognised if it is finished already."""

from __future__ import annotations

from pathlib import Path

from simgpu.errors import OptionError
from simgpu.report.files import check_writable
from simgpu.studies.partial import part_path
from simgpu.studies.study import Study, chunks_of, shown_inputs
from simgpu.studies.table import Table, check_format, read_table, to_lines


def check_output(output: Path, study: Study, *, resume: bool, force: bool) -> Table | None:
    """Refuses what would be lost; the table, if it is finished already and `resume` asks for it."""
    check_writable(output)
    suffix = check_format(output)
    part = part_path(output)
    if resume and force:
        raise OptionError(f"{output}: --resume keeps what is there, --force replaces it; give one of them")
    if force:
        part.unlink(missing_ok=True)
        return None
    if part.exists():
        if not resume:
            raise OptionError(f"{part}: an unfinished study lies here; go on with --resume, or start anew with --force")
        return None
    if not output.exists():
        return None
    if resume and suffix == ".csv":
        table = read_table(output, study.inputs)
        if _holds(table, study):
            return table
        raise OptionError(f"{output}: is the result of another study; replace it with --force, or choose another output")
    raise OptionError(f"{output}: exists already; replace it with --force, or choose another output")


def _holds(table: Table, study: Study) -> bool:
    """Whether a finished table is that of the study."""
    if tuple(table.columns) != study.columns or len(table) != study.designs.count:
        return False
    for chunk in chunks_of(study):
        known = chunk.settings.get("batch")
        batch = int(table["batch"][chunk.index[0]]) if known is None else int(known)
        here = table.take(chunk.index)
        inputs = shown_inputs(study, chunk, batch)
        if to_lines({name: here[name] for name in inputs}) != to_lines(inputs):
            return False
    return True
