"""ONNX nodes one after the other → ops with static shapes: control flow unrolled, functions inlined, constants worked out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx

from simgpu.errors import ModelError, ShapeError, SimgpuError
from simgpu.frontends.onnx_fold import evaluate
from simgpu.frontends.onnx_operands import absorb, rebased
from simgpu.frontends.onnx_order import MAX_DEPTH, in_order, module_path
from simgpu.frontends.onnx_order import label as label_of
from simgpu.frontends.onnx_proto import (
    CONSTANT_MARK,
    MAX_VALUE_ELEMENTS,
    SIMGPU_DOMAIN,
    Array,
    Dim,
    attributes,
    dtype_name,
    tensor_attribute,
    tensor_shape,
    tensor_value,
    value_shape,
)
from simgpu.graph.ir import CONSTANT, INPUT, Attr, Op, Tensor
from simgpu.ops.registry import Spec, UnknownOperandError, infer_op, rules

MAX_NODES = 200_000  # of the file; GPT-3's 96 layers take 5 000
MAX_UNROLLED = 20_000  # that loops and functions add
MAX_TRIPS = 2_000  # of one loop

_RANDOM = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"})
_NEVER_OFFLINE = _RANDOM | {"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"}
# What makes masks and index tables of constants, never parameters of parameters.
_MASK_MAKERS = frozenset(
    {"ScatterND", "ScatterElements", "Where", "Trilu", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Range", "OneHot"}
)
_STANDARD = frozenset({"", "ai.onnx"})
CONTRIB = frozenset({"com.microsoft", "com.ms.internal.nhwc", SIMGPU_DOMAIN})


@dataclass
class Scope:
    """Names of a graph body: what they mean in the whole, and where to look for others.

    Attributes:
        prefix: What stands before names made here.
        stored: The same for constants, which all rounds of a loop share.
    """

    prefix: str = ""
    stored: str = ""
    outer: Scope | None = None
    names: dict[str, str] = field(default_factory=dict)
    given: Mapping[str, onnx.AttributeProto] = field(default_factory=dict)
    infos: Mapping[str, onnx.ValueInfoProto] = field(default_factory=dict)
    depth: int = 0

    def find(self, name: str) -> str | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None


class Walker:
    """Walks the nodes of a model and collects ops and tensors.

    Args:
        where: The file, for messages.
        folder: Where small external data may be read.
        functions: Local functions by (domain, name).
        symbols: Symbolic dimensions that are bound.
        opset: Version of the standard operators.
        allow_unknown: Keep op types without a rule.
        batch: What the batch was bound to; shapes that the file fixes to batch 1 grow with it.
        fixed: The file itself says batch 1, so a shape (1, -1) means the batch too.
    """

    def __init__(
        self,
        *,
        where: str,
        folder: Path,
        functions: Mapping[tuple[str, str], onnx.FunctionProto],
        symbols: Mapping[str, int],
        opset: int,
        allow_unknown: bool,
        batch: int = 1,
        fixed: bool = False,
    ) -> None:
        self.where = where
        self.folder = folder
        self.functions = functions
        self.symbols = symbols
        self.opset = opset
        self.allow_unknown = allow_unknown
        self.batch = batch
        self.fixed = fixed
        self.tensors: dict[str, Tensor] = {}
        self.values: dict[str, Array] = {}
        self.sequences: dict[str, tuple[str, ...]] = {}
        self.trained: set[str] = set()
        self.uses: dict[str, int] = {}
        self.ops: list[Op] = []
        self.unknown: list[Op] = []
        self.assumptions: dict[str, None] = {}
        self.fixed_shapes: list[str] = []
        self._num_nodes = self._num_unrolled = 0
        self._taken: dict[str, int] = {}
        self._stored: dict[str, str] = {}
        self._scope_path = ""

    # ---- tensors

    def fresh(self, name: str) -> str:
        """A tensor name that is not taken."""
        while name in self.tensors or name in self.sequences:
            self._taken[name] = self._taken.get(name, 1) + 1
            name = f"{name}#{self._taken[name]}"
        return name

    def declare(self, name: str, spec: Spec, kind: str, value: Array | None = None) -> str:
        self.tensors[name] = Tensor(name=name, shape=spec[0], dtype=spec[1], kind=kind)
        if value is not None:
            self.values[name] = value
        return name

    def constant(self, proto: onnx.TensorProto, name: str) -> str:
        """Keeps an initializer: its shape, and its numbers if they are few. The same one again if it was kept before."""
        if name in self._stored:
            return self._stored[name]
        stored, name = name, self.fresh(name)
        where = f"{self.where}: tensor '{name}'"
        shape, dtype = tensor_shape(proto, where), dtype_name(proto.data_type, where)
        self.declare(name, (shape, dtype), CONSTANT, tensor_value(proto, self.folder, where))
        if dtype.startswith(("fp", "bf")) and math.prod(shape) > 1 and proto.doc_string != CONSTANT_MARK:
            self.trained.add(name)
        self._stored[stored] = name
        return name

    def array(self, value: Any, name: str) -> str:
        """Keeps a constant given by its numbers."""
        array = np.asarray(value)
        dtype = {"b": "bool", "f": "fp32"}.get(array.dtype.kind, "int64")
        return self.declare(self.fresh(name), (array.shape, dtype), CONSTANT, array)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def assume(self, message: str) -> None:
        self.assumptions.setdefault(message)

    # ---- graphs

    def graph(self, proto: onnx.GraphProto, scope: Scope, node: str) -> list[str]:
        """Walks a graph body whose inputs are in `scope` already; returns what its outputs are called."""
        if scope.depth > MAX_DEPTH:
            raise ModelError(f"{self.where}: node '{node}': subgraphs and functions are nested deeper than {MAX_DEPTH}")
        for tensor in proto.initializer:
            scope.names[tensor.name] = self.constant(tensor, scope.stored + tensor.name)
        for sparse in proto.sparse_initializer:
            dense = onnx.TensorProto(dims=sparse.dims, data_type=sparse.values.data_type, name=sparse.values.name)
            scope.names[dense.name] = self.constant(dense, scope.stored + dense.name)
        scope.infos = {info.name: info for info in (*proto.value_info, *proto.output)}
        self.nodes(proto.node, scope)
        return [self.lookup(info.name, scope, f"output '{info.name}'") for info in proto.output]

    def nodes(self, protos: Sequence[onnx.NodeProto], scope: Scope) -> None:
        protos = in_order(protos, self.where)
        for proto in protos:
            for name in proto.input:
                found = scope.find(name)
                if found is not None:
                    self.uses[found] = self.uses.get(found, 0) + 1
        for proto in protos:
            self.node(proto, scope)

    def lookup(self, name: str, scope: Scope, reader: str) -> str:
        found = scope.find(name)
        if found is None:
            raise ModelError(f"{self.where}: {reader}: the tensor '{name}' is made by no node; the file is damaged or was cut")
        return found

    # ---- nodes

    def node(self, proto: onnx.NodeProto, scope: Scope) -> None:
        """One node of the file: control flow, function call, constant, or operator."""
        from simgpu.frontends import onnx_contrib, onnx_control

        self._num_nodes += 1
        self._num_unrolled += scope.depth > 0
        if self._num_nodes > MAX_NODES or self._num_unrolled > MAX_UNROLLED:
            raise ModelError(f"{self.where}: the model has more than {MAX_NODES} nodes, or loops and functions make more than {MAX_UNROLLED} of few")
        label = scope.prefix + label_of(proto)
        where = f"{self.where}: node '{label}' ({proto.op_type})"
        attrs, graphs = attributes(proto, where, scope.given)
        function = self.functions.get((proto.domain, proto.op_type))
        inputs = [self.lookup(name, scope, f"node '{label}' ({proto.op_type})") if name else "" for name in proto.input]
        outputs = list(proto.output)
        while outputs and not outputs[-1]:
            outputs.pop()
        self._scope_path = module_path(proto, scope.prefix)
        if function is not None:
            results = self._call(function, proto, inputs, scope, label)
        elif proto.domain in _STANDARD and proto.op_type in onnx_control.CONTROL:
            results = onnx_control.CONTROL[proto.op_type](self, onnx_control.Site(proto, label, where, inputs, attrs, graphs, scope))
        elif proto.domain in _STANDARD and proto.op_type == "Constant":
            results = [self._constant_node(proto, attrs, scope, label, where)]
        else:
            if proto.op_type == "ConstantOfShape":
                fill = tensor_attribute(proto, "value", scope.given)
                if fill is not None:
                    attrs["dtype"] = dtype_name(fill.data_type, where)
                    value = tensor_value(fill, self.folder, where)
                    attrs["fill"] = float(value.reshape(-1)[0]) if value is not None and value.size else 0.0
            missing = [t for t in inputs if t and t in self.sequences]
            if missing:
                raise ModelError(f"{where}: reads the sequence '{missing[0]}', expected a tensor")
            known = proto.domain in _STANDARD or proto.domain in CONTRIB
            kind = proto.op_type if known else f"{proto.domain}.{proto.op_type}"
            rewrite = onnx_contrib.rewriter(proto.domain, kind)
            named = [self.fresh(scope.prefix + name) if name else "" for name in outputs]
            if rewrite is not None:
                site = onnx_contrib.Site(self, label, inputs, attrs, named)
                results = self._guard(lambda: rewrite(site), where)
            else:
                infos = [scope.infos.get(name) for name in outputs]
                results = self.emit(kind, inputs, attrs, name=label, outputs=named, infos=infos)
        if len(results) < len(outputs):
            raise ModelError(f"{where}: has {len(outputs)} outputs, expected at most {len(results)}")
        for name, result in zip(outputs, results, strict=False):
            if name:
                scope.names[name] = result

    def _guard(self, work: Callable[[], list[str]], where: str) -> list[str]:
        """A damaged node ends in one message, whatever it trips over."""
        try:
            return work()
        except SimgpuError as error:
            message = str(error)
            raise type(error)(message if message.startswith(self.where) else f"{self.where}: {message}") from None
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, ArithmeticError) as error:
            raise ModelError(f"{where}: its operands or attributes make no sense ({type(error).__name__}: {str(error)[:200]})") from None

    def _constant_node(self, proto: onnx.NodeProto, attrs: Mapping[str, Attr], scope: Scope, label: str, where: str) -> str:
        name = scope.stored + (proto.output[0] if proto.output else label)
        for attribute in ("value", "sparse_value"):
            tensor = tensor_attribute(proto, attribute, scope.given)
            if tensor is not None:
                return self.constant(tensor, name)
        for attribute in ("value_int", "value_ints", "value_float", "value_floats"):
            if attribute in attrs and name not in self._stored:
                self._stored[name] = self.array(np.array(attrs[attribute], dtype=np.int64 if "int" in attribute else np.float32), name)
        if name in self._stored:
            return self._stored[name]
        raise ModelError(f"{where}: has no value")

    def _call(self, function: onnx.FunctionProto, proto: onnx.NodeProto, inputs: Sequence[str], scope: Scope, label: str) -> list[str]:
        """Inlines a local function."""
        if scope.depth >= MAX_DEPTH:
            raise ModelError(f"{self.where}: node '{label}': function '{proto.op_type}' calls itself, or functions are nested deeper than {MAX_DEPTH}")
        given = {a.name: a for a in function.attribute_proto}
        for attribute in proto.attribute:
            if not attribute.ref_attr_name:
                given[attribute.name] = attribute
            elif attribute.ref_attr_name in scope.given:
                given[attribute.name] = scope.given[attribute.ref_attr_name]
        body = Scope(prefix=f"{label}/", stored=f"{scope.stored}{label_of(proto)}/", given=given, depth=scope.depth + 1)
        body.infos = {info.name: info for info in function.value_info}
        for i, name in enumerate(function.input):
            if i < len(inputs) and inputs[i]:
                body.names[name] = inputs[i]
            else:
                body.names[name] = ""
        self.nodes(function.node, body)
        return [self.lookup(name, body, f"node '{label}' ({proto.op_type})") for name in function.output]

    # ---- operators

    def emit(
        self,
        kind: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Attr],
        *,
        name: str,
        outputs: Sequence[str],
        infos: Sequence[onnx.ValueInfoProto | None] = (),
    ) -> list[str]:
        """Adds an operator, or works it out if all it reads is known; returns what its outputs are called.

        Args:
            infos: What the file itself says of the outputs, a last resort.
        """
        if kind == "Identity" or (kind == "Dropout" and len(outputs) == 1):
            return [inputs[0]]
        inputs, attrs = absorb(kind, inputs, attrs, self.values, self.opset)
        if self.batch > 1:
            attrs = self._rebased(kind, inputs, attrs, name)
        op = Op(name=self._unique(name), type=kind, inputs=tuple(inputs), outputs=tuple(outputs), attrs=MappingProxyType(attrs), scope=self._scope_path)
        tensors = [self.tensors[t] if t else None for t in inputs]
        where = f"{self.where}: node '{name}' ({kind})"
        if kind not in rules():
            self.unknown.append(op)
            specs: Sequence[Spec] = [self._unknown_spec(tensors, info, where) for _, info in zip(outputs, _padded(infos), strict=False)]
            offline = False
        else:
            op, specs = self._infer(op, tensors, _padded(infos), where)
            known = kind in ("Shape", "Size") or all(t is None or t.name in self.values for t in tensors)
            constant = kind not in _NEVER_OFFLINE and (kind in _MASK_MAKERS or self._keeps_size(tensors, specs))
            values = evaluate(op, tensors, self.values, specs) if known and constant else None
            if values is not None:
                for output, spec, value in zip(outputs, specs, values, strict=True):
                    if output:
                        self.declare(output, spec, CONSTANT, value)
                        self._inherit(kind, output, tensors)
                return list(outputs)
            offline = constant and all(t is None or t.kind == CONSTANT for t in tensors)
            if rules()[kind].bounded:
                self.assume(f"node '{name}' ({kind}): its output size depends on the data; the largest possible is taken")
        for output, spec in zip(outputs, specs, strict=True):
            if output:
                self.declare(output, spec, CONSTANT if offline else "activation")
                if offline:
                    self._inherit(kind, output, tensors)
        if not offline:
            self.ops.append(op)
        return list(outputs)

    def add(self, kind: str, inputs: Sequence[str], attrs: Mapping[str, Attr], *, name: str, num_outputs: int = 1) -> list[str]:
        """Adds an operator that the file does not have but that its nodes mean."""
        outputs = [self.fresh(name if num_outputs == 1 else f"{name}:{i}") for i in range(num_outputs)]
        return self.emit(kind, inputs, attrs, name=name, outputs=outputs)

    def _inherit(self, kind: str, output: str, tensors: Sequence[Tensor | None]) -> None:
        if kind not in _MASK_MAKERS and any(t is not None and t.name in self.trained for t in tensors) and math.prod(self.tensors[output].shape) > 1:
            self.trained.add(output)

    def _keeps_size(self, tensors: Sequence[Tensor | None], specs: Sequence[Spec]) -> bool:
        """Trained weights are prepared offline (transposed, cast, scaled) if that loses none of them and no op reads the original."""
        weights = [t for t in tensors if t is not None and t.name in self.trained]
        if not weights:
            return True
        return sum(t.elements for t in weights) == sum(math.prod(shape) for shape, _ in specs) and all(self.uses.get(t.name, 0) <= 1 for t in weights)

    def _rebased(self, kind: str, inputs: Sequence[str], attrs: dict[str, Attr], name: str) -> dict[str, Attr]:
        """Shapes that the file fixes to batch 1 meet a larger batch and grow with it."""
        x = self.tensors.get(inputs[0]) if inputs else None
        if x is None or x.kind == CONSTANT:
            return attrs
        result = rebased(kind, x.shape, attrs, self.batch, fixed=self.fixed)
        if result is not attrs and not self.fixed:
            self.fixed_shapes.append(name)
        return result

    def _infer(self, op: Op, tensors: Sequence[Tensor | None], infos: Iterable[onnx.ValueInfoProto | None], where: str) -> tuple[Op, Sequence[Spec]]:
        specs: list[Spec] = []

        def work() -> list[str]:
            specs.extend(infer_op(op, tensors, self.values))
            return []

        try:
            self._guard(work, where)
        except UnknownOperandError as error:
            for _, info in zip(op.outputs, infos, strict=False):
                spec = self._from_file(info, where)
                if spec is None:
                    raise self._unresolved(error, info, where) from None
                specs.append(spec)
        return op, specs

    def _unresolved(self, error: ShapeError, info: onnx.ValueInfoProto | None, where: str) -> ShapeError:
        """The message for a shape that nothing tells."""
        free: list[Dim] = []
        if info is not None:
            dims, _ = value_shape(info, where)
            free = [d for d in dims or () if isinstance(d, str) and d not in self.symbols]
        if free:
            way = " ".join(f"--shape {symbol}=N" for symbol in dict.fromkeys(free))
            return ShapeError(f"{error}; the file gives its shape with the unbound {', '.join(map(repr, dict.fromkeys(free)))}: bind it with {way}")
        scalars = [t.name for t in self.tensors.values() if t.kind == INPUT and t.elements == 1]
        hint = f" (inputs whose value you can give: {', '.join(scalars[:3])})" if scalars else ""
        return ShapeError(f"{error}; give the value of the input it comes from with --shape INPUT=N{hint}, or export the model with fixed shapes")

    def _from_file(self, info: onnx.ValueInfoProto | None, where: str) -> Spec | None:
        """What the exporter wrote about an output, with symbols bound."""
        if info is None:
            return None
        dims, code = value_shape(info, self.where)
        if dims is None:
            return None
        bound = [d if isinstance(d, int) else self.symbols.get(d or "") for d in dims]
        shape = tuple(d for d in bound if d is not None)
        return (shape, dtype_name(code, where)) if len(shape) == len(bound) and code else None

    def _unknown_spec(self, tensors: Sequence[Tensor | None], info: onnx.ValueInfoProto | None, where: str) -> Spec:
        """Shape of the output of an op nobody knows: as the file says, else as its first input."""
        first = next((t for t in tensors if t is not None and t.kind != CONSTANT), None)
        return self._from_file(info, where) or ((first.shape, first.dtype) if first is not None else ((), "fp32"))

    def _unique(self, name: str) -> str:
        count = self._taken[f"op {name}"] = self._taken.get(f"op {name}", 0) + 1
        return name if count == 1 else self._unique(f"{name}#{count}")

    def known(self, name: str) -> Array | None:
        """The value of a tensor if it is known and small."""
        value = self.values.get(name)
        return value if value is not None and value.size <= MAX_VALUE_ELEMENTS else None


def is_known(proto: onnx.NodeProto) -> bool:
    """Whether a node is read: as control flow, as a fused operator, or by a rule."""
    from simgpu.frontends import onnx_contrib, onnx_control

    standard = proto.domain in _STANDARD
    if standard and proto.op_type in onnx_control.CONTROL:
        return True
    return onnx_contrib.rewriter(proto.domain, proto.op_type) is not None or ((standard or proto.domain in CONTRIB) and proto.op_type in rules())


def _padded(infos: Sequence[onnx.ValueInfoProto | None]) -> Iterable[onnx.ValueInfoProto | None]:
    yield from infos
    while True:
        yield None
