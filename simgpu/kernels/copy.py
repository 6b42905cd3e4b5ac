"""Copies between host and device, and ops that nobody knows: priced as memory traffic."""

from __future__ import annotations

from simgpu.graph.ir import Op
from simgpu.kernels.context import Lowering
from simgpu.kernels.kernel import Access, Kernel, Stream, Transfer


def unknown(low: Lowering, op: Op) -> None:
    """An op without a rule: every input is read once and every output written once."""
    outs = [low.tensor(t) for t in op.outputs if t]
    reads = [low.access(t) for t in dict.fromkeys(op.inputs) if t]
    low.assume(f"{op.type}: no rule for this operator, priced as the memory traffic of its inputs and outputs")
    largest = max((*outs, *(low.tensor(t) for t in op.inputs if t)), key=lambda t: t.elements, default=None)
    if largest is None:
        return
    work = Stream(elements=largest.elements, itemsize=low.itemsize(largest), inputs=max(len(reads), 1))
    low.emit(op, work, label=op.type, reads=reads, writes=[low.access(t.name) for t in outs])


def transfer(name: str, tensor: str, size_bytes: float, *, direction: str, pinned: bool = True) -> Kernel:
    """A copy of a tensor between host and device.

    Args:
        direction: "h2d" or "d2h".

    >>> transfer("in", "x", 1e6, direction="h2d").label
    'copy h2d'
    """
    access = (Access(tensor=tensor, bytes=size_bytes),)
    to_device = direction == "h2d"
    work = Transfer(direction=direction, size_bytes=size_bytes, pinned=pinned)
    return Kernel(name=name, work=work, pipe="none", label=f"copy {direction}", op=name, reads=() if to_device else access, writes=access if to_device else ())
