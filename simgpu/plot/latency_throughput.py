"""What a larger batch buys: throughput against latency, a curve for each GPU, model, dtype …, a point for each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from simgpu.plot.labels import Label, LabelLayer, Obstacle
from simgpu.plot.quantities import log_if_wide, name_of, said, scaled
from simgpu.plot.style import MARKERS, dress, headline, new_axes
from simgpu.report.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simgpu.report.report import Report

_CURVES = 8
_RADIUS_POINTS = 3.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Runs that differ in their batch, the smallest first. (batches,) each

    Attributes:
        latency_s: [s]
        throughput_per_s: Samples (tokens, where a run is one token of each sample) a second. [1/s]
        fits: Whether the GPU's memory holds them.
    """

    name: str
    batch: NDArray[np.int64]
    latency_s: NDArray[np.float64]
    throughput_per_s: NDArray[np.float64]
    fits: NDArray[np.bool_]


def curves_of_reports(reports: Sequence[Report]) -> tuple[Curve, ...]:
    """Runs by whatever but the batch tells them apart: model, GPU, dtype, runtime."""
    told = [[r.model for r in reports], [r.gpu.name for r in reports], [r.dtype for r in reports], [r.runtime.name for r in reports]]
    columns = {
        "batch": np.array([r.batch for r in reports]),
        "latency_s": np.array([r.latency_s for r in reports]),
        "throughput_per_s": np.array([r.throughput_per_s for r in reports]),
        "fits": np.array([r.memory.fits for r in reports]),
    }
    texts = {f"{i}": np.array(column, dtype=object) for i, column in enumerate(told) if len(set(column)) > 1}
    return curves_of_columns({**columns, **texts}, tuple(texts))


def curves_of_columns(columns: Mapping[str, NDArray[Any]], series: Sequence[str] = ()) -> tuple[Curve, ...]:
    """Rows of a table by the columns `series`, in the order in which they come.

    Args:
        columns: batch, latency_s, throughput_per_s, and fits if known; and those of `series`. (rows,) each
    """
    rows: dict[str, list[int]] = {}
    for i in range(len(columns["batch"])):
        rows.setdefault(" · ".join(_said(name, columns[name][i]) for name in series), []).append(i)
    curves = []
    for name, members in rows.items():
        order = np.array(members)[np.argsort(columns["batch"][members], kind="stable")]
        latency_s, throughput = (np.asarray(columns[c][order], dtype=float) for c in ("latency_s", "throughput_per_s"))
        fits = np.asarray(columns["fits"][order], dtype=bool) if "fits" in columns else np.ones(len(order), dtype=bool)
        curves.append(Curve(name=name, batch=np.asarray(columns["batch"][order]), latency_s=latency_s, throughput_per_s=throughput, fits=fits))
    return tuple(curves)


def _said(column: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{name_of(column)} {said(column, value)}"


def plot_latency_throughput(
    runs: Sequence[Report] | Sequence[Curve], *, subtitle: str = "", unit: str = "samples/s", ax: Axes | None = None, theme: str | Theme = "light"
) -> Axes:
    """Draws the throughput over the latency as the batch grows, each point labelled with its batch.

    A hollow point does not fit the GPU's memory.

    Args:
        runs: Reports, or curves that `curves_of_columns` makes of a sweep's table; of more than eight the first are drawn, and it says so.
        subtitle: What is the same for all; from the reports if empty.
        unit: Of the throughput: tokens/s where a run is one token of each sample.
    """
    reports = [run for run in runs if not isinstance(run, Curve)]
    found = curves_of_reports(reports) if reports else tuple(run for run in runs if isinstance(run, Curve))
    assert found, "nothing to draw"
    curves = found[:_CURVES]
    if reports:
        same = [{r.model for r in reports}, {r.gpu.name for r in reports}, {r.dtype for r in reports}, {r.runtime.name for r in reports}]
        subtitle = subtitle or " · ".join(next(iter(words)) for words in same if len(words) == 1)
        unit = "tokens/s" if all(r.new_tokens for r in reports) else unit
    ax = ax or new_axes(theme)
    colours = dress(ax, theme)
    every_s = np.concatenate([curve.latency_s for curve in curves])
    rates = np.concatenate([curve.throughput_per_s for curve in curves])
    across, xlabel = scaled("latency_s", every_s)
    per_second = float(across[0] / every_s[0])
    log_if_wide(ax, "x", across)
    log_if_wide(ax, "y", rates)
    labels: list[tuple[int, Label]] = []
    obstacles: list[Obstacle] = []
    lines = []
    legend = []
    for i, curve in enumerate(curves):
        color, marker = colours.series[i % len(colours.series)], MARKERS[i % len(MARKERS)]
        x, y = curve.latency_s * per_second, curve.throughput_per_s
        ax.plot(x, y, color=color, linewidth=1.6, zorder=3)
        ax.plot(x[curve.fits], y[curve.fits], marker, color=color, markersize=2 * _RADIUS_POINTS, markeredgecolor=colours.background, zorder=4)
        hollow = ~curve.fits
        ax.plot(x[hollow], y[hollow], marker, color=color, markersize=2 * _RADIUS_POINTS, markerfacecolor=colours.background, zorder=4)
        if len(x) > 1:
            lines.append((x, y))
        obstacles += [Obstacle(x=a, y=b, radius_points=_RADIUS_POINTS) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        last = len(x) - 1
        for k, batch in enumerate(curve.batch.tolist()):
            rank = 0 if k in (0, last) else 1 if k % 2 == last % 2 else 2  # the ends, then every other one, then the rest
            labels.append((rank, Label(x=x[k], y=y[k], radius_points=_RADIUS_POINTS, text=f"{batch:,}", color=color)))
        if len(curves) > 1:
            legend.append(Line2D([], [], color=color, linewidth=1.6, marker=marker, markersize=5, label=curve.name))
    if any(not curve.fits.all() for curve in curves):
        legend.append(Line2D([], [], color=colours.muted, linestyle="", marker="o", markersize=5, markerfacecolor="none", label="does not fit the memory"))
    ordered = [label for _, label in sorted(labels, key=lambda pair: pair[0])]
    LabelLayer(ax, ordered, obstacles=obstacles, lines=lines, theme=colours, reach_points=8.0)
    for axis in ("x", "y"):
        if getattr(ax, f"get_{axis}scale")() == "linear":
            getattr(ax, f"set_{axis}lim")(0, None)
    ax.margins(0.08)
    left_out = f"the first {len(curves)} of {len(found)} curves" if len(found) > len(curves) else ""
    notes = [note for note in (subtitle, "numbers: the batch", left_out) if note]
    ax.set_xlabel(xlabel, fontsize=9.5)
    ax.set_ylabel(f"throughput [{unit}]", fontsize=9.5)
    headline(ax, "Throughput against latency, by batch", " · ".join(notes), colours, legend=legend)
    return ax
