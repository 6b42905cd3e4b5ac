"""What must hold on one stream for any design of a GPU: more of a resource never hurts, half the bandwidth is twice the time."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import simgpu
from simgpu.cost.model import CostModel, one_run
from simgpu.cost.times import PARTS, KernelTimes
from simgpu.studies.axes import axis
from simgpu.studies.designs import latin_hypercube
from simgpu.studies.workload import Workload, with_designs, workload

DESIGNS = 60
NO_LIMIT_W = 1e5
CASES = {
    "resnet50 fp16 on A100": ("resnet50", "a100", {"dtype": "fp16", "runtime": "tensorrt", "batch": 8}),
    "mobilenet_v2 fp32 on GTX 1080 Ti": ("mobilenet_v2", "gtx-1080-ti", {"batch": 8}),
    "bert-base fp16 on V100": ("bert-base", "v100", {"dtype": "fp16", "batch": 4, "seq_len": 64}),
    "resnet18 int8 on T4": ("resnet18", "t4", {"dtype": "int8", "runtime": "tensorrt", "batch": 16}),
    "vgg11 fp32 on K40": ("vgg11", "k40", {"batch": 4}),
}


@cache
def case(name: str) -> tuple[simgpu.GPU, Workload]:
    model, gpu, options = CASES[name]
    machine = simgpu.load_gpu(gpu)
    return machine, workload(model, machine, **options)


def random_designs(gpu: simgpu.GPU, seed: int, *, limited: bool) -> dict[str, np.ndarray]:
    """Designs far from the GPU without a power limit, or not so far from it with the GPU's own."""
    wide = {"sm.count": "4..200", "dram.bandwidth": "0.03..10 TB/s log", "clocks.boost": "0.6..3 GHz", "l2.size": "0.25..128 MiB log"}
    if not limited:
        fields = latin_hypercube([axis(field, text) for field, text in wide.items()], DESIGNS, seed=seed).columns
        return {**fields, "power.tdp": np.full(DESIGNS, NO_LIMIT_W)}
    dice = np.random.default_rng(seed)
    return {
        "sm.count": np.round(gpu.sm.count * dice.uniform(0.5, 1.5, DESIGNS)),
        "dram.bandwidth": gpu.dram.bandwidth_bytes_per_s * dice.uniform(0.5, 2.0, DESIGNS),
        "clocks.boost": gpu.clocks.boost_hz * dice.uniform(0.7, 1.3, DESIGNS),
    }


def priced(gpu: simgpu.GPU, work: Workload, fields: dict[str, np.ndarray]) -> KernelTimes:
    return CostModel().price(work.kernels, with_designs(gpu, fields), runs=one_run(work.kernels), graph_replay=work.runtime.graph_replay)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("field", ["sm.count", "dram.bandwidth", "clocks.boost"])
def test_more_never_makes_a_kernel_slower(name: str, field: str):
    # A tile that divides the SMs worse may be the fastest still: nothing is lost, so no wave effect has to be allowed for.
    gpu, work = case(name)
    fields = random_designs(gpu, 11, limited=False)
    before = priced(gpu, work, fields)
    for factor in (1.1, 2.0):
        after = priced(gpu, work, {**fields, field: np.ceil(factor * fields[field])})
        assert (after.duration_s / before.duration_s).max() < 1.001


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("field", ["sm.count", "dram.bandwidth", "clocks.boost"])
def test_under_a_power_limit_more_never_makes_a_run_much_slower(name: str, field: str):
    # Libraries choose tiles for speed, not for power: with more SMs or clock a choice may draw more, and the clock falls.
    gpu, work = case(name)
    fields = random_designs(gpu, 12, limited=True)
    before = priced(gpu, work, fields).duration_s.sum(axis=-1)
    for factor in (1.1, 2.0):
        after = priced(gpu, work, {**fields, field: np.ceil(factor * fields[field])}).duration_s.sum(axis=-1)
        assert (after / before).max() < 1.04


@pytest.mark.parametrize("name", CASES)
def test_half_the_bandwidth_doubles_what_dram_binds(name: str):
    gpu, work = case(name)
    fields = random_designs(gpu, 13, limited=False)
    fields["dram.bandwidth"] = fields["dram.bandwidth"] / 50  # so slow that DRAM binds many kernels
    before = priced(gpu, work, fields)
    after = priced(gpu, work, {**fields, "dram.bandwidth": fields["dram.bandwidth"] / 2})
    others = sum(getattr(before, part) for part in PARTS if part != "dram_s")
    bound = before.dram_s > 20 * others
    assert bound.sum() > 100
    ratio = (after.duration_s / before.duration_s)[bound]
    assert ratio.min() > 1.95
    assert ratio.max() < 2.001


def test_sweeps_are_in_no_order_of_their_own():
    """A design says the same whatever else is in the sweep."""
    gpu, work = case("resnet50 fp16 on A100")
    fields = random_designs(gpu, 14, limited=False)
    whole = priced(gpu, work, fields)
    order = np.random.default_rng(1).permutation(DESIGNS)[:7]
    some = priced(gpu, work, {name: values[order] for name, values in fields.items()})
    assert some.duration_s == pytest.approx(whole.duration_s[order], rel=1e-12)
    assert [some.choices[i] for i in some.choice[0]] == [whole.choices[i] for i in whole.choice[order[0]]]
