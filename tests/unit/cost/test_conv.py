"""Convolutions on 10 SMs of 10 FLOP a clock at 1 Hz: what each algorithm executes, and when there is a choice."""

from __future__ import annotations

import pytest

from simgpu.arch.spec import FrozenTable
from simgpu.cost import conv_catalogue as catalogue
from simgpu.cost.times import KernelTimes
from tests.toy_costs import AMPERE, FERMI, KEPLER, LIMITLESS, MAXWELL, TURING, VOLTA, compute_gpu, conv, memory_gpu, price

ON_TENSOR = {"dtype": "fp16", "pipe": "tensor", "size": 2.0}
PLAIN = {"split_k_s": 1e12, "conv_tensor_split_k_s": 1e12, "atomic_fraction": 1e-40}  # too dear: splitting the depth, and atomic adds


@pytest.fixture(autouse=True)
def one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Implicit GEMM has tiles of 128 × 128 and never splits, so that padding can be counted in the head."""
    for direction in ("fwd", "bwd_data", "bwd_weight"):
        monkeypatch.setitem(catalogue._FMA_TILES, direction, ((128, 128),))
        monkeypatch.setitem(catalogue._TENSOR_TILES, direction, ((128, 128),))
    monkeypatch.setattr(catalogue, "_WEIGHT_SPLITS", (1,))


def priced(problem, capability=FERMI, *, factors=None, **conditions):
    """Fermi's libraries have no Winograd kernels."""
    return price(problem, gpu=compute_gpu(capability), factors={**PLAIN, **(factors or {})}, **conditions)


def executed(problem, capability=FERMI, **conditions):
    """FLOP executed and the algorithm's name."""
    times = priced(problem, capability, **conditions)
    return times.executed_flop[0], times.choice_names()[0]


# ---- implicit GEMM


def test_forward_is_a_product_of_pixels_filters_and_taps():
    """8 × 16 pixels, 128 filters of 8 channels and 3 × 3 taps: one tile 72 deep."""
    flop, name = executed(conv(c=8, h=8, w=16, k=128))
    assert (flop, name) == (2 * 128 * 128 * 8 * 9, "implicit GEMM 128x128")


def test_pixels_and_filters_are_padded_to_tiles_depth_to_steps():
    """81 pixels as 128, 100 filters as 128, 3 · 9 taps as 32."""
    flop, _ = executed(conv(c=3, h=9, k=100))
    assert flop == 2 * 128 * 128 * 32


def test_images_share_tiles():
    """2 images of 8 × 8 fill a tile that one would leave half empty."""
    one, two = (executed(conv(n=n, c=8, h=8, k=128))[0] for n in (1, 2))
    assert one == two == 2 * 128 * 128 * 72


def test_tensor_cores_pad_channels_to_16_bytes_and_depth_to_32():
    """3 channels as 8, 9 taps: 72 as 96. 128 filters stay."""
    flop, _ = executed(conv(c=3, h=8, w=16, k=128, **ON_TENSOR), AMPERE)
    assert flop == 2 * 128 * 128 * 96


def test_tensor_cores_may_pad_each_tap():
    """8 channels as 32 a tap in cuDNN 7, 9 · 32 deep; later kernels take them as they are, but not on Volta."""
    problem = conv(c=8, h=8, w=16, k=128, **ON_TENSOR)
    assert executed(problem, (7, 5), library_year=2019.0)[0] == 2 * 128 * 128 * 9 * 32
    assert executed(problem, (7, 5))[0] == 2 * 128 * 128 * 96
    assert executed(problem, VOLTA)[0] == 2 * 128 * 128 * 9 * 32


@pytest.mark.parametrize("capability", [FERMI, MAXWELL])
def test_pointwise_is_a_plain_product(capability):
    flop, name = executed(conv(c=64, h=8, w=16, k=128, r=1), capability)
    assert (flop, name) == (2 * 128 * 128 * 64, "implicit GEMM 128x128")


def test_groups_each_have_a_product():
    """4 groups of 64 → 128 channels, too wide to be joined: four tiles on 10 SMs take no longer than one."""
    flop, name = executed(conv(c=4 * 64, h=8, w=16, k=4 * 128, groups=4))
    assert (flop, name) == (4 * 2 * 128 * 128 * 64 * 9, "implicit GEMM 128x128")
    grouped, dense = (priced(conv(c=64 * groups, h=8, w=16, k=128 * groups, groups=groups)).duration_s[0] for groups in (4, 1))
    assert grouped == pytest.approx(dense)


