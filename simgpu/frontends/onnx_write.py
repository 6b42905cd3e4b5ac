"""Graph → ONNX file without weights: Netron shows it, and `load_onnx` reads the same network back.

Nodes that ONNX has in the same form are standard; the others are in the domain "simgpu", with their operands as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import onnx
from onnx import helper

from simgpu.dtypes import DTYPES
from simgpu.errors import ModelError
from simgpu.frontends.onnx_proto import CONSTANT_MARK, SIMGPU_DOMAIN
from simgpu.graph.ir import CONSTANT, WEIGHT, Attr, Graph, Op, Tensor

OPSET = 20
IR_VERSION = 10

# Op types that hold nothing in attributes that ONNX has as inputs.
_STANDARD = frozenset(
    {
        "Add", "AveragePool", "BatchNormalization", "Concat", "Conv", "ConvTranspose", "Div", "Elu", "Erf", "Exp", "Flatten", "Gather", "Gelu",
        "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "LRN", "LayerNormalization", "LeakyRelu", "MatMul", "Max",
        "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pow", "Relu", "Sigmoid", "Softmax", "Sqrt", "Sub", "Sum", "Tanh", "Transpose", "Where",
    }
)  # fmt: skip
_DATA_TYPES: Mapping[str, int] = MappingProxyType(
    {
        name: onnx.TensorProto.DataType.Value(said)
        for name, said in {
            "fp64": "DOUBLE", "fp32": "FLOAT", "tf32": "FLOAT", "bf16": "BFLOAT16", "fp16": "FLOAT16", "fp8": "FLOAT8E4M3FN", "fp8_e5m2": "FLOAT8E5M2",
            "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8", "uint8": "UINT8", "int4": "INT4", "bool": "BOOL",
        }.items()
    }
)  # fmt: skip


def to_onnx(graph: Graph) -> bytes:
    """The graph as ONNX, every tensor with its shape, no tensor with its numbers.

    Raises:
        ModelError: A tensor is in a format that ONNX does not have.
    """
    read = {name for op in graph.ops for name in op.inputs if name}
    stored = [graph[name] for name in graph.tensors if name in read and graph[name].kind in (WEIGHT, CONSTANT)]
    made = [t for op in graph.ops for t in graph.out_tensors(op)]
    proto = helper.make_graph(
        [_node(op, graph) for op in graph.ops],
        graph.name,
        inputs=[_info(graph[name], graph) for name in graph.inputs],
        outputs=[_info(graph[name], graph) for name in graph.outputs],
        initializer=[_stored(t, graph) for t in stored],
        value_info=[_info(t, graph) for t in made if t.name not in graph.outputs],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(SIMGPU_DOMAIN, 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="simgpu", doc_string="Shapes only: the weights were left out.")
    return bytes(model.SerializeToString(deterministic=True))


def _data_type(tensor: Tensor, graph: Graph) -> int:
    if tensor.dtype not in _DATA_TYPES:
        raise ModelError(f"{graph.name}: tensor '{tensor.name}' is in {DTYPES[tensor.dtype].name}, which ONNX does not have; write the text form instead")
    return _DATA_TYPES[tensor.dtype]


def _info(tensor: Tensor, graph: Graph) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _data_type(tensor, graph), list(tensor.shape))


def _stored(tensor: Tensor, graph: Graph) -> onnx.TensorProto:
    proto = onnx.TensorProto(name=tensor.name, data_type=_data_type(tensor, graph), dims=tensor.shape)
    if tensor.kind == CONSTANT:
        proto.doc_string = CONSTANT_MARK
    return proto


def _node(op: Op, graph: Graph) -> onnx.NodeProto:
    if op.type == "Linear" and not op.attrs and len(graph[op.inputs[0]].shape) == 2:
        op = op.with_(type="Gemm", attrs={"transB": 1})
    attrs: dict[str, Any] = {key: _attribute(key, value) for key, value in op.attrs.items() if value != ()}
    domain = "" if op.type in _STANDARD else SIMGPU_DOMAIN
    node = helper.make_node(op.type, list(op.inputs), list(op.outputs), name=op.name, domain=domain, **attrs)
    if op.scope:  # as torch.onnx says which module a node is from
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(["", op.scope, op.name]))
    return node


def _attribute(key: str, value: Attr) -> Attr:
    """Data types are numbers in ONNX."""
    return _DATA_TYPES[value] if key in {"to", "dtype"} and isinstance(value, str) and value in _DATA_TYPES else value
