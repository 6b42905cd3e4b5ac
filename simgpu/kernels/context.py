"""What lowering rules work with: the graph, where each tensor lies in memory, and the kernels emitted so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from simgpu.arch.spec import GPU
from simgpu.dtypes import dtype as dtype_of
from simgpu.errors import ModelError
from simgpu.graph.ir import Graph, Op, Tensor
from simgpu.kernels.kernel import Access, Kernel, Stream, Work
from simgpu.passes.fused import INTERNAL, algorithmic_flop, op_names
from simgpu.precision import POINTWISE, Math, Precision, math_of, op_class, product_math
from simgpu.runtime import Runtime

Strides = tuple[int, ...]


class Layout(NamedTuple):
    """Where a tensor lies: the buffer that holds it, and its strides in elements (None = contiguous)."""

    base: str
    strides: Strides | None = None


class Lowering:
    """The state of one walk over a graph.

    Tensors have strides as in PyTorch: a transpose or a slice moves nothing, and a kernel that needs its operand
    contiguous copies it first (`contiguous`).

    Attributes:
        kernels, deps: What was emitted: each kernel waits for the kernels that wrote what it reads.
        assumptions: What rules took for granted, in order, each once.
    """

    def __init__(self, graph: Graph, *, gpu: GPU, precision: Precision, runtime: Runtime) -> None:
        self.graph = graph
        self._tensors = graph.tensors
        self.gpu = gpu
        self.precision = precision
        self.runtime = runtime
        self.kernels: list[Kernel] = []
        self.deps: list[tuple[int, ...]] = []
        self.assumptions: dict[str, None] = {}
        self._layouts: dict[str, Layout] = {}
        self._writer: dict[str, int] = {}
        self._accesses: dict[str, Access] = {}
        self._sizes: dict[str, float] = {}
        self._math: dict[str, Math] = {}

    # ---- tensors

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def input(self, op: Op, index: int) -> Tensor:
        """The input at that place.

        Raises:
            ModelError: The op has no such input.
        """
        if index >= len(op.inputs) or not op.inputs[index]:
            raise ModelError(f"{self.graph.name}: op '{op.name}' ({op.type}) has no input {index}, which it needs")
        return self.graph.tensors[op.inputs[index]]

    def itemsize(self, tensor: Tensor) -> float:
        """Bytes of one element with its part of block scales. [B]"""
        size = self._sizes.get(tensor.dtype)
        if size is None:
            size = self._sizes[tensor.dtype] = dtype_of(tensor.dtype).bytes
        return size

    def element_bytes(self, tensor: Tensor) -> float:
        """Bytes of one element without block scales, which lie beside the elements: what alignment and tiles go by. [B]"""
        return dtype_of(tensor.dtype).bits / 8

    def bytes_of(self, name: str) -> float:
        """Bytes of a tensor. [B]"""
        tensor = self._tensors[name]
        size = self._sizes.get(tensor.dtype) or self.itemsize(tensor)
        return float(math.ceil(math.prod(tensor.shape) * size))

    def access(self, name: str) -> Access:
        """All of a tensor's elements, in the buffer that holds them; what a view repeats (a broadcast) counts once."""
        found = self._accesses.get(name)
        if found is None:
            base, size = self.layout(name).base, self.bytes_of(name)
            if base in self._tensors:
                size = min(size, self.bytes_of(base))
            found = self._accesses[name] = Access(tensor=base, bytes=size)
        return found

    def part(self, name: str, bytes_: float) -> Access:
        """Some of a tensor's bytes."""
        layout = self._layouts.get(name)
        return Access(tensor=name if layout is None else layout.base, bytes=min(bytes_, self.bytes_of(name)))

    def layout(self, name: str) -> Layout:
        return self._layouts.get(name) or Layout(name)

    def strides(self, name: str) -> Strides | None:
        """Strides in elements; None if contiguous."""
        layout = self._layouts.get(name)
        return None if layout is None else layout.strides

    def place(self, name: str, layout: Layout) -> None:
        """Says where a tensor lies: a view names another tensor's buffer."""
        self._layouts[name] = layout
        self._accesses.pop(name, None)

    def contiguous(self, op: Op, name: str) -> Access:
        """The tensor with its elements in order; a strided view is copied first, as PyTorch's `.contiguous()` does."""
        strides = self.strides(name)
        if strides is None:
            return self.access(name)
        tensor = self.graph.tensors[name]
        buffer = f"{name}:contiguous:{op.name}"
        target = Access(tensor=buffer, bytes=self.bytes_of(name))
        if buffer in self._writer:  # both operands are this tensor
            return target
        work = Stream(
            elements=tensor.elements,
            pattern="elementwise" if keeps_rows(tensor.shape, strides) else "transpose",
            itemsize=self.itemsize(tensor),
        )
        moves = self.math(POINTWISE)
        self.emit(op, work, label="copy", reads=(self.access(name),), writes=(target,), math_=moves, flop=0.0, suffix=f"copy:{name}")
        return target

    # ---- kernels

    def math(self, op_type: str) -> Math:
        """Format and pipe of an op's math."""
        found = self._math.get(op_type)
        if found is None:
            found = self._math[op_type] = math_of(self.precision, op_class(op_type), self.gpu)
        return found

    def product_math(self, a: Tensor, b: Tensor) -> Math:
        """Format and pipe of a product of two tensors."""
        key = f"{a.dtype}·{b.dtype}"
        found = self._math.get(key)
        if found is None:
            found = self._math[key] = product_math(self.precision, a.dtype, b.dtype, self.gpu)
        return found

    def assume(self, text: str) -> None:
        self.assumptions[text] = None

    def emit(
        self,
        op: Op,
        work: Work,
        *,
        label: str,
        reads: Iterable[Access],
        writes: Iterable[Access],
        math_: Math | None = None,
        flop: float | None = None,
        suffix: str = "",
        internal: bool = False,
        repeat: int = 1,
        after: tuple[str, ...] = (),
    ) -> None:
        """Launches a kernel for an op.

        Args:
            flop: Algorithmic work; None = all of the op's. [FLOP]
            suffix: Tells the kernels of one op apart.
            internal: The library launches it within the call that launches the op's main kernel.
            repeat: Launches in a row; bytes and work are those of one.
            after: Further tensors to wait for.
        """
        reads, writes = tuple(reads), tuple(writes)
        writer = self._writer
        waits = {writer[a.tensor] for a in reads if a.tensor in writer}
        if after:
            waits.update(writer[base] for t in after if (base := self.layout(t).base) in writer)
        index = len(self.kernels)
        for access in writes:
            writer[access.tensor] = index
        format_, pipe = math_ or self.math(op.type)
        names = op_names(op)
        self.kernels.append(
            Kernel(
                name=f"{op.name}/{suffix}" if suffix else op.name,
                work=work,
                dtype=format_,
                pipe=pipe,
                label=label,
                op=names[0],
                ops=names,
                scope=op.scope,
                reads=reads,
                writes=writes,
                flop=algorithmic_flop(self.graph, op) if flop is None else flop,
                repeat=repeat,
                internal=internal or INTERNAL in op.attrs,
            )
        )
        self.deps.append(tuple(sorted(waits)) if len(waits) > 1 else tuple(waits))


