"""The walk over an exported program: each call of an aten operator becomes the op of ours that its table names."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simgpu.errors import ModelError, ShapeError, UnsupportedError
from simgpu.frontends.torch_patterns import Node, Written, find_patterns, is_node
from simgpu.graph.ir import ACTIVATION, CONSTANT, INPUT, WEIGHT, Attr, Graph, Op, Tensor
from simgpu.ops.registry import infer_op

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# torch's formats, as they print, by our names
DTYPES: Mapping[str, str] = {
    "torch.float64": "fp64",
    "torch.float32": "fp32",
    "torch.float16": "fp16",
    "torch.bfloat16": "bf16",
    "torch.float8_e4m3fn": "fp8",
    "torch.float8_e5m2": "fp8_e5m2",
    "torch.int64": "int64",
    "torch.int32": "int32",
    "torch.int16": "int16",
    "torch.int8": "int8",
    "torch.uint8": "uint8",
    "torch.bool": "bool",
}
FOLDED = "what does not depend on inputs (masks, position tables) is computed beforehand"

Handler = Callable[["Walk", "Arguments"], Any]
HANDLERS: dict[str, Handler] = {}


def aten(*names: str) -> Callable[[Handler], Handler]:
    """Registers a function for aten operators of these names, whatever the overload, in place or not."""

    def register(function: Handler) -> Handler:
        for name in names:
            assert name not in HANDLERS, name
            HANDLERS[name] = function
        return function

    return register


class Arguments:
    """Arguments of a call by the names of the operator's schema, with tensors as ours."""

    def __init__(self, node: Node, resolve: Callable[[Any], Any]) -> None:
        self.node = node
        self.name = base_name(node)
        schema = node.target._schema.arguments
        raw = {argument.name: argument.default_value for argument in schema}
        raw.update(zip((argument.name for argument in schema), node.args, strict=False))
        raw.update(node.kwargs)
        self.raw = raw
        self.values = {key: resolve(value) for key, value in raw.items()}

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def get(self, key: str, default: Any = None) -> Any:
        value = self.values.get(key)
        return default if value is None else value

    @property
    def first(self) -> Any:
        return next(iter(self.values.values()))

    def sizes(self, key: str, rank: int) -> tuple[int, ...]:
        """A number for each axis; one number stands for all."""
        value = self.values.get(key)
        if isinstance(value, int):
            return (value,) * rank
        values = tuple(int(v) for v in value or ())
        return values * rank if len(values) == 1 else values

    def axis(self, key: str, rank: int, default: int = 0) -> int:
        """An axis counted from the front."""
        value = self.values.get(key)
        return (default if value is None else int(value)) % max(rank, 1)


