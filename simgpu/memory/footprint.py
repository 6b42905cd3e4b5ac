"""How much memory a run needs: weights, activations as long as someone still reads them, states, the CUDA context."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

import numpy as np

from simgpu.cost.times import Floats
from simgpu.graph.ir import CONSTANT, INPUT, STATE, WEIGHT, Graph, Op
from simgpu.kernels.backward import optimizer_buffers
from simgpu.kernels.kernel import KernelGraph

# What a process holds before it allocates anything: driver state and loaded kernels. Between 0.4 GiB, where kernels are
# loaded when first used (CUDA 11.7 and later), and 1.3 GiB, where all are loaded at the start (1343 MiB: Hugging Face
# transformers documentation, "Efficient training on a single GPU").
CONTEXT_BYTES = 0.5 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Footprint:
    """Device memory of a run by category.

    Attributes:
        weights_bytes: Parameters and constants, each once, in the format they are stored in. [B]
        input_bytes: What the user feeds; held during the whole run. [B]
        state_bytes: KV caches and other states that outlive the run. [B]
        optimizer_bytes: What the optimizer keeps for each parameter, such as momentum. [B]
        activation_bytes: Intermediate results that are alive at the peak. [B]
        gradient_bytes: Parameters' gradients that are alive at the peak; they are freed between steps, as PyTorch's `zero_grad` does. [B]
        workspace_bytes: Scratch memory of libraries. [B]
        context_bytes: What the CUDA context holds. [B]
        capacity_bytes: What the GPU has. [B]
        peak_kernel: Index of the kernel during which activations and gradients peak; -1 if there is none.
        live_bytes: Activations and gradients alive during each kernel. [B] (N,)
    """

    weights_bytes: float
    input_bytes: float
    state_bytes: float
    activation_bytes: float
    workspace_bytes: float
    context_bytes: float
    capacity_bytes: float
    peak_kernel: int
    live_bytes: Floats = field(repr=False)
    optimizer_bytes: float = 0.0
    gradient_bytes: float = 0.0

    @property
    def resident_bytes(self) -> float:
        """What stays during the whole run. [B]"""
        return self.weights_bytes + self.optimizer_bytes + self.input_bytes + self.state_bytes + self.workspace_bytes + self.context_bytes

    @property
    def peak_bytes(self) -> float:
        """The most memory in use at once. [B]"""
        return self.resident_bytes + self.activation_bytes + self.gradient_bytes

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.capacity_bytes

    @property
    def used_fraction(self) -> float:
        """Peak over capacity; above 1 the model does not fit."""
        return self.peak_bytes / self.capacity_bytes

    def by_category(self) -> dict[str, float]:
        """Bytes at the peak, in the order of the report. [B]"""
        return {
            "weights": self.weights_bytes,
            "gradients": self.gradient_bytes,
            "optimizer states": self.optimizer_bytes,
            "inputs": self.input_bytes,
            "states": self.state_bytes,
            "activations": self.activation_bytes,
            "workspace": self.workspace_bytes,
            "CUDA context": self.context_bytes,
        }


def footprint(graph: Graph, kernels: KernelGraph, *, capacity_bytes: float, workspace_bytes: float = 0.0, context_bytes: float = CONTEXT_BYTES) -> Footprint:
    """The memory of a run in program order, every buffer freed after its last reader.

    Views take no memory: kernels name the buffer they touch. Frameworks add the rounding and fragmentation of their
    caching allocator, and may reuse a buffer in place; neither is counted.

    Args:
        graph: As lowered, so that tensors have the formats they are stored in.
        kernels: Its kernels.
    """
    of_kind = {kind: sum(float(t.bytes) for t in graph.tensors.values() if t.kind == kind) for kind in (WEIGHT, CONSTANT, INPUT, STATE)}
    states = {name for op in _of_optimizer(graph) for name in op.inputs if graph[name].kind == STATE}
    optimizer_bytes = sum(float(graph[name].bytes) for name in states)
    live_bytes = live_activations(graph, kernels)
    peak = int(live_bytes.argmax()) if len(live_bytes) else -1
    gradients = _gradients(graph, kernels)
    gradient_bytes = float(live_activations(graph, kernels, only=gradients)[peak]) if gradients else 0.0
    return Footprint(
        weights_bytes=of_kind[WEIGHT] + of_kind[CONSTANT],
        input_bytes=of_kind[INPUT],
        state_bytes=of_kind[STATE] - optimizer_bytes,
        optimizer_bytes=optimizer_bytes,
        activation_bytes=float(live_bytes[peak]) - gradient_bytes if peak >= 0 else 0.0,
        gradient_bytes=gradient_bytes,
        workspace_bytes=workspace_bytes,
        context_bytes=context_bytes,
        capacity_bytes=capacity_bytes,
        peak_kernel=peak,
        live_bytes=live_bytes,
    )


def _of_optimizer(graph: Graph) -> tuple[Op, ...]:
    return tuple(op for op in graph.ops if op.type == "OptimizerStep")


def _gradients(graph: Graph, kernels: KernelGraph) -> frozenset[str]:
    """Buffers of the parameters' gradients: the optimizer's kernels let go of them."""
    steps = {op.name for op in _of_optimizer(graph)}
    return frozenset(access.tensor for kernel in kernels.kernels if kernel.op in steps for access in kernel.writes if access.tensor in graph.tensors)


def live_activations(graph: Graph, kernels: KernelGraph, *, only: Container[str] | None = None) -> Floats:
    """Bytes of intermediate results that exist while each kernel runs. [B] (N,)

    A buffer lives from the first kernel that writes it to the last that touches it; what the graph puts out lives to
    the end.

    Args:
        only: Count no other buffers.
    """
    resident = {name for name, tensor in graph.tensors.items() if tensor.kind in (WEIGHT, CONSTANT, INPUT, STATE)}
    steps = {op.name for op in _of_optimizer(graph)}
    resident.update(*(optimizer_buffers(str(op.attrs["optimizer"])) for op in _of_optimizer(graph)))
    size: dict[str, float] = {}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for i, kernel in enumerate(kernels.kernels):
        for access in kernel.writes:
            if access.tensor in resident or (only is not None and access.tensor not in only):
                continue
            if access.tensor not in first:
                first[access.tensor] = i
                known = graph.tensors.get(access.tensor)
                parts = kernel.repeat if kernel.op in steps else 1  # multi-tensor kernels keep what they make for all parameters at once
                size[access.tensor] = float(known.bytes) if known else access.bytes * parts
            last[access.tensor] = i
        for access in kernel.reads:
            if access.tensor in first:
                last[access.tensor] = i
    end = len(kernels) - 1
    for name in graph.outputs:
        if name in first:
            last[name] = end
    change = np.zeros(len(kernels) + 1)
    for name, i in first.items():
        change[i] += size[name]
        change[last[name] + 1] -= size[name]
    return np.maximum(np.cumsum(change[:-1]), 0.0)


def largest_batch(peak_bytes: Callable[[int], float], capacity_bytes: float, *, limit: int = 65536) -> int:
    """The largest batch whose peak memory fits, found by doubling and halving; 0 if not even batch 1 does.

    Args:
        peak_bytes: Peak memory at a batch; must not fall when the batch grows. [B]
        limit: Do not look beyond.

    >>> largest_batch(lambda batch: 100.0 + 3.0 * batch, 130.0)
    10
    """
    fits, too_large = 0, 1
    while too_large <= limit and peak_bytes(too_large) <= capacity_bytes:
        fits, too_large = too_large, too_large * 2
    if too_large > limit:
        return fits
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if peak_bytes(middle) <= capacity_bytes:
            fits = middle
        else:
            too_large = middle
    return fits
