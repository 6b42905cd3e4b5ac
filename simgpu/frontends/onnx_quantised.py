"""Quantised networks as plain operators on integer tensors: ConvInteger and QLinear… nodes, and quantise/dequantise pairs.

A Conv whose operands are int8 is an int8 convolution; its attribute `output_dtype` says what leaves its epilogue.
Scales and zero points ride along in the kernels and are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from simgpu.errors import ModelError
from simgpu.frontends.onnx_contrib import Site
from simgpu.graph.ir import ACTIVATION, Attr, Graph, Op, Tensor

_NARROW = frozenset({"int8", "uint8", "int4"})
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

# Ops that compute on 8-bit tensors directly, as ONNX Runtime and TensorRT do; others are left between their (de)quantisations.
_DIRECT_NAMES = """
    Relu Clip LeakyRelu PRelu Sigmoid HardSigmoid HardSwish Swish Add Sub Mul Max Min Sum MaxPool AveragePool GlobalAveragePool GlobalMaxPool
    Concat Split Slice Pad Resize Upsample Reshape Flatten Squeeze Unsqueeze Transpose Expand Tile Gather DepthToSpace SpaceToDepth ReduceMean
"""
_DIRECT = frozenset(_DIRECT_NAMES.split())


def _plain(site: Site, **more: Attr) -> dict[str, Any]:
    return {**{k: v for k, v in site.attrs.items() if k != "channels_last"}, **more}


def _integer(kind: str) -> Callable[[Site], list[str]]:
    """x, weight, zero points → products summed in int32."""

    def rewrite(site: Site) -> list[str]:
        return [site.result(kind, site.input(0), site.input(1), **_plain(site, output_dtype="int32"))]

    return rewrite


def _linear(kind: str) -> Callable[[Site], list[str]]:
    """x, scale, zero point, weight, scale, zero point, scale and zero point of the result, bias."""

    def rewrite(site: Site) -> list[str]:
        bias = (site.input(8),) if site.has(8) else ()
        zero_point = site.input(7) if site.has(7) else site.input(0)
        made = site.walker.tensors[zero_point].dtype
        return [site.result(kind, site.input(0), site.input(3), *bias, **_plain(site, output_dtype=made))]

    return rewrite


def _binary(kind: str) -> Callable[[Site], list[str]]:
    """a, scale, zero point, b, scale, zero point, scale and zero point of the result."""
    return lambda site: [site.result(kind, site.input(0), site.input(3))]


def _unary(kind: str) -> Callable[[Site], list[str]]:
    """x, scale, zero point, scale and zero point of the result."""
    return lambda site: [site.result(kind, site.input(0), **_plain(site))]


def _concat(site: Site) -> list[str]:
    """Scale and zero point of the result, then each tensor with its scale and zero point."""
    return [site.result("Concat", *(site.input(i) for i in range(2, len(site.inputs), 3)), axis=site.number("axis", 1))]


def _global_average_pool(site: Site) -> list[str]:
    x = site.input(0)
    if not site.attrs.get("channels_last", 0):
        return [site.result("GlobalAveragePool", x)]
    return [site.result("ReduceMean", x, axes=tuple(range(1, len(site.shape(x)) - 1)), keepdims=1)]


def _matmul_nbits(site: Site) -> list[str]:
    """x by a packed weight of N × K in blocks with scales: a Linear whose weight has that few bits and which also reads the scales."""
    bits, n, k = site.number("bits", 4), site.number("N", 0), site.number("K", 0)
    packed = site.walker.tensors[site.input(1)]
    if bits not in (4, 8) or n < 1 or k < 1 or packed.elements * 8 < n * k * bits:
        raise ModelError(f"node '{site.label}': a weight of {packed.shape} bytes does not hold N={n} × K={k} values of bits={bits} (4 or 8)")
    weight = site.walker.declare(site.walker.fresh(f"{packed.name}:int{bits}"), ((n, k), f"int{bits}"), packed.kind)
    scales = [site.inputs[i] for i in (2, 3) if site.has(i)]
    return [site.result("Linear", site.input(0), weight, site.inputs[5] if site.has(5) else "", *scales)]


STANDARD: Mapping[str, Callable[[Site], list[str]]] = MappingProxyType(
    {
        "ConvInteger": _integer("Conv"),
        "MatMulInteger": _integer("MatMul"),
        "QLinearConv": _linear("Conv"),
        "QLinearMatMul": _linear("MatMul"),
    }
)
MICROSOFT: Mapping[str, Callable[[Site], list[str]]] = MappingProxyType(
    {
        **STANDARD,
        "MatMulNBits": _matmul_nbits,
        "QLinearAdd": _binary("Add"),
        "QLinearMul": _binary("Mul"),
        "QLinearSigmoid": _unary("Sigmoid"),
        "QLinearLeakyRelu": _unary("LeakyRelu"),
        "QLinearSoftmax": _unary("Softmax"),
        "QLinearAveragePool": _unary("AveragePool"),
        "QLinearGlobalAveragePool": _global_average_pool,
        "QLinearConcat": _concat,
    }
)


def fold_quantisation(graph: Graph) -> Graph:
    """The graph with its quantise/dequantise pairs folded into the ops between them, which then compute in 8 bits.

    Products fold as soon as both operands were dequantised; other ops only where their result is quantised again.
    """
    if not any(op.type == "DequantizeLinear" for op in graph.ops):
        return graph
    ops = {op.name: op for op in graph.ops}
    tensors = dict(graph.tensors)
    gone: set[str] = set()
    for op in graph.ops:
        if op.type not in _PRODUCTS | _DIRECT:
            continue
        sources = _sources(graph, ops, op)
        product = op.type in _PRODUCTS
        if sources is None:
            continue
        quantised = [_quantised(graph, name) for name in op.outputs if name]
        if all(quantised) and quantised:
            for name, quantiser in zip((t for t in op.outputs if t), quantised, strict=True):
                assert quantiser is not None
                gone.add(quantiser.name)
                made = quantiser.outputs[0]
                sources_of = tuple(made if t == name else t for t in ops[op.name].outputs)
                ops[op.name] = ops[op.name].with_(outputs=sources_of)
            narrow = tensors[ops[op.name].outputs[0]].dtype
        elif product:
            narrow = tensors[op.outputs[0]].dtype
        else:
            continue
        attrs = {**op.attrs, "output_dtype": narrow} if product else dict(op.attrs)
        ops[op.name] = ops[op.name].with_(inputs=sources, attrs=MappingProxyType(attrs))
    kept = [ops[op.name] for op in graph.ops if op.name not in gone]
    kept = _narrow_chains(graph, kept, tensors)
    return _without_dead(graph, kept, tensors)


def _dequantiser(graph: Graph, name: str) -> Op | None:
    op = graph.producer.get(name)
    return op if op is not None and op.type == "DequantizeLinear" and graph[op.inputs[0]].dtype in (*_NARROW, "int32") else None


def _quantised(graph: Graph, name: str) -> Op | None:
    """The QuantizeLinear that alone reads a tensor."""
    users = graph.consumers.get(name, ())
    return users[0] if len(users) == 1 and users[0].type == "QuantizeLinear" and name not in graph.outputs else None


def _sources(graph: Graph, ops: Mapping[str, Op], op: Op) -> tuple[str, ...] | None:
    """The op's inputs before they were dequantised; None if one of its data operands was not."""
    result, wide = [], 0
    for i, name in enumerate(op.inputs):
        dequantiser = _dequantiser(graph, name) if name else None
        if dequantiser is not None:
            result.append(dequantiser.inputs[0])
        elif (name and graph[name].kind == ACTIVATION and graph[name].dtype not in ("int64", "int32", "bool")) or (name and op.type in _PRODUCTS and i < 2):
            return None
        else:
            wide += bool(name)
            result.append(name)
    return tuple(result) if wide < len(result) else None


