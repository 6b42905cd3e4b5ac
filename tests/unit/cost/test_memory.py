"""Which bytes come from DRAM, and how fast they come."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from simgpu.cost.memory import l2_s, missed_bytes, stream_s
from tests.toy_costs import COLD, toy_machine
from tests.toys import toy_gpu


def table(reads: list[list[float]], distances: list[list[float]], writes: list[float]) -> SimpleNamespace:
    """Operands × kernels."""
    read, write = np.array(reads), np.array(writes)
    return SimpleNamespace(read_bytes=read, read_distance=np.array(distances), write_bytes=write, total_bytes=read.sum(axis=0) + write)


def test_a_first_touch_comes_from_dram_a_near_one_from_l2():
    """L2 of 1000 B: touched never, 10 B ago, 1000 B ago, 10 kB ago."""
    t = table([[600.0] * 4], [[COLD, 10.0, 1000.0, 10_000.0]], [600.0] * 4)
    missed, _ = missed_bytes(t, toy_machine())
    np.testing.assert_allclose(missed, [[600.0, 0.0, 300.0, 600.0]], atol=0.1)


def test_each_operand_has_its_own_distance():
    missed, _ = missed_bytes(table([[100.0], [200.0]], [[COLD], [1.0]], [0.0]), toy_machine())
    np.testing.assert_allclose(missed, [[100.0], [0.0]], atol=0.01)


def test_what_is_written_stays_if_all_of_the_kernel_fits():
    t = table([[50.0, 50_000.0]], [[COLD, COLD]], [50.0, 50_000.0])
    _, written = missed_bytes(t, toy_machine())
    np.testing.assert_allclose(written, [0.0, 50_000.0], atol=0.1)


@pytest.mark.parametrize(("partitions", "share"), [(1.0, 0.5), (2.0, 1.0), (4.0, 2.0)])
def test_each_partition_of_l2_holds_its_own_copy(partitions, share):
    """Of 1000 B in two partitions half counts; more where both need not hold all."""
    t = table([[100.0]], [[500.0]], [0.0])
    missed, _ = missed_bytes(t, toy_machine(toy_gpu(l2={"partitions": partitions}), l2_resident_fraction=share))
    assert missed[0, 0] == pytest.approx(50.0)


def test_designs_come_before_kernels():
    sizes = np.array([[0.0], [1000.0], [1e6]])
    t = table([[500.0, 500.0], [0.0, 7.0]], [[1000.0, COLD], [COLD, COLD]], [100.0, 100.0])
    missed, written = missed_bytes(t, toy_machine(toy_gpu(l2={"size_bytes": sizes})))
    assert missed.shape == (2, 3, 2)
    assert written.shape == (3, 2)
    np.testing.assert_allclose(missed[0], [[500.0, 500.0], [250.0, 500.0], [0.0, 500.0]], atol=0.1)
    np.testing.assert_allclose(missed[1, :, 1], 7.0)
    np.testing.assert_allclose(written[:, 0], [100.0, 0.0, 0.0], atol=1.0)  # footprint 600 B: lost without L2, kept in 1000 B


def test_dram_streams_at_what_it_achieves():
    """10 B/s of which 80 % are reached."""
    assert stream_s(80.0, toy_machine(toy_gpu(dram={"achievable_fraction": 0.8}))) == pytest.approx(10.0)


def test_l2_is_limited_by_its_slices_or_by_the_ports_of_busy_sms():
    """The slices give 40 B/s in all, an SM's port takes 10 B a clock at 1 Hz."""
    m = toy_machine(l2_port_bytes_per_clk=10.0)
    np.testing.assert_allclose(l2_s(200.0, np.array([10.0, 4.0, 2.0, 1.0]), m), [5.0, 5.0, 10.0, 20.0])
