"""`simgpu graph`: a network as a picture, as text, or as ONNX without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simgpu.cli.options import model_arguments, model_options
from simgpu.errors import OptionError, did_you_mean

_SUFFIXES = (".svg", ".txt", ".onnx")


@click.command()
@click.argument("model")
@click.option("-o", "--output", metavar="FILE", help="A picture (.svg), text (.txt) or ONNX without weights (.onnx). Default: the text on stdout.")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@model_options
def command(*, model: str, output: str | None, batch: int | None, **chosen: Any) -> None:
    """Show MODEL as a graph of operators.

    \b
    simgpu graph resnet50 -o resnet50.svg   modules as boxes, blocks that repeat drawn once
    simgpu graph resnet50 -o resnet50.txt   one line an operator, to read, compare and edit
    simgpu graph resnet50 -o resnet50.onnx  shapes without weights, for Netron and for simgpu run
    """
    from simgpu.frontends.load import load_model
    from simgpu.graph.text import to_text
    from simgpu.report.files import check_writable, write_bytes, write_text

    suffix = Path(output).suffix.lower() if output else ".txt"
    if suffix not in _SUFFIXES:
        said = f"'{suffix}'" if suffix else "no suffix"
        raise OptionError(f"{output}: {said} says no form of a graph, expected {', '.join(_SUFFIXES)}{did_you_mean(suffix, _SUFFIXES)}")
    if output:
        check_writable(output)
    graph = load_model(model, batch=batch, **model_arguments(**chosen))
    if not output:
        click.echo(to_text(graph), nl=False)
        return
    if suffix == ".txt":
        write_text(output, to_text(graph))
    elif suffix == ".svg":
        from simgpu.report.graph_svg import graph_svg

        write_text(output, graph_svg(graph))
    else:
        from simgpu.frontends.onnx_write import to_onnx

        write_bytes(output, to_onnx(graph))
    click.echo(f"wrote {output}", err=True)
