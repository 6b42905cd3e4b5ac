"""The timeline of a page: host, streams and how busy the chip is, as inline SVG that the page's script zooms and names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simgpu.report.html_element import Markup, el
from simgpu.report.over_time import sections, utilisation_over_time
from simgpu.report.report import Report
from simgpu.units import format_quantity

_UNITS = 1e6  # the run is so wide; one attribute zooms it
_HOST, _SECTION, _KERNEL, _BUSY, _GAP = 16.0, 16.0, 34.0, 56.0, 8.0  # heights [px]
_LEVELS = {"SMs": "sms", "DRAM": "dram", "math pipes": "math"}
_MEANING = {"SMs": "SMs with work", "DRAM": "DRAM bandwidth", "math pipes": "math pipe peak"}


def timeline_html(report: Report) -> Markup:
    """The figure: lanes above each other, a name at the left of each, buttons to zoom."""
    length_s = report.timeline.makespan_s
    scale = _UNITS / length_s
    lanes: list[tuple[str, float]] = []
    shapes: list[Markup] = []
    y = 0.0
    host = [span for span in report.timeline if span.launch_end_s > span.launch_start_s]
    if host:
        bars = [_bar(span.launch_start_s, span.launch_end_s, scale, _HOST, data_k=span.kernel) for span in host]
        first_s = min(span.launch_start_s for span in host)
        before = [el("rect", width=first_s * scale, height=_HOST, class_="before", data_n="before the first launch")] if first_s > 0 else []
        if report.runtime.graph_replay:  # one call launches all
            bars = [_bar(host[0].launch_start_s, max(span.launch_end_s for span in host), scale, _HOST, data_n="graph launch")]
        shapes.append(el("g", before, bars, class_="host"))
        lanes.append(("host", y + _HOST / 2))
        y += _HOST + _GAP
    named = sections(report)
    for stream in sorted({int(s) for s in report.timeline.stream}, key=lambda s: (s < 0, abs(s))):
        mine = [s for s in named if s.stream == stream and s.name and s.end_s > s.start_s]
        shapes.append(_lane(y, "sections", (_bar(s.start_s, s.end_s, scale, _SECTION, data_n=s.name) for s in mine)))
        y += _SECTION + 2
        spans = (span for span in report.timeline if span.stream == stream)
        bars = [_bar(span.start_s, span.end_s, scale, _KERNEL, data_k=span.kernel, class_=f"f-{report.kernels.kernels[span.kernel].family}") for span in spans]
        shapes.append(_lane(y, "stream", iter(bars)))
        lanes.append((f"stream {stream}" if stream >= 0 else f"copy {-1 - stream}", y + _KERNEL / 2))
        y += _KERNEL + _GAP
    shapes.append(_busy(report, y))
    lanes.append(("busy", y + _BUSY / 2))
    y += _BUSY
    picture = el("svg", shapes, viewbox=f"0 0 {_UNITS:.0f} {y:.0f}", preserveaspectratio="none", style=f"height:{y:.0f}px", aria_hidden="true")
    said = f"Timeline of {len(report.timeline)} kernels over {format_quantity(length_s, 's')}; arrow keys move, plus and minus zoom, 0 shows all"
    view = el("div", el("div", class_="grid"), picture, el("div", class_="labels"), class_="view", tabindex="0", role="img", aria_label=said)
    names = el("div", [el("span", name, style=f"top:{at:.0f}px") for name, at in lanes], class_="lanes")
    return el(
        "div", _controls(length_s), el("div", names, view, class_="tracks"), el("div", class_="ticks"), _key(),
        class_="timeline", data_length=repr(float(length_s)),
    )  # fmt: skip


def _bar(start_s: float, end_s: float, scale: float, height: float, **attributes: str | float | None) -> Markup:
    return el("rect", x=float(start_s * scale), width=float((end_s - start_s) * scale), height=height, **attributes)


def _lane(y: float, class_: str, bars: Iterator[Markup]) -> Markup:
    return el("g", bars, class_=class_, transform=f"translate(0 {y:g})")


def _busy(report: Report, y: float) -> Markup:
    """Shares of the peak in slices of the run: an area for SMs with work, a line for DRAM and one for the math pipes."""
    edges, levels = utilisation_over_time(report, 160)
    at = np.round(edges / edges[-1] * _UNITS).astype(int).tolist()
    paths = [
        el("rect", width=_UNITS, height=_BUSY, class_="ground"),
        *(el("path", d=_steps(at, ((1.0 - levels[name]) * _BUSY).tolist()), class_=class_) for name, class_ in _LEVELS.items()),
    ]
    return _lane(y, "busy", iter(paths))


def _steps(edges: list[int], heights: list[float]) -> str:
    """A step function as a path from the ground and back to it."""
    steps = "".join(f"V{height:.1f}H{right}" for height, right in zip(heights, edges[1:], strict=True))
    return f"M{edges[0]} {_BUSY:g}{steps}V{_BUSY:g}"


def _controls(length_s: float) -> Markup:
    buttons = [
        el("button", text, type="button", data_do=do, aria_label=said, title=said)
        for text, do, said in (("−", "out", "zoom out"), ("+", "in", "zoom in"), ("‹", "left", "earlier"), ("›", "right", "later"), ("all", "all", "show all"))
    ]
    return el("div", buttons, el("output", f"0 – {format_quantity(length_s, 's')}"), class_="controls")


def _key() -> Markup:
    said = [el("span", el("i", class_=class_), _MEANING[name]) for name, class_ in _LEVELS.items()]
    return el("p", said, el("span", "drag to move, pinch or Ctrl + wheel to zoom, click a kernel for its row"), class_="key")
