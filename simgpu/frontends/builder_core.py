"""The tensors, scopes and ops of a graph under construction; `builder.py` has the layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from simgpu.errors import ModelError, ShapeError
from simgpu.graph.ir import ACTIVATION, CONSTANT, INPUT, STATE, WEIGHT, Attr, Graph, Op, Tensor
from simgpu.ops.registry import infer_op


class BuilderCore:
    """Collects ops and tensors; the shapes come from the rules of the operators."""

    def __init__(self, name: str, *, dtype: str = "fp32") -> None:
        self.name = name
        self.dtype = dtype
        self._path = ""
        self._ops: list[Op] = []
        self._tensors: dict[str, Tensor] = {}
        self._inputs: list[str] = []
        self._taken: dict[str, int] = {}
        self._assumptions: list[str] = []

    # ---- tensors, scopes and the graph itself

    def input(self, name: str, shape: Sequence[int], *, dtype: str | None = None) -> Tensor:
        """A tensor that the user feeds."""
        tensor = self._add(name, shape, dtype or self.dtype, INPUT)
        self._inputs.append(name)
        return tensor

    def state(self, name: str, shape: Sequence[int], *, dtype: str | None = None) -> Tensor:
        """A tensor that is kept between runs and fed back: a KV cache, the state of a recurrent network."""
        tensor = self._add(name, shape, dtype or self.dtype, STATE)
        self._inputs.append(name)
        return tensor

    def weight(self, name: str, shape: Sequence[int]) -> Tensor:
        """A trained parameter of the current scope; the same tensor again if it exists (tied weights).

        Raises:
            ShapeError: It exists with another shape.
        """
        return self._parameter(self.path(name), shape, WEIGHT)

    def constant(self, name: str, shape: Sequence[int], *, dtype: str | None = None) -> Tensor:
        """Numbers that are stored with the model but not trained: running statistics, position tables."""
        return self._parameter(self.path(name), shape, CONSTANT, dtype)

    def path(self, name: str) -> str:
        """The name inside the current scope."""
        return f"{self._path}.{name}" if self._path else name

    @contextmanager
    def scope(self, name: str | int) -> Iterator[None]:
        """Puts what is built inside under a module path."""
        outer = self._path
        self._path = self.path(str(name))
        try:
            yield
        finally:
            self._path = outer

    def assume(self, text: str) -> None:
        """Notes something the report should list."""
        if text not in self._assumptions:
            self._assumptions.append(text)

    def build(self, outputs: Tensor | Sequence[Tensor]) -> Graph:
        """The finished graph."""
        outs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        return Graph(
            name=self.name,
            ops=self._ops,
            tensors=self._tensors,
            inputs=self._inputs,
            outputs=[t.name for t in outs],
            assumptions=self._assumptions,
        )

    def _add(self, name: str, shape: Sequence[int], dtype: str, kind: str) -> Tensor:
        if name in self._tensors:
            raise ModelError(f"{self.name}: tensor '{name}' exists already; give it another name")
        if any(d <= 0 for d in shape):
            raise ShapeError(f"{self.name}: tensor '{name}' would have shape {tuple(shape)}, expected every dimension to be 1 or more")
        tensor = Tensor(name=name, shape=tuple(shape), dtype=dtype, kind=kind)
        self._tensors[name] = tensor
        return tensor

    def _parameter(self, full_name: str, shape: Sequence[int], kind: str, dtype: str | None = None) -> Tensor:
        old = self._tensors.get(full_name)
        if old is None:
            return self._add(full_name, shape, dtype or self.dtype, kind)
        if old.shape != tuple(shape):
            raise ShapeError(f"{self.name}: weight '{full_name}' has shape {old.shape} and is used as {tuple(shape)}; tied weights must agree")
        return old

    def _unique(self, path: str) -> str:
        count = self._taken.get(path, 0)
        self._taken[path] = count + 1
        return self._unique(f"{path}_{count}") if count else path

    # ---- any op

    def ops(self, kind: str, inputs: Sequence[Tensor | None], *, name: str = "", num_outputs: int = 1, **attrs: Attr) -> tuple[Tensor, ...]:
        """Any operator with several outputs, by its ONNX type; shapes come from the operator's rule."""
        return self._emit(kind, inputs, self._unique(self.path(name or kind.lower())), self._path, num_outputs, attrs)

    def op(self, kind: str, *inputs: Tensor | None, name: str = "", **attrs: Attr) -> Tensor:
        """Any operator with one output, by its ONNX type; shapes come from the operator's rule."""
        return self._emit(kind, inputs, self._unique(self.path(name or kind.lower())), self._path, 1, attrs)[0]

    def _module(self, kind: str, full_name: str, *inputs: Tensor | None, num_outputs: int = 1, **attrs: Attr) -> Tensor:
        """An operator with weights, which is a module of its own and names its own scope."""
        return self._emit(kind, inputs, full_name, full_name, num_outputs, attrs)[0]

    def _emit(self, kind: str, inputs: Sequence[Tensor | None], name: str, scope: str, num_outputs: int, attrs: dict[str, Attr]) -> tuple[Tensor, ...]:
        outputs = (name,) if num_outputs == 1 else tuple(f"{name}:{i}" for i in range(num_outputs))
        op = Op(
            name=name,
            type=kind,
            inputs=tuple(t.name if t is not None else "" for t in inputs),
            outputs=outputs,
            attrs=MappingProxyType(attrs),
            scope=scope,
        )
        made = tuple(self._add(t, *spec, ACTIVATION) for t, spec in zip(outputs, infer_op(op, inputs), strict=True))
        self._ops.append(op)
        return made
