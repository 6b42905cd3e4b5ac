"""simgpu simulates neural networks on GPUs and explains every microsecond.

>>> import simgpu
>>> report = simgpu.simulate("resnet50", "a100", batch=32, dtype="fp16")
>>> report.latency_s < 1.0
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgpu import plot
    from simgpu.api import compare, largest_batch, load_gpu, load_model, simulate
    from simgpu.arch.spec import GPU
    from simgpu.errors import SimgpuError
    from simgpu.frontends.operators import load_operator
    from simgpu.graph.ir import Graph
    from simgpu.report.report import Report
    from simgpu.studies.sweep import sweep

__all__ = ["GPU", "Graph", "Report", "SimgpuError", "compare", "largest_batch", "load_gpu", "load_model", "load_operator", "plot", "simulate", "sweep"]

# name → module; imported when first used, so that `import simgpu` costs next to nothing
_HOMES = {
    "GPU": "simgpu.arch.spec",
    "Graph": "simgpu.graph.ir",
    "Report": "simgpu.report.report",
    "SimgpuError": "simgpu.errors",
    "compare": "simgpu.api",
    "largest_batch": "simgpu.api",
    "load_gpu": "simgpu.api",
    "load_model": "simgpu.api",
    "load_operator": "simgpu.frontends.operators",
    "simulate": "simgpu.api",
    "sweep": "simgpu.studies.sweep",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module("simgpu.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'simgpu' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
