"""Every shipped config and the nine light ONNX files run on an A100 and a T4: no unknown operator, no shape left open, every kernel priced.

How long each takes cold is measured by `make bench`; times do not belong into a test that runs beside others.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import simgpu
from simgpu.errors import OptionError
from simgpu.frontends.config import config_names, load_named_config
from simgpu.graph.ir import Graph
from tests.onnx_files import LIGHT

FILES = sorted(LIGHT.glob("*.onnx"))
# The families that generate nothing; all others decode.
ENCODERS = ("albert", "bert", "clip", "deit", "distilbert", "roberta", "sd15", "sdxl", "swin", "vit")
GENERATING = [name for name in config_names() if not name.startswith(ENCODERS)]
TOKENS = 64


@cache
def gpus() -> tuple[simgpu.GPU, ...]:
    return simgpu.load_gpu("a100"), simgpu.load_gpu("t4")


def check(graph: Graph) -> None:
    """Its shapes are whole, all its operators are known, and both GPUs run it in a time that is neither nothing nor endless."""
    for tensor in graph.tensors.values():
        assert all(isinstance(d, int) and d >= 0 for d in tensor.shape), tensor
    for gpu in gpus():
        report = simgpu.simulate(graph, gpu, dtype="fp16", runtime="compiled", host="none")
        assert np.all(np.isfinite(report.times.duration_s))
        assert np.all(report.times.duration_s > 0)
        assert report.flop > 0
        assert 1e-6 < report.latency_s < 60
        assert math.isfinite(report.energy_j)
        assert not any("without a rule" in note for note in report.assumptions)


@pytest.mark.parametrize("name", config_names())
def test_prefill(name: str) -> None:
    try:
        graph = load_named_config(name, seq_len=TOKENS)
    except OptionError as error:  # it sees images
        assert "reads no tokens" in str(error)
        graph = load_named_config(name)
    check(graph)


@pytest.mark.parametrize("name", GENERATING)
def test_decode(name: str) -> None:
    graph = load_named_config(name, context=TOKENS, new_tokens=3)
    assert graph.new_tokens == 3
    check(graph)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_light_onnx_files(path: Path) -> None:
    check(simgpu.load_model(path))


def test_nothing_was_left_out() -> None:
    assert len(config_names()) >= 123
    assert len(GENERATING) >= 80
    assert len(FILES) == 9


@pytest.mark.parametrize(("name", "most_ops"), [("gpt3-175b", 96 * 40), ("deepseek-v3", 61 * 80)])
def test_the_largest_graphs_hold_an_op_a_call_not_an_op_an_expert(name: str, most_ops: int) -> None:
    graph = load_named_config(name, seq_len=2048)
    assert 1000 < len(graph.ops) < most_ops
