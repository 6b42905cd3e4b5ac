"""aten operators that look at tensors differently, move elements or pick them by index."""

from __future__ import annotations

from typing import Any

from simgpu.frontends.torch_patterns import Written, is_call
from simgpu.frontends.torch_walk import Arguments, Walk, aten
from simgpu.graph.ir import Tensor


@aten("view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as", "reshape_as", "ravel")
def _reshape(w: Walk, a: Arguments) -> Any:
    return w.reshape(a.first, w.result())


@aten("transpose", "t", "permute", "swapaxes", "movedim", "mT", "numpy_T")
def _transpose(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    rank = len(x.shape)
    perm = list(range(rank))
    if a.name == "permute":
        perm = [int(d) % rank for d in a["dims"]]
    elif a.name in ("t", "mT", "numpy_T"):
        perm = [*perm[:-2], *perm[-2:][::-1]] if a.name != "numpy_T" else perm[::-1]
    elif a.name == "movedim":
        return NotImplemented
    else:
        i, j = (a.axis(key, rank) for key in list(a.values)[1:3])
        perm[i], perm[j] = perm[j], perm[i]
    return w.transpose(x, perm)


@aten("expand", "expand_as", "broadcast_to")
def _expand(w: Walk, a: Arguments) -> Any:
    return a.first if a.first.shape == w.result() else w.op("Expand", a.first, shape=w.result())


@aten("repeat", "tile")
def _repeat(w: Walk, a: Arguments) -> Any:
    x, repeats = a["self"], tuple(a.get("repeats") or a.get("dims"))
    x = w.reshape(x, (*(1,) * (len(repeats) - len(x.shape)), *x.shape))
    return x if set(repeats) <= {1} else w.op("Tile", x, repeats=(*(1,) * (len(x.shape) - len(repeats)), *repeats))


@aten("repeat_interleave")
def _repeat_interleave(w: Walk, a: Arguments) -> Any:
    x, count = a["self"], a.get("repeats")
    if not isinstance(count, int) or a.get("dim") is None:
        return NotImplemented
    axis = a.axis("dim", len(x.shape))
    wide = w.op("Expand", w.reshape(x, (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])), shape=(*x.shape[: axis + 1], count, *x.shape[axis + 1 :]))
    return w.reshape(wide, w.result())


