"""Matrix products on 10 SMs of 10 FLOP a clock at 1 Hz whose library has the tiles that the test gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from simgpu.arch.spec import FrozenTable
from simgpu.cost import gemm as formulas
from simgpu.cost.catalogue import Tile
from simgpu.cost.gemm import energy_per_flop_ratio
from tests.toy_costs import PASCAL, compute_gpu, gemm, memory_gpu, price, toy_machine
from tests.toys import toy_gpu

TILE_S = 2 * 128 * 128 * 8 / 10  # a tile of 128 × 128 outputs, 8 deep, on one SM

Library = Callable[..., None]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Gives the library tiles and split-K factors of its own, kernels that never split excepted."""

    def give(*tiles: tuple[int, int], splits: Sequence[int] = (1,)) -> None:
        monkeypatch.setattr(formulas, "gemm_tiles", lambda *_, **__: tuple(Tile(bm=bm, bn=bn) for bm, bn in tiles))
        monkeypatch.setattr(formulas, "gemm_splits", lambda *_, whole, **__: (1,) if whole else tuple(splits))

    return give


def seconds(*problem: int, gpu: dict[str, Any] | None = None, factors: dict[str, Any] | None = None, **fields: Any) -> float:
    return float(price(gemm(*problem, **fields), gpu=compute_gpu(**(gpu or {})), factors=factors).duration_s[0])


def test_one_tile_takes_its_flop_over_the_rate_of_one_sm(library: Library):
    library((128, 128))
    times = price(gemm(128, 128, 8), gpu=compute_gpu())
    assert times.duration_s[0] == pytest.approx(TILE_S)
    assert (times.executed_flop[0], times.ctas[0]) == (2 * 128 * 128 * 8, 1)
    assert times.sm_fraction[0] == pytest.approx(1 / 10)
    assert times.choice_names() == ["128x128"]


def test_a_row_more_costs_a_whole_tile(library: Library):
    """On one SM: 129 … 256 rows cost as much as 256, twice as much as 1 … 128."""
    library((128, 128))
    found = [seconds(m, 128, 8, gpu={"sm": {"count": 1.0}}) for m in (1, 128, 129, 200, 256, 257)]
    assert found == pytest.approx([TILE_S, TILE_S, 2 * TILE_S, 2 * TILE_S, 2 * TILE_S, 3 * TILE_S])
    times = price(gemm(129, 130, 8), gpu=compute_gpu())
    assert times.executed_flop[0] == 2 * 256 * 256 * 8