def test_before_cudnn_7_1_groups_ran_one_after_the_other():
    """Four times as long as one group, and a kernel's start more for each further one, 7 s."""
    grouped, dense = (
        priced(conv(c=64 * groups, h=8, w=16, k=128 * groups, groups=groups), library_year=2017.7, factors={"extra_kernel_s": 7.0}) for groups in (4, 1)
    )
    assert grouped.choice_names() == ["each group: implicit GEMM 128x128"]
    assert grouped.duration_s[0] == pytest.approx(4 * dense.duration_s[0] + 3 * 7)
    assert grouped.executed_flop[0] == 4 * dense.executed_flop[0]
    assert grouped.dram_bytes[0] == pytest.approx(4 * dense.dram_bytes[0], rel=1e-3)


def test_wide_groups_run_alone_for_the_sake_of_winograd():
    """36 / 144 of the multiplies: RepVGG's grouped networks outrun the direct peak."""
    problem = conv(n=16, c=2 * 128, h=32, w=16, k=2 * 128, groups=2)
    flop, name = executed(problem, VOLTA)
    assert name.startswith("each group: Winograd F(4x4,3x3)")
    assert flop / problem.flop == 36 / 144


def test_narrow_groups_are_joined_block_diagonally():
    """64 groups of 4 → 4 channels, each padded to 8 and 96 deep, take 64 tiles; as 4 of 64 → 64 channels, mostly zeros, 4 tiles 576 deep."""
    flop, name = executed(conv(c=256, h=8, w=16, k=256, groups=64, **ON_TENSOR), AMPERE)
    assert (flop, name) == (4 * 2 * 128 * 128 * 64 * 9, "implicit GEMM 128x128 joined groups")


def test_the_time_is_that_of_the_product():
    """One tile 72 deep on one SM of 10 FLOP a clock."""
    assert priced(conv(c=8, h=8, w=16, k=128)).duration_s[0] == pytest.approx(2 * 128 * 128 * 72 / 10)


def test_cudnn_8_splits_the_depth_of_small_problems():
    """One tile for 10 SMs, so 8 parts are faster than one."""
    problem = conv(c=64, h=8, w=16, k=128, r=1)
    assert executed(problem, factors={"split_k_s": 0.0})[1] == "implicit GEMM 128x128 split-K 8"
    assert executed(problem, factors={"split_k_s": 0.0}, library_year=2017.0)[1] == "implicit GEMM 128x128"


def test_no_fp32_library_splits_a_depth_that_spans_taps():
    problem = conv(c=64, h=8, w=16, k=128, r=3)
    assert executed(problem, factors={"split_k_s": 0.0})[1] == "implicit GEMM 128x128"


def test_cudnn_7_splits_no_int8():
    """One tile on tensor cores for 10 SMs."""
    problem = conv(c=64, h=8, w=16, k=128, r=3, dtype="int8", pipe="tensor", size=1.0)
    gpu = compute_gpu(TURING, tensor_cores={"flop_per_clk": FrozenTable({"int8": 80.0})})
    found = {year: price(problem, gpu=gpu, library_year=year).choice_names()[0] for year in (2019.0, 2021.0)}
    assert found == {2019.0: "implicit GEMM 128x128", 2021.0: "implicit GEMM 128x128 split-K 8"}


# ---- gradients


def test_scattering_fills_the_gradient_with_zeros_and_adds_to_it():
    """dx of 8 channels and 128 pixels is written, read and written at DRAM's 1 B/s; 128 pixels · 72 sums of 4 bytes cross L2 at half its 40 B/s."""
    gpu = compute_gpu(FERMI, dram={"clock_hz": 1.0, "bus_bits": 8.0}, l2={"size_bytes": 0.0, "bandwidth_bytes_per_clk": 40.0})
    factors = {"backward_data_efficiency": 1e-9, "atomic_fraction": 0.5}

    def found(groups: int) -> KernelTimes:
        problem = conv(c=8 * groups, h=8, w=16, k=8 * groups, groups=groups, direction="bwd_data")
        times = price(problem, gpu=gpu, factors=factors, library_year=2017.0)
        assert "scatter GEMM" in times.choice_names()[0]
        return times

    dx, sums = 8 * 128 * 4, 128 * 72 * 4
    one, four = found(1), found(4)
    assert one.latency_s[0] == pytest.approx(3 * dx + sums / 20)
    assert one.dram_bytes[0] == pytest.approx(3 * dx + 8 * 128 * 4 + 8 * 8 * 9 * 4)  # dy and w beside it
    # Before cuDNN 7.1 four groups of 8 → 8 channels are four convolutions.
    assert four.latency_s[0] == pytest.approx(4 * one.latency_s[0])


