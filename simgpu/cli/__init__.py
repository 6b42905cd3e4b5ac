"""The command line: arguments → api → print. Each command has a file of its own, imported only when it runs.

A command file `simgpu/cli/NAME.py` holds a click command named `command`. Status 0, 1 (the user's mistake, one
message on stderr) or 2 (usage).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence

import click

from simgpu.errors import SimgpuError

# name → (module, one line for --help)
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("simgpu.cli.run", "Simulate a model on a GPU and say how long it takes, and why."),
    "roofline": ("simgpu.cli.roofline", "Draw a model on the roofline of one or more GPUs."),
    "whatif": ("simgpu.cli.whatif", "Run a model on GPUs that do not exist: what if it had more of this?"),
    "sweep": ("simgpu.cli.sweep", "Run a study that a file describes, on all cores or a cluster."),
    "compare": ("simgpu.cli.compare", "Compare networks, kinds of convolution, or generations of GPUs, and say why."),
    "op": ("simgpu.cli.op", "Explain the time of a single operator step by step."),
    "model": ("simgpu.cli.model", "Summarise a model layer by layer, like torchinfo."),
    "graph": ("simgpu.cli.graph", "Show a model as a picture, as text, or write it as ONNX without weights."),
    "diff": ("simgpu.cli.diff", "Compare two models: parameters, arithmetic, traffic and time, stage by stage."),
    "models": ("simgpu.cli.models", "List the models known by name."),
    "gpu": ("simgpu.cli.gpu", "Print the spec sheet of a GPU."),
    "gpus": ("simgpu.cli.gpus", "List the GPUs by generation."),
    "validate": ("simgpu.cli.validate", "Compare predictions with measured times."),
    "calibrate": ("simgpu.cli.calibrate", "Refit the factors that no datasheet states on measured times."),
    "measure": ("simgpu.cli.measure", "Measure kernels and networks on this machine's GPU."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="simgpu")
def cli() -> None:
    """Simulate neural networks on GPUs, from Tesla to Blackwell, and explain every microsecond."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; the exit status. Never raises for a user's mistake."""
    try:
        status = cli.main(args=None if argv is None else list(argv), prog_name="simgpu", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("simgpu: stopped", err=True)
        return 130
    except SimgpuError as error:
        click.echo(f"simgpu: {error}", err=True)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.filename is not None:  # not the output's own stream
            raise
        with contextlib.suppress(OSError):
            sys.stdout.close()  # what it still holds cannot be written either
        click.echo(f"simgpu: the output cannot be written: {(error.strerror or str(error)).lower()}", err=True)
        return 1
    return status if isinstance(status, int) else 0  # `ctx.exit(status)` ends a command with its status as the value
