"""Splits the bias off convolutions for runtimes whose convolution kernels have no epilogue."""

from __future__ import annotations

from types import MappingProxyType

from simgpu.graph.ir import ACTIVATION, Attr, Graph, Op, Tensor
from simgpu.passes.fused import FLOP, INTERNAL, ORIGIN

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def split_conv_bias(graph: Graph) -> Graph:
    """The graph with a convolution and an addition for each convolution with a bias.

    Depthwise convolutions keep theirs: they are PyTorch's own kernels, which add it.

    Source: PyTorch `at::_convolution` (aten/src/ATen/native/Convolution.cpp): `cudnn_convolution`, then `output.add_(bias)`.
    """
    tensors = dict(graph.tensors)
    ops: list[Op] = []
    for op in graph.ops:
        bias = op.inputs[2] if op.type in _CONVOLUTIONS and len(op.inputs) == 3 else ""
        if not bias or (op.attrs.get("group", 1) != 1 and graph[op.inputs[1]].shape[1] == 1):
            ops.append(op)
            continue
        out = graph[op.outputs[0]]
        product = Tensor(name=f"{out.name}:product", shape=out.shape, dtype=out.dtype, kind=ACTIVATION)
        tensors[product.name] = product
        ops.append(op.with_(inputs=op.inputs[:2], outputs=(product.name,)))
        attrs: dict[str, Attr] = {FLOP: 0.0, ORIGIN: op.name, INTERNAL: True}
        ops.append(Op(name=f"{op.name}/bias", type="Add", inputs=(product.name, bias), outputs=op.outputs, attrs=MappingProxyType(attrs), scope=op.scope))
    return graph if len(ops) == len(graph.ops) else graph.with_(ops=ops, tensors=tensors)