@pytest.mark.parametrize(("tiles", "rounds"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_the_busiest_of_four_sms_decides(library: Library, tiles, rounds):
    library((128, 128))
    assert seconds(128 * tiles, 128, 8, gpu={"sm": {"count": 4.0}}) == pytest.approx(rounds * TILE_S)
    assert seconds(128, 128, 8, batch=tiles, gpu={"sm": {"count": 4.0}}) == pytest.approx(rounds * TILE_S)


def test_depth_is_padded_to_whole_steps(library: Library):
    """8 on CUDA cores; 32 on tensor cores, which have 80 FLOP a clock."""
    library((128, 128))
    assert [seconds(128, 128, k) for k in (1, 8, 9, 16)] == pytest.approx([TILE_S, TILE_S, 2 * TILE_S, 2 * TILE_S])
    on_tensor = {"dtype": "fp16", "pipe": "tensor", "size": 2.0}
    step_s = 2 * 128 * 128 * 32 / 80
    assert [seconds(128, 128, k, **on_tensor) for k in (8, 32, 40, 64)] == pytest.approx([step_s, step_s, 2 * step_s, 2 * step_s])


def test_the_fastest_tile_is_chosen(library: Library):
    """64 × 64 spreads one tile of 128 × 128 over four SMs; where there is work for all, the sizes are equally fast and the first counts."""
    library((128, 128), (64, 64))
    small, large = price(gemm(128, 128, 8, name="small"), gemm(1280, 128, 8, name="large"), gpu=compute_gpu()).choice_names()
    assert (small, large) == ("64x64", "128x128")
    assert seconds(128, 128, 8) == pytest.approx(TILE_S / 4)


def test_splitting_the_depth_fills_the_sms(library: Library):
    """One tile 1024 deep on 8 SMs: split 8 ways each SM does an eighth; more parts than SMs would not help."""
    library((128, 128), splits=(1, 2, 4, 8))
    eight = {"sm": {"count": 8.0}}
    whole = 2 * 128 * 128 * 1024 / 10
    assert seconds(128, 128, 1024, gpu=eight) == pytest.approx(whole / 8)
    times = price(gemm(128, 128, 1024), gpu=compute_gpu(**eight))
    assert (times.choice_names(), times.ctas[0]) == (["128x128 split-K 8"], 8)


def test_splitting_costs_a_kernel_that_adds_the_parts(library: Library):
    library((128, 128), splits=(1, 8))
    eight = {"sm": {"count": 8.0}}
    whole = 2 * 128 * 128 * 1024 / 10
    assert seconds(128, 128, 1024, gpu=eight, factors={"split_k_s": 1000.0}) == pytest.approx(whole / 8 + 1000.0)
    assert seconds(128, 128, 1024, gpu=eight, factors={"split_k_s": whole}) == pytest.approx(whole)  # not worth it


def test_partial_sums_go_through_l2(library: Library):
    """FP32 sums of 8 parts are written and read again: 8 · 8 · 128 · 128 B over 40 B/s."""
    library((128, 128), splits=(8,))
    times = price(gemm(128, 128, 1024), gpu=memory_gpu())
    assert times.latency_s[0] == pytest.approx(8 * 8 * 128 * 128 / 40)


def test_what_is_shallow_or_wide_enough_is_not_split(library: Library):
    """Less than 64 steps a part are not worth a kernel; four CTAs an SM are enough, though 41 CTAs on 10 SMs take five rounds."""
    library((128, 128), splits=(1, 8))
    shallow, wide = (price(problem, gpu=compute_gpu()) for problem in (gemm(128, 128, 504), gemm(128 * 41, 128, 1024)))
    assert shallow.choice_names() == wide.choice_names() == ["128x128"]


@pytest.mark.parametrize("fields", [{"batch": 2}, {"tokens": (128, 128), "m_scale": 2}])
def test_batched_and_grouped_kernels_never_split(library: Library, fields):
    library((128, 128), splits=(1, 8))
    m = 128 * fields.pop("m_scale", 1)
    assert price(gemm(m, 128, 1024, **fields), gpu=compute_gpu()).choice_names() == ["128x128"]


def test_each_expert_rounds_its_tokens_up(library: Library):
    """129, 1, 0 and 126 tokens: 2 + 1 + 0 + 1 tiles where 256 tokens of one matrix would be 2."""
    library((128, 128))
    times = price(gemm(256, 128, 8, tokens=(129, 1, 0, 126)), gpu=compute_gpu())
    assert (times.ctas[0], times.executed_flop[0]) == (4, 4 * 2 * 128 * 128 * 8)


def test_misaligned_operands_take_longer(library: Library):
    """127 floats are no multiple of 16 bytes; a quarter more time is the toy's penalty."""
    library((128, 128))
    assert seconds(128, 127, 8, factors={"fma_misaligned": 0.25}) == pytest.approx(1.25 * TILE_S)
    assert seconds(128, 124, 8, factors={"fma_misaligned": 0.25}) == pytest.approx(TILE_S)


def test_efficiency_feed_and_epilogue_each_add_to_a_tile(library: Library):
    """Half the rate: twice the math. Each operand byte crosses shared memory (8 B/clk) once: 2 · 128 · 4 B a step. 3 clocks an output."""
    library((128, 128))
    assert seconds(128, 128, 8, factors={"fma_efficiency": 0.5}) == pytest.approx(2 * TILE_S)
    assert seconds(128, 128, 8, factors={"fma_feed": 1.0}) == pytest.approx(TILE_S + 8 * 2 * 128 * 4 / 8)
    assert seconds(128, 128, 8, factors={"fma_epilogue_clk": 3.0}) == pytest.approx(TILE_S + 3 * 128 * 128)


def test_latency_is_hidden_by_resident_tiles(library: Library):
    """As many outputs as a tile has make half the rate: one tile alone takes twice as long, two at once 3/2 each.

    65536 registers hold two tiles of 128 × 128 with two registers an output. 128 · 128 = latency · 10 FLOP / 2.
    """
    library((128, 128))
    slow = {"fma_latency_clk": 128 * 128 / 5.0}
    one_sm = {"sm": {"count": 1.0}}
    assert seconds(128, 128, 8, gpu=one_sm, factors=slow) == pytest.approx(2 * TILE_S)
    assert seconds(256, 128, 8, gpu=one_sm, factors=slow) == pytest.approx(3 * TILE_S)
    assert seconds(256, 128, 8, gpu={"sm": {"count": 1.0, "registers": 32768.0}}, factors=slow) == pytest.approx(4 * TILE_S)


def test_narrow_weights_are_widened_first(library: Library):
    """Weights of half a byte: 128 columns a step at 16 a clock, 8 clocks a step on top."""
    library((128, 128))
    assert seconds(128, 128, 8, b_size=0.5, factors={"dequantise_per_clk": 16.0}) == pytest.approx(TILE_S + 8 * 8)
    assert seconds(128, 128, 8, factors={"dequantise_per_clk": 16.0}) == pytest.approx(TILE_S)


def test_block_scales_are_applied_by_cuda_cores(library: Library):
    """Every 4 steps all 128 · 128 sums are rescaled with 2 instructions on 5 lanes."""
    library((128, 128))
    plain, scaled = (seconds(128, 128, 32, dtype="fp16", pipe="tensor", size=2.0, factors={"rescale_instructions": 2.0}, scale_block=block) for block in (0, 4))
    assert scaled - plain == pytest.approx(32 / 4 * 128 * 128 * 2 / 5)


def test_sums_wait_before_they_are_rescaled(library: Library):
    """One tile of 128 · 128 sums; a latency that takes as many at 40 multiply-adds a clock to hide halves the rate of block-scaled kernels alone."""
    library((128, 128))
    half = {"rescale_latency_clk": 128 * 128 / 40}
    plain, scaled = (seconds(128, 128, 32, dtype="fp16", pipe="tensor", size=2.0, factors={"rescale_instructions": 0.0, **half}, scale_block=b) for b in (0, 4))
    assert scaled == pytest.approx(2 * plain)


def test_tiles_are_no_wider_than_a_block_of_scales(library: Library):
    library((64, 256), (64, 128))
    on_tensor = {"dtype": "fp8", "pipe": "tensor", "size": 1.0}
    gpu = compute_gpu(tensor_cores={"flop_per_clk": FrozenTable({"fp8": 80.0})})
    problem = (640, 256, 32)  # ten wide tiles, as many as there are SMs
    assert price(gemm(*problem, **on_tensor), gpu=gpu).choice_names() == ["64x256"]
    assert price(gemm(*problem, scale_block=128, **on_tensor), gpu=gpu).choice_names() == ["64x128"]


def test_operands_come_from_dram_once_and_from_l2_for_each_tile(library: Library):
    """256 × 256 × 8: A and B 8 kB each, C 256 kB. Each of 4 tiles fetches 8 · (128 + 128) · 4 B and all write C."""
    library((128, 128))
    times = price(gemm(256, 256, 8), gpu=memory_gpu())
    assert times.dram_bytes[0] == pytest.approx(256 * 8 * 4 * 2 + 256 * 256 * 4)
    assert times.dram_s[0] == pytest.approx((256 * 8 * 4 * 2 + 256 * 256 * 4) / 10)
    assert times.l2_bytes[0] == pytest.approx(4 * 8 * 256 * 4 + 256 * 256 * 4)
    assert times.l2_s[0] == pytest.approx((4 * 8 * 256 * 4 + 256 * 256 * 4) / 40)
    assert times.duration_s[0] == pytest.approx(times.dram_s[0])
    assert times.bound_names() == ["DRAM"]


def test_padding_is_computed_but_not_loaded(library: Library):
    library((128, 128))
    times = price(gemm(8, 128, 8), gpu=memory_gpu())
    assert times.l2_bytes[0] == pytest.approx(8 * (8 + 128) * 4 + 8 * 128 * 4)


def test_clusters_share_fetches_of_large_tiles(library: Library):
    library((128, 128))
    one, shared = (price(gemm(256, 256, 8), gpu=memory_gpu(), factors={"cluster_multicast": n}).l2_bytes[0] for n in (1.0, 2.0))
    assert one - shared == pytest.approx(4 * 8 * 256 * 4 / 2)


def test_operands_in_l2_cost_no_dram(library: Library):
    """Touched a byte ago: A and B are there. C is larger than the cache and goes out."""
    library((128, 128))
    times = price(gemm(256, 256, 8), gpu=memory_gpu(), distances=[(1.0, 1.0)])
    assert times.dram_bytes[0] == pytest.approx(256 * 256 * 4, rel=1e-6)


def test_rows_beyond_the_reach_of_the_tlb_need_translations(library: Library):
    """One tile, 8 deep: 128 rows of A and 128 of B, each in a page of its own, at one row a clock and SM of 10."""
    library((128, 128))
    cold = {"tlb_rows_per_clk": 1.0, "tlb_page_bytes": 1.0, "tlb_reach_bytes": 0.0}
    assert price(gemm(128, 128, 8), gpu=compute_gpu(), factors=cold).l2_s[0] == pytest.approx(256 / 10)
    assert price(gemm(128, 128, 8, layout="nn"), gpu=compute_gpu(), factors=cold).l2_s[0] == pytest.approx(128 / 10)  # only A lies along k
    assert price(gemm(128, 128, 8), gpu=compute_gpu(), factors={**cold, "tlb_reach_bytes": 1e9}).l2_s[0] == pytest.approx(0.0, abs=1e-6)


def test_a_b_that_each_row_of_tiles_sweeps_anew_needs_translations(library: Library):
    """Two rows of tiles, 8 deep: the second finds no row of B translated, 128 rows at one a clock and SM of 10."""
    library((128, 128))
    cold = {"sweep_rows_per_clk": 1.0, "sweep_reach_bytes": 0.0}

    def walks_s(m: int, *, factors: dict[str, float], library_year: float = 2016.0, layout: str = "tn", **fields: Any) -> float:
        return float(price(gemm(m, 128, 8, layout=layout, **fields), gpu=compute_gpu(PASCAL), factors=factors, library_year=library_year).l2_s[0])

    assert walks_s(256, factors=cold) == pytest.approx(128 / 10)
    assert walks_s(128, factors=cold) == pytest.approx(0.0, abs=1e-6)  # one row of tiles sweeps once
    assert walks_s(256, factors=cold, layout="nn") == pytest.approx(0.0, abs=1e-6)  # B does not lie along k
    assert walks_s(256, factors={**cold, "sweep_reach_bytes": 1e9}) == pytest.approx(0.0, abs=1e-6)
    assert walks_s(256, factors=cold, library_year=2024.0) == pytest.approx(0.0, abs=1e-6)
    assert walks_s(256, factors=cold, library_year=2024.0, bias=True) == pytest.approx(128 / 10)


def test_a_bias_is_added_by_kernels_that_feed_worse(library: Library):
    """Two bytes of shared memory a clock: 256 values of 4 bytes a step of k, 8 steps, cross it once without being hidden."""
    library((128, 128))
    shared = {"shared": {"bandwidth_bytes_per_clk": 2.0}}
    plain, biased = (
        float(price(gemm(128, 128, 8, bias=bias), gpu=compute_gpu(PASCAL, **shared), factors={"epilogue_feed": 1.0}).math_s[0]) for bias in (False, True)
    )
    assert plain == pytest.approx(TILE_S)
    assert biased == pytest.approx(TILE_S + 256 * 4 * 8 / 2)


def test_an_operand_along_k_comes_in_slices(library: Library):
    """A and B of 128 x 8 values at 10 B/s; at half of that if only a sector of each row is fetched at a time."""
    library((128, 128))

    def dram_s(layout: str) -> float:
        return float(price(gemm(128, 128, 8, layout=layout), gpu=memory_gpu(), factors={"slice_dram_fraction": 0.5}).dram_s[0])

    operand_s, result_s = 128 * 8 * 4 / 10, 128 * 128 * 4 / 10
    assert dram_s("tn") == pytest.approx(4 * operand_s + result_s)
    assert dram_s("nn") == pytest.approx(3 * operand_s + result_s)
    assert dram_s("nt") == pytest.approx(3 * operand_s + result_s)


def test_fixed_costs_and_the_ramp_of_dram(library: Library):
    """7 s fixed; 3 s until DRAM streams, for the share of the bytes that it delivers."""
    library((128, 128))
    factors = {"gemm_fixed_s": 7.0, "dram_ramp_s": 3.0}
    cold = price(gemm(128, 128, 8), gpu=memory_gpu(), factors=factors).latency_s[0]
    warm = price(gemm(1, 1, 8), gpu=memory_gpu(), factors=factors, distances=[(1.0, 1.0)]).latency_s[0]
    assert cold == pytest.approx(7 + 3)
    assert warm == pytest.approx(7, abs=0.01)


def test_energy_of_a_flop_by_pipe_and_format():
    """Tensor cores share operand fetches (the toy's factor 0.1 for 16 bits), and energy follows the width of the format.

    FP8 sums in FP32 and has a factor of its own: 0.6.
    """
    m = toy_machine(tensor_energy_ratio=0.1, fp8_energy_ratio=0.6)
    formats = ("fp16", "bf16", "fp8", "int8", "fp4", "tf32")
    found = energy_per_flop_ratio(m, np.array(formats), np.array(["tensor"] * 6))
    np.testing.assert_allclose(found, [0.1, 0.1, 0.06, 0.05, 0.025, 0.2])
    fp32, fp64, fp16 = energy_per_flop_ratio(m, np.array(["fp32", "fp64", "fp16"]), np.array(["vector"] * 3))
    assert fp16 < fp32 == 1.0 < fp64


def test_executed_work_takes_the_energy(library: Library):
    """Padding costs energy too: 129 rows as 256."""
    library((128, 128))
    one, two = (price(gemm(m, 128, 8), gpu=compute_gpu(), factors={"flop_energy_j": {"10": 1.0}}).energy_j[0] for m in (128, 129))
    assert (one, two) == (2 * 128 * 128 * 8, 2 * 256 * 128 * 8)


def test_each_format_has_its_own_rate(library: Library):
    library((128, 128))
    chip = toy_gpu().tensor_cores
    assert chip is not None
    gpu = {"tensor_cores": {"flop_per_clk": FrozenTable({"fp16": 80.0, "fp8": 160.0})}}
    half, quarter = (seconds(128, 128, 32, dtype=dtype, pipe="tensor", size=size, gpu=gpu) for dtype, size in (("fp16", 2.0), ("fp8", 1.0)))
    assert half == pytest.approx(2 * quarter)


def test_dp4a_sums_four_products_into_one_output(library: Library):
    """10 FLOP a clock are 5 multiply-adds: 5 FP32 outputs wait for each clock of latency, or 5/4 int8 ones. A tile has 16384."""
    library((128, 128))
    fp32, int8 = (seconds(128, 128, 8, dtype=dtype, factors={"fma_latency_clk": 16384.0}) for dtype in ("fp32", "int8"))
    assert (fp32, int8) == pytest.approx((TILE_S * (1 + 5), TILE_S * (1 + 5 / 4)))
