"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Count, Shape, Spec, broadcast, computed_dtype, product_dtype, rule


def matmul_shape(call: Call, a: Shape, b: Shape) -> Shape:
    """Shape of a product as NumPy's matmul defines it: leading axes broadcast, vectors lose their axis again."""
    if not a or not b:
        raise call.fail(f"multiplies {a} by {b}, expected at least one dimension each")
    left, right = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    if left[-1] != right[-2]:
        raise call.fail(f"multiplies {a} by {b}: the inner dimensions {left[-1]} and {right[-2]} differ")
    rows = left[-2:-1] if len(a) > 1 else ()
    cols = right[-1:] if len(b) > 1 else ()
    return (*broadcast(call, left[:-2], right[:-2]), *rows, *cols)


def _inner(index: int) -> Count:
    def macs(call: Call, outs: tuple[Tensor, ...]) -> float:
        return float(outs[0].elements * call.shape(index)[-1])

    return macs


@rule("MatMul", macs=_inner(0))
def matmul(call: Call) -> Sequence[Spec]:
    return ((matmul_shape(call, call.shape(0), call.shape(1)), product_dtype(call)),)


@rule("MatMulInteger", macs=_inner(0))
def matmul_integer(call: Call) -> Sequence[Spec]:
    return ((matmul_shape(call, call.shape(0), call.shape(1)), "int32"),)


@rule("QLinearMatMul", macs=_inner(0))
def qlinear_matmul(call: Call) -> Sequence[Spec]:
    zero_point = 7
    return ((matmul_shape(call, call.shape(0), call.shape(3)), call.dtype(zero_point) if call.has(zero_point) else call.dtype(0)),)


def _gemm_macs(call: Call, outs: tuple[Tensor, ...]) -> float:
    a = call.shape(0)
    return float(outs[0].elements * (a[0] if call.attr("transA", 0) else math.prod(a[1:])))


@rule("Gemm", macs=_gemm_macs)
def gemm(call: Call) -> Sequence[Spec]:
    a, b = call.shape(0, rank=2), call.shape(1, rank=2)
    a = (a[0], math.prod(a[1:]))  # opset 6 and older let A have more axes
    m, k = a[::-1] if call.attr("transA", 0) else a
    k2, n = b[:2][::-1] if call.attr("transB", 0) else b[:2]
    if k != k2 or len(b) > 2:
        raise call.fail(
            f"multiplies {call.shape(0)} by {b} (transA={call.attr('transA', 0)}, transB={call.attr('transB', 0)}): the inner dimensions {k} and {k2} differ"
        )
    if call.has(2) and broadcast(call, call.shape(2), (m, n)) != (m, n):
        raise call.fail(f"adds {call.shape(2)} to a result of {(m, n)}")
    return (((m, n), product_dtype(call)),)


@rule("Linear", macs=_inner(0))
def linear(call: Call) -> Sequence[Spec]:
    """x[..., in] · weight[out, in]ᵀ + bias[out]; the attribute `in_out` says that the weight lies as (in, out) in memory."""
    x, weight = call.shape(0, rank=1), call.shape(1, rank=2)
    if len(weight) != 2 or x[-1] != weight[1]:
        raise call.fail(f"multiplies {x} by a weight of {weight} (out, in): {x[-1]} features meet {weight[1]}")
    if call.has(2) and call.shape(2) != weight[:1]:
        raise call.fail(f"adds a bias of {call.shape(2)} to {weight[0]} features")
    return (((*x[:-1], weight[0]), product_dtype(call)),)


@rule("MatMulNBits", macs=_inner(0))
def matmul_nbits(call: Call) -> Sequence[Spec]:
    """x[..., K] by a weight of N × K in blocks of few bits (com.microsoft)."""
    x, k = call.shape(0, rank=1), call.number("K", -1)
    if x[-1] != k:
        raise call.fail(f"multiplies {x} by a weight with K={k}")
    return (((*x[:-1], call.number("N", -1)), call.dtype(0)),)


def _equation(call: Call) -> tuple[list[str], str, dict[str, int]]:
    """Labels of each operand and of the output, and the size of each label; an ellipsis becomes digits."""
    text = str(call.attr("equation", "")).replace(" ", "")
    left, arrow, output = text.partition("->")
    operands = left.split(",")
    if len(operands) != len(call.inputs) or len(text) > 1000:
        raise call.fail(f"equation '{text[:100]}' has {len(operands)} operands, expected {len(call.inputs)}")
    wide = max((len(call.shape(i)) - len(o.replace("...", "")) for i, o in enumerate(operands) if "..." in o), default=0)
    size: dict[str, int] = {}
    terms = []
    for i, labels in enumerate(operands):
        shape = call.shape(i)
        hidden = len(shape) - len(labels.replace("...", ""))
        labels = labels.replace("...", "".join(map(chr, range(1 + wide - hidden, 1 + wide))), 1)
        if len(labels) != len(shape) or hidden < 0:
            raise call.fail(f"equation '{text}': operand {i} has shape {shape}")
        for label, dim in zip(labels, shape, strict=True):
            if size.setdefault(label, dim) != dim and 1 not in (dim, size[label]):
                raise call.fail(f"equation '{text}': index {label!r} is {size[label]} and {dim}")
            size[label] = max(size[label], dim)
        terms.append(labels)
    ellipsis = "".join(map(chr, range(1, 1 + wide)))
    if not arrow:
        everything = "".join(terms)
        output = ellipsis + "".join(sorted(c for c in set(everything) if everything.count(c) == 1 and c.isalpha()))
    output = output.replace("...", ellipsis, 1)
    if any(c not in size for c in output) or len(set(output)) < len(output):
        raise call.fail(f"equation '{text}': the output names an index that no operand has, or one twice")
    return terms, output, size


def _einsum_macs(call: Call, outs: tuple[Tensor, ...]) -> float:
    """Operands are contracted from left to right; a step costs all indices of both if it sums over one."""
    terms, output, size = _equation(call)
    total, held = 0.0, set(terms[0])
    for i, term in enumerate(terms[1:], 1):
        later = set(output).union(*terms[i + 1 :])
        both = held | set(term)
        if both - later:
            total += math.prod(size[c] for c in both)
        held = both & later
    return total


@rule("Einsum", macs=_einsum_macs)
def einsum(call: Call) -> Sequence[Spec]:
    _, output, size = _equation(call)
    return ((tuple(size[c] for c in output), computed_dtype(call)),)
