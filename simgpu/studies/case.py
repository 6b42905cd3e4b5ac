"""A model on a GPU to be asked about: what would it be with other values of some fields?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.arch.loader import override_gpu
from simgpu.arch.spec import GPU
from simgpu.errors import OptionError
from simgpu.graph.ir import Graph
from simgpu.studies.axes import axis, is_count
from simgpu.studies.workload import OUTPUTS, Columns, Workload, alike, outcomes, with_designs, workload

HOST = "host"  # what the host needs, as if it were a field: 1 is as it is, 0.5 twice as fast


class Case:
    """A model, its settings, and the GPU that everything is compared with.

    Args:
        options: As for `simulate`: batch, dtype, runtime, host, attention, and those of `load_model`.
    Raises:
        SimgpuError: Something that a user can fix.
    """

    def __init__(self, model: str | os.PathLike[str] | Graph, gpu: GPU, **options: Any) -> None:
        self.gpu = gpu
        self._model, self._options = model, options
        self._workloads: dict[tuple[bool, ...], Workload] = {}
        self.base = {name: values[0] for name, values in self.price({}).items()}

    @property
    def work(self) -> Workload:
        """The model as lowered for the GPU itself."""
        return self._workload(alike(with_designs(self.gpu, {}))[0][0], {})

    def value(self, field: str) -> float:
        """What the GPU has of a field, in SI; 0 if it has none of it.

        Raises:
            OptionError: There is no such field.
        """
        if field == HOST:
            return 1.0
        one: Any = self.gpu
        for part in axis(field, [1.0]).column.split("."):
            one = one.get(part) if isinstance(one, Mapping) else getattr(one, part, None)
        return float(one or 0.0)

    def price(self, fields: Mapping[str, NDArray[Any]]) -> Columns:
        """The columns of `OUTPUTS` for designs that have these values of fields, in SI. (designs,) each"""
        host = np.asarray(fields[HOST], dtype=float) if HOST in fields else None
        gpu_fields = {name: np.asarray(values, dtype=float) for name, values in fields.items() if name != HOST}
        count = len(next(iter(fields.values()))) if fields else 1
        if not gpu_fields:
            gpu_fields = {"sm.count": np.full(count, self.gpu.sm.count)}
        result: Columns = {}
        for kind, index in alike(with_designs(self.gpu, gpu_fields)):
            here = {name: values[index] for name, values in gpu_fields.items()}
            work = self._workload(kind, {name: values[0] for name, values in here.items()})
            part = outcomes(work, self.gpu, here, None if host is None else host[index])
            for name in OUTPUTS:
                result.setdefault(name, np.empty(count, dtype=part[name].dtype))[index] = part[name]
        return result

    def latencies_s(self, fields: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """The latency of each design. [s] (designs,)"""
        return self.price(fields)["latency_s"]

    def _workload(self, kind: tuple[bool, ...], first: Mapping[str, float]) -> Workload:
        if kind not in self._workloads:
            gpu = override_gpu(self.gpu, dict(first)) if first else self.gpu
            self._workloads[kind] = workload(self._model, gpu, **self._options)
        return self._workloads[kind]


# Fields that a chip's designers turn, each for what it stands for; the others follow from them or limit nothing.
LEVERS = (
    "sm.count", "clocks.boost", "sm.fp32_lanes", "sm.schedulers", "sm.registers", "sm.max_threads", "dram.bandwidth", "dram.latency", "l2.size", "l2.bandwidth",
    "shared.bandwidth", "power.tdp", HOST,
)  # fmt: skip


def levers(case: Case) -> tuple[str, ...]:
    """The fields of a case's GPU that are worth turning, the tensor cores' rate for its format among them."""
    rate = f"tensor_cores.flop_per_clk.{case.work.math_dtype}"
    return tuple(name for name in (*LEVERS[:3], rate, *LEVERS[3:]) if case.value(name) > 0)


def rounded(field: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values as the field can have them: counts are whole."""
    return np.maximum(np.round(values), 1.0) if field != HOST and is_count(field) else values


def check_fields(case: Case, fields: tuple[str, ...]) -> None:
    """Refuses fields that the GPU does not have.

    Raises:
        OptionError: Which.
    """
    for field in fields:
        if case.value(field) <= 0:
            raise OptionError(f"{field}: {case.gpu.name} has none of it, so there is nothing to scale; give it some with --set")
