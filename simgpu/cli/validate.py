"""`simgpu validate`: predictions beside measured times."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from simgpu.cli.pictures import save_picture, theme_option
from simgpu.errors import DataError, OptionError


@click.command()
@click.option(
    "--data",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|DIR",
    help="CSV files or folders of them, with the columns of the data that comes with simgpu (they tell which table it is). Default: that data.",
)
@click.option("--family", default="", help="Only this family: linear, conv, softmax, attention_decode, model …")
@click.option("--gpu", default="", help="Only this GPU.")
@click.option("--source", default="", help="Only sources whose name contains this.")
@click.option("--worst", type=click.IntRange(min=0), default=0, metavar="N", help="Also list the N rows furthest off, with the model's explanation.")
@click.option("--json", "json_path", is_flag=False, flag_value="-", default=None, metavar="[FILE]", help="The error table as JSON, on stdout or into a file.")
@click.option(
    "--plot", "plot_dir", type=click.Path(path_type=Path), default=None, metavar="DIR", help="Draw predicted over measured times, one picture a family."
)
@click.option("--format", "suffix", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True, help="Of the pictures.")
@theme_option
@click.option(
    "--calibration", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Price kernels by these factors (see `simgpu calibrate -o`)."
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(
    *,
    paths: tuple[Path, ...],
    family: str,
    gpu: str,
    source: str,
    worst: int,
    json_path: str | None,
    plot_dir: Path | None,
    suffix: str,
    theme: str,
    calibration: Path | None,
    quiet: bool,
) -> None:
    """Compare predictions with measured times of real GPUs.

    Prints, for each source, family, GPU, number format and mode: rows, rows that cannot be predicted, the mean, median
    and 90th percentile of the absolute error and the signed mean (bias), all in % of the measured time; beside them the
    errors of the plain datasheet roofline, and of other predictors where they are published.

    A file that cannot be used is named on stderr and makes the status 1; the others are compared all the same.
    """
    from simgpu.cost.calibration import load_calibration
    from simgpu.cost.model import CostModel
    from simgpu.plot.style import theme_named
    from simgpu.report.files import check_writable, write_text
    from simgpu.validation.outcome import Wanted
    from simgpu.validation.run import carried_data, check_wanted, data_files, validate
    from simgpu.validation.text import format_json, format_validation

    if json_path not in (None, "-"):
        check_writable(str(json_path))
    if plot_dir is not None:
        theme_named(theme)
        try:
            plot_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{plot_dir}: cannot be made a folder: {error.strerror}") from None
    files, problems = [], []
    for path in paths or (carried_data(),):
        try:
            files += data_files(path)
        except DataError as error:
            problems.append(str(error))
    live = sys.stderr.isatty() and not quiet

    def progress(name: str) -> None:
        if live:
            click.echo(f"\r\x1b[K{name}", err=True, nl=False)

    wanted = Wanted(family=family, gpu=gpu, source=source)
    cost_model = None if calibration is None else CostModel(load_calibration(calibration))
    validation = validate(files, wanted=wanted, cost_model=cost_model, jobs=os.cpu_count() or 1, progress=progress)
    progress("")
    problems += validation.problems
    if not problems:
        check_wanted(wanted, validation)
    if json_path == "-":
        click.echo(format_json(validation), nl=False)
    elif validation.rows or validation.skipped:
        click.echo(format_validation(validation, worst=worst))
    if json_path not in (None, "-"):
        write_text(str(json_path), format_json(validation))
    if plot_dir is not None:
        _plot(validation, plot_dir, suffix, theme)
    if problems:
        raise DataError("\nsimgpu: ".join(problems))


def _plot(validation: object, folder: Path, suffix: str, theme: str) -> None:
    from simgpu.plot.validation import plot_validation
    from simgpu.validation.outcome import Validation, by_family

    assert isinstance(validation, Validation)
    for name, (points, subtitle) in by_family(validation).items():
        save_picture(plot_validation(points, name.replace("_", " "), subtitle, theme=theme), str(folder / f"{name}.{suffix}"))
