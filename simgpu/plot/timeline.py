"""The timeline: when the host launches, when each stream runs which kernel, and how busy the chip is meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.patches import Rectangle

from simgpu.plot.style import add_legend, dress, headline, ink_on, new_axes, new_figure, theme_named
from simgpu.report.over_time import sections, time_unit, utilisation_over_time
from simgpu.report.palette import FAMILY_NAMES, Theme
from simgpu.units import format_quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure

    from simgpu.report.report import Report


class _BarNames(PolyCollection):
    """Bars that carry their names as far as they fit at drawing time: along the bar, else upright, else only the last parts of the path."""

    def __init__(self, boxes: Sequence[tuple[float, float, float, float]], names: Sequence[str], ink: Sequence[str], **style: Any) -> None:
        super().__init__([[(x0, y0), (x0, y1), (x1, y1), (x1, y0)] for x0, x1, y0, y1 in boxes], **style)
        self.boxes, self.names, self.ink = boxes, names, ink

    def draw(self, renderer: RendererBase) -> None:
        super().draw(renderer)
        if self.axes is None or not self.names:
            return
        from matplotlib.text import Text
        from matplotlib.transforms import IdentityTransform

        frame = self.axes.get_window_extent(renderer)
        for (x0, x1, y0, y1), name, ink in zip(self.boxes, self.names, self.ink, strict=True):
            (left, low), (right, high) = self.axes.transData.transform([(x0, y0), (x1, y1)])
            left, right = max(left, frame.x0), min(right, frame.x1)
            width, height = right - left, abs(high - low)
            text = Text((left + right) / 2, (low + high) / 2, fontsize=7, color=ink, ha="center", va="center", transform=IdentityTransform())
            text.set_figure(self.axes.get_figure(root=True))  # type: ignore[arg-type]
            parts = name.split(".")
            for said in (".".join(parts[i:]) for i in range(len(parts)) if i == 0 or not parts[i].isdigit()):
                text.set_text(said)
                size = text.get_window_extent(renderer)
                if size.width <= 0.94 * width:
                    text.draw(renderer)
                    break
                if size.height <= 0.98 * width and size.width <= 0.94 * height:
                    text.set_rotation(90)
                    text.draw(renderer)
                    break


def plot_timeline(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light", window_s: tuple[float, float] | None = None) -> Axes:
    """Draws the host and every stream as a row of bars over time, a kernel's bar in the colour of its family.

    The whole run has its sections (the first part of the module path) written above each stream; a window into it has
    kernel names in the bars and a line from each launch to its kernel.

    Args:
        window_s: Show this part of the run only. [s]
    """
    ax = ax or new_axes(theme, height=2.4)
    colours = dress(ax, theme, grid="x")
    start_s, end_s = window_s or (0.0, report.timeline.makespan_s)
    scale, unit = time_unit(report.timeline.makespan_s)
    spans = report.timeline
    streams = sorted({int(s) for s in spans.stream}, key=lambda s: (s < 0, abs(s)))
    pitch, thick = (1.9, 1.6) if window_s else (1.35, 0.72)
    row = {stream: -0.4 - pitch * (i + 0.5) for i, stream in enumerate(streams)}
    names = [f"stream {s}" if s >= 0 else f"copy engine {-1 - s}" for s in streams]
    shown = [i for i in range(len(spans)) if spans.end_s[i] > start_s and spans.start_s[i] < end_s]

    boxes, tints = [], []
    for i in shown:
        low = row[int(spans.stream[i])] - thick / 2
        boxes.append((spans.start_s[i] / scale, spans.end_s[i] / scale, low, low + thick))
        tints.append(colours.families[report.kernels.kernels[i].family])
    kernel_names = [report.kernels.kernels[i].op or report.kernels.kernels[i].name for i in shown] if window_s else []
    edge = colours.background if window_s else "face"
    ax.add_collection(
        _BarNames(boxes, kernel_names, [ink_on(t) for t in tints], facecolors=tints, edgecolors=edge, linewidths=0.6 if window_s else 0.15, zorder=3)
    )

    host = [
        (spans.launch_start_s[i] / scale, spans.launch_end_s[i] / scale)
        for i in range(len(spans))
        if spans.launch_end_s[i] > spans.launch_start_s[i] and spans.launch_end_s[i] >= start_s and spans.launch_start_s[i] <= end_s
    ]
    height = 0.2
    ax.add_collection(
        PolyCollection(
            [[(a, -height), (a, height), (b, height), (b, -height)] for a, b in host],
            facecolors=colours.muted,
            edgecolors=colours.background,
            linewidths=0.3,
            zorder=3,
        )
    )
    before_s = float(spans.launch_start_s.min(initial=spans.host_end_s))
    if before_s > start_s:
        once = [(start_s / scale, before_s / scale, -height, height)]
        style = {"facecolors": colours.grid, "edgecolors": "none", "zorder": 3}
        ax.add_collection(_BarNames(once, ["before the first launch"], [colours.ink], **style))
    if window_s:
        for i in (i for i in shown if spans.launch_end_s[i] > start_s):
            top = row[int(spans.stream[i])] + thick / 2
            ax.plot([spans.launch_end_s[i] / scale, spans.start_s[i] / scale], [-height, top], color=colours.muted, linewidth=0.5, zorder=2)
    else:
        _name_sections(ax, report, row, scale, colours)
    ax.set_yticks([*([0.0] if host else []), *row.values()], [*(["host"] if host else []), *names], fontsize=8.5, color=colours.ink)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(start_s / scale, end_s / scale)
    ax.set_ylim(min(row.values()) - thick / 2 - 0.14, 0.4 if host or not window_s else -0.25)
    ax.set_xlabel(f"time [{unit}]", fontsize=9.5)
    return ax


def _name_sections(ax: Axes, report: Report, row: dict[int, float], scale: float, colours: Theme) -> None:
    """A thin bracket over each section with its name, where that has room."""
    boxes, names = [], []
    for section in sections(report):
        y = row[section.stream]
        gap = 0.0015 * report.timeline.makespan_s
        x0, x1 = (section.start_s + gap) / scale, (section.end_s - gap) / scale
        if x1 > x0 and section.name:
            ax.plot([x0, x1], [y + 0.44, y + 0.44], color=colours.muted, linewidth=1.0, solid_capstyle="butt", zorder=2)
            boxes.append((x0, x1, y + 0.45, y + 0.78))
            names.append(section.name)
    ax.add_collection(_BarNames(boxes, names, [colours.ink] * len(names), facecolors="none", edgecolors="none", zorder=4))


def plot_utilisation(report: Report, *, ax: Axes | None = None, theme: str | Theme = "light") -> Axes:
    """Draws how busy SMs, DRAM and math pipes are over the run, each as a share of its peak."""
    ax = ax or new_axes(theme, height=2.0)
    colours = dress(ax, theme)
    edges, levels = utilisation_over_time(report)
    scale, unit = time_unit(report.timeline.makespan_s)
    tints = {"SMs": colours.muted, "DRAM": colours.series[0], "math pipes": colours.series[1]}
    for name, level in levels.items():
        if name == "SMs":
            ax.stairs(100 * level, edges / scale, fill=True, color=colours.grid, zorder=1, label="SMs with work")
        else:
            ax.stairs(
                100 * level, edges / scale, color=tints[name], linewidth=1.3, zorder=2, label={"DRAM": "DRAM bandwidth", "math pipes": "math pipe peak"}[name]
            )
    ax.set_xlim(0, edges[-1] / scale)
    ax.set_ylim(0, 105)
    ax.set_yticks([0, 50, 100])
    ax.set_xlabel(f"time [{unit}]", fontsize=9.5)
    ax.set_ylabel("share used [%]", fontsize=9.5)
    handles, _ = ax.get_legend_handles_labels()
    add_legend(ax, handles, colours, columns=3)
    return ax


def busiest_window(report: Report, kernels: int = 14) -> tuple[float, float]:
    """A stretch of so many kernels of one stream that holds the longest kernel, as begin and end. [s]"""
    spans = report.timeline
    longest = int(np.argmax(spans.end_s - spans.start_s))
    same = np.flatnonzero(spans.stream == spans.stream[longest])
    at = int(np.searchsorted(same, longest))
    first = max(0, min(at - kernels // 2, len(same) - kernels))
    last = min(len(same), first + kernels) - 1
    return float(spans.start_s[same[first]]), float(spans.end_s[same[last]])


def timeline_figure(report: Report, *, theme: str | Theme = "light", width: float = 8.0) -> Figure:
    """The whole run, a window into it with names, and how busy the chip is, one above the other."""
    colours = theme_named(theme)
    streams = len(set(report.timeline.stream.tolist()))
    heights = [0.75 + 0.75 * streams, 0.4 + 1.45 * streams, 1.5]
    figure = new_figure(width, sum(heights) + 1.1, theme=theme)
    top, middle, bottom = figure.subplots(3, 1, height_ratios=heights)
    plot_timeline(report, ax=top, theme=theme)
    window_s = busiest_window(report)
    plot_timeline(report, ax=middle, theme=theme, window_s=window_s)
    plot_utilisation(report, ax=bottom, theme=theme)
    scale, _ = time_unit(report.timeline.makespan_s)
    top.add_patch(
        Rectangle(
            (window_s[0] / scale, top.get_ylim()[0]),
            (window_s[1] - window_s[0]) / scale,
            np.ptp(top.get_ylim()),
            facecolor=colours.grid,
            edgecolor="none",
            zorder=0,
        )
    )
    top.set_xlabel("")
    top.tick_params(labelbottom=False)
    bottom.sharex(top)
    families = [f for f in FAMILY_NAMES if any(k.family == f for k in report.kernels.kernels)]
    patches = [Rectangle((0, 0), 1, 1, color=colours.families[f], label=FAMILY_NAMES[f]) for f in families]
    figure.legend(handles=patches, loc="outside lower left", ncols=4, fontsize=8, labelcolor=colours.ink, frameon=False, handlelength=1.0, handleheight=1.0)
    count = f"{len(report.kernels)} kernel{'s' if len(report.kernels) > 1 else ''}, {format_quantity(report.kernel_s, 's')} of kernel time"
    title = f"{report.model} on {report.gpu.name}: {format_quantity(report.latency_s, 's')}"
    headline(top, title, f"{report.setting} · {count} · grey: the part shown enlarged", colours)
    return figure