def test_a_strided_pointwise_layer_is_scattered():
    """Only a quarter of the pixels has a gradient; implicit GEMM on CUDA cores computes the zeros of the others."""
    flop, name = executed(conv(n=10, c=128, h=16, w=32, k=32, r=1, stride=2, direction="bwd_data"), factors={"atomic_fraction": 1.0})
    assert (flop, name) == (10 * 2 * 128 * 128 * 32, "scatter GEMM 128x128")


def test_turing_has_no_small_tile_for_the_gradient_of_weights(monkeypatch: pytest.MonkeyPatch):
    """64 channels × 64 filters: Volta's tile fits, three quarters of Turing's are zeros."""
    monkeypatch.setitem(catalogue._TENSOR_WEIGHT_TILES, "Volta", ((64, 64),))
    problem = conv(n=8, c=64, h=8, w=16, k=64, r=1, direction="bwd_weight", **ON_TENSOR)
    (volta, _), (turing, _) = (executed(problem, capability) for capability in (VOLTA, TURING))
    assert (volta, turing) == (problem.flop, 4 * problem.flop)


@pytest.mark.parametrize(("l2_bytes", "traffic"), [(0.0, 8 + 2), (1e9, 2)])
def test_turing_converts_the_gradient_of_weights(l2_bytes, traffic):
    """128 · 128 sums of 4 bytes are written and read again unless L2 holds them, and written as halves: beside one kernel more (7 s)."""
    problem = conv(c=128, h=8, w=16, k=128, r=1, direction="bwd_weight", **ON_TENSOR)

    def latency_s(capability: tuple[int, int]) -> float:
        gpu = compute_gpu(capability, dram={"clock_hz": 1.0, "bus_bits": 8.0}, l2={"size_bytes": l2_bytes, "bandwidth_bytes_per_clk": LIMITLESS})
        return float(price(problem, gpu=gpu, factors={**PLAIN, "extra_kernel_s": 7.0}).latency_s[0])

    assert latency_s(VOLTA) == pytest.approx(0.0, abs=1e-3)
    assert latency_s(TURING) == pytest.approx(7.0 + traffic * 128 * 128, rel=1e-3)


def test_backward_data_has_the_forward_product_with_channels_and_filters_exchanged():
    """128 pixels × 128 channels, 8 filters deep times 9 taps."""
    flop, name = executed(conv(c=128, h=8, w=16, k=8, direction="bwd_data"))
    assert (flop, name) == (2 * 128 * 128 * 8 * 9, "implicit GEMM 128x128")


def test_backward_data_of_stride_2_has_four_phases_of_at_most_four_taps():
    """Each input pixel of 16 × 32 meets 1, 2, 2 or 4 of the 9 taps, padded to 4: 4 tiles, 4 · 8 deep."""
    flop, _ = executed(conv(c=128, h=16, w=32, k=8, stride=2, direction="bwd_data"))
    assert flop == 4 * 2 * 128 * 128 * 8 * 4


def test_backward_data_of_a_pointwise_stride_2_leaves_three_phases_empty():
    """On tensor cores: of 16 × 32 input pixels every fourth has a gradient, one tile. CUDA cores compute the zeros too."""
    flop, _ = executed(conv(c=128, h=16, w=32, k=32, r=1, stride=2, direction="bwd_data", **ON_TENSOR), AMPERE)
    assert flop == 2 * 128 * 128 * 32
    flop, _ = executed(conv(c=128, h=16, w=32, k=32, r=1, stride=2, direction="bwd_data"))
    assert flop == 4 * 2 * 128 * 128 * 32


