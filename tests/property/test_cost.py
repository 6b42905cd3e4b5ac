"""What holds for the price of any kernel on any GPU."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.model import CostModel
from simgpu.cost.times import PARTS, KernelTimes
from simgpu.kernels.kernel import Access, Conv, FusedAttention, Gemm, Kernel, KernelGraph, Recurrent, Rows, Stream
from simgpu.precision import unit_for

GPUS = ("8800-gtx", "gtx-480", "k40", "gtx-titan-x-maxwell", "p100", "gtx-1080-ti", "v100", "t4", "a100", "rtx-3090", "l4", "h100", "b200", "rtx-5090")
SIZES = {"fp32": 4.0, "tf32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "fp8": 1.0, "fp64": 8.0}
few = settings(max_examples=60, deadline=None)


@cache
def cost_model() -> CostModel:
    return CostModel()


def price(gpu: GPU, *kernels: Kernel, distances: list[tuple[float, ...]] | None = None, **conditions: Any) -> KernelTimes:
    return cost_model().price(KernelGraph(kernels, [()] * len(kernels), distances=distances), gpu, **conditions)


def made(work: Any, reads: list[float], writes: list[float], **fields_: Any) -> Kernel:
    return Kernel(
        name="k",
        work=work,
        reads=tuple(Access(tensor=f"in{i}", bytes=b) for i, b in enumerate(reads)),
        writes=tuple(Access(tensor=f"out{i}", bytes=b) for i, b in enumerate(writes)),
        flop=fields_.pop("flop", getattr(work, "flop", 0.0)),
        **fields_,
    )


@st.composite
def products(draw, gpu: GPU) -> Kernel:
    wanted = draw(st.sampled_from(sorted(SIZES)))
    math = unit_for(wanted, gpu)
    size = SIZES[wanted]
    m, n, k = (draw(st.integers(1, 5000)) for _ in range(3))
    batch = draw(st.sampled_from([1, 1, 3, 200]))
    work = Gemm(batch=batch, m=m, n=n, k=k, a_bytes=size, b_bytes=size, out_bytes=size, layout=draw(st.sampled_from(["tn", "nn", "nt"])))
    return made(work, [batch * m * k * size, batch * n * k * size], [batch * m * n * size], dtype=math.dtype, pipe=math.pipe)


@st.composite
def convolutions(draw, gpu: GPU) -> Kernel:
    wanted = draw(st.sampled_from(["fp32", "fp16", "int8"]))
    size, math = SIZES[wanted], unit_for(wanted, gpu)
    n, h, w = draw(st.integers(1, 64)), draw(st.integers(1, 120)), draw(st.integers(1, 120))
    r, stride, dilation = draw(st.sampled_from([1, 3, 5, 7])), draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2]))
    groups = draw(st.sampled_from([1, 1, 2, 8, 32]))
    per_in, per_out = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    c, k = groups * per_in, groups * per_out
    p, q = -(-h // stride), -(-w // stride)
    direction = draw(st.sampled_from(["fwd", "bwd_data", "bwd_weight"]))
    work = Conv(
        n=n, c=c, h=h, w=w, k=k, r=r, s=r, p=p, q=q, stride_h=stride, stride_w=stride, dilation_h=dilation, dilation_w=dilation, groups=groups,
        direction=direction, x_bytes=size, w_bytes=size, y_bytes=size,
    )  # fmt: skip
    x, y, weight = n * c * h * w * size, n * k * p * q * size, k * per_in * r * r * size
    reads, writes = {"fwd": ([x, weight], [y]), "bwd_data": ([y, weight], [x]), "bwd_weight": ([x, y], [weight])}[direction]
    depthwise = per_in == 1 and groups > 1
    return made(work, reads, writes, dtype="fp32" if depthwise else math.dtype, pipe="vector" if depthwise else math.pipe)


@st.composite
def streams(draw, gpu: GPU) -> Kernel:
    elements, inputs, size = draw(st.integers(1, 50_000_000)), draw(st.integers(1, 4)), draw(st.sampled_from([1.0, 2.0, 4.0]))
    pattern = draw(st.sampled_from(["elementwise", "transpose", "gather", "reduce", "window"]))
    work = Stream(
        elements=elements, instructions=draw(st.integers(0, 30)), sfu=draw(st.integers(0, 3)), pattern=pattern, inputs=inputs, itemsize=size,
        window=draw(st.sampled_from([1.0, 9.0])) if pattern == "window" else 1.0,
    )  # fmt: skip
    return made(work, [elements * size] * inputs, [elements * size], flop=float(elements))


@st.composite
def row_kernels(draw, gpu: GPU) -> Kernel:
    kind = draw(st.sampled_from(["softmax", "layer_norm", "rms_norm", "group_norm", "batch_norm", "reduce", "argmax", "top_k", "cumsum", "sort"]))
    rows, cols, size = draw(st.integers(1, 20_000)), draw(st.integers(1, 20_000)), draw(st.sampled_from([2.0, 4.0]))
    work = Rows(kind=kind, rows=rows, cols=cols, writes_rows=draw(st.booleans()), contiguous=draw(st.booleans()), itemsize=size)
    return made(work, [rows * cols * size], [rows * (cols if work.writes_rows else 1) * size], flop=float(rows * cols))


@st.composite
def attentions(draw, gpu: GPU) -> Kernel:
    math = unit_for("fp16", gpu)
    batch, kv_heads, group, dim = draw(st.integers(1, 16)), draw(st.sampled_from([1, 8, 32])), draw(st.sampled_from([1, 4])), draw(st.sampled_from([64, 128]))
    keys = draw(st.integers(1, 5000))
    queries = draw(st.sampled_from([1, keys]))
    work = FusedAttention(
        batch=batch, heads=kv_heads * group, kv_heads=kv_heads, q_len=queries, kv_len=keys, head_dim=dim, v_head_dim=dim, causal=draw(st.booleans())
    )
    q, kv = 2.0 * batch * kv_heads * group * queries * dim, 2.0 * batch * kv_heads * keys * dim
    return made(work, [q, kv, kv], [q], dtype=math.dtype, pipe=math.pipe)


@st.composite
def recurrences(draw, gpu: GPU) -> Kernel:
    gates, hidden, batch, steps = draw(st.sampled_from([1, 3, 4])), draw(st.integers(16, 2000)), draw(st.integers(1, 128)), draw(st.integers(1, 200))
    work = Recurrent(gates=gates, hidden=hidden, batch=batch, steps=steps, direction=draw(st.sampled_from(["fwd", "bwd_data", "bwd_weight"])))
    return made(work, [4.0 * gates * hidden * hidden], [4.0 * hidden * batch * steps])


ANY = (products, convolutions, streams, row_kernels, attentions, recurrences)


@st.composite
def problems(draw) -> tuple[GPU, Kernel, tuple[float, ...]]:
    """A GPU, a kernel, and how long ago its operands were touched."""
    gpu = load_gpu(draw(st.sampled_from(GPUS)))
    kernel = draw(draw(st.sampled_from(ANY))(gpu))
    distance = draw(st.sampled_from([1.0, 1e5, 1e7, float("inf")]))
    return gpu, kernel, (distance,) * len(kernel.reads)


@given(problems(), st.booleans(), st.sampled_from([2014.0, 2017.0, 2024.0]))
@settings(max_examples=250, deadline=None)
def test_a_price_is_a_time(problem, replay, year):
    gpu, kernel, distance = problem
    times = price(gpu, kernel, distances=[distance], graph_replay=replay, library_year=year)
    for field in fields(KernelTimes):
        if field.name not in ("choice", "choices"):
            (value,) = getattr(times, field.name)
            assert np.isfinite(value), field.name
            assert value >= 0, field.name
    assert 0 < times.own_roofline_s[0] <= times.duration_s[0] * (1 + 1e-12)
    assert all(getattr(times, part)[0] <= times.duration_s[0] * (1 + 1e-12) for part in PARTS)
    assert times.duration_s[0] <= sum(getattr(times, part)[0] for part in PARTS) * (1 + 1e-12)
    assert times.energy_j[0] > 0
    assert times.occupancy_fraction[0] <= 1
    assert times.sm_fraction[0] <= 1
    assert times.clock_hz[0] <= (gpu.clocks.max_hz or gpu.clocks.boost_hz)
    assert times.choice_names()[0] == times.choices[times.choice[0]]


@given(problems())
@few
def test_energy_pays_for_no_more_than_the_power_limit_or_the_lowest_clock_is_reached(problem):
    gpu, kernel, distance = problem
    times = price(gpu, kernel, distances=[distance])
    lowest = min(gpu.clocks.base_hz, gpu.clocks.boost_hz) * cost_model().calibration.factors(gpu).min_clock_fraction
    power_w = times.energy_j[0] / times.duration_s[0]
    assert power_w <= gpu.power.tdp_w * 1.001 or times.clock_hz[0] <= lowest * 1.01


def faster(gpu: GPU, group: str, **factors: float) -> GPU:
    record = getattr(gpu, group)
    return dataclasses.replace(gpu, **{group: dataclasses.replace(record, **{name: getattr(record, name) * f for name, f in factors.items()})})


@given(problems(), st.floats(1.05, 4.0))
@few
def test_more_dram_bandwidth_is_never_slower(problem, factor):
    """Unless the board then draws more than its limit: it is taken away here."""
    gpu, kernel, distance = problem
    gpu = dataclasses.replace(gpu, power=dataclasses.replace(gpu.power, tdp_w=1e9))
    slow, fast = (price(g, kernel, distances=[distance]).duration_s[0] for g in (gpu, faster(gpu, "dram", clock_hz=factor)))
    assert fast <= slow * (1 + 1e-9)


@given(problems(), st.floats(1.05, 4.0))
@few
def test_a_higher_clock_is_never_slower(problem, factor):
    gpu, kernel, distance = problem
    gpu = dataclasses.replace(gpu, power=dataclasses.replace(gpu.power, tdp_w=1e9), clocks=dataclasses.replace(gpu.clocks, max_hz=None))
    slow, fast = (price(g, kernel, distances=[distance]).duration_s[0] for g in (gpu, faster(gpu, "clocks", base_hz=factor, boost_hz=factor)))
    assert fast <= slow * (1 + 1e-9)


@given(problems(), st.floats(1.05, 3.0))
@few
def test_under_its_power_limit_a_higher_clock_is_hardly_slower(problem, factor):
    """The library picks a kernel for the highest clock; one with more to execute may then be slowed down more by the limit."""
    gpu, kernel, distance = problem
    gpu = dataclasses.replace(gpu, clocks=dataclasses.replace(gpu.clocks, max_hz=None))
    boosted = faster(gpu, "clocks", boost_hz=factor)
    if gpu.l2.measured_bandwidth_bytes_per_s is not None:  # at the boost clock
        boosted = faster(boosted, "l2", measured_bandwidth_bytes_per_s=factor)
    slow, fast = (price(g, kernel, distances=[distance]).duration_s[0] for g in (gpu, boosted))
    assert fast <= slow * 1.15


@given(problems(), st.floats(1.05, 4.0))
@few
def test_a_higher_power_limit_is_never_slower(problem, factor):
    gpu, kernel, distance = problem
    slow, fast = (price(g, kernel, distances=[distance]) for g in (gpu, faster(gpu, "power", tdp_w=factor)))
    assert fast.duration_s[0] <= slow.duration_s[0] * (1 + 1e-9)
    assert fast.clock_hz[0] >= slow.clock_hz[0] * (1 - 1e-9)


@given(problems(), st.floats(1.1, 8.0))
@few
def test_a_larger_l2_never_fetches_more(problem, factor):
    gpu, kernel, distance = problem
    assume(gpu.l2.size_bytes > 0)
    small, large = (price(g, kernel, distances=[distance]) for g in (gpu, faster(gpu, "l2", size_bytes=factor)))
    if small.choice_names() == large.choice_names():
        assert large.dram_bytes[0] <= small.dram_bytes[0] * (1 + 1e-9)


@given(problems())
@few
def test_operands_that_were_touched_longer_ago_never_come_faster(problem):
    gpu, kernel, _ = problem
    near, far = (price(gpu, kernel, distances=[(d,) * len(kernel.reads)]) for d in (1.0, float("inf")))
    assert near.duration_s[0] <= far.duration_s[0] * (1 + 1e-9)
    assert near.dram_bytes[0] <= far.dram_bytes[0] * (1 + 1e-9)


@given(st.sampled_from(GPUS), st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 4000), st.integers(2, 5))
@few
def test_more_depth_is_never_faster(name, m, n, k, times_more):
    """The grid of tiles stays; each CTA has more to do. (A deeper product may be split, so by a hair.)"""
    gpu = load_gpu(name)

    def product(depth: int) -> Kernel:
        work = Gemm(m=m, n=n, k=depth, a_bytes=4.0, b_bytes=4.0, out_bytes=4.0)
        return made(work, [4.0 * m * depth, 4.0 * n * depth], [4.0 * m * n])

    # 16-byte rows, so that alignment is alike
    shallow, deep = price(gpu, product(4 * k), product(4 * k * times_more), distances=[(float("inf"), float("inf"))] * 2).duration_s
    assert deep >= shallow * (1 - 0.02)


@given(st.sampled_from(GPUS), st.integers(1, 10_000_000), st.integers(2, 10))
@few
def test_more_elements_are_never_faster(name, elements, times_more):
    def copy(count: int) -> Kernel:
        return made(Stream(elements=count), [4.0 * count], [4.0 * count])

    few_, many = price(load_gpu(name), copy(elements), copy(elements * times_more), distances=[(float("inf"),)] * 2).duration_s
    assert many >= few_ * (1 - 1e-9)


@given(problems(), st.integers(2, 9))
@few
def test_repeats_take_their_multiple(problem, count):
    gpu, kernel, distance = problem
    one, several = price(gpu, kernel, dataclasses.replace(kernel, repeat=count), distances=[distance, distance]).duration_s
    assert several == one * count or abs(several / (one * count) - 1) < 1e-12


@given(st.data(), st.sampled_from(GPUS))
@settings(max_examples=25, deadline=None)
def test_company_does_not_matter(data, name):
    """Kernels priced together cost what each costs alone."""
    gpu = load_gpu(name)
    kernels = [data.draw(family(gpu)) for family in data.draw(st.lists(st.sampled_from(ANY), min_size=2, max_size=6))]
    distances = [(1e6,) * len(k.reads) for k in kernels]
    together = price(gpu, *kernels, distances=distances)
    for i, (kernel, distance) in enumerate(zip(kernels, distances, strict=True)):
        alone = price(gpu, kernel, distances=[distance])
        np.testing.assert_allclose(alone.duration_s[0], together.duration_s[i], rtol=1e-12)
        assert alone.choice_names()[0] == together.choice_names()[i]
