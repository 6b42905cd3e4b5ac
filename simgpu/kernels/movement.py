"""Ops that look at tensors differently (no kernel) or move elements (a copy)."""

from __future__ import annotations

from simgpu.graph.ir import STATE, Op, Tensor
from simgpu.kernels.context import Layout, Lowering, Strides, contiguous_strides, ints_attr, is_contiguous, rule
from simgpu.kernels.kernel import Access, Stream
from simgpu.kernels.views import reshaped_strides

# Philox with 10 rounds of about 10 instructions makes four random numbers at once; comparing, scaling and packing come on top.
# Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; PyTorch aten/src/ATen/native/cuda/Dropout.cu.
_DROPOUT_INSTRUCTIONS = 30.0

# ---- views


def _view(low: Lowering, source: str, target: str, strides: Strides | None) -> None:
    """The target looks into the source's buffer with these strides."""
    tensor = low.tensor(target)
    if strides is not None and is_contiguous(tensor.shape, strides):
        strides = None
    low.place(target, Layout(low.layout(source).base, strides))


def _strides(low: Lowering, tensor: Tensor) -> Strides:
    return low.strides(tensor.name) or contiguous_strides(tensor.shape)


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(low: Lowering, op: Op) -> None:
    """Nothing, or a copy where the elements do not lie so that other strides would do (after a transpose)."""
    x, out = low.input(op, 0), low.tensor(op.outputs[0])
    strides = low.strides(x.name)
    if strides is None:
        low.place(out.name, Layout(low.layout(x.name).base))
        return
    if (new := reshaped_strides(x.shape, strides, out.shape)) is not None:
        _view(low, x.name, out.name, new)
        return
    buffer = low.contiguous(op, x.name)
    low.place(out.name, Layout(buffer.tensor))


@rule("Dropout")
def dropout(low: Lowering, op: Op) -> None:
    """In training, a kernel that draws random numbers, drops what they say and keeps a byte for each element; else a view."""
    if not op.attrs.get("training_mode"):
        identity(low, op)
        return
    x = low.input(op, 0)
    work = Stream(elements=x.elements, instructions=_DROPOUT_INSTRUCTIONS, itemsize=low.itemsize(x))
    low.emit(op, work, label="dropout", reads=(low.contiguous(op, x.name),), writes=[low.access(t) for t in op.outputs if t])


@rule("Identity")
def identity(low: Lowering, op: Op) -> None:
    source = op.inputs[0]
    low.place(op.outputs[0], low.layout(source))


@rule("Transpose")
def transpose(low: Lowering, op: Op) -> None:
    """Only the strides change; whoever needs the elements in order copies them."""
    x = low.input(op, 0)
    perm = ints_attr(op, "perm") or tuple(reversed(range(len(x.shape))))
    strides = _strides(low, x)
    _view(low, x.name, op.outputs[0], tuple(strides[p] for p in perm))


@rule("Split")
def split(low: Lowering, op: Op) -> None:
    """Parts of a tensor are views of it."""
    x = low.input(op, 0)
    for out in op.outputs:
        if out:
            _view(low, x.name, out, _strides(low, x))


@rule("Slice")
def slice_(low: Lowering, op: Op) -> None:
    """Every so many elements along some axes: a view, unless it walks backwards."""
    x = low.input(op, 0)
    steps, axes = ints_attr(op, "steps"), ints_attr(op, "axes")
    if any(s < 0 for s in steps):
        _copy(low, op, "flip", "gather")
        return
    strides = list(_strides(low, x))
    for i, step in enumerate(steps):
        strides[axes[i] if axes else i] *= step
    _view(low, x.name, op.outputs[0], tuple(strides))


@rule("Expand")
def expand(low: Lowering, op: Op) -> None:
    """Repeated elements have stride 0."""
    x, out = low.input(op, 0), low.tensor(op.outputs[0])
    lead = len(out.shape) - len(x.shape)
    if lead < 0:
        _copy(low, op, "expand", "elementwise")
        return
    strides = _strides(low, x)
    wide = tuple(0 if i < lead or (x.shape[i - lead] == 1 and out.shape[i] != 1) else strides[i - lead] for i in range(len(out.shape)))
    _view(low, x.name, out.name, wide)


@rule("Shape", "Size", "Constant")
def nothing(low: Lowering, op: Op) -> None:
    """Known before the run: the host has it."""


# ---- copies


def _copy(low: Lowering, op: Op, label: str, pattern: str, *, instructions: float = 1.0, window: float = 1.0) -> None:
    """A kernel that reads its inputs (no more of them than it writes) and writes its outputs."""
    out = max((low.tensor(t) for t in op.outputs if t), key=lambda t: t.elements)
    limit = max(low.bytes_of(out.name) * window, 64.0)
    reads = [low.part(t, limit) for t in dict.fromkeys(op.inputs) if t]
    work = Stream(elements=out.elements, instructions=instructions, pattern=pattern, window=window, itemsize=low.itemsize(out))
    low.emit(op, work, label=label, reads=reads, writes=[low.access(t) for t in op.outputs if t])


