"""Address translation: what GEMM pays where an operand that lies along k is larger than a TLB reaches.

Pascal and older have slow long rows, GP10x alone missing sweeps; other chips show no such limit (their rates are beyond
reach). That the TLB does it is inferred from the sizes at which it begins; no profile was seen.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.machine import Machine

Values = Any

_LRU = 16.0  # a sweep that does not fit misses always, one that fits never: the exponent only rounds that step off


def long_rows_s(t: SimpleNamespace, m: Machine, *, tile_steps: Values, bm: Values, bn: Values) -> Values:
    """Time of translations where rows are so long (k > 8192) that each row of a tile lies in a page of its own. [s]

    Source: measured, Linear on P100 and P4: a fixed rate of rows a clock, whatever the tile.

    Args:
        tile_steps: Steps of 8 along k, over all tiles.
    """
    f = m.factors
    a_along, b_along = np.isin(t.layout, ("tn", "nn")), np.isin(t.layout, ("tn", "nt"))
    span = t.batch * t.k * (t.m * t.a_bytes * a_along + t.n * t.b_bytes * b_along)
    far = np.minimum(1.0, t.k * t.b_bytes / f.tlb_page_bytes) * (1.0 - np.minimum(1.0, f.tlb_reach_bytes / np.maximum(span, 1.0)))
    return tile_steps * far * (bm * a_along + bn * b_along) / (f.tlb_rows_per_clk * m.num_sms * m.clock_hz)


def sweeps_s(t: SimpleNamespace, m: Machine, *, tile_steps: Values, columns: Values, bm: Values, bn: Values) -> Values:
    """Time of translations where each row of tiles sweeps a B anew that lies along k and is larger than the reach. [s]

    Source: measured. Linear on P4 (maxwell_sgemm_32x128_tn) falls from 2.7 to 1.7 TFLOP/s where B grows from 15 to 17 MB, and
        DeepBench's TN on Titan X Pascal from 9.8 to 3.3 between 26 and 28 MB, whatever A's size is. A single row of tiles
        streams such a B at full rate.

    Args:
        tile_steps: As of `long_rows_s`. columns: Columns of B that the CTAs side by side work on.
    """
    f = m.factors
    fill = np.minimum(1e3, np.minimum(t.n, columns) * t.k * t.b_bytes / np.maximum(f.sweep_reach_bytes * m.num_sms, 1.0)) ** _LRU
    again = (t.layout == "tn") * (1.0 - np.minimum(1.0, bm / t.m))  # the first row of tiles sweeps once, as any kernel does
    return tile_steps * bn * again * fill / (1.0 + fill) / (f.sweep_rows_per_clk * m.num_sms * m.clock_hz)
