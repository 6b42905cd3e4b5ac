"""What matters, what a target takes, fronts, ladders and dies, on numbers that can be worked out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

import simgpu
from simgpu.arch.loader import override_gpu
from simgpu.errors import OptionError
from simgpu.studies import die as dies
from simgpu.studies.case import Case
from simgpu.studies.fronts import cells, iso_curve, pareto_front
from simgpu.studies.ladder import PIECES, ladder, usual_dtype
from simgpu.studies.sensitivity import sensitivity, what_it_takes
from simgpu.studies.table import Table


class _Model:
    """Stands in for a case: latency = 100 / SMs + 8 / bandwidth + 2 · host, on 10 SMs, 4 B/s, host 1: 10 + 2 + 2 s."""

    values: ClassVar = {"sm.count": 10.0, "dram.bandwidth": 4.0, "host": 1.0, "dram.latency": 1.0, "nvlink.lanes": 0.0}
    gpu = simgpu.load_gpu("t4")

    def __init__(self) -> None:
        self.base = {"latency_s": 14.0}

    def value(self, field: str) -> float:
        return self.values[field]

    def price(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(next(iter(fields.values())))
        now = {name: fields.get(name, np.full(count, value)) for name, value in self.values.items()}
        latency = 100 / now["sm.count"] + 8 / now["dram.bandwidth"] + 2 * now["host"]
        return {"latency_s": latency, "bound": np.where(latency > 6, "compute", "host launch").astype(object)}

    def latencies_s(self, fields: dict[str, np.ndarray]) -> np.ndarray:
        return self.price(fields)["latency_s"]


FIELDS = ("sm.count", "dram.bandwidth", "host")


def test_sensitivity_by_hand():
    found = {lever.field: lever for lever in sensitivity(_Model(), FIELDS, swing=0.5)}  # type: ignore[arg-type]
    assert list(found) == ["sm.count", "dram.bandwidth", "host"]
    sms = found["sm.count"]
    assert (sms.low, sms.high, sms.latency_s) == (5, 15, 14)
    assert sms.low_latency_s == pytest.approx(20 + 4)
    assert sms.high_latency_s == pytest.approx(100 / 15 + 4)
    assert sms.elasticity == pytest.approx(np.log((100 / 15 + 4) / 24) / np.log(3))
    assert found["dram.bandwidth"].low_latency_s == pytest.approx(10 + 4 + 2)
    assert found["host"].high_latency_s == pytest.approx(15)
    assert (found["host"].elasticity > 0) and (found["dram.bandwidth"].elasticity < 0)


def test_what_it_takes_by_hand():
    needs = what_it_takes(_Model(), 9.0, FIELDS)  # type: ignore[arg-type]
    sms, *vain, all_of_them = needs
    # 100 / n + 4 ≤ 9 from n = 20 on; neither 2 + 10 nor 10 + 2 can fall below 9 by the others alone
    assert (sms.fields, sms.values, sms.factor, sms.met) == (("sm.count",), (20,), 2.0, True)
    assert sms.latency_s == pytest.approx(9)
    assert {need.fields[0] for need in vain} == {"dram.bandwidth", "host"} and not any(need.met for need in vain)
    assert min(need.latency_s for need in vain) == pytest.approx(12, abs=0.1)
    # (10 + 2 + 2) / f ≤ 9 from f = 14 / 9 on, which is 15.6 SMs: 16
    assert all_of_them.fields == FIELDS and all_of_them.met
    assert all_of_them.factor == pytest.approx(14 / 9, rel=0.02)
    assert all_of_them.values[0] == 16
    assert all_of_them.values[2] == pytest.approx(9 / 14, rel=0.02)


def test_questions_that_make_no_sense():
    model: Any = _Model()
    with pytest.raises(OptionError, match="target: expected a time of more than 0 s, got 0"):
        what_it_takes(model, 0.0)
    with pytest.raises(OptionError, match=r"needs 14 s already, which is not above 15 s; nothing has to change"):
        what_it_takes(model, 15.0)
    with pytest.raises(OptionError, match=r"nvlink.lanes: Tesla T4 has none of it"):
        sensitivity(model, ("nvlink.lanes",))
    with pytest.raises(OptionError, match="swing: expected a share between 0 and 1, got 1"):
        sensitivity(model, FIELDS, swing=1.0)


def test_a_case_says_what_simulate_says():
    gpu = simgpu.load_gpu("a100")
    case = Case("resnet18", gpu, batch=4, dtype="fp16")
    assert case.base["latency_s"] == pytest.approx(simgpu.simulate("resnet18", gpu, batch=4, dtype="fp16").latency_s, rel=1e-9)
    assert case.value("dram.bandwidth") == gpu.dram.bandwidth_bytes_per_s
    assert case.value("tensor_cores.flop_per_clk.fp16") == 2048
    assert case.value("tensor_cores.flop_per_clk.nf4") == 0
    assert case.value("host") == 1
    with pytest.raises(OptionError, match=r"did you mean 'sm.count'"):
        case.value("sm.coumt")
    faster = case.price({"host": np.array([1.0, 0.5, 0.0]), "sm.count": np.array([108.0, 108.0, 108.0])})
    host_s = simgpu.simulate("resnet18", gpu, batch=4, dtype="fp16").host_s
    assert faster["host_s"].tolist() == pytest.approx([host_s, host_s / 2, 0.0])
    assert (np.diff(faster["latency_s"]) < 0).all()
    assert case.price({"host": np.array([1.0, 0.0])})["latency_s"].tolist() == pytest.approx(faster["latency_s"][[0, 2]].tolist())


# ---- tables


def table(**columns: Any) -> Table:
    arrays = {name: np.array(values, dtype=object if isinstance(values[0], str) else None) for name, values in columns.items()}
    return Table(columns=arrays, inputs=tuple(arrays)[:2])


def test_the_front_by_hand():
    one = table(area=[1, 2, 3, 3, 4, 2], power=[1, 1, 1, 1, 1, 1], latency_s=[9.0, 7.0, 7.0, 5.0, 6.0, 7.0], throughput_per_s=[1.0, 2.0, 2.0, 5.0, 3.0, 2.0])
    assert pareto_front(one, "area", "latency_s").tolist() == [0, 1, 3]
    assert pareto_front(one, "area", "throughput_per_s").tolist() == [0, 1, 3]  # more of it is better
    assert pareto_front(one, "power", "latency_s").tolist() == [3]


def test_the_front_is_what_no_other_design_beats():
    dice = np.random.default_rng(2)
    one = table(area=dice.integers(0, 30, 200), power=dice.random(200), latency_s=dice.integers(0, 30, 200))
    front = set(pareto_front(one, "area", "latency_s").tolist())
    x, y = one["area"], one["latency_s"]
    for i in range(200):
        beaten = ((x <= x[i]) & (y <= y[i]) & ((x < x[i]) | (y < y[i]))).any()
        twin = any(x[j] == x[i] and y[j] == y[i] for j in front)
        assert (i in front) <= (not beaten)
        assert beaten or twin


def test_words_make_no_front():
    with pytest.raises(OptionError, match="bound: holds no numbers, expected one of area, power"):
        pareto_front(table(area=[1], power=[1], bound=["DRAM"]), "area", "bound")


GRID = {"x": [1, 1, 1, 2, 2, 2], "y": [10, 20, 30, 10, 20, 30], "latency_s": [9.0, 5.0, 1.0, 4.0, 3.0, 2.0]}


def test_a_grid_as_a_matrix():
    xs, ys, matrix = cells(table(**GRID), "x", "y", "latency_s")
    assert (xs.tolist(), ys.tolist()) == ([1, 2], [10, 20, 30])
    assert matrix.tolist() == [[9, 4], [5, 3], [1, 2]]
    with pytest.raises(OptionError, match="5 designs are no grid of 2 values of x by 3 of y"):
        cells(table(**{name: values[:5] for name, values in GRID.items()}), "x", "y", "latency_s")
    with pytest.raises(OptionError, match="y: varies beside x and latency_s"):
        cells(table(**GRID), "x", "latency_s", "latency_s")


def test_lines_of_equal_latency():
    across, up = iso_curve(table(**GRID), "x", "y", 3.5)
    assert across.tolist() == [1, 2]
    assert up.tolist() == [20 + 10 * 1.5 / 4, 15]
    assert iso_curve(table(**GRID), "x", "y", 1.5)[0].tolist() == [1]


# ---- generations


def test_a_ladder_adds_up_to_the_whole_gain():
    gpus = ("k40", "v100", "a100")
    rungs = ladder("resnet18", gpus, batch=8, runtime="graph")
    assert [rung.dtype for rung in rungs] == ["fp32", "fp16", "fp16"]
    for rung, gpu in zip(rungs, gpus, strict=True):
        assert rung.latency_s == pytest.approx(simgpu.simulate("resnet18", gpu, batch=8, runtime="graph", dtype=rung.dtype).latency_s, rel=1e-9)
    assert rungs[0].gains == ()
    for before, rung in pairwise(rungs):
        assert [cause for cause, _ in rung.gains] == list(PIECES)
        assert np.prod([factor for _, factor in rung.gains]) == pytest.approx(before.latency_s / rung.latency_s)
    assert dict(rungs[1].gains)["dtype"] > 1.2  # half the bytes
    assert dict(rungs[2].gains)["dtype"] == pytest.approx(1.0)


def test_a_ladder_of_the_same_gpu_gains_nothing():
    rungs = ladder("alexnet", ("t4", "t4"), dtype="fp32")
    assert all(factor == pytest.approx(1.0) for _, factor in rungs[1].gains)


def test_one_change_is_credited_to_its_cause():
    gpu = simgpu.load_gpu("t4")
    changes = {"DRAM bandwidth": ("dram.clock", "4 GHz"), "SMs": ("sm.count", 80), "power": ("power.tdp", "300 W"), "L2": ("l2.size", "64 MiB")}
    for cause, (field, value) in changes.items():
        rungs = ladder("resnet18", (gpu, override_gpu(gpu, {field: value})), batch=16, runtime="graph")
        gains = dict(rungs[1].gains)
        assert gains.pop(cause) == pytest.approx(rungs[0].latency_s / rungs[1].latency_s)
        assert all(factor == pytest.approx(1.0) for factor in gains.values())


def test_the_usual_dtype():
    assert [usual_dtype(simgpu.load_gpu(name)) for name in ("p100-sxm2-16gb", "gtx-1660-ti", "v100")] == ["fp32", "fp32", "fp16"]


# ---- dies


def test_a_chip_that_is_sold_has_the_area_it_is_sold_with():
    die = dies.die_estimate(simgpu.load_gpu("a100"))
    assert float(die.area_mm2[0]) == pytest.approx(826)
    assert float(die.transistors[0]) == pytest.approx(54.2e9)


def test_a_die_grows_with_what_is_put_on_it():
    gpu = simgpu.load_gpu("a100")
    more = {"sm.count": 216, "l2.size": "80 MiB", "sm.fp32_lanes": 128, "sm.registers": 131072, "tensor_cores.flop_per_clk.fp16": 4096}
    areas = [float(dies.die_estimate(override_gpu(gpu, {name: value})).area_mm2[0]) for name, value in more.items()]
    assert all(826 < area < 2 * 826 for area in areas)
    assert areas[0] == max(areas)
    assert float(dies.die_estimate(override_gpu(gpu, {"chip.process": "5 nm"})).area_mm2[0]) < 826
    assert float(dies.die_estimate(override_gpu(gpu, {"clocks.boost": "2 GHz"})).area_mm2[0]) == pytest.approx(826)


def test_designs_as_arrays():
    gpu = override_gpu(simgpu.load_gpu("t4"), {"sm.count": np.array([[20.0], [40.0], [80.0]])})
    area = dies.die_estimate(gpu).area_mm2
    assert area.shape == (3,)
    assert float(area[1]) == pytest.approx(545)
    assert float(area[2] - area[1]) == pytest.approx(2 * float(area[1] - area[0]))


def test_the_estimate_says_how_good_it_is():
    model = dies.transistor_model()
    assert len(model.chips) > 20
    assert 0.05 < model.error_fraction < 0.2  # each chip from the others; the docstring says a sixth
    assert (model.per_part >= 0).all() and model.per_part[0] > 1e5


def test_cost_by_hand(monkeypatch: pytest.MonkeyPatch):
    # 100 mm² on a wafer of 300 mm: 225 π - 300 π / √200 = 640.2 dies; 0.1 defects each: ((1 - e^-0.1) / 0.1)² = 0.9056 of them good
    assert float(dies.die_cost_usd(100.0, 7.0)) == pytest.approx(9346 / (640.2 * 0.9056), rel=1e-3)
    assert float(dies.die_cost_usd(100.0, 4.0)) == pytest.approx(16988 / (640.2 * 0.9056), rel=1e-3)
    assert float(dies.die_cost_usd(100.0, 28.0)) == pytest.approx(2994 / (640.2 * 0.9056), rel=0.01)  # between 90 and 16 nm
    # beyond the reticle a chip is two dies of half the size
    assert float(dies.die_cost_usd(1000.0, 7.0)) == pytest.approx(2 * float(dies.die_cost_usd(500.0, 7.0)))
