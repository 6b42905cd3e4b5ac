"""What the cost formulas see of a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.calibration import shipped_calibration
from simgpu.cost.machine import machine
from tests.toy_costs import KEPLER, toy_machine
from tests.toys import toy_gpu


def test_the_clock_is_the_highest_the_board_really_runs_at():
    assert toy_machine().clock_hz == 1.0
    assert toy_machine(toy_gpu(clocks={"boost_hz": 2.0})).clock_hz == 2.0
    assert toy_machine(toy_gpu(clocks={"boost_hz": 2.0, "max_hz": 3.0})).clock_hz == 3.0


def test_the_power_limit_may_force_a_share_of_the_base_clock():
    assert toy_machine(toy_gpu(clocks={"base_hz": 2.0, "boost_hz": 8.0}), min_clock_fraction=0.5).min_clock_hz == 1.0


def test_dram_is_known_at_its_peak_and_at_what_it_achieves():
    m = toy_machine(toy_gpu(dram={"achievable_fraction": 0.8}))
    assert (m.dram_peak_bytes_per_s, m.dram_bytes_per_s) == (10.0, 8.0)


def test_l2_bandwidth_is_measured_or_derived_or_a_multiple_of_drams():
    """40 B a clock at 1 Hz of which half arrive; 30 B/s measured; else 3 times the DRAM's 10 B/s."""
    assert toy_machine(l2_bandwidth_fraction=0.5).l2_bytes_per_s == 20.0
    assert toy_machine(toy_gpu(l2={"measured_bandwidth_bytes_per_s": 30.0}), l2_bandwidth_fraction=0.5).l2_bytes_per_s == 30.0
    assert toy_machine(toy_gpu(l2={"bandwidth_bytes_per_clk": None}), l2_over_dram_bandwidth=3.0).l2_bytes_per_s == 30.0


def test_measured_l2_bandwidth_follows_the_clock():
    """It was measured at boost, 1 Hz; the board runs at 1.5 Hz."""
    assert toy_machine(toy_gpu(clocks={"max_hz": 1.5}, l2={"measured_bandwidth_bytes_per_s": 30.0})).l2_bytes_per_s == 45.0


def test_gaps_of_the_gpu_come_before_calibrated_ones():
    m = toy_machine(kernel_gap_s=7.0, graph_gap_s=3.0)
    assert (m.gap_s, m.graph_gap_s) == (1.0, 0.5)
    m = toy_machine(toy_gpu(launch={"stream_gap_s": None, "graph_gap_s": None}), kernel_gap_s=7.0, graph_gap_s=3.0)
    assert (m.gap_s, m.graph_gap_s) == (7.0, 3.0)


def test_an_sm_issues_a_warp_a_scheduler_and_clock():
    assert toy_machine(toy_gpu(sm={"schedulers": 4.0, "issue_per_scheduler": 2.0})).issue_lanes == 4 * 2 * 32


def test_each_kernel_has_the_rate_of_its_own_pipe():
    """5 FP32 lanes and 1 FP64 lane of an FMA a clock, 80 FLOP a clock on tensor cores; formats without a unit use FP32's."""
    dtypes, pipes = np.array(["fp32", "fp16", "fp64", "int8", "fp16"]), np.array(["vector", "tensor", "vector", "vector", "vector"])
    assert toy_machine().flop_per_clk(dtypes, pipes).tolist() == [2 * 5, 80, 2 * 1, 2 * 5, 2 * 5]


def test_rates_of_several_designs():
    m = toy_machine(toy_gpu(sm={"fp32_lanes": np.array([[5.0], [50.0]])}))
    rates = m.flop_per_clk(np.array(["fp32", "fp16", "fp32"]), np.array(["vector", "tensor", "vector"]))
    assert rates.tolist() == [[10, 80, 10], [100, 80, 100]]


def test_a_tensor_core_mode_that_does_not_exist_is_our_mistake():
    with pytest.raises(AssertionError, match=r"toy has no tensor-core mode for fp8"):
        toy_machine().pipe_flop_per_clk("fp8", "tensor")


def test_the_generation_decides_the_factors():
    assert toy_machine(toy_gpu(compute_capability=KEPLER)).generation == "Kepler"
    assert machine(load_gpu("v100"), shipped_calibration()).generation == "Volta"
