"""Kernels of the backward pass and of the optimizer."""

from __future__ import annotations

import math
from dataclasses import replace

from simgpu.graph.ir import Op, Tensor
from simgpu.kernels.context import Lowering, int_attr, ints_attr, rule
from simgpu.kernels.conv import launch_conv
from simgpu.kernels.gemm import layout_name
from simgpu.kernels.kernel import Access, FusedAttention, Gemm, Recurrent, Rows, Stream
from simgpu.kernels.movement import pool_indices
from simgpu.kernels.reduction import NORM_KINDS, row_of
from simgpu.passes.fused import algorithmic_flop, op_names
from simgpu.passes.training import OPTIMIZERS
from simgpu.precision import POINTWISE

# ---- products


@rule("ConvDataGrad")
def conv_data(low: Lowering, op: Op) -> None:
    """The gradient of a convolution's input, of (gradient, filters)."""
    dy, w, dx = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    launch_conv(low, op, operands=(dy, w), w=w, big=dx, small=dy, direction="bwd_data", label="conv backward data")


@rule("ConvWeightGrad")
def conv_weight(low: Lowering, op: Op) -> None:
    """The gradient of a convolution's filters, of (input, gradient)."""
    x, dy, dw = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    launch_conv(low, op, operands=(x, dy), w=dw, big=x, small=dy, direction="bwd_weight", label="conv backward weight")


@rule("GroupedLinearDataGrad", "GroupedLinearWeightGrad")
def grouped(low: Lowering, op: Op) -> None:
    """The gradients of rows divided among experts, again one kernel for all experts."""
    a, b, out = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    tokens = ints_attr(op, "tokens")
    of_data = op.type == "GroupedLinearDataGrad"
    weight = b if of_data else out
    _, features, inputs = weight.shape
    n, k = (inputs, features) if of_data else (features, inputs)
    work = Gemm(
        m=sum(tokens),
        n=n,
        k=k,
        a_bytes=low.itemsize(a),
        b_bytes=low.itemsize(b),
        out_bytes=low.itemsize(out),
        layout=layout_name(not of_data, False),
        tokens=tokens,
    )
    reads = (low.contiguous(op, a.name), low.contiguous(op, b.name))
    label = "grouped linear backward " + ("data" if of_data else "weight")
    low.emit(op, work, label=label, reads=reads, writes=(low.access(out.name),), math_=low.product_math(a, b))


@rule("AttentionGrad")
def attention(low: Lowering, op: Op) -> None:
    """The row sums of dO · O, then one kernel for dQ, dK and dV, which computes the scores again.

    Source: Dao, "FlashAttention-2", arXiv:2307.08691, section 3.1.2.
    """
    dy, q, k, v, out = (low.input(op, i) for i in range(5))
    batch, heads, q_len, size = q.shape
    sums = Access(tensor=f"{op.name}:sums", bytes=4.0 * batch * heads * q_len)
    rows = Rows(kind="reduce", rows=batch * heads * q_len, cols=v.shape[-1], writes_rows=False, itemsize=low.itemsize(dy))
    reads = (low.contiguous(op, dy.name), low.access(out.name))
    low.emit(op, rows, label="attention backward sums", reads=reads, writes=(sums,), math_=low.math(POINTWISE), flop=0.0, suffix="sums", internal=True)
    work = FusedAttention(
        batch=batch,
        heads=heads,
        kv_heads=k.shape[1],
        q_len=q_len,
        kv_len=k.shape[2],
        head_dim=size,
        v_head_dim=v.shape[-1],
        causal=bool(int_attr(op, "is_causal")),
        window=int_attr(op, "window"),
        q_bytes=low.itemsize(q),
        kv_bytes=low.itemsize(k),
        direction="bwd",
    )
    low.emit(
        op,
        work,
        label="attention backward",
        reads=(*(low.access(t.name) for t in (q, k, v, dy)), sums),
        writes=[low.access(t) for t in op.outputs],
        math_=low.product_math(q, k),
    )


