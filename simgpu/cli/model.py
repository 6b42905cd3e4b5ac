"""`simgpu model`: what a network is made of."""

from __future__ import annotations

import json
from typing import Any

import click

from simgpu.cli.options import model_arguments, model_options


@click.command()
@click.argument("model")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@click.option("--depth", type=click.IntRange(min=1), default=2, show_default=True, metavar="N", help="Levels of modules shown; 1 shows the stages.")
@model_options
@click.option("--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", help="Everything as JSON; on stdout instead of the page if no FILE.")
def command(
    *,
    model: str,
    batch: int | None,
    depth: int,
    json_path: str | None,
    **chosen: Any,
) -> None:
    """Summarise MODEL module by module, as torchinfo does: shapes, parameters, arithmetic, activations.

    MODEL is an ONNX file, a Hugging Face config.json, or a name that `simgpu models` lists. The column "written" is what
    the ops write and FLOP/B their arithmetic intensity, each op going to memory by itself; 1 MAC = 2 FLOP.
    """
    from simgpu.frontends.load import load_model
    from simgpu.report.files import check_writable, write_text
    from simgpu.report.summary import format_summary, summarize

    if json_path and json_path != "-":
        check_writable(json_path)
    summary = summarize(load_model(model, batch=batch, **model_arguments(**chosen)))
    if json_path:
        text = json.dumps(summary.to_dict(), indent=1) + "\n"
        if json_path == "-":
            click.echo(text, nl=False)
            return
        write_text(json_path, text)
        click.echo(f"wrote {json_path}", err=True)
    click.echo(format_summary(summary, depth=depth), nl=False)
