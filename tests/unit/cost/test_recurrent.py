"""Recurrent layers on the toy: steps that wait for each other, the weights read at each, and the gradient of the weights."""

from __future__ import annotations

from typing import Any

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.model import CostModel
from simgpu.cost.recurrent import padded_columns
from simgpu.kernels.kernel import KernelGraph, Recurrent
from tests.toy_costs import LIMITLESS, compute_gpu, kernel, memory_gpu, price

PASCAL = (6, 0)


def layer(hidden: int = 256, *, gates: int = 4, batch: int = 32, steps: int = 3, direction: str = "fwd", directions: int = 1, size: float = 4.0, **fields: Any):
    work = Recurrent(gates=gates, hidden=hidden, batch=batch, steps=steps, directions=directions, itemsize=size, direction=direction)
    weights, states = gates * hidden * hidden * size * directions, steps * batch * hidden * size * directions
    if direction == "bwd_weight":
        return kernel(work, reads=(states * gates, states), writes=(weights,), **fields)
    return kernel(work, reads=(states, weights), writes=(states,), **fields)


def seconds(*args: Any, gpu: Any = None, factors: dict[str, Any] | None = None, library_year: float = 2024.0, **fields: Any) -> float:
    return float(price(layer(*args, **fields), gpu=compute_gpu() if gpu is None else gpu, factors=factors, library_year=library_year).duration_s[0])


# ---- steps. 4 · 256 · 256 weights times 32 columns on 10 SMs of 10 FLOP a second.

STEP_S = 2 * 4 * 256 * 256 * 32 / 100


@pytest.mark.parametrize("direction", ["fwd", "bwd_data"])
def test_steps_add_up(direction):
    assert seconds(steps=1, direction=direction) == pytest.approx(STEP_S)
    assert seconds(steps=7, direction=direction) == pytest.approx(7 * STEP_S)
    assert seconds(steps=7, directions=2, direction=direction) == pytest.approx(14 * STEP_S)
    assert seconds(steps=7, direction=direction, factors={"recurrent_step_s": 5.0}) == pytest.approx(7 * (STEP_S + 5))


@pytest.mark.parametrize(("batch", "columns"), [(1, 8), (8, 8), (9, 32), (32, 32), (33, 64), (65, 128), (128, 128), (129, 256), (300, 384)])
def test_columns_are_padded_to_what_kernels_there_are(batch, columns):
    assert float(padded_columns(float(batch))) == columns
    assert seconds(batch=batch, steps=1) == pytest.approx(STEP_S * columns / 32)


def test_the_product_reaches_its_share_of_the_pipe():
    assert seconds(steps=1, factors={"recurrent_efficiency": 0.5}) == pytest.approx(2 * STEP_S)
    tensor = {"size": 2.0, "dtype": "fp16", "pipe": "tensor"}  # 80 FLOP a clock and SM
    assert seconds(steps=1, **tensor, factors={"recurrent_tensor_efficiency": 0.5, "recurrent_efficiency": 1e-9}) == pytest.approx(STEP_S / 8 * 2)


def test_pascals_old_library_waits_for_each_step_of_depth():
    """17 to 32 columns: 1000 clocks for each of 256 steps of depth forward, of 4 · 256 backward, though the math takes less."""
    slow = {"recurrent_wait_clk": 1e4}
    old = {"gpu": compute_gpu(PASCAL), "factors": slow, "library_year": 2017.0, "steps": 1}
    assert seconds(batch=32, **old) == pytest.approx(256 * 1e4)
    assert seconds(batch=32, direction="bwd_data", **old) == pytest.approx(4 * 256 * 1e4)
    assert seconds(batch=16, **old) == pytest.approx(STEP_S)
    assert seconds(batch=33, **old) == pytest.approx(2 * STEP_S)
    assert seconds(batch=32, **{**old, "library_year": 2019.0}) == pytest.approx(STEP_S)
    assert seconds(batch=32, **{**old, "gpu": compute_gpu((5, 2))}) == pytest.approx(STEP_S)  # Maxwell