class Walk:
    """Builds the graph of a program.

    Attributes:
        env: What each node of the program stands for: a tensor, several, or a number.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.env: dict[Node, Any] = {}
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self.inputs: list[str] = []
        self.unknown: Counter[str] = Counter()
        self.assumptions: set[str] = set()
        self.written: dict[Node, Written] = {}  # values put into part of a tensor that nobody has read yet
        self._taken: Counter[str] = Counter()
        self._node: Node | None = None

    # ---- tensors and ops

    def tensor(self, name: str, shape: Sequence[int], dtype: str, kind: str) -> Tensor:
        tensor = Tensor(name=name, shape=tuple(shape), dtype=dtype, kind=kind)
        self.tensors[name] = tensor
        return tensor

    def constant(self, name: str, shape: Sequence[int] = (), dtype: str = "fp32") -> Tensor:
        """A constant that the program does not store by itself: a scalar operand."""
        return self.tensor(self.unique(name), shape, dtype, CONSTANT)

    def unique(self, name: str) -> str:
        """A name no tensor or op has yet."""
        count = self._taken[name]
        self._taken[name] += 1
        return self.unique(f"{name}_{count}") if count or name in self.tensors else name

    def op(self, kind: str, *inputs: Tensor | None, outputs: int = 1, **attrs: Attr) -> Any:
        """Adds an op; its result, or a list of several."""
        scope, name = self._place(kind, inputs)
        names = (name,) if outputs == 1 else tuple(f"{name}:{i}" for i in range(outputs))
        op = Op(
            name=name,
            type=kind,
            inputs=tuple(t.name if t is not None else "" for t in inputs),
            outputs=names,
            attrs=MappingProxyType(dict(attrs)),
            scope=scope,
        )
        made = [self.tensor(t, *spec, ACTIVATION) for t, spec in zip(names, infer_op(op, inputs), strict=True)]
        self.ops.append(op)
        return made[0] if outputs == 1 else made

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The tensor under another shape; itself if it has that shape."""
        if tuple(shape) == x.shape:
            return x
        result: Tensor = self.op("Reshape", x, shape=tuple(shape))
        return result

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """The tensor with its axes in another order; itself if it is the same order."""
        if tuple(perm) == tuple(range(len(x.shape))):
            return x
        result: Tensor = self.op("Transpose", x, perm=tuple(perm))
        return result

    def slice(self, x: Tensor, axis: int, start: int, end: int, step: int = 1) -> Tensor:
        """Some positions of an axis; the tensor itself if they are all."""
        if (start, end, step) == (0, x.shape[axis], 1):
            return x
        result: Tensor = self.op("Slice", x, starts=(start,), ends=(end,), axes=(axis,), steps=(step,))
        return result

    def operand(self, value: Any, like: Tensor) -> Tensor:
        """A tensor operand; a number becomes a constant."""
        if isinstance(value, Tensor):
            return value
        return self.constant("scalar", (), like.dtype)

    def result(self) -> tuple[int, ...]:
        """Shape that torch gives the result of this call."""
        return tuple(int(d) for d in self.value(self._node).shape)

    def result_dtype(self) -> str:
        return dtype_name(self.value(self._node).dtype, self.name)

    def value(self, node: Any) -> Any:
        """What torch knows about the result of a node: shape and dtype."""
        return node.meta.get("val")

    def _place(self, kind: str, inputs: Sequence[Tensor | None]) -> tuple[str, str]:
        """Scope and name of an op: the module that owns its weight, else the module that calls it."""
        weight = inputs[1] if len(inputs) > 1 and kind != "Gather" else inputs[0] if inputs else None
        scope = scope_of(self._node) if self._node is not None else ""
        if weight is not None and weight.kind == WEIGHT and weight.name.endswith(".weight"):
            owner = weight.name.removesuffix(".weight")
            if owner.startswith(scope) or not scope:
                return owner, self.unique(owner)
        called = base_name(self._node) if self._node is not None else kind.lower()
        return scope, self.unique(f"{scope}.{called}" if scope else called)

    # ---- the walk

    def run(self, graph: Any, module: Any) -> list[Any]:
        """Walks over the nodes of a graph whose placeholders are known; its outputs."""
        patterns = find_patterns(graph)
        for node in graph.nodes:
            self._node = node
            if node.op == "output":
                return [self.resolve(value) for value in node.args[0]] if isinstance(node.args[0], list | tuple) else [self.resolve(node.args[0])]
            if node.op == "get_attr":
                self.env[node] = getattr(module, node.target, None)
                self._stored(node)
            elif node.op == "call_function" and node not in patterns.inner:
                self.env[node] = self._call(node, module, patterns.found)
        return []

    def _stored(self, node: Node) -> None:
        """A tensor constant that the graph module holds."""
        value = self.env[node]
        if is_tensor(value):
            self.env[node] = self.tensor(self.unique(str(node.target)), tuple(value.shape), dtype_name(value.dtype, self.name), CONSTANT)

    def _call(self, node: Node, module: Any, patterns: Mapping[Any, Any]) -> Any:
        if node in patterns:
            kind, inputs, attrs = patterns[node]
            return self.op(kind, *(self.resolve(i) for i in inputs), **attrs)
        if node.target is operator.getitem:
            return self.resolve(node.args[0])[node.args[1]]
        if not hasattr(node.target, "_schema"):
            return self._higher_order(node, module)
        key = f"{node.target.namespace}::{base_name(node)}"
        if base_name(node).startswith(("_assert", "sym_constrain")):
            return None
        if base_name(node) in _SIZES:
            return _SIZES[base_name(node)](self, node)
        if only_written(node):
            return self._as_torch_says(node, ACTIVATION)
        arguments = Arguments(node, self.resolve)
        if (folded := self._fold(node, arguments)) is not None:
            return folded
        handler = HANDLERS.get(key.removeprefix("aten::"))
        try:
            made = NotImplemented if handler is None else handler(self, arguments)
        except ShapeError as error:
            raise ModelError(f"{self.name}: {node.target} in module '{scope_of(node) or 'forward'}': {error}") from None
        if made is NotImplemented:
            self.unknown[f"{node.target} (module '{scope_of(node) or 'forward'}')"] += 1
            return self._as_torch_says(node, ACTIVATION)
        self._check(node, made)
        if in_place(node) and is_node(node.args[0]) and isinstance(made, Tensor):  # later readers see the result
            self.env[node.args[0]] = made
        return made

    def _check(self, node: Node, made: Any) -> None:
        """Our shape must be torch's."""
        value = self.value(node)
        if isinstance(made, Tensor) and is_tensor(value) and made.shape != tuple(value.shape):
            raise ModelError(f"{self.name}: {node.target} in module '{scope_of(node)}' makes {tuple(value.shape)} in torch and {made.shape} here")

    def _fold(self, node: Node, arguments: Arguments) -> Any:
        """A call whose tensors are all constants is made beforehand; None if it is not such a call."""
        tensors = [t for value in arguments.values.values() for t in _flat(value) if isinstance(t, Tensor)]
        if any(t.kind != CONSTANT for t in tensors) or (not tensors and base_name(node) in _RANDOM):
            return None
        self.assumptions.add(FOLDED)
        if in_place(node) and tensors:
            return arguments.first
        return self._as_torch_says(node, CONSTANT)

    def _as_torch_says(self, node: Node, kind: str) -> Any:
        """Tensors of the shapes that torch found, without an op that makes them."""
        value = self.value(node)
        if isinstance(value, list | tuple):
            return [self._like(v, f"{node.name}:{i}", kind) for i, v in enumerate(value)]
        return self._like(value, node.name, kind)

    def _like(self, value: Any, name: str, kind: str) -> Any:
        if not is_tensor(value):
            return value
        return self.tensor(self.unique(name), static_shape(value, self.name), dtype_name(value.dtype, self.name), kind)

    def _higher_order(self, node: Node, module: Any) -> Any:
        """Blocks under `no_grad` or `autocast` are walked in place; control flow on values is refused."""
        name = str(node.target)
        if "wrap_with_set_grad_enabled" not in name and "wrap_with_autocast" not in name:
            if callable(node.target) and getattr(node.target, "__module__", "") in ("_operator", "math"):
                return node.target(*(self.resolve(a) for a in node.args))
            self.unknown[name] += 1
            return self._as_torch_says(node, ACTIVATION)
        at = next(i for i, a in enumerate(node.args) if is_node(a) and a.op == "get_attr")
        inner = getattr(module, node.args[at].target)
        places = [n for n in inner.graph.nodes if n.op == "placeholder"]
        for place, value in zip(places, node.args[at + 1 :], strict=True):
            self.env[place] = self.resolve(value)
        return self.run(inner.graph, inner)

    def resolve(self, value: Any) -> Any:
        """A node as what it stands for, also inside lists; pending writes into it are made first."""
        if is_node(value):
            if value in self.written:
                self.written.pop(value).finish(self, value)
            return self.env.get(value)
        if isinstance(value, list | tuple):
            return [self.resolve(v) for v in value]
        if type(value).__name__ == "SymInt":
            raise ModelError(f"{self.name}: has dynamic shapes ({value}); export it with static ones")
        return value


