"""WHEN it runs: the spans of all kernels as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simgpu.cost.times import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A kernel in time; seconds from the start of the run.

    Attributes:
        kernel: Index into the kernel graph.
        stream: The stream it runs in.
        launch_start_s, launch_end_s: When the host launches it. [s]
        start_s, end_s: When the device runs it. [s]
    """

    kernel: int
    stream: int
    launch_start_s: float
    launch_end_s: float
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Spans as arrays (N,) in launch order, and when the host was done.

    Attributes:
        host_end_s: When the host has issued everything and starts to wait for the device. [s]
    """

    stream: Ints
    launch_start_s: Floats
    launch_end_s: Floats
    start_s: Floats
    end_s: Floats
    host_end_s: float = 0.0

    def __len__(self) -> int:
        return len(self.start_s)

    def __getitem__(self, index: int) -> Span:
        return Span(
            kernel=index,
            stream=int(self.stream[index]),
            launch_start_s=float(self.launch_start_s[index]),
            launch_end_s=float(self.launch_end_s[index]),
            start_s=float(self.start_s[index]),
            end_s=float(self.end_s[index]),
        )

    def __iter__(self) -> Iterator[Span]:
        return (self[i] for i in range(len(self)))

    @property
    def span_s(self) -> Floats:
        """How long each kernel is on the device. [s] (N,)"""
        return self.end_s - self.start_s

    @property
    def makespan_s(self) -> float:
        """From the host's first step to the end of the last kernel and of the host. [s]"""
        return max(float(self.end_s.max(initial=0.0)), self.host_end_s)

    @property
    def busy_s(self) -> float:
        """Time in which at least one kernel runs. [s]"""
        return float(covered_s(self.start_s, self.end_s))


def covered_s(start_s: Floats, end_s: Floats) -> float:
    """Length of the union of intervals. [s]

    >>> covered_s(np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 6.0]))
    4.0
    """
    if not len(start_s):
        return 0.0
    order = np.argsort(start_s, kind="stable")
    start, end = start_s[order], np.maximum.accumulate(end_s[order])
    # The extent less the gaps: intervals that join leave none, so no rounding of a sum passes for idle time.
    return float(end[-1] - start[0] - np.sum(np.maximum(start[1:] - end[:-1], 0.0)))


def level_over_time(start_s: Floats, end_s: Floats, level: Floats) -> tuple[Floats, Floats]:
    """A step function: the sum of the levels of the intervals that cover each moment.

    Returns:
        Times at which the sum changes, ascending, and its value from there on. [s] and the unit of `level`

    >>> times, values = level_over_time(np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.array([5.0, 7.0]))
    >>> times.tolist(), values.tolist()
    ([0.0, 1.0, 2.0, 3.0], [5.0, 12.0, 7.0, 0.0])
    """
    times = np.concatenate((start_s, end_s))
    steps = np.concatenate((level, -level))
    order = np.argsort(times, kind="stable")
    times, total = times[order], np.cumsum(steps[order])
    last = np.append(times[1:] > times[:-1], True) if len(times) else np.zeros(0, dtype=bool)
    total[np.abs(total) < 1e-12 * float(np.abs(level).max(initial=0.0))] = 0.0  # what rounding leaves of a sum that is zero
    return times[last], total[last]