def test_weights_that_do_not_fit_into_l2_come_from_dram_at_every_step():
    """10 steps of 4 · 16 · 16 weights of 4 B; states of 10 · 1 · 16 are read and written."""
    weights, states = 4 * 16 * 16 * 4, 10 * 1 * 16 * 4
    for l2_bytes, passes in ((1.0, 10), (1e9, 1)):
        gpu = memory_gpu(l2={"size_bytes": l2_bytes, "bandwidth_bytes_per_clk": LIMITLESS})
        written = states if l2_bytes == 1.0 else 0  # what stays in L2 is written over before it leaves
        times = price(layer(16, batch=1, steps=10), gpu=gpu)
        assert times.dram_bytes[0] == pytest.approx(passes * weights + states + written, rel=1e-4)
        assert times.duration_s[0] == pytest.approx(times.dram_bytes[0] / 10)


def test_every_step_reads_weights_and_gates_from_l2():
    gpu = memory_gpu(dram={"clock_hz": LIMITLESS})
    times = price(layer(16, batch=2, steps=10), gpu=gpu)
    assert times.l2_bytes[0] == pytest.approx(10 * (4 * 16 * 16 + 2 * 16 * (4 + 1)) * 4)
    assert times.duration_s[0] == pytest.approx(times.l2_bytes[0] / 40)


# ---- the gradient of the weights


def test_the_weights_gradient_is_one_product_over_all_steps():
    """(4 · 128) × 128 outputs, 32 · 5 deep: 4 tiles of 128 × 128 for as many SMs; 10 steps take twice as long as 5."""
    few = compute_gpu(sm={"count": 4.0})
    tile_s = 2 * 128 * 128 * 32 * 5 / 10
    assert seconds(128, steps=5, direction="bwd_weight", gpu=few) == pytest.approx(tile_s)
    assert seconds(128, steps=10, direction="bwd_weight", gpu=few) == pytest.approx(2 * tile_s)
    assert seconds(128, steps=5, directions=2, direction="bwd_weight", gpu=few) == pytest.approx(2 * tile_s)
    assert seconds(128, steps=5, direction="bwd_weight", gpu=few, factors={"recurrent_gradient_s": 9.0}) == pytest.approx(tile_s + 9)


def test_sums_are_added_to_the_gradient_in_fp32():
    """4 · 16 · 16 sums are read and written, 4 B each, besides the product's own operands and result."""
    gpu = memory_gpu(l2={"size_bytes": 1.0, "bandwidth_bytes_per_clk": LIMITLESS})
    times = price(layer(16, batch=1, steps=10, direction="bwd_weight"), gpu=gpu)
    operands, result = 10 * (4 + 1) * 16 * 4, 4 * 16 * 16 * 4
    assert times.dram_bytes[0] == pytest.approx(operands + result + 2 * 4 * 4 * 16 * 16)
    assert times.duration_s[0] == pytest.approx(times.dram_bytes[0] / 10)  # one after the other


@pytest.mark.parametrize("name", ["v100-sxm2-16gb", "p100-pcie-16gb", "gtx-titan-x-maxwell", "a100-sxm4-80gb"])
def test_larger_layers_and_longer_sequences_take_longer(name):
    for direction in ("fwd", "bwd_data", "bwd_weight"):
        for works in (
            [layer(h, steps=20, direction=direction) for h in (64, 256, 1000, 1024, 4096)],
            [layer(512, steps=n, direction=direction) for n in (1, 2, 50, 1000)],
            [layer(512, batch=b, direction=direction) for b in (33, 64, 128, 500)],
        ):
            times = CostModel().price(KernelGraph(works, [()] * len(works)), load_gpu(name))
            assert (times.duration_s[1:] >= 0.999 * times.duration_s[:-1]).all(), (direction, times.duration_s)
            assert (times.duration_s >= times.own_roofline_s).all()
