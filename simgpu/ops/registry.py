"""What an operator MEANS: one small rule per ONNX op type says its output shapes, its arithmetic and its traffic.

The files beside this one hold the rules. Operands that ONNX passes as little integer tensors (the shape of a Reshape,
the starts of a Slice) may be given as attributes of the same name; the front-ends do so, and a graph then needs no values.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.errors import ShapeError, UnsupportedError, did_you_mean
from simgpu.graph.ir import Graph, Op, Tensor

Shape = tuple[int, ...]
Spec = tuple[Shape, str]  # shape and dtype of an output
Values = Mapping[str, NDArray[Any]]

_NO_VALUES: Values = MappingProxyType({})
MAX_ELEMENTS = 2**48  # a tensor of 256 Ti elements fits no GPU; such a size is a mistake or an attack
MAX_RANK = 64


class UnknownOperandError(ShapeError):
    """A shape hangs on a value that is not known before the network runs."""


@dataclass(frozen=True, slots=True)
class Call:
    """An op with its operands, as the rules see it."""

    op: Op
    inputs: tuple[Tensor | None, ...]
    values: Values = field(default_factory=lambda: _NO_VALUES)

    def fail(self, message: str) -> ShapeError:
        return ShapeError(f"node '{self.op.name}' ({self.op.type}): {message}")

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int) -> Tensor:
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise self.fail(f"input {index} is missing")
        return tensor

    def shape(self, index: int, *, rank: int = 0) -> Shape:
        """Shape of an input that must have at least `rank` dimensions."""
        shape = self.tensor(index).shape
        if len(shape) < rank:
            raise self.fail(f"input {index} '{self.tensor(index).name}' has shape {shape}, expected at least {rank} dimensions")
        return shape

    def dtype(self, index: int) -> str:
        return self.tensor(index).dtype

    def attr(self, name: str, default: Any = None) -> Any:
        return self.op.attrs.get(name, default)

    def number(self, name: str, default: int) -> int:
        value = self.op.attrs.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"attribute '{name}' is {value!r}, expected an integer")
        return value

    def integers(self, name: str, default: Sequence[int], length: int | None = None, low: int | None = None) -> Shape:
        """An attribute that is a list of integers; a single integer stands for a list of one."""
        value = self.op.attrs.get(name)
        if value is None:
            return tuple(default)
        result = (value,) if isinstance(value, int) else value
        if not isinstance(result, tuple) or not all(isinstance(v, int) for v in result):
            raise self.fail(f"attribute '{name}' is {value!r}, expected integers")
        if length is not None and len(result) != length:
            raise self.fail(f"attribute '{name}' is {result}, expected {length} integers")
        if low is not None and any(v < low for v in result):
            raise self.fail(f"attribute '{name}' is {result}, expected values of {low} or more")
        return result

    def value(self, name: str, index: int) -> NDArray[Any] | None:
        """What is known before the run of an operand: the attribute of that name, else the value of that input; None if it is left out.

        Raises:
            UnknownOperandError: The input is there but its value is not known.
        """
        if name in self.op.attrs:
            return np.array(self.op.attrs[name])
        if not self.has(index):
            return None
        tensor = self.tensor(index)
        if tensor.name not in self.values:
            raise UnknownOperandError(
                f"node '{self.op.name}' ({self.op.type}): its {name} is the tensor '{tensor.name}', whose value is not known before the network runs"
            )
        return self.values[tensor.name]

    def operand(self, name: str, index: int) -> Shape | None:
        """As `value`, as integers."""
        value = self.value(name, index)
        if value is None:
            return None
        if value.size > MAX_RANK * 1024 or value.dtype.kind not in "iubf" or not np.all(np.isfinite(value)):
            raise self.fail(f"its {name} is no list of integers")
        return tuple(int(v) for v in value.reshape(-1))

    def axis(self, value: int, rank: int) -> int:
        """A negative axis counted from the front."""
        if not -rank <= value < max(rank, 1):
            raise self.fail(f"axis {value} is outside of a tensor of {rank} dimensions")
        return value % max(rank, 1)

    def axes(self, values: Iterable[int], rank: int) -> Shape:
        return tuple(self.axis(v, rank) for v in values)


Infer = Callable[[Call], Sequence[Spec]]
Count = Callable[[Call, tuple[Tensor, ...]], float]
Bytes = Callable[[Call, tuple[Tensor, ...]], Mapping[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What an op type means.

    Attributes:
        infer: Shape and dtype of each output the op type can have.
        macs: Multiply-accumulates of convolutions and matrix products, None for op types that have none. [MAC]
        flop: Arithmetic of the other op types. [FLOP]
        view: The op renames memory and moves nothing; may hang on the op.
        read: Bytes really read of some inputs, by index, where it is not the whole input. [B]
        bounded: The output size depends on the data; the rule gives the largest possible.
    """

    infer: Infer
    macs: Count | None = None
    flop: Count | None = None
    view: Callable[[Call, tuple[Tensor, ...], Graph], bool] | None = None
    read: Bytes | None = None
    bounded: bool = False


