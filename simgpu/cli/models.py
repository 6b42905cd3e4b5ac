"""`simgpu models`: the networks known by name."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict

import click

from simgpu.data_paths import search_dirs
from simgpu.errors import ModelError, did_you_mean
from simgpu.frontends.zoo import ZooRow, zoo_has, zoo_table
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
    rows = [row for row in zoo_table() if _matches(pattern, row.name, row.family, *row.aliases)]
    configs = {name: kind for name, kind in _configs().items() if _matches(pattern, name, kind)}
    if not rows and not configs:
        names = [*(n for row in zoo_table() for n in (row.family, row.name, *row.aliases)), *_configs()]
        raise ModelError(f"no model has '{pattern}' in its name{did_you_mean(pattern, names)}")
    if as_json:
        shipped = [{"name": name, "family": kind, "file": f"configs/{name}.json"} for name, kind in configs.items()]
        click.echo(json.dumps([*({**asdict(row), "file": row.file.name} for row in rows), *shipped], indent=1))
        return
    click.echo("\n".join([*(_table(rows) if rows else []), *([""] if rows and configs else []), *_config_lines(configs)]))


def _matches(pattern: str, *texts: str) -> bool:
    wanted = pattern.lower().replace("-", "_")
    return any(wanted in text.lower().replace("-", "_") for text in texts)


def _configs() -> dict[str, str]:
    """Names of the Hugging Face configs that are shipped or the user's own, with their kind; those the zoo has are left out."""
    paths = [path for folder in search_dirs("models") for path in sorted((folder / "configs").glob("*.json"))]
    found: dict[str, str] = {}
    for path in paths:
        if path.stem not in found and not zoo_has(path.stem):
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
                found[path.stem] = str(config.get("model_type") or config.get("_class_name", ""))
            except (OSError, ValueError, AttributeError):
                raise ModelError(f"{path}: is no Hugging Face config, expected a JSON object with a model_type; mend it or move it away") from None
    return found


def _config_lines(configs: dict[str, str]) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for name, kind in configs.items():
        kinds.setdefault(kind, []).append(name)
    if not kinds:
        return []
    width = max(map(len, kinds)) + 4
    lines = ["From a Hugging Face config, with prefill, :decode and options of their own"]
    for kind, names in sorted(kinds.items()):
        lines += textwrap.wrap(", ".join(names), 118, initial_indent=f"  {kind}".ljust(width), subsequent_indent=" " * width, break_on_hyphens=False)
    return [*lines, "", _count(len(configs), "config", "configs")]


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
