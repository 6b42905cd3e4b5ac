"""Which format and pipe a policy gets on which chip, and what the report says where the chip lacks a unit."""

from __future__ import annotations

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.errors import OptionError
from simgpu.precision import MATMUL, POINTWISE, PRECISIONS, REDUCTION, math_of, op_class, precision, precision_assumptions, product_math


@pytest.mark.parametrize(
    ("gpu", "policy", "expected"),
    [
        ("8800-gtx", "fp64", ("fp32", "vector")),  # G80 has no double precision: the compiler demotes it
        ("gtx-1080", "fp64", ("fp64", "vector")),  # at 1/32 of the rate, but nothing else will do
        ("m40", "fp16", ("fp32", "vector")),
        ("gtx-1080", "fp16", ("fp32", "vector")),  # a unit at 1/64 of the rate
        ("p100", "fp16", ("fp16", "vector")),
        ("v100", "fp16", ("fp16", "tensor")),
        ("t4", "bf16", ("fp32", "vector")),
        ("a100", "bf16", ("bf16", "tensor")),
        ("v100", "tf32", ("fp32", "vector")),
        ("a100", "tf32", ("tf32", "tensor")),
        ("m40", "int8", ("fp32", "vector")),
        ("p4", "int8", ("int8", "vector")),  # dp4a
        ("t4", "int8", ("int8", "tensor")),
        ("a100", "fp8", ("fp16", "tensor")),
        ("p4", "fp8", ("fp32", "vector")),
        ("l4", "fp8", ("fp8", "tensor")),
        ("h100", "fp8", ("fp8", "tensor")),
        ("h100", "fp4", ("fp8", "tensor")),
        ("a100", "int4", ("fp16", "tensor")),  # weights only: the math is fp16
        ("a100", "amp", ("fp16", "tensor")),
        ("a100", "fp32", ("fp32", "vector")),
    ],
)
def test_the_math_of_products(gpu: str, policy: str, expected: tuple[str, str]):
    assert math_of(precision(policy), MATMUL, load_gpu(gpu)) == expected


def test_everything_else_computes_in_fp32_registers():
    a100 = load_gpu("a100")
    assert {math_of(p, kind, a100) for p in PRECISIONS.values() if p.name != "fp64" for kind in (REDUCTION, POINTWISE)} == {("fp32", "vector")}
    assert math_of(precision("fp64"), POINTWISE, a100).dtype == "fp64"


def test_fallbacks_are_told():
    m40 = load_gpu("m40")
    assert precision_assumptions(precision("fp16"), m40)[0].endswith("has no FP16 unit: fp16 tensors are stored in 16 bits and computed in FP32")
    assert "has no INT8 (dp4a or tensor) unit: int8 tensors are stored in 8 bits" in precision_assumptions(precision("int8"), m40)[0]
    assert "has no fast FP16 unit" in precision_assumptions(precision("fp16"), load_gpu("gtx-1080"))[0]
    assert "has no TF32 tensor cores: matrix products are computed in FP32" in precision_assumptions(precision("tf32"), load_gpu("v100"))[0]
    assert precision_assumptions(precision("fp16"), load_gpu("v100")) == ()
    assert "TF32" in precision_assumptions(precision("fp32"), load_gpu("a100"))[0]
    assert precision_assumptions(precision("fp32"), load_gpu("v100")) == ()


def test_block_scales_are_told():
    notes = [precision_assumptions(precision(name), load_gpu("h100")) for name in ("int4", "nf4", "int8-weight-only", "int8")]
    assert notes[0][0].startswith("int4: a 16-bit scale and a 4-bit zero point for every 128 weights") and notes[0][0].endswith("4.16 bits a weight")
    assert notes[1][0].endswith("4.5 bits a weight")  # 32 / 64 more than four
    assert notes[2:] == [(), ()]


def test_products_of_what_the_policy_did_not_quantise():
    a100, int8 = load_gpu("a100"), precision("int8")
    assert product_math(int8, "int8", "int8", a100).dtype == "int8"
    assert product_math(int8, "fp16", "fp16", a100).dtype == "fp16"  # the scores of attention
    assert product_math(precision("fp32"), "uint8", "int8", a100).dtype == "int8"  # a model that is quantised itself
    assert product_math(precision("int4"), "fp16", "int4", a100).dtype == "fp16"
    assert product_math(precision("fp32"), "fp32", "fp32", a100) == ("fp32", "vector")


def test_unknown_policies_are_refused_with_the_nearest():
    with pytest.raises(OptionError, match=r"unknown dtype 'fp61', expected one of fp64, fp32, .*; did you mean '\w+'\?"):
        precision("fp61")


def test_other_names_of_policies():
    assert precision("float16") is precision("half") is precision("FP16") is PRECISIONS["fp16"]
    assert precision("w8a8") is PRECISIONS["int8"]
    assert precision("amp_bf16") is PRECISIONS["amp-bf16"]


def test_classes_of_ops():
    assert [op_class(t) for t in ("Conv", "Attention", "LSTM", "Softmax", "ReduceSum", "ReduceMean", "Relu", "BatchNormalization")] == [
        *(MATMUL,) * 3,
        *(REDUCTION,) * 2,
        *(POINTWISE,) * 3,
    ]
