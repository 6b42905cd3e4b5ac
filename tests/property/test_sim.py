"""What holds for every run."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simgpu.sim.closed_form import finish_times
from simgpu.sim.host import plan_launches
from tests.runs import EAGER, GRAPH, host, kernels, run, times

seconds = st.floats(0.0, 10.0, allow_subnormal=False)


@st.composite
def graphs(draw, max_size=12):
    n = draw(st.integers(1, max_size))
    deps = tuple(tuple(sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))) if i else () for i in range(n))
    column = st.lists(seconds, min_size=n, max_size=n)
    durations = draw(column)
    shares = st.lists(st.floats(0.0, 1.0), min_size=n, max_size=n)
    return {
        "deps": deps,
        "durations": durations,
        "dram_s": [d * f for d, f in zip(durations, draw(shares), strict=True)],
        "math_s": [d * f for d, f in zip(durations, draw(shares), strict=True)],
        "waves": draw(st.lists(st.floats(0.05, 5.0), min_size=n, max_size=n)),
        "repeat": draw(st.lists(st.integers(1, 4), min_size=n, max_size=n)),
        "internal": draw(st.lists(st.booleans(), min_size=n, max_size=n)),
    }


def priced(g):
    return times(*g["durations"], dram_s=g["dram_s"], math_s=g["math_s"], waves=g["waves"])


@given(graphs(), seconds, seconds, seconds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_one_stream_equals_the_closed_form(g, launch_s, again_s, step_s, replay):
    graph, cost = kernels(*g["deps"], repeat=g["repeat"], internal=g["internal"]), priced(g)
    stack, launching = GRAPH if replay else EAGER, host(launch_s, again_s=again_s, graph_launch_s=launch_s, step_s=step_s)
    timeline = run(graph, cost, stack, launching)
    launches = plan_launches(launching, stack, graph, cost.duration_s)
    np.testing.assert_allclose(timeline.end_s, finish_times(launches.available_s, cost.duration_s), rtol=1e-9, atol=1e-9)
    finish = 0.0
    for k, (available, duration) in enumerate(zip(launches.available_s, cost.duration_s, strict=True)):
        finish = max(finish, available) + duration
        np.testing.assert_allclose(timeline.end_s[k], finish, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 4), st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_closed_form_takes_many_designs_at_once(designs, n, random):
    available = np.array([[random.random() for _ in range(n)] for _ in range(designs)]).cumsum(axis=-1)
    duration = np.array([[random.random() for _ in range(n)] for _ in range(designs)])
    together = finish_times(available, duration)
    for row in range(designs):
        np.testing.assert_allclose(together[row], finish_times(available[row], duration[row]))


@given(graphs(), st.integers(2, 4), seconds)
@settings(max_examples=60, deadline=None)
def test_order_is_kept_on_any_number_of_streams(g, num_streams, launch_s):
    graph, cost = kernels(*g["deps"]), priced(g)
    timeline = run(graph, cost, EAGER, host(launch_s), num_streams=num_streams, concurrent_kernels=3.0)
    slack = 1e-9 * (1 + timeline.makespan_s)
    for k, deps in enumerate(g["deps"]):
        assert timeline.start_s[k] >= timeline.launch_end_s[k] - slack
        assert timeline.end_s[k] - timeline.start_s[k] >= cost.duration_s[k] - slack  # sharing never makes a kernel faster
        for d in deps:
            assert timeline.start_s[k] >= timeline.end_s[d] - slack
    for stream in set(timeline.stream.tolist()):
        mine = np.flatnonzero(timeline.stream == stream)
        assert np.all(timeline.start_s[mine[1:]] >= timeline.end_s[mine[:-1]] - slack)
    moments = np.concatenate((timeline.start_s, timeline.end_s))
    running = [(timeline.start_s < m + slack) & (timeline.end_s > m + 2 * slack) for m in moments]
    assert max(int(r.sum()) for r in running) <= 3


@given(graphs(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_critical_path_makespan_and_sum(g, num_streams):
    timeline = run(kernels(*g["deps"]), priced(g), num_streams=num_streams)
    end = []
    for k, deps in enumerate(g["deps"]):
        end.append(max((end[d] for d in deps), default=0.0) + g["durations"][k])
    slack = 1e-9 * (1 + sum(g["durations"]))
    assert max(end) <= timeline.makespan_s + slack
    # Some kernel always runs, and sharing is work conserving enough never to lose against one after the other by more than this.
    assert timeline.busy_s >= timeline.makespan_s - slack


@given(graphs(), st.floats(1.0, 4.0))
@settings(max_examples=40, deadline=None)
def test_longer_kernels_never_shorten_a_run_on_one_stream(g, factor):
    graph = kernels(*g["deps"])
    slow = [d * factor for d in g["durations"]]
    assert run(graph, times(*slow), EAGER, host(1.0)).makespan_s >= run(graph, times(*g["durations"]), EAGER, host(1.0)).makespan_s - 1e-9
