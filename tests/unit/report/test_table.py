"""The page on the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simgpu.report.table import advice, format_report, verdict
from simgpu.report.text import columns, side_by_side
from tests.runs import EAGER, GRAPH, host, kernels, report, three_kernels, times

GOLDEN = Path(__file__).parents[2] / "golden" / "report.txt"


def test_the_page_of_three_kernels():
    assert format_report(three_kernels()) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_lines_fit_the_terminal(width):
    long = "encoder.layers.11.attention.self.query.projection.with.a.long.name"
    graph = kernels(*[()] * 20, scope=[f"{long}{i}" for i in range(20)], label=[f"conv 3×3 + batch norm + add + relu {i}" for i in range(20)])
    r = report(graph, times(*range(1, 21)), EAGER, host(1.0), model="a-model-with-a-name", assumptions=("word " * 60,))
    assert max(len(line) for line in format_report(r, width=width).splitlines()) <= width


def test_widths_out_of_range_are_kept_readable():
    assert format_report(three_kernels(), width=20) == format_report(three_kernels(), width=80)
    assert format_report(three_kernels(), width=500) == format_report(three_kernels(), width=120)


def test_no_kernel_list_if_none_is_wanted():
    assert "Where most kernel time goes" not in format_report(three_kernels(), top=0)


def test_verdicts_say_what_binds_and_what_would_help():
    slow_host = report(kernels((), ()), times(1, 1, math_s=[1, 1]), EAGER, host(5.0))
    assert verdict(slow_host) == "the host needs 10 s to issue 2 calls, the device 2 s to run them: it waits 81.8 % of the time"
    assert "--runtime graph" in advice(slow_host)
    assert "--runtime graph" not in advice(report(kernels(()), times(1), GRAPH, host(1.0, graph_launch_s=5.0)))
    memory = report(kernels(()), times(2, dram_s=[2], dram_bytes=[10]))
    assert verdict(memory) == "kernels wait for device memory 100.0 % of the time; it moves 5 B/s, 50.0 % of its peak"
    assert "narrower dtype" in advice(memory)
    few = report(kernels((), flop=(80.0,)), times(2, math_s=[2], sm_fraction=[0.1]))
    assert verdict(few).endswith("grids are too small: 90.0 % of the SMs have no work while kernels run")
    fp32 = report(kernels((), flop=(80.0,)), times(2, math_s=[2]), dtype="fp32", math_dtype="fp32")
    assert "tensor cores" in advice(fp32)


def test_a_model_that_does_not_fit_is_said_so_at_the_top():
    r = three_kernels()
    tight = replace(r, memory=replace(r.memory, capacity_bytes=1000.0))
    head = format_report(tight).split("\n\n")[0]
    assert "DOES NOT FIT: 2.34 KiB needed, 1000 B there" in head


def test_a_decode_step_is_told_in_tokens():
    r = replace(three_kernels(), new_tokens=5)
    head = format_report(r).split("\n\n")[0]
    assert "Latency     8 s   (0.5 tokens/s)" in head  # 4 sequences get a token each in 8 s
    assert "Generation  8 s for each token on average, 40 s for all 5 of 4 sequences" in head
    assert "Generation  8 s for each token\n" in format_report(replace(r, new_tokens=1))


def test_a_training_step_is_called_one():
    assert "fp16 · eager · training step (adam) ·" in format_report(replace(three_kernels(), optimizer="adam"))


def test_columns_and_blocks():
    assert columns([], "<<") == []
    assert side_by_side(["left"], ["right", "more"], 20) == ["left   right", "       more"]
    assert side_by_side(["left"], ["right"], 5) == ["left", "", "right"]