def test_backward_data_with_few_channels_is_scattered():
    """3 channels would leave a tile of 128 nearly empty; as 27 columns of a product 128 deep they fill more of it."""
    flop, name = executed(conv(c=3, h=8, w=16, k=128, direction="bwd_data"), factors={"atomic_fraction": 1.0})
    assert name == "scatter GEMM 128x128"
    assert flop == 2 * 128 * 128 * 128


def test_backward_weight_is_a_product_over_all_pixels():
    """16 · 8 … channels and taps: 9 · 16 rows as 256, 128 filters, 2 · 128 pixels deep."""
    flop, _ = executed(conv(n=2, c=16, h=8, w=16, k=128, direction="bwd_weight"))
    assert flop == 2 * 256 * 128 * (2 * 128)


def test_backward_weight_on_tensor_cores_has_a_product_for_each_tap():
    flop, _ = executed(conv(n=2, c=128, h=8, w=16, k=128, direction="bwd_weight", **ON_TENSOR), AMPERE)
    assert flop == 9 * 2 * 128 * 128 * (2 * 128)


def test_gradients_have_efficiencies_of_their_own():
    forward, data = (priced(conv(c=128, h=8, w=16, k=128, r=1, direction=d), factors={"backward_data_efficiency": 0.5}) for d in ("fwd", "bwd_data"))
    assert data.duration_s[0] == pytest.approx(2 * forward.duration_s[0])


# ---- Winograd


def test_fused_winograd_replaces_36_multiplies_by_16():
    """F(2×2, 3×3): 4 outputs of 9 taps from 4 × 4 points. 8 × 16 outputs and 32 filters are one CTA without padding."""
    problem = conv(c=16, h=8, w=16, k=32)
    flop, name = executed(problem, VOLTA, library_year=2016.2)
    assert name == "Winograd F(2x2,3x3) fused 1x8x16"
    assert flop / problem.flop == 16 / 36


def test_non_fused_winograd_replaces_144_multiplies_by_36():
    """F(4×4, 3×3): 16 outputs of 9 taps from 6 × 6 points. 16 images of 32 × 16 are 16 · 32 tiles, which fill GEMM tiles."""
    problem = conv(n=16, c=128, h=32, w=16, k=128)
    flop, name = executed(problem, VOLTA)
    assert name.startswith("Winograd F(4x4,3x3)")
    assert flop / problem.flop == 36 / 144


def test_winograd_of_5x5_filters_replaces_625_multiplies_by_81():
    """F(5×5, 5×5): 25 outputs of 25 taps from 9 × 9 points."""
    problem = conv(n=16, c=128, h=40, w=20, k=128, r=5)
    flop, name = executed(problem, VOLTA)
    assert name.startswith("Winograd F(5x5,5x5)")
    assert flop / problem.flop == 81 / 625


def test_non_fused_winograd_pads_the_batch_to_16():
    """1 image costs as much as 16."""
    one, sixteen = (executed(conv(n=n, c=128, h=128, w=128, k=128), VOLTA, factors={"winograd_fused_efficiency": 1e-3}) for n in (1, 16))
    assert one[1].startswith("implicit")  # 36 / 144 · 16 is more than the direct product
    problem = conv(n=15, c=128, h=128, w=128, k=128)
    assert executed(problem, VOLTA, factors={"winograd_fused_efficiency": 1e-3})[0] == sixteen[0]


def test_non_fused_winograd_ends_where_32_bit_offsets_do():
    """16 images of 4 · 64 × 4 · 64 pixels are 2^16 tiles of 36 points: 2 GiB of floats have 2^29 / 36 / 2^16 = 227 channels."""
    small, large = (conv(n=16, c=c, h=256, w=256, k=128) for c in (224, 256))
    factors = {"winograd_fused_efficiency": 1e-3}
    assert "F(4x4" in executed(small, VOLTA, factors=factors)[1]
    assert executed(large, VOLTA, factors=factors)[1].startswith("implicit GEMM")


@pytest.mark.parametrize("change", [{"stride": 2}, {"dilation": 2}, {"r": 7}, {"r": 1}])
def test_winograd_needs_dense_3x3_or_5x5_filters_of_stride_1(change):
    problem = {"n": 16, "c": 128, "h": 32, "w": 16, "k": 128, **change}
    assert executed(conv(**problem), VOLTA)[1].startswith("implicit GEMM")


