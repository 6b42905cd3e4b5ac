"""`simgpu models`: the networks known by name."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from simgpu.errors import ModelError, did_you_mean
from simgpu.frontends.zoo import ZooRow, zoo_table
from simgpu.report.text import columns
from simgpu.units import format_quantity


@click.command()
@click.argument("pattern", default="")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def command(pattern: str, as_json: bool) -> None:
    """List the models known by name, by family; only those whose name, family or alias contains PATTERN.

    Parameters and multiply-accumulates (1 MAC = 2 FLOP) are those at batch 1 and the input shown. Any spelling of the
    names of timm, torchvision and Hugging Face is accepted, NAME@192 sets the image size or sequence length, and
    NAME:key=value,… sets options of the network.
    """
    rows = [row for row in zoo_table() if _matches(row, pattern)]
    if not rows:
        names = [n for row in zoo_table() for n in (row.family, row.name, *row.aliases)]
        raise ModelError(f"no model has '{pattern}' in its name{did_you_mean(pattern, names)}")
    if as_json:
        click.echo(json.dumps([{**asdict(row), "file": row.file.name} for row in rows], indent=1))
        return
    click.echo("\n".join(_table(rows)))


def _matches(row: ZooRow, pattern: str) -> bool:
    wanted = pattern.lower().replace("-", "_")
    return any(wanted in text.lower().replace("-", "_") for text in (row.name, row.family, *row.aliases))


def _table(rows: list[ZooRow]) -> list[str]:
    families: dict[str, list[ZooRow]] = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    cells = [_cells(row) for group in families.values() for row in group]
    header, *lines = columns(cells, "<>><<", header=("model", "parameters", "MACs", "input", "also known as"))
    result = [header]
    for family, group in families.items():
        result += [family, *lines[: len(group)]]
        lines = lines[len(group) :]
    return [*result, "", f"{_count(len(rows), 'model', 'models')} in {_count(len(families), 'family', 'families')}"]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _cells(row: ZooRow) -> tuple[str, ...]:
    return (row.name, format_quantity(row.params, ""), format_quantity(row.macs, ""), row.input.replace("x", "×"), ", ".join(row.aliases))
