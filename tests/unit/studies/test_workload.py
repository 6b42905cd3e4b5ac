"""A model on many designs at once says what `simulate` says of each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import simgpu
from simgpu.arch.loader import override_gpu
from simgpu.errors import OptionError, SimulationError
from simgpu.sim.host import HostCost
from simgpu.studies import workload as module
from simgpu.studies.sweep import sweep
from simgpu.studies.workload import OUTPUTS, Workload, outcomes
from tests import runs
from tests.toys import toy_gpu


class _Given:
    """Stands in for the cost model: each design stretches the kernels' times by its SM count over 10."""

    calibration = None

    def price(self, kernels: Any, gpu: Any, *, graph_replay: bool, **_: Any) -> Any:
        parts = {"dram_s": (2.0, 0.0, 0.0), "math_s": (1.0, 3.0, 0.0), "latency_s": (0.0, 0.0, 1.0)}
        one = runs.times(2.0, 3.0, 1.0, **parts, energy_j=(5.0, 6.0, 7.0), dram_bytes=(8.0, 0.0, 4.0))
        stretch = np.asarray(gpu.sm.count) / 10.0
        names = [field.name for field in dataclasses.fields(one) if field.name not in ("choice", "choices")]
        columns = {name: getattr(one, name) * (stretch if name.endswith("_s") else np.ones_like(stretch)) for name in names}
        return dataclasses.replace(one, **columns, choice=np.zeros(columns["duration_s"].shape, dtype=np.int64))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Workload:
    monkeypatch.setattr(module, "_cost_model", _Given)
    monkeypatch.setattr(module, "machine", lambda gpu, calibration: gpu)
    monkeypatch.setattr(module, "idle_w", lambda gpu: gpu.power.idle_w)
    return Workload(
        kernels=runs.kernels((), (0,), (1,), flop=(30.0, 30.0, 0.0)),
        runtime=runs.EAGER,
        host=HostCost(name="toy", launch_s=1.0),
        batch=2,
        math_dtype="fp32",
        flop=60.0,
        memory_bytes=5e5,
    )


def test_outcomes_worked_out_by_hand(toy: Workload):
    got = outcomes(toy, toy_gpu(), {"sm.count": np.array([10.0, 1.0, 20.0]), "dram.capacity": np.array([1e6, 1e5, 1e6])})
    assert list(got) == list(OUTPUTS)
    # launched at 1, 2 and 3 s; 2 + 3 + 1 s of kernels, a tenth and twice of that
    assert got["latency_s"].tolist() == pytest.approx([7.0, 3.1, 13.0])
    assert got["device_s"].tolist() == pytest.approx([6.0, 0.6, 12.0])
    assert got["host_s"].tolist() == [3.0, 3.0, 3.0]
    assert got["throughput_per_s"].tolist() == pytest.approx([2 / 7, 2 / 3.1, 2 / 13])
    assert got["energy_j"].tolist() == pytest.approx([18 + 70, 18 + 31, 18 + 130])
    assert got["power_w"].tolist() == pytest.approx([88 / 7, 49 / 3.1, 148 / 13])
    assert got["bound"].tolist() == ["compute", "host launch", "compute"]
    assert got["dram_bound_fraction"].tolist() == pytest.approx([2 / 7, 0.2 / 3.1, 4 / 13])
    assert got["compute_bound_fraction"].tolist() == pytest.approx([3 / 7, 0.3 / 3.1, 6 / 13])
    assert got["latency_bound_fraction"].tolist() == pytest.approx([1 / 7, 0.1 / 3.1, 2 / 13])
    assert got["host_launch_bound_fraction"].tolist() == pytest.approx([1 / 7, 2.5 / 3.1, 1 / 13])
    assert got["mfu_fraction"].tolist() == pytest.approx([60 / 7 / 100, 60 / 3.1 / 10, 60 / 13 / 200])  # 10 FLOP/s an SM
    assert got["dram_bytes"].tolist() == [12.0, 12.0, 12.0]
    assert got["fits"].tolist() == [True, False, True]


def test_slices_make_no_difference(toy: Workload, monkeypatch: pytest.MonkeyPatch):
    fields = {"sm.count": np.arange(1.0, 12.0)}
    whole = outcomes(toy, toy_gpu(), fields)
    monkeypatch.setattr(module, "_PROBLEMS_AT_ONCE", 3 * toy.num_problems)
    sliced = outcomes(toy, toy_gpu(), fields)
    assert all((sliced[name] == values).all() for name, values in whole.items())


def test_a_duration_that_is_no_number_names_the_kernel(toy: Workload, monkeypatch: pytest.MonkeyPatch):
    def price(self: Any, kernels: Any, gpu: Any, *, graph_replay: bool, **_: Any) -> Any:
        one = runs.times(2.0, float("nan"), 1.0)
        return dataclasses.replace(one, duration_s=one.duration_s[np.newaxis])

    monkeypatch.setattr(_Given, "price", price)
    with pytest.raises(SimulationError, match=r"kernel 'b' has no finite duration on some designs"):
        outcomes(toy, toy_gpu(), {"sm.count": np.array([10.0])})