@rule("RecurrentGrad")
def recurrent(low: Lowering, op: Op) -> None:
    """The steps backwards, the recurrent weights' gradient over all steps, and the two products of the input."""
    dy, x, w, r, y = (low.input(op, i) for i in range(5))
    dx, dw, dr = op.outputs
    steps, batch, features = x.shape if not op.attrs.get("layout") else (x.shape[1], x.shape[0], x.shape[2])
    directions, rows, hidden = r.shape
    gates = rows // hidden
    total = algorithmic_flop(low.graph, op)
    product = 2.0 * steps * batch * directions * rows * features
    chain = max(total / 2 - product, 0.0)
    size = low.itemsize(x)
    gradients = Access(tensor=f"{op.name}:gates", bytes=steps * batch * directions * rows * size)
    math_ = low.product_math(x, w)
    label = str(op.attrs.get("of", "rnn")).lower()
    back = Recurrent(gates=gates, hidden=hidden, batch=batch, steps=steps, directions=directions, itemsize=size, direction="bwd_data")
    low.emit(
        op,
        back,
        label=f"{label} backward {steps} steps",
        reads=(low.contiguous(op, dy.name), low.access(r.name), low.access(y.name)),
        writes=(gradients,),
        math_=math_,
        flop=chain,
    )
    low.emit(
        op,
        replace(back, direction="bwd_weight"),
        label=f"{label} backward recurrent weight",
        reads=(gradients, low.access(y.name)),
        writes=(low.access(dr),),
        math_=math_,
        flop=chain,
        suffix="recurrent_weight",
        internal=True,
    )
    for target, m, n, k, other, suffix in (
        (dx, steps * batch, features, directions * rows, w, "input"),
        (dw, directions * rows, features, steps * batch, x, "weight"),
    ):
        low.emit(
            op,
            Gemm(m=m, n=n, k=k, layout="nn" if target == dx else "nt", a_bytes=size, b_bytes=size, out_bytes=size),
            label=f"{label} backward {suffix}",
            reads=(gradients, low.access(other.name)),
            writes=(low.access(target),),
            math_=math_,
            flop=product,
            suffix=suffix,
            internal=True,
        )


# ---- rows


