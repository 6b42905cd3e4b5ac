"""`simgpu gpus`: the GPUs known by name."""

from __future__ import annotations

import json

import click

from simgpu.arch.loader import gpu_names, load_gpu
from simgpu.arch.spec import GPU
from simgpu.errors import ArchError, did_you_mean
from simgpu.report.spec_sheet import format_gpus, gpu_to_dict


@click.command()
@click.argument("pattern", default="")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the whole records instead of a table.")
def command(pattern: str, as_json: bool) -> None:
    """List the GPUs by generation; only those whose name, alias, chip or generation contains PATTERN.

    Clocks are boost clocks, peaks dense and derived from units and clocks. GPUs of your own go into a folder named in
    SIMGPU_PATH, one YAML file each.
    """
    gpus: list[GPU] = []
    problems: list[str] = []
    for name in gpu_names():
        try:
            gpus.append(load_gpu(name))
        except ArchError as problem:  # one broken file of the user's own must not hide all others
            problems.append(str(problem))
    chosen = [gpu for gpu in gpus if any(pattern.lower() in text.lower() for text in _texts(gpu))]
    if not chosen and not problems:
        raise ArchError(f"no GPU has '{pattern}' in its name{did_you_mean(pattern, [text for gpu in gpus for text in _texts(gpu)])}")
    if as_json:
        click.echo(json.dumps([gpu_to_dict(gpu) for gpu in chosen], indent=1))
    else:
        click.echo(format_gpus(chosen), nl=False)
    if problems:
        raise ArchError("\n".join(problems))


def _texts(gpu: GPU) -> tuple[str, ...]:
    return (gpu.id, gpu.name, gpu.architecture, gpu.chip.name, *gpu.aliases)
