"""Matrix products: Linear, Gemm, MatMul and Einsum as GEMMs of m × n × k."""

from __future__ import annotations

import math

from simgpu.errors import ShapeError
from simgpu.graph.ir import Op, Tensor
from simgpu.kernels.context import Lowering, Strides, int_attr, ints_attr, rule
from simgpu.kernels.kernel import Access, Gemm
from simgpu.kernels.views import reshaped_strides
from simgpu.passes.fused import members

_SILENT = frozenset({"BatchNormalization", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"})


def epilogue_label(label: str, op: Op) -> str:
    """The label of a kernel and of what was fused into it.

    >>> parts = tuple(Op(name=t, type=t, inputs=(), outputs=()) for t in ("Linear", "Gelu"))
    >>> epilogue_label("linear", Op(name="a", type="Linear", inputs=(), outputs=(), attrs={"members": parts}))
    'linear + gelu'
    """
    if not op.attrs:
        return label
    return " + ".join([label, *(m.type.lower() for m in members(op) if m.type != op.type and m.type not in _SILENT)])


def extra_reads(low: Lowering, op: Op, own: int) -> list[Access]:
    """Operands of an epilogue, which stand behind the op's own inputs; each buffer once."""
    return [low.access(t) for t in dict.fromkeys(op.inputs[own:]) if t]


def _emit(low: Lowering, op: Op, a: Tensor, b: Tensor, work: Gemm, *, label: str, reads: list[Access]) -> None:
    writes = [low.access(t) for t in op.outputs if t]
    low.emit(op, work, label=epilogue_label(label, op), reads=reads, writes=writes, math_=low.product_math(a, b))


def _has_bias(op: Op) -> bool:
    return len(op.inputs) > 2 and bool(op.inputs[2])


@rule("Linear")
def linear(low: Lowering, op: Op) -> None:
    """x[..., in] · weight[out, in]ᵀ (or a weight that lies as (in, out)): one GEMM with the bias in its epilogue."""
    x, w = low.input(op, 0), low.input(op, 1)
    n, k = w.shape
    out = low.tensor(op.outputs[0])
    work = Gemm(
        m=out.elements // n,
        n=n,
        k=k,
        a_bytes=low.element_bytes(x),
        b_bytes=low.element_bytes(w),
        out_bytes=low.element_bytes(out),
        layout="nn" if op.attrs.get("in_out") else "tn",
        bias=_has_bias(op),
    )
    _emit(low, op, x, w, work, label="linear", reads=[_rows(low, op, x), low.access(w.name), *extra_reads(low, op, 2)])


@rule("MatMulNBits")
def matmul_nbits(low: Lowering, op: Op) -> None:
    """x[..., K] by N × K weights of few bits, in blocks with a scale each (com.microsoft)."""
    x, w, out = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    n, k = int_attr(op, "N"), int_attr(op, "K")
    work = Gemm(m=out.elements // n, n=n, k=k, a_bytes=low.element_bytes(x), b_bytes=int_attr(op, "bits", 4) / 8, out_bytes=low.element_bytes(out))
    _emit(low, op, x, x, work, label="linear", reads=[_rows(low, op, x), low.access(w.name), *extra_reads(low, op, 2)])


@rule("GroupedLinear")
def grouped_linear(low: Lowering, op: Op) -> None:
    """Rows sorted by expert, each by its expert's weight, in one kernel; the weights of experts without rows are not read.

    Source: grouped GEMM of CUTLASS, as serving engines run mixtures of experts.
    """
    x, w, out = low.input(op, 0), low.input(op, 1), low.tensor(op.outputs[0])
    tokens = ints_attr(op, "tokens")
    active = sum(1 for t in tokens if t) / max(len(tokens), 1)
    _, n, k = w.shape
    work = Gemm(m=sum(tokens), n=n, k=k, a_bytes=low.element_bytes(x), b_bytes=low.element_bytes(w), out_bytes=low.element_bytes(out), tokens=tokens)
    reads = [_rows(low, op, x), low.part(w.name, active * low.bytes_of(w.name)), *(low.part(t, active * low.bytes_of(t)) for t in op.inputs[2:3] if t)]
    _emit(low, op, x, w, work, label="grouped linear", reads=[*reads, *extra_reads(low, op, 3)])


@rule("Gemm")
def gemm(low: Lowering, op: Op) -> None:
    """A · B + C of two matrices, each perhaps transposed."""
    a, b = low.input(op, 0), low.input(op, 1)
    trans_a, trans_b = bool(int_attr(op, "transA")), bool(int_attr(op, "transB"))
    out = low.tensor(op.outputs[0])
    m, n = out.shape
    work = Gemm(
        m=m,
        n=n,
        k=a.elements // max(m, 1),
        a_bytes=low.element_bytes(a),
        b_bytes=low.element_bytes(b),
        out_bytes=low.element_bytes(out),
        layout=layout_name(trans_a, trans_b),
        bias=_has_bias(op),
    )
    _emit(low, op, a, b, work, label="linear", reads=[low.contiguous(op, a.name), low.contiguous(op, b.name), *extra_reads(low, op, 2)])


def layout_name(trans_a: bool, trans_b: bool) -> str:
    """The layout as cuBLAS names it, column-major, so that B's letter comes first.

    >>> layout_name(False, True), layout_name(False, False), layout_name(True, False)
    ('tn', 'nn', 'nt')
    """
    return ("t" if trans_b else "n") + ("t" if trans_a else "n")


def _rows(low: Lowering, op: Op, x: Tensor) -> Access:
    """A matrix [..., k] whose leading axes fold into one; copied if they do not."""
    strides = low.strides(x.name)
    if strides is not None and len(x.shape) >= 2:
        folded = reshaped_strides(x.shape, strides, (x.elements // x.shape[-1], x.shape[-1])) if x.shape[-1] else None
        if folded is not None and 1 in folded:
            return low.access(x.name)
    return low.contiguous(op, x.name)


@rule("MatMul", "MatMulInteger", "QLinearMatMul")
def matmul(low: Lowering, op: Op) -> None:
    """The product over the last two axes; leading axes are batches, and an operand without them is shared by all.

    Source: PyTorch `torch.matmul`: operands become 3-D (a copy, if their strides do not allow it), then `bmm` takes any
    strides whose matrices are row- or column-major.
    """
    second = 3 if op.type == "QLinearMatMul" else 1
    a, b = low.input(op, 0), low.input(op, second)
    out = low.tensor(op.outputs[0])
    trans_a, trans_b = bool(int_attr(op, "transA")), bool(int_attr(op, "transB"))
    shape_a = a.shape if len(a.shape) > 1 else (1, *a.shape)
    shape_b = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    m, k = shape_a[-2:][::-1] if trans_a else shape_a[-2:]
    n = shape_b[-2] if trans_b else shape_b[-1]
    batch = out.elements // (m * n) if m * n else 0
    batch_a, batch_b = math.prod(shape_a[:-2]), math.prod(shape_b[:-2])
    if batch_b == 1 and batch_a == batch and not trans_a:
        m, batch = m * batch, 1  # one matrix: the batches are more rows
        reads_a = _rows(low, op, a)
    else:
        reads_a, swapped = _matrices(low, op, a)
        trans_a ^= swapped
    reads_b, swapped = _matrices(low, op, b)
    trans_b ^= swapped
    work = Gemm(
        batch=batch,
        m=m,
        n=n,
        k=k,
        a_bytes=low.element_bytes(a),
        b_bytes=low.element_bytes(b),
        out_bytes=low.element_bytes(out),
        shared_b=batch > 1 and batch_b == 1,
        layout=layout_name(trans_a, trans_b),
    )
    _emit(low, op, a, b, work, label="matmul", reads=[reads_a, reads_b, *extra_reads(low, op, second + 1)])


def _matrices(low: Lowering, op: Op, x: Tensor) -> tuple[Access, bool]:
    """Batched matrices, copied if their strides do not allow a product; and whether they lie transposed."""
    strides = low.strides(x.name)
    if strides is None or len(x.shape) < 2:
        return low.contiguous(op, x.name), False
    batch_strides = _folded_batch(x.shape, strides)
    if batch_strides is not None:
        rows, cols = batch_strides[-2:]
        if cols == 1 or x.shape[-1] == 1:
            return low.access(x.name), False
        if rows == 1 or x.shape[-2] == 1:
            return low.access(x.name), True
    # The copy keeps a transposition of the last two axes, as reshape of an expanded view does not undo it.
    swapped = strides[-2] == 1 and strides[-1] != 1
    return low.contiguous(op, x.name), swapped


def _folded_batch(shape: tuple[int, ...], strides: Strides) -> Strides | None:
    """Strides of the view (batch, rows, cols), or None if the leading axes do not fold into one."""
    if len(shape) <= 3:
        return strides
    return reshaped_strides(shape, strides, (math.prod(shape[:-2]), *shape[-2:]))


@rule("Einsum")
def einsum(low: Lowering, op: Op) -> None:
    """A product of two operands as a GEMM: letters of both and of the result are batches, letters of both alone are k.

    Raises:
        ShapeError: The equation is no product of one or two operands.
    """
    equation = str(op.attrs.get("equation", "")).replace(" ", "")
    left, _, result = equation.partition("->")
    terms = left.split(",")
    names = [t for t in op.inputs if t]
    if len(terms) != 2 or len(names) != 2 or "." in equation or not result:
        raise ShapeError(f"{low.graph.name}: op '{op.name}': Einsum '{equation}' is no product of two operands with named axes; split it before export")
    a, b = low.tensor(names[0]), low.tensor(names[1])
    size = dict(zip(terms[0], a.shape, strict=True)) | dict(zip(terms[1], b.shape, strict=True))
    shared = set(terms[0]) & set(terms[1])

    def extent(letters: set[str]) -> int:
        return math.prod(size[letter] for letter in letters)

    out = low.tensor(op.outputs[0])
    work = Gemm(
        batch=extent(shared & set(result)),
        m=extent(set(terms[0]) - shared),
        n=extent(set(terms[1]) - shared),
        k=extent(shared - set(result)),
        a_bytes=low.element_bytes(a),
        b_bytes=low.element_bytes(b),
        out_bytes=low.element_bytes(out),
        layout="nn",
    )
    _emit(low, op, a, b, work, label="einsum", reads=[low.access(a.name), low.access(b.name)])
