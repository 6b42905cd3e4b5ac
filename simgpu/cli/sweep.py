"""`simgpu sweep`: a study described in a file."""

from __future__ import annotations

from typing import Any

import click

from simgpu.cli.options import study_options
from simgpu.cli.pictures import check_pictures
from simgpu.cli.study_pictures import check_drawable, draw, picture_options, picture_paths
from simgpu.cli.whatif import run_and_show
from simgpu.errors import OptionError


@click.command()
@click.argument("study", metavar="STUDY.yaml")
@click.option("-o", "--output", metavar="FILE", help="The table, one row a design (.csv, .json, .parquet). Default: what the file says.")
@study_options
@picture_options
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, metavar="N", help="Show the N fastest designs.")
def command(
    *,
    study: str,
    output: str | None,
    resume: bool,
    force: bool,
    yes: bool,
    jobs: int | None,
    backend: str | None,
    theme: str,
    top: int,
    **drawn: Any,
) -> None:
    """Run the study that a file describes: models, GPUs and settings, and what varies.

    \b
    model: resnet50                  # or a list
    gpu: a100
    batch: [1, 8, 32]
    dtype: fp16
    runtime: tensorrt
    set: {power.tdp: 500 W}
    vary:
      sm.count: 54:216:18            # start:stop:step
      dram.bandwidth: 1..4 TB/s:16   # lo..hi UNIT:N, `log` behind N for equal ratios
    sample: 1000                     # draw so many instead of every combination
    output: study.csv
    """
    pictures = picture_paths(drawn)
    if pictures:
        check_pictures(*pictures, theme=theme)

    from simgpu.studies.designs import MAX_DESIGNS
    from simgpu.studies.study_file import read_study

    file = read_study(study, max_designs=None if yes else MAX_DESIGNS)
    target = output if output is not None else str(file.output) if file.output else None
    if (resume or force) and target is None:
        raise OptionError(f"--{'resume' if resume else 'force'}: there is no output to go with it; give -o FILE, or `output:` in {study}")
    check_drawable(file.study, drawn)
    table = run_and_show(file.study, output=target, resume=resume, force=force, jobs=jobs, backend=backend, top=top)
    draw(file.study, table, {**drawn, "theme": theme})
