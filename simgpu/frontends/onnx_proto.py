"""The pieces of an ONNX file as plain Python: dtypes, attributes, small values, shapes with symbols. Nothing in it is trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from simgpu.errors import ModelError, UnsupportedError
from simgpu.graph.ir import Attr

Array = NDArray[Any]
Dim = int | str | None  # bound, a symbol, or nothing known

SIMGPU_DOMAIN = "simgpu"  # operators that `to_onnx` writes as the graph has them
CONSTANT_MARK = "constant"  # doc string of a tensor without numbers that is no trained parameter

MAX_DIM = 2**40
MAX_VALUE_ELEMENTS = 2**16  # larger constants are weights or masks, never shapes

# ONNX data types (onnx.proto TensorProto.DataType) → ours. Unsigned ones are stored alike.
DTYPE_NAMES: Mapping[int, str] = MappingProxyType(
    {
        1: "fp32",
        2: "uint8",
        3: "int8",
        4: "int16",  # uint16
        5: "int16",
        6: "int32",
        7: "int64",
        9: "bool",
        10: "fp16",
        11: "fp64",
        12: "int32",  # uint32
        13: "int64",  # uint64
        14: "fp64",  # complex64: as many bits
        16: "bf16",
        17: "fp8",  # e4m3fn
        18: "fp8",  # e4m3fnuz
        19: "fp8_e5m2",
        20: "fp8_e5m2",  # e5m2fnuz
        21: "int4",  # uint4
        22: "int4",
        23: "fp4",  # e2m1
        24: "uint8",  # e8m0, a block scale
    }
)
NUMPY: Mapping[str, Any] = {"fp32": np.float32, "fp16": np.float16, "fp64": np.float64, "bf16": np.float32, "bool": np.bool_}
NUMPY_INT: Mapping[str, Any] = {"int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint8": np.uint8}

_DTYPE_ATTRS = frozenset({"to", "dtype", "output_dtype", "output_datatype", "stash_type", "softmax_precision"})


def dtype_name(code: int, where: str) -> str:
    """Our name of an ONNX data type.

    Raises:
        UnsupportedError: Strings, 128-bit complex numbers and what ONNX itself does not know.
    """
    try:
        return DTYPE_NAMES[code]
    except KeyError:
        known = onnx.TensorProto.DataType.Name(code) if code in onnx.TensorProto.DataType.values() else str(code)
        raise UnsupportedError(f"{where}: data type {known} has no arithmetic on a GPU; expected numbers of 4 to 64 bits") from None


def text(value: bytes | str, where: str) -> str:
    """A string of the file.

    Raises:
        ModelError: It is no UTF-8.
    """
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise ModelError(f"{where}: {value[:20]!r} is no UTF-8 text; the file is damaged") from None


def check_names(model: onnx.ModelProto, where: str) -> None:
    """Holds all names of a model to be text; protobuf hands out bytes where they are not.

    Raises:
        ModelError: One is no UTF-8.
    """
    waiting: list[tuple[Iterable[onnx.NodeProto], int]] = [(model.graph.node, 0), *((f.node, 0) for f in model.functions)]
    names: list[object] = [model.graph.name, *(t.name for t in model.graph.initializer)]
    names += [n for f in model.functions for n in (f.name, f.domain, *f.input, *f.output, *f.attribute)]
    names += [i.name for i in (*model.graph.input, *model.graph.output, *model.graph.value_info)]
    while waiting:
        nodes, depth = waiting.pop()
        for node in nodes:
            names += (node.name, node.op_type, node.domain, *node.input, *node.output)
            for attribute in node.attribute:
                names += (attribute.name, attribute.ref_attr_name)
                if attribute.type == onnx.AttributeProto.GRAPH and depth < 100:
                    graph = attribute.g
                    names += [i.name for i in (*graph.input, *graph.output, *graph.value_info, *graph.initializer)]
                    waiting.append((graph.node, depth + 1))
    for name in names:
        if not isinstance(name, str):
            text(bytes(name) if isinstance(name, bytes | bytearray) else b"\xff", where)


def attributes(node: onnx.NodeProto, where: str, given: Mapping[str, onnx.AttributeProto]) -> tuple[dict[str, Attr], dict[str, onnx.GraphProto]]:
    """Attributes of a node as numbers, strings and tuples, and its subgraphs. Tensors are left out (see `tensor_attribute`).

    Args:
        given: The attributes of the call, for a node inside a local function that refers to them.
    """
    kinds = onnx.AttributeProto
    plain: dict[str, Attr] = {}
    graphs: dict[str, onnx.GraphProto] = {}
    for proto in node.attribute:
        name = proto.name
        if proto.ref_attr_name:
            if proto.ref_attr_name not in given:
                continue
            proto = given[proto.ref_attr_name]
        if proto.type == kinds.GRAPH:
            graphs[name] = proto.g
        elif proto.type == kinds.INT:
            plain[name] = dtype_name(proto.i, where) if name in _DTYPE_ATTRS and proto.i else proto.i
        elif proto.type == kinds.FLOAT:
            plain[name] = proto.f
        elif proto.type == kinds.STRING:
            plain[name] = text(proto.s, where)
        elif proto.type == kinds.INTS:
            plain[name] = tuple(proto.ints)
        elif proto.type == kinds.FLOATS:
            plain[name] = tuple(proto.floats)
        elif proto.type == kinds.STRINGS:
            plain[name] = tuple(text(s, where) for s in proto.strings)
    return plain, graphs


def tensor_attribute(node: onnx.NodeProto, name: str, given: Mapping[str, onnx.AttributeProto]) -> onnx.TensorProto | None:
    """A tensor among a node's attributes."""
    for proto in node.attribute:
        if proto.name == name:
            proto = given.get(proto.ref_attr_name, proto) if proto.ref_attr_name else proto
            return proto.t if proto.type == onnx.AttributeProto.TENSOR else None
    return None