def walk(program: ExportedProgram, name: str) -> Graph:
    """The graph of a program.

    Raises:
        UnsupportedError: It calls operators that no handler knows; all are named.
    """
    import simgpu.frontends.torch_ops  # noqa: F401  (registers the handlers)

    state = Walk(name)
    _placeholders(state, program)
    outputs = state.run(program.graph_module.graph, program.graph_module)
    if state.unknown:
        calls = "; ".join(f"{target} × {count}" for target, count in sorted(state.unknown.items())[:20])
        raise UnsupportedError(f"{name}: {len(state.unknown)} calls of torch have no counterpart here: {calls}")
    made = [t.name for value in outputs for t in _flat(value) if isinstance(t, Tensor)]
    if not made:
        raise ModelError(f"{name}: returns no tensor, expected a module whose forward returns one")
    ops, tensors = _used(state, made)
    return Graph(name=name, ops=ops, tensors=tensors, inputs=state.inputs, outputs=list(dict.fromkeys(made)), assumptions=sorted(state.assumptions))


def _used(state: Walk, outputs: Sequence[str]) -> tuple[list[Op], dict[str, Tensor]]:
    """The ops that lead to an output and their tensors, with all weights and inputs."""
    wanted, kept = set(outputs), []
    for op in reversed(state.ops):
        if any(t in wanted for t in op.outputs):
            kept.append(op)
            wanted.update(op.inputs)
    named = wanted | {t for op in kept for t in op.outputs}
    return kept[::-1], {name: t for name, t in state.tensors.items() if name in named or t.kind in (WEIGHT, INPUT)}


