"""Which software ran a published measurement of a whole model, and how far the row can be trusted: rules as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from simgpu.cost.machine import LIBRARY_YEAR
from simgpu.sim.host import HostCost, host_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """How a row was measured.

    Attributes:
        label: Short name of the source; "" = as the row says.
        runtime: As `simgpu.runtime.runtime` takes it.
        host: Name of a host: one of `stacks.json` or of `simgpu.sim.host`; "" = the usual one of the GPU's time.
        names: The source's name of a network → the zoo's.
        trust: "" or "care".
        out: Why the row is left out; "" = it is not.
        batch: Batch where the row says none.
        use: "throughput" where the printed latency is not to be trusted, else "latency".
        attention: "math" where no fused attention existed; "" = what the runtime does.
        dtype: Precision policy to simulate; "" = the one of the row's own word.
        decode: Generating text is counted a token at a time, although the row does not say so.
        library_year: When the cuBLAS and cuDNN that ran were built.
        optimizer: Of rows of whole training steps.
        of_inputs: Backward passes also compute the gradient of the network's input.
        dropout: Share that training drops, of networks that can be told.
    """

    label: str = ""
    runtime: str = "eager"
    host: str = ""
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    trust: str = ""
    out: str = ""
    batch: int | None = None
    use: str = "latency"
    attention: str = ""
    dtype: str = ""
    decode: bool = False
    library_year: float = LIBRARY_YEAR
    optimizer: str = "sgd"
    of_inputs: bool = False
    dropout: float = 0.1


@cache
def _data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads(resources.files("simgpu.validation").joinpath("stacks.json").read_text(encoding="utf-8"))
    return data


@cache
def _rules() -> tuple[Mapping[str, Any], ...]:
    rules = []
    for rule in _data()["rules"]:
        when = {column: re.compile(pattern) for column, pattern in rule["when"].items()}
        rules.append({"when": when, **{key: value for key, value in rule.items() if key != "when"}})
    return tuple(rules)


def stack_of(cells: Mapping[str, str]) -> Stack:
    """The software stack of a row, by the rules of `stacks.json`.

    >>> stack_of({"source": "huggingface/pytorch-image-models results", "layout": "nhwc", "software_version": "torch 2.4.0"}).runtime
    'eager+channels_last'
    """
    chosen: dict[str, Any] = {}
    for rule in _rules():
        if all(pattern.search(cells.get(column, "")) for column, pattern in rule["when"].items()):
            chosen.update({key: value for key, value in rule.items() if key != "when"})
    chosen |= {flag: chosen.get(flag) == "true" for flag in ("decode", "of_inputs")}
    return Stack(**chosen)


def network_of(name: str, stack: Stack) -> str:
    """The zoo's name of a network.

    >>> network_of("mobilenet-v1-0.5", Stack())
    'mobilenet_v1:width=0.5'
    """
    return str(stack.names.get(name) or _data()["networks"].get(name, name))


def host_of(name: str) -> HostCost:
    """The host of that name, of `stacks.json` or else of the simulator's own."""
    own = _data()["hosts"].get(name)
    if own is None:
        return host_cost(name)
    return HostCost(name=name, launch_s=own["launch_us"] * 1e-6, again_s=min(4e-6, own["launch_us"] * 1e-6), step_s=own["step_ms"] * 1e-3, source=own["origin"])
