"""`simgpu whatif`: a model on GPUs that do not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from simgpu.cli.options import model_arguments, model_options, study_options
from simgpu.cli.pictures import check_pictures, save_picture
from simgpu.cli.progress import Progress
from simgpu.cli.study_pictures import DRAWN, check_drawable, draw, picture_options, picture_paths
from simgpu.cli.terminal import page_width
from simgpu.errors import OptionError


@click.command()
@click.argument("model")
@click.option("--gpu", metavar="GPU", help="Where the designs start from: a name that `simgpu gpus` lists, or a YAML file; or --vary gpu=a100,t4.")
@click.option("--vary", "varied", multiple=True, metavar="FIELD=VALUES", help="start:stop:step, lo..hi UNIT:N (`log` behind N: equal ratios) or a,b,c.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Draw N designs (Latin hypercube) instead of every combination.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Which sample.")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@click.option("--dtype", metavar="DTYPE", help="fp32, tf32, bf16, fp16, amp, int8, fp8, int4 … Default: fp32.")
@click.option("--runtime", metavar="STACK", help="eager, graph, compiled or tensorrt. Default: eager.")
@click.option("--host", metavar="HOST", help="Who launches: pytorch-1, pytorch-2, none. Default: the calibrated host of the GPU's generation.")
@click.option("--attention", metavar="KIND", help="fused (one kernel) or math. Default: what the runtime does on this GPU.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of the GPU in all designs.")
@model_options
@click.option("--mode", type=click.Choice(["inference", "train"]), help="A forward pass, or one training step. Default: inference.")
@click.option("--optimizer", metavar="NAME", help="Of a training step: sgd (the default), adam or none.")
@click.option("-o", "--output", metavar="FILE", help="The table, one row a design (.csv, .json, .parquet).")
@study_options
@picture_options
@click.option("--tornado", "tornado_path", metavar="FILE", help="Draw what matters: each field (those that vary, or all that count) 20 % up and down.")
@click.option("--target", metavar="LATENCY", help="What would it take? The smallest change of each of these fields that reaches it: --target '2 ms'.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, metavar="N", help="Show the N fastest designs.")
def command(
    *,
    model: str,
    gpu: str | None,
    varied: tuple[str, ...],
    sample: int | None,
    seed: int,
    batch: int | None,
    dtype: str | None,
    runtime: str | None,
    host: str | None,
    attention: str | None,
    settings: tuple[str, ...],
    mode: str | None,
    optimizer: str | None,
    output: str | None,
    resume: bool,
    force: bool,
    yes: bool,
    jobs: int | None,
    backend: str | None,
    theme: str,
    tornado_path: str | None,
    target: str | None,
    top: int,
    **chosen: Any,
) -> None:
    """Run MODEL on designs of a GPU that do not exist, and say which is fastest and what limits it.

    A FIELD is any number of a GPU (`simgpu gpu NAME` shows them), or batch, dtype, runtime, gpu, host, attention, mode,
    optimizer, seq_len, image_size, phase, context, new_tokens (models vary in `simgpu sweep`).

    \b
    simgpu whatif resnet50 --gpu a100 --vary sm.count=54:216:18 --vary dram.bandwidth="1..4 TB/s:16" -o out.csv
    simgpu whatif resnet50 --gpu a100 --vary sm.count=20:220:10 --vary dram.bandwidth="0.2..6 TB/s:16 log" --map map.png
    simgpu whatif bert-base --gpu t4 --seq-len 128 --vary batch=1..64:7log --vary dtype=fp32,fp16 --plot batch.png
    simgpu whatif resnet50 --gpu a100 --batch 32 --tornado matters.png --target "8 ms"
    """
    vary = parse_vary(varied)
    pictures = picture_paths({**chosen, "tornado_path": tornado_path})
    drawn = {name: chosen.pop(name) for name in DRAWN}
    if not vary and not (tornado_path or target):
        raise OptionError("nothing varies; give --vary FIELD=VALUES, such as --vary sm.count=54:216:18, or ask with --tornado or --target")
    for option, given in (("-o", output), *((DRAWN[name], asked) for name, asked in drawn.items()), ("--sample", sample)):
        if given is not None and not vary:
            raise OptionError(f"{option}: nothing varies; give --vary FIELD=VALUES, such as --vary sm.count=54:216:18")
    if (resume or force) and output is None:
        raise OptionError(f"--{'resume' if resume else 'force'}: there is no output to go with it; give -o FILE")
    for name, given in (("dtype", dtype), ("runtime", runtime)):
        if given is not None and name in vary:
            raise OptionError(f"{name}: is given and varies; give it once")
    if pictures:
        check_pictures(*pictures, theme=theme)

    from simgpu.arch.loader import parse_settings
    from simgpu.units import parse_quantity

    target_s = parse_quantity(target, "s") if target else None
    if target and target_s is not None and target.strip()[-1:] != "s":
        raise OptionError(f"--target {target}: has no unit, expected a time such as '2 ms'")
    overrides = parse_settings(settings)
    shared: dict[str, Any] = {"batch": batch, "dtype": dtype or "fp32", "runtime": runtime or "eager", "host": host, "attention": attention}
    shared |= {"mode": mode, "optimizer": optimizer}
    options = model_arguments(**chosen)
    if vary:
        from simgpu.studies.designs import MAX_DESIGNS
        from simgpu.studies.study import plan

        study = plan(
            {"model": model, "gpu": gpu, **shared},
            vary,
            sample=sample,
            seed=seed,
            overrides=overrides,
            options=options,
            max_designs=None if yes else MAX_DESIGNS,
        )
        check_drawable(study, drawn)
        table = run_and_show(study, output=output, resume=resume, force=force, jobs=jobs, backend=backend, top=top)
        draw(study, table, {**drawn, "theme": theme})
    if tornado_path or target_s is not None:
        if gpu is None:
            raise OptionError("--tornado and --target ask about one GPU; give --gpu")
        _ask(model, gpu, overrides, {**shared, **options}, list(vary), tornado_path, target_s, theme)


def _ask(
    model: str,
    gpu: str,
    overrides: Mapping[str, Any],
    options: Mapping[str, Any],
    varied: Sequence[str],
    tornado_path: str | None,
    target_s: float | None,
    theme: str,
) -> None:
    """Answers about the GPU itself: what matters, and what a target takes."""
    from simgpu.studies.axes import SETTINGS
    from simgpu.studies.case import Case, levers
    from simgpu.studies.page import format_levers, format_needs
    from simgpu.studies.sensitivity import sensitivity, what_it_takes
    from simgpu.studies.study import base_gpu

    fields = [name for name in varied if name not in SETTINGS]
    case = Case(model, base_gpu(gpu, overrides), **{name: value for name, value in options.items() if value is not None and value is not False})
    if tornado_path:
        from simgpu.plot.tornado import plot_tornado

        found = sensitivity(case, fields)
        said = " · ".join(
            f"batch {case.work.batch}" if name == "batch" else str(value) for name, value in options.items() if value not in (None, False) or name == "batch"
        )
        save_picture(plot_tornado(found, title=f"{model} on {case.gpu.name}: what matters", subtitle=said, theme=theme), tornado_path)
        click.echo(format_levers(found), nl=False)
    if target_s is not None:
        needs = what_it_takes(case, target_s, fields)
        click.echo(format_needs(needs, target_s, {name: case.value(name) for name in fields or levers(case)}), nl=False)


def parse_vary(texts: Iterable[str]) -> dict[str, str]:
    """`--vary FIELD=VALUES` texts by field.

    >>> parse_vary(["sm.count=54:216:18"])
    {'sm.count': '54:216:18'}
    """
    vary: dict[str, str] = {}
    for text in texts:
        name, _, values = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_") if name in ("seq-len", "image-size", "new-tokens") else name
        if not (name and values):
            raise OptionError(f"--vary {text}: expected FIELD=VALUES, such as sm.count=54:216:18 or dram.bandwidth='1..4 TB/s:16'")
        if name in vary:
            raise OptionError(f"--vary {text}: {name} is given twice; name all its values at once")
        vary[name] = values
    return vary


def run_and_show(study: Any, *, output: str | None, resume: bool, force: bool, jobs: int | None, backend: str | None, top: int) -> Any:
    """Computes a study with progress on stderr, prints its page, and returns the table."""
    from simgpu.studies.page import format_study
    from simgpu.studies.partial import part_path
    from simgpu.studies.sweep import run_study

    progress = Progress("designs")
    finished = resume and output is not None and Path(output).exists() and not part_path(output).exists()
    try:
        table = run_study(study, output=output, resume=resume, force=force, jobs=jobs, backend=backend, progress=progress)
    except KeyboardInterrupt:
        progress.close()
        if output is not None:
            click.echo(f"simgpu: what is finished lies in {part_path(output)}; go on with --resume", err=True)
        raise
    finally:
        progress.close()
    if output is not None:
        click.echo(f"{output} is finished already, nothing was computed" if finished else f"wrote {output}", err=True)
    click.echo(format_study(table, width=page_width(), top=top), nl=False)
    return table
