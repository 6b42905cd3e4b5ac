"""Collectives on toy links of 100 B/s: bytes and hops of a ring, protocols, shared links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import GPU, Link
from simgpu.cost.communication import ring_terms
from simgpu.cost.model import CostModel
from simgpu.kernels.kernel import Collective, KernelGraph
from tests.toy_costs import compute_gpu, kernel, price

NEVER = 1e12  # a start so late that the protocol is not chosen
ONLY_SIMPLE = {f"{link}_ll_hop_s": NEVER for link in ("nvlink", "pcie")} | {"nvlink_ll128_extra_s": NEVER}


def collective(op: str = "all_reduce", size: float = 1000.0, gpus: int = 4, link: str = "nvlink") -> Any:
    return kernel(Collective(op=op, size_bytes=size, num_gpus=gpus, link=link), pipe="none")


def linked_gpu() -> GPU:
    """NVLink of 100 B/s and PCIe of 10 B/s."""
    return replace(compute_gpu(pcie={"bandwidth_bytes_per_s": 10.0}), nvlink=Link(bandwidth_bytes_per_s=100.0))


def seconds(*args: Any, factors: dict[str, Any] | None = None, **fields: Any) -> float:
    return float(price(collective(*args, **fields), gpu=linked_gpu(), factors=factors).duration_s[0])


@pytest.mark.parametrize(
    ("op", "gpus", "share", "hops"),
    [
        ("all_reduce", 2, 2 * 1 / 2, 2),  # each half goes round twice: summed, then handed out
        ("all_reduce", 8, 2 * 7 / 8, 14),
        ("all_gather", 4, 3 / 4, 3),
        ("reduce_scatter", 4, 3 / 4, 3),
        ("all_to_all", 4, 3 / 4, 1),
        ("broadcast", 4, 1, 3),
        ("send", 4, 1, 1),
        ("all_reduce", 1, 0, 0),
    ],
)
def test_bytes_over_a_link_and_hops(op, gpus, share, hops):
    found = ring_terms(np.array([op]), np.array([float(gpus)]))
    assert [float(x[0]) for x in found] == [share, hops]


def test_bytes_take_their_way_over_the_link():
    assert seconds("all_gather", 1000, 4) == pytest.approx(1000 * 3 / 4 / 100)
    assert seconds("all_gather", 1000, 4, "pcie") == pytest.approx(1000 * 3 / 4 / 10)
    assert seconds("all_reduce", 1000, 8, factors={"collective_all_reduce_gain": 1.25}) == pytest.approx(1000 * 2 * 7 / 8 / 125)


def test_a_gpu_without_nvlink_uses_pcie():
    assert price(collective("send", 1000), gpu=compute_gpu(pcie={"bandwidth_bytes_per_s": 10.0})).duration_s[0] == pytest.approx(100)


def test_rings_of_more_gpus_share_the_box():
    """Fractions for 2, 4 and 8 GPUs; between them by the doublings: 6 GPUs are 0.58 of the way from 4 to 8."""
    factors = {"pcie_ring_fraction_2": 0.8, "pcie_ring_fraction_4": 0.4, "pcie_ring_fraction_8": 0.1}
    for gpus, fraction in ((2, 0.8), (4, 0.4), (8, 0.1), (16, 0.1), (6, 0.4 - 0.3 * np.log2(1.5))):
        assert seconds("send", 1000, gpus, "pcie", factors=factors) == pytest.approx(1000 / (10 * fraction)), gpus


def test_every_hop_waits():
    factors = {**ONLY_SIMPLE, "collective_fixed_s": 5.0, "collective_per_gpu_s": 0.5, "nvlink_simple_extra_s": 7.0, "nvlink_simple_hop_s": 2.0}
    assert seconds("all_reduce", 0, 4, factors=factors) == pytest.approx(5 + 4 * 0.5 + 7 + 2 * 3 * 2)
    assert seconds("all_to_all", 0, 4, factors=factors) == pytest.approx(5 + 4 * 0.5 + 7 + 2)


def test_the_fastest_protocol_counts():
    """LL starts at once on half the bandwidth, LL128 later on 0.9, Simple last on all of it: 3/4 of the bytes at 100 B/s."""
    factors = {"nvlink_ll_efficiency": 0.5, "nvlink_ll128_extra_s": 3.0, "nvlink_ll128_efficiency": 0.9, "nvlink_simple_extra_s": 10.0}
    sizes = (200.0, 1000.0, 20_000.0)
    times = price(*(collective("all_gather", size) for size in sizes), gpu=linked_gpu(), factors=factors)
    assert times.choice_names() == ["ring LL", "ring LL128", "ring Simple"]
    assert times.duration_s.tolist() == pytest.approx([150 / 50, 3 + 750 / 90, 10 + 15_000 / 100])


def test_lines_with_flags_need_nvlink():
    """On PCIe, LL128 is not to be had, however good."""
    factors = {"pcie_ll_efficiency": 0.1, "pcie_simple_extra_s": 1e6}
    times = price(collective(link="pcie"), gpu=compute_gpu(), factors=factors)
    assert times.choice_names() == ["ring LL"]


@pytest.mark.parametrize("name", ["a100-sxm4-80gb", "h100-sxm5-80gb", "l40s", "m40"])
def test_more_bytes_never_take_less_time(name):
    works = [
        collective(op, size, gpus, link) for link in ("nvlink", "pcie") for op in ("all_reduce", "all_to_all") for gpus in (2, 5, 8) for size in (8, 1e5, 1e8)
    ]
    times = CostModel().price(KernelGraph(works, [()] * len(works), distances=[()] * len(works)), load_gpu(name)).duration_s.reshape(-1, 3)
    assert np.all(np.isfinite(times))
    assert np.all(np.diff(times, axis=1) > 0)
