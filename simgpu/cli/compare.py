"""`simgpu compare`: networks, or kinds of convolution, side by side; published studies; generations of GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from simgpu.cli.options import model_arguments, model_options
from simgpu.cli.pictures import check_pictures, named_paths, save_picture, theme_option
from simgpu.cli.terminal import page_width
from simgpu.errors import OptionError

if TYPE_CHECKING:
    from simgpu.report.report import Report
    from simgpu.studies.table import Table


@click.command()
@click.argument("things", nargs=-1, metavar="MODEL... | dense depthwise pointwise separable grouped")
@click.option("--gpu", "gpus", multiple=True, metavar="GPU", help="A name that `simgpu gpus` lists, or a YAML file; several if repeated.")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says; 32 for convolutions.")
@click.option("--dtype", metavar="DTYPE", help="fp32, tf32, bf16, fp16, amp, int8 … Default: fp32; for --ladder fp16 where there are tensor cores.")
@click.option("--runtime", metavar="STACK", help="eager, graph, compiled or tensorrt. Default: eager; tensorrt for convolutions.")
@click.option("--channels", metavar="N,N…", help="Convolutions: channels in and out (128; 64,128,256; 32:256:32).")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Convolutions: height and width of the input. Default: 56.")
@click.option("--kernel", type=click.IntRange(min=1), metavar="N", help="Convolutions: height and width of the filters. Default: 3.")
@click.option("--stride", type=click.IntRange(min=1), metavar="N", help="Convolutions: the stride. Default: 1.")
@click.option("--groups", type=click.IntRange(min=1), metavar="N", help="Convolutions: groups of the grouped one. Default: 8.")
@model_options
@click.option("--mode", type=click.Choice(["inference", "train"]), default="inference", show_default=True, help="Models: a forward pass, or one training step.")
@click.option("--study", metavar="NAME", help="A published study beside the simulation: shufflenetv2-g1 … -g4, repvgg-density.")
@click.option("--ladder", "ladder_path", metavar="FILE", help="Draw one model from generation to generation, and what each gain came from.")
@click.option("--plot", "plot_path", metavar="FILE", help="Draw the comparison (.png, .svg, .pdf).")
@click.option(
    "--html", "html_path", metavar="FILE", help="All runs side by side as one web page that needs no network, each with its charts, timeline and kernels."
)
@click.option("-o", "--output", metavar="FILE", help="The table (.csv, .json, .parquet).")
@click.option("--force", is_flag=True, help="Replace the table that is there.")
@theme_option
def command(
    *,
    things: tuple[str, ...],
    gpus: tuple[str, ...],
    batch: int | None,
    dtype: str | None,
    runtime: str | None,
    channels: str | None,
    size: int | None,
    kernel: int | None,
    stride: int | None,
    groups: int | None,
    mode: str,
    study: str | None,
    ladder_path: str | None,
    plot_path: str | None,
    html_path: str | None,
    output: str | None,
    force: bool,
    theme: str,
    **chosen: Any,
) -> None:
    """Compare networks, or kinds of convolution, on one or more GPUs, and say why one is faster.

    \b
    simgpu compare resnet50 mobilenet_v2 repvgg_a0 shufflenet_v2_x1_0 --gpu t4 --gpu gtx-1080-ti --batch 32
    simgpu compare dense depthwise separable grouped --channels 64,128,256 --size 56 --gpu a100 --dtype fp16
    simgpu compare resnet50 resnext50_32x4d --gpu a100 --gpu h100 --dtype fp16 --html page.html
    simgpu compare resnet50 --batch 32 --runtime graph --ladder generations.png
    simgpu compare --study shufflenetv2-g1
    """
    named_paths([plot_path, ladder_path, html_path, output])
    if plot_path or ladder_path:
        check_pictures(plot_path, ladder_path, theme=theme)
    if html_path:
        from simgpu.report.files import check_writable

        check_writable(html_path)
        if study is not None or ladder_path:
            raise OptionError(f"--html {html_path}: shows networks or convolutions, not --{'study' if study is not None else 'ladder'}")
    if output is not None:
        _check_table(output, force)
    for name, given in (("MODEL", things), ("--gpu", gpus)):
        if twice := next((one for i, one in enumerate(given) if one in given[:i]), None):
            raise OptionError(f"{name} {twice}: given twice; name each once")
    layer = {name: value for name, value in (("size", size), ("kernel", kernel), ("stride", stride), ("groups", groups)) if value is not None}
    if study is not None:
        _study(study, things, gpus)
        return
    if not things:
        raise OptionError("nothing to compare; name models, kinds of convolution (dense separable …) or a --study")
    from simgpu.studies.convolutions import KINDS

    kinds = [thing for thing in things if thing in KINDS]
    if kinds and len(kinds) < len(things):
        other = next(thing for thing in things if thing not in KINDS)
        raise OptionError(f"{kinds[0]} is a convolution and {other} a model; compare models with models")
    if not kinds and (layer or channels):
        raise OptionError(f"--{next(iter(layer), 'channels')}: belongs to convolutions ({', '.join(KINDS)}), not to models")
    options = {name: value for name, value in model_arguments(**chosen).items() if value is not False}
    if kinds and (options or mode == "train"):
        raise OptionError(f"--{next(iter(options), 'mode').replace('_', '-')}: belongs to models, not to convolutions")
    if ladder_path:
        if kinds or len(things) > 1:
            raise OptionError(f"--ladder: expected one model, got {', '.join(things)}")
        _ladder(things[0], gpus, batch, dtype, runtime, {**options, "mode": mode}, ladder_path, theme)
        return
    if not gpus:
        raise OptionError("--gpu: missing, expected one or more; `simgpu gpus` lists them")
    shared = {"dtype": dtype or "fp32", "runtime": runtime or ("tensorrt" if kinds else "eager")}
    if kinds:
        reports, table = _convolutions(kinds, gpus, channels, {"batch": batch or 32, "size": 56, **layer}, shared, plot_path, theme)
    else:
        reports, table = _networks(things, gpus, batch, shared, {**options, "training": mode == "train"}, plot_path, theme)
    if html_path:
        from simgpu.report.html import write_html

        write_html(reports, html_path)
        click.echo(f"wrote {html_path}", err=True)
    if output is not None:
        table.save(output)
        click.echo(f"wrote {output}", err=True)


def _check_table(output: str, force: bool) -> None:
    from pathlib import Path

    from simgpu.report.files import check_writable
    from simgpu.studies.table import check_format

    check_writable(output)
    check_format(output)
    if Path(output).exists() and not force:
        raise OptionError(f"{output}: exists already; replace it with --force, or choose another output")


def _study(name: str, things: Sequence[str], gpus: Sequence[str]) -> None:
    from simgpu.api import load_gpu
    from simgpu.studies.ready import ready_study, run_ready
    from simgpu.studies.sidebyside import format_ready

    if things:
        raise OptionError(f"--study {name}: brings its own networks, '{things[0]}' has no place in it")
    found = ready_study(name)
    machines = [load_gpu(gpu) for gpu in gpus or (found.gpu,)]
    click.echo("\n".join(format_ready(found, machine.name, run_ready(found, machine)) for machine in machines), nl=False)


def _networks(
    models: Sequence[str], gpus: Sequence[str], batch: int | None, shared: dict[str, str], options: dict[str, Any], plot: str | None, theme: str
) -> tuple[Sequence[Report], Table]:
    from simgpu.api import compare
    from simgpu.studies.sidebyside import comparison_table, format_comparison, format_why

    reports = compare(models, gpus, batch=batch, **shared, **options)
    inputs: dict[str, list[Any]] = {
        "model": [r.model for r in reports],
        "gpu": [r.gpu.id for r in reports],
        "batch": [r.batch for r in reports],
        "dtype": [r.dtype for r in reports],
        "runtime": [r.runtime.name for r in reports],
    }
    table = comparison_table(reports, inputs)
    click.echo(f"{reports[0].setting}\n")
    click.echo(format_comparison(table, width=page_width()), nl=False)
    firsts = reports[: len(gpus)]
    pairs = [(report, firsts[i % len(gpus)]) for i, report in enumerate(reports) if i >= len(gpus)]
    if pairs:
        click.echo(format_why(pairs, width=page_width()), nl=False)
    if plot:
        from simgpu.plot.compare import plot_comparison

        save_picture(plot_comparison(reports, theme=theme), plot)
    return reports, table


def _convolutions(
    kinds: Sequence[str], gpus: Sequence[str], channels: str | None, sizes: dict[str, int], shared: dict[str, str], plot: str | None, theme: str
) -> tuple[Sequence[Report], Table]:
    from simgpu.api import load_gpu
    from simgpu.studies.convolutions import Layer, break_even, run_convolution
    from simgpu.studies.sidebyside import comparison_table, format_break_even, format_comparison, format_why

    counts = _channels(channels or "128")
    machines = [load_gpu(gpu) for gpu in gpus]
    inputs: dict[str, list[Any]] = {"channels": [], "kind": [], "gpu": []}
    reports: list[Report] = []
    pairs: list[tuple[Report, Report]] = []
    for count in counts:
        for machine in machines:
            first = len(reports)
            for kind in kinds:
                report = run_convolution(kind, Layer(channels=count, **sizes), machine, **shared)
                reports.append(replace(report, model=f"{kind}, {count} channels") if len(counts) > 1 else report)
                for name, value in (("channels", count), ("kind", kind), ("gpu", machine.id)):
                    inputs[name].append(value)
            if count == counts[-1]:
                pairs += [
                    (replace(report, model=kind), replace(reports[first], model=kinds[0])) for kind, report in zip(kinds[1:], reports[first + 1 :], strict=True)
                ]
    constant = {**sizes, **shared}
    table = comparison_table(reports, inputs | {name: [value] * len(reports) for name, value in constant.items()})
    layer = Layer(channels=counts[-1], **sizes)
    click.echo(f"{layer.kernel}×{layer.kernel} convolutions at {layer.size}×{layer.size}, batch {layer.batch} · {shared['dtype']} · {shared['runtime']}")
    click.echo("Kernel time; the input comes from DRAM.\n" + (f"{counts[0]} channel{'' if counts[0] == 1 else 's'}\n" if len(counts) == 1 else ""))
    click.echo(format_comparison(table, width=page_width()), nl=False)
    if pairs:
        click.echo(format_why(pairs, width=page_width()), nl=False)
    if "dense" in kinds and "separable" in kinds:
        click.echo(format_break_even([break_even(layer, machine, dtype=shared["dtype"], runtime=shared["runtime"]) for machine in machines]), nl=False)
    if plot:
        from simgpu.plot.sweep import plot_sweep

        series = "kind"
        drawn = dict(table.columns)
        if len(machines) > 1:
            series = "kind on gpu"
            drawn[series] = drawn["kind"] + " on " + drawn["gpu"]
        if len(counts) == 1:
            raise OptionError("--plot: one number of channels makes no curve; give several, such as --channels 16,32,64,128,256")
        said = " · ".join((f"{layer.kernel}×{layer.kernel}", f"{layer.size}×{layer.size}", f"batch {layer.batch}", *shared.values()))
        save_picture(plot_sweep(drawn, "channels", series=series, subtitle=said, theme=theme), plot)
    return reports, table


def _channels(text: str) -> list[int]:
    from simgpu.studies.axes import axis

    try:
        return [int(value) for value in axis("batch", text).points]
    except OptionError as problem:
        raise OptionError(str(problem).replace("batch", "--channels", 1)) from None


def _ladder(model: str, gpus: Sequence[str], batch: int | None, dtype: str | None, runtime: str | None, options: dict[str, Any], path: str, theme: str) -> None:
    from simgpu.plot.ladder import plot_ladder
    from simgpu.report.text import columns
    from simgpu.studies.ladder import GENERATIONS, PIECES, ladder
    from simgpu.units import format_quantity

    stack = runtime or "eager"
    rungs = ladder(model, gpus or GENERATIONS, dtype=dtype, batch=batch, runtime=stack, **options)
    said = " · ".join([f"batch {batch}"] * (batch is not None) + [stack])
    save_picture(plot_ladder(rungs, title=f"{model} from generation to generation", subtitle=said, theme=theme), path)
    causes = [cause for cause in PIECES if any(abs(factor - 1) >= 0.005 for rung in rungs for name, factor in rung.gains if name == cause)]
    rows = []
    for i, rung in enumerate(rungs):
        gains = dict(rung.gains)
        whole = f"×{rung.throughput_per_s / rungs[i - 1].throughput_per_s:.2f}" if i else ""
        name = rung.gpu.replace("GeForce ", "").replace("Tesla ", "")
        parts = [f"{gains[cause]:.2f}" if cause in gains else "" for cause in causes]
        rows.append((name, str(rung.year), rung.dtype, format_quantity(rung.latency_s, "s"), whole, *parts))
    click.echo(f"{model} · {said}\nWhat each gain came from: pieces of the newer GPU are put into the older one, from left to right.\n")
    header = ("GPU", "year", "dtype", "latency", "gain", *(cause.replace(" bandwidth", "") for cause in causes))
    click.echo("\n".join(columns(rows, "<><>" + ">" * (1 + len(causes)), header=header)))
