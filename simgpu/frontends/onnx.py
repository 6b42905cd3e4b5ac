"""ONNX files → Graph. Weights are never read: a file stripped of them works, and only small constants are kept, for shapes."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from simgpu.errors import ModelError, ShapeError
from simgpu.frontends.onnx_assemble import assemble
from simgpu.frontends.onnx_binding import Binding
from simgpu.frontends.onnx_proto import check_names, dtype_name, value_shape
from simgpu.frontends.onnx_strip import Buffer, strip
from simgpu.frontends.onnx_walk import Scope, Walker, is_known
from simgpu.graph.ir import INPUT, Graph, Op
from simgpu.ops.registry import check_supported

OPSETS = range(7, 24)


def load_onnx(path: str | Path, *, batch: int | None = None, shapes: Mapping[str, int | tuple[int, ...]] | None = None, allow_unknown: bool = False) -> Graph:
    """The operator graph of an ONNX file, opset 7 to 23, with every shape bound.

    Args:
        batch: Size of symbolic first dimensions; of fixed ones if they are 1. None = 1, or as the file says.
        shapes: What else to bind: {"height": 640} a symbol, {"images": (1, 3, 640, 640)} an input, {"sr": 16000} the value of a scalar input.
        allow_unknown: Keep operators without a rule; they are listed in the assumptions.
    Raises:
        ModelError: The file cannot be read or makes no sense.
        ShapeError: Dimensions stay unbound or do not fit; the message says which and what to do.
        UnsupportedError: Operators without a rule, all at once.
    """
    path = Path(path)
    return graph_of(read_proto(path), where=str(path), folder=path.parent, batch=batch, shapes=shapes or {}, allow_unknown=allow_unknown)


def read_proto(path: Path) -> onnx.ModelProto:
    """The file as protobuf, without the data of large tensors; external data is left where it is.

    Raises:
        ModelError: It is not there or is no ONNX.
    """
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise ModelError(f"{path}: is empty, expected an ONNX model; export or fetch it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                head = mapped[:64]
                data = _stripped(mapped)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: is a Git LFS pointer, not the model; fetch it with 'git lfs pull'")
    if head.startswith(b"PK\x03\x04"):
        raise ModelError(f"{path}: is a zip archive (a PyTorch file?), expected ONNX; export it with torch.onnx.export")
    model = onnx.ModelProto()
    try:
        if data is None:
            raise DecodeError
        model.ParseFromString(data)
    except (DecodeError, RecursionError, ValueError):
        raise ModelError(f"{path}: is no ONNX file, or is damaged or cut off; export or fetch it again") from None
    if not model.graph.node:
        raise ModelError(f"{path}: holds no graph with nodes, expected an ONNX model; export or fetch it again")
    return model


def _stripped(data: Buffer) -> bytes | None:
    """The file without large data; None if it is no protobuf message."""
    try:
        return strip(data)
    except ValueError:
        return None


def graph_of(
    model: onnx.ModelProto,
    *,
    where: str,
    folder: Path,
    batch: int | None = None,
    shapes: Mapping[str, int | tuple[int, ...]] | None = None,
    allow_unknown: bool = False,
) -> Graph:
    """The operator graph of a model in memory; `where` stands before messages, `folder` may hold external data."""
    try:
        check_names(model, where)
        return _graph(model, where, folder, batch, shapes or {}, allow_unknown)
    except UnicodeDecodeError:
        raise ModelError(f"{where}: a name in it is no UTF-8 text; the file is damaged") from None
    except RecursionError:
        raise ModelError(f"{where}: subgraphs or functions are nested too deep") from None


def _graph(model: onnx.ModelProto, where: str, folder: Path, batch: int | None, shapes: Mapping[str, int | tuple[int, ...]], allow_unknown: bool) -> Graph:
    proto = model.graph
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OPSETS[-1])
    stored = {t.name for t in proto.initializer} | {t.values.name for t in proto.sparse_initializer}
    inputs = [info for info in proto.input if info.name not in stored]
    binding = Binding(inputs, (*proto.output, *proto.value_info), where, batch, shapes)
    walker = Walker(
        where=where,
        folder=folder,
        functions={(f.domain, f.name): f for f in model.functions},
        symbols=binding.symbols,
        opset=opset,
        allow_unknown=allow_unknown,
        batch=binding.batch,
        fixed=binding.fixed,
    )
    if opset not in OPSETS:
        walker.assume(f"the file uses opset {opset}; simgpu knows opset {OPSETS[0]} to {OPSETS[-1]}")
    for note in binding.assumptions:
        walker.assume(note)
    scope = Scope()
    for info in inputs:
        name = info.name
        _, code = value_shape(info, where)
        kind = dtype_name(code, f"{where}: input '{name}'") if code else "fp32"
        scope.names[name] = walker.declare(name, (binding.shapes[name], kind), INPUT, binding.values.get(name))
    try:
        outputs = walker.graph(proto, scope, proto.name)
    except ShapeError:
        if not allow_unknown and walker.unknown:  # it only guessed their shapes
            check_supported(_unknown_ops(model, walker), where)
        raise
    if not allow_unknown:
        check_supported(walker.unknown, where)
    if walker.fixed_shapes:
        first, count = walker.fixed_shapes[0], len(walker.fixed_shapes)
        walker.assume(f"shapes that the file fixes to batch 1 ({count}, the first at node '{first}') grow to batch {binding.batch}")
    for op in walker.unknown:
        walker.assume(f"node '{op.name}': operator '{op.type}' is not known; it is priced as memory traffic")
    named = dict(zip((info.name for info in proto.output), outputs, strict=True))
    return assemble(walker, name=proto.name or Path(where).stem, inputs=[info.name for info in inputs], outputs=named, where=where)


def _unknown_ops(model: onnx.ModelProto, walker: Walker) -> list[Op]:
    """All nodes of the main graph without a rule, also those behind the point where the walk ended."""
    walked = {op.name for op in walker.unknown}
    rest = [n for n in model.graph.node if n.name not in walked and not is_known(n) and (n.domain, n.op_type) not in walker.functions]
    kinds = ((n.name, n.op_type if n.domain in ("", "ai.onnx", "com.microsoft") else f"{n.domain}.{n.op_type}") for n in rest)
    return [*walker.unknown, *(Op(name=name, type=kind, inputs=(), outputs=()) for name, kind in kinds)]