def check(model: str, gpu: str, vary: Mapping[str, Any], sample: int | None = None, **options: Any) -> None:
    """Each row of a small sweep against the run it stands for."""
    table = sweep(model, gpu, vary=vary, sample=sample, **options)
    for row in table.rows():
        fields = {name: row[name] for name in table.inputs if "." in name}
        settings = {**options, **{name: row[name] for name in vary if "." not in name}}
        report = simgpu.simulate(model, gpu, overrides=fields, **settings)
        expected = {
            "latency_s": report.latency_s,
            "device_s": report.device_s,
            "host_s": report.host_s,
            "throughput_per_s": report.throughput_per_s,
            "energy_j": report.energy_j,
            "power_w": report.power_w,
            "clock_hz": report.clock_hz,
            "mfu_fraction": report.utilization.mfu_fraction,
            "dram_bytes": report.dram_bytes,
            "memory_bytes": report.memory.peak_bytes,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9), (name, row)
        assert row["bound"] == report.bound
        assert row["fits"] == report.memory.fits
        shares = {f"{name.lower().replace(' ', '_')}_bound_fraction": share for name, share in report.bound_fractions.items()}
        for name in OUTPUTS:
            if name.endswith("_fraction") and name != "mfu_fraction":
                assert row[name] == pytest.approx(shares.get(name, 0.0), abs=1e-9), (name, row)


def test_a_sample_of_designs_equals_single_runs():
    ranges = {"sm.count": "20..200", "dram.bandwidth": "0.2..5 TB/s log", "clocks.boost": "0.8..2.5 GHz", "l2.size": "1..100 MiB", "power.tdp": "60..600 W"}
    check("resnet50", "a100", {**ranges, "sm.fp32_lanes": "64,128", "sm.registers": "32768,65536"}, batch=32, sample=8)


@pytest.mark.parametrize(("gpu", "dtype", "runtime"), [("t4", "fp16", "tensorrt"), ("gtx-1080-ti", "fp32", "eager"), ("8800-gtx", "fp32", "graph")])
def test_batches_equal_single_runs(gpu: str, dtype: str, runtime: str):
    check("mobilenet_v2", gpu, {"batch": "1,8", "power.tdp": "50,500 W"}, dtype=dtype, runtime=runtime)


def test_units_that_appear_change_the_kernels_that_run():
    # half-rate fp16 units are not worth using, full-rate ones are: two ways to run the same model in one sweep
    check("resnet18", "gtx-1080-ti", {"sm.fp16_lanes": "2,128", "dtype": "fp16,fp32"}, batch=4)


def test_attention_and_sequences():
    check("bert-base", "v100", {"attention": "fused,math", "seq_len": "32,64"}, dtype="amp")


def test_training_and_decoding():
    table = sweep("resnet18", "v100", vary={"mode": "inference,train", "sm.count": "40,80"}, dtype="amp", batch=4)
    for row in table.rows():
        report = simgpu.simulate("resnet18", "v100", dtype="amp", batch=4, training=row["mode"] == "train", overrides={"sm.count": row["sm.count"]})
        assert row["latency_s"] == pytest.approx(report.latency_s, rel=1e-9)
        assert row["memory_bytes"] == report.memory.peak_bytes
    check("gpt2", "a100", {"context": "64,128"}, dtype="fp16", new_tokens=8)
    with pytest.raises(OptionError, match=r"optimizer 'adam': an inference has none"):
        sweep("resnet18", "v100", vary={"sm.count": "40,80"}, optimizer="adam")
    with pytest.raises(OptionError, match=r"unknown mode 'training', expected one of inference, train; did you mean 'train'"):
        sweep("resnet18", "v100", vary={"mode": "inference,training"})


def test_a_graph_that_is_built_already():
    graph = simgpu.load_model("squeezenet1_1", batch=4)
    table = sweep(graph, "t4", vary={"sm.count": "20,40"})
    assert table.row(0)["model"] == graph.name
    assert table["batch"].tolist() == [4, 4]
    with pytest.raises(OptionError, match=r"'batch' comes too late"):
        sweep(graph, "t4", vary={"batch": "1,2"})


def test_a_clock_that_is_set_takes_along_what_was_measured_at_it():
    gpu = simgpu.load_gpu("gtx-1080-ti")
    faster = override_gpu(gpu, {"clocks.boost": 2 * gpu.clocks.boost_hz})
    assert faster.clocks.max_hz == 2 * (gpu.clocks.max_hz or 0) > 0
    assert faster.sources["clocks.max"].startswith("derived: in proportion to clocks.boost; otherwise ")
    assert override_gpu(gpu, {"clocks.boost": "2 GHz", "clocks.max": "2.1 GHz"}).clocks.max_hz == 2.1e9
    a100 = simgpu.load_gpu("a100")
    wider = override_gpu(a100, {"l2.bandwidth": "10240 B/clk"})
    assert wider.l2.measured_bandwidth_bytes_per_s == 2 * (a100.l2.measured_bandwidth_bytes_per_s or 0) > 0
