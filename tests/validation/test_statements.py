"""What is known about networks on GPUs comes out of the model: host-bound small batches, the depthwise paradox, design guidelines.

Measured values are those of the papers and repositories named; the bounds say how near the model must come.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from simgpu.api import simulate
from simgpu.arch.loader import load_gpu
from simgpu.cost.model import CostModel
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.operators import operator_graph
from simgpu.graph.ir import Graph
from simgpu.kernels.lower import lower
from simgpu.passes.pipeline import prepare
from simgpu.report.report import HOST_BOUND, Report
from simgpu.validation.run import carried_data

RATIO_ERROR = 0.25  # of a ratio of two measured times


def rows_of(name: str) -> list[dict[str, str]]:
    with gzip.open(carried_data() / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(io.StringIO(file.read())))


def network(layers: Callable[[Builder, Tensor], Tensor], *shape: int) -> Graph:
    b = Builder("statement")
    return b.build(layers(b, b.input("input", shape)))


def convolution(n: int, c: int, size: int, k: int, r: int = 1, *, groups: int = 1) -> Graph:
    return network(lambda b, x: b.conv(x, k, r, groups=groups), n, c, size, size)


def alone(graph: Graph, gpu: str, dtype: str = "fp32") -> Report:
    """The kernels of a few operators by themselves: no host, no layout copies."""
    return simulate(graph, gpu, dtype=dtype, runtime="tensorrt", host="none")


def flop_per_s(graph: Graph, gpu: str, dtype: str = "fp32") -> float:
    """Algorithmic FLOP a second while the device works."""
    report = alone(graph, gpu, dtype)
    return report.flop / report.device_s


# ---- ResNet-50 at small batches is bound by the host


@pytest.mark.parametrize(("batch", "measured_s"), [(1, 10.4e-3), (8, 11.5e-3)])
def test_resnet50_in_eager_pytorch_on_v100_waits_for_the_host(batch, measured_s):
    """NVIDIA DeepLearningExamples, PyTorch ConvNets, ResNet-50 v1.5 inference in FP32 on a DGX-1's V100."""
    report = simulate("resnet50", "v100", batch=batch)
    assert report.bound == HOST_BOUND
    assert report.latency_s == pytest.approx(measured_s, rel=0.15)


# ---- fewer FLOP are not less time: dense and separable convolution


@pytest.fixture(scope="module", params=["a100", "gtx-1080-ti"])
def blocks(request) -> tuple[Report, Report]:
    """256 channels, 56 × 56, 3 × 3, batch 32: dense, and depthwise followed by pointwise."""
    dense, separable = (simulate(f"conv-block:kind={kind},channels=256,size=56,kernel=3", request.param, batch=32) for kind in ("dense", "separable"))
    return dense, separable


def test_a_separable_block_has_nine_times_fewer_flop_but_is_not_nine_times_faster(blocks):
    """256 · 9 MACs a pixel and channel against 9 + 256."""
    dense, separable = blocks
    assert dense.flop / separable.flop == pytest.approx(256 * 9 / (9 + 256), rel=1e-3)
    assert 1 < dense.device_s / separable.device_s < 5


def test_its_depthwise_kernel_waits_for_memory(blocks):
    dense, separable = blocks
    depthwise, pointwise = separable.records
    assert depthwise.bound == "DRAM"
    peak = separable.gpu.peak_flop_per_s("fp32")
    assert depthwise.flop_per_s / peak < 0.25
    assert dense.flop / dense.device_s / peak > 1  # Winograd
    # 1/29 of the FLOP of the pointwise kernel (9 of 265), far more of the time
    assert depthwise.flop / pointwise.flop == pytest.approx(9 / 256)
    assert depthwise.duration_s > 3 * depthwise.flop / pointwise.flop * pointwise.duration_s


# ---- the seven statements


