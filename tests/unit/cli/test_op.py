"""`simgpu op`: one operator step by step."""

from __future__ import annotations

import json

import pytest

from simgpu.api import simulate
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
        (
            ["gemm", "m=8", "n=8", "k=8", "--dtype", "fp8"],
            "gemm: dtype fp8: A100 SXM4 80GB has no FP8 unit, it would compute in fp16; choose dtype fp16 or another GPU",
        ),
        (["relu", "elements=8", "--dtype", "int8"], "relu: dtype int8 quantises convolutions and matrix products only, so this operator runs in fp16"),
        (["conv", "c=8", "h=8", "k=8", "--dtype", "int4"], "conv: dtype int4 quantises matrix products only, so this operator runs in fp16; choose dtype fp16"),
        (["attention", "heads=2", "q=8", "d=8", "--dtype", "int8"], "attention: dtype int8 quantises convolutions and matrix products only"),
    ],
)
def test_bad_input(arguments, error, capsys: pytest.CaptureFixture[str]):
    assert main(["op", *arguments, "--gpu", "a100"]) == 1
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpu", "dtype", "expected"),
    [
        ("a100", "int8", "624 TFLOP/s (int8, tensor cores)"),
        ("p4", "int8", "21.8 TFLOP/s (int8, CUDA cores)"),  # dp4a: 20 SMs of 128 lanes, 4 MAC each, at 1.063 GHz
        ("h100", "fp8", "1.98 PFLOP/s (fp8, tensor cores)"),
        ("a100", "int4", "312 TFLOP/s (fp16, tensor cores)"),  # the weights are widened first
    ],
)
def test_a_quantised_product_uses_the_unit_of_its_format(gpu, dtype, expected, capsys: pytest.CaptureFixture[str]):
    assert main(["op", "gemm", "m=256", "n=512", "k=1024", "--gpu", gpu, "--dtype", dtype]) == 0
    assert f"268 MFLOP / {expected}" in capsys.readouterr().out  # 2 * 256 * 512 * 1024


def test_operands_of_a_quantised_product_are_narrow_already():
    """One kernel, nothing that quantises; A [16, 64] and B [64, 32] in 8 bits, the result in 16."""
    (product,) = simulate(operator_graph("gemm", {"m": 16, "n": 32, "k": 64}, dtype="int8"), gpu="a100", dtype="int8", runtime="tensorrt").kernels.kernels
    assert [a.bytes for a in (*product.reads, *product.writes)] == [16 * 64, 64 * 32, 2 * 16 * 32]
    (weight_only,) = simulate(operator_graph("gemm", {"m": 16, "n": 32, "k": 128}, dtype="int4"), gpu="a100", dtype="int4", runtime="tensorrt").kernels.kernels
    assert [a.bytes for a in weight_only.reads] == [2 * 16 * 128, 32 * (128 / 2 + 2 + 0.5)]  # for each column a scale and a zero point
    (fp8,) = simulate(operator_graph("attention", {"heads": 2, "q": 32, "d": 64}, dtype="fp8"), gpu="h100", dtype="fp8", runtime="tensorrt").kernels.kernels
    assert (fp8.dtype, [a.bytes for a in fp8.reads]) == ("fp8", [2 * 32 * 64] * 3)


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