_RULES: dict[str, Rule] = {}
_FILES = (
    "linear",
    "grouped",
    "conv",
    "attention",
    "elementwise",
    "normalisation",
    "reduction",
    "movement",
    "indexing",
    "recurrent",
    "detection",
    "quantisation",
)


def rule(*types: str, **counts: Any) -> Callable[[Infer], Infer]:
    """Registers a shape rule, and the counts that go with it, for op types."""

    def register(infer: Infer) -> Infer:
        for name in types:
            assert name not in _RULES, name
            _RULES[name] = Rule(infer=infer, **counts)
        return infer

    return register


@cache
def rules() -> Mapping[str, Rule]:
    """All rules by op type."""
    for name in _FILES:
        importlib.import_module(f"simgpu.ops.{name}")
    return _RULES


def supported_ops() -> tuple[str, ...]:
    """The op types that have a rule, sorted."""
    return tuple(sorted(rules()))


def rule_of(op: Op) -> Rule:
    """The rule of an op.

    Raises:
        UnsupportedError: Its type has none.
    """
    try:
        return rules()[op.type]
    except KeyError:
        raise UnsupportedError(
            f"node '{op.name}': operator '{op.type}' is not known{did_you_mean(op.type, rules())}; --allow-unknown prices it as memory traffic"
        ) from None


def infer_op(op: Op, inputs: Sequence[Tensor | None], values: Values = _NO_VALUES) -> tuple[Spec, ...]:
    """Shape and dtype of each output of an op.

    Args:
        values: Values of inputs that are known before the run, by tensor name.
    Raises:
        ShapeError: The operands do not fit the op.
        UnknownOperandError: The shape hangs on a value that is not in `values`.
        UnsupportedError: The op type has no rule.

    >>> x, w = Tensor(name="x", shape=(2, 3)), Tensor(name="w", shape=(3, 5))
    >>> infer_op(Op(name="a", type="MatMul", inputs=("x", "w"), outputs=("y",)), (x, w))
    (((2, 5), 'fp32'),)
    """
    call = Call(op, tuple(inputs), values)
    specs = tuple(rule_of(op).infer(call))[: len(op.outputs)]
    if len(specs) < len(op.outputs):
        raise call.fail(f"has {len(op.outputs)} outputs, expected at most {len(specs)}")
    for shape, _ in specs:
        if any(d < 0 for d in shape):
            raise call.fail(f"its output would have the negative shape {shape}")
        if len(shape) > MAX_RANK or math.prod(shape) > MAX_ELEMENTS:
            raise call.fail(
                f"its output would have {math.prod(shape):.3g} elements in {len(shape)} dimensions, expected at most {MAX_ELEMENTS:.3g} in {MAX_RANK}"
            )
    return specs


def _call(graph: Graph, op: Op) -> tuple[Rule | None, Call, tuple[Tensor, ...]]:
    return rules().get(op.type), Call(op, graph.in_tensors(op)), graph.out_tensors(op)


def op_macs(graph: Graph, op: Op) -> float:
    """Multiply-accumulates of a convolution or matrix product, 0 for other ops, as torchinfo and fvcore count them. [MAC]"""
    found, call, outs = _call(graph, op)
    return found.macs(call, outs) if found and found.macs else 0.0


def op_flop(graph: Graph, op: Op) -> float:
    """Arithmetic of an op: 2 for each MAC of convolutions and matrix products, else as the op's rule counts. [FLOP]"""
    found, call, outs = _call(graph, op)
    if found is None:
        return 0.0
    return 2.0 * found.macs(call, outs) if found.macs else found.flop(call, outs) if found.flop else 0.0


