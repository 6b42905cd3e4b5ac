"""`simgpu gpu`: the spec sheet of a GPU."""

from __future__ import annotations

import json

import click

from simgpu.arch.loader import load_gpu, parse_settings
from simgpu.cli.terminal import page_width
from simgpu.report.spec_sheet import format_gpu, gpu_to_dict


@click.command()
@click.argument("name")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a value: --set sm.count=160 --set dram.bandwidth='4 TB/s'.")
@click.option("--json", "as_json", is_flag=True, help="Print the record and what is derived from it as JSON.")
def command(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Print the spec sheet of the GPU NAME: units, derived peaks, ridge points, memory, board and sources.

    NAME is one that `simgpu gpus` lists, an alias (a100), what the driver prints ("Tesla T4"), or a YAML file. Peaks are
    dense and at the boost clock, or the tensor cores' own; the ridge is the arithmetic intensity where they meet DRAM.
    """
    gpu = load_gpu(name, parse_settings(settings))
    click.echo(json.dumps(gpu_to_dict(gpu), indent=1) + "\n" if as_json else format_gpu(gpu, width=page_width()), nl=False)
