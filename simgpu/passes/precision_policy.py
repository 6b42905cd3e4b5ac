"""Gives every tensor the format it is stored in, and adds the casts that the policy makes kernels of."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from simgpu.dtypes import DTYPES
from simgpu.graph.ir import ACTIVATION, CONSTANT, WEIGHT, Attr, Graph, Op, Tensor
from simgpu.passes.fused import FLOP, INTERNAL, ORIGIN
from simgpu.precision import MATMUL, REDUCTION, Precision, op_class
from simgpu.runtime import Runtime

# What a policy may store otherwise; a tensor in fewer bits was quantised on purpose.
_FLOATS = frozenset(name for name, d in DTYPES.items() if d.is_float and d.bits >= 16)
_PARAMETERS = (WEIGHT, CONSTANT)
_WITH_WEIGHT = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Linear", "GroupedLinear"})
_OPERANDS = 2  # of a product: what follows them is a bias
_MATRIX = frozenset({"Gemm", "MatMul", "Linear", "GroupedLinear"})
# Ops whose result holds the same numbers as their inputs: an int8 tensor passes through them as int8.
_CARRIERS_NAMES = """
    Relu Clip MaxPool AveragePool GlobalAveragePool GlobalMaxPool Concat Add Sum LeakyRelu Reshape Flatten Squeeze Unsqueeze Transpose Slice Split Pad
    Resize Identity Expand Swish HardSwish Sigmoid Mul DepthToSpace SpaceToDepth
"""
_CARRIERS = frozenset(_CARRIERS_NAMES.split())


def assign_precision(graph: Graph, *, policy: Precision, runtime: Runtime) -> Graph:
    """The graph with the policy's formats. Integers (token ids, indices) and tensors of quantised models stay as they are."""
    if policy.autocast and runtime.casts_weights:
        return _Autocast(graph, policy, runtime).run()
    storage = policy.math if policy.autocast else policy.storage  # an engine builder converts the parameters once
    typed = graph.with_(tensors={name: _stored(t, storage) for name, t in graph.tensors.items()})
    if policy.weights:
        typed = _quantise_weights(typed, policy)
    if policy.activations:
        typed = _quantise_activations(typed, policy, runtime)
    return typed


def _stored(tensor: Tensor, dtype: str) -> Tensor:
    if tensor.dtype == dtype or tensor.dtype not in _FLOATS:
        return tensor
    return Tensor(name=tensor.name, shape=tensor.shape, dtype=dtype, kind=tensor.kind)  # half the time of `replace`


def weight_of(graph: Graph, op: Op) -> str:
    """The weight that a convolution or matrix product multiplies by; "" if it multiplies activations.

    >>> from simgpu.graph.ir import Tensor
    >>> g = Graph(name="g", ops=[], tensors=[Tensor(name="w", shape=(2, 2), kind="weight")], inputs=(), outputs=())
    >>> weight_of(g, Op(name="m", type="MatMul", inputs=("x", "w"), outputs=("y",)))
    'w'
    """
    if op.type not in _WITH_WEIGHT:
        return ""
    name = op.inputs[1] if len(op.inputs) > 1 else ""
    tensor = graph.tensors.get(name)
    return name if tensor is not None and tensor.kind in _PARAMETERS and tensor.dtype in DTYPES else ""


# ---- quantised weights and activations


def _quantise_weights(graph: Graph, policy: Precision) -> Graph:
    """Weights of products in their own format; a table that is also looked up (tied embedding) stays in the storage format."""
    tensors = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        name = weight_of(graph, op)
        quantised = bool(name) and (op.type in _MATRIX or not policy.linear_only) and all(u.type in _WITH_WEIGHT for u in graph.consumers[name])
        if quantised and tensors[name].dtype in _FLOATS:
            tensors[name] = replace(tensors[name], dtype=policy.weights)
        if quantised and policy.dequantizes and _num_rows(graph, op) > 1:
            wide = f"{name}:{policy.storage}:{op.name}"
            tensors[wide] = Tensor(name=wide, shape=graph[name].shape, dtype=policy.storage)
            ops.append(_helper(op, "DequantizeLinear", f"dequantize:{name}", name, wide))
            op = op.with_(inputs=(op.inputs[0], wide, *op.inputs[2:]))
        ops.append(op)
    return graph.with_(tensors=tensors, ops=ops)


def _num_rows(graph: Graph, op: Op) -> int:
    x = graph[op.inputs[0]]
    return x.elements // x.shape[-1] if x.shape and x.shape[-1] else 0


