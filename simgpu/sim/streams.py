"""Which stream each kernel goes to when branches may run side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simgpu.cost.times import Floats
from simgpu.sim.timeline import Ints


def assign_streams(deps: Sequence[tuple[int, ...]], duration_s: Floats, num_streams: int) -> Ints:
    """A stream for each kernel, the same one every time.

    A kernel continues the stream of the dependency expected to end last if nothing has been put behind that one yet,
    so chains stay together and need no event; else it opens the stream that is free the earliest. Expected ends are
    those of an idle device.

    Returns:
        Stream numbers in 0 … num_streams - 1. (N,)

    >>> assign_streams([(), (0,), (0,), (1, 2)], np.array([1.0, 3.0, 2.0, 1.0]), 2).tolist()  # a diamond; its long side is kernel 1
    [0, 0, 1, 0]
    """
    if num_streams == 1:
        return np.zeros(len(deps), dtype=np.int64)
    durations = duration_s.tolist()
    end = [0.0] * len(deps)
    tail: list[int] = [-1] * num_streams  # the kernel last put into each stream
    free_at = [0.0] * num_streams
    result = [0] * len(deps)
    for k, waits_for in enumerate(deps):
        chosen, latest = -1, -1.0
        for d in waits_for:
            if tail[result[d]] == d and end[d] > latest:
                chosen, latest = result[d], end[d]
        if chosen < 0:
            chosen = free_at.index(min(free_at))
        start = max([free_at[chosen], *(end[d] for d in waits_for)])
        end[k] = free_at[chosen] = start + durations[k]
        tail[chosen] = k
        result[k] = chosen
    return np.array(result, dtype=np.int64)