@pytest.mark.parametrize("gpu", ["gtx-1080-ti", "v100", "a100"])
def test_equal_channels_minimise_memory_cost(gpu):
    """Ma et al., "ShuffleNet V2", G1: hw (c1 + c2) + c1 c2 numbers move for hw c1 c2 MACs; the fewest where c1 = c2."""
    reports = [alone(network(lambda b, x, c1=c1, c2=c2: b.conv(b.conv(x, c2, 1), c1, 1), 8, c1, 56, 56), gpu) for c1, c2 in ((128, 128), (64, 256), (32, 512))]
    assert len({report.flop for report in reports}) == 1
    moved = [sum(k.read_bytes + k.write_bytes for k in report.kernels.kernels) for report in reports]
    assert moved == sorted(moved)
    seconds = [report.device_s for report in reports]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("gpu", ["gtx-1080-ti", "v100", "a100"])
def test_more_groups_cost_speed_at_equal_flop(gpu, kernel):
    """G2. Twice the channels in four times the groups are as many FLOP."""
    graphs = [convolution(32, 128 * scale, 28, 128 * scale, kernel, groups=scale**2) for scale in (1, 2, 4)]
    reports = [alone(graph, gpu) for graph in graphs]
    assert len({report.flop for report in reports}) == 1
    seconds = [report.device_s for report in reports]
    assert seconds == sorted(seconds)
    assert seconds[2] > 1.04 * seconds[0]


