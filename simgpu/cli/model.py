"""`simgpu model`: what a network is made of."""

from __future__ import annotations

import json

import click

from simgpu.cli.run import parse_params, parse_shapes


@click.command()
@click.argument("model")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@click.option("--depth", type=click.IntRange(min=1), default=2, show_default=True, metavar="N", help="Levels of modules shown; 1 shows the stages.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=N", help="ONNX: bind a symbolic dim (SYMBOL=N) or a whole input (INPUT=1,3,640,640).")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="An option of a model known by name: --param num_classes=10.")
@click.option("--seq-len", type=int, metavar="N", help="Sequence length of a model known by name.")
@click.option("--image-size", type=int, metavar="N", help="Image size of a model known by name.")
@click.option("--allow-unknown", is_flag=True, help="Count operators without a rule as memory traffic, instead of refusing the model.")
@click.option("--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", help="Everything as JSON; on stdout instead of the page if no FILE.")
def command(
    *,
    model: str,
    batch: int | None,
    depth: int,
    shapes: tuple[str, ...],
    params: tuple[str, ...],
    seq_len: int | None,
    image_size: int | None,
    allow_unknown: bool,
    json_path: str | None,
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
    options = parse_params(params, seq_len=seq_len, image_size=image_size)
    summary = summarize(load_model(model, batch=batch, allow_unknown=allow_unknown, **parse_shapes(shapes), **options))
    if json_path:
        text = json.dumps(summary.to_dict(), indent=1) + "\n"
        if json_path == "-":
            click.echo(text, nl=False)
            return
        write_text(json_path, text)
        click.echo(f"wrote {json_path}", err=True)
    click.echo(format_summary(summary, depth=depth), nl=False)