def contiguous_strides(shape: tuple[int, ...]) -> Strides:
    """Strides of elements in order.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    result, step = [], 1
    for size in reversed(shape):
        result.append(step)
        step *= max(size, 1)
    return tuple(reversed(result))


def is_contiguous(shape: tuple[int, ...], strides: Strides) -> bool:
    """Whether the elements lie in order; axes of size 1 do not matter.

    >>> is_contiguous((1, 3, 4), (99, 4, 1)), is_contiguous((3, 4), (1, 3))
    (True, False)
    """
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def is_dense(shape: tuple[int, ...], strides: Strides) -> bool:
    """Whether the elements fill their memory without gaps or overlap, in whatever order of axes.

    >>> is_dense((3, 4), (1, 3)), is_dense((3, 4), (8, 1))
    (True, False)
    """
    step = 1
    for stride, size in sorted((st, si) for st, si in zip(strides, shape, strict=True) if si != 1):
        if stride != step:
            return False
        step *= size
    return True


def keeps_rows(shape: tuple[int, ...], strides: Strides) -> bool:
    """Whether neighbours along the last axis (of size above 1) are neighbours in memory."""
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1:
            return stride == 1
    return True


Rule = Callable[[Lowering, Op], None]
RULES: dict[str, Rule] = {}
_R = TypeVar("_R", bound=Callable[..., Any])


def rule(*op_types: str) -> Callable[[_R], _R]:
    """Registers a function as the lowering of some op types."""

    def register(function: _R) -> _R:
        for op_type in op_types:
            assert op_type not in RULES, op_type
            RULES[op_type] = function
        return function

    return register


def int_attr(op: Op, name: str, default: int = 0) -> int:
    """An integer attribute."""
    value = op.attrs.get(name, default)
    return int(value) if isinstance(value, int | float) else default


def ints_attr(op: Op, name: str) -> tuple[int, ...]:
    """An attribute that is a tuple of integers; () if absent."""
    value = op.attrs.get(name, ())
    return value if isinstance(value, tuple) else ()
