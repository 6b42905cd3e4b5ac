"""What launches cost the host."""

from __future__ import annotations

import pytest

from simgpu.errors import OptionError
from simgpu.sim.host import HostCost, default_host, host_cost
from tests.toys import toy_gpu


def test_hosts_by_name():
    # 174 operators of ResNet-50 in 42 µs each and 3.4 ms a step: 10.7 ms, where a DGX-1 took 10.4 ms at batch 1.
    host = host_cost("pytorch-1")
    assert host.step_s + 174 * host.launch_s == pytest.approx(10.4e-3, rel=0.05)


def test_an_unknown_host_gets_a_suggestion():
    with pytest.raises(OptionError, match=r"unknown host 'pytorch2', expected one of .*; did you mean 'pytorch-2'\?"):
        host_cost("pytorch2")


def test_negative_costs_are_refused():
    with pytest.raises(OptionError, match=r"host 'x': launch -1 s .* expected times of 0 s or more"):
        HostCost(name="x", launch_s=-1.0)


def test_the_calibration_gives_every_generation_a_host():
    for capability in ((1, 0), (2, 0), (3, 5), (5, 2), (6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0)):
        host = default_host(toy_gpu(compute_capability=capability))
        assert 1e-6 < host.launch_s < 1e-4, capability
        assert host.source
