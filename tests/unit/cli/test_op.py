"""`simgpu op`: one operator step by step."""

from __future__ import annotations

import json

import pytest

from simgpu.cli import main
from simgpu.frontends.operators import OPERATORS, operator_graph, operator_sizes
from simgpu.report.explain import steps_from_roofline
from simgpu.report.records import KernelRecord
from tests.runs import kernels, report, times
from tests.toys import toy_gpu

CONV = ["op", "conv", "n=32", "c=64", "h=56", "k=64", "--gpu", "a100"]
SMALLEST = {
    "conv": {"c": 8, "h": 8, "k": 8},
    "depthwise": {"c": 8, "h": 8},
    "gemm": {"m": 8, "n": 8, "k": 8},
    "linear": {"rows": 8, "in": 8, "out": 8},
    "attention": {"heads": 2, "q": 8, "d": 8},
    "max_pool": {"c": 8, "h": 8},
}


def test_the_page(capsys: pytest.CaptureFixture[str]):
    assert main([*CONV, "--dtype", "fp16"]) == 0
    out = capsys.readouterr().out
    headings = ("The problem", "What the datasheet promises", "What the library runs", "Where its time goes", "Why it is not the roofline", "In all")
    assert all(f"{number}  {heading}" in out for number, heading in enumerate(headings, start=1))
    assert "n 32, c 64, h 56, w 56, k 64, r 3, s 3" in out
    assert "7.4 GFLOP / 312 TFLOP/s (fp16, tensor cores)" in out  # 2 * 32 * 64 * 56 * 56 * 64 * 9 FLOP on an A100
    assert "← binds" in out


def test_json(capsys: pytest.CaptureFixture[str]):
    assert main([*CONV, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flop"] == 2 * 32 * 64 * 56 * 56 * 64 * 9


@pytest.mark.parametrize("kind", OPERATORS)
def test_every_operator_runs(kind, capsys: pytest.CaptureFixture[str]):
    sizes = SMALLEST.get(kind, dict.fromkeys(OPERATORS[kind].needs, 8))
    assert main(["op", kind, *(f"{key}={value}" for key, value in sizes.items()), "--gpu", "v100"]) == 0
    assert OPERATORS[kind].meaning in capsys.readouterr().out


def test_help_lists_the_operators(capsys: pytest.CaptureFixture[str]):
    assert main(["op", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(operator.meaning in out for operator in OPERATORS.values())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["cnov", "n=3"], "unknown operator 'cnov', expected one of conv, depthwise, gemm"),
        (["conv", "c=3", "h=8"], "conv: k (filters) missing; conv c= h= k= n=1 w=h r=3"),
        (["conv", "c=3", "h=8", "k=8", "strid=2"], "conv: unknown size 'strid', expected one of c, h, k, n"),
        (["gemm", "m=3", "n=0", "k=1"], "gemm: n is 0, expected 1 or more"),
        (["gemm", "m=3", "n=-2", "k=1"], "gemm: n is -2, expected 1 or more"),
        (["gemm", "m"], "gemm: 'm': expected key=number, such as n=32"),
        (["gemm", "m=x"], "gemm: 'm=x': expected key=number"),
        (["gemm", "m=1", "m=2"], "gemm: 'm' is given twice"),
        (["conv", "c=6", "h=8", "k=8", "groups=4"], "both must divide evenly"),
    ],
)
def test_bad_input(arguments, error, capsys: pytest.CaptureFixture[str]):
    assert main(["op", *arguments, "--gpu", "a100"]) == 1
    assert error in capsys.readouterr().err


def test_defaults_follow_other_sizes():
    sizes = operator_sizes("conv", {"c": 3, "h": 10, "k": 4, "r": 5, "dilation": 2})
    assert (sizes["w"], sizes["s"], sizes["pad"]) == (10, 5, 4)
    (op,) = operator_graph("conv", {"c": 3, "h": 10, "k": 4, "r": 5, "dilation": 2}).ops
    assert operator_graph("conv", {"c": 3, "h": 10, "k": 4, "r": 5, "dilation": 2})[op.outputs[0]].shape == (1, 4, 10, 10)


def record(**columns: list[float]) -> KernelRecord:
    """A kernel of 800 FLOP and 20 B on the toy (100 FLOP/s, 10 B/s) that takes 20 s."""
    graph = kernels((), flop=(800.0,))
    return report(graph, times(20, roofline_s=[8], **columns)).records[0]


def test_the_way_from_the_roofline_of_a_kernel_bound_by_math():
    # 800 FLOP take 8 s; padded to 1000: 10 s; at half the clock: 20 s... here 0.8 Hz: 12.5 s; pipes: 16 s; in all 20 s.
    steps = steps_from_roofline(record(math_s=[16], executed_flop=[1000], clock_hz=[0.8]), toy_gpu(), 20.0)
    assert [(s.time_s, pytest.approx(s.factor)) for s in steps] == [(8, 1), (10, 1.25), (12.5, 1.25), (16, 1.28), (20, 1.25)]
    assert steps[0].name == "800 FLOP at the fp32 peak of 100 FLOP/s"


def test_the_way_from_the_roofline_of_a_kernel_bound_by_dram():
    # 20 B take 2 s; read twice: 4 s; at half of the bandwidth: 8 s; the rest does not overlap.
    steps = steps_from_roofline(record(dram_s=[8], dram_bytes=[40]), toy_gpu(), 20.0)
    assert [(s.name, s.time_s) for s in steps] == [
        ("20 B at the DRAM peak of 10 B/s", 2),
        ("read more than once", 4),
        ("what DRAM can sustain", 8),
        ("what does not overlap with it", 20),
    ]


def test_the_way_from_the_roofline_of_other_kernels():
    steps = steps_from_roofline(record(latency_s=[10]), toy_gpu(), 20.0)
    assert [(s.name, s.time_s) for s in steps] == [("the datasheet roofline", 8), ("bound by latency", 10), ("what does not overlap with it", 20)]
