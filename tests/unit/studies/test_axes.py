"""What may vary, and what ranges mean."""

from __future__ import annotations

import numpy as np
import pytest

from simgpu.errors import OptionError
from simgpu.studies.axes import axis
from simgpu.studies.designs import grid, latin_hypercube


@pytest.mark.parametrize(
    ("name", "text", "points"),
    [
        ("sm.count", "54:216:54", (54, 108, 162, 216)),
        ("sm.count", "10:15:2", (10, 12, 14)),
        ("clocks.boost", "1 GHz:2 GHz:500 MHz", (1e9, 1.5e9, 2e9)),
        ("clocks.boost", "1:2:0.5 GHz", (1e9, 1.5e9, 2e9)),
        ("dram.achievable_fraction", "0.1:0.3:0.1", (0.1, 0.2, 0.3)),
        ("dram.bandwidth", "1..4 TB/s:4", (1e12, 2e12, 3e12, 4e12)),
        ("dram.bandwidth", "500 GB/s..4 TB/s:4 log", (5e11, 1e12, 2e12, 4e12)),
        ("dram.bandwidth_bytes_per_s", "1,2 TB/s", (1e12, 2e12)),
        ("l2.size", "40 MiB, 80 MiB", (40 * 2**20, 80 * 2**20)),
        ("batch", "1..256:5log", (1, 4, 16, 64, 256)),
        ("batch", "1..4:9", (1, 2, 3, 4)),  # counts are whole, and each is there once
        ("dtype", "fp16, fp32", ("fp16", "fp32")),
        ("gpu", "t4,a100", ("t4", "a100")),
        ("tensor_cores.flop_per_clk.fp16", "1024,2048", (1024, 2048)),
    ],
)
def test_points(name: str, text: str, points: tuple[object, ...]):
    assert axis(name, text).points == points


def test_numbers_of_python_are_in_si():
    assert axis("dram.bandwidth", np.array([1e12, 2e12])).points == (1e12, 2e12)
    assert axis("batch", [1, 8]).points == (1, 8)
    assert axis("batch", 8).points == (8,)
    assert axis("sm.count", np.int64(100)).points == (100,)
    assert axis("l2.size", ["40 MiB", 1e6]).points == (40 * 2**20, 1e6)


def test_columns_are_named_with_their_unit():
    assert axis("dram.bandwidth", "1..2 TB/s:2").column == "dram.bandwidth_bytes_per_s"
    assert axis("tensor_cores.flop_per_clk.fp16", "1024").column == "tensor_cores.flop_per_clk.fp16"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sm.cuont", "1:2:1", r"sm.cuont: nothing of that name can vary, .*did you mean 'sm.count'\?"),
        ("dram.bandwith", "1..2 TB/s:2", r"did you mean 'dram.bandwidth'\?"),
        ("bandwidth", "1..2 TB/s:2", r"did you mean 'dram.bandwidth'\?"),
        ("bacth", "1,2", r"did you mean 'batch'\?"),
        ("chip.name", "a,b", "chip.name: is no number of a GPU and cannot vary; vary gpu instead"),
        ("sm.count", "", "sm.count: there are no values"),
        ("sm.count", "216:54:18", "reversed, expected the smaller end first: 54 is below 216"),
        ("sm.count", "54:216:0", "a step of 0 leads nowhere"),
        ("sm.count", "54:216:-18", "a step of -18 leads nowhere"),
        ("sm.count", "54:216", "2 parts between colons; expected start:stop:step"),
        ("sm.count", "1:1e9:1", "1,000,000,000 points, expected at most 10,000,000"),
        ("sm.count", "54,,108", "a value is missing"),
        ("sm.count", "54,54", "54 is given twice"),
        ("sm.count", "54.5,60", "expected whole numbers, got 54.5"),
        ("sm.count", "many", "expected a number, got 'many'"),
        ("sm.count", "54 GB,60", "unit 'GB', expected a plain number"),
        ("dram.bandwidth", "4..1 TB/s:16", "reversed, expected the smaller end first: 1 TB/s is below 4"),
        ("dram.bandwidth", "1..1 TB/s:16", "the range is empty"),
        ("dram.bandwidth", "1..4:16", "has no unit, expected a quantity in B/s"),
        ("dram.bandwidth", "1e12,2e12", "has no unit, expected a quantity in B/s"),
        ("dram.bandwidth", "1..4 GHz:16", "unit 'GHz', expected B/s"),
        ("dram.bandwidth", "1..4 TB/s:0", "'0' is no number of points"),
        ("dram.bandwidth", "1..4 TB/s:x", "'x' is no number of points"),
        ("dram.latency", "0..400 ns:4 log", "equal ratios cannot start at 0"),
        ("batch", "0,1", "expected whole numbers of 1 or more, got 0"),
        ("dtype", "fp16,,fp32", "a value is missing"),
        ("dtype", "fp16,fp16", "fp16 is given twice"),
    ],
)
def test_mistakes(name: str, text: str, message: str):
    with pytest.raises(OptionError, match=message):
        axis(name, text)


