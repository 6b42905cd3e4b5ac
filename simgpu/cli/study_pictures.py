"""What `whatif` and `sweep` draw of a study's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from simgpu.cli.pictures import named_paths, save_picture, theme_option
from simgpu.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from simgpu.studies.study import Study
    from simgpu.studies.table import Table

_OPTIONS = (
    click.option("--plot", "plot_path", metavar="FILE", help="Draw the latency along the first number that varies (.png, .svg, .pdf)."),
    click.option("--map", "map_path", metavar="FILE", help="Draw what limits the run over the two numbers that vary, with lines of equal latency."),
    click.option(
        "--iso", "iso_path", metavar="FILE", help="Draw lines of equal latency over the two numbers that vary, in a colour for each of what else does."
    ),
    click.option("--value", metavar="COLUMN", help="Draw this column in --plot, --map and --iso: throughput, energy, power, mfu …"),
    click.option(
        "--latency-throughput", "curves_path", metavar="FILE", help="Draw throughput against latency as the batch varies, a curve for each of what else does."
    ),
    click.option("--pareto", nargs=2, metavar="X,Y FILE", help="Draw the designs by two columns, and the best: --pareto area,latency FILE."),
    theme_option,
)
# argument → option, of pictures of a table
DRAWN = {
    "plot_path": "--plot", "map_path": "--map", "iso_path": "--iso", "curves_path": "--latency-throughput", "pareto": "--pareto", "value": "--value",
}  # fmt: skip
ESTIMATES = {"area": "die_area_estimate_mm2", "cost": "die_cost_estimate_usd"}


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `draw`, for a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def picture_paths(options: Mapping[str, Any]) -> list[str]:
    """The files that a command's arguments ask pictures into.

    Raises:
        OptionError: Two are the same.
    """
    return named_paths(
        [*(options[name] for name in DRAWN if name.endswith("_path")), options["pareto"][1] if options["pareto"] else None, options.get("tornado_path")]
    )


def check_drawable(study: Study, options: Mapping[str, Any]) -> None:
    """Refuses pictures that the study's table will have no columns for, before any time is spent on it.

    Raises:
        OptionError: What varies does not fit the picture, or a column does not exist.
    """
    from simgpu.studies.table import Table

    axes = {one.column: study.designs.columns[one.name] for one in study.designs.axes}
    table = Table(columns={**axes, **{name: np.zeros(0) for name in study.columns if name not in axes}}, inputs=tuple(axes))
    if options["plot_path"]:
        _curve_axes(table)
    if options["map_path"]:
        _map_axes(table, "--map")
    if options["iso_path"]:
        _map_axes(table, "--iso")
    if options["curves_path"] and "batch" not in table.varied:
        raise OptionError("--latency-throughput: the batch does not vary; add --vary batch=1,2,4,8,16,32 (in a study file: batch: [1, 2, 4])")
    if options["value"]:
        column_named(table, options["value"])
    if options["pareto"]:
        for name in _two_columns(options["pareto"][0]):
            if name not in (*ESTIMATES, *ESTIMATES.values()):
                column_named(table, name)


def draw(study: Study, table: Table, options: Mapping[str, Any]) -> None:
    """Draws what a command's arguments ask for, and says so on stderr."""
    from simgpu.studies.page import setting

    said, value, theme = setting(table), options["value"], options["theme"]
    if path := options["plot_path"]:
        from simgpu.plot.sweep import plot_sweep

        x, series = _curve_axes(table)
        y = column_named(table, value) if value else "throughput_per_s" if x == "batch" else "latency_s"
        save_picture(plot_sweep(table.columns, x, y, series=series, subtitle=said, theme=theme), path)
    if path := options["map_path"]:
        save_picture(_map(table, value, said, theme), path)
    if path := options["iso_path"]:
        save_picture(_iso(table, value, said, theme), path)
    if path := options["curves_path"]:
        save_picture(_latency_throughput(table, said, theme), path)
    if options["pareto"]:
        save_picture(_pareto(study, table, options["pareto"][0], said, theme), options["pareto"][1])


def _latency_throughput(table: Table, subtitle: str, theme: str) -> Any:
    from simgpu.plot.latency_throughput import curves_of_columns, plot_latency_throughput

    curves = curves_of_columns(table.columns, [name for name in table.varied if name != "batch"])
    decodes = "new_tokens" in table.inputs or ("phase" in table.inputs and set(table["phase"].tolist()) == {"decode"})
    return plot_latency_throughput(curves, subtitle=subtitle, unit="tokens/s" if decodes else "samples/s", theme=theme)


