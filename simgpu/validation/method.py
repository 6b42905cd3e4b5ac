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
        repetitions: Calls in a row, which put the GPU under load for so long as they take.
        host_share: Share of the floor that passes before the first kernel starts, by class of operation; "*" for the others.
        meaning: For people.
    """

    name: str
    meaning: str
    repetitions: int
    host_share: Mapping[str, float]

    def share(self, op_class: str) -> float:
        """Share of the floor that passes before the first kernel of that class of operation starts."""
        return self.host_share.get(op_class, self.host_share["*"])


SHORT_FRACTION = 0.3  # kernels of a short call take at most this share of the measured time …
SHORT_ROWS = 40  # … and of those the so many shortest count
GRAPH_REPLAY = "graph_replay"

METHODS: Mapping[str, Method] = {
    m.name: m
    for m in (
        Method(
            name="back_to_back",
            meaning="many calls queued, one synchronisation at the end: launches hide behind kernels",
            repetitions=400,
            host_share={"*": 0.0},
        ),
        Method(
            name="event_timed_call",
            meaning="one framework call between two events, synchronised each time",
            repetitions=25,
            # Fitted once on the rows of all five NeuSight GPUs together.
            host_share={"elementwise": 0.4, "softmax": 0.64, "layernorm": 0.83, "*": 1.0},
        ),
        Method(
            name="host_synchronised",
            meaning="host clock around one framework call and a device synchronisation",
            repetitions=50,
            host_share={"softmax": 0.83, "layernorm": 0.8, "elementwise": 0.8, "gelu": 0.8, "*": 1.0},
        ),
        Method(name=GRAPH_REPLAY, meaning="kernels replayed from a CUDA graph: no host time", repetitions=50, host_share={"*": 0.0}),
        Method(name="single_shot_profiler", meaning="a layer profiler around a single run with cold weights", repetitions=1, host_share={"*": 0.8}),
        Method(
            name="framework_loop",
            meaning="a framework's layer timed by the host over a few runs, synchronised at the end",
            repetitions=10,
            host_share={"*": 1.0},
        ),
    )
}


@cache
def hosts() -> Mapping[str, Any]:
    """What is known of the hosts that measured: `hosts.json`."""
    data: Mapping[str, Any] = json.loads(resources.files("simgpu.validation").joinpath("hosts.json").read_text(encoding="utf-8"))
    return data


def _hosts_of(source: str) -> Mapping[str, Any]:
    """GPU → floors of a source; the source's name may carry a version behind it."""
    tables: Mapping[str, Any] = hosts()["floor_us"]
    return next((table for name, table in tables.items() if source.startswith(name)), {})


def known_floor_s(source: str, gpu: str, op_class: str) -> float | None:
    """The floor of that host for that class of operation [s], None if that host is not known.

    Sources whose runs all share one kind of host have it under "any", others under each GPU.
    """
    by_gpu = _hosts_of(source)
    for key in (gpu, "any"):
        floors = by_gpu.get(key, {})
        floor = floors.get(op_class, floors.get("*"))
        if floor is not None:
            return float(floor) * 1e-6
    return None


def typical_floor_s(source: str, op_class: str) -> float:
    """The floor to assume where neither the host is known nor its short rows tell: the median of the source's hosts, else of all. [s]"""
    own = [f[op_class] for f in _hosts_of(source).values() if op_class in f]
    found = own or [f[op_class] for by_gpu in hosts()["floor_us"].values() for f in by_gpu.values() if op_class in f]
    return float(np.median(found)) * 1e-6 if found else 0.0


def read_floor_s(method: Method, op_class: str, measured_s: Floats, kernels_s: Floats) -> float | None:
    """A host's floor from its shortest calls: the median over rows whose kernels take next to nothing. [s]

    Returns:
        None if there are fewer than five such rows; 0 for methods that have no floor.

    >>> read_floor_s(METHODS["event_timed_call"], "linear", np.array([31.0, 32, 33, 34, 35, 99]), np.array([1.0, 1, 1, 1, 1, 60]))
    32.0
    """
    share = method.share(op_class)
    if share == 0.0:
        return 0.0
    short = np.flatnonzero(kernels_s < SHORT_FRACTION * measured_s)
    short = short[np.argsort(kernels_s[short], kind="stable")[:SHORT_ROWS]]
    if len(short) < 5:
        return None
    # Where all of the floor passes before the kernels, they add up; else short kernels hide under the floor.
    return float(np.median(measured_s[short] - (kernels_s[short] if share == 1.0 else 0.0)))
