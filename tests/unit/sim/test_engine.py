"""Small runs and their exact event logs."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from simgpu.errors import OptionError, SimulationError
from simgpu.kernels.kernel import KernelGraph, Transfer
from tests.runs import EAGER, GRAPH, NO_HOST, host, kernels, log, run, times

DIAMOND = ((), (0,), (0,), (1, 2))


def test_a_stream_runs_one_kernel_after_the_other():
    timeline = run(kernels(*DIAMOND), times(1, 3, 2, 1))
    assert log(timeline) == [("a", 0, 1), ("b", 1, 4), ("c", 4, 6), ("d", 6, 7)]
    assert timeline.makespan_s == timeline.busy_s == 7


def test_the_device_waits_for_a_slow_host():
    timeline = run(kernels(*DIAMOND), times(1, 3, 2, 1), EAGER, host(2.0))
    # Launched at 2, 4, 6, 8.
    assert log(timeline) == [("a", 2, 3), ("b", 4, 7), ("c", 7, 9), ("d", 9, 10)]
    assert timeline.host_end_s == 8
    assert timeline.busy_s == 7


def test_the_host_runs_ahead_of_a_slow_device():
    timeline = run(kernels((), (), ()), times(10, 10, 10), EAGER, host(1.0, step_s=5.0))
    assert timeline.launch_start_s.tolist() == [5, 6, 7]
    assert log(timeline) == [("a", 6, 16), ("b", 16, 26), ("c", 26, 36)]


def test_the_run_lasts_until_the_host_is_done():
    graph = kernels((), (), internal=(False, True))
    assert run(graph, times(1, 0), EAGER, host(3.0, again_s=2.0)).makespan_s == 5


def test_a_graph_is_one_launch_and_skips_the_step():
    timeline = run(kernels((), (), ()), times(1, 1, 1), GRAPH, host(2.0, graph_launch_s=4.0, step_s=100.0))
    assert log(timeline) == [("a", 4, 5), ("b", 5, 6), ("c", 6, 7)]
    assert timeline.host_end_s == 4


def test_kernels_within_a_call_cost_the_host_less():
    timeline = run(kernels((), (), (), internal=(False, True, False)), times(0, 0, 0), EAGER, host(10.0, again_s=1.0))
    assert timeline.launch_end_s.tolist() == [10, 11, 21]


def test_repeated_launches_end_no_sooner_than_a_piece_after_the_last():
    # Four pieces of 1 s. Fast host: pieces back to back from the first launch. Slow host: launches end at 2, 5, 8, 11.
    graph = kernels((), repeat=(4,))
    assert log(run(graph, times(4), EAGER, host(2.0, again_s=0.5))) == [("a", 2, 6)]
    assert run(graph, times(4), EAGER, host(2.0, again_s=3.0)).end_s.tolist() == [12]


def test_two_streams_overlap_the_branches():
    # Each kernel fills half of the chip, so b and c run side by side.
    timeline = run(kernels(*DIAMOND), times(1, 3, 2, 1, waves=[0.5] * 4), num_streams=2)
    assert log(timeline) == [("a", 0, 1), ("b", 1, 4), ("c", 1, 3), ("d", 4, 5)]
    assert timeline.stream.tolist() == [0, 0, 1, 0]


def test_a_kernel_that_fills_the_chip_keeps_the_others_waiting():
    timeline = run(kernels(*DIAMOND), times(1, 3, 2, 1), num_streams=2)
    assert log(timeline) == [("a", 0, 1), ("b", 1, 4), ("c", 4, 6), ("d", 6, 7)]


def test_the_last_wave_leaves_room():
    # b: 1.5 waves in 4 s, a full one and one that fills half of the chip from 2 s after its start.
    timeline = run(kernels((), ()), times(4, 3, waves=[1.5, 0.5]), num_streams=2)
    assert log(timeline) == [("a", 0, 4), ("b", 2, 5)]


def test_what_is_left_over_slows_a_later_grid_down():
    # a holds 3/4 of the slots for 3 s; b wants 1/2, gets 1/4 and runs at half speed, then at full speed: 1.5 s of its 4 s are done by 3 s.
    timeline = run(kernels((), ()), times(3, 4, waves=[0.75, 0.5]), num_streams=2)
    assert log(timeline) == [("a", 0, 3), ("b", 0, 5.5)]


def test_memory_bandwidth_is_shared_fairly():
    # Both want all of DRAM: half speed each until a ends at 4, then b has 2 s left.
    timeline = run(kernels((), ()), times(2, 4, waves=[0.3, 0.3], dram_s=[2, 4]), num_streams=2)
    assert log(timeline) == [("a", 0, 4), ("b", 0, 6)]


def test_a_modest_reader_is_not_slowed_down():
    # a wants 1/4 of DRAM and gets it; b wants all of it and gets 3/4 until a ends at 4.
    timeline = run(kernels((), ()), times(4, 6, waves=[0.3, 0.3], dram_s=[1, 6]), num_streams=2)
    assert log(timeline) == [("a", 0, 4), ("b", 0, 7)]


def test_tensor_and_vector_pipes_do_not_contend():
    graph = kernels((), (), pipe=("tensor", "vector"))
    assert log(run(graph, times(2, 2, waves=[0.5, 0.5], math_s=[2, 2]), num_streams=2)) == [("a", 0, 2), ("b", 0, 2)]


def test_the_front_end_admits_so_many_kernels():
    # The toy runs two kernels at once.
    timeline = run(kernels((), (), ()), times(2, 2, 2, waves=[0.1] * 3), num_streams=3)
    assert log(timeline) == [("a", 0, 2), ("b", 0, 2), ("c", 2, 4)]
    assert run(kernels((), (), ()), times(2, 2, 2, waves=[0.1] * 3), num_streams=3, concurrent_kernels=3.0).makespan_s == 2


def test_copies_take_an_engine_and_no_sm():
    down, up = Transfer(direction="d2h", size_bytes=1.0), Transfer(direction="h2d", size_bytes=1.0)
    graph = kernels((), (), (), work=(kernels(()).kernels[0].work, up, down))
    # The toy has one engine, so the copies wait for each other but not for the kernel that fills the SMs.
    assert log(run(graph, times(5, 2, 2), num_streams=3)) == [("a", 0, 5), ("b", 0, 2), ("c", 2, 4)]
    assert run(graph, times(5, 2, 2), num_streams=3, copy_engines=2.0).end_s.tolist() == [5, 2, 2]


def test_kernels_of_no_length_and_empty_graphs():
    assert log(run(kernels((), ()), times(0, 0), num_streams=2)) == [("a", 0, 0), ("b", 0, 0)]
    assert run(kernels(), times(), EAGER, host(1.0)).makespan_s == 0


def test_the_same_run_twice_is_the_same():
    graph, priced = kernels(*DIAMOND), times(1, 3, 2, 1, waves=[0.6] * 4, dram_s=[1, 3, 2, 1])
    assert log(run(graph, priced, num_streams=2)) == log(run(graph, priced, num_streams=2))


def test_kernels_that_wait_for_each_other_are_named():
    graph = KernelGraph.__new__(KernelGraph)
    graph.kernels, graph.deps, graph.graph_name = kernels((), (), ()).kernels, ((), (2,), (1,)), "loop"
    with pytest.raises(SimulationError, match=r"loop: 2 of 3 kernels wait for each other and never run: 'b', 'c'"):
        run(graph, times(1, 1, 1), num_streams=2)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0])
def test_a_kernel_without_a_finite_duration_is_named(wrong):
    with pytest.raises(SimulationError, match=r"toy: 1 kernels have no finite duration: 'b' \("):
        run(kernels((), ()), times(1, wrong))


def test_less_than_one_stream():
    with pytest.raises(OptionError, match=r"streams: expected 1 or more, got 0"):
        run(kernels(()), times(1), num_streams=0)


def test_garbage_collection_is_back_on_after_a_run():
    run(kernels(()), times(1), EAGER, NO_HOST)
    assert gc.isenabled()
