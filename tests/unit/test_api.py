"""From a name or a record to a report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import simgpu
from simgpu.errors import ModelError, OptionError, SimgpuError
from simgpu.frontends.operators import operator_graph
from simgpu.sim.host import HostCost
from tests.toys import toy_gpu


def test_a_dozen_public_names():
    assert set(simgpu.__all__) <= set(dir(simgpu))
    for name in simgpu.__all__:
        assert getattr(simgpu, name) is not None
    with pytest.raises(AttributeError, match="module 'simgpu' has no attribute 'simulat'"):
        _ = simgpu.simulat


def test_importing_is_light():
    code = "import sys, simgpu; print(sorted({'numpy', 'simpy', 'networkx', 'onnx', 'matplotlib', 'click', 'yaml'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_names_and_records_give_the_same_run():
    by_name = simgpu.simulate("squeezenet1_1", "a100", batch=2, dtype="fp16")
    by_record = simgpu.simulate(simgpu.load_model("squeezenet1_1", batch=2), simgpu.load_gpu("a100"), dtype="fp16")
    assert by_name.latency_s == by_record.latency_s
    assert by_name.batch == by_record.batch == 2
    assert by_name.flop == 2 * simgpu.simulate("squeezenet1_1", "a100").flop


def test_a_report_is_the_same_every_time():
    first, second = (simgpu.simulate("squeezenet1_1", "t4", num_streams=3) for _ in range(2))
    assert first is not second
    assert first.records == second.records


def test_more_memory_bandwidth_is_never_slower_and_host_none_waits_for_nobody():
    slow = simgpu.simulate("squeezenet1_1", "a100", batch=8, host="none", runtime="graph")
    fast = simgpu.simulate("squeezenet1_1", "a100", batch=8, host="none", runtime="graph", overrides={"dram.clock": 2 * simgpu.load_gpu("a100").dram.clock_hz})
    assert fast.latency_s < slow.latency_s
    assert slow.latency_s == pytest.approx(slow.kernel_s)
    assert "host launch" not in slow.bound_fractions


def test_a_slow_host_binds():
    report = simgpu.simulate("squeezenet1_1", "a100", host=HostCost(name="slow", launch_s=1e-3))
    assert report.bound == "host launch"
    assert report.latency_s == pytest.approx(report.num_calls * 1e-3, rel=0.05)


def test_a_single_operator_on_a_toy():
    # 2 * 4 * 4 * 8 = 256 FLOP at 100 FLOP/s: no kernel is faster than 2.56 s.
    report = simgpu.simulate(operator_graph("gemm", {"m": 4, "n": 4, "k": 8}), toy_gpu())
    assert report.flop == 256
    assert report.device_s >= 2.56


def test_compare_is_models_by_gpus():
    reports = simgpu.compare(["squeezenet1_0", "squeezenet1_1"], ["a100", "t4"], batch=4)
    assert [(r.model, r.gpu.id) for r in reports] == [
        ("squeezenet1_0", "a100-sxm4-80gb"),
        ("squeezenet1_0", "t4"),
        ("squeezenet1_1", "a100-sxm4-80gb"),
        ("squeezenet1_1", "t4"),
    ]
    assert len(simgpu.compare("squeezenet1_0", "t4")) == 1


def test_the_largest_batch_fits_and_the_next_does_not():
    gpu = simgpu.load_gpu("t4")
    batch = simgpu.largest_batch("squeezenet1_1", gpu)
    assert simgpu.simulate("squeezenet1_1", gpu, batch=batch).memory.fits
    too_large = simgpu.simulate("squeezenet1_1", gpu, batch=batch + 1)
    assert not too_large.memory.fits
    assert too_large.latency_s > 0  # reported, not refused


def test_a_training_step_needs_more_of_everything():
    inference, sgd, adam = (
        simgpu.simulate("squeezenet1_1", "a100", batch=8, **mode) for mode in ({}, {"training": True}, {"training": True, "optimizer": "adam"})
    )
    assert (inference.optimizer, sgd.optimizer, adam.optimizer) == ("", "sgd", "adam")
    assert 2.5 * inference.flop < sgd.flop < 3.5 * inference.flop  # a backward pass is about two forward passes
    assert inference.memory.optimizer_bytes == inference.memory.gradient_bytes == 0
    assert sgd.memory.optimizer_bytes == 4 * sgd.num_params
    assert adam.memory.optimizer_bytes == 8 * sgd.num_params
    assert sgd.memory.activation_bytes > 3 * inference.memory.activation_bytes  # the backward pass reads them again
    assert simgpu.largest_batch("squeezenet1_1", "t4", training=True) < simgpu.largest_batch("squeezenet1_1", "t4")


def test_new_tokens_are_decoded_in_their_mean_step():
    report = simgpu.simulate("opt-125m", "t4", batch=2, context=100, new_tokens=11)
    assert (report.new_tokens, report.generation_s) == (11, 11 * report.latency_s)
    assert report.latency_s == simgpu.simulate("opt-125m", "t4", batch=2, phase="decode", context=105).latency_s
    assert simgpu.simulate("opt-125m", "t4", seq_len=16).new_tokens == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": "resnet51"}, r"unknown model 'resnet51', expected a file or a name that `simgpu models` lists; did you mean 'resnet\d+'\?"),
        ({"gpu": "a1000"}, r"unknown GPU 'a1000'.*did you mean"),
        ({"dtype": "fp61"}, r"unknown dtype 'fp61', expected one of .*; did you mean 'fp\d+'\?"),
        ({"runtime": "tensorr"}, r"unknown runtime 'tensorr', expected one of .*; did you mean 'tensorrt'\?"),
        ({"host": "pytorch_2"}, r"unknown host 'pytorch_2'"),
        ({"attention": "flash"}, r"unknown attention 'flash', expected one of fused, math"),
        ({"batch": 0}, r"batch: expected a whole number of 1 or more, got 0"),
        ({"batch": -3}, r"batch: expected a whole number of 1 or more, got -3"),
        ({"batch": 2.5}, r"batch: expected a whole number of 1 or more, got 2\.5"),
        ({"num_streams": 0}, r"streams: expected 1 or more, got 0"),
        ({"overrides": {"sm.cout": 3}}, r"sm\.cout.*did you mean 'sm\.count'\?"),
        ({"image_siz": 3}, r"unknown option 'image_siz', expected one of .*; did you mean 'image_size'\?"),
        ({"training": True, "optimizer": "adm"}, r"unknown optimizer 'adm', expected one of sgd, adam, none; did you mean 'adam'\?"),
        ({"training": True, "optimizer": ""}, r"unknown optimizer ''"),
        ({"training": True, "runtime": "tensorrt"}, r"runtime tensorrt runs inference only"),
        ({"training": True, "model": "gpt2", "phase": "decode"}, r"gpt2: a decode step is not trained; train on whole sequences, phase 'prefill'"),
        ({"shapes": {"n": 3}}, r"resnet18: shapes belong to ONNX models"),
    ],
)
def test_bad_input(arguments, error):
    with pytest.raises(SimgpuError, match=error):
        simgpu.simulate(**{"model": "resnet18", "gpu": "a100", **arguments})


def test_a_graph_keeps_its_batch():
    graph = simgpu.load_model("squeezenet1_1", batch=2)
    with pytest.raises(OptionError, match=r"squeezenet1_1: the Graph is built for batch 2, not 3; load it with that batch"):
        simgpu.simulate(graph, "t4", batch=3)
    with pytest.raises(OptionError, match=r"squeezenet1_1: a Graph is built already, the option 'image_size' comes too late; give it to load_model"):
        simgpu.simulate(graph, "t4", image_size=64)


def test_files_that_are_no_models(tmp_path: Path):
    (tmp_path / "weights.pth").write_bytes(b"1")
    for name, error in {
        "none.onnx": r"none\.onnx: no such file; expected an ONNX model",
        "none.json": r"none\.json: no such file; expected a Hugging Face config",
        "none.bin": r"none\.bin: no such file; expected \.onnx",
        "weights.pth": r"weights\.pth: a file of an unknown kind \('\.pth'\); expected \.onnx",
        "": r"a folder without a config\.json; expected \.onnx",
    }.items():
        with pytest.raises(ModelError, match=error):
            simgpu.load_model(tmp_path / name)


def test_a_config_file_is_read_and_read_again_when_it_changes(tmp_path: Path):
    path = tmp_path / "config.json"
    config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 64, "n_head": 4, "n_positions": 32, "vocab_size": 100}
    path.write_text(json.dumps(config))
    assert simgpu.simulate(tmp_path, "t4", seq_len=8).num_params == (first := simgpu.load_model(path, seq_len=8).num_params)
    path.write_text(json.dumps({**config, "n_layer": 2, "vocab_size": 100}))
    assert simgpu.load_model(path, seq_len=8).num_params > first
    with pytest.raises(OptionError, match=re.escape(f"{path}: unknown option 'seqlen'") + r".*did you mean 'seq_len'\?"):
        simgpu.load_model(path, seqlen=8)


def test_a_model_that_launches_nothing():
    from simgpu.frontends.builder import Builder

    b = Builder("views")
    with pytest.raises(ModelError, match=r"views: there is nothing to run, no operator of the model launches a kernel"):
        simgpu.simulate(b.build(b.reshape(b.input("x", (2, 3)), (3, 2))), "t4")
