"""`simgpu run`: a model on a GPU."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from simgpu.cli.options import model_arguments, model_options
from simgpu.cli.options import parse_params as parse_params
from simgpu.cli.options import parse_shapes as parse_shapes
from simgpu.errors import OptionError
from simgpu.report.records import UTILIZATION

_EPILOG = "\b\nHow busy the GPU is, term by term, for a run that is repeated without pause:\n" + "\n".join(
    textwrap.fill(f"{term:<13} {meaning}", 78, initial_indent="  ", subsequent_indent=" " * 16, break_on_hyphens=False)
    for term, (_, meaning) in UTILIZATION.items()
)


@click.command(epilog=_EPILOG)
@click.argument("model")
@click.option("--gpu", required=True, metavar="GPU", help="A name that `simgpu gpus` lists, or a YAML file.")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@click.option("--dtype", default="fp32", show_default=True, metavar="DTYPE", help="fp32, tf32, bf16, fp16, amp, int8, fp8, int4 …")
@click.option("--runtime", default="eager", show_default=True, metavar="STACK", help="eager, graph (CUDA graph), compiled (torch.compile) or tensorrt.")
@click.option("--streams", type=int, default=1, show_default=True, metavar="N", help="Spread branches of the network over so many streams.")
@click.option("--host", metavar="HOST", help="Who launches: pytorch-1, pytorch-2, none. Default: the calibrated host of the GPU's generation.")
@click.option("--attention", metavar="KIND", help="fused (one kernel) or math. Default: what the runtime does on this GPU.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of the GPU: --set sm.count=160 --set dram.clock='2 GHz'.")
@model_options
@click.option("--mode", type=click.Choice(["inference", "train"]), default="inference", show_default=True, help="A forward pass, or one training step.")
@click.option("--optimizer", metavar="NAME", help="Of a training step: sgd (the default) or adam.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, metavar="N", help="List the N slowest kernels.")
@click.option("--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", help="Everything as JSON; on stdout instead of the page if no FILE.")
@click.option("--csv", "csv_path", metavar="FILE", help="One row a kernel.")
@click.option("--trace", "trace_path", metavar="FILE", help="Chrome trace for ui.perfetto.dev; compressed if FILE ends in .gz.")
@click.option("--html", "html_path", metavar="FILE", help="The report as one web page that needs no network: charts, timeline, every kernel.")
@click.option("--roofline", "roofline_path", metavar="FILE", help="Draw the roofline (.png, .svg, .pdf).")
@click.option("--timeline", "timeline_path", metavar="FILE", help="Draw the timeline (.png, .svg, .pdf).")
def command(
    *,
    model: str,
    gpu: str,
    batch: int | None,
    dtype: str,
    runtime: str,
    streams: int,
    host: str | None,
    attention: str | None,
    settings: tuple[str, ...],
    mode: str,
    optimizer: str | None,
    top: int,
    json_path: str | None,
    csv_path: str | None,
    trace_path: str | None,
    html_path: str | None,
    roofline_path: str | None,
    timeline_path: str | None,
    **chosen: Any,
) -> None:
    """Simulate MODEL on a GPU and say how long it takes, and why.

    MODEL is an ONNX file, a Hugging Face config.json, or a name: `simgpu models` lists them, and the spellings of timm,
    torchvision and Hugging Face are understood.

    \b
    simgpu run resnet50 --gpu a100 --batch 32 --dtype fp16
    simgpu run net.onnx --gpu t4 --shape batch=8 --trace net.json.gz
    simgpu run bert-base --gpu v100 --seq-len 384 --dtype amp --json
    simgpu run llama-3-8b --gpu h100 --dtype bf16 --runtime graph --batch 16 --context 4096 --new-tokens 256
    simgpu run resnet50 --gpu a100 --batch 256 --dtype amp --mode train
    """
    if optimizer and mode != "train":
        raise OptionError(f"--optimizer {optimizer}: an inference has none; add --mode train or leave it out")
    _check_outputs(json_path, csv_path, trace_path, html_path, roofline_path, timeline_path)

    from simgpu.api import simulate
    from simgpu.arch.loader import parse_settings

    report = simulate(
        model,
        gpu,
        batch=batch,
        dtype=dtype,
        runtime=runtime,
        num_streams=streams,
        host=host,
        overrides=parse_settings(settings),
        attention=attention,
        training=mode == "train",
        optimizer=optimizer or "sgd",
        **model_arguments(**chosen),
    )
    if csv_path:
        from simgpu.report.export import to_csv

        _write(csv_path, to_csv(report))
    if trace_path:
        from simgpu.report.trace import to_trace

        _write(trace_path, to_trace(report))
    if html_path:
        from simgpu.report.html import write_html

        write_html(report, html_path)
        _say(html_path)
    if roofline_path:
        from simgpu.plot.roofline import plot_roofline
        from simgpu.plot.style import save

        save(plot_roofline(report).get_figure(root=True), roofline_path)  # type: ignore[arg-type]
        _say(roofline_path)
    if timeline_path:
        from simgpu.plot.style import save
        from simgpu.plot.timeline import timeline_figure

        save(timeline_figure(report), timeline_path)
        _say(timeline_path)
    if json_path:
        from simgpu.report.export import to_json

        if json_path == "-":
            click.echo(to_json(report), nl=False)
            return
        _write(json_path, to_json(report))
    from simgpu.report.table import format_report

    click.echo(format_report(report, width=page_width(), top=top), nl=False)


def page_width() -> int:
    """Columns to write: those of the terminal, 100 where there is none. COLUMNS overrides."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 100


def _check_outputs(
    json_path: str | None, csv_path: str | None, trace_path: str | None, html_path: str | None, roofline_path: str | None, timeline_path: str | None
) -> None:
    """Refuses files that cannot be written before any time is spent."""
    from simgpu.report.files import check_writable

    texts = [p for p in (json_path if json_path != "-" else None, csv_path, trace_path, html_path) if p]
    pictures = [p for p in (roofline_path, timeline_path) if p]
    seen: set[Path] = set()
    for path in (*texts, *pictures):
        check_writable(path)
        if Path(path).is_file() or not Path(path).exists():
            if Path(path).resolve() in seen:
                raise OptionError(f"{path}: two outputs have this name; give each a file of its own")
            seen.add(Path(path).resolve())
    if pictures:
        from simgpu.plot.style import check_format

        for path in pictures:
            check_format(path)


def _write(path: str, text: str) -> None:
    from simgpu.report.files import write_text

    write_text(path, text)
    _say(path)


def _say(path: str) -> None:
    click.echo(f"wrote {path}", err=True)
