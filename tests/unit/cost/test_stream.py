"""Streams and copies on the toy: DRAM 10 B/s, L2 40 B/s, 10 SMs that each issue 32 thread instructions a clock at 1 Hz."""

from __future__ import annotations

import pytest

from simgpu.kernels.kernel import Stream, Transfer
from tests.toy_costs import LIMITLESS, compute_gpu, kernel, memory_gpu, price
from tests.toys import toy_gpu

FAST_L2 = {"bandwidth_bytes_per_clk": LIMITLESS}


def stream(elements: float = 10_240.0, *, arrays: int = 1, size: float = 4.0, **work):
    """Reads some arrays of the size of what is written."""
    return kernel(Stream(elements=elements, inputs=arrays, itemsize=size, **work), reads=[elements * size] * arrays, writes=[elements * size])


def test_an_elementwise_map_streams_its_bytes():
    """10,240 floats in and out: 81,920 B at 10 B/s; at L2's 40 B/s a quarter of that."""
    times = price(stream(), gpu=memory_gpu())
    assert times.dram_s[0] == times.duration_s[0] == pytest.approx(8192.0)
    assert times.l2_s[0] == pytest.approx(2048.0)
    assert times.bound_names() == ["DRAM"]


def test_two_inputs_are_half_as_much_again():
    one, two = (price(stream(arrays=n), gpu=memory_gpu()).duration_s[0] for n in (1, 2))
    assert two == pytest.approx(1.5 * one)


def test_narrow_formats_move_fewer_bytes():
    half, quarter = (price(stream(size=size), gpu=memory_gpu()).duration_s[0] for size in (2.0, 1.0))
    assert half == pytest.approx(2 * quarter)


def test_what_lies_in_l2_is_not_fetched_again():
    """The input was touched a byte ago; the output, larger than L2, goes out."""
    times = price(stream(), gpu=memory_gpu(), distances=[(1.0,)])
    assert times.dram_bytes[0] == pytest.approx(10_240 * 4, rel=1e-4)


def test_many_instructions_bind_the_sms():
    """20 blocks of 512 floats keep all 10 SMs busy, 320 instructions a clock. 5 of its own, and 2 for each of the two arrays it touches."""
    times = price(stream(instructions=5.0), gpu=compute_gpu(), factors={"stream_instructions_per_element": 2.0})
    assert times.math_s[0] == times.duration_s[0] == pytest.approx(10_240 * (5 + 2 * 2) / 320)
    assert times.bound_names() == ["compute"]


def test_special_functions_have_few_lanes():
    """A result a clock and SM: 10,240 of them take 1024 s."""
    assert price(stream(sfu=1.0), gpu=compute_gpu()).duration_s[0] == pytest.approx(1024.0)


def test_pooling_reads_its_window():
    """9 elements a window at 3 instructions, and 1 of its own."""
    pooled = stream(window=9.0, pattern="window")
    assert price(pooled, gpu=compute_gpu(), factors={"window_instructions": 3.0}).duration_s[0] == pytest.approx(10_240 * (1 + 9 * 3) / 320)


def test_few_elements_keep_few_sms_busy():
    """512 floats are one block on one of 10 SMs: as long as ten times as many on all."""
    one, ten = (price(stream(elements), gpu=compute_gpu()) for elements in (512.0, 5120.0))
    assert one.math_s[0] == pytest.approx(ten.math_s[0])
    assert (one.ctas[0], ten.ctas[0]) == (1, 10)


@pytest.mark.parametrize(("pattern", "factor"), [("transpose", "transpose_efficiency"), ("gather", "gather_efficiency")])
def test_scattered_walks_waste_part_of_each_sector(pattern, factor):
    """Half of what moves is useful: twice the bytes."""
    plain, scattered = (price(stream(pattern=p), gpu=memory_gpu(), factors={factor: 0.5}) for p in ("elementwise", pattern))
    assert scattered.duration_s[0] == pytest.approx(2 * plain.duration_s[0])
    assert scattered.dram_bytes[0] == pytest.approx(2 * plain.dram_bytes[0])


def test_few_bytes_in_flight_cannot_use_the_bandwidth():
    """Little's law: 128 threads hold 16 B each in flight for 4 s, 512 B/s, where DRAM had 10^30."""
    gpu = memory_gpu(dram={"clock_hz": LIMITLESS, "latency_s": 4.0}, l2=FAST_L2)
    times = price(stream(512.0), gpu=gpu)
    assert times.dram_s[0] == pytest.approx(2 * 512 * 4 / 512)


def test_a_stream_waits_a_dram_latency_and_its_fixed_time():
    times = price(stream(), gpu=memory_gpu(dram={"latency_s": 4.0}), factors={"stream_fixed_s": 3.0})
    assert times.latency_s[0] == pytest.approx(4 + 3)


def test_a_reduction_to_one_value_ends_in_two_rounds():
    """Each a reduction across a block and a trip to DRAM."""
    times = price(stream(pattern="reduce"), gpu=memory_gpu(dram={"latency_s": 4.0}), factors={"block_reduction_s": 3.0})
    assert times.latency_s[0] == pytest.approx(4 + 2 * (3 + 4))


def test_instructions_take_energy_and_so_do_bytes():
    """1 J an instruction at 1 V, 2 J a byte of L2, 3 J a byte of DRAM."""
    factors = {"flop_energy_j": {"10": 1.0}, "l2_byte_energy_j": 2.0, "dram_byte_energy_j": 3.0}
    times = price(stream(), gpu=memory_gpu(power={"tdp_w": LIMITLESS}), factors=factors)
    assert times.energy_j[0] == pytest.approx(10_240 * (1 + 8 * 2 + 8 * 3))


# ---- copies by a copy engine


def transfer(direction: str, *, pinned: bool = True):
    return kernel(Transfer(direction=direction, size_bytes=1000.0, pinned=pinned), flop=0.0, pipe="none")


def seconds(direction: str, *, pinned: bool = True) -> float:
    gpu = toy_gpu(launch={"stream_gap_s": 0.0})
    factors = {"pinned_fraction": 0.8, "pageable_fraction": 0.4, "transfer_fixed_s": 7.0}
    return float(price(transfer(direction, pinned=pinned), gpu=gpu, factors=factors).duration_s[0])


@pytest.mark.parametrize("direction", ["h2d", "d2h"])
def test_copies_over_the_host_link(direction):
    """1 B/s of which pinned memory reaches 80 %, pageable 40 %, after 7 s."""
    assert seconds(direction) == pytest.approx(1000 / 0.8 + 7)
    assert seconds(direction, pinned=False) == pytest.approx(1000 / 0.4 + 7)


def test_a_copy_within_the_device_reads_and_writes():
    """10 B/s for both."""
    assert seconds("d2d") == pytest.approx(2 * 1000 / 10 + 7)
    moved = [price(transfer(direction)).dram_bytes[0] for direction in ("d2d", "h2d")]
    assert moved == [2000, 1000]


def test_a_gpu_without_a_host_link_copies_within_itself_only():
    gpu = toy_gpu(pcie=None)
    assert price(transfer("d2d"), gpu=gpu).duration_s[0] > 0
    with pytest.raises(AssertionError, match="toy has no host link"):
        price(transfer("h2d"), gpu=gpu)