@aten("slice", "narrow")
def _slice(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    axis = a.axis("dim", len(x.shape))
    if a.name == "narrow":
        return w.slice(x, axis, int(a["start"]), int(a["start"]) + int(a["length"]))
    start, end, step = slice(a.get("start"), a.get("end"), a.get("step")).indices(x.shape[axis])
    return w.slice(x, axis, start, end, step)


@aten("select")
def _select(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    axis = a.axis("dim", len(x.shape))
    at = int(a["index"]) % x.shape[axis]
    return w.reshape(w.slice(x, axis, at, at + 1), w.result())


@aten("split", "split_with_sizes", "chunk", "unsafe_chunk", "unsafe_split", "tensor_split", "unbind")
def _parts(w: Walk, a: Arguments) -> Any:
    x = a["self"]
    axis = a.axis("dim", len(x.shape))
    shapes = [tuple(v.shape) for v in w.value(a.node)]
    if a.name != "unbind":
        return split(w, x, axis, tuple(s[axis] for s in shapes))
    return [w.reshape(part, s) for part, s in zip(split(w, x, axis, (1,) * len(shapes)), shapes, strict=True)]


def split(w: Walk, x: Tensor, axis: int, sizes: tuple[int, ...]) -> list[Tensor]:
    """Parts of an axis; a single part is the tensor itself."""
    if len(sizes) == 1:
        return [x]
    made: list[Tensor] = w.op("Split", x, outputs=len(sizes), axis=axis, split=sizes)
    return made


@aten("cat", "concat", "concatenate")
def _cat(w: Walk, a: Arguments) -> Any:
    parts = [t for t in a["tensors"] if t.elements]
    return parts[0] if len(parts) == 1 else w.op("Concat", *parts, axis=int(a.get("dim", 0)))


@aten("stack")
def _stack(w: Walk, a: Arguments) -> Any:
    parts = a["tensors"]
    axis = a.axis("dim", len(parts[0].shape) + 1)
    return w.op("Concat", *(w.reshape(t, (*t.shape[:axis], 1, *t.shape[axis:])) for t in parts), axis=axis)


@aten("constant_pad_nd", "pad", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "replication_pad3d")
def _pad(w: Walk, a: Arguments) -> Any:
    """torch counts pads from the last axis; a negative pad cuts."""
    x, pad = a["self"], [int(p) for p in a.get("pad") or a.get("padding")]
    if not any(pad):
        return x
    rank = len(x.shape)
    before, after = [0] * rank, [0] * rank
    for i in range(len(pad) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = pad[2 * i], pad[2 * i + 1]
    for axis in range(rank):
        cut = max(-before[axis], 0), x.shape[axis] - max(-after[axis], 0)
        x = w.slice(x, axis, *cut)
    pads = tuple(max(p, 0) for p in (*before, *after))
    return w.op("Pad", x, pads=pads) if any(pads) else x


@aten("roll")
def _roll(w: Walk, a: Arguments) -> Any:
    """torch copies once; slices joined along each axis move the same elements."""
    x = a["self"]
    for shift, dim in zip(a["shifts"], a["dims"], strict=True):
        axis = dim % len(x.shape)
        cut = -shift % x.shape[axis]
        if cut:
            x = w.op("Concat", w.slice(x, axis, cut, x.shape[axis]), w.slice(x, axis, 0, cut), axis=axis)
    return x


@aten("flip")
def _flip(w: Walk, a: Arguments) -> Any:
    x, dims = a["self"], [int(d) % len(a["self"].shape) for d in a["dims"]]
    ends = tuple(-x.shape[d] - 1 for d in dims)
    return w.op("Slice", x, starts=tuple(x.shape[d] - 1 for d in dims), ends=ends, axes=tuple(dims), steps=(-1,) * len(dims))


@aten("tril", "triu")
def _trilu(w: Walk, a: Arguments) -> Any:
    return w.op("Trilu", a["self"], upper=int(a.name == "triu"))


# ---- indexing


@aten("embedding")
def _embedding(w: Walk, a: Arguments) -> Any:
    return w.op("Gather", a["weight"], a["indices"], axis=0)


@aten("embedding_bag")
def _embedding_bag(w: Walk, a: Arguments) -> Any:
    """Rows looked up, then added up within each bag, which are taken to be of one size."""
    table, indices = a["weight"], a["indices"]
    bags = w.value(a.node)[0].shape[0]
    if indices.elements % max(bags, 1):
        return NotImplemented
    rows = w.op("Gather", table, w.reshape(indices, (bags, indices.elements // bags)), axis=0)
    return [w.op("ReduceSum", rows, axes=(1,), keepdims=0), None, None, None]


@aten("index_select")
def _index_select(w: Walk, a: Arguments) -> Any:
    return w.op("Gather", a["self"], a["index"], axis=int(a["dim"]))


@aten("gather", "take_along_dim")
def _gather(w: Walk, a: Arguments) -> Any:
    return w.op("GatherElements", a["self"], a.get("index") or a.get("indices"), axis=int(a["dim"]))


@aten("index")
def _index(w: Walk, a: Arguments) -> Any:
    """Tensors as indices: one of them picks along its axis, several in front pick rows together."""
    x, indices = a["self"], a["indices"]
    used = [(axis, t) for axis, t in enumerate(indices) if t is not None]
    if any(t.dtype == "bool" for _, t in used):
        return NotImplemented  # how many there are hangs on values
    if len(used) == 1:
        return w.op("Gather", x, used[0][1], axis=used[0][0])
    if [axis for axis, _ in used] != list(range(len(used))):
        return NotImplemented
    lead = w.result()[: len(w.result()) - (len(x.shape) - len(used))]
    columns = [w.reshape(t if t.shape == lead else w.op("Expand", t, shape=lead), (*lead, 1)) for _, t in used]
    return w.op("GatherND", x, w.op("Concat", *columns, axis=-1))


@aten("scatter", "scatter_add", "scatter_reduce")
def _scatter(w: Walk, a: Arguments) -> Any:
    source = a.get("src", a.get("value"))
    return w.op("ScatterElements", a["self"], a["index"], w.operand(source, a["self"]), axis=int(a["dim"]))


@aten("index_put", "index_add", "index_copy")
def _scatter_rows(w: Walk, a: Arguments) -> Any:
    indices = a.get("indices") or [a.get("index")]
    first = next(t for t in indices if t is not None)
    return w.op("ScatterND", a["self"], first, w.operand(a.get("values", a.get("source")), a["self"]))


@aten("one_hot")
def _one_hot(w: Walk, a: Arguments) -> Any:
    return w.op("OneHot", a["self"], depth=w.result()[-1], axis=-1)


@aten("copy", "fill", "zero")
def _write(w: Walk, a: Arguments) -> Any:
    """Values written into a tensor, or into a slice of it."""
    into, value = a["self"], a.get("src", a.get("value", 0))
    if not isinstance(value, Tensor):
        value = w.constant("filled", into.shape, into.dtype)
    if value.dtype != into.dtype:
        value = w.op("Cast", value, to=into.dtype)
    if value.shape != into.shape:
        value = w.op("Expand", value, shape=into.shape)
    base, axis, start, end = _sliced(a.raw["self"])
    if base is None:
        return value
    pending = w.written.get(base)
    if pending is not None and pending.axis != axis:
        w.resolve(base)
        pending = None
    (pending or w.written.setdefault(base, Written(axis))).parts.append((start, end, value))
    return value


def _sliced(node: Any) -> tuple[Any, int, int, int]:
    """The tensor that a node is a slice of, the axis cut, and where; no tensor if it is no slice."""
    cut: tuple[int, int, int] | None = None
    while is_call(node, "slice", "alias"):
        if is_call(node, "slice"):
            shape = tuple(node.args[0].meta["val"].shape)
            axis = (node.args[1] if len(node.args) > 1 else 0) % len(shape)
            start, end, step = slice(*node.args[2:5]).indices(shape[axis])
            if step != 1 or ((start, end) != (0, shape[axis]) and cut is not None):
                return None, 0, 0, 0
            if (start, end) != (0, shape[axis]):
                cut = axis, start, end
        node = node.args[0]
    return (node, *cut) if cut is not None else (None, 0, 0, 0)