def _placeholders(state: Walk, program: ExportedProgram) -> None:
    """Weights, buffers and inputs. Weights that are one parameter under two names are one tensor."""
    from torch.export.graph_signature import InputKind

    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    first: dict[int, Tensor] = {}
    for spec in program.graph_signature.input_specs:
        node = nodes.get(getattr(spec.arg, "name", ""))
        if node is None:
            continue
        value = node.meta.get("val")
        if not is_tensor(value):
            state.env[node] = value
            continue
        shape, dtype = static_shape(value, state.name), dtype_name(value.dtype, state.name)
        if spec.kind == InputKind.PARAMETER:
            parameter = program.state_dict.get(str(spec.target))
            state.env[node] = first.get(id(parameter)) or state.tensor(str(spec.target), shape, dtype, WEIGHT)
            if parameter is not None:
                first.setdefault(id(parameter), state.env[node])
        elif spec.kind == InputKind.USER_INPUT:
            state.env[node] = state.tensor(state.unique(node.name), shape, dtype, INPUT)
            state.inputs.append(state.env[node].name)
        else:
            state.env[node] = state.tensor(state.unique(str(spec.target or node.name)), shape, dtype, CONSTANT)


def static_shape(value: Any, name: str) -> tuple[int, ...]:
    """The shape in plain numbers.

    Raises:
        ModelError: A dimension is dynamic.
    """
    if any(not isinstance(d, int) for d in value.shape):
        raise ModelError(f"{name}: has a tensor of the dynamic shape {tuple(value.shape)}; export it with static shapes")
    return tuple(value.shape)


def dtype_name(dtype: Any, name: str) -> str:
    """Our name of a format.

    Raises:
        UnsupportedError: We have none, as for complex numbers.
    """
    if str(dtype) not in DTYPES:
        raise UnsupportedError(f"{name}: has tensors of {dtype}, expected one of {', '.join(DTYPES)}")
    return DTYPES[str(dtype)]


def is_tensor(value: Any) -> bool:
    """Is it a tensor of torch?"""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def in_place(node: Node) -> bool:
    """Does the call change its first argument?"""
    name: str = getattr(node.target, "_opname", "")
    return name.endswith("_") and not name.startswith("__")


def only_written(node: Node) -> bool:
    """Is it a slice that is never read, only written into?"""
    if base_name(node) not in ("slice", "select", "narrow"):
        return False
    return bool(node.users) and all((in_place(u) and u.args[0] is node and not u.users) or only_written(u) for u in node.users)


def base_name(node: Node) -> str:
    """Name of the operator without overload and without the underscore of in-place forms."""
    target = node.target
    name = str(getattr(target, "_opname", None) or getattr(target, "__name__", target))
    return name if name.startswith("__") else name.removesuffix("_")


def scope_of(node: Node) -> str:
    """Dotted path of the module that makes the call."""
    stack = node.meta.get("nn_module_stack") or {}
    last = next(reversed(stack.values()), ("", None))
    return re.sub(r"@\d+", "", str(last[0]))


def _flat(value: Any) -> list[Any]:
    return [inner for v in value for inner in _flat(v)] if isinstance(value, list | tuple) else [value]


def _size(state: Walk, node: Node) -> Any:
    shape = state.resolve(node.args[0]).shape
    return shape[node.args[1]] if len(node.args) > 1 else list(shape)


_SIZES: Mapping[str, Callable[[Walk, Node], Any]] = {
    "sym_size": _size,
    "size": _size,
    "sym_numel": lambda state, node: state.resolve(node.args[0]).elements,
    "numel": lambda state, node: state.resolve(node.args[0]).elements,
    "dim": lambda state, node: len(state.resolve(node.args[0]).shape),
}
_RANDOM = frozenset({"rand", "randn", "randint", "rand_like", "randn_like", "normal", "bernoulli"})
