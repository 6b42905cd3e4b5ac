"""ONNX files → Graph. Weights are never read: a file stripped of them works, and only small constants are kept, for shapes."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from simgpu.errors import ModelError, ShapeError, did_you_mean
from simgpu.frontends.onnx_proto import MAX_DIM, Array, Dim, dtype_name, text, value_shape
from simgpu.frontends.onnx_quantised import fold_quantisation
from simgpu.frontends.onnx_strip import Buffer, strip
from simgpu.frontends.onnx_walk import Scope, Walker, is_known
from simgpu.graph.ir import ACTIVATION, CONSTANT, INPUT, WEIGHT, Graph, Op, Tensor
from simgpu.ops.registry import check_supported

OPSETS = range(7, 24)

# Inputs of an op that are trained parameters whatever made them; elsewhere a float initializer of several elements is one.
PARAMETERS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "Conv": frozenset({1, 2}),
        "ConvTranspose": frozenset({1, 2}),
        "DeformConv": frozenset({1, 3}),
        "Gemm": frozenset({0, 1, 2}),
        "MatMul": frozenset({0, 1}),
        "Linear": frozenset({1, 2}),
        "MatMulNBits": frozenset({1}),
        "BatchNormalization": frozenset({1, 2}),
        "InstanceNormalization": frozenset({1, 2}),
        "GroupNormalization": frozenset({1, 2}),
        "LayerNormalization": frozenset({1, 2}),
        "RMSNormalization": frozenset({1}),
        "PRelu": frozenset({1}),
        "LSTM": frozenset({1, 2, 3, 7}),
        "GRU": frozenset({1, 2, 3}),
        "RNN": frozenset({1, 2, 3}),
        "DequantizeLinear": frozenset({0}),
    }
)
# Op types whose other constant inputs are never parameters: running statistics, scales, zero points, initial states.
_NO_OTHERS = frozenset({"BatchNormalization", "LSTM", "GRU", "RNN", "QuantizeLinear", "DequantizeLinear"})


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
        rebase=binding.rebase,
    )
    if opset not in OPSETS:
        walker.assume(f"the file uses opset {opset}; simgpu knows opset {OPSETS[0]} to {OPSETS[-1]}")
    for note in binding.assumptions:
        walker.assume(note)
    scope = Scope()
    for info in inputs:
        name = text(info.name, where)
        _, code = value_shape(info, where)
        kind = dtype_name(code, f"{where}: input '{name}'") if code else "fp32"
        scope.names[name] = walker.declare(name, (binding.shapes[name], kind), INPUT, binding.values.get(name))
    try:
        outputs = list(dict.fromkeys(walker.graph(proto, scope, proto.name)))
    except ShapeError:
        if not allow_unknown and walker.unknown:  # it only guessed their shapes
            check_supported(_unknown_ops(model, walker), where)
        raise
    if not allow_unknown:
        check_supported(walker.unknown, where)
    for op in walker.unknown:
        walker.assume(f"node '{op.name}': operator '{op.type}' is not known; it is priced as memory traffic")
    return _assemble(walker, proto.name or Path(where).stem, [info.name for info in inputs], [t for t in outputs if t in walker.tensors], where)


def _unknown_ops(model: onnx.ModelProto, walker: Walker) -> list[Op]:
    """All nodes of the main graph without a rule, also those behind the point where the walk ended."""
    walked = {op.name for op in walker.unknown}
    rest = [n for n in model.graph.node if n.name not in walked and not is_known(n) and (n.domain, n.op_type) not in walker.functions]
    kinds = ((n.name, n.op_type if n.domain in ("", "ai.onnx", "com.microsoft") else f"{n.domain}.{n.op_type}") for n in rest)
    return [*walker.unknown, *(Op(name=name, type=kind, inputs=(), outputs=()) for name, kind in kinds)]


def _assemble(walker: Walker, name: str, inputs: list[str], outputs: list[str], where: str) -> Graph:
    """Ops that lead to an output, the tensors they touch, and which of those are parameters."""
    if not outputs:
        raise ModelError(f"{where}: has no output tensor")
    needed, ops = set(outputs), []
    for op in reversed(walker.ops):
        if needed.intersection(op.outputs):
            needed.update(op.inputs)
            ops.append(op)
    ops = [op.with_(outputs=_trimmed(op, needed)) for op in reversed(ops)]
    weights = parameters(ops, walker.tensors, walker.trained)
    touched = {t: None for t in (*inputs, *(t for op in ops for t in (*op.inputs, *op.outputs)), *outputs) if t}
    tensors = {t: replace(walker.tensors[t], kind=_kind(walker.tensors[t], weights, inputs)) for t in touched}
    if not ops:
        raise ModelError(f"{where}: nothing is left to compute: all outputs are constants or inputs")
    return fold_quantisation(Graph(name=name, ops=ops, tensors=tensors, inputs=inputs, outputs=outputs, assumptions=tuple(walker.assumptions)))


def _trimmed(op: Op, needed: set[str]) -> tuple[str, ...]:
    """Outputs without those nobody reads (masks, saved statistics), but always the first."""
    kept = [t if t in needed else "" for t in op.outputs]
    while len(kept) > 1 and not kept[-1]:
        kept.pop()
    return tuple(kept) if any(kept) else op.outputs[:1]


def _kind(tensor: Tensor, weights: set[str], inputs: Iterable[str]) -> str:
    if tensor.kind == CONSTANT:
        return WEIGHT if tensor.name in weights else CONSTANT
    return INPUT if tensor.kind == INPUT and tensor.name in inputs else ACTIVATION


def parameters(ops: Sequence[Op], tensors: Mapping[str, Tensor], trained: set[str]) -> set[str]:
    """Constants that are trained parameters, by where they are used."""
    result: set[str] = set()
    scores = {op.inputs[0] for op in ops if op.type == "Softmax"}
    for op in ops:
        slots = PARAMETERS.get(op.type, frozenset())
        for i, name in enumerate(op.inputs):
            if not name or tensors[name].kind != CONSTANT:
                continue
            table = op.type == "Gather" and i == 0 and tensors[name].dtype not in ("int64", "int32", "int16", "bool")
            mask = op.type == "Add" and op.outputs[0] in scores and tensors[name].shape[-3:-2] in ((), (1,))  # the same for all heads
            if i in slots or table or (name in trained and op.type not in _NO_OTHERS and not mask):
                result.add(name)
    return result


_BATCH_NAMES = re.compile(r"batch|^(n|b|bs|bsz)$", re.IGNORECASE)
_OTHER_NAMES = re.compile(r"seq|time|len|frame|token|height|width", re.IGNORECASE)


class Binding:
    """Shapes of the inputs, from the file, the batch and what the user binds.

    Attributes:
        shapes: By input. symbols: Values of symbolic dimensions. values: Of scalar inputs that the user gave.
        rebase: The batch that a file written for batch 1 is run at; 1 = as written.
    """

    def __init__(
        self,
        inputs: Iterable[onnx.ValueInfoProto],
        others: Iterable[onnx.ValueInfoProto],
        where: str,
        batch: int | None,
        given: Mapping[str, int | tuple[int, ...]],
    ) -> None:
        self.where = where
        dims = {info.name: value_shape(info, where)[0] for info in inputs}
        codes = {info.name: value_shape(info, where)[1] for info in inputs}
        self.symbols: dict[str, int] = {}
        self.values: dict[str, Array] = {}
        self.assumptions: list[str] = []
        self.rebase = 1
        written = {d for info in others for d in value_shape(info, where)[0] or () if isinstance(d, str)}
        symbols = {d for shape in dims.values() for d in shape or () if isinstance(d, str)}
        self._check(batch, given, (*dims, *sorted(symbols)), written)
        for key, value in given.items():
            if key not in dims and isinstance(value, int):
                self.symbols[key] = value
            elif isinstance(value, int) and dims[key] in ((), (1,), (None,)) and codes[key] in (6, 7):
                self.values[key] = np.full((1,) if dims[key] else (), value, dtype=np.int64)
                dims[key] = tuple(1 for _ in dims[key] or ())
            elif isinstance(value, int):
                raise ShapeError(f"{where}: input '{key}' has shape {_shape_text(dims[key])}, expected one number for each dimension: --shape {key}=N,…")
            else:
                dims[key] = self._given(key, dims[key], value)
        self._bind_batch(dims, batch, given)
        self.shapes: dict[str, tuple[int, ...]] = {}
        open_: list[str] = []
        ways: dict[str, None] = {}
        for name, shape in dims.items():
            bound = [self.symbols.get(d, d) if isinstance(d, str) else d for d in shape or ()]
            if shape is None or any(not isinstance(d, int) for d in bound):
                open_.append(f"input '{name}' {_shape_text(shape)}")
                named = [d for d in bound if isinstance(d, str)]
                if shape is None or None in bound:
                    ways[f"--shape {name}=" + (",".join(str(d) if isinstance(d, int) else "N" for d in bound) or "N,N,…")] = None
                else:
                    ways.update({f"--shape {symbol}=N": None for symbol in named})
            self.shapes[name] = tuple(d for d in bound if isinstance(d, int))
        if open_:
            raise ShapeError(f"{where}: dimensions are not bound: {'; '.join(open_)}; bind them with {' '.join(ways)}")

    def _check(self, batch: int | None, given: Mapping[str, int | tuple[int, ...]], names: tuple[str, ...], written: set[str]) -> None:
        if batch is not None and not 1 <= batch <= MAX_DIM:
            raise ShapeError(f"{self.where}: batch {batch} makes no sense, expected 1 or more")
        for key, value in given.items():
            if key not in names and key not in written:
                raise ShapeError(f"{self.where}: no input or symbol is called '{key}'{did_you_mean(key, names)}; it has {', '.join(names[:20])}")
            if any(not 0 < v <= MAX_DIM for v in ((value,) if isinstance(value, int) else value)):
                raise ShapeError(f"{self.where}: --shape {key}={_value_text(value)} makes no sense, expected dimensions of 1 or more")

    def _given(self, name: str, old: tuple[Dim, ...] | None, new: tuple[int, ...]) -> tuple[Dim, ...]:
        """The shape a user gives an input; the symbols in it are bound by it."""
        if old is not None and len(old) != len(new):
            raise ShapeError(f"{self.where}: --shape {name}={_value_text(new)} has {len(new)} dimensions, but the input is {_shape_text(old)}")
        clash: set[str] = set()
        for before, after in zip(old or (), new, strict=False):
            if isinstance(before, str) and self.symbols.setdefault(before, after) != after:
                clash.add(before)  # one name for two dimensions, as some exporters write; it says nothing then
        for symbol in clash:
            del self.symbols[symbol]
        return new

    def _bind_batch(self, dims: dict[str, tuple[Dim, ...] | None], batch: int | None, given: Mapping[str, int | tuple[int, ...]]) -> None:
        free = {d for shape in dims.values() for d in shape or () if isinstance(d, str) and d not in self.symbols}
        named = {symbol for symbol in free if _BATCH_NAMES.search(symbol)}
        first = {shape[0] for name, shape in dims.items() if shape and name not in given}
        if not named:
            named = {d for d in first if isinstance(d, str) and d in free and not _OTHER_NAMES.search(d)}
        nameless = [name for name, shape in dims.items() if shape and shape[0] is None]
        size = batch or 1
        if named or nameless:
            self.symbols.update(dict.fromkeys(named, size))
            for name in nameless:
                shape = dims[name] or ()
                dims[name] = (size, *shape[1:])
            if batch is None:
                self.assumptions.append(f"the file leaves the batch open ({', '.join(sorted(named)) or 'first dimension'}); batch 1 is taken")
            return
        if batch is None or batch == 1:
            return
        ones = [name for name, shape in dims.items() if shape and len(shape) > 1 and shape[0] == 1 and name not in given]
        if not ones:
            if any(shape and shape[0] == batch for shape in dims.values()):
                return
            fixed = "; ".join(f"input '{name}' {_shape_text(shape)}" for name, shape in dims.items())
            raise ShapeError(f"{self.where}: batch {batch} cannot be bound, the first dimensions are fixed: {fixed}; export the model with a dynamic batch")
        for name in ones:
            dims[name] = (batch, *(dims[name] or ())[1:])
        self.rebase = batch
        self.assumptions.append(f"the file is written for batch 1; batch {batch} is set in {', '.join(ones)} and in the shapes derived from it")


def _shape_text(shape: tuple[Dim, ...] | None) -> str:
    return "of unknown rank" if shape is None else f"({', '.join('?' if d is None else str(d) for d in shape)})"


def _value_text(value: int | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, int) else ",".join(map(str, value))
