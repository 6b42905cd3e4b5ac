"""Experts of a mixture: one grouped GEMM for all of them."""

from __future__ import annotations

from simgpu.graph.ir import Op
from simgpu.kernels.context import Lowering, ints_attr, rule
from simgpu.kernels.gemm import epilogue_label, extra_reads
from simgpu.kernels.kernel import Gemm


@rule("GroupedLinear")
def grouped_linear(low: Lowering, op: Op) -> None:
    """Rows sorted by expert, each times its expert's weight: of the weights only those of experts with rows are read.

    Source: Gale et al., "MegaBlocks", MLSys 2023; CUTLASS grouped GEMM, which `torch._grouped_mm` and vLLM's fused_moe follow.
    """
    x, w, out = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    experts, n, k = w.shape
    tokens = ints_attr(op, "tokens")
    active = sum(1 for rows in tokens if rows) / experts
    work = Gemm(m=x.shape[0], n=n, k=k, a_bytes=low.itemsize(x), b_bytes=low.itemsize(w), out_bytes=low.itemsize(out), tokens=tokens)
    reads = [low.contiguous(op, x.name), low.part(w.name, active * low.bytes_of(w.name)), *extra_reads(low, op, 2)]
    low.emit(op, work, label=epilogue_label("experts", op), reads=reads, writes=[low.access(t) for t in op.outputs if t])
