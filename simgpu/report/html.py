"""A report as one HTML file: no network, nothing to install, readable on a phone, by day and by night.

Everything a model or a GPU brings along is escaped, and the page's policy lets no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np

from simgpu.report.files import write_text
from simgpu.report.html_element import Content, Markup, el
from simgpu.report.html_roofline import roofline_svg
from simgpu.report.html_tables import column_styles, comparison_table, kernel_table, kind_table, module_comparison, module_tree
from simgpu.report.html_timeline import timeline_html
from simgpu.report.palette import BOUNDS, FAMILY_NAMES, THEMES, Theme
from simgpu.report.records import UTILIZATION
from simgpu.report.report import Report
from simgpu.report.table import BOUND_MEANING, advice, verdict
from simgpu.report.text import number, percent, seconds
from simgpu.report.waterfall import why_not_at_peak
from simgpu.units import format_quantity


def write_html(reports: Report | Sequence[Report], path: str | Path) -> Path:
    """Writes the page of one run, or of several side by side; the same reports give the same bytes.

    Raises:
        OptionError: The file cannot be written.
    """
    return write_text(path, to_html(reports))


def to_html(reports: Report | Sequence[Report]) -> str:
    """The page as text."""
    runs = tuple(reports) if isinstance(reports, Sequence) else (reports,)
    assert runs, "nothing to show"
    title = " · ".join(dict.fromkeys(f"{r.model} on {r.gpu.name}" for r in runs))
    body = _single(runs[0]) if len(runs) == 1 else _several(runs)
    script = _asset("html.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = el(
        "head", el("meta", charset="utf-8"), el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"), el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"), el("title", title), el("style", Markup(_colours() + _asset("html.css") + column_styles())),
    )  # fmt: skip
    footer = el("footer", f"simgpu {version('simgpu')}: a simulation, not a measurement. Times are those of a run whose inputs are on the GPU; 1 MAC = 2 FLOP.")
    page = el("html", head, el("body", el("main", body, footer), el("div", id="tip", role="status", hidden=True), el("script", Markup(script))), lang="en")
    return f"<!doctype html>\n{page}\n"


@cache
def _asset(name: str) -> str:
    return files("simgpu.report").joinpath(name).read_text(encoding="utf-8")


# ---- colours


def _colours() -> str:
    """The palette of the pictures as CSS: variables for both themes, a class for each family, bound and run."""
    light, dark = _variables(THEMES["light"]), _variables(THEMES["dark"])
    classes = [f".f-{f}{{--c:var(--{f});--on:var(--on-{f})}}" for f in FAMILY_NAMES]
    classes += [f".b-{i}{{--c:var(--s{i})}}" for i in sorted(set(BOUNDS.values()))]
    classes += [f".s-{i}{{--c:var(--s{i})}}" for i in range(8)]
    return f":root{{{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n{''.join(classes)}\n"


def _variables(theme: Theme) -> str:
    values = {"bg": theme.background, "ink": theme.ink, "muted": theme.muted, "grid": theme.grid, "ceiling": theme.ceiling, **theme.families}
    values |= {f"on-{family}": _ink_on(colour) for family, colour in theme.families.items()}
    values |= {f"s{i}": colour for i, colour in enumerate(theme.series)}
    return ";".join(f"--{name}:{value}" for name, value in values.items())


def _ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast on that colour (relative luminance and contrast as WCAG 2.1 defines them)."""
    linear = [(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#fff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000"


# ---- one run


def _single(report: Report) -> Content:
    return [el("header", el("h1", report.model, el("small", f" on {report.gpu.name}")), _facts(report)), *_details(report, "h2")]


def _facts(report: Report) -> Markup:
    facts = [
        *report.setting.split(" · "),
        f"{format_quantity(report.num_params, '')} parameters",
        f"{format_quantity(report.flop, 'FLOP')}",
        f"{len(report.kernels):,} kernels",
    ]
    return el("ul", [el("li", fact) for fact in facts], class_="facts")


def _details(report: Report, heading: str) -> list[Content]:
    """All that is said of one run."""
    points = el("p", [el("span", el("i", class_=f"dot f-{f}"), FAMILY_NAMES[f]) for f in FAMILY_NAMES if any(k.family == f for k in report.kernels.kernels)])
    assumed = [el("li", note) for note in report.assumptions]
    return [
        _summary(report),
        el("section", el(heading, "Where the time goes"), _bounds_bar(report), _bounds_key(report)),
        el("section", el(heading, "Why not at the peak"), _waterfall(report)),
        el("div", el("section", el(heading, "How busy the GPU is"), _busy(report)), el("section", el(heading, "Work, energy, memory"), _work(report)),
           class_="pair"),
        el("section", el(heading, "Roofline"), el("p", "A point is a kernel, or several that do the same work; its area is their share of the kernels' time.",
           class_="note"), _rooflines((report,)), el("div", points, class_="legend")),
        el("section", el(heading, "Timeline"), timeline_html(report), el("div", points, class_="legend")),
        el("section", el(heading, "Time by module"), module_tree(report)),
        el("section", el(heading, "Kernels by kind"), kind_table(report)),
        el("section", el(heading, "Every kernel"), kernel_table(report)),
        el("section", el(heading, "Assumptions"), el("ol", assumed), class_="assumptions") if assumed else None,
    ]  # fmt: skip


def _summary(report: Report) -> Markup:
    memory = report.memory
    peak, capacity = format_quantity(memory.peak_bytes, "iB"), format_quantity(memory.capacity_bytes, "iB")
    misfit = f"Does not fit: {peak} needed, {capacity} there; the times are those of a GPU with enough memory."
    help_ = advice(report)
    return el(
        "section",
        el("div", el("strong", seconds(report.latency_s)), el("span", f"{number(report.throughput_per_s)} samples/s"), class_="hero"),
        el("div",
           el("p", el("i", class_=f"dot b-{BOUNDS[report.bound]}"), "Limited by ", el("strong", report.bound), f": {verdict(report)}."),
           el("p", f"Would help: {help_}.", class_="note") if help_ else None,
           el("p", misfit, class_="warning") if not memory.fits else None),
        class_="summary",
    )  # fmt: skip


def _bounds_bar(report: Report, whole_s: float = 0.0) -> Markup:
    """The latency as a bar divided by what the run waits for; as long as its share of `whole_s`."""
    shares = report.bound_fractions
    parts = [
        el("b", el("span", name) if shares[name] > 0.14 else None, style=f"width:{100 * shares[name]:.2f}%", class_=f"b-{BOUNDS[name]}",
           data_t=f"{name}: {percent(shares[name])}, {seconds(shares[name] * report.latency_s)}\n{BOUND_MEANING[name]}")
        for name in sorted(shares, key=lambda name: BOUND_ORDER[name])
    ]  # fmt: skip
    width = 100 * report.latency_s / whole_s if whole_s else 100.0
    return el("div", parts, class_="stack", style=f"width:{width:.2f}%")


BOUND_ORDER = {name: i for i, name in enumerate(BOUNDS)}


def _bounds_key(report: Report) -> Markup:
    shares = report.bound_fractions
    rows = [
        el("tr", el("th", el("i", class_=f"dot b-{BOUNDS[name]}"), name, scope="row"), el("td", percent(share), class_="n"),
           el("td", seconds(share * report.latency_s), class_="n"), el("td", BOUND_MEANING[name], class_="quiet"))
        for name, share in shares.items()
    ]  # fmt: skip
    ladder = f"datasheet roofline {seconds(report.roofline_s)} → kernels one by one {seconds(report.kernel_s)} → this run {seconds(report.latency_s)}"
    return el("div", el("table", el("tbody", rows), class_="waits"), el("p", ladder, class_="note"))


def _waterfall(report: Report) -> Markup:
    """From the time at the datasheet's peak down to the latency, a bar for each reason that begins where the one before ends."""
    steps = why_not_at_peak(report)
    ends = np.cumsum([step.time_s for step in steps])
    whole_s = max(float(ends.max()), report.latency_s)
    rows = []
    for i, (step, end) in enumerate(zip(steps, ends.tolist(), strict=True)):
        if i and abs(step.time_s) < 0.002 * report.latency_s:
            continue
        begin = min(end, end - step.time_s)
        kind, sign = ("from", "") if i == 0 else ("less", "\N{MINUS SIGN} ") if step.time_s < 0 else ("more", "+ ")
        rows.append((step.name, begin, abs(step.time_s), kind, f"{sign}{seconds(abs(step.time_s))}"))
    rows.append(("latency", 0.0, report.latency_s, "to", seconds(report.latency_s)))
    body = [
        el("tr", el("th", name, scope="row"),
           el("td", el("b", style=f"margin-left:{100 * begin / whole_s:.2f}%;width:{100 * length / whole_s:.2f}%", class_=kind), class_="fall"),
           el("td", text, class_="n"))
        for name, begin, length, kind, text in rows
    ]  # fmt: skip
    return el("table", el("tbody", body), class_="waterfall")


def _busy(report: Report) -> Markup:
    rows = []
    for term, (field, meaning) in UTILIZATION.items():
        share = getattr(report.utilization, field)
        meter = el("td", el("div", el("b", style=f"width:{100 * min(share, 1.0):.1f}%"), class_="meter"))
        rows.append(el("tr", el("th", term, scope="row"), meter, el("td", percent(share), class_="n"), data_t=f"{term}\n{meaning}"))
    return el("table", el("tbody", rows), class_="busy")


def _work(report: Report) -> Markup:
    memory, gpu = report.memory, report.gpu
    ridge = report.peak_flop_per_s / gpu.dram.bandwidth_bytes_per_s
    categories = ", ".join(f"{format_quantity(value, 'iB')} {name}" for name, value in memory.by_category().items() if value > 0)
    rows = (
        ("speed", f"{format_quantity(report.flop_per_s, 'FLOP/s')} of {format_quantity(report.peak_flop_per_s, 'FLOP/s')} ({report.math_dtype})"),
        ("DRAM traffic", format_quantity(report.dram_bytes, "B")),
        ("FLOP per byte", f"{number(report.intensity_flop_per_byte)}, ridge {number(ridge)}"),
        ("FLOP executed", format_quantity(report.executed_flop, "FLOP")),
        ("energy", f"{format_quantity(report.energy_j, 'J')} at {format_quantity(report.power_w, 'W')} of {format_quantity(gpu.power.tdp_w, 'W')}"),
        ("SM clock", f"{format_quantity(report.clock_hz, 'Hz')} of {format_quantity(gpu.clock_hz, 'Hz')}"),
        ("memory", f"{format_quantity(memory.peak_bytes, 'iB')} of {format_quantity(memory.capacity_bytes, 'iB')} at the peak"),
        ("", categories),
    )
    return el("table", el("tbody", [el("tr", el("th", name, scope="row"), el("td", text)) for name, text in rows]))


def _rooflines(reports: Sequence[Report]) -> Markup:
    """The chart twice, drawn for a desk and for a phone; the page shows one."""
    wide = roofline_svg(reports, width=1040, height=500, named=8, class_="for-desk")
    return el("div", wide, roofline_svg(reports, width=360, height=380, named=4, class_="for-phone"))


# ---- several runs

_NAMED = 3  # more models or GPUs than this are counted in the title


def _several(reports: Sequence[Report]) -> Content:
    models, gpus = list(dict.fromkeys(r.model for r in reports)), list(dict.fromkeys(r.gpu.name for r in reports))
    title = ", ".join(models) if len(models) <= _NAMED else f"{len(models)} models"
    where = ", ".join(gpus) if len(gpus) <= _NAMED else f"{len(gpus)} GPUs"
    longest = max(r.latency_s for r in reports)
    names = [f"{r.model} on {r.gpu.name}" for r in reports]
    bars = [
        el("div", el("span", el("i", class_=f"dot s-{i % 8}"), f"{i + 1}  {name}", el("small", f" {r.setting}")), _bounds_bar(r, longest),
           el("span", seconds(r.latency_s), class_="n"), class_="run-bar")
        for i, (name, r) in enumerate(zip(names, reports, strict=True))
    ]  # fmt: skip
    waited = dict.fromkeys(name for name in BOUNDS if any(r.bound_fractions.get(name, 0.0) >= 0.005 for r in reports))
    key = el("p", [el("span", el("i", class_=f"dot b-{BOUNDS[name]}"), name) for name in waited])
    runs = el("p", [el("span", el("i", class_=f"dot s-{i % 8}"), f"{i + 1}  {name}") for i, name in enumerate(names)])
    modules = module_comparison(reports)
    return [
        el("header", el("h1", title, el("small", f" on {where}")), el("ul", el("li", f"{len(reports)} runs side by side"), class_="facts")),
        el("section", el("h2", "Where the time goes"), bars, el("div", key, class_="legend")),
        el("section", el("h2", "Side by side"), comparison_table(reports)),
        el("section", el("h2", "Roofline"), el("p", "The large points are the runs as a whole, the small ones their kernels.", class_="note"),
           _rooflines(reports), el("div", runs, class_="legend")),
        el("section", el("h2", "Time by module"), modules) if modules else None,
        el("section", el("h2", "Each run"), [
            el("details", el("summary", el("i", class_=f"dot s-{i % 8}"), f"{i + 1}  {name} ", el("small", r.setting)), _facts(r), _details(r, "h3"),
               class_="run")
            for i, (name, r) in enumerate(zip(names, reports, strict=True))
        ]),
    ]  # fmt: skip
