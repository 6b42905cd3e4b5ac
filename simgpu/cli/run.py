"""`simgpu run`: a model on a GPU."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from simgpu.cli.options import NAMED, model_arguments, model_options
from simgpu.cli.pictures import check_pictures, draw_run, named_paths, run_picture_options, run_picture_paths
from simgpu.cli.terminal import page_width
from simgpu.errors import OptionError, did_you_mean
from simgpu.report.records import UTILIZATION

if TYPE_CHECKING:
    from simgpu.report.report import Report

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
@click.option("--optimizer", metavar="NAME", help="Of a training step: sgd (the default), adam or none.")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, metavar="N", help="List the N slowest kernels.")
@click.option("--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", help="Everything as JSON; on stdout instead of the page if no FILE.")
@click.option("--csv", "csv_path", metavar="FILE", help="One row a kernel.")
@click.option("--trace", "trace_path", metavar="FILE", help="Chrome trace for ui.perfetto.dev; compressed if FILE ends in .gz.")
@click.option("--html", "html_path", metavar="FILE", help="The report as one web page that needs no network: charts, timeline, every kernel.")
@run_picture_options
@click.option(
    "--beside",
    "besides",
    multiple=True,
    metavar="KEY=VALUE,…",
    help="A further run that differs in these, on the page of --html and in --roofline: gpu=t4,dtype=fp32.",
)
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
    theme: str,
    besides: tuple[str, ...],
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
    simgpu run resnet50 --gpu a100 --batch 32 --html page.html --beside gpu=t4 --beside dtype=fp16,runtime=tensorrt
    """
    if optimizer and mode != "train":
        raise OptionError(f"--optimizer {optimizer}: an inference has none; add --mode train or leave it out")
    pictures = run_picture_paths(chosen)
    _check_outputs([json_path if json_path != "-" else None, csv_path, trace_path, html_path], list(pictures.values()), theme)
    if besides and not (html_path or "roofline" in pictures):
        raise OptionError(f"--beside {besides[0]}: shows in --html and --roofline only; add --html FILE")

    from simgpu.arch.loader import parse_settings

    options: dict[str, Any] = {"model": model, "gpu": gpu, "batch": batch, "dtype": dtype, "runtime": runtime, "streams": streams, "host": host}
    options |= {"attention": attention, "mode": mode, "optimizer": optimizer}
    options |= model_arguments(**{name: value for name, value in chosen.items() if not name.endswith("_path")})
    settings_of_gpu = parse_settings(settings)
    runs = [(options, settings_of_gpu), *(beside(text, options, settings_of_gpu) for text in besides)]
    reports = [_simulated(**one, overrides=overrides) for one, overrides in runs]
    report = reports[0]
    if csv_path:
        from simgpu.report.export import to_csv

        _write(csv_path, to_csv(report))
    if trace_path:
        from simgpu.report.trace import to_trace

        _write(trace_path, to_trace(report))
    if html_path:
        from simgpu.report.html import write_html

        write_html(reports, html_path)
        _say(html_path)
    draw_run(reports, pictures, theme)
    if json_path:
        from simgpu.report.export import to_json

        if json_path == "-":
            click.echo(to_json(report), nl=False)
            return
        _write(json_path, to_json(report))
    from simgpu.report.table import format_report

    click.echo(format_report(report, width=page_width(), top=top), nl=False)


def _simulated(*, model: str, gpu: str, streams: int, mode: str, optimizer: str | None, **options: Any) -> Report:
    from simgpu.api import simulate

    return simulate(model, gpu, num_streams=streams, training=mode == "train", optimizer=optimizer or "sgd", **options)


def beside(text: str, options: Mapping[str, Any], overrides: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Options and overrides of a run that differs from another one in what a `--beside` text says.

    >>> beside("dtype=fp16,dram.clock=2 GHz", {"dtype": "fp32", "batch": 8}, {})
    ({'dtype': 'fp16', 'batch': 8}, {'dram.clock': '2 GHz'})
    """
    changed, fields = dict(options), dict(overrides)
    known = [*_BESIDE, *NAMED]
    for part in re.split(r",(?=[^,=]+=)", text):
        key, equals, value = (one.strip() for one in part.partition("="))
        name = key.replace("-", "_")
        if not (key and equals and value):
            raise OptionError(f"--beside {text}: expected KEY=VALUE, such as gpu=t4 or dtype=fp16,batch=64")
        if "." in key:
            fields[key] = value
        elif name not in known:
            raise OptionError(f"--beside {text}: '{key}' cannot differ, expected one of {', '.join(known)} or a field of the GPU{did_you_mean(name, known)}")
        elif name in _WHOLE:
            if not value.isdecimal() or int(value) < 1:
                raise OptionError(f"--beside {text}: {key}: expected a whole number of 1 or more, got '{value}'")
            changed[name] = int(value)
        elif name == "mode" and value not in ("inference", "train"):
            raise OptionError(f"--beside {text}: mode: expected inference or train, got '{value}'")
        else:
            changed[name] = value
    return changed, fields


_BESIDE = ("model", "gpu", "batch", "dtype", "runtime", "streams", "host", "attention", "mode", "optimizer")
_WHOLE = {"batch", "streams", *NAMED} - {"phase", "experts"}


def _check_outputs(texts: list[str | None], pictures: list[str], theme: str) -> None:
    """Refuses files that cannot be written before any time is spent."""
    from simgpu.report.files import check_writable

    for path in (text for text in texts if text):
        check_writable(path)
    if pictures or theme != "light":
        check_pictures(*pictures, theme=theme)
    named_paths([*texts, *pictures])


def _write(path: str, text: str) -> None:
    from simgpu.report.files import write_text

    write_text(path, text)
    _say(path)


def _say(path: str) -> None:
    click.echo(f"wrote {path}", err=True)