def test_winograd_came_with_cudnn_5_and_maxwell():
    problem = conv(n=16, c=128, h=32, w=16, k=128)
    assert "F(4x4" in executed(problem, MAXWELL)[1]
    assert "F(2x2" in executed(problem, MAXWELL, library_year=2016.2)[1]
    assert executed(problem, MAXWELL, library_year=2015.0)[1].startswith("implicit GEMM")
    assert "F(4x4" in executed(problem, KEPLER)[1]  # whose fused kernel does not exist
    assert executed(problem, KEPLER, library_year=2016.2)[1].startswith("implicit GEMM")
    assert executed(problem, FERMI)[1].startswith("implicit GEMM")
    assert executed(conv(n=16, c=128, h=32, w=16, k=128, **ON_TENSOR), AMPERE)[1].startswith("implicit GEMM")  # tensor cores outrun it


def test_transforms_are_paid_in_memory_traffic():
    """Where memory is slow and arithmetic free, the direct product moves less and wins."""
    times = price(conv(n=16, c=128, h=32, w=16, k=128), gpu=memory_gpu(l2={"bandwidth_bytes_per_clk": LIMITLESS}))
    assert times.choice_names()[0].startswith("implicit GEMM")


@pytest.mark.parametrize(("direction", "times"), [("fwd", 3.0), ("bwd_data", 3.0), ("bwd_weight", 1.0)])
def test_filters_are_transformed_more_slowly_than_images(direction, times):
    """A thread reads 9 neighbours and writes to 36 planes: (9 + 36) · 64 · 64 numbers three times; their gradients come back in one pass.

    All passes together take time at 1 B/s; the image passes are the same with and without the slowness.
    """
    problem = conv(n=16, c=64, h=4, w=4, k=64, direction=direction)
    gpu = compute_gpu(VOLTA, dram={"clock_hz": 1.0, "bus_bits": 8.0}, l2={"size_bytes": 0.0, "bandwidth_bytes_per_clk": LIMITLESS})

    def transforms_s(slowness: float) -> float:
        found = price(problem, gpu=gpu, factors={**PLAIN, "winograd_fused_efficiency": 1e-9, "conv_efficiency": 1e-9, "filter_transform_slowness": slowness})
        assert found.choice_names()[0].startswith("Winograd F(4x4")
        return float(found.latency_s[0])

    filters_s = 64 * 64 * (9 + 36) * 4 / gpu.dram.bandwidth_bytes_per_s
    assert transforms_s(3.0) - transforms_s(1.0) == pytest.approx((times - 1.0) * filters_s)


@pytest.mark.parametrize("direction", ["bwd_data", "bwd_weight"])
def test_gradients_have_winograd_kernels_too(direction):
    problem = conv(n=16, c=128, h=32, w=16, k=128, direction=direction)
    flop, name = executed(problem, VOLTA)
    assert name.startswith("Winograd F(4x4,3x3)")
    assert flop == problem.flop / 4


def test_a_transform_takes_its_bytes_at_each_sms_rate():
    """Non-fused Winograd writes 36 numbers where it read 16: with memory for nothing, 10 SMs at 1 Hz move 2 bytes a clock each."""
    problem = conv(n=16, c=64, h=4, w=4, k=64)
    factors = {**PLAIN, "winograd_fused_efficiency": 1e-9, "conv_efficiency": 1e-9, "transform_bytes_per_clk": 2.0}
    found = price(problem, gpu=compute_gpu(VOLTA), factors=factors)
    assert found.choice_names()[0].startswith("Winograd F(4x4")
    images = 2 * 16 * 64 * (16 + 36)  # in and out, one tile each
    filters = 64 * 64 * (9 + 36)
    assert found.latency_s[0] == pytest.approx(4 * (images + filters) / (10 * 2))


@pytest.mark.parametrize(("shared_kib", "rate"), [(96, 2 / 3), (64, 1 / 2)])
def test_fused_winograd_needs_room_in_shared_memory(shared_kib, rate):
    """2 CTAs an SM of 16 · 32 · 32 sums each, and a latency that as many sums half hide: together they reach two thirds of the rate, one alone half."""
    problem = conv(c=16, h=16, w=160, k=32)  # 20 CTAs on 10 SMs
    gpu = compute_gpu(VOLTA, shared={"size_bytes": shared_kib * 1024.0})
    latency_clk = 16 * 32 * 32 / 5  # at 5 multiply-adds a clock
    found = price(problem, gpu=gpu, factors={**PLAIN, "conv_latency_clk": latency_clk}, library_year=2016.2)
    assert "fused" in found.choice_names()[0]
    assert found.math_s[0] == pytest.approx(2 * (2 * 16 * 32 * 32 * 16 / 10) / rate)


