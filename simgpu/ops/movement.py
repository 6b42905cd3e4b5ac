"""Ops that rearrange elements without arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simgpu.errors import ShapeError
from simgpu.graph.ir import Graph, Tensor
from simgpu.ops.registry import Call, Shape, Spec, always, broadcast, computed_dtype, rule, same

# ---- views: the same elements in the same order under another shape


@rule("Reshape", view=always)
def reshape(call: Call) -> Sequence[Spec]:
    """0 keeps a dimension (unless allowzero), one -1 takes what is left."""
    x = call.tensor(0)
    wanted = call.operand("shape", 1)
    if wanted is None:
        raise call.fail("has no shape")
    shape = list(wanted)
    if not call.attr("allowzero", 0):
        for i, d in enumerate(shape):
            if d == 0:
                if i >= len(x.shape):
                    raise call.fail(f"the shape {wanted} keeps dimension {i} of an input of {x.shape}")
                shape[i] = x.shape[i]
    if shape.count(-1) > 1 or any(d < -1 for d in shape):
        raise call.fail(f"the shape {wanted} has a negative dimension other than one -1")
    if -1 in shape:
        rest = math.prod(d for d in shape if d != -1)
        if (rest == 0 and x.elements) or (rest and x.elements % rest):
            raise call.fail(f"an input of {x.shape} cannot be reshaped to {wanted}")
        shape[shape.index(-1)] = x.elements // rest if rest else 0
    if math.prod(shape) != x.elements:
        raise call.fail(f"an input of {x.shape} ({x.elements} elements) cannot be reshaped to {wanted}")
    return ((tuple(shape), x.dtype),)


@rule("Flatten", view=always)
def flatten(call: Call) -> Sequence[Spec]:
    x, axis = call.shape(0), call.number("axis", 1)
    if not -len(x) <= axis <= len(x):
        raise call.fail(f"axis {axis} is outside of an input of {x}")
    axis = axis + len(x) if axis < 0 else axis
    return (((math.prod(x[:axis]), math.prod(x[axis:])), call.dtype(0)),)


@rule("Squeeze", view=always)
def squeeze(call: Call) -> Sequence[Spec]:
    x, axes = call.shape(0), call.operand("axes", 1)
    gone = {i for i, d in enumerate(x) if d == 1} if axes is None else set(call.axes(axes, len(x)))
    if any(x[i] != 1 for i in gone):
        raise call.fail(f"squeezes the axes {axes} of {x}, which are not all 1")
    return ((tuple(d for i, d in enumerate(x) if i not in gone), call.dtype(0)),)


@rule("Unsqueeze", view=always)
def unsqueeze(call: Call) -> Sequence[Spec]:
    x, axes = call.shape(0), call.operand("axes", 1)
    if axes is None:
        raise call.fail("has no axes")
    rank = len(x) + len(axes)
    new = set(call.axes(axes, rank))
    if len(new) != len(axes):
        raise call.fail(f"inserts an axis twice: {axes}")
    rest = iter(x)
    return ((tuple(1 if i in new else next(rest) for i in range(rank)), call.dtype(0)),)


# ---- permutations


def _transpose_is_view(call: Call, outs: tuple[Tensor, ...], graph: Graph) -> bool:
    """Only axes of size 1 move; or it only tells the matrix product or attention beside it how to walk its operand.

    A GEMM takes either operand transposed, and fused attention takes any strides of heads and positions (cuBLAS
    `transa`/`transb`; FlashAttention's (batch, positions, heads, channels)).
    """
    x, perm = call.shape(0), _perm(call)
    real = [axis for axis in perm if x[axis] != 1]
    if real == sorted(real):
        return True
    users = graph.consumers.get(outs[0].name, ())
    maker = graph.producer.get(call.tensor(0).name)
    last_kept = perm[-1] == len(perm) - 1
    if last_kept and ((maker is not None and maker.type == "Attention") or (users and all(u.type == "Attention" for u in users))):
        return True
    n = len(perm)
    swaps_matrix = n >= 2 and perm == (*range(n - 2), n - 1, n - 2)
    return swaps_matrix and bool(users) and all(u.type in ("MatMul", "Gemm") and outs[0].name not in u.inputs[2:] for u in users)


def _perm(call: Call) -> Shape:
    rank = len(call.shape(0))
    return call.integers("perm", tuple(reversed(range(rank))), rank)


@rule("Transpose", view=_transpose_is_view)
def transpose(call: Call) -> Sequence[Spec]:
    x, perm = call.shape(0), _perm(call)
    if sorted(perm) != list(range(len(x))):
        raise call.fail(f"perm {perm} is no permutation of the axes of {x}")
    return ((tuple(x[axis] for axis in perm), call.dtype(0)),)


@rule("DepthToSpace")
def depth_to_space(call: Call) -> Sequence[Spec]:
    (n, c, h, w), block = _image(call), call.number("blocksize", 0)
    if block < 1 or c % (block * block):
        raise call.fail(f"{c} channels do not hold blocks of {block} × {block}")
    return (((n, c // block // block, h * block, w * block), call.dtype(0)),)


@rule("SpaceToDepth")
def space_to_depth(call: Call) -> Sequence[Spec]:
    (n, c, h, w), block = _image(call), call.number("blocksize", 0)
    if block < 1 or h % block or w % block:
        raise call.fail(f"an image of {h} × {w} does not divide into blocks of {block} × {block}")
    return (((n, c * block * block, h // block, w // block), call.dtype(0)),)


def _image(call: Call) -> tuple[int, int, int, int]:
    x = call.shape(0, rank=4)
    if len(x) != 4:
        raise call.fail(f"input 0 has shape {x}, expected (N, C, H, W)")
    n, c, h, w = x
    return n, c, h, w


# ---- joining and cutting


@rule("Concat")
def concat(call: Call) -> Sequence[Spec]:
    shapes = [call.shape(i) for i in range(len(call.inputs))]
    if not shapes:
        raise call.fail("has no input")
    first = shapes[0]
    axis = call.axis(call.number("axis", 1), len(first))
    for other in shapes[1:]:
        if len(other) != len(first) or any(a != b for i, (a, b) in enumerate(zip(first, other, strict=True)) if i != axis):
            raise call.fail(f"joins {first} and {other} on axis {axis}; all other dimensions must agree")
    return (((*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :]), computed_dtype(call)),)


def _leading(x: Shape, axes: Sequence[int]) -> bool:
    """A range of the first axis that is larger than 1 is one piece of memory."""
    first = next((i for i, d in enumerate(x) if d != 1), len(x))
    return all(axis <= first for axis in axes)


@rule("Split", view=lambda call, outs, graph: _leading(call.shape(0), call.axes((call.number("axis", 0),), len(call.shape(0)))))
def split(call: Call) -> Sequence[Spec]:
    """Sizes from `split`; else equal parts, of which the last may be smaller."""
    x, sizes = call.shape(0, rank=1), call.operand("split", 1)
    axis = call.axis(call.number("axis", 0), len(x))
    if sizes is None:
        parts = len(call.op.outputs)
        size = math.ceil(x[axis] / parts)
        sizes = tuple(max(min(size, x[axis] - i * size), 0) for i in range(parts))
    if sum(sizes) != x[axis] or any(s < 0 for s in sizes):
        raise call.fail(f"splits axis {axis} of {x} into {sizes}")
    return tuple(((*x[:axis], s, *x[axis + 1 :]), call.dtype(0)) for s in sizes)


def slice_ranges(call: Call) -> tuple[tuple[int, range], ...]:
    """For each axis cut the positions that stay, as NumPy cuts."""
    x = call.shape(0)
    starts, ends = call.operand("starts", 1), call.operand("ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        raise call.fail(f"starts {starts} and ends {ends} must be given and of one length")
    axes = call.operand("axes", 3)
    axes = call.axes(tuple(range(len(starts))) if axes is None else axes, len(x))
    steps = call.operand("steps", 4) or (1,) * len(starts)
    if not len(axes) == len(starts) == len(steps) or 0 in steps:
        raise call.fail(f"starts {starts}, axes {axes} and steps {steps} must be of one length, and no step 0")
    return tuple((a, range(*slice(s, e, t).indices(x[a]))) for a, s, e, t in zip(axes, starts, ends, steps, strict=True))


def _slice_is_view(call: Call, outs: tuple[Tensor, ...], graph: Graph) -> bool:
    try:
        cuts = slice_ranges(call)
    except ShapeError:  # the operands are tensors whose values are not kept in the graph
        return False
    x = call.shape(0)
    return _leading(x, [a for a, r in cuts if len(r) != x[a]]) and all(r.step == 1 or len(r) <= 1 for _, r in cuts)


@rule("Slice", view=_slice_is_view, read=lambda call, outs: {0: outs[0].bytes})
def slice_(call: Call) -> Sequence[Spec]:
    shape = list(call.shape(0))
    for axis, kept in slice_ranges(call):
        shape[axis] = len(kept)
    return ((tuple(shape), call.dtype(0)),)


@rule("Pad")
def pad(call: Call) -> Sequence[Spec]:
    x, pads = call.shape(0), call.operand("pads", 1)
    if pads is None:
        pads = call.integers("paddings", ())
    axes = call.operand("axes", 3)
    axes = call.axes(range(len(x)) if axes is None else axes, len(x))
    if len(pads) != 2 * len(axes):
        raise call.fail(f"pads {pads} must hold a number before and one after each of {len(axes)} axes")
    shape = list(x)
    for i, axis in enumerate(axes):
        shape[axis] += pads[i] + pads[i + len(axes)]
    return ((tuple(shape), call.dtype(0)),)


@rule("CenterCropPad", read=lambda call, outs: {0: outs[0].bytes})
def center_crop_pad(call: Call) -> Sequence[Spec]:
    x, wanted = call.shape(0), call.operand("shape", 1) or ()
    axes = call.axes(call.integers("axes", tuple(range(len(x)))), len(x))
    if len(axes) != len(wanted):
        raise call.fail(f"the shape {wanted} does not fit the axes {axes}")
    sizes = dict(zip(axes, wanted, strict=True))
    return ((tuple(sizes.get(i, d) for i, d in enumerate(x)), call.dtype(0)),)


# ---- repeating


@rule("Expand")
def expand(call: Call) -> Sequence[Spec]:
    shape = call.operand("shape", 1)
    if shape is None:
        raise call.fail("has no shape")
    return ((broadcast(call, call.shape(0), shape), call.dtype(0)),)


@rule("Tile")
def tile(call: Call) -> Sequence[Spec]:
    x, repeats = call.shape(0), call.operand("repeats", 1)
    if repeats is None or len(repeats) != len(x):
        raise call.fail(f"repeats {repeats} must hold one number for each axis of {x}")
    return ((tuple(d * r for d, r in zip(x, repeats, strict=True)), call.dtype(0)),)


# FLOP of one output element by interpolation: nearest copies; linear is a weighted sum over 2 points an axis, cubic over 4.
_POINTS = {"nearest": 0, "linear": 2, "bilinear": 2, "cubic": 4}


def _resize_flop(call: Call, outs: tuple[Tensor, ...]) -> float:
    """One product and one sum for each point of the neighbourhood."""
    axes = sum(a != b for a, b in zip(call.shape(0), outs[0].shape, strict=True))
    points = _POINTS.get(str(call.attr("mode", "nearest")), 2)
    return float(2 * points**axes * outs[0].elements) if points and axes else 0.0


@rule("Resize", flop=_resize_flop)
def resize(call: Call) -> Sequence[Spec]:
    """Inputs x, roi, scales, sizes; opset 10 has x, scales."""
    x = call.shape(0)
    old = len(call.inputs) == 2 and "sizes" not in call.op.attrs
    sizes = call.operand("sizes", 3)
    scales = None if sizes else call.value("scales", 1 if old else 2)
    axes = call.axes(call.integers("axes", tuple(range(len(x)))), len(x))
    shape = list(x)
    if sizes:
        if len(sizes) != len(axes):
            raise call.fail(f"sizes {sizes} do not fit the axes {axes}")
        policy = str(call.attr("keep_aspect_ratio_policy", "stretch"))
        if policy != "stretch" and all(x[a] for a in axes):
            pick = min if policy == "not_larger" else max
            ratio = pick(s / x[a] for a, s in zip(axes, sizes, strict=True))
            sizes = tuple(math.floor(x[a] * ratio + 0.5) for a in axes)
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
    elif scales is not None and scales.size:
        if scales.size != len(axes):
            raise call.fail(f"{scales.size} scales do not fit the axes {axes}")
        for axis, scale in zip(axes, scales.reshape(-1).tolist(), strict=True):
            shape[axis] = _scaled(call, x[axis], scale)
    else:
        raise call.fail("has neither sizes nor scales")
    return ((tuple(shape), call.dtype(0)),)


@rule("Upsample", flop=_resize_flop)
def upsample(call: Call) -> Sequence[Spec]:
    x, scales = call.shape(0), call.value("scales", 1)
    if scales is None or scales.size != len(x):
        raise call.fail(f"scales {scales} must hold one factor for each axis of {x}")
    return ((tuple(_scaled(call, d, s) for d, s in zip(x, scales.reshape(-1).tolist(), strict=True)), call.dtype(0)),)


def _scaled(call: Call, dim: int, scale: float) -> int:
    """floor(dim · scale); a float32 scale such as 1/3 must not lose an element to rounding."""
    if not 0 < scale < 2**31:
        raise call.fail(f"the scale {scale} is not between 0 and 2^31")
    return math.floor(dim * scale + 1e-5)


@rule("Trilu")
def trilu(call: Call) -> Sequence[Spec]:
    call.shape(0, rank=2)
    return same(call)


@rule("ReverseSequence")
def reverse_sequence(call: Call) -> Sequence[Spec]:
    return same(call)
