"""Little ONNX models in memory, for tests of the front-end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from simgpu.frontends.onnx import graph_of
from simgpu.graph.ir import Graph

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

Shape = Sequence[int | str | None]


def info(name: str, shape: Shape | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def array(name: str, value: Any) -> onnx.TensorProto:
    """An initializer with numbers; bare integers become int64."""
    numbers = np.array(value)
    return numpy_helper.from_array(numbers.astype(np.int64) if numbers.dtype.kind == "i" and not isinstance(value, np.ndarray) else numbers, name)


def weight(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> onnx.TensorProto:
    """An initializer without numbers, as in a file stripped of its weights."""
    return TensorProto(name=name, dims=shape, data_type=kind)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", domain: str = "", **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, name=name or kind.lower(), domain=domain, **attrs)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape | onnx.ValueInfoProto],
    outputs: Sequence[str],
    stored: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 17,
    infos: Sequence[onnx.ValueInfoProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model of one graph named "net"."""
    given = [v if isinstance(v, onnx.ValueInfoProto) else info(k, v) for k, v in inputs.items()]
    graph = helper.make_graph(nodes, "net", given, [info(name) for name in outputs], initializer=stored, value_info=infos)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions)


def load(proto: onnx.ModelProto, **options: Any) -> Graph:
    """The graph of a model in memory; messages call it m.onnx."""
    return graph_of(proto, where="m.onnx", folder=Path(), **options)


def types(graph: Graph) -> list[str]:
    return [op.type for op in graph.ops]
