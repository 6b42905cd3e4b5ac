"""Spans, the time they cover, and what adds up over them."""

from __future__ import annotations

import numpy as np

from simgpu.sim.timeline import Span, covered_s, level_over_time
from tests.runs import EAGER, host, kernels, run, times


def test_a_span_knows_its_kernel_and_its_launch():
    timeline = run(kernels((), ()), times(2, 3), EAGER, host(1.0))
    assert timeline[1] == Span(kernel=1, stream=0, launch_start_s=1, launch_end_s=2, start_s=3, end_s=6)
    assert [span.duration_s for span in timeline] == [2, 3]
    assert len(timeline) == 2


def test_overlap_counts_once():
    assert covered_s(np.array([4.0, 0.0, 1.0]), np.array([5.0, 3.0, 2.0])) == 4
    assert covered_s(np.zeros(0), np.zeros(0)) == 0


def test_kernels_back_to_back_leave_no_idle_time_not_even_a_rounding_error():
    ends = np.cumsum(np.random.default_rng(1).uniform(1e-6, 1e-4, 500))
    starts = np.concatenate(([0.0], ends[:-1]))
    assert covered_s(starts, ends) == ends[-1]


def test_levels_add_up_where_intervals_overlap():
    moments, levels = level_over_time(np.array([0.0, 2.0, 2.0]), np.array([2.0, 4.0, 3.0]), np.array([1.0, 5.0, 2.0]))
    assert moments.tolist() == [0, 2, 3, 4]
    assert levels.tolist() == [1, 7, 5, 0]