def _quantise_activations(graph: Graph, policy: Precision, runtime: Runtime) -> Graph:
    """Activations in the narrow format before convolutions and products with weights.

    A runtime that fuses everything writes a tensor narrow where all its readers take it so; otherwise a kernel converts it
    before each op, once for all readers of the same tensor.
    """
    narrow = _narrow_tensors(graph, policy) if runtime.narrow_chains else frozenset()
    tensors = {n: replace(t, dtype=policy.activations) if n in narrow else t for n, t in graph.tensors.items()}
    made: dict[str, str] = {}
    ops: list[Op] = []
    for op in graph.ops:
        weight = weight_of(graph, op)
        x = op.inputs[0] if op.inputs else ""
        if weight and graph[weight].dtype == policy.weights and tensors[x].dtype in _FLOATS and x not in narrow:
            if x not in made:
                made[x] = f"{x}:{policy.activations}"
                tensors[made[x]] = Tensor(name=made[x], shape=graph[x].shape, dtype=policy.activations)
                ops.append(_helper(op, "QuantizeLinear", f"quantize:{x}", x, made[x]))
            op = op.with_(inputs=(made[x], *op.inputs[1:]))
        ops.append(op)
    return graph.with_(tensors=tensors, ops=ops)


def _narrow_tensors(graph: Graph, policy: Precision) -> frozenset[str]:
    """Activations that every reader takes in the narrow format: from the outputs backwards, through ops that pass numbers on."""
    narrow: set[str] = set()
    outputs = set(graph.outputs)
    for op in reversed(graph.ops):
        for name in op.outputs:
            users = graph.consumers.get(name, ())
            if name and name not in outputs and users and graph[name].dtype in _FLOATS and all(_takes(graph, u, name, policy, narrow) for u in users):
                narrow.add(name)
    return frozenset(narrow)


def _takes(graph: Graph, user: Op, name: str, policy: Precision, narrow: set[str]) -> bool:
    if (weight := weight_of(graph, user)) and user.inputs[0] == name:
        return graph[weight].dtype == policy.weights
    return user.type in _CARRIERS and all(t in narrow for t in user.outputs if t)


def _helper(op: Op, kind: str, suffix: str, source: str, target: str, **attrs: Attr) -> Op:
    """An op that the policy adds; its arithmetic is not the network's, so it counts no FLOP."""
    attributes: dict[str, Attr] = {FLOP: 0.0, ORIGIN: op.name, **attrs}
    return Op(name=f"{op.name}/{suffix}", type=kind, inputs=(source,), outputs=(target,), attrs=MappingProxyType(attributes), scope=op.scope)


# ---- autocast


class _Autocast:
    """PyTorch's autocast, op by op in program order.

    Products cast their operands to the narrow format, reductions cast theirs to fp32 where they have another; everything
    else takes what comes and promotes to the widest operand (elementwise kernels mix formats without a cast). The cast of a
    parameter is remembered for the step; that of an activation only by a compiler, which sees that it is the same twice.
    """

    def __init__(self, graph: Graph, policy: Precision, runtime: Runtime) -> None:
        self.graph = graph
        self.narrow = policy.math
        self.remembers = runtime.fuse_pointwise
        self.tensors = dict(graph.tensors)
        self.ops: list[Op] = []
        self.made: dict[tuple[str, str], str] = {}

    def run(self) -> Graph:
        for op in self.graph.ops:
            kind = op_class(op.type)
            if kind == MATMUL:
                op = op.with_(inputs=tuple(self._cast(op, t, self.narrow, internal=i >= _OPERANDS) for i, t in enumerate(op.inputs)))
                result = self.narrow
            elif kind == REDUCTION:
                op = op.with_(inputs=tuple(self._cast(op, t, "fp32") for t in op.inputs))
                result = "fp32"
            else:
                result = self._widest(op)
            self.ops.append(op)
            for name in op.outputs:
                if name and self.tensors[name].dtype in _FLOATS:
                    self.tensors[name] = _stored(self.tensors[name], result)
        return self.graph.with_(ops=self.ops, tensors=self.tensors)

    def _widest(self, op: Op) -> str:
        """The format of a promoted result: that of the widest activation; parameters of batch norm and scalars do not widen it."""
        floats = [t for name in op.inputs if name and (t := self.tensors[name]).dtype in _FLOATS]
        activations = [t.dtype for t in floats if t.kind not in _PARAMETERS]
        return max(activations or [t.dtype for t in floats] or ["fp32"], key=lambda name: DTYPES[name].bits)

    def _cast(self, op: Op, name: str, dtype: str, *, internal: bool = False) -> str:
        """The tensor in that format, by a cast in front of the op where it has another.

        Args:
            internal: It costs the host no operator call: biases. Measured batch-1 latencies of NVIDIA DeepLearningExamples
                under AMP grow by one operator call for each weight, also in networks with many biases.
        """
        tensor = self.tensors.get(name)
        if tensor is None or tensor.dtype not in _FLOATS or tensor.dtype == dtype or not tensor.shape:
            return name
        remembers = self.remembers or tensor.kind in _PARAMETERS
        if remembers and (name, dtype) in self.made:
            return self.made[name, dtype]
        target = f"{name}:{op.name}:{dtype}"
        if target in self.tensors:  # both operands are this tensor
            return target
        self.tensors[target] = replace(tensor, name=target, dtype=dtype, kind=ACTIVATION)
        self.ops.append(_helper(op, "Cast", f"cast:{name}", name, target, to=dtype, **({INTERNAL: True} if internal else {})))
        self.made[name, dtype] = target
        return target