def graph_macs(graph: Graph) -> float:
    """Multiply-accumulates of all convolutions and matrix products. [MAC]"""
    return sum(op_macs(graph, op) for op in graph.ops)


def graph_flop(graph: Graph) -> float:
    """Arithmetic of all ops. [FLOP]"""
    return sum(op_flop(graph, op) for op in graph.ops)


def is_view(op: Op, graph: Graph) -> bool:
    """The op renames memory and moves no bytes: Reshape, Squeeze, Dropout at inference, a Slice of the leading axis …"""
    found, call, outs = _call(graph, op)
    return found is not None and found.view is not None and found.view(call, outs, graph)


def op_reads(graph: Graph, op: Op) -> tuple[tuple[str, float], ...]:
    """Tensors an op reads and the bytes of each, in the order of its inputs, each tensor once; nothing for views. [B]"""
    found, call, outs = _call(graph, op)
    if found is not None and found.view is not None and found.view(call, outs, graph):
        return ()
    partly = found.read(call, outs) if found is not None and found.read else {}
    result: dict[str, float] = {}
    for i, tensor in enumerate(call.inputs):
        if tensor is not None:
            wanted = min(partly.get(i, tensor.bytes), tensor.bytes)
            result[tensor.name] = max(result.get(tensor.name, 0.0), float(wanted))
    return tuple(result.items())


def op_read_bytes(graph: Graph, op: Op) -> float:
    """Bytes an op reads, each tensor once; 0 for views. [B]"""
    return sum(size for _, size in op_reads(graph, op))


def op_write_bytes(graph: Graph, op: Op) -> float:
    """Bytes an op writes; 0 for views. [B]"""
    return 0.0 if is_view(op, graph) else float(sum(t.bytes for t in graph.out_tensors(op)))


def check_supported(ops: Iterable[Op], where: str) -> None:
    """Refuses all op types without a rule in one message.

    Raises:
        UnsupportedError: There are some; each is named with how often it occurs and up to three nodes.
    """
    unknown = [op for op in ops if op.type not in rules()]
    if not unknown:
        return
    counts = Counter(op.type for op in unknown)
    lines = []
    for kind, count in sorted(counts.items()):
        nodes = [f"'{op.name}'" for op in unknown if op.type == kind]
        more = ", …" if count > 3 else ""
        lines.append(f"{kind} × {count} (node {', '.join(nodes[:3])}{more}){did_you_mean(kind, rules())}")
    raise UnsupportedError(
        f"{where}: {len(counts)} unknown operator{'s' * (len(counts) > 1)}: {'; '.join(lines)}; --allow-unknown prices them as memory traffic"
    )


# ---- what several files of rules share


def broadcast(call: Call, *shapes: Shape) -> Shape:
    """The shape that NumPy's broadcasting gives.

    Raises:
        ShapeError: Two dimensions differ and neither is 1.
    """
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(-rank, 0):
        dims = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(dims) > 1:
            raise call.fail(f"shapes {' and '.join(str(s) for s in shapes)} do not broadcast")
        result.append(dims.pop() if dims else 1)
    return tuple(result)


def computed_dtype(call: Call, *indices: int) -> str:
    """The dtype of the first of these inputs that is computed, else of the first one: a constant follows the tensor it meets."""
    tensors = [t for i in (indices or range(len(call.inputs))) if i < len(call.inputs) and (t := call.inputs[i]) is not None]
    if not tensors:
        raise call.fail("has no input")
    return next((t.dtype for t in tensors if t.kind not in ("weight", "constant")), tensors[0].dtype)


def product_dtype(call: Call) -> str:
    """The dtype that leaves a product: its attribute `output_dtype`, else that of its operands."""
    return str(call.attr("output_dtype") or computed_dtype(call, 0, 1))


def per_output(flop: float) -> Count:
    """So many FLOP for each element of the first output."""
    return lambda call, outs: flop * outs[0].elements


def per_input(flop: float) -> Count:
    """So many FLOP for each element of the first input."""
    return lambda call, outs: flop * call.tensor(0).elements


def always(call: Call, outs: tuple[Tensor, ...], graph: Graph) -> bool:
    return True


def same(call: Call) -> Sequence[Spec]:
    """One output like the first input."""
    return ((call.shape(0), call.dtype(0)),)
