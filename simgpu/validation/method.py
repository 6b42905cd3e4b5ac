"""How a time was measured, and what the measuring itself adds to the kernels' own time.

`t_measured = max(floor, host_share · floor + t_kernels)`: a call whose kernels are shorter than what the host does
meanwhile takes the floor; `host_share` of the floor passes before the kernels can start and cannot be hidden.
The floors are facts about the measuring host (a CPU, a driver, a framework), not about the GPU; they stand in
`hosts.json`, one number per source, GPU and class of operation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to measure.

    Attributes:
        host_share: Share of the floor that passes before the first kernel starts, by class of operation; "*" for the others.
        meaning: For people.
    """

    name: str
    meaning: str
    host_share: Mapping[str, float]


METHODS: Mapping[str, Method] = {
    m.name: m
    for m in (
        Method(name="back_to_back", meaning="many calls queued, one synchronisation at the end: launches hide behind kernels", host_share={"*": 0.0}),
        Method(
            name="event_timed_call",
            meaning="one framework call between two events, synchronised each time",
            # Shares fitted once on all hosts together: see the physics of memory-bound kernels in hosts.json.
            host_share={"elementwise": 0.62, "softmax": 0.83, "layernorm": 0.83, "*": 1.0},
        ),
        Method(
            name="host_synchronised",
            meaning="host clock around one framework call and a device synchronisation",
            host_share={"softmax": 0.83, "layernorm": 0.8, "elementwise": 0.8, "*": 1.0},
        ),
        Method(name="graph_replay", meaning="kernels replayed from a CUDA graph: no host time", host_share={"*": 0.0}),
        Method(name="single_shot_profiler", meaning="a layer profiler around a single run with cold weights", host_share={"*": 0.8}),
        Method(name="framework_loop", meaning="a framework's layer timed by the host over a few runs, synchronised at the end", host_share={"*": 1.0}),
    )
}


@cache
def hosts() -> Mapping[str, Any]:
    """What is known of the hosts that measured: `hosts.json`."""
    data: Mapping[str, Any] = json.loads(resources.files("simgpu.validation").joinpath("hosts.json").read_text(encoding="utf-8"))
    return data


def known_floor_s(source: str, gpu: str, op_class: str) -> float | None:
    """The floor of that host for that class of operation [s], None if the host is unknown."""
    by_gpu = hosts()["floor_us"].get(source, {})
    for key in (gpu, "*"):
        floors = by_gpu.get(key, {})
        if op_class in floors or "*" in floors:
            return float(floors.get(op_class, floors.get("*"))) * 1e-6
    return None


def measured_s(method: Method, op_class: str, floor_s: float | Floats, kernels_s: Floats) -> Floats:
    """What the method would have shown for kernels that take so long.

    >>> float(measured_s(METHODS["event_timed_call"], "linear", 2.0, np.array(3.0)))
    5.0
    >>> float(measured_s(METHODS["back_to_back"], "gemm", 5.0, np.array(3.0)))
    5.0
    """
    share = method.host_share.get(op_class, method.host_share["*"])
    return np.maximum(floor_s, share * np.asarray(floor_s) + kernels_s)