def _narrow_chains(graph: Graph, ops: list[Op], tensors: dict[str, Tensor]) -> list[Op]:
    """Product → Relu or Clip → QuantizeLinear: the product writes 8 bits, and the quantisation is gone."""
    by_input: dict[str, list[Op]] = {}
    for op in ops:
        for name in op.inputs:
            by_input.setdefault(name, []).append(op)
    replaced: dict[str, Op] = {}
    gone: set[str] = set()
    for op in ops:
        if op.type not in _PRODUCTS or not all(tensors[t].dtype in _NARROW for t in op.inputs[:2] if t) or tensors[op.outputs[0]].dtype in _NARROW:
            continue
        users = by_input.get(op.outputs[0], [])
        if len(users) != 1 or users[0].type not in ("Relu", "Clip", "LeakyRelu") or op.outputs[0] in graph.outputs:
            continue
        activation = users[0]
        after = by_input.get(activation.outputs[0], [])
        if len(after) != 1 or after[0].type != "QuantizeLinear" or activation.outputs[0] in graph.outputs:
            continue
        narrow = tensors[after[0].outputs[0]].dtype
        tensors[op.outputs[0]] = replace(tensors[op.outputs[0]], dtype=narrow)
        replaced[op.name] = op.with_(attrs=MappingProxyType({**op.attrs, "output_dtype": narrow}))
        replaced[activation.name] = activation.with_(outputs=after[0].outputs)
        gone.add(after[0].name)
    return [replaced.get(op.name, op) for op in ops if op.name not in gone]


def _without_dead(graph: Graph, ops: list[Op], tensors: Mapping[str, Tensor]) -> Graph:
    """The graph without ops and tensors that lead to no output any more."""
    needed, kept = set(graph.outputs), []
    for op in reversed(ops):
        if needed.intersection(op.outputs):
            needed.update(op.inputs)
            kept.append(op)
    kept.reverse()
    used = {t for op in kept for t in (*op.inputs, *op.outputs)} | {*graph.inputs, *graph.outputs}
    return graph.with_(ops=kept, tensors={name: t for name, t in tensors.items() if name in used})
