"""The HTML report as text: whole, escaped, self-contained, the same bytes every time."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

import simgpu
from simgpu.errors import OptionError
from simgpu.report.html import to_html, write_html
from simgpu.report.html_element import el, safe
from simgpu.report.html_tables import digits
from simgpu.report.report import Report
from tests import runs

VOID = {"br", "input", "link", "meta"}
NASTY = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Tags with attributes, and text; refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"script", "style"}:
            self.texts.append(data)

    def count(self, tag: str, **wanted: str) -> int:
        return sum(name == tag and all(attrs.get(k.rstrip("_").replace("_", "-")) == v for k, v in wanted.items()) for name, attrs in self.tags)


@cache
def resnet() -> Report:
    return simgpu.simulate("resnet50", "a100", batch=32, dtype="fp16")


def nasty() -> Report:
    """The toy run with markup in every name that a user brings along."""
    report = runs.three_kernels()
    kernels = [dataclasses.replace(k, name=NASTY, op=f"{NASTY}.{k.op}", scope=f"a.{NASTY}", label="</td>'\"&") for k in report.kernels.kernels]
    graph = type(report.kernels)(kernels, report.kernels.deps, graph_name="net")
    gpu = dataclasses.replace(report.gpu, name="</title><img src=x onerror=alert(1)>")
    return dataclasses.replace(report, model=NASTY, kernels=graph, gpu=gpu, assumptions=(NASTY, "bell \x07, half \ud800"))


def test_a_report_is_whole_and_small():
    text = to_html(resnet())
    page = Page(text)
    assert len(text.encode()) < 200_000
    assert text.startswith("<!doctype html>\n<html lang=")
    said = " ".join(page.texts)
    for part in ("resnet50", "A100", "Where the time goes", "GPU-Util", "Roofline", "Timeline", "Time by module", "layer4", "Every kernel", "Assumptions"):
        assert part in said
    assert page.count("circle") > 20
    rows = [attrs["data-k"] for tag, attrs in page.tags if tag == "tr" and "data-k" in attrs]
    assert rows == [str(i) for i in range(len(resnet().records))]
    assert all(note in said for note in resnet().assumptions)


def test_a_report_asks_for_nothing():
    text = to_html(resnet())
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert {attrs["href"] for tag, attrs in Page(text).tags if "href" in attrs} == {"data:,"}
    assert not [attrs for _, attrs in Page(text).tags if "src" in attrs or any(name.startswith("on") for name in attrs)]


def test_the_policy_allows_the_page_its_own_script_only():
    page = Page(to_html(resnet()))
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)
    assert page.count("script") == 1


def test_names_that_hold_markup_are_shown_as_text():
    for reports in (nasty(), [nasty(), runs.three_kernels()]):
        text = to_html(reports)
        page = Page(text)
        assert page.count("script") == 1
        assert page.count("img") == 0
        assert NASTY not in text
        assert NASTY in page.texts  # once read back
        assert "bell \N{REPLACEMENT CHARACTER}, half \N{REPLACEMENT CHARACTER}" in page.texts
        text.encode()


def test_the_timeline_has_every_launch_and_kernel():
    tags = Page(to_html(runs.three_kernels())).tags  # launched in 1 s each from 0, run at 1-5, 5-7, 7-8 s of 8 s
    bars = [(float(a["x"] or 0), float(a["width"] or 0)) for tag, a in tags if tag == "rect" and "data-k" in a]
    assert bars == [(0, 125_000), (125_000, 125_000), (250_000, 125_000), (125_000, 500_000), (625_000, 250_000), (875_000, 125_000)]


def test_several_runs_stand_side_by_side():
    fast = dataclasses.replace(runs.three_kernels(), model="other")
    page = Page(to_html([runs.three_kernels(), fast, resnet()]))
    assert page.count("details", class_="run") == 3
    said = " ".join(page.texts)
    for part in ("3 runs side by side", "net on Toy", "other on Toy", "resnet50 on A100", "samples a second", "Each run"):
        assert part in said
    assert page.count("table", class_="kernels") == 3


def test_the_steps_from_the_peak_begin_where_the_one_before_ends():
    tags = Page(to_html(runs.three_kernels())).tags  # 800 FLOP at 800 FLOP/s and 10 at 100: 1.1 s; 8 s in all
    bars = [(attrs["style"], attrs["class"]) for tag, attrs in tags if tag == "b" and attrs.get("class") in {"from", "more", "less", "to"}]
    assert bars[0] == ("margin-left:0.00%;width:13.75%", "from")  # 1.1 of 8 s
    assert bars[1] == ("margin-left:13.75%;width:12.50%", "more")  # the padding of the convolution, 1 s
    assert bars[-2:] == [("margin-left:87.50%;width:12.50%", "more"), ("margin-left:0.00%;width:100.00%", "to")]  # 1 s of waiting


def test_few_models_and_gpus_are_named_in_the_title():
    names = [dataclasses.replace(runs.three_kernels(), model=name) for name in "abcd"]
    assert "<h1>a, b, c<small> on Toy</small></h1>" in to_html(names[:3])
    assert "<h1>4 models<small> on Toy</small></h1>" in to_html(names)


def test_modules_are_compared_where_the_networks_share_them():
    assert "kernel time by module" in to_html([resnet(), resnet()])
    assert "kernel time by module" not in to_html([runs.three_kernels(), resnet()])


def test_a_long_run_lists_its_longest_kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("simgpu.report.html_tables.MAX_ROWS", 2)
    text = to_html(runs.three_kernels())
    assert "The longest 2 of 3; the 1 others take 14.3 % of the kernels&#x27; time." in text  # 1 s of 4 + 2 + 1
    assert [a["data-k"] for tag, a in Page(text).tags if tag == "tr" and "data-k" in a] == ["0", "1"]


def test_a_network_that_does_not_fit_says_so():
    report = runs.three_kernels()
    small = dataclasses.replace(report, memory=dataclasses.replace(report.memory, capacity_bytes=1000.0))
    assert "Does not fit: 2.34 KiB needed, 1000 B there" in to_html(small)


def test_a_graph_is_one_launch():
    report = runs.report(runs.kernels((), (0,)), runs.times(1, 1), runs.GRAPH, runs.host(0.0, graph_launch_s=1.0))
    tags = Page(to_html(report)).tags
    assert sum(a.get("data-n") == "graph launch" for _, a in tags) == 1
    assert sum(tag == "rect" and "data-k" in a for tag, a in tags) == 2


def test_the_same_report_gives_the_same_bytes(tmp_path: Path):
    first, second = write_html(runs.three_kernels(), tmp_path / "a.html"), write_html([runs.three_kernels()], tmp_path / "b.html")
    assert first.read_bytes() == second.read_bytes()


def test_a_file_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(OptionError, match=r"none' does not exist; create it first"):
        write_html(runs.three_kernels(), tmp_path / "none" / "a.html")


def test_elements():
    assert el("p", "a & b", None, [el("b", "c"), 3], class_="x", data_n='"', hidden=False) == '<p class="x" data-n="&quot;">a &amp; b<b>c</b>3</p>'
    assert el("rect", x=1.25, width=2.0) == '<rect x="1.2" width="2"/>'
    assert safe(safe("<")) == "&lt;"


@pytest.mark.parametrize(("value", "text"), [(123456.0, "123456"), (99.96, "100.0"), (0.5, "0.500"), (1e-9, "0.00000"), (float("nan"), "–")])
def test_digits_sort_as_numbers(value: float, text: str):
    assert digits(value) == text
