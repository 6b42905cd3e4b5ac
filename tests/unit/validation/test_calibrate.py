"""The search for factors, on measurements that were made with factors we know."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.calibration import COMMON, Calibration, parse_calibration, shipped_calibration
from simgpu.cost.model import CostModel
from simgpu.errors import DataError
from simgpu.validation.calibrate import Bench, Factor, calibration_text, fit, fitted_factors, heirs, leave_one_out, with_record
from simgpu.validation.formats import load_cases
from simgpu.validation.kernels import predict

HEADER = "source,gpu,split,dtype_in,tensor_core,m,n,k,bias,time_ms,kernel,split_k"
SIZES = ((512, 512, 512), (4096, 1024, 1024), (1024, 4096, 1024), (8192, 2048, 2048), (300, 2000, 700), (5000, 5000, 5000))
HONEST = shipped_calibration()
Measure = Callable[..., Path]


@pytest.fixture
def measure(table: Callable[..., Path]) -> Measure:
    """A table of Linear layers "measured" on GPUs whose factors differ from the shipped ones."""

    def write(*gpus: str, name: str = "linear.csv", source: str = "lab", **volta: float) -> Path:
        rows = [f"{source},{gpu},test,fp32,no,{m},{n},{k},yes,1.0,,no" for gpu in gpus for m, n, k in SIZES]
        path = table(HEADER, *rows, name=name)
        truth = CostModel(HONEST.with_values({"Volta": volta}))
        cases = load_cases(path).cases
        times = {gpu: predict([case for case in cases if case.gpu == gpu], load_gpu(gpu), truth) for gpu in gpus}
        seconds = np.concatenate([times[gpu] for gpu in gpus])
        made = list(csv.reader(rows))
        for row, s in zip(made, seconds, strict=True):
            row[9] = repr(float(s) * 1e3)
        return table(HEADER, *(",".join(row) for row in made), name=name)

    return write


def volta(calibration: Calibration, name: str) -> float:
    return float(vars(calibration.factors(load_gpu("v100")))[name])


# ---- the search


def test_a_factor_that_made_the_measurements_is_found_again(measure: Measure) -> None:
    """Half the efficiency: twice the time of large products. The search brings the error to a few percent."""
    bench = Bench([measure("v100-pcie-32gb", fma_efficiency=0.5)])
    before = bench.mape_by_family(HONEST)["linear"]
    after = fit(bench, HONEST, places=["Volta"], shared=True)
    assert before > 20
    assert bench.mape_by_family(after)["linear"] < 5
    assert volta(after, "fma_efficiency") < 0.8 * volta(HONEST, "fma_efficiency")


def test_the_same_data_give_the_same_file_byte_for_byte(measure: Measure) -> None:
    path = measure("v100-pcie-32gb", fma_efficiency=0.7)
    one, two = (calibration_text(fit(Bench([path]), HONEST, places=["Volta"], rounds=1)) for _ in range(2))
    assert one == two
    assert parse_calibration(one, "again").values == json.loads(two)["values"]


def test_only_the_places_asked_for_change(measure: Measure) -> None:
    bench = Bench([measure("v100-pcie-32gb", fma_efficiency=0.7)])
    after = fit(bench, HONEST, places=["Volta"], shared=True, rounds=1)
    assert after.values["Volta"] != HONEST.values["Volta"]
    assert {place: group for place, group in after.values.items() if place != "Volta"} == {
        place: group for place, group in HONEST.values.items() if place != "Volta"
    }


def test_no_factor_leaves_its_bounds(measure: Measure) -> None:
    """Ten times slower than any efficiency explains: the search stops at the lowest allowed."""
    bench = Bench([measure("v100-pcie-32gb", fma_efficiency=0.03)])
    after = fit(bench, HONEST, places=["Volta"], shared=True, rounds=1)
    for factor in fitted_factors(after, ["Volta"]):
        if factor.value(after) != factor.value(HONEST):
            assert factor.low <= factor.value(after) <= factor.high, str(factor)


def test_a_fit_never_makes_it_worse(measure: Measure) -> None:
    bench = Bench([measure("v100-pcie-32gb", fma_efficiency=0.8)])
    families = frozenset({"linear"})
    losses = [bench.loss(fit(bench, HONEST, places=["Volta"], shared=True, rounds=n), families) for n in (0, 1, 2)]
    assert losses[0] == bench.loss(HONEST, families)
    assert losses == sorted(losses, reverse=True)


def test_measurements_that_say_nothing_about_a_factor_leave_it(measure: Measure) -> None:
    bench = Bench([measure("v100-pcie-32gb", fma_efficiency=0.7)])
    after = fit(bench, HONEST, places=["Volta"], shared=True, rounds=1)
    for name, value in HONEST.values["Volta"].items():
        if "linear" not in HONEST.parameters[name].get("families", ()):
            assert after.values["Volta"][name] == value


def test_a_row_nobody_can_explain_counts_little(measure: Measure, table: Callable[..., Path]) -> None:
    good = Bench([measure("v100-pcie-32gb")])
    text = measure("v100-pcie-32gb").read_text().splitlines()
    absurd = [*text[1:], ",".join(["lab", "v100-pcie-32gb", "test", "fp32", "no", "4096", "4096", "4096", "yes", "1e6", "", "no"])]
    bad = Bench([table(HEADER, *absurd, name="absurd.csv")])
    families = frozenset({"linear"})
    assert good.loss(HONEST, families) == pytest.approx(0.0, abs=0.01)
    assert bad.loss(HONEST, families) == pytest.approx(0.8 / 7, abs=0.01)  # one of seven rows, capped


# ---- what is fitted


def test_only_factors_that_name_families_are_fitted_generations_first() -> None:
    factors = fitted_factors(HONEST)
    places = [factor.place for factor in factors]
    assert places[-1] == COMMON
    assert places.index(COMMON) > max(i for i, place in enumerate(places) if place != COMMON)
    assert "kernel_gap_s" not in {factor.name for factor in factors}
    assert {factor.place for factor in fitted_factors(HONEST, ["Volta"])} == {"Volta"}


def test_a_generation_may_get_values_that_it_shares_so_far():
    """Ada inherits from two generations and they from what all share."""
    own, all_ = ({factor.name: factor for factor in fitted_factors(HONEST, ["Ada"], shared=shared)} for shared in (False, True))
    assert set(own) < set(all_)
    factor = all_["conv_latency_clk"]
    assert factor.value(HONEST) == HONEST.values["Ampere GA100"]["conv_latency_clk"]
    assert factor.replaced(HONEST, 7.0).values["Ada"]["conv_latency_clk"] == 7.0
    assert not any(factor.key for factor in all_.values())  # numbers by process node belong to all


def test_a_factor_by_process_node_is_one_for_each_node() -> None:
    nodes = [factor for factor in fitted_factors(HONEST, [COMMON]) if factor.name == "flop_energy_j"]
    assert {factor.key for factor in nodes} == set(HONEST.values[COMMON]["flop_energy_j"])
    seven = next(factor for factor in nodes if factor.key == "7")
    changed = seven.replaced(HONEST, 1e-11)
    assert str(seven) == "flop_energy_j[7 nm]"
    assert seven.value(changed) == 1e-11
    others = {key: value for key, value in changed.values[COMMON]["flop_energy_j"].items() if key != "7"}
    assert others == {key: value for key, value in HONEST.values[COMMON]["flop_energy_j"].items() if key != "7"}


def test_heirs_of_a_generation() -> None:
    assert heirs(HONEST, COMMON) == frozenset()  # all
    assert heirs(HONEST, "Volta") >= {"Volta", "Turing"}
    assert "Maxwell" not in heirs(HONEST, "Volta")
    assert Factor(place="Volta", name="fma_efficiency", families=frozenset(), low=0.0, high=1.0).value(HONEST) == HONEST.values[COMMON]["fma_efficiency"]


# ---- the measurements


def test_groups_of_rows_weigh_alike_and_are_thinned(measure: Measure) -> None:
    path = measure("v100-pcie-32gb", "t4")
    bench = Bench([path], rows_per_group=2)
    assert bench.gpus == ["t4", "v100-pcie-32gb"]
    assert [len(job.cases) for job in bench.jobs] == [2, 2]
    assert bench.groups == [("lab", "t4", "linear", "fp32", bench.groups[0][4]), ("lab", "v100-pcie-32gb", "linear", "fp32", bench.groups[1][4])]
    first, last = bench.jobs[0].cases
    assert (first.row, last.row) == (2 + len(SIZES), 2 * len(SIZES) + 1)  # evenly over the table: its first and its last


def test_gpus_can_be_left_out_or_taken_alone(measure: Measure) -> None:
    bench = Bench([measure("v100-pcie-32gb", "t4", "p4")])
    assert bench.without("t4").gpus == ["p4", "v100-pcie-32gb"]
    assert bench.only("t4").gpus == ["t4"]
    assert set(bench.only("t4").mape_by_family(HONEST)) == {"linear"}


def test_tables_without_kernels_cannot_be_fitted_on(table: Callable[..., Path]) -> None:
    models = table("source,model,gpu,batch,latency_ms,mode,dtype", "lab,resnet50,t4,1,5,infer,fp32", name="models.csv")
    with pytest.raises(DataError, match="no measured kernels to fit on; give tables with the columns of those that come with simgpu"):
        Bench([models])
    with pytest.raises(DataError, match="no measured kernels to fit on"):
        Bench([])


# ---- blind predictions and the record


def test_each_gpu_is_predicted_by_factors_that_never_saw_it(measure: Measure) -> None:
    """V100s know each other; the T4, alone in its generation, takes the factors of its nearest relative."""
    bench = Bench([measure("v100-pcie-32gb", "v100-sxm2-16gb", "t4")])
    seen: list[str] = []
    found = {one.gpu: one for one in leave_one_out(bench, HONEST, rounds=1, progress=seen.append)}
    assert set(found) == {"v100-pcie-32gb", "v100-sxm2-16gb", "t4"}
    assert found["v100-pcie-32gb"].from_place == found["v100-sxm2-16gb"].from_place == "Volta, other GPUs"
    assert found["t4"].from_place == HONEST.nearest["Turing"]
    assert all(0 <= one.mape_pct["linear"] < 100 for one in found.values())
    assert "without t4" in seen


def test_the_record_says_what_was_fitted_on(measure: Measure) -> None:
    bench = Bench([measure("v100-pcie-32gb")])
    recorded = with_record(HONEST, bench, {"linear": 12.345}, {"linear": 6.789}, leave_one_out(bench, HONEST, rounds=0))
    assert recorded.fit["rows"] == len(SIZES)
    assert recorded.fit["gpus"] == ["v100-pcie-32gb"]
    assert (recorded.fit["mape_pct_before"], recorded.fit["mape_pct_after"]) == ({"linear": 12.35}, {"linear": 6.79})
    (blind,) = recorded.fit["leave_one_out"]
    assert (blind["gpu"], blind["factors_of"], set(blind["mape_pct"])) == ("v100-pcie-32gb", HONEST.nearest["Volta"], {"linear"})
    assert recorded.values == HONEST.values


def test_the_text_reads_back_as_it_was() -> None:
    again = parse_calibration(calibration_text(HONEST), "again")
    assert again == HONEST
    assert calibration_text(again) == calibration_text(HONEST)
