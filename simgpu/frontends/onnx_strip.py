"""ONNX bytes without the numbers of large tensors, cut out before parsing: a 10 GB file costs what its graph costs.

Source: protobuf encoding (varint tags, length-delimited submessages); field numbers of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

LARGE_BYTES = 2**20  # data this long holds no shape and no axis

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _FUNCTION, _SPARSE, _DATA = "model", "graph", "node", "attribute", "tensor", "function", "sparse", "data"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# (message, field number) → what the field holds. Data is dropped, messages are searched.
_FIELDS: Mapping[tuple[str, int], str] = {
    (_MODEL, 7): _GRAPH,
    (_MODEL, 25): _FUNCTION,
    (_GRAPH, 1): _NODE,
    (_GRAPH, 5): _TENSOR,
    (_GRAPH, 15): _SPARSE,
    (_FUNCTION, 7): _NODE,
    (_NODE, 5): _ATTRIBUTE,
    (_ATTRIBUTE, 5): _TENSOR,
    (_ATTRIBUTE, 6): _GRAPH,
    (_ATTRIBUTE, 22): _SPARSE,
    (_SPARSE, 1): _TENSOR,
    (_SPARSE, 2): _TENSOR,
    **{(_TENSOR, field): _DATA for field in (4, 5, 7, 9, 10, 11)},  # float, int32, int64, raw, double, uint64
}
_MAX_DEPTH = 100  # as deep as protobuf itself reads


class Buffer(Protocol):
    """Bytes, or a file mapped into memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...


def strip(data: Buffer) -> bytes:
    """The model without the data of large tensors.

    Raises:
        ValueError: The bytes are no protobuf message.

    >>> tensor = bytes([0x4A, 0x80, 0x80, 0x80, 0x01]) + bytes(2**21)  # raw_data of 2 MiB
    >>> graph = bytes([0x2A, 0x85, 0x80, 0x80, 0x01]) + tensor  # an initializer
    >>> strip(bytes([0x3A, 0x8A, 0x80, 0x80, 0x01]) + graph)
    b':\\x02*\\x00'
    """
    return _strip(data, 0, len(data), _MODEL, 0)


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = 0
    for shift, byte in enumerate(data[at : min(at + 10, end)]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise ValueError("a number does not end")


def _encoded(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _strip(data: Buffer, start: int, end: int, message: str, depth: int) -> bytes:
    if depth > _MAX_DEPTH:
        raise ValueError("messages are nested too deep")
    parts: list[bytes] = []
    at = copied = start
    while at < end:
        field_start = at
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _FIXED64:
            at += 8
        elif wire == _FIXED32:
            at += 4
        elif wire == _BYTES:
            length, at = _varint(data, at, end)
            held = _FIELDS.get((message, tag >> 3)) if length > LARGE_BYTES and at + length <= end else None
            if held is not None:
                parts.append(data[copied:field_start])
                if held != _DATA:
                    inner = _strip(data, at, at + length, held, depth + 1)
                    parts += (_encoded(tag), _encoded(len(inner)), inner)
                copied = at + length
            at += length
        else:
            raise ValueError(f"field {tag >> 3} has the unknown wire type {wire}")
    if at != end:
        raise ValueError("the message is cut off")
    parts.append(data[copied:end])
    return b"".join(parts)
