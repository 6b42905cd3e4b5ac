"""Pricing of kernel graphs: each kernel by its own formula, equal ones once, many GPUs at once."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.model import CostModel, groups_of, one_run
from simgpu.cost.times import KernelTimes
from simgpu.frontends.zoo import load_zoo
from simgpu.kernels.kernel import Collective, FusedAttention, KernelGraph, Recurrent, Rows, Stream, Transfer
from simgpu.kernels.lower import lower
from simgpu.passes.pipeline import prepare
from tests.toy_costs import VOLTA, compute_gpu, conv, gemm, kernel, memory_gpu, price
from tests.toys import toy_gpu

ARRAYS = tuple(f.name for f in fields(KernelTimes) if f.name not in ("choice", "choices"))
PER_LAUNCH = (
    "duration_s",
    "math_s",
    "chain_s",
    "l2_s",
    "dram_s",
    "latency_s",
    "roofline_s",
    "own_roofline_s",
    "executed_flop",
    "dram_bytes",
    "l2_bytes",
    "energy_j",
)


def one_of_each(dtype: str = "fp16", pipe: str = "tensor") -> KernelGraph:
    """Kernels of all families, some twice, in a mixed order."""
    a, b = 2.0 * 4 * 8 * 512 * 64, 2.0 * 64 * 64
    works: list[Any] = [
        (Stream(elements=1e6, inputs=2, itemsize=2.0), (2e6, 2e6), (2e6,), {}),
        (Rows(kind="softmax", rows=512, cols=2048, itemsize=2.0), (2e6,), (2e6,), {}),
        (FusedAttention(batch=4, heads=8, kv_heads=8, q_len=512, kv_len=512, head_dim=64, v_head_dim=64, causal=True), (a, a, a), (a,), {"pipe": pipe}),
        (FusedAttention(batch=4, heads=8, kv_heads=8, q_len=1, kv_len=512, head_dim=64, v_head_dim=64), (4096.0, a, a), (4096.0,), {"pipe": pipe}),
        (Recurrent(gates=4, hidden=512, batch=16, steps=20, itemsize=2.0), (2.0 * 4 * 512 * 512,), (b,), {"pipe": pipe}),
        (Collective(op="all_reduce", size_bytes=1e7, num_gpus=8), (), (), {}),
        (Transfer(direction="h2d", size_bytes=1e6), (), (1e6,), {}),
        (Stream(elements=1e6, inputs=2, itemsize=2.0), (2e6, 2e6), (2e6,), {}),
    ]
    made = [kernel(w, reads=r, writes=out, name=f"k{i}", dtype=dtype if "pipe" in more else "fp32", **more) for i, (w, r, out, more) in enumerate(works)]
    made += [
        gemm(1000, 500, 300, size=2.0, dtype=dtype, pipe=pipe, name="g1"),
        conv(n=4, c=64, h=28, k=64, name="c1"),
        gemm(128, 128, 4096, name="g2"),
        conv(n=4, c=64, h=28, k=64, groups=64, name="c2"),
        conv(n=4, c=64, h=28, k=128, size=2.0, dtype=dtype, pipe=pipe, name="c3"),
        conv(n=4, c=64, h=28, k=64, direction="bwd_weight", name="c4"),
        conv(n=4, c=64, h=28, k=64, stride=2, direction="bwd_data", name="c5"),
        gemm(64, 64, 64, batch=96, name="g3", layout="nn"),
        gemm(1000, 500, 300, size=2.0, dtype=dtype, pipe=pipe, name="g4"),
        gemm(64, 4096, 4096, size=2.0, b_size=0.5, dtype=dtype, pipe=pipe, name="g5"),
        gemm(96, 1024, 1024, size=2.0, dtype=dtype, pipe=pipe, tokens=(64, 30, 2, 0), name="g6"),
    ]
    return KernelGraph(made, [()] * len(made))


# ---- what is added up


def test_repeats_multiply_what_a_launch_costs():
    once, thrice = (price(gemm(128, 128, 8, repeat=n), factors={"gemm_fixed_s": 5.0}) for n in (1, 3))
    for name in PER_LAUNCH:
        assert getattr(thrice, name)[0] == pytest.approx(3 * getattr(once, name)[0]), name
    for name in set(ARRAYS) - set(PER_LAUNCH):
        assert getattr(thrice, name)[0] == getattr(once, name)[0], name


def test_a_gap_comes_before_every_kernel():
    """1 s in a stream, 0.5 s in a replayed graph."""
    stream, graph = (price(gemm(128, 128, 8), graph_replay=replay) for replay in (False, True))
    assert (stream.latency_s[0], graph.latency_s[0]) == (1.0, 0.5)
    assert stream.duration_s[0] - graph.duration_s[0] == pytest.approx(0.5)


def test_parts_overlap_and_latency_does_not():
    """p = 2: 32 s of instructions on 10 SMs of 32 lanes and 24 s of DRAM take 40 s, and the gap is 1 s."""
    work = kernel(Stream(elements=10_240.0, itemsize=0.0), reads=[240.0])
    times = price(work, gpu=toy_gpu(dram={"latency_s": 0.0}, sm={"max_threads": 2048.0}), factors={"overlap_exponent": 2.0, "l2_bandwidth_fraction": 1e6})
    assert (times.math_s[0], times.dram_s[0]) == pytest.approx((32.0, 24.0))
    assert times.duration_s[0] == pytest.approx(40.0 + 1.0, rel=1e-6)


def test_the_datasheet_roofline_and_the_kernels_own():
    """128 · 128 · 1 FMA are executed 8 deep. Peak 100 FLOP/s, 10 B/s; A and B lie in L2, C goes out for the most part."""
    small = gemm(128, 128, 1)
    times = price(small, gpu=toy_gpu(), distances=[(1.0, 1.0)])
    assert times.roofline_s[0] == pytest.approx(max(2 * 128 * 128 / 100, (2 * 128 * 4 + 128 * 128 * 4) / 10))
    assert times.own_roofline_s[0] == pytest.approx(128 * 128 * 4 / 10, rel=1e-3)
    assert times.own_roofline_s[0] <= times.duration_s[0]


def test_an_algorithm_with_fewer_multiplies_has_a_lower_roofline_of_its_own():
    """Winograd F(4×4, 3×3): a quarter of the multiplies, so it may be faster than the datasheet roofline, though not than its own."""
    problem = conv(n=16, c=128, h=32, w=16, k=128)
    times = price(problem, gpu=compute_gpu(VOLTA))
    assert times.roofline_s[0] == pytest.approx(problem.flop / 100)
    assert times.own_roofline_s[0] == pytest.approx(problem.flop / 4 / 100)
    assert times.own_roofline_s[0] <= times.duration_s[0] < times.roofline_s[0]


def test_waves_occupancy_and_busy_sms():
    """15 blocks of 128 threads on 10 SMs that hold 16 blocks of 2048 threads: 2 on the busiest; 15 of 20 places taken."""
    times = price(kernel(Stream(elements=512.0 * 15)), gpu=compute_gpu())
    assert times.ctas[0] == 15
    assert times.waves[0] == pytest.approx(15 / (10 * 16))
    assert times.occupancy_fraction[0] == pytest.approx(2 * 128 / 2048)
    assert times.sm_fraction[0] == pytest.approx(15 / 20)


def test_sms_do_not_work_while_a_kernel_waits_to_start():
    """Half of its time is the gap."""
    seconds = float(price(gemm(1280, 128, 8), gpu=compute_gpu()).duration_s[0])
    times = price(gemm(1280, 128, 8), gpu=compute_gpu(launch={"stream_gap_s": seconds}))
    assert times.sm_fraction[0] == pytest.approx(0.5, rel=1e-2)


# ---- groups


def test_equal_problems_are_priced_once():
    graph = KernelGraph([gemm(64, 64, 64, name=f"g{i % 2}.{i}", repeat=1 + i % 2) for i in range(6)], [()] * 6)
    (group,) = groups_of(graph)
    assert len(group.table.m) == 2
    assert group.problem.tolist() == [0, 0, 0, 1, 1, 1]
    assert group.kernels.tolist() == [0, 2, 4, 1, 3, 5]


def test_the_same_problem_with_operands_elsewhere_is_another():
    """One finds its operands in L2, one does not."""
    near, far = price(gemm(64, 64, 64), gemm(64, 64, 64), gpu=memory_gpu(l2={"size_bytes": 1e6}), distances=[(1.0, 1.0), (1e9, 1e9)]).dram_bytes
    assert near < far


def test_a_kernels_price_does_not_depend_on_its_company():
    graph, gpu, model = one_of_each(), load_gpu("a100"), CostModel()
    together = model.price(graph, gpu)
    names = together.choice_names()
    for i, one in enumerate(graph.kernels):
        alone = model.price(KernelGraph([one], [()], distances=[graph.distances[i]]), gpu)
        for name in ARRAYS:
            assert getattr(alone, name)[0] == pytest.approx(getattr(together, name)[i], rel=1e-12), (one.name, name)
        assert alone.choice_names() == [names[i]]


@pytest.mark.parametrize("name", ["t4", "l4", "v100", "h100"])
def test_runs_priced_together_are_runs_priced_alone(name):
    """Three runs share problems, in other numbers each; on the boards of 70 W the limit binds."""
    each, gpu, model = one_of_each(), load_gpu(name), CostModel()
    picked = [list(range(len(each))), [*range(len(each)), 0, 0, 1], list(range(0, len(each), 2))]
    places = [i for one in picked for i in one]
    graph = KernelGraph([each.kernels[i] for i in places], [()] * len(places), distances=[each.distances[i] for i in places])
    together = model.price(graph, gpu, runs=np.repeat(np.arange(3), [len(one) for one in picked]))
    start = 0
    for one in picked:
        own = KernelGraph([each.kernels[i] for i in one], [()] * len(one), distances=[each.distances[i] for i in one])
        alone = model.price(own, gpu, runs=one_run(own))
        for array in ARRAYS:
            np.testing.assert_allclose(getattr(together, array)[start : start + len(one)], getattr(alone, array), rtol=1e-12, err_msg=array)
        start += len(one)


@pytest.mark.parametrize("name", ["t4", "l4"])
def test_designs_of_boards_that_throttle_may_differ_in_the_base_clock_alone(name):
    base = np.array([0.7, 1.0])
    assert_designs_are_single_runs(one_of_each(), load_gpu(name), {"clocks.base_hz": base})
    assert_designs_are_single_runs(one_of_each(), load_gpu(name), {"clocks.base_hz": base, "power.tdp_w": np.array([1.0, 0.8])})


def test_nothing_to_run():
    assert len(CostModel().price(KernelGraph([], []), load_gpu("t4"), runs=np.zeros(0, dtype=np.int64)).duration_s) == 0


def test_pricing_twice_gives_the_same_bytes():
    one, two = (CostModel().price(one_of_each(), load_gpu("a100")) for _ in range(2))
    for name in (*ARRAYS, "choice"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert one.choices == two.choices


# ---- several designs


def scaled(gpu: GPU, factors: dict[str, Any]) -> GPU:
    """The GPU with fields multiplied: numbers for one design, arrays (designs, 1) for several."""
    for path, factor in factors.items():
        group, name = path.split(".")
        record = getattr(gpu, group)
        gpu = dataclasses.replace(gpu, **{group: dataclasses.replace(record, **{name: getattr(record, name) * factor})})
    return gpu


FIELDS = (
    "sm.count", "sm.fp32_lanes", "sm.registers", "sm.max_threads", "sm.max_blocks", "sm.sfu_lanes", "sm.schedulers", "chip.process_nm", "clocks.base_hz",
    "clocks.boost_hz", "shared.bandwidth_bytes_per_clk", "l2.size_bytes", "dram.clock_hz", "dram.latency_s", "dram.achievable_fraction", "power.tdp_w",
    "nvlink.bandwidth_bytes_per_s", "pcie.bandwidth_bytes_per_s",
)  # fmt: skip


def assert_designs_are_single_runs(graph: KernelGraph, gpu: GPU, factors: dict[str, Any]) -> None:
    """`factors` (designs,) by field; the number of SMs is always an array, its shape is that of the designs."""
    model = CostModel()
    factors = {"sm.count": np.ones(len(next(iter(factors.values())))), **factors}
    for runs in (None, one_run(graph), np.arange(len(graph)) % 3):
        together = model.price(graph, scaled(gpu, {path: f[:, np.newaxis] for path, f in factors.items()}), runs=runs)
        for design in range(len(next(iter(factors.values())))):
            alone = model.price(graph, scaled(gpu, {path: float(f[design]) for path, f in factors.items()}), runs=runs)
            for name in ARRAYS:
                np.testing.assert_allclose(getattr(together, name)[design], getattr(alone, name), rtol=1e-12, err_msg=name)
            assert [together.choices[i] for i in together.choice[design]] == alone.choice_names()


@pytest.mark.parametrize("name", ["v100-sxm2-16gb", "a100", "h100"])
def test_designs_priced_together_are_single_runs(name):
    """All fields that formulas read, varied at once."""
    random = np.random.default_rng(1)
    factors = {path: random.uniform(0.5, 1.0 if path == "dram.achievable_fraction" else 2.0, 5) for path in FIELDS}
    for path in ("sm.count", "sm.max_blocks", "sm.max_threads"):
        factors[path] = np.array([0.5, 0.75, 1.0, 1.5, 2.0])
    assert_designs_are_single_runs(one_of_each(), load_gpu(name), factors)


@pytest.mark.parametrize("path", FIELDS)
def test_fields_may_be_arrays_while_others_are_numbers(path):
    assert_designs_are_single_runs(one_of_each(), load_gpu("a100"), {path: np.array([0.5, 1.0, 1.0])})


@pytest.mark.parametrize("network", ["resnet18", "gpt2", "mobilenet_v2"])
def test_whole_networks_for_several_designs(network):
    gpu = load_gpu("v100-sxm2-16gb")
    graph = lower(prepare(load_zoo(network), gpu=gpu, precision="fp16", runtime="eager"), gpu=gpu, precision="fp16", runtime="eager")
    counts, clocks = np.array([0.25, 1.0, 2.0]), np.array([1.0, 0.5, 1.25])
    assert_designs_are_single_runs(graph, gpu, {"sm.count": counts, "clocks.boost_hz": clocks, "dram.clock_hz": counts})


# ---- the record


def test_the_bound_is_the_longest_part():
    """A product of one tile is bound by the SMs, a copy by DRAM, and nearly nothing by the gap before it."""
    work = [gemm(1280, 1280, 512), kernel(Stream(elements=1e4, itemsize=4.0), reads=[4e4], writes=[4e4]), kernel(Stream(elements=1.0, itemsize=0.0))]
    times = price(*work, gpu=toy_gpu(sm={"schedulers": 100.0}, dram={"latency_s": 0.0}))
    assert times.bound_names() == ["compute", "DRAM", "latency"]


def test_kernels_can_be_taken_out():
    times = price(gemm(128, 128, 8), gemm(256, 128, 8, name="b"), gemm(512, 128, 8, name="c"))
    some = times.take(slice(1, None))
    assert some.duration_s.tolist() == times.duration_s.tolist()[1:]
    assert some.choice_names() == times.choice_names()[1:]
    (last,) = times.take(np.array([2])).duration_s
    assert last == times.duration_s[2]
