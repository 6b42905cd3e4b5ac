"""Times a callable on the GPU: CUDA events, warm-up, median of many, cold or warm L2, eager or replayed from a graph."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

WARM_UP_S = 0.05
TARGET_S = 0.3  # of measuring, for one case
FEWEST, MOST = 11, 501


class Clock(Protocol):
    """What timing needs of a device; a test has a fake one."""

    def elapsed_s(self, call: Callable[[], Any], *, flush: bool) -> float:
        """Time of one call between two events. [s]"""
        ...

    def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """The call as the replay of a captured graph."""
        ...


@dataclass(frozen=True)
class Timing:
    median_s: float
    fastest_s: float
    repeats: int


def measure(call: Callable[[], Any], clock: Clock, *, graph: bool, cold: bool) -> Timing:
    """Median and fastest time of a call. [s]

    Short calls are repeated more often, between `FEWEST` and `MOST` times.
    """
    if graph:
        call = clock.captured(call)
    spent = 0.0
    while spent < WARM_UP_S:
        spent += max(clock.elapsed_s(call, flush=False), WARM_UP_S / 1000)
    once = max(clock.elapsed_s(call, flush=cold), 1e-7)
    repeats = min(MOST, max(FEWEST, int(TARGET_S / once)))
    times = [clock.elapsed_s(call, flush=cold) for _ in range(repeats)]
    return Timing(median_s=statistics.median(times), fastest_s=min(times), repeats=repeats)


class CudaClock:
    """CUDA events on the current device; a flush overwrites twice the L2."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        size = torch.cuda.get_device_properties(0).L2_cache_size
        self._sweep = torch.empty(max(2 * size, 1 << 20), dtype=torch.uint8, device="cuda")
        self._events = tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))

    def elapsed_s(self, call: Callable[[], Any], *, flush: bool) -> float:
        if flush:
            self._sweep.zero_()
        start, end = self._events
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        replay: Callable[[], Any] = graph.replay
        return replay
