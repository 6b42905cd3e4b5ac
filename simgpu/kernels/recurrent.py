"""LSTM, GRU and RNN layers as cuDNN runs them: the input's product for all steps at once, then the steps."""

from __future__ import annotations

from simgpu.graph.ir import Op
from simgpu.kernels.context import Lowering, rule
from simgpu.kernels.kernel import Access, Gemm, Recurrent
from simgpu.passes.fused import algorithmic_flop

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@rule("LSTM", "GRU", "RNN")
def recurrent(low: Lowering, op: Op) -> None:
    """x[steps, batch, in] · W[directions, gates · hidden, in]ᵀ in one GEMM, then a chain of steps with R[…, hidden]."""
    x, w, r = (low.input(op, i) for i in range(3))
    steps, batch, features = x.shape if not op.attrs.get("layout") else (x.shape[1], x.shape[0], x.shape[2])
    directions, rows, hidden = r.shape
    gates = _GATES[op.type]
    total = algorithmic_flop(low.graph, op)
    product = 2.0 * steps * batch * directions * rows * features
    projected = Access(tensor=f"{op.name}:gates", bytes=steps * batch * directions * rows * low.itemsize(x))
    label = op.type.lower()
    low.emit(
        op,
        Gemm(m=steps * batch, n=directions * rows, k=features, a_bytes=low.itemsize(x), b_bytes=low.itemsize(w), out_bytes=low.itemsize(x)),
        label=f"{label} input",
        reads=(low.contiguous(op, x.name), low.access(w.name), *(low.access(t) for t in op.inputs[3:4] if t)),
        writes=(projected,),
        flop=min(product, total),
        math_=low.product_math(x, w),
        suffix="input",
    )
    low.emit(
        op,
        Recurrent(gates=gates, hidden=hidden, batch=batch, steps=steps, directions=directions, itemsize=low.itemsize(x)),
        label=f"{label} {steps} steps",
        reads=(projected, low.access(r.name), *(low.access(t) for t in op.inputs[5:] if t)),
        writes=[low.access(t) for t in op.outputs if t],
        flop=max(total - product, 0.0),
        math_=low.product_math(x, r),
        internal=True,
    )