def _iso(table: Table, value: str | None, subtitle: str, theme: str) -> Any:
    from simgpu.plot.iso import plot_iso
    from simgpu.studies.fronts import cells
    from simgpu.studies.page import show

    x, y = _map_axes(table, "--iso")
    column = column_named(table, value) if value else "latency_s"
    if not _is_number(table, column):
        raise OptionError(f"--iso: {column} holds no numbers")
    others = [name for name in table.varied if name not in (x, y)]
    rows: dict[str, list[int]] = {}
    for i in range(len(table)):
        rows.setdefault(" · ".join(show(name, table[name][i]) for name in others), []).append(i)
    grids = {}
    for name, members in rows.items():
        xs, ys, grids[name] = cells(table.take(np.array(members)), x, y, column)
    return plot_iso((x, xs), (y, ys), column, grids, subtitle=subtitle, theme=theme)


def _map_axes(table: Table, option: str) -> tuple[str, str]:
    """The two columns of a map; beside them others may vary in --iso, whose curves then have several colours."""
    axes = [name for name in table.varied if _is_number(table, name)]
    if len(axes) < 2 or (option == "--map" and len(table.varied) > 2):
        verb = "vary" if len(table.varied) > 1 else "varies"
        raise OptionError(f"{option}: {', '.join(table.varied) or 'nothing'} {verb}, expected two numbers")
    return axes[0], axes[1]


def _map(table: Table, value: str | None, subtitle: str, theme: str) -> Any:
    from simgpu.plot.heatmap import plot_bottlenecks, plot_heatmap
    from simgpu.studies.fronts import cells

    x, y = _map_axes(table, "--map")
    shown = column_named(table, value) if value else "bound"
    xs, ys, matrix = cells(table, x, y, shown)
    if shown == "bound":
        return plot_bottlenecks((x, xs), (y, ys), matrix, cells(table, x, y, "latency_s")[2], subtitle=subtitle, theme=theme)
    return plot_heatmap((x, xs), (y, ys), (shown, matrix), subtitle=subtitle, theme=theme)


def _pareto(study: Study, table: Table, columns: str, subtitle: str, theme: str) -> Any:
    from simgpu.plot.pareto import plot_pareto
    from simgpu.studies.fronts import numbers, pareto_front
    from simgpu.studies.page import heading, show

    names = _two_columns(columns)
    if any(name in ESTIMATES or name in ESTIMATES.values() for name in names):
        from simgpu.studies.study import with_die_estimate

        table = with_die_estimate(study, table)
    x, y = (column_named(table, name) for name in names)
    front = pareto_front(table, x, y)
    told = [name for name in table.varied if name not in (x, y)]
    labels = [" · ".join(show(name, table[name][i]) for name in told) for i in front.tolist()]
    subtitle = f"{subtitle} · labels: {', '.join(heading(name) for name in told)}" if told else subtitle
    return plot_pareto((x, numbers(table, x)), (y, numbers(table, y)), table["bound"], front, labels if told else (), subtitle=subtitle, theme=theme)


def _two_columns(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or "" in names:
        raise OptionError(f"--pareto {text}: expected two columns, such as area,latency or dram.bandwidth,latency")
    return names


def column_named(table: Table, name: str) -> str:
    """The column that somebody means: with or without its unit.

    Raises:
        OptionError: There is none.
    """
    from simgpu.units import split_unit

    name = ESTIMATES.get(name, name)
    known = {short: column for column in table.columns for short in (split_unit(column)[0], column.removesuffix("_fraction"), column)}
    if name not in known:
        raise OptionError(f"{name}: no such column, expected one of {', '.join([*table.columns, *ESTIMATES])}{did_you_mean(name, [*known, *ESTIMATES])}")
    return known[name]


def _curve_axes(table: Table) -> tuple[str, str]:
    """The column along which curves run, and the one that tells them apart ("" for one curve)."""
    numbers = [name for name in table.varied if _is_number(table, name)]
    if not numbers:
        raise OptionError(f"--plot: {', '.join(table.varied) or 'nothing'} varies, expected a number among it")
    others = [name for name in table.varied if name != numbers[0]]
    if len(others) > 1:
        raise OptionError(f"--plot: {', '.join(table.varied)} vary, expected one number and at most one more; use --pareto for many")
    return numbers[0], others[0] if others else ""


def _is_number(table: Table, name: str) -> bool:
    return table[name].dtype.kind in "iuf"
