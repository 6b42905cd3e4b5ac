"""WHAT is computed: tensors with static shapes, ops, and the graph they make."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simgpu.dtypes import dtype
from simgpu.errors import ModelError

if TYPE_CHECKING:
    import networkx as nx

Scalar = int | float | str | bool
Attr = Scalar | tuple[Any, ...]

INPUT, WEIGHT, ACTIVATION, CONSTANT, STATE = "input", "weight", "activation", "constant", "state"
KINDS = (INPUT, WEIGHT, ACTIVATION, CONSTANT, STATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named array.

    Attributes:
        shape: Dimensions, all bound. ()
        dtype: A name of `simgpu.dtypes`.
        kind: input (fed by the user), weight (a trained parameter), activation (made by an op),
            constant (an initializer that is no parameter: shape operands, scales), state (KV cache).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "fp32"
    kind: str = ACTIVATION

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind
        assert all(isinstance(d, int) and d >= 0 for d in self.shape), (self.name, self.shape)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in memory. [B]"""
        return math.ceil(self.elements * dtype(self.dtype).bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation of the network; types and attributes are those of ONNX where ONNX has them.

    Attributes:
        inputs: Tensor names in ONNX order; "" stands for an optional input left out.
        outputs: Tensor names.
        scope: Dotted module path, "layer1.0.conv1"; "" if unknown.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr] = field(default_factory=lambda: MappingProxyType({}))
    scope: str = ""

    def with_(self, **changes: Any) -> Op:
        return replace(self, **changes)


class Graph:
    """Ops in an order in which they can run, and the tensors between them.

    Args:
        ops: Any order; they are sorted topologically, ties kept in the order given.
        tensors: Every tensor that an op or the graph names.
        inputs: Tensors fed by the user (kind input or state).
        outputs: Tensors that leave the graph.
        assumptions: What the front-end took for granted; the report lists it.
        new_tokens: Tokens that each sequence gets from as many passes, of which this one is the mean; 0 = it generates none.
    Raises:
        ModelError: A tensor is missing or made twice, or ops form a cycle.
    """

    def __init__(
        self,
        *,
        name: str,
        ops: Iterable[Op],
        tensors: Mapping[str, Tensor] | Iterable[Tensor],
        inputs: Sequence[str],
        outputs: Sequence[str],
        assumptions: Sequence[str] = (),
        new_tokens: int = 0,
    ) -> None:
        self.name = name
        self.new_tokens = new_tokens
        if not isinstance(tensors, Mapping):
            tensors = {t.name: t for t in tensors}
        self.tensors: Mapping[str, Tensor] = tensors
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.assumptions = tuple(assumptions)
        self.producer: dict[str, Op] = {}
        ops = tuple(ops)
        for op in ops:
            for tensor in op.outputs:
                if tensor and tensor in self.producer:
                    raise ModelError(f"{name}: tensor '{tensor}' is made by '{self.producer[tensor].name}' and by '{op.name}'")
                self.producer[tensor] = op
            for tensor in (*op.inputs, *op.outputs):
                if tensor and tensor not in tensors:
                    raise ModelError(f"{name}: op '{op.name}' ({op.type}) names the tensor '{tensor}', which does not exist")
        for tensor in (*self.inputs, *self.outputs):
            if tensor not in tensors:
                raise ModelError(f"{name}: the graph names the tensor '{tensor}', which does not exist")
        self.ops = self._sorted(ops)

    def _sorted(self, ops: tuple[Op, ...]) -> tuple[Op, ...]:
        """The ops so that each stands after those that feed it; the given order where it is one already."""
        seen: set[str] = set()
        for op in ops:
            if any(t and t not in seen and t in self.producer for t in op.inputs):
                break
            seen.update(op.outputs)
        else:
            return ops
        index = {id(op): i for i, op in enumerate(ops)}
        waiting: list[int] = []
        users: list[list[int]] = [[] for _ in ops]
        for i, op in enumerate(ops):
            feeds = {index[id(self.producer[t])] for t in op.inputs if t in self.producer}
            waiting.append(len(feeds))
            for f in feeds:
                users[f].append(i)
        ready = [i for i, n in enumerate(waiting) if n == 0]
        heapq.heapify(ready)
        result: list[Op] = []
        while ready:
            i = heapq.heappop(ready)
            result.append(ops[i])
            for u in users[i]:
                waiting[u] -= 1
                if waiting[u] == 0:
                    heapq.heappush(ready, u)
        if len(result) < len(ops):
            stuck = [ops[i].name for i, n in enumerate(waiting) if n > 0]
            raise ModelError(f"{self.name}: the graph has a cycle through {', '.join(repr(s) for s in stuck[:5])}; a network must be acyclic")
        return tuple(result)

    def __getitem__(self, tensor: str) -> Tensor:
        return self.tensors[tensor]

    def __len__(self) -> int:
        return len(self.ops)

    def in_tensors(self, op: Op) -> tuple[Tensor | None, ...]:
        return tuple(self.tensors[t] if t else None for t in op.inputs)

    def out_tensors(self, op: Op) -> tuple[Tensor, ...]:
        return tuple(self.tensors[t] for t in op.outputs if t)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Op, ...]]:
        """For each tensor the ops that read it, in order."""
        result: dict[str, list[Op]] = {}
        for op in self.ops:
            for tensor in dict.fromkeys(op.inputs):
                if tensor:
                    result.setdefault(tensor, []).append(op)
        return {t: tuple(users) for t, users in result.items()}

    @cached_property
    def digraph(self) -> nx.DiGraph[str]:
        """The ops as nodes (by name, attribute `op`), an edge from maker to reader (attribute `tensor`; the last one of several)."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph(name=self.name)
        for op in self.ops:
            graph.add_node(op.name, op=op)
        for tensor, users in self.consumers.items():
            if tensor in self.producer:
                for user in users:
                    graph.add_edge(self.producer[tensor].name, user.name, tensor=tensor)
        return graph

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """Trained parameters, each once. A tensor used twice (tied) counts once."""
        return tuple(t for t in self.tensors.values() if t.kind == WEIGHT)

    @property
    def num_params(self) -> int:
        return sum(t.elements for t in self.weights)

    def with_(self, **changes: Any) -> Graph:
        """A copy with some of name, ops, tensors, inputs, outputs, assumptions replaced."""
        parts: dict[str, Any] = {
            "name": self.name,
            "ops": self.ops,
            "tensors": self.tensors,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "assumptions": self.assumptions,
            "new_tokens": self.new_tokens,
        }
        return Graph(**{**parts, **changes})

    def __repr__(self) -> str:
        return f"Graph({self.name!r}, {len(self.ops)} ops, {self.num_params} parameters)"
