"""Every dimension of an ONNX model's inputs bound: from the file, the batch and what the user says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from simgpu.errors import ShapeError, did_you_mean
from simgpu.frontends.onnx_proto import MAX_DIM, Array, Dim, value_shape

_BATCH_NAMES = re.compile(r"batch|^(n|b|bs|bsz)$", re.IGNORECASE)
_OTHER_NAMES = re.compile(r"seq|time|len|frame|token|height|width", re.IGNORECASE)


class Binding:
    """Shapes of the inputs, from the file, the batch and what the user binds.

    Attributes:
        shapes: By input. symbols: Values of symbolic dimensions. values: Of scalar inputs that the user gave.
        batch: What the first dimensions were bound to. fixed: The file says 1 there.
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
        self.batch = 1
        self.fixed = False
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
        size = self.batch = batch or 1
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
        self.batch, self.fixed = batch, True
        self.assumptions.append(f"the file is written for batch 1; batch {batch} is set in {', '.join(ones)} and in the shapes derived from it")


def _shape_text(shape: tuple[Dim, ...] | None) -> str:
    return "of unknown rank" if shape is None else f"({', '.join('?' if d is None else str(d) for d in shape)})"


def _value_text(value: int | tuple[int, ...]) -> str:
    return str(value) if isinstance(value, int) else ",".join(map(str, value))
