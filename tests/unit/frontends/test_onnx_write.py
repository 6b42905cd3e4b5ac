"""Graphs written as ONNX without weights come back as the same network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest

import simgpu
from simgpu.errors import ModelError
from simgpu.frontends.onnx_write import to_onnx
from simgpu.graph.ir import Graph
from simgpu.ops.registry import graph_flop


def back(graph: Graph, folder: Path) -> Graph:
    path = folder / "written.onnx"
    path.write_bytes(to_onnx(graph))
    return simgpu.load_model(path)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "swin_t", "bert-base", "gpt2", "llama-3-8b", "yolov8n"])
def test_the_same_network_comes_back(name: str, tmp_path: Path):
    graph = simgpu.load_model(name)
    read = back(graph, tmp_path)
    assert graph_flop(read) == graph_flop(graph)
    assert read.num_params == graph.num_params
    assert [read[t].shape for t in read.inputs] == [graph[t].shape for t in graph.inputs]
    missing = {op.scope for op in graph.ops} ^ {op.scope for op in read.ops}
    assert missing <= {"embeddings.position_embeddings", "transformer.wpe"}  # a table that is read as a whole is a constant then


def test_the_same_prediction(tmp_path: Path):
    graph = simgpu.load_model("resnet18", batch=8)
    there, again = (simgpu.simulate(g, "t4", dtype="fp16", runtime="tensorrt") for g in (graph, back(graph, tmp_path)))
    assert again.latency_s == pytest.approx(there.latency_s, rel=1e-9)


def test_the_file_is_small_and_onnx_itself_reads_it():
    data = to_onnx(simgpu.load_model("resnet50"))
    assert len(data) < 100_000  # of 25.6 million parameters
    model = onnx.load_from_string(data)
    assert model.graph.name == "resnet50"
    assert {node.domain for node in model.graph.node} == {""}  # a plain CNN needs no operator of ours
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert [d.dim_value for d in inferred.graph.output[0].type.tensor_type.shape.dim] == [1, 1000]
    assert not any(t.raw_data or t.float_data for t in model.graph.initializer)


def test_the_same_graph_gives_the_same_bytes():
    assert to_onnx(simgpu.load_model("resnet18")) == to_onnx(simgpu.load_model("resnet18"))


def test_a_format_that_onnx_does_not_have():
    graph = simgpu.load_model("squeezenet1_1")
    first = graph.inputs[0]
    odd = graph.with_(tensors={**graph.tensors, first: dataclasses.replace(graph[first], dtype="nf4")})
    with pytest.raises(ModelError, match=r"squeezenet1_1: tensor 'input' is in nf4, which ONNX does not have; write the text form instead"):
        to_onnx(odd)
