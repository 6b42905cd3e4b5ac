"""A network by module, checked on one small enough to count by hand."""

from __future__ import annotations

import pytest

from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph
from simgpu.report.summary import format_summary, summarize


@pytest.fixture
def toy() -> Graph:
    b = Builder("toy")
    x = b.embedding(b.input("ids", (1, 2), dtype="int64"), 5, 3, name="wte")
    with b.scope("block"):
        x = b.relu(b.linear(x, 4, name="up"))
        x = b.linear(x, 3, name="down")
    b.assume("the weather is fine")
    return b.build(b.linear(x, 5, bias=False, tied=b.weight("wte.weight", (5, 3)), name="head"))


def test_modules_hold_what_is_inside(toy: Graph) -> None:
    summary = summarize(toy)
    assert [(m.path, m.type, m.depth) for m in summary.modules] == [
        ("wte", "Gather", 1),
        ("block", "", 1),
        ("block.up", "Linear", 2),
        ("block.relu", "Relu", 2),
        ("block.down", "Linear", 2),
        ("head", "Linear", 1),
    ]
    block = summary.modules[1]
    assert block.num_params == (4 * 3 + 4) + (3 * 4 + 3)
    assert block.macs == 2 * 3 * 4 + 2 * 4 * 3
    assert block.written_bytes == 4 * (2 * 4 + 2 * 4 + 2 * 3)
    # up reads x, weight, bias; relu x; down x, weight, bias
    assert block.read_bytes == 4 * ((2 * 3 + 4 * 3 + 4) + 2 * 4 + (2 * 4 + 3 * 4 + 3))
    assert block.output_shape == (1, 2, 3)


def test_totals_count_a_tied_weight_once(toy: Graph) -> None:
    summary = summarize(toy)
    assert summary.total.num_params == toy.num_params == 5 * 3 + 16 + 15
    assert [m.num_params for m in summary.stages] == [15, 31, 0]
    assert summary.weight_bytes == 4 * (15 + 31)
    assert summary.total.macs == 48 + 2 * 3 * 5


def test_the_page_shows_levels_down_to_the_depth(toy: Graph) -> None:
    page = format_summary(summarize(toy), depth=1)
    assert "block (3 ops)" in page
    assert "up (Linear)" not in page
    assert "  up (Linear)" in format_summary(summarize(toy), depth=2)
    assert [line.split()[:2] for line in page.splitlines() if line.startswith("parameters")] == [["parameters", "46"]]
    assert "assumed: the weather is fine" in page


def test_plain_data_holds_the_same(toy: Graph) -> None:
    data = summarize(toy).to_dict(depth=1)
    assert data["inputs"] == [{"name": "ids", "shape": [1, 2], "dtype": "int64"}]
    assert [m["path"] for m in data["modules"]] == ["wte", "block", "head"]
    assert data["total"]["macs"] == 78


def test_tensors_live_until_their_last_reader() -> None:
    b = Builder("toy")
    x = b.input("x", (1, 10))
    wide = b.linear(x, 30, name="wide")
    narrow = b.linear(b.relu(b.reshape(wide, (30, 1))), 2, name="narrow")
    graph = b.build(narrow)
    # x 10 and wide 30; wide, shown by the reshape, and its relu 30; that and narrow 60: the last is the most
    assert summarize(graph).live_bytes == 4 * (30 + 60)
