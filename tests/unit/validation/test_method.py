from __future__ import annotations

import numpy as np
import pytest

from simgpu.validation.method import METHODS, hosts, known_floor_s, read_floor_s, typical_floor_s


def test_floors_are_facts_of_a_host() -> None:
    assert known_floor_s("neusight", "t4", "softmax") == pytest.approx(33.4e-6)
    assert known_floor_s("neusight", "h100-sxm5-80gb", "softmax") is None  # a host nobody has described
    assert known_floor_s("deepbench", "any GPU", "gemm") == pytest.approx(5e-6)
    assert known_floor_s("aiconfigurator-core 0.12", "l40s", "gemm") == 0.0
    assert known_floor_s("my own", "t4", "gemm") is None


def test_every_source_says_where_its_floors_come_from() -> None:
    assert set(hosts()["floor_us"]) == set(hosts()["origin"])


def test_typical_floor_is_the_median_of_the_known_hosts() -> None:
    own = sorted(f["softmax"] for f in hosts()["floor_us"]["neusight"].values() if "softmax" in f)
    assert len(own) == 6
    assert typical_floor_s("neusight", "softmax") == pytest.approx((own[2] + own[3]) / 2 * 1e-6)


def test_floor_is_read_off_short_rows() -> None:
    method = METHODS["event_timed_call"]
    kernels = np.array([1, 1, 1, 1, 1, 500.0])
    # elementwise: short kernels hide under the floor, whose median is 30
    assert read_floor_s(method, "elementwise", np.array([28, 29, 30, 31, 90, 520.0]), kernels) == 30.0
    # linear: floor and kernel add up
    assert read_floor_s(method, "linear", np.array([28, 29, 30, 31, 90, 520.0]), kernels) == 29.0
    assert read_floor_s(method, "linear", np.array([28, 29.0]), np.array([1, 1.0])) is None
    assert read_floor_s(METHODS["back_to_back"], "gemm", np.array([28, 29.0]), np.array([1, 1.0])) == 0.0
