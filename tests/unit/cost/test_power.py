"""Clock and energy of a toy whose voltage is its clock: power grows with the cube of the clock."""

from __future__ import annotations

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.calibration import shipped_calibration
from simgpu.cost.machine import machine
from simgpu.cost.model import CostModel
from simgpu.cost.power import by_node, energy_parts_j, idle_w, sustained_clock_hz, voltage_law
from simgpu.kernels.kernel import KernelGraph, Transfer
from tests.toy_costs import compute_gpu, gemm, kernel, price, toy_machine
from tests.toys import toy_gpu

# 1 V at 1 Hz and no floor worth speaking of; 1 J a FLOP at 1 V.
CUBE = {
    "flop_energy_j": {"10": 1.0},
    "voltage_offset_v": {"10": 0.0},
    "voltage_slope_v_per_hz": {"10": 1.0},
    "voltage_floor_v": {"10": 0.0},
    "min_clock_fraction": 0.1,
}


def test_values_between_process_nodes_lie_between_theirs():
    nodes = {"40": 4.0, "10": 2.0}
    assert by_node(nodes, 20.0) == pytest.approx(3.0)  # half way in log(feature size)
    assert (by_node(nodes, 5.0), by_node(nodes, 90.0)) == (2.0, 4.0)  # nothing is extrapolated
    np.testing.assert_allclose(by_node(nodes, np.array([[10.0], [40.0]])), [[2.0], [4.0]])


def test_the_voltage_is_a_line_above_a_floor():
    m = toy_machine(voltage_offset_v={"10": 0.5}, voltage_slope_v_per_hz={"10": 0.25}, voltage_floor_v={"10": 0.8})
    np.testing.assert_allclose(voltage_law(m)(np.array([0.4, 2.0, 4.0])), [0.8, 1.0, 1.5])


def test_energy_switches_on_the_chip_or_is_drams():
    """Each of 2 FLOP 3 J, each of 5 L2 bytes 7 J at 1 V; each of 11 DRAM bytes 13 J at any."""
    m = toy_machine(**{**CUBE, "flop_energy_j": {"10": 3.0}, "l2_byte_energy_j": 7.0, "dram_byte_energy_j": 13.0})
    assert energy_parts_j(m, 2.0, 5.0, 11.0) == pytest.approx((2 * 3 + 5 * 7, 11 * 13))


def test_idle_power_is_known_or_a_share_of_the_limit():
    assert idle_w(toy_machine()) == 10.0
    assert idle_w(toy_machine(toy_gpu(power={"idle_w": None}), idle_fraction=0.1)) == pytest.approx(100.0)


def clock(budget_w: float, *, flop: float = 100.0, dram_s: float = 0.0, base_hz: float = 1.0) -> float:
    """The clock at which 100 FLOP/s of work, 100 W at 1 Hz, may run within a budget."""
    m = toy_machine(toy_gpu(power={"tdp_w": budget_w + 10.0, "idle_w": 10.0}, clocks={"base_hz": base_hz}), **CUBE)
    return float(np.ravel(sustained_clock_hz(m, np.array([flop]), 0.0, lambda ratio: np.maximum(flop / 100.0 / ratio, dram_s)))[0])


@pytest.mark.parametrize(("budget_w", "expected_hz"), [(100.0, 1.0), (12.5, 0.5), (51.2, 0.8), (2.7, 0.3)])
def test_power_is_the_cube_of_the_clock(budget_w, expected_hz):
    """V² f: half of the clock needs an eighth of the 100 W, 0.8 of it 0.512, 0.3 of it 0.027."""
    assert clock(budget_w) == pytest.approx(expected_hz, rel=1e-3)


def test_a_board_below_its_limit_runs_at_full_clock():
    assert clock(1e6) == 1.0


def test_the_clock_has_a_lowest_value():
    assert clock(1e-9) == pytest.approx(0.1, rel=1e-3)
    assert clock(1e-9, base_hz=0.5) == pytest.approx(0.05, rel=1e-3)


def test_work_that_waits_for_memory_may_keep_a_higher_clock():
    """Spread over 4 s by DRAM, the 100 FLOP need 25 W at full clock: a budget of 25 W is enough, one of 6.25 W allows half (V²)."""
    assert clock(25.0, dram_s=4.0) == 1.0
    assert clock(6.25, dram_s=4.0) == pytest.approx(0.5, rel=1e-3)


