"""`simgpu diff`: two networks side by side."""

from __future__ import annotations

import json
from typing import Any

import click

from simgpu.cli.options import model_arguments, model_options


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--gpu", required=True, metavar="GPU", help="A name that `simgpu gpus` lists, or a YAML file.")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@click.option("--dtype", default="fp32", show_default=True, metavar="DTYPE", help="fp32, tf32, bf16, fp16, amp, int8, fp8, int4 …")
@click.option("--runtime", default="eager", show_default=True, metavar="STACK", help="eager, graph (CUDA graph), compiled (torch.compile) or tensorrt.")
@click.option("--depth", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Parts of the module path that tell stages apart.")
@model_options
@click.option("--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", help="Everything as JSON; on stdout instead of the page if no FILE.")
@click.option("--html", "html_path", metavar="FILE", help="Both runs side by side as one web page.")
def command(
    *, first: str, second: str, gpu: str, batch: int | None, dtype: str, runtime: str, depth: int, json_path: str | None, html_path: str | None, **chosen: Any
) -> None:
    """Compare two models stage by stage: parameters, arithmetic, DRAM traffic and time on a GPU.

    Stages are told apart by the first parts of the module path; each quantity stands three times: FIRST, SECOND, and the
    factor from one to the other.

    \b
    simgpu diff resnet50 resnext50_32x4d --gpu a100 --batch 32 --dtype fp16
    simgpu diff before.onnx after.onnx --gpu t4 --json
    """
    from simgpu.api import simulate
    from simgpu.frontends.load import load_model
    from simgpu.report.diff import diff, format_diff
    from simgpu.report.files import check_writable, write_text

    for path in (json_path if json_path != "-" else None, html_path):
        if path:
            check_writable(path)
    options = model_arguments(**chosen)
    graphs = load_model(first, batch=batch, **options), load_model(second, batch=batch, **options)
    reports = simulate(graphs[0], gpu, dtype=dtype, runtime=runtime), simulate(graphs[1], gpu, dtype=dtype, runtime=runtime)
    found = diff(graphs, reports, depth)
    if html_path:
        from simgpu.report.html import write_html

        write_html(reports, html_path)
        click.echo(f"wrote {html_path}", err=True)
    if json_path:
        text = json.dumps(found, indent=1) + "\n"
        if json_path == "-":
            click.echo(text, nl=False)
            return
        write_text(json_path, text)
        click.echo(f"wrote {json_path}", err=True)
    click.echo(format_diff(found), nl=False)
