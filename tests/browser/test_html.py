"""The HTML report in a real browser: no complaint, no request, and everything that moves moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

import simgpu
from simgpu.report.html import write_html
from tests import runs
from tests.browser.chromium import Chromium, find_chromium

EXECUTABLE = find_chromium()
pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine (Debian: apt-get install chromium; or set CHROMIUM to one)")

NASTY = "<script>document.title='owned';console.error('owned')</script><img src=x onerror=console.error('owned')>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("html")
    resnet = simgpu.simulate("resnet50", "a100", batch=32, dtype="fp16")
    toy = runs.three_kernels()
    kernels = [dataclasses.replace(k, op=NASTY, scope=f"a.{NASTY}", label=NASTY) for k in toy.kernels.kernels]
    graph = type(toy.kernels)(kernels, toy.kernels.deps, graph_name="net")
    nasty = dataclasses.replace(toy, model=NASTY, kernels=graph, assumptions=(NASTY,))
    return {
        "one": write_html(resnet, folder / "one.html"),
        "three": write_html([resnet, simgpu.simulate("resnet50", "t4", batch=32, dtype="fp16"), toy], folder / "three.html"),
        "nasty": write_html(nasty, folder / "nasty.html"),
        "two nasty": write_html([nasty, dataclasses.replace(nasty, gpu=dataclasses.replace(nasty.gpu, name=f"</title>{NASTY}"))], folder / "two.html"),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert EXECUTABLE is not None
    chromium = Chromium(EXECUTABLE, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", ["one", "three", "nasty", "two nasty"])
def test_no_complaint_no_request_no_sideways_scrolling(browser: Chromium, pages: dict[str, Path], name: str, width: int, dark: bool):
    browser.open(pages[name], width=width, dark=dark)
    for node in ("details", "summary"):
        browser.run(f"document.querySelectorAll('{node}').forEach((one) => one.open = true)")
    browser.settle()
    assert browser.complaints == []
    assert [url for url in browser.requests if url != "data:,"] == [pages[name].as_uri()]
    assert browser.run("return document.documentElement.scrollWidth") <= width
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 19, 24)" if dark else "rgb(255, 255, 255)")


def test_markup_in_names_is_text(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["nasty"])
    assert browser.run("return document.title").startswith(NASTY)
    assert browser.run("return document.querySelector('h1').textContent").startswith(NASTY)
    assert browser.run("return document.querySelector('.kernels tbody tr').cells[1].textContent") == NASTY
    assert browser.run("return [document.scripts.length, document.images.length]") == [1, 0]
    x, y = browser.place(".stream rect")
    browser.mouse("mouseMoved", x, y)
    browser.settle()
    assert NASTY in browser.run("return document.getElementById('tip').textContent")
    assert browser.complaints == []


def test_markup_in_names_of_several_runs_is_text(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["two nasty"])
    assert browser.run("return [document.scripts.length, document.images.length]") == [1, 0]
    assert browser.run("return document.title") == f"{NASTY} on Toy · {NASTY} on </title>{NASTY}"
    assert browser.run("return document.querySelector('.compare tbody tr').cells[1].textContent") == NASTY
    assert browser.run("return [...document.querySelectorAll('details.run')].map((run) => run.querySelector('summary').textContent.length > 9)") == [True] * 2
    assert browser.complaints == []


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", ["one", "three"])
def test_words_on_the_roofline_stand_clear_of_each_other(browser: Chromium, pages: dict[str, Path], name: str, width: int):
    browser.open(pages[name], width=width)
    chart = "for-phone" if width == 360 else "for-desk"
    boxes = browser.run(
        f"const svg = [...document.querySelectorAll('svg.{chart}')].find((one) => one.getBoundingClientRect().width > 0);"
        "return [...svg.querySelectorAll('text:not([transform])')].map((text) => [text.textContent, text.getBoundingClientRect()])"
        ".map(([said, box]) => [said, box.left, box.right, box.top, box.bottom])"
    )
    assert len(boxes) > 8
    slack = 2  # of the letters' own margins [px]
    met = [
        (a[0], b[0])
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if min(a[2], b[2]) - max(a[1], b[1]) > slack and min(a[4], b[4]) - max(a[3], b[3]) > 2 * slack
    ]
    assert met == []
    assert all(left >= 0 and right <= width for _, left, right, _, _ in boxes)


def test_a_phone_sees_a_chart_drawn_for_it(browser: Chromium, pages: dict[str, Path]):
    shown = "return [...document.querySelectorAll('svg.roofline')].map((svg) => svg.getBoundingClientRect().width > 0)"
    browser.open(pages["one"], width=360)
    assert browser.run(shown) == [False, True]
    smallest = "return Math.min(...[...document.querySelectorAll('.for-phone text')].map((text) => text.getBoundingClientRect().height))"
    assert browser.run(smallest) >= 10
    browser.open(pages["one"])
    assert browser.run(shown) == [True, False]


def test_points_of_the_roofline_answer_the_pointer(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["one"])
    assert browser.run("return document.getElementById('tip').hidden") is True
    x, y = browser.place(".for-desk circle")
    browser.mouse("mouseMoved", x, y)
    browser.settle()
    said = browser.run("return document.getElementById('tip').innerText")
    assert "of the kernels' time" in said
    assert "FLOP/B" in said
    box = browser.run("const box = document.getElementById('tip').getBoundingClientRect(); return [box.left, box.right, box.top, box.bottom]")
    assert 0 <= box[0] < box[1] <= 1200
    assert 0 <= box[2] < box[3] <= 900


WINDOW = "return document.querySelector('.view svg').getAttribute('viewBox').split(' ').map(Number)"


def test_the_timeline_zooms_and_moves(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["one"])
    assert browser.run(WINDOW)[::2] == [0, 1e6]
    browser.click("[data-do=in]")
    assert browser.run(WINDOW)[::2] == [250_000, 500_000]
    browser.click("[data-do=right]")
    assert browser.run(WINDOW)[0] == pytest.approx(250_000 + 500_000 / 3)
    for _ in range(5):
        browser.click("[data-do=in]")
    start, _, width, _ = browser.run(WINDOW)
    assert width == pytest.approx(1e6 / 2**6)
    names = browser.run("return [...document.querySelectorAll('.labels span')].map((name) => name.textContent)")
    known = browser.run("return [...document.querySelectorAll('td, th')].map((cell) => cell.textContent)")
    known += browser.run("return [...document.querySelectorAll('.view [data-n]')].map((bar) => bar.dataset.n)")
    assert names
    assert all(any(whole.endswith(name) for whole in known) for name in names), names
    x, y = browser.place(".view")
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in (20, 40, 60):
        browser.mouse("mouseMoved", x + step, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 60, y, button="left")
    browser.settle()
    pixels = browser.run("return document.querySelector('.view').clientWidth")
    assert browser.run(WINDOW)[0] == pytest.approx(start - 60 / pixels * width, abs=1)
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120, modifiers=2)
    browser.settle()
    assert browser.run(WINDOW)[2] < width
    browser.run("document.querySelector('.view').focus()")
    browser.ask("Input.dispatchKeyEvent", type="keyDown", key="0", text="0")
    browser.settle()
    assert browser.run(WINDOW)[::2] == [0, 1e6]
    assert browser.complaints == []


def test_a_kernel_of_the_timeline_leads_to_its_row(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["one"])
    browser.click(".stream rect[data-k='2']")
    assert browser.run("return [...document.querySelectorAll('tr.on')].map((row) => row.dataset.k)") == ["2"]


def test_the_kernel_table_sorts(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["one"])
    column = "return [...document.querySelectorAll('.kernels tbody tr')].map((row) => row.cells[{}].textContent)"
    browser.click(".kernels th:nth-child(4) button")
    times = [float(text) for text in browser.run(column.format(3))]
    assert times == sorted(times, reverse=True)
    assert browser.run("return document.querySelector('th[aria-sort=descending]').textContent") == "time [µs]"
    browser.click(".kernels th:nth-child(4) button")
    assert [float(text) for text in browser.run(column.format(3))] == sorted(times)
    browser.click(".kernels th:nth-child(6) button")
    bounds = browser.run(column.format(5))
    assert bounds == sorted(bounds, key=str.lower)
    browser.click(".kernels th:nth-child(1) button")
    assert browser.run(column.format(0)) == [str(i) for i in range(len(bounds))]


def test_the_kernel_table_is_searched(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["one"])
    browser.click(".finder input")
    browser.type("layer3 CONV 3×3")
    rows = browser.run("return [...document.querySelectorAll('.kernels tbody tr:not([hidden])')].map((row) => row.textContent)")
    assert len(rows) == 6  # layer3 has six blocks with a 3 × 3 convolution each
    assert all("layer3" in row and "conv 3×3" in row for row in rows)
    total = browser.run("return document.querySelectorAll('.kernels tbody tr').length")
    assert browser.run("return document.querySelector('.finder output').textContent").startswith(f"6 of {total} kernels, ")
    browser.run("const field = document.querySelector('.finder input'); field.value = ''; field.dispatchEvent(new Event('input'))")
    assert browser.run("return document.querySelectorAll('.kernels tr[hidden]').length") == 0


def test_each_of_several_runs_opens_with_a_timeline_of_its_own(browser: Chromium, pages: dict[str, Path]):
    browser.open(pages["three"])
    for i, text in enumerate(("A100", "T4", "Toy")):
        browser.click(f"details.run:nth-of-type({i + 1}) > summary")
        assert text in browser.run(f"return document.querySelectorAll('details.run')[{i}].querySelector('summary').textContent")
        assert browser.run(f"return document.querySelectorAll('details.run')[{i}].querySelectorAll('.ticks span').length") > 2
    browser.click("details.run:nth-of-type(3) .stream rect[data-k='1']")
    assert browser.run("return [...document.querySelectorAll('details.run')].map((run) => run.querySelectorAll('tr.on').length)") == [0, 0, 1]