@pytest.mark.parametrize("gpu", ["gtx-1080-ti", "v100", "a100"])
def test_fragments_cost_parallelism(gpu):
    """G3. One convolution, or two or four of as many FLOP in all side by side, at batch 1."""

    def fragments(count: int) -> Graph:
        def layers(b: Builder, x: Tensor) -> Tensor:
            parts = [b.conv(x, 128 // count, 1, name=f"part{i}") for i in range(count)]
            return b.concat(parts) if count > 1 else parts[0]

        return network(layers, 1, 128, 28, 28)

    reports = [alone(fragments(count), gpu) for count in (1, 2, 4)]
    assert len({report.flop for report in reports}) == 1
    seconds = [report.device_s for report in reports]
    assert seconds[1] > 1.2 * seconds[0]
    assert seconds[2] > 1.2 * seconds[1]
    busy = [np.average(report.times.sm_fraction, weights=report.times.duration_s) for report in reports]
    assert busy == sorted(busy, reverse=True)


@pytest.mark.parametrize("gpu", ["gtx-1080-ti", "v100", "a100"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x1_0"])
def test_elementwise_operators_are_not_free(name, gpu):
    """G4. Figure 2 of the paper: a seventh to a quarter of the GPU's time are elementwise operators, which have few of the FLOP."""
    report = simulate(name, gpu, batch=32)
    (elementwise,) = (group for group in report.by_family() if group.name == "stream")
    flop = sum(kernel.flop for kernel in report.kernels.kernels if kernel.family == "stream")
    assert flop / report.flop < 0.05
    assert elementwise.time_fraction > 0.15


@pytest.mark.parametrize("gpu", ["gtx-1080-ti", "v100", "a100", "l4"])
def test_depthwise_convolutions_leave_the_arithmetic_idle(gpu):
    peak = load_gpu(gpu).peak_flop_per_s("fp32")
    depthwise, dense = (flop_per_s(convolution(32, 256, 28, 256, 3, groups=groups), gpu) / peak for groups in (256, 1))
    assert depthwise < 0.25
    assert dense > 3 * depthwise


@pytest.mark.parametrize("kernel", [1, 5, 7])
@pytest.mark.parametrize("gpu", ["gtx-titan-x-maxwell", "p100", "gtx-1080-ti", "v100"])
def test_3x3_is_the_densest_convolution_of_the_winograd_era(gpu, kernel):
    """Ding et al., "RepVGG", section 3.2: about 4 times the FLOP a second of other sizes. 2048 channels, 56 × 56, batch 32, as there."""
    three, other = (flop_per_s(convolution(32, 2048, 56, 2048, r), gpu) for r in (3, kernel))
    assert three / other == pytest.approx(4, rel=RATIO_ERROR)


@pytest.mark.parametrize(("gpu", "dtype", "multiple"), [("v100", "fp16", 8), ("t4", "fp16", 8), ("a100", "fp16", 8), ("t4", "int8", 16), ("a100", "int8", 16)])
def test_channels_want_multiples_on_tensor_cores(gpu, dtype, multiple):
    """NVIDIA, "Tips for optimizing GPU performance using tensor cores": 16 bytes of channels. A channel more than a multiple costs as much as a whole one."""
    channels = 128
    even, odd, next_even = (alone(convolution(32, c, 28, c, 3), gpu, dtype).device_s for c in (channels, channels + 1, channels + 8))
    assert odd >= 0.98 * next_even
    assert odd > 1.05 * even
    aligned, misaligned = (flop_per_s(operator_graph("linear", {"rows": 4096, "out": n, "in": n}), gpu, dtype) for n in (1024, 1024 - multiple // 2))
    assert aligned > 1.05 * misaligned


@pytest.mark.parametrize("gpu", ["gtx-titan-x-maxwell", "p100", "gtx-1080-ti", "v100", "t4", "a100"])
def test_a_pointwise_convolution_is_a_product(gpu):
    """Of 512 channels and many pixels; a library that ran it much slower would call its GEMM instead."""
    pixels = 32 * 28 * 28
    conv, linear = flop_per_s(convolution(32, 512, 28, 512, 1), gpu), flop_per_s(network(lambda b, x: b.linear(x, 512, bias=False), pixels, 512), gpu)
    assert 0.6 < conv / linear < 1.4


# ---- ShuffleNet V2's guidelines as measured: GTX 1080 Ti, cuDNN 7.0, batch 1, 56 × 56

GUIDELINES = rows_of("shufflenetv2_guidelines")
CUDNN_7_0 = 2017.7


def kernels_s(graph: Graph) -> float:
    """Time of all kernels, one after the other, with the libraries of 2017. [s]"""
    gpu = load_gpu("gtx-1080-ti")
    kernels = lower(prepare(graph, gpu=gpu, runtime="eager"), gpu=gpu, runtime="eager")
    return float(CostModel().price(kernels, gpu, library_year=CUDNN_7_0).duration_s.sum())


def stack(block: Callable[[Builder, Tensor], Tensor], channels: int) -> Graph:
    """Ten blocks."""

    def layers(b: Builder, x: Tensor) -> Tensor:
        for i in range(10):
            with b.scope(f"block{i}"):
                x = block(b, x)
        return x

    return network(layers, 1, channels, 56, 56)


def series(count: int, channels: int) -> Callable[[Builder, Tensor], Tensor]:
    """Pointwise convolutions behind each other that together have the MACs of one: c → w → … → c."""
    width = {1: channels, 2: channels // 2, 4: round(channels * (3**0.5 - 1) / 2)}[count]

    def block(b: Builder, x: Tensor) -> Tensor:
        for i in range(count):
            x = b.conv(x, channels if i == count - 1 else width, 1, name=f"conv{i}")
        return x

    return block


def parallel(count: int, channels: int) -> Callable[[Builder, Tensor], Tensor]:
    return lambda b, x: b.concat([b.conv(x, channels // count, 1, name=f"conv{i}") for i in range(count)])


def bottleneck(channels: int, relu: bool, shortcut: bool) -> Callable[[Builder, Tensor], Tensor]:
    """1 × 1 to a quarter of the channels, 3 × 3, 1 × 1 back. ReLUs behind convolutions are fused into them ("tensor fusion on"), the addition is not."""

    def block(b: Builder, x: Tensor) -> Tensor:
        y = b.conv(b.conv(b.conv(x, channels // 4, 1, name="in"), channels // 4, 3), channels, 1, name="out")
        return b.add(x, y) if shortcut else y

    return block


def guideline(row: dict[str, str]) -> Graph:
    c1, kind = int(row["c1"]), row["guideline"]
    if kind == "G1":
        return stack(lambda b, x: b.conv(b.conv(x, int(row["c2"]), 1, name="out"), c1, 1, name="in"), c1)
    if kind == "G2":
        return stack(lambda b, x: b.conv(x, c1, 1, groups=int(row["groups"])), c1)
    if kind == "G3":
        count = int(row["variant"][0])
        return stack(parallel(count, c1) if "parallel" in row["variant"] else series(count, c1), c1)
    return stack(bottleneck(c1, "relu=yes" in row["variant"], "shortcut=yes" in row["variant"]), c1)


@cache
def measured_and_modelled(kind: str) -> dict[str, list[tuple[str, float, float]]]:
    """By size of the network: each variant with its measured and its modelled time. [s]"""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for row in GUIDELINES:
        if row["guideline"] == kind:
            found.setdefault(row["scale"] or row["c1"], []).append((row["variant"], 1 / float(row["gpu_batches_per_s"]), kernels_s(guideline(row))))
    return found


FAST = {"G1": "c1:c2=1:1", "G2": "groups=1", "G3": "1-fragment", "G4": "relu=no,shortcut=no"}
CASES = [
    (kind, scale, variant)
    for kind in FAST
    for scale, variants in itertools.groupby([(r["scale"] or r["c1"], r["variant"]) for r in GUIDELINES if r["guideline"] == kind], key=lambda pair: pair[0])
    for _, variant in variants
    if variant != FAST[kind]
]


@pytest.mark.parametrize(("kind", "scale", "variant"), CASES)
def test_a_guideline_costs_what_was_measured(kind, scale, variant):
    """The time of a variant over that of the one the guideline recommends."""
    found = {name: (measured, modelled) for name, measured, modelled in measured_and_modelled(kind)[scale]}
    measured, modelled = (found[variant][i] / found[FAST[kind]][i] for i in (0, 1))
    assert modelled == pytest.approx(measured, rel=RATIO_ERROR)


@pytest.mark.parametrize("kind", ["G1", "G2", "G3"])
def test_the_order_of_a_guidelines_variants(kind):
    """Of two variants that differ by more than a fifth as measured, the model finds the same one faster."""
    for scale, variants in measured_and_modelled(kind).items():
        for (a, measured_a, modelled_a), (b, measured_b, modelled_b) in itertools.permutations(variants, 2):
            if measured_a > 1.2 * measured_b:
                assert modelled_a > modelled_b, (scale, a, b)


def test_times_of_the_guidelines_networks_are_near_the_measured_ones():
    """Not only their ratios: the kernels of each take most of what its run took, and never much more."""
    for kind in FAST:
        shares = [modelled / measured for variants in measured_and_modelled(kind).values() for _, measured, modelled in variants]
        assert 0.6 < np.median(shares) < 1.1, kind
        assert max(shares) < 1.25, kind


# ---- RepVGG: 3×3 networks outrun others of fewer FLOP. GTX 1080 Ti, PyTorch, cuDNN 7.5, batch 128

REPVGG = {row["model"]: float(row["latency_ms"]) / 1e3 for row in rows_of("repvgg_paper") if not row["model"].startswith("efficientnet")}


def repvgg_name(name: str) -> str:
    if name.startswith("repvgg"):
        return f"{name.replace('-', '_')}_deploy"
    return name.replace("-", "_").replace("3.2gf", "032").replace("12gf", "120")


@cache
def repvgg_s(name: str) -> float:
    return simulate(repvgg_name(name), "gtx-1080-ti", batch=128, runtime="eager+fold_batch_norm").latency_s


@pytest.mark.parametrize("name", [name for name in REPVGG if name != "resnet50"])
def test_winograd_networks_over_resnet50(name):
    assert repvgg_s(name) / repvgg_s("resnet50") == pytest.approx(REPVGG[name] / REPVGG["resnet50"], rel=RATIO_ERROR)


def test_the_order_of_repvggs_table():
    """Of two networks that differ by more than a fifth as measured, the model finds the same one faster."""
    for a, b in itertools.permutations(REPVGG, 2):
        if REPVGG[a] > 1.2 * REPVGG[b]:
            assert repvgg_s(a) > repvgg_s(b), (a, b)


def test_repvgg_b1_has_three_times_the_flop_of_resnet50_and_takes_as_long():
    """11.8 against 3.9 GMAC in 187 against 178 ms."""
    b1, resnet = (simulate(name, "gtx-1080-ti", batch=128, runtime="eager+fold_batch_norm") for name in ("repvgg_b1_deploy", "resnet50"))
    assert b1.flop / resnet.flop > 2.8
    assert b1.latency_s / resnet.latency_s < 1.3
    assert b1.flop / b1.latency_s > b1.gpu.peak_flop_per_s("fp32")  # beyond what direct convolution could reach