def tensor_shape(tensor: onnx.TensorProto, where: str) -> tuple[int, ...]:
    """Dimensions of a stored tensor.

    Raises:
        ModelError: One is negative or beyond reason.
    """
    shape = tuple(tensor.dims)
    if any(not 0 <= d <= MAX_DIM for d in shape) or math.prod(shape) > MAX_DIM or len(shape) > 64:
        raise ModelError(f"{where}: its dimensions {shape[:64]} are not between 0 and {MAX_DIM:.3g} elements")
    return shape


def external_file(tensor: onnx.TensorProto, folder: Path, where: str) -> Path:
    """The file that holds a tensor's data, which must lie in the model's folder.

    Raises:
        ModelError: The path leads out of it.
    """
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    absolute = PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    path = folder / location
    if not location or absolute or ".." in parts or "\0" in location or not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{where}: its data is said to lie in {location[:200]!r}, expected a file in the folder of the model")
    return path


def tensor_value(tensor: onnx.TensorProto, folder: Path, where: str) -> Array | None:
    """The numbers of a small tensor; None if it is large, or its data was stripped or lies in a file that is not there.

    Raises:
        ModelError: The data does not fit the dimensions.
    """
    shape = tensor_shape(tensor, where)
    elements = math.prod(shape)
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    path = external_file(tensor, folder, where) if external else None
    kind = DTYPE_NAMES.get(tensor.data_type, "")
    if elements > MAX_VALUE_ELEMENTS or (kind not in NUMPY and kind not in NUMPY_INT) or tensor.data_type == onnx.TensorProto.COMPLEX64:
        return None
    if path is not None:
        return _external_value(tensor, path, shape)
    if elements and not tensor.raw_data and not any(len(getattr(tensor, f)) for f in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")):
        return None
    try:
        array = np.array(onnx.numpy_helper.to_array(tensor))
        return array if array.dtype.kind in "biuf" else array.astype(np.float32)
    except Exception as error:
        raise ModelError(f"{where}: its data does not fit its dimensions {shape} ({str(error)[:200]}); the file is damaged") from None


def _external_value(tensor: onnx.TensorProto, path: Path, shape: tuple[int, ...]) -> Array | None:
    """The few numbers of a small tensor from its file; None if they are not there."""
    dtype = NUMPY_INT.get(DTYPE_NAMES[tensor.data_type]) or (
        None if tensor.data_type == onnx.TensorProto.BFLOAT16 else NUMPY.get(DTYPE_NAMES[tensor.data_type])
    )
    keys = {e.key: e.value for e in tensor.external_data}
    offset = keys.get("offset", "0")
    if dtype is None or not offset.isdecimal() or not path.is_file():
        return None
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with path.open("rb") as file:
        file.seek(min(int(offset), 2**62))
        data = file.read(size)
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(shape) if len(data) == size else None


def value_shape(info: onnx.ValueInfoProto, where: str) -> tuple[tuple[Dim, ...] | None, int]:
    """Dimensions and data type of an input, output or value_info; None if not even the rank is known."""
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None, tensor.elem_type
    dims: list[Dim] = []
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value > 0:
            if dim.dim_value > MAX_DIM:
                raise ModelError(f"{where}: '{info.name}' has a dimension of {dim.dim_value}, expected at most {MAX_DIM:.3g}")
            dims.append(dim.dim_value)
        else:  # dim_value 0 and -1 are how some exporters write "unknown"
            symbol = dim.dim_param.strip()
            dims.append(symbol if symbol not in ("", "?", "-1", "None", "unk") else None)
    return tuple(dims), tensor.elem_type
