"""What commands that draw have in common: where pictures go, how they look, and the pictures of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simgpu.errors import OptionError

if TYPE_CHECKING:
    from simgpu.report.report import Report

theme_option = click.option(
    "--theme", default="light", show_default=True, metavar="THEME", help="How pictures look: light, dark, or print (told apart in grey too)."
)

_OF_A_RUN = {
    "roofline": "Draw the roofline (.png, .svg, .pdf).",
    "time_roofline": "Draw the roofline over the run's time: each kernel as wide as it takes, under what the machine allows it.",
    "timeline": "Draw the timeline, and how busy the GPU is under it.",
    "layers": "Draw the time of each layer.",
    "waterfall": "Draw why the run is not at the datasheet's peak.",
}


def run_picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `draw_run`: a file for each picture, and the theme."""
    command = theme_option(command)
    for name, text in reversed(_OF_A_RUN.items()):
        command = click.option(f"--{name.replace('_', '-')}", f"{name}_path", metavar="FILE", help=text)(command)
    return command


def run_picture_paths(options: Mapping[str, Any]) -> dict[str, str]:
    """The pictures asked for among a command's arguments, by name."""
    return {name: options[f"{name}_path"] for name in _OF_A_RUN if options.get(f"{name}_path")}


def draw_run(reports: Sequence[Report], paths: Mapping[str, str], theme: str) -> None:
    """Draws the first run, and all of them where one picture holds several; says so on stderr."""
    from simgpu import plot

    draws: dict[str, Callable[[], Any]] = {
        "roofline": lambda: plot.plot_roofline(reports, theme=theme),
        "time_roofline": lambda: plot.plot_time_roofline(reports[0], theme=theme),
        "timeline": lambda: plot.timeline_figure(reports[0], theme=theme),
        "layers": lambda: plot.plot_layers(reports[0], theme=theme),
        "waterfall": lambda: plot.plot_waterfall(reports[0], theme=theme),
    }
    for name, path in paths.items():
        save_picture(draws[name](), path)


def check_pictures(*paths: str | None, theme: str) -> None:
    """Refuses pictures that cannot be written before any time is spent.

    Raises:
        OptionError: No such theme or format, or a file that cannot be written.
    """
    from simgpu.plot.style import check_format, theme_named
    from simgpu.report.files import check_writable

    theme_named(theme)
    for path in (one for one in paths if one):
        check_writable(path)
        check_format(path)


def named_paths(paths: Sequence[str | None]) -> list[str]:
    """The paths that were given.

    Raises:
        OptionError: Two are the same file.
    """
    given = [path for path in paths if path]
    files = [Path(path).resolve() if Path(path).is_file() or not Path(path).exists() else path for path in given]  # not /dev/null
    for i, path in enumerate(given):
        if isinstance(files[i], Path) and files[i] in files[:i]:
            raise OptionError(f"{path}: two outputs have this name; give each a file of its own")
    return given


def save_picture(picture: Any, path: str) -> None:
    """Writes a picture and says so on stderr."""
    from simgpu.plot.style import save

    save(picture, path)
    click.echo(f"wrote {path}", err=True)
