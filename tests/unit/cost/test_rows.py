"""Softmax, normalisations and reductions on the toy: passes over memory, clocks a row, chains of loads."""

from __future__ import annotations

import pytest

from simgpu.kernels.kernel import Rows
from tests.toy_costs import LIMITLESS, compute_gpu, kernel, memory_gpu, price

SMALL_L2 = {"size_bytes": 1.0, "bandwidth_bytes_per_clk": LIMITLESS}
OVERFLOWS = {"row_reuse_spread": 1e6}  # rows in flight push each other out of L2 between two passes


def rows(kind: str, n: int, cols: int, *, size: float = 4.0, writes_rows: bool = True, contiguous: bool = True):
    work = Rows(kind=kind, rows=n, cols=cols, writes_rows=writes_rows, contiguous=contiguous, itemsize=size)
    return kernel(work, reads=[n * cols * size], writes=[(n * cols if writes_rows else n) * size])


# ---- memory


@pytest.mark.parametrize("kind", ["softmax", "layer_norm", "rms_norm", "batch_norm"])
def test_rows_are_read_and_written_once_where_l2_holds_them_between_passes(kind):
    times = price(rows(kind, 1000, 1024), gpu=memory_gpu())
    assert times.dram_bytes[0] == pytest.approx(2 * 1000 * 1024 * 4)
    assert times.dram_s[0] == pytest.approx(2 * 1000 * 1024 * 4 / 10)


@pytest.mark.parametrize(
    ("kind", "cols", "passes"),
    [("softmax", 1024, 1), ("softmax", 1028, 3), ("layer_norm", 1024, 2), ("rms_norm", 4096, 2)],
)
def test_further_passes_come_from_dram_where_l2_is_too_small(kind, cols, passes):
    """PyTorch's softmax holds rows of up to 1024 in registers; beyond it reads maximum, sum and result. Norms read twice."""
    times = price(rows(kind, 1000, cols), gpu=memory_gpu(l2=SMALL_L2), factors=OVERFLOWS)
    assert times.dram_bytes[0] == pytest.approx((passes + 1) * 1000 * cols * 4)


def test_further_passes_always_cross_l2():
    times = price(rows("softmax", 1000, 1028), gpu=memory_gpu())
    assert times.l2_bytes[0] == pytest.approx((3 + 1) * 1000 * 1028 * 4)


def test_a_reduction_writes_a_value_a_row():
    times = price(rows("reduce", 1000, 1024, writes_rows=False), gpu=memory_gpu())
    assert times.dram_bytes[0] == pytest.approx((1000 * 1024 + 1000) * 4)
    assert times.l2_bytes[0] == pytest.approx((1000 * 1024 + 1000) * 4)


def test_strided_rows_waste_part_of_each_sector():
    plain, strided = (
        price(rows("reduce", 1000, 1024, writes_rows=False, contiguous=c), gpu=memory_gpu(), factors={"transpose_efficiency": 0.5}) for c in (True, False)
    )
    assert strided.dram_s[0] == pytest.approx(2 * plain.dram_s[0])


# ---- clocks


def clocks(kind: str, n: int, cols: int, **factors: float) -> float:
    return float(price(rows(kind, n, cols), gpu=compute_gpu(), factors=factors).math_s[0])


def test_the_busiest_sm_decides():
    """10 SMs at 1 Hz, 3 clocks a row: 10 rows take 3 s, 11 take 6."""
    assert [clocks("softmax", n, 8, softmax_warp_clk=3.0) for n in (1, 10, 11, 20)] == [3.0, 3.0, 6.0, 6.0]


def test_warps_pad_rows_to_a_power_of_two():
    """5 lanes, a clock an element: 513 … 1024 columns cost 1024 / 5."""
    assert [clocks("softmax", 10, cols, softmax_warp_clk_per_element=1.0) for cols in (512, 513, 1024)] == pytest.approx([512 / 5, 1024 / 5, 1024 / 5])


def test_beyond_1024_columns_another_kernel_counts():
    assert clocks("softmax", 10, 1025, softmax_warp_clk=3.0, softmax_block_clk=7.0) == 7.0
    assert clocks("softmax", 10, 2000, softmax_block_clk_per_element=1.0) == pytest.approx(2000 / 5)


def test_a_norm_takes_vector_steps():
    """A block of 128 threads takes 512 columns a step; a step of 8 · 2 clocks is for 64 lanes, here there are 5."""
    assert clocks("layer_norm", 10, 100, norm_block_clk=7.0) == 7.0
    assert [clocks("rms_norm", 10, cols, norm_clk_per_step=2.0) for cols in (512, 513)] == pytest.approx([8 * 2 * 64 / 5, 2 * 8 * 2 * 64 / 5])


def test_sorting_takes_rounds():
    """Bitonic networks: log² of the columns."""
    plain, sorted_ = (clocks(kind, 10, 1024, reduce_clk_per_element=1.0) for kind in ("cumsum", "sort"))
    assert sorted_ == pytest.approx(100 * plain)


def test_few_long_rows_are_split_over_blocks():
    """One row of 4096 · 8 columns is 8 pieces on 8 of the 10 SMs."""
    one, eight = (
        price(rows("reduce", n, 4096 * 8 // n, writes_rows=False), gpu=compute_gpu(), factors={"reduce_clk_per_element": 1.0}).math_s[0] for n in (1, 8)
    )
    assert one == pytest.approx(eight)


# ---- latency


def test_a_row_is_a_chain_of_loads_and_reductions():
    """One row of 1024 in a warp: one load of 4 s and one reduction of 3 s."""
    gpu = compute_gpu(dram={"latency_s": 4.0})
    assert price(rows("softmax", 1, 1024), gpu=gpu, factors={"block_reduction_s": 3.0}).chain_s[0] == pytest.approx(4 + 3)


def test_a_block_softmax_has_three_such_chains_and_four_reductions():
    """2048 floats: 256 threads of 4 a load, 2 loads in a chain, 3 passes."""
    gpu = compute_gpu(dram={"latency_s": 4.0})
    assert price(rows("softmax", 1, 2048), gpu=gpu, factors={"block_reduction_s": 3.0}).chain_s[0] == pytest.approx(3 * 2 * 4 + 4 * 3)


def test_the_loads_of_a_norm_do_not_wait_for_one_another():
    """2 passes of a load, 3 reductions, however long the row."""
    gpu = compute_gpu(dram={"latency_s": 4.0})
    short, long = (price(rows("rms_norm", 1, cols), gpu=gpu, factors={"block_reduction_s": 3.0}).chain_s[0] for cols in (512, 8192))
    assert short == long == pytest.approx(2 * 4 + 3 * 3)


def test_chains_follow_each_other_where_no_more_rows_fit():
    """16 blocks of a row on each of 10 SMs: 320 rows are two rounds."""
    gpu = compute_gpu(dram={"latency_s": 4.0})
    one, two = (price(rows("layer_norm", n, 512), gpu=gpu).chain_s[0] for n in (160, 320))
    assert two == pytest.approx(2 * one)


def test_the_fixed_time_is_added():
    assert price(rows("softmax", 1, 8), gpu=compute_gpu(), factors={"rows_fixed_s": 9.0}).latency_s[0] == 9.0
