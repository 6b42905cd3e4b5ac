"""A run of three kernels whose every figure is worked out by hand (`three_kernels`)."""

from __future__ import annotations

import pytest

from tests.runs import EAGER, GRAPH, host, kernels, report, three_kernels, times


def test_time():
    r = three_kernels()
    assert r.latency_s == 8  # 1 s until the first launch is done, then 4 + 2 + 1
    assert r.throughput_per_s == 4 / 8
    assert r.host_s == 3
    assert r.device_s == r.kernel_s == r.critical_path_s == 4 + 2 + 1
    assert r.roofline_s == 2 + 1
    assert r.setting == "batch 4 · fp16 · eager"


def test_what_limits_it():
    r = three_kernels()
    assert r.bound == "compute"
    assert r.bound_fractions == {"compute": 4 / 8, "DRAM": 2 / 8, "latency": 1 / 8, "host launch": 1 / 8}
    assert next(iter(r.bound_fractions)) == "compute"


def test_a_run_is_host_bound_when_launching_takes_longer_than_running():
    r = report(kernels((), ()), times(1, 1, math_s=[1, 1]), EAGER, host(5.0))
    # Launched at 5 and 10: runs 5-6 and 10-11.
    assert r.bound == "host launch"
    assert r.bound_fractions == {"host launch": 9 / 11, "compute": 2 / 11}


def test_overlapping_kernels_share_the_time():
    # Two kernels of 2 s side by side; one waits for DRAM, one for math: half of the 2 s each.
    r = report(kernels((), ()), times(2, 2, waves=[0.5, 0.5], math_s=[2, 0], dram_s=[0, 2]), num_streams=2)
    assert r.latency_s == 2
    assert r.bound_fractions == {"compute": 0.5, "DRAM": 0.5}
    assert r.setting == "batch 4 · fp16 · eager · 2 streams"


def test_utilisation():
    u = three_kernels().utilization
    assert u.gpu_util_fraction == 7 / 8
    assert u.sm_active_fraction == pytest.approx((4 * 0.5 + 2 * 1 + 1 * 0.2) / 8)
    assert u.sm_occupancy_fraction == pytest.approx((4 * 0.5 * 0.5 + 2 * 1 * 1 + 1 * 0.2 * 0.5) / 8)
    assert u.achieved_occupancy_fraction == pytest.approx(3.1 / 4.2)
    assert u.tensor_active_fraction == pytest.approx(1600 / 800 / 8)  # executed work, at 800 FLOP/s
    assert u.fp32_active_fraction == pytest.approx(10 / 100 / 8)
    assert u.dram_active_fraction == pytest.approx(30 / 10 / 8)
    assert u.mfu_fraction == pytest.approx(810 / 8 / 800)  # the model's own work


def test_kernels_side_by_side_take_at_most_the_whole_chip():
    # 0-2 s: 0.5 + 0.75 of the SMs, so all of them; 2-4 s: 0.75.
    r = report(kernels((), ()), times(2, 4, waves=[0.4, 0.4], sm_fraction=[0.5, 0.75]), num_streams=2)
    assert r.utilization.sm_active_fraction == (2 * 1 + 2 * 0.75) / 4
    assert r.counters()["sm_active_fraction"][1].tolist() == [1, 0.75, 0]


def test_a_slower_clock_keeps_a_pipe_busy_for_longer():
    graph = kernels((), flop=(100.0,))
    at = {clock: report(graph, times(4, executed_flop=[100], clock_hz=[clock])).utilization.fp32_active_fraction for clock in (1.0, 0.5)}
    assert at == {1.0: 100 / 100 / 4, 0.5: 100 / 50 / 4}


def test_work_and_energy():
    r = three_kernels()
    assert (r.flop, r.executed_flop, r.dram_bytes, r.l2_bytes) == (810, 1610, 30, 50)
    assert r.intensity_flop_per_byte == 810 / 30
    assert r.energy_j == 5 + 3 + 10 * 8
    assert r.power_w == 88 / 8
    assert report(kernels((), ()), times(3, 1, clock_hz=[1, 5])).clock_hz == (3 * 1 + 1 * 5) / 4


def test_critical_path_goes_through_the_longer_branch():
    r = report(kernels((), (0,), (0,), (1, 2)), times(1, 3, 2, 1))
    assert r.critical_path_s == 1 + 3 + 1
    assert r.latency_s == 1 + 3 + 2 + 1


def test_records():
    conv, relu, copy = three_kernels().records
    assert (conv.name, conv.scope, conv.label, conv.bound, conv.start_s, conv.span_s) == ("a", "stem.conv", "conv 3×3", "compute", 1, 4)
    assert (conv.flop_per_s, conv.dram_bytes_per_s, conv.roofline_fraction) == (800 / 4, 20 / 4, 2 / 4)
    assert (relu.bound, copy.bound) == ("DRAM", "latency")
    assert [k.index for k in three_kernels().top_kernels(2)] == [0, 1]


def test_groups():
    graph = kernels((), (), (), label=("relu", "conv", "relu"), flop=(1.0, 90.0, 2.0), scope=("a.x", "b", "a.y"))
    r = report(graph, times(1, 5, 2, math_s=[0, 5, 0], dram_s=[1, 0, 2], dram_bytes=[10, 0, 20], roofline_s=[1, 4, 1]))
    conv, relu = r.by_label()
    assert (conv.name, conv.count, conv.time_s, conv.time_fraction, conv.bound) == ("conv", 1, 5, 5 / 8, "compute")
    assert (relu.count, relu.time_s, relu.flop_per_s, relu.dram_bytes_per_s, relu.roofline_fraction) == (2, 3, 3 / 3, 30 / 3, 2 / 3)
    assert [(g.name, g.count) for g in r.by_scope()] == [("a", 2), ("b", 1)]
    assert [(g.name, g.count) for g in r.by_scope(depth=2)] == [("a.x", 1), ("b", 1), ("a.y", 1)]
    assert [(g.name, g.count) for g in r.by_family()] == [("stream", 3)]


def test_kernels_that_are_alike_stand_together():
    graph = kernels((), (), (), label=("conv", "conv", "relu"), flop=(4.0, 4.0, 1.0))
    groups = report(graph, times(2, 2, 3)).distinct_kernels()
    assert [(k.name, count, time_s) for k, count, time_s in groups] == [("a", 2, 4), ("c", 1, 3)]


def test_calls_leave_out_what_a_library_launches_itself():
    assert report(kernels((), (), internal=(False, True)), times(1, 1)).num_calls == 1


def test_counters_over_time():
    counters = three_kernels().counters()
    moments, rates = counters["dram_bytes_per_s"]
    assert moments.tolist() == [1, 5, 7, 8]
    assert rates.tolist() == [20 / 4, 10 / 2, 0, 0]
    assert counters["memory_bytes"][1].tolist() == [2000 + 100 + 300] * 3
    assert counters["kernels_in_flight"][1].tolist() == [1, 1, 1, 0]


def test_a_replayed_graph_waits_for_one_launch():
    r = report(kernels((), ()), times(1, 1, math_s=[1, 1]), GRAPH, host(1.0, graph_launch_s=0.5))
    assert r.latency_s == 2.5
    assert r.bound_fractions == {"compute": 2 / 2.5, "host launch": 0.5 / 2.5}
