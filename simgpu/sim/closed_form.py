"""One stream without simulating it: when each kernel ends, for any number of designs at once."""

from __future__ import annotations

import numpy as np

from simgpu.cost.times import Floats


def finish_times(available_s: Floats, duration_s: Floats) -> Floats:
    """The end of each kernel of one stream, finish[k] = max(finish[k-1], available[k]) + duration[k]. [s]

    Unrolled, finish[k] = max over j <= k of (available[j] + duration[j] + … + duration[k]): a running sum plus a
    running maximum, so a sweep needs no loop over kernels or designs.

    Args:
        available_s: When the host has launched each kernel. (…, N)
        duration_s: How long each takes. (…, N); the two broadcast.

    >>> finish_times(np.array([1.0, 2.0, 9.0]), np.array([4.0, 1.0, 2.0])).tolist()
    [5.0, 6.0, 11.0]
    """
    total = np.cumsum(duration_s, axis=-1)
    lead: Floats = np.maximum.accumulate(available_s - (total - duration_s), axis=-1)
    return total + lead
