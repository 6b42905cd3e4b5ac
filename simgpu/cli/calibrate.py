"""`simgpu calibrate`: refit the factors that no datasheet states."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|DIR",
    help="Tables of measured kernels, as for `simgpu validate`. Default: those that come with simgpu.",
)
@click.option("-o", "--output", metavar="FILE", help="Where the new calibration goes; without it nothing is written.")
@click.option(
    "--only",
    "places",
    multiple=True,
    metavar="GENERATION",
    help="Refit only this generation (Volta, 'Ampere GA100' …), also what it shares so far; or 'common'.",
)
@click.option("--rounds", type=click.IntRange(0, 20), default=3, show_default=True, help="Sweeps over all factors.")
@click.option("--leave-one-out", "blind", is_flag=True, help="Also predict each GPU by factors that never saw it.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(*, paths: tuple[Path, ...], output: str | None, places: tuple[str, ...], rounds: int, blind: bool, quiet: bool) -> None:
    """Refit the calibration on measured kernels and print the errors before and after.

    A coordinate search over the few factors of each generation: the same data gives the same file, byte for byte.
    Use the result with `simgpu validate --calibration FILE`.
    """
    from simgpu.cost.calibration import COMMON, shipped_calibration
    from simgpu.errors import OptionError, did_you_mean
    from simgpu.report.files import check_writable, write_text
    from simgpu.validation.calibrate import Bench, calibration_text, fit, leave_one_out, with_record
    from simgpu.validation.run import carried_data, data_files

    if output is not None:
        check_writable(output)
    before = shipped_calibration()
    known = (COMMON, *(p for p in before.values if p != COMMON))
    for place in places:
        if place not in known:
            raise OptionError(f"--only {place}: no such generation, expected one of {', '.join(known)}{did_you_mean(place, known)}")
    live = sys.stderr.isatty() and not quiet

    def progress(text: str) -> None:
        if live:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    bench = Bench(file for path in (paths or (carried_data(),)) for file in data_files(path))
    after = fit(bench, before, places=places or None, shared=bool(places), rounds=rounds, progress=progress)
    errors_before, errors_after = bench.mape_by_family(before), bench.mape_by_family(after)
    left_out = leave_one_out(bench, after, progress=progress) if blind else []
    progress("")
    click.echo(f"{'family':<20}{'before':>9}{'after':>9}   mean absolute error of the measured kernels [%]")
    for family in errors_before:
        click.echo(f"{family:<20}{errors_before[family]:>9.1f}{errors_after[family]:>9.1f}")
    for one in left_out:
        found = "  ".join(f"{family} {error:.1f}" for family, error in one.mape_pct.items())
        click.echo(f"\n{one.gpu} by factors of {one.from_place}:\n  {found}")
    if output is not None:
        write_text(output, calibration_text(with_record(after, bench, errors_before, errors_after, left_out)))
        click.echo(f"\nwritten: {output}")