# ---- depthwise


def test_depthwise_runs_a_thread_an_output():
    """32 channels of 8 × 16 pixels and 9 taps, an instruction a tap: 16 CTAs of 256 outputs on 10 SMs that issue 32 a clock."""
    problem = conv(c=32, h=8, w=16, k=32, groups=32)
    times = price(problem, gpu=compute_gpu())
    assert times.choice_names() == ["direct depthwise"]
    assert times.ctas[0] == 32 * 8 * 16 / 256
    assert times.math_s[0] == pytest.approx(32 * 8 * 16 * 9 / (10 * 32))
    assert times.executed_flop[0] == problem.flop == 2 * 32 * 8 * 16 * 9


def test_depthwise_backward_data_meets_a_phase_of_the_taps():
    """Stride 2: at most 2 × 2 of the 3 × 3 taps reach an input pixel."""
    times = price(conv(c=32, h=16, w=32, k=32, groups=32, stride=2, direction="bwd_data"), gpu=compute_gpu())
    assert times.choice_names() == ["direct depthwise"]
    assert times.math_s[0] == pytest.approx(32 * 16 * 32 * 4 / (10 * 32))


def test_depthwise_is_bound_by_memory_where_memory_is_slow():
    """Each byte of x, w and y once at 10 B/s."""
    times = price(conv(n=4, c=32, h=8, w=16, k=32, groups=32), gpu=memory_gpu())
    assert times.bound_names() == ["DRAM"]
    assert times.duration_s[0] == pytest.approx((2 * 4 * 32 * 8 * 16 * 4 + 32 * 9 * 4) / 10)


def test_a_dense_convolution_has_no_depthwise_kernel():
    assert "depthwise" not in executed(conv(c=1, h=8, w=16, k=128))[1]


# ---- costs beside the work


def test_a_convolution_has_fixed_costs_and_more_for_each_further_kernel():
    """5 s once; the fused Winograd kernel has another before it that transforms filters, 7 s."""
    factors = {"conv_fixed_s": 5.0, "extra_kernel_s": 7.0}
    direct = priced(conv(c=16, h=8, w=16, k=32, r=1), VOLTA, factors=factors)
    fused = priced(conv(c=16, h=8, w=16, k=32), VOLTA, factors=factors, library_year=2016.2)
    assert direct.latency_s[0] == pytest.approx(5.0)
    assert fused.choice_names()[0].startswith("Winograd F(2x2")
    assert fused.latency_s[0] == pytest.approx(5.0 + 7.0)


@pytest.mark.parametrize("on", [{}, ON_TENSOR])
def test_cudnn_7_computes_offsets_in_each_call(on):
    """In a kernel more."""
    problem = conv(c=16, h=8, w=16, k=32, r=1, **on)
    before, since = (priced(problem, VOLTA, factors={"extra_kernel_s": 7.0}, library_year=year).latency_s[0] for year in (2019.0, 2021.0))
    assert before == pytest.approx(since + 7.0)


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_energy_follows_what_is_executed(ratio):
    """Winograd's fewer multiplies save energy: 16 / 36 of it, though each costs more."""
    problem = conv(c=16, h=8, w=16, k=32)
    times = priced(problem, VOLTA, factors={"flop_energy_j": {"10": 1.0}, "winograd_fused_energy_ratio": ratio}, library_year=2016.2)
    assert times.energy_j[0] == pytest.approx(ratio * problem.flop * 16 / 36)


def test_zeros_that_fill_a_tile_up_cost_less_energy():
    """64 of 128 filters: half of the multiplies meet zeros, at a fifth of the energy."""
    problem = conv(c=8, h=8, w=16, k=64)
    energy = {share: priced(problem, factors={"flop_energy_j": {"10": 1.0}, "padding_energy_ratio": share}).energy_j[0] for share in (1.0, 0.2)}
    assert energy[1.0] == pytest.approx(2 * problem.flop)
    assert energy[0.2] == pytest.approx(1.2 * problem.flop)
