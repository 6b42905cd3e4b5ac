"""The roofline of a page, as inline SVG: points answer to the pointer, the largest are named."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from simgpu.report.html_element import Markup, el, joined_markup
from simgpu.report.palette import FAMILY_NAMES
from simgpu.report.report import Report
from simgpu.report.roofline import Ceiling, Point, roofline_ceilings, roofline_points, whole_model
from simgpu.report.text import number, percent, quantity, seconds, shorten_path
from simgpu.units import format_quantity

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 8.0, 14.0, 40.0
_LETTER = 6.3  # width of a letter of the labels [px]
_LINE = 14.0

_Box = tuple[float, float, float, float]
_Disc = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """Logarithmic axes: FLOP/B from left to right, FLOP/s upwards, on so many pixels."""

    width: float
    height: float
    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, intensity: float) -> float:
        share = math.log(min(max(intensity, self.x0), self.x1) / self.x0) / math.log(self.x1 / self.x0)
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def y(self, rate: float) -> float:
        share = math.log(min(max(rate, self.y0), self.y1) / self.y0) / math.log(self.y1 / self.y0)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)


def roofline_svg(reports: Sequence[Report], *, width: float, height: float, named: int, class_: str) -> Markup:
    """One run with its kernels and all ceilings of its GPU, or several runs with the ceilings of theirs.

    Args:
        width, height: Size at which text has its natural size. [px]
        named: Points that get their name on the chart.
    """
    chart = _chart(reports, width, height)
    title = "Roofline: " + ", ".join(dict.fromkeys(f"{r.model} on {r.gpu.name}" for r in reports))
    marks = list(_one(chart, reports[0], named) if len(reports) == 1 else _several(chart, reports))
    return el(
        "svg", el("title", title), _axes(chart, max(r.gpu.peak_flop_per_s("fp32") for r in reports)), marks,
        viewbox=f"0 0 {width:g} {height:g}", class_=f"roofline {class_}", role="img",
    )  # fmt: skip


def _chart(reports: Sequence[Report], width: float, height: float) -> _Chart:
    """Axes that hold the points worth seeing, the ridges and the highest peak."""
    points = [p for r in reports for p in (*roofline_points(r), whole_model(r)) if p.time_fraction > 0.002 and math.isfinite(p.intensity_flop_per_byte)]
    ceilings = [c for r in reports for c in roofline_ceilings(r)]
    peak = max(c.value for c in ceilings if not c.is_memory)
    slowest = min(c.value for c in ceilings if c.name == "DRAM")
    x, y = [p.intensity_flop_per_byte for p in points], [p.rate_flop_per_s for p in points if p.rate_flop_per_s > 0]
    return _Chart(
        width=width,
        height=height,
        x0=max(min([*x, peak / slowest / 30]) / 2, peak / slowest * 1e-4),
        x1=max(min(max(x, default=0.0) * 2.5, peak / slowest * 100), peak / slowest * 4),
        y0=max(min([*y, peak / 100]) / 2, peak * 1e-6),
        y1=max([*y, peak]) * 2,
    )


def _axes(chart: _Chart, peak_flop_per_s: float) -> Markup:
    unit, scale = ("TFLOP/s", 1e12) if peak_flop_per_s >= 1e12 else ("GFLOP/s", 1e9)
    bottom, right = chart.height - _BOTTOM, chart.width - _RIGHT
    parts = []
    for value in _decades(chart.x0, chart.x1):
        x = chart.x(value)
        parts += [el("line", x1=x, x2=x, y1=_TOP, y2=bottom), el("text", f"{value:g}", x=x, y=bottom + 15, text_anchor="middle")]
    for value in _decades(chart.y0, chart.y1):
        y = chart.y(value)
        parts += [el("line", x1=_LEFT, x2=right, y1=y, y2=y), el("text", f"{value / scale:g}", x=_LEFT - 5, y=y + 4, text_anchor="end")]
    parts.append(el("text", "FLOP per byte of DRAM traffic", x=right, y=chart.height - 8, text_anchor="end", class_="axis"))
    parts.append(el("text", unit, x=4, y=11, class_="axis"))
    return el("g", parts, class_="axes")


def _decades(low: float, high: float) -> Iterator[float]:
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    step = max(1, math.ceil(len(exponents) / 8))
    return (10.0**e for e in exponents if e % step == 0)


def _ceiling(
    chart: _Chart, ceiling: Ceiling, dram: float, roof: float, discs: Sequence[_Disc], taken: list[_Box], name: str = "", class_: str = ""
) -> Iterator[Markup]:
    """A line and its name; where the name stands is noted among the places that are taken.

    Args:
        discs: Points that the name had better not cover: centre and radius. [px]
    """
    kind = f"ceiling {class_} {'' if ceiling.used else 'unused'}".strip()
    unit = "B/s" if ceiling.is_memory else "FLOP/s"
    text = f"{name} {ceiling.name} {format_quantity(ceiling.value, unit)}".strip()
    wide = _LETTER * len(text)
    if not ceiling.is_memory:
        y, right = chart.y(ceiling.value), chart.width - _RIGHT
        yield el("line", x1=chart.x(ceiling.value / dram), x2=right, y1=y, y2=y, class_=kind)
        taken.append((right - 2 - wide, y - _LINE, right, y))
        yield el("text", text, x=right - 2, y=y - 4, text_anchor="end", class_=f"ceiling {class_}")
        return
    start, end = max(chart.x0, chart.y0 / ceiling.value), roof / ceiling.value
    if end <= chart.x0:
        return
    xa, ya, xb, yb = chart.x(start), chart.y(start * ceiling.value), chart.x(end), chart.y(roof)
    yield el("line", x1=xa, y1=ya, x2=xb, y2=yb, class_=kind)
    angle, length = math.atan2(yb - ya, xb - xa), math.hypot(xb - xa, yb - ya)
    if length < 60 + wide or not (ceiling.used or chart.width > 600):
        return
    covered, back = min((_covered((xb, yb), angle, back, wide, discs, taken), back) for back in range(24, int(length - wide), 16))
    if covered and chart.width <= 600:  # on a phone the line's colour has to do
        return
    for step in range(0, int(wide), 10):  # boxes along the slanted name
        x, y = xb - (back + step) * math.cos(angle), yb - (back + step) * math.sin(angle) - 9
        taken.append((x - 7, y - 7, x + 7, y + 7))
    at = f"translate({xb - back * math.cos(angle):.1f} {yb - back * math.sin(angle):.1f}) rotate({math.degrees(angle):.1f}) translate(0 -5)"
    yield el("text", text, transform=at, text_anchor="end", class_=f"ceiling {class_}")


def _covered(end: tuple[float, float], angle: float, back: float, wide: float, discs: Sequence[_Disc], taken: Sequence[_Box]) -> int:
    """How many points, and names that stand already, lie under a name along a slope that ends `back` before its upper end."""
    words = [(x, (y0 + y1) / 2, (y1 - y0) / 2) for x0, y0, x1, y1 in taken for x in np.arange(x0 + 7, x1, 14.0).tolist()]
    marks = [*discs, *words]
    count = 0
    for x, y, r in marks:
        dx, dy = x - end[0], y - end[1]
        along, above = -(dx * math.cos(angle) + dy * math.sin(angle)), dx * math.sin(angle) - dy * math.cos(angle)
        count += back - r < along < back + wide + r and -r < above < _LINE + 3 + r
    return count


def _one(chart: _Chart, report: Report, named: int) -> Iterator[Markup]:
    ceilings = roofline_ceilings(report)
    roof, dram = max(c.value for c in ceilings if not c.is_memory), ceilings[0].value
    points = roofline_points(report)
    most = max((p.time_fraction for p in points), default=1.0)
    placed = [(p, chart.x(p.intensity_flop_per_byte), chart.y(p.rate_flop_per_s), max(3.0, 15 * math.sqrt(p.time_fraction / most))) for p in points]
    taken: list[_Box] = []
    discs = [(x, y, r) for _, x, y, r in placed]
    yield el("g", [part for c in sorted(ceilings, key=lambda c: c.is_memory) for part in _ceiling(chart, c, dram, roof, discs, taken)])
    yield el("g", [el("circle", cx=x, cy=y, r=r, class_=f"f-{p.family}", data_t=_said(p, report)) for p, x, y, r in placed], class_="points")
    yield joined_markup(_names(chart, [(shorten_path(p.name, 26), x, y, r) for p, x, y, r in placed], named, taken))


def _several(chart: _Chart, reports: Sequence[Report]) -> Iterator[Markup]:
    whole = [(chart.x(p.intensity_flop_per_byte), chart.y(p.rate_flop_per_s), 8.0) for p in map(whole_model, reports)]
    places = {name: i for i, name in reversed([(i, r.gpu.name) for i, r in enumerate(reports)])}  # each GPU has the colour of its first run
    limits: list[tuple[Ceiling, float, float, str, str]] = []
    for gpu, i in places.items():
        every = {c.name: c for r in reports if r.gpu.name == gpu for c in roofline_ceilings(r)}
        best = max((c for c in every.values() if not c.is_memory), key=lambda c: (c.used, c.value))
        name, class_ = ("", "") if len(places) == 1 else (gpu, f"s-{i % 8}")
        limits += [(ceiling, every["DRAM"].value, best.value, name, class_) for ceiling in (best, every["DRAM"])]
    taken: list[_Box] = []
    for ceiling, dram, roof, name, class_ in sorted(limits, key=lambda limit: limit[0].is_memory):  # the names of pipes have but one place
        yield from _ceiling(chart, ceiling, dram, roof, whole, taken, name, class_)
    for i, report in enumerate(reports):
        small = [p for p in roofline_points(report) if p.time_fraction > 0.002]
        yield el(
            "g",
            [
                el("circle", cx=chart.x(p.intensity_flop_per_byte), cy=chart.y(p.rate_flop_per_s), r=max(2.0, 10 * math.sqrt(p.time_fraction)),
                   data_t=f"{report.model} on {report.gpu.name}\n{_said(p, report)}")
                for p in small
            ],
            class_=f"points faint s-{i % 8}",
        )  # fmt: skip
    for i, (report, (x, y, r)) in enumerate(zip(reports, whole, strict=True)):
        yield el(
            "circle", cx=x, cy=y, r=r, class_=f"whole s-{i % 8}", data_t=f"{report.model} on {report.gpu.name}\n{report.setting}\n{_work(whole_model(report))}"
        )
    yield joined_markup(_names(chart, [(str(i + 1), x, y, r) for i, (x, y, r) in enumerate(whole)], len(whole), taken))


def _work(point: Point) -> str:
    return f"{number(point.intensity_flop_per_byte)} FLOP/B · {quantity(point.rate_flop_per_s, 'FLOP/s')}"


def _said(point: Point, report: Report) -> str:
    """What the pointer shows of a point."""
    memory = report.gpu.dram.bandwidth_bytes_per_s * point.intensity_flop_per_byte
    lines = [point.name, f"{FAMILY_NAMES[point.family]} · {seconds(point.time_s)} · {percent(point.time_fraction)} of the kernels' time", _work(point)]
    if point.rate_flop_per_s:
        lines.append(f"{percent(min(point.rate_flop_per_s / memory, 1.0))} of what DRAM could feed")
    return "\n".join(lines)


def _names(chart: _Chart, points: Sequence[tuple[str, float, float, float]], count: int, written: Sequence[_Box]) -> Iterator[Markup]:
    """Names of the first points, each beside its point where it covers neither a point nor what is written already."""
    taken = [*written, *((x - r, y - r, x + r, y + r) for _, x, y, r in points)]
    for text, x, y, r in points[:count]:
        wide = _LETTER * len(text)
        places = (
            (x + r + 3, y + 4, "start", (x + r + 2, x + r + 4 + wide)),
            (x - r - 3, y + 4, "end", (x - r - 4 - wide, x - r - 2)),
            (x, y - r - 4, "middle", (x - wide / 2, x + wide / 2)),
            (x, y + r + 12, "middle", (x - wide / 2, x + wide / 2)),
        )
        for at_x, at_y, anchor, (left, right) in places:
            box = (left, at_y - _LINE + 3, right, at_y + 3)
            inside = left > _LEFT and right < chart.width - _RIGHT and box[1] > _TOP and box[3] < chart.height - _BOTTOM
            own = (x - r, y - r, x + r, y + r)
            if inside and not any(_meet(box, other) for other in taken if other != own):
                taken.append(box)
                yield el("text", text, x=at_x, y=at_y, text_anchor=anchor, class_="name")
                break


def _meet(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
