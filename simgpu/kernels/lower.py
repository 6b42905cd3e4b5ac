"""Graph → KernelGraph: which kernels a library would launch for each op, in program order."""

from __future__ import annotations

import importlib

from simgpu.arch.spec import GPU
from simgpu.graph.ir import Graph
from simgpu.kernels.context import RULES, Lowering
from simgpu.kernels.copy import unknown
from simgpu.kernels.kernel import KernelGraph
from simgpu.precision import Precision
from simgpu.precision import precision as precision_named
from simgpu.runtime import Runtime
from simgpu.runtime import runtime as runtime_named

_RULE_FILES = ("attention", "backward", "conv", "elementwise", "gemm", "movement", "recurrent", "reduction")
for _name in _RULE_FILES:
    importlib.import_module(f"simgpu.kernels.{_name}")


def lower(graph: Graph, *, gpu: GPU, precision: Precision | str = "fp32", runtime: Runtime | str = "eager") -> KernelGraph:
    """The kernels that run a graph.

    Views (reshape, transpose, slice …) launch nothing: reading one waits for the kernel that wrote the buffer it looks
    into. Where an op needs a view's elements in order, a copy is launched first.

    Args:
        graph: Ready to run: `simgpu.passes.pipeline.prepare` has set dtypes and fused what the runtime fuses.
    Raises:
        UnsupportedError: Ops that no rule knows and that were not let in by `allow_unknown`.
    """
    policy = precision_named(precision) if isinstance(precision, str) else precision
    stack = runtime_named(runtime) if isinstance(runtime, str) else runtime
    low = Lowering(graph, gpu=gpu, precision=policy, runtime=stack)
    for op in graph.ops:
        RULES.get(op.type, unknown)(low, op)
    return KernelGraph(low.kernels, low.deps, graph_name=graph.name, assumptions=(*graph.assumptions, *low.assumptions))