def test_the_clock_settles_with_a_time_constant():
    """At full load the clock is 0.5 Hz; after one time constant 1 / e of the way is left, just started all of it."""
    gpu = compute_gpu(power={"tdp_w": 12.5, "idle_w": 0.0})
    clocks = [float(price(gemm(1280, 128, 8), gpu=gpu, factors={**CUBE, "clock_settling_s": 2.0}, load_s=load_s).clock_hz[0]) for load_s in (0.0, 2.0, np.inf)]
    assert clocks == pytest.approx([1.0, 0.5 + 0.5 * np.exp(-1.0), 0.5], rel=1e-3)


def test_a_throttled_kernel_takes_longer_and_meets_the_limit():
    """10 CTAs of 128 × 128 keep 10 SMs busy with 100 FLOP/s, 100 W at 1 Hz; 12.5 W are allowed."""
    throttled, free = (price(gemm(1280, 128, 8), gpu=compute_gpu(power={"tdp_w": tdp_w, "idle_w": 0.0}), factors=CUBE) for tdp_w in (12.5, 100.0))
    assert free.duration_s[0] == pytest.approx(2 * 1280 * 128 * 8 / 100)
    assert throttled.duration_s[0] == pytest.approx(2 * free.duration_s[0], rel=1e-3)
    assert throttled.math_s[0] == pytest.approx(2 * free.math_s[0], rel=1e-3)
    assert free.energy_j[0] == pytest.approx(2 * 1280 * 128 * 8)
    assert throttled.energy_j[0] / throttled.duration_s[0] == pytest.approx(12.5, rel=1e-3)


def test_a_run_meets_the_limit_in_its_mean():
    """A product of 26,214.4 s at 100 W and a copy of three times as long that takes no power: 25 W keep the product at full
    clock, 5 W at half of it: a quarter of the energy in 2 + 3 instead of 1 + 3 times as long. By itself it meets them at V² f."""
    product, product_s = gemm(1280, 128, 8, name="product"), 2 * 1280 * 128 * 8 / 100
    copied = kernel(Transfer(direction="h2d", size_bytes=3 * product_s), name="copy")  # at 1 B/s
    factors = {**CUBE, "clock_settling_s": 1e12}
    for tdp_w, clock_hz in ((25.0, 1.0), (5.0, 0.5)):
        gpu = compute_gpu(power={"tdp_w": tdp_w, "idle_w": 0.0})
        together, apart, alone = (price(product, copied, gpu=gpu, factors=factors, runs=runs) for runs in (np.array([0, 0]), np.array([0, 1]), None))
        assert together.clock_hz == pytest.approx([clock_hz, clock_hz], rel=1e-3)
        assert apart.clock_hz.tolist() == alone.clock_hz.tolist() == pytest.approx([(tdp_w / 100.0) ** (1 / 3), 1.0], rel=1e-3)
        assert together.energy_j.sum() / together.duration_s.sum() == pytest.approx(tdp_w, rel=2e-3)


def test_in_a_run_a_long_kernel_gets_the_clock_of_its_own():
    """The product lasts 2 time constants of the regulator at the clock it would settle at: 1 / e² of the way is left."""
    product, idle = gemm(1280, 128, 8, name="product"), gemm(128, 128, 8, name="little")
    gpu = compute_gpu(power={"tdp_w": 12.5, "idle_w": 0.0})
    lasts_s = 2 * 2 * 1280 * 128 * 8 / 100
    both = price(product, idle, gpu=gpu, factors={**CUBE, "clock_settling_s": lasts_s / 2}, runs=np.array([0, 0]))
    slow = price(product, idle, gpu=gpu, factors={**CUBE, "clock_settling_s": 1e12}, runs=np.array([0, 0]))
    assert both.clock_hz[0] == pytest.approx(0.5 + (slow.clock_hz[0] - 0.5) * np.exp(-2.0), rel=1e-3)
    assert slow.clock_hz[0] > 0.5


@pytest.mark.parametrize(("name", "measured_flop_per_s"), [("t4", 4.2e12), ("a100-pcie-40gb", 16.9e12)])
def test_large_products_of_boards_with_little_power_meet_their_limit(name, measured_flop_per_s):
    """The fastest FP32 products that NeuSight measured (bmm and linear, PyTorch 2.1) reach half of the T4's peak and 87 % of the A100's."""
    gpu = load_gpu(name)
    big = gemm(8192, 8192, 8192)
    times = CostModel().price(KernelGraph([big], [()]), gpu)
    idle = idle_w(machine(gpu, shipped_calibration()))
    assert times.clock_hz[0] < gpu.clock_hz
    assert times.energy_j[0] / times.duration_s[0] + idle == pytest.approx(gpu.power.tdp_w, rel=0.03)
    assert 2 * 8192**3 / times.duration_s[0] == pytest.approx(measured_flop_per_s, rel=0.15)
