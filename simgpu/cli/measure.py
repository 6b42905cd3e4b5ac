"""`simgpu measure`: the measuring module under the common command."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, *, arguments: tuple[str, ...]) -> None:
    """Measure kernels and networks on this machine's GPU (needs PyTorch and an NVIDIA GPU)."""
    from simgpu.measure.__main__ import main

    try:
        ctx.exit(main(list(arguments)))
    except SystemExit as error:  # argparse's way to end
        ctx.exit(error.code if isinstance(error.code, int) else 2)
