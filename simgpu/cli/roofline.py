"""`simgpu roofline`: models on GPUs, on one chart."""

from __future__ import annotations

from typing import Any

import click

from simgpu.cli.options import model_arguments, model_options
from simgpu.cli.pictures import check_pictures, save_picture, theme_option
from simgpu.cli.terminal import page_width
from simgpu.errors import OptionError


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--gpu", "gpus", multiple=True, required=True, metavar="GPU", help="A name that `simgpu gpus` lists, or a YAML file; several if repeated.")
@click.option("--batch", type=int, metavar="N", help="Samples in one run. Default: 1, or what the file says.")
@click.option("--dtype", default="fp32", show_default=True, metavar="DTYPE", help="fp32, tf32, bf16, fp16, amp, int8, fp8, int4 …")
@click.option("--runtime", default="eager", show_default=True, metavar="STACK", help="eager, graph (CUDA graph), compiled (torch.compile) or tensorrt.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field of every GPU: --set dram.clock='2 GHz'.")
@model_options
@click.option("-o", "--output", default="roofline.png", show_default=True, metavar="FILE", help="The picture (.png, .svg, .pdf).")
@theme_option
@click.option("--width", type=click.FloatRange(3, 40), default=8.0, show_default=True, metavar="INCH", help="Width of the picture.")
def command(
    *,
    models: tuple[str, ...],
    gpus: tuple[str, ...],
    batch: int | None,
    dtype: str,
    runtime: str,
    settings: tuple[str, ...],
    output: str,
    theme: str,
    width: float,
    **chosen: Any,
) -> None:
    """Draw models on the roofline of GPUs.

    One model on one GPU: each kernel as a point under the ceilings of the memory levels and of the pipes it uses, as
    large as its share of the time. Several: a colour for each GPU, a marker for each model, and the run as a whole.

    \b
    simgpu roofline resnet50 --gpu a100 --batch 32 --dtype fp16 -o resnet50.svg
    simgpu roofline resnet50 mobilenet_v2 --gpu a100 --gpu t4 --batch 32 --dtype fp16 --theme dark
    """
    check_pictures(output, theme=theme)
    for what, names in (("model", models), ("--gpu", gpus)):
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise OptionError(f"{what} {twice}: given twice; name each once")

    from simgpu.api import simulate
    from simgpu.arch.loader import parse_settings
    from simgpu.report.text import columns
    from simgpu.units import format_quantity

    options = model_arguments(**chosen)
    overrides = parse_settings(settings)
    reports = [simulate(model, gpu, batch=batch, dtype=dtype, runtime=runtime, overrides=overrides, **options) for model in models for gpu in gpus]

    from simgpu.plot.roofline import plot_roofline
    from simgpu.plot.style import new_figure

    save_picture(plot_roofline(reports, ax=new_figure(width, max(0.625 * width, 3.2), theme=theme).add_subplot(), theme=theme), output)
    rows = [
        (
            r.model,
            r.gpu.name,
            format_quantity(r.latency_s, "s"),
            format_quantity(r.intensity_flop_per_byte, "FLOP/B"),
            format_quantity(r.gpu.ridge_flop_per_byte(r.math_dtype), "FLOP/B"),
            format_quantity(r.flop_per_s, "FLOP/s"),
            f"{r.utilization.mfu_fraction:.0%}",
            r.bound,
        )
        for r in reports
    ]
    header = ("model", "GPU", "latency", "intensity", "ridge", "performance", "of peak", "bound by")
    click.echo("\n".join(line[: page_width()].rstrip() for line in columns(rows, "<<>>>>><", header=header)))
