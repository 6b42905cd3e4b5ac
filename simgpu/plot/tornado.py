"""What matters: how far each field of the GPU moves the latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from simgpu.plot.quantities import said
from simgpu.plot.style import dress, headline, new_axes
from simgpu.report.palette import Theme
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.study import Lever

_ROWS = 12
_ENDING = {"B/s": "_bytes_per_s", "B": "_bytes", "Hz": "_hz", "s": "_s", "W": "_w", "B/clk": "_bytes_per_clk", "clk": "_clk", "bit": "_bits", "nm": "_nm"}


def plot_tornado(levers: Sequence[Lever], *, title: str = "What matters", subtitle: str = "", ax: Axes | None = None, theme: str | Theme = "light") -> Axes:
    """Draws a bar for each field from the latency with its lower value to that with its higher one, the widest on top.

    Args:
        levers: As `simgpu.studies.sensitivity.sensitivity` returns them.
        subtitle: What runs on what.
    """
    assert levers, "nothing to draw"
    shown = [lever for lever in levers if abs(lever.elasticity) >= 0.005][:_ROWS] or list(levers[:1])
    ax = ax or new_axes(theme, height=1.9 + 0.34 * len(shown))
    colours = dress(ax, theme, grid="x")
    less, more = colours.series[1], colours.series[0]
    ends = [100 * (s / lever.latency_s - 1) for lever in shown for s in (lever.low_latency_s, lever.high_latency_s)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.34 * max(high - low, 1e-3)
    for row, lever in enumerate(shown):
        sides = ((lever.low_latency_s, lever.low, less), (lever.high_latency_s, lever.high, more))
        for seconds, value, color in sides:
            change = 100 * (seconds / lever.latency_s - 1)
            ax.barh(row, change, height=0.62, color=color, zorder=3)
            side = 1 if change > 0 or (change == 0 and color == less) else -1
            ax.annotate(
                said(f"x{_ENDING.get(lever.unit, '')}", value), (change, row), xytext=(4 * side, 0), textcoords="offset points", va="center",
                ha="left" if side > 0 else "right", fontsize=7.5, color=colours.muted, zorder=4,
            )  # fmt: skip
        ax.annotate(
            f"{lever.elasticity:+.2f}", (1.0, row), xycoords=("axes fraction", "data"), xytext=(-2, 0), textcoords="offset points", va="center", ha="right",
            fontsize=8, color=colours.ink, zorder=5, bbox={"facecolor": colours.background, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    ax.annotate(
        "elasticity\n[% for each %]", (1.0, -0.62), xycoords=("axes fraction", "data"), xytext=(-2, 0), textcoords="offset points", va="bottom", ha="right",
        fontsize=7.5, color=colours.muted, bbox={"facecolor": colours.background, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip
    ax.axvline(0.0, color=colours.ceiling, linewidth=1.0, zorder=4)
    ax.set_yticks(range(len(shown)), [_name(lever.field) for lever in shown], fontsize=8.5, color=colours.ink)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(len(shown) - 0.4, -1.5)
    ax.set_xlim(low - room / 2, high + room)
    ax.set_xlabel("change of the latency [%]", fontsize=9.5)
    swing = round(100 * (shown[0].high / shown[0].value - 1)) if shown[0].value else 0
    legend = [Rectangle((0, 0), 1, 1, color=color, label=label) for color, label in ((less, f"{swing} % less of it"), (more, f"{swing} % more of it"))]
    latency = f"latency {format_quantity(shown[0].latency_s, 's')}"
    headline(ax, title, f"{subtitle} · {latency}" if subtitle else latency, colours, legend=legend)
    return ax


def _name(field: str) -> str:
    return "time of the host" if field == "host" else field
