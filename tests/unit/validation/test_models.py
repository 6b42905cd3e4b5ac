"""Rows of published whole-model measurements become runs of zoo networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simgpu.api import simulate
from simgpu.validation.model_runs import Run, processes, run_all, start
from simgpu.validation.models import ModelCase, is_model_table, model_cases
from simgpu.validation.outcome import Wanted
from simgpu.validation.run import validate
from simgpu.validation.stacks import host_of, stack_of
from simgpu.validation.table import read_table

Write = Callable[..., Path]
HEADER = "source,model,gpu,n_gpus,framework,mode,dtype,batch,image_size,latency_ms,throughput_per_s,throughput_unit"


def rows(path: Path) -> tuple[list[ModelCase], list[str]]:
    table = read_table(path)
    assert is_model_table(table)
    cases, others = model_cases(table, Wanted())
    assert others.problems == ()
    return cases, [s.reason for s in others.skipped]


def test_a_row_becomes_a_run(table: Write) -> None:
    (case,), skipped = rows(table(HEADER, "mine,resnet50,t4,1,pytorch,infer,fp16,8,160,12.5,,"))
    assert skipped == []
    assert case.measured_s == pytest.approx(12.5e-3)
    assert case.run == Run(model="resnet50", gpu="t4", batch=8, dtype="fp16", runtime="eager", options=(("image_size", 160),))
    assert case.group == ("mine", "model", "t4", "fp16", "infer, batch 8+", "")


def test_rates_give_times_where_no_latency_is_printed(table: Write) -> None:
    (case,), _ = rows(table(HEADER, "mine,resnet50,t4,1,tensorrt,infer,int8,8,,,400,images/s"))
    assert case.measured_s == pytest.approx(8 / 400)
    assert case.run.runtime == "tensorrt"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("mine,resnet50,t4,1,pytorch,train-lora,fp32,8,224,12,,", "mode 'train-lora' is not simulated"),
        ("mine,resnet50,t4,8,pytorch,infer,fp32,8,224,12,,", "runs on 8 GPUs"),
        ("mine,resnet50,t4,1,pytorch,infer,q4_k_m,8,224,12,,", "number format 'q4_k_m' is not modelled"),
        ("mine,resnet50,t4,1,pytorch,infer,fp32,,224,12,,", "batch not stated"),
        ("mine,resnet50,t4,1,pytorch,infer,fp32,8,224x192,12,,", "image size 224x192 is not square"),
        ("mine,resnet50,t4,1,pytorch,infer,fp32,8,224,,,", "no time published"),
        ("mine,resnet50,t4,1,pytorch,infer,fp32,8,224,,90,tokens/s", "throughput in tokens/s says no time of a pass"),
        ("mine,resnet50,m60,1,pytorch,infer,fp32,8,224,12,,", "Tesla M60 is not described in archs/"),
        ("lambdal/x,gnmt,t4,1,pytorch,train,fp32,8,,,90,tokens/s (src+tgt)", "throughput in tokens/s (src+tgt) says no time of a pass"),
        (
            "NVIDIA/DeepLearningExamples x,resnet50,t4,1,pytorch,train,fp32,8,224,12,,",
            "reads and decodes its data in the step, and its batch is that of a configuration file",
        ),
        ("jcjohnson/cnn-benchmarks,resnet50,t4,1,torch7,fwd,fp32,8,224,12,,", "run without cuDNN, by Torch's own kernels"),
    ],
)
def test_rows_that_are_no_run_say_why(table: Write, row: str, reason: str) -> None:
    cases, skipped = rows(table(HEADER, row))
    assert (cases, skipped) == ([], [reason])


@pytest.mark.parametrize(
    ("row", "mode", "changes"),
    [
        ("mine,resnet18,t4,1,pytorch,train,fp32,8,,12,,", "train, batch 8+", {"optimizer": "sgd"}),
        ("mine,resnet18,t4,1,pytorch,fwd+bwd,fp32,8,,12,,", "train, batch 8+", {"optimizer": "none"}),
        ("mine,resnet18,t4,1,pytorch,bwd,fp32,8,,12,,", "backward, batch 8+", {"optimizer": "none", "backward_only": True}),
    ],
)
def test_rows_of_training_become_steps(table: Write, row: str, mode: str, changes: dict[str, Any]) -> None:
    """`train` ends with an update, the others with the gradients."""
    (case,), skipped = rows(table(HEADER, row))
    assert skipped == []
    assert case.group.mode == mode
    assert case.run == Run(model="resnet18", gpu="t4", batch=8, dtype="fp32", runtime="eager", **changes)


def test_what_a_source_trains_with(table: Write) -> None:
    lua = "jcjohnson/cnn-benchmarks,resnet50,titan-x-pascal,1,torch7,fwd+bwd,fp32,8,224,12,,"
    (torch7,), _ = rows(table(f"{HEADER},cudnn", f"{lua},5.1.05"))
    assert torch7.run.of_inputs  # Torch7 hands gradients down to the image
    (bert,), _ = rows(table(f"{HEADER},seq_len", "lambdal/x,bert-large,t4,1,pytorch,train,amp-fp16,8,,12,,,384"))
    assert (bert.run.optimizer, bert.run.dtype, bert.run.attention) == ("adam", "fp16", "math")
    assert bert.run.options == (("dropout", 0.1), ("seq_len", 384))


def test_a_step_of_training_is_its_forward_pass_and_the_rest() -> None:
    step = Run(model="resnet18", gpu="t4", batch=32, dtype="fp32", runtime="eager", optimizer="none", host="none")
    whole, rest = run_all([step, replace(step, backward_only=True)])
    assert not isinstance(whole, str) and not isinstance(rest, str)
    assert 0.5 * whole.latency_s < rest.latency_s < 0.75 * whole.latency_s  # two passes of three, by their work


def test_unknown_networks_are_counted(table: Write) -> None:
    validation = validate([table(HEADER, "mine,frobnet,t4,1,pytorch,infer,fp32,8,224,12,,")])
    assert [s.reason for s in validation.skipped] == ["no network 'frobnet' in the zoo"]
    assert validation.problems == ()


def test_unknown_gpu_is_a_problem(table: Write) -> None:
    (problem,) = validate([table(HEADER, "mine,resnet50,t44,1,pytorch,infer,fp32,8,224,12,,")]).problems
    assert "row 2, column 'gpu': unknown GPU 't44'; did you mean 't4'?" in problem


def test_a_table_without_batch_is_named(table: Write) -> None:
    (problem,) = validate([table("source,model,gpu,mode,latency_ms", "mine,resnet50,t4,infer,12")]).problems
    assert problem.endswith("row 1, column 'batch': missing in this table of whole models")


def test_a_misspelt_column_is_named_and_remarks_are_not(table: Write) -> None:
    header = "source,model,gpu,mode,batch,seq_length,latency_ms,cooling"
    path = table(header, "mine,bert-base,t4,infer,1,64,12,water")
    validation = validate([path])
    assert validation.problems == (f"{path}: row 1, column 'seq_length': means nothing in a table of whole models; did you mean 'seq_len'?; it is not read",)
    assert validation.rows == 1


def test_negative_latency_is_a_problem(table: Write) -> None:
    (problem,) = validate([table(HEADER, "mine,resnet50,t4,1,pytorch,infer,fp32,8,224,-12,,")]).problems
    assert "row 2, column 'latency_ms': -12 ms, expected a time above 0" in problem


@pytest.mark.parametrize("size", ["-224", "abc", "224x"])
def test_an_image_size_that_is_none_is_a_problem(table: Write, size: str) -> None:
    (problem,) = validate([table(HEADER, f"mine,resnet50,t4,1,pytorch,infer,fp32,8,{size},12,,")]).problems
    assert f"row 2, column 'image_size': '{size}' is no size, expected pixels such as 224 or 224x224" in problem


def test_who_stops_does_not_wait_for_runs_that_have_not_begun() -> None:
    with pytest.raises(KeyboardInterrupt), processes(1) as pool:
        waiting = [pool.submit(time.sleep, 0.1) for _ in range(50)]
        raise KeyboardInterrupt
    assert sum(one.cancelled() for one in waiting) > 40


def test_decoding_is_timed_by_the_token(table: Write) -> None:
    header = "source,model,gpu,n_gpus,framework,mode,dtype,batch,seq_len,output_len,ttft_ms,tpot_ms,throughput_per_s,throughput_unit"
    decode, generate, prefill = rows(
        table(
            header,
            "x,llama-2-7b,rtx-4090,1,gpt-fast (torch.compile),infer-decode,bf16,1,5,200,,9.5,,",
            "InternLM/lmdeploy,llama-2-7b,a100-sxm4-80gb,1,lmdeploy-turbomind,infer-generate,fp16,2,128,101,50,,10.1,output tokens/s",
            "x,llama-2-7b,rtx-4090,1,y,infer-prefill,fp16,1,1024,,,,,",
        )
    )[0] + [None]
    assert decode is not None and generate is not None
    assert prefill is None  # its row prints no time
    assert decode.measured_s == pytest.approx(9.5e-3)
    assert dict(decode.run.options) == {"phase": "decode", "context": 5 + 100}
    assert decode.run.runtime == "compiled"
    assert generate.measured_s == pytest.approx((101 * 2 / 10.1 - 0.05) / 100)  # 20 s for all, 0.05 s of them for the first token


def test_published_predictions_stand_beside(table: Write) -> None:
    header = "model,seq_len,batch,gpu,mode,variant,n_gpus,dtype,framework,measured_ms,neusight_ms,habitat_ms"
    (case, doubtful), _ = rows(
        table(header, "bert-large,512,8,v100-pcie-32gb,infer,eager,1,fp32,hf,255,260,", "bert-large,512,16,a100-pcie-40gb,infer,eager,1,fp32,hf,396,414,313")
    )
    assert case.published_s == {"NeuSight": pytest.approx(0.260)}
    assert (case.run.attention, case.group.source, case.group.trust, doubtful.group.trust) == ("math", "neusight", "", "care")


def test_rules_know_the_stacks() -> None:
    dle = stack_of({"source": "NVIDIA/DeepLearningExamples PyTorch/Classification", "framework": "pytorch", "dtype": "fp32"})
    assert (dle.label, dle.runtime, dle.host, dle.out) == ("nvidia_dle", "eager", "pytorch-1", "")
    xla = stack_of({"source": "NVIDIA/DeepLearningExamples TensorFlow/Classification", "framework": "tensorflow-xla"})
    assert "XLA" in xla.out
    assert host_of("litgpt").step_s == pytest.approx(5.2e-3)
    assert stack_of({"source": "nobody"}).label == ""


def test_runs_are_what_simulate_says() -> None:
    runs = [
        Run(model="resnet18", gpu="t4", batch=4, dtype="amp", runtime="eager", host="pytorch-1"),
        Run(model="resnet18", gpu="v100-sxm2-16gb", batch=1, dtype="fp32", runtime="eager"),
        Run(model="resnet18", gpu="v100-pcie-16gb", batch=1, dtype="fp32", runtime="eager"),
        Run(model="resnet18", gpu="t4", batch=4, dtype="fp16", runtime="tensorrt", options=(("image_size", 160),)),
        Run(model="resnet18", gpu="t4", batch=4, dtype="amp", runtime="eager", optimizer="adam"),
    ]
    for run, outcome in zip(runs, run_all(runs), strict=True):
        report = simulate(
            run.model,
            run.gpu,
            batch=run.batch,
            dtype=run.dtype,
            runtime=run.runtime,
            host=host_of(run.host) if run.host else None,
            training=bool(run.optimizer),
            optimizer=run.optimizer or "sgd",
            **dict(run.options),
        )
        assert not isinstance(outcome, str)
        assert outcome.latency_s == pytest.approx(report.latency_s, rel=1e-6)
        assert outcome.roofline_s == pytest.approx(float(report.times.roofline_s.sum()), rel=1e-9)


def test_failed_runs_are_reasons_in_order() -> None:
    good = Run(model="resnet18", gpu="t4", batch=1, dtype="fp32", runtime="eager")
    bad = Run(model="resnet18", gpu="t4", batch=1, dtype="fp32", runtime="eager", options=(("depth", 3),))
    outcomes = start([bad, good, bad])()
    assert set(outcomes) == {good, bad}
    assert not isinstance(outcomes[good], str)
    assert "unknown option 'depth'" in str(outcomes[bad])