def test_a_grid_is_every_combination():
    designs = grid([axis("sm.count", "10,20"), axis("dtype", "fp16,fp32")])
    assert designs.count == 4
    assert list(zip(designs.columns["sm.count"].tolist(), designs.columns["dtype"].tolist(), strict=True)) == [
        (10, "fp16"),
        (10, "fp32"),
        (20, "fp16"),
        (20, "fp32"),
    ]


def test_a_latin_hypercube_has_one_value_in_each_part_of_each_axis():
    designs = latin_hypercube([axis("dram.bandwidth", "1..2 TB/s"), axis("clocks.boost", "1..16 GHz log"), axis("dtype", "fp16,fp32")], 40, seed=3)
    tenths = np.floor((designs.columns["dram.bandwidth"] / 1e12 - 1) * 40)
    assert sorted(tenths.tolist()) == list(range(40))
    octaves = np.floor(np.log2(designs.columns["clocks.boost"] / 1e9) * 10)
    assert sorted(octaves.tolist()) == list(range(40))
    assert designs.columns["dtype"].tolist().count("fp16") == 20
    again = latin_hypercube(designs.axes, 40, seed=3)
    assert all((again.columns[name] == values).all() for name, values in designs.columns.items())
    other = latin_hypercube(designs.axes, 40, seed=4)
    assert (other.columns["dram.bandwidth"] != designs.columns["dram.bandwidth"]).any()


def test_a_range_without_points_wants_a_sample():
    with pytest.raises(OptionError, match=r"dram.bandwidth: how many points the range has is not said; write lo..hi:N, or draw designs with --sample"):
        grid([axis("dram.bandwidth", "1..2 TB/s")])


def test_many_designs_want_a_confirmation():
    axes = [axis("sm.count", "1:400:1"), axis("dram.bandwidth", "1..4 TB/s:400")]
    with pytest.raises(OptionError, match=r"160,000 designs are more than 100,000; confirm with --yes"):
        grid(axes)
    assert grid(axes, limit=None).count == 160_000
    with pytest.raises(OptionError, match=r"200,000 designs are more than 100,000"):
        latin_hypercube(axes, 200_000)


def test_more_than_a_table_holds_is_refused_at_once():
    axes = [axis("sm.count", "1:4000:1"), axis("dram.bandwidth", "1..4 TB/s:4000")]
    with pytest.raises(OptionError, match=r"16,000,000 designs are more than a table holds"):
        grid(axes, limit=None)


def test_one_quantity_under_two_names():
    with pytest.raises(OptionError, match=r"dram.bandwidth_bytes_per_s: varies twice, also as dram.bandwidth"):
        grid([axis("dram.bandwidth", "1,2 TB/s"), axis("dram.bandwidth_bytes_per_s", "1,2 TB/s")])
