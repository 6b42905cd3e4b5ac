"""What `whatif` and `sweep` draw of a study's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from simgpu.cli.pictures import save_picture, theme_option
from simgpu.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from simgpu.studies.study import Study
    from simgpu.studies.table import Table

_OPTIONS = (
    click.option("--plot", "plot_path", metavar="FILE", help="Draw the latency along the first number that varies (.png, .svg, .pdf)."),
    click.option("--map", "map_path", metavar="FILE", help="Draw what limits the run over the two numbers that vary, with lines of equal latency."),
    click.option("--value", metavar="COLUMN", help="Draw this column in --plot and --map: throughput, energy, power, mfu …"),
    click.option("--pareto", nargs=2, metavar="X,Y FILE", help="Draw the designs by two columns, and the best: --pareto area,latency FILE."),
    theme_option,
)
ESTIMATES = {"area": "die_area_estimate_mm2", "cost": "die_cost_estimate_usd"}


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `draw`, for a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def draw(study: Study, table: Table, *, plot_path: str | None, map_path: str | None, value: str | None, pareto: tuple[str, str] | None, theme: str) -> None:
    """Draws what was asked for, and says so on stderr."""
    from simgpu.studies.page import setting

    if plot_path:
        from simgpu.plot.sweep import plot_sweep

        x, series = _curve_axes(table)
        y = column_named(table, value) if value else "throughput_per_s" if x == "batch" else "latency_s"
        save_picture(plot_sweep(table.columns, x, y, series=series, subtitle=setting(table), theme=theme), plot_path)
    if map_path:
        save_picture(_map(table, value, setting(table), theme), map_path)
    if pareto:
        save_picture(_pareto(study, table, pareto[0], setting(table), theme), pareto[1])


def _map(table: Table, value: str | None, subtitle: str, theme: str) -> Any:
    from simgpu.plot.heatmap import plot_bottlenecks, plot_heatmap
    from simgpu.studies.fronts import cells

    axes = [name for name in table.varied if _is_number(table, name)]
    if len(axes) != 2 or len(table.varied) != 2:
        raise OptionError(f"--map: {', '.join(table.varied) or 'nothing'} varies, expected two numbers")
    x, y = axes
    shown = column_named(table, value) if value else "bound"
    xs, ys, matrix = cells(table, x, y, shown)
    if shown == "bound":
        return plot_bottlenecks((x, xs), (y, ys), matrix, cells(table, x, y, "latency_s")[2], subtitle=subtitle, theme=theme)
    return plot_heatmap((x, xs), (y, ys), (shown, matrix), subtitle=subtitle, theme=theme)


def _pareto(study: Study, table: Table, columns: str, subtitle: str, theme: str) -> Any:
    from simgpu.plot.pareto import plot_pareto
    from simgpu.studies.fronts import numbers, pareto_front
    from simgpu.studies.page import heading, show

    names = [name.strip() for name in columns.split(",")]
    if len(names) != 2 or "" in names:
        raise OptionError(f"--pareto {columns}: expected two columns, such as area,latency or dram.bandwidth,latency")
    if any(name in ESTIMATES or name in ESTIMATES.values() for name in names):
        from simgpu.studies.study import with_die_estimate

        table = with_die_estimate(study, table)
    x, y = (column_named(table, name) for name in names)
    front = pareto_front(table, x, y)
    told = [name for name in table.varied if name not in (x, y)]
    labels = [" · ".join(show(name, table[name][i]) for name in told) for i in front.tolist()]
    subtitle = f"{subtitle} · labels: {', '.join(heading(name) for name in told)}" if told else subtitle
    return plot_pareto((x, numbers(table, x)), (y, numbers(table, y)), table["bound"], front, labels if told else (), subtitle=subtitle, theme=theme)


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