def _rows(low: Lowering, op: Op, x: Tensor, *, kind: str, label: str, cols: int, contiguous: bool = True, writes_rows: bool = True) -> None:
    work = Rows(kind=kind, rows=x.elements // cols if cols else 0, cols=cols, writes_rows=writes_rows, contiguous=contiguous, itemsize=low.itemsize(x))
    reads = [low.contiguous(op, t) for t in dict.fromkeys(op.inputs) if t]
    low.emit(op, work, label=label, reads=reads, writes=[low.access(t) for t in op.outputs if t])


@rule("BatchNormGrad")
def batch_norm(low: Lowering, op: Op) -> None:
    x = low.input(op, 1)
    _rows(low, op, x, kind="batch_norm", label="batch norm backward", cols=x.elements // x.shape[1], contiguous=False)


@rule("NormGrad")
def norm(low: Lowering, op: Op) -> None:
    x = low.input(op, 1)
    forward = op.with_(type=str(op.attrs["of"]))
    cols, contiguous = row_of(forward, x)
    kind, label = NORM_KINDS[forward.type]
    _rows(low, op, x, kind=kind, label=f"{label} backward", cols=cols, contiguous=contiguous)


@rule("NormParamGrad")
def norm_parameters(low: Lowering, op: Op) -> None:
    """Scale and shift: sums over all rows."""
    x, out = low.input(op, 1), low.tensor(op.outputs[0])
    _rows(low, op, x, kind="reduce", label="norm backward weight", cols=x.elements // max(out.elements, 1), contiguous=False, writes_rows=False)


@rule("SoftmaxGrad")
def softmax(low: Lowering, op: Op) -> None:
    y = low.input(op, 1)
    cols, contiguous = row_of(op.with_(type="Softmax"), y)
    _rows(low, op, y, kind="softmax", label="softmax backward", cols=cols, contiguous=contiguous)


# ---- streams


@rule("PoolGrad")
def pool(low: Lowering, op: Op) -> None:
    """Every input gathers from the windows it is in: as many as the window has strides."""
    dy, dx = low.input(op, 0), low.tensor(op.outputs[0])
    kernel, strides = ints_attr(op, "kernel_shape"), ints_attr(op, "strides")
    window = math.prod(math.ceil(k / s) for k, s in zip(kernel, strides or kernel, strict=True))
    reads = [low.contiguous(op, dy.name)]
    if op.attrs.get("of") == "MaxPool":
        reads.append(pool_indices(low, op_names(op)[0], dy.elements))
    work = Stream(elements=dx.elements, instructions=8.0 * window + 10.0, pattern="gather", window=float(window), itemsize=low.itemsize(dx))
    low.emit(op, work, label="pool backward", reads=reads, writes=(low.access(dx.name),))


@rule("ResizeGrad")
def resize(low: Lowering, op: Op) -> None:
    dy, dx = low.input(op, 0), low.tensor(op.outputs[0])
    work = Stream(elements=max(dy.elements, dx.elements), instructions=12.0, pattern="gather", itemsize=low.itemsize(dx))
    low.emit(op, work, label="resize backward", reads=(low.contiguous(op, dy.name),), writes=(low.access(dx.name),))


@rule("EmbeddingGrad")
def embedding(low: Lowering, op: Op) -> None:
    """The table is filled with zeros, then rows are added to it."""
    dy, table = low.input(op, 0), low.tensor(op.outputs[0])
    target = low.access(table.name)
    fill = Stream(elements=table.elements, itemsize=low.itemsize(table))
    low.emit(op, fill, label="fill zeros", reads=(), writes=(target,), flop=0.0, suffix="zeros", internal=True)
    rows = low.contiguous(op, dy.name)
    work = Stream(elements=dy.elements, instructions=8.0, pattern="gather", inputs=2, itemsize=low.itemsize(dy))
    reads = (rows, *(low.access(t) for t in op.inputs[1:] if t), low.part(table.name, rows.bytes))
    low.emit(op, work, label="scatter add", reads=reads, writes=(low.part(table.name, rows.bytes),))


# ---- the optimizer

# Each pass over all parameters: what it does, the arrays it reads and writes (p parameters, g gradients, else a state).
# Source: PyTorch torch/optim/sgd.py `_multi_tensor_sgd` (momentum, weight decay) and adam.py `_multi_tensor_adam`.
_PASSES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "sgd": (("weight decay", "g p", "g"), ("momentum mul", "momentum", "momentum"), ("momentum add", "momentum g", "momentum"), ("update", "p momentum", "p")),
    "adam": (
        ("lerp", "exp_avg g", "exp_avg"),
        ("mul", "exp_avg_sq", "exp_avg_sq"),
        ("addcmul", "exp_avg_sq g", "exp_avg_sq"),
        ("sqrt", "exp_avg_sq", "denominator"),
        ("div", "denominator", "denominator"),
        ("add epsilon", "denominator", "denominator"),
        ("addcdiv", "p exp_avg denominator", "p"),
    ),
}
# How much one launch of a multi-tensor kernel takes: so many tensors by the number of lists it walks, so many chunks.
# Source: PyTorch aten/src/ATen/native/cuda/MultiTensorApply.cuh.
_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
_CHUNKS, _CHUNK_ELEMENTS = 320, 65536


_ALL = {"p": "parameters", "g": "gradients"}


def optimizer_buffers(optimizer: str) -> frozenset[str]:
    """Names under which the optimizer's kernels touch all parameters, all gradients and all states at once; memory has each by its own name."""
    return frozenset({*_ALL.values(), *(f"optimizer:{state}" for state in OPTIMIZERS[optimizer])})


@rule("OptimizerStep")
def optimizer(low: Lowering, op: Op) -> None:
    """Multi-tensor kernels: each pass goes over all parameters in as many launches as their number and size need."""
    count = int_attr(op, "parameters")
    weights = [low.tensor(t) for t in op.inputs[:count]]
    gradients = [low.tensor(t) for t in op.inputs[count : 2 * count]]
    elements = sum(w.elements for w in weights)
    chunks = sum(math.ceil(w.elements / _CHUNK_ELEMENTS) for w in weights)
    sizes = {"p": sum(low.bytes_of(w.name) for w in weights), "g": sum(low.bytes_of(g.name) for g in gradients)}
    passes = _PASSES[str(op.attrs["optimizer"])]
    for i, (label, reads, writes) in enumerate(passes):
        lists = len({*reads.split(), *writes.split()})
        launches = max(1, math.ceil(count / _TENSORS[lists]), math.ceil(chunks / _CHUNKS))

        def access(letters: str, parts: int = launches) -> list[Access]:
            return [Access(tensor=_ALL.get(a, f"optimizer:{a}"), bytes=sizes.get(a, 4.0 * elements) / parts) for a in letters.split()]

        freed = [Access(tensor=low.layout(g.name).base, bytes=0.0) for g in gradients] if i == len(passes) - 1 else []  # gradients live until here
        work = Stream(elements=elements / launches, instructions=2.0, inputs=len(reads.split()), itemsize=sizes["p"] / max(elements, 1))
        low.emit(
            op,
            work,
            label=f"{op.attrs['optimizer']} {label}",
            reads=access(reads),
            writes=access(writes) + freed,
            suffix="" if i == len(passes) - 1 else label.replace(" ", "_"),
            repeat=launches,
            after=op.inputs[count : 2 * count],
            flop=0.0,
        )