@rule("Concat")
def concat(low: Lowering, op: Op) -> None:
    """All parts are copied behind each other by one kernel."""
    out = low.tensor(op.outputs[0])
    reads = [low.access(t) for t in op.inputs if t]
    work = Stream(elements=out.elements, instructions=2.0, itemsize=low.itemsize(out))
    low.emit(op, work, label="concat", reads=reads, writes=(low.access(out.name),))


@rule("Pad", "CenterCropPad")
def pad(low: Lowering, op: Op) -> None:
    _copy(low, op, "pad", "elementwise", instructions=8.0)


@rule("Tile")
def tile(low: Lowering, op: Op) -> None:
    _copy(low, op, "repeat", "elementwise", instructions=8.0)


@rule("Gather", "GatherElements", "GatherND")
def gather(low: Lowering, op: Op) -> None:
    """Rows of a table by index; of the table only what is asked for is read."""
    table = low.input(op, 0)
    _copy(low, op, "embedding" if table.kind == "weight" else "gather", "gather", instructions=6.0)


@rule("ScatterElements", "ScatterND", "Scatter", "TensorScatter")
def scatter(low: Lowering, op: Op) -> None:
    """Updates written into a copy of the data; into the data themselves where they are a state that is kept (KV cache)."""
    data, updates = low.input(op, 0), low.input(op, 2 if len(op.inputs) > 2 and op.type != "TensorScatter" else 1)
    out = low.tensor(op.outputs[0])
    index = [low.access(t) for t in op.inputs[1:] if t]
    in_place = low.layout(data.name).base in low.graph.tensors and low.tensor(low.layout(data.name).base).kind == STATE
    if in_place:
        low.place(out.name, low.layout(data.name))
        writes, reads, elements = (low.part(data.name, low.bytes_of(updates.name)),), index, updates.elements
    else:
        writes, reads, elements = (low.access(out.name),), [low.access(data.name), *index], out.elements
    work = Stream(elements=elements, instructions=6.0, pattern="gather", itemsize=low.itemsize(out))
    low.emit(op, work, label="scatter", reads=reads, writes=writes)


@rule("Resize", "Upsample")
def resize(low: Lowering, op: Op) -> None:
    """Each output element reads 1, 4 or 16 neighbours."""
    mode = str(op.attrs.get("mode", "nearest"))
    rank = len(low.input(op, 0).shape) - 2
    window = {"nearest": 1.0, "linear": 2.0**rank, "cubic": 4.0**rank}.get(mode, 1.0)
    _copy(low, op, f"resize {mode}", "gather" if window == 1 else "window", instructions=8.0 + 2.0 * window, window=window)


@rule("GridSample", "RoiAlign", "MaxRoiPool")
def sample(low: Lowering, op: Op) -> None:
    """Bilinear samples at computed places."""
    _copy(low, op, op.type.lower(), "gather", instructions=30.0, window=4.0)


@rule("DepthToSpace", "SpaceToDepth", "ReverseSequence", "Col2Im")
def shuffle(low: Lowering, op: Op) -> None:
    """Elements change places: PyTorch's pixel_shuffle copies a permuted view."""
    _copy(low, op, op.type.lower(), "transpose")


@rule("Trilu", "OneHot", "Range", "ConstantOfShape", "NonZero", "Compress")
def make(low: Lowering, op: Op) -> None:
    _copy(low, op, op.type.lower(), "elementwise", instructions=4.0)


@rule("MaxPool", "AveragePool", "LpPool", "MaxUnpool")
def pool(low: Lowering, op: Op) -> None:
    """A window slides over the input; each element is read from DRAM once."""
    x, out = low.input(op, 0), low.tensor(op.outputs[0])
    kernel = ints_attr(op, "kernel_shape")
    window = 1.0
    for size in kernel:
        window *= size
    work = Stream(elements=out.elements, instructions=window + 6.0, pattern="window", window=window, itemsize=low.itemsize(out))
    label = ("max pool " if op.type == "MaxPool" else "average pool " if op.type == "AveragePool" else f"{op.type.lower()} ") + "×".join(map(str, kernel))
    writes = [low.access(t) for t in op.outputs if t]
    if op.type == "MaxPool" and len(writes) == 1:
        writes.append(pool_indices(low, op.name, out.elements))
    low.emit(op, work, label=label, reads=(low.contiguous(op, x.name),), writes=writes)


def pool_indices(low: Lowering, name: str, elements: int) -> Access:
    """Where each maximum was: PyTorch's kernel always writes it, in 8 bytes; a compiler keeps a byte.

    Source: PyTorch `at::max_pool2d` calls `max_pool2d_with_indices` (aten/src/ATen/native/Pooling.cpp);
    torch/_inductor/lowering.py `_low_memory_max_pool2d_with_offsets`.
    """
    return Access(tensor=f"{name}:indices", bytes=elements * (1.0 if low.runtime.fuse_pointwise else 8.0))
