"""The page and the data of a GPU."""

from __future__ import annotations

import json
import re

import pytest

from simgpu.arch.loader import gpu_names, load_gpu, override_gpu
from simgpu.cost.calibration import shipped_calibration
from simgpu.report.spec_sheet import factor_origins, fallbacks, format_gpu, format_gpus, gpu_to_dict, peaks
from tests.toys import toy_gpu


def test_peaks_of_the_toy() -> None:
    found = {(peak.dtype, peak.pipe): peak for peak in peaks(toy_gpu())}
    assert found.keys() == {("fp64", "vector"), ("fp32", "vector"), ("fp16", "tensor")}
    fp16 = found["fp16", "tensor"]
    assert (fp16.flop_per_clk, fp16.flop_per_s, fp16.ridge_flop_per_byte) == (80, 800, 80)
    assert (fp16.sparse_flop_per_s, fp16.printed_flop_per_s) == (None, None)
    assert found["fp32", "vector"].ridge_flop_per_byte == 100 / 10


def test_sparse_and_printed_peaks() -> None:
    found = {(peak.dtype, peak.pipe): peak for peak in peaks(load_gpu("a100"))}
    assert found["fp16", "tensor"].sparse_flop_per_s == 2 * found["fp16", "tensor"].flop_per_s
    assert found["fp64", "tensor"].sparse_flop_per_s is None
    assert found["fp16", "tensor"].printed_flop_per_s == 312e12
    assert found["fp16", "vector"].printed_flop_per_s == 78e12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("8800-gtx", {"fp64": "fp32", "tf32": "fp32", "bf16": "fp32", "fp16": "fp32", "fp8": "fp32", "fp4": "fp32", "int8": "fp32"}),
        ("gtx-1080-ti", {"tf32": "fp32", "bf16": "fp32", "fp16": "fp32", "fp8": "fp32", "fp4": "fp32"}),
        ("v100", {"tf32": "fp32", "bf16": "fp32", "fp8": "fp16", "fp4": "fp16"}),
        ("a100", {"fp8": "fp16", "fp4": "fp16"}),
        ("rtx-4090", {"fp4": "fp8"}),
        ("b200", {}),
    ],
)
def test_fallbacks_of_each_generation(name: str, expected: dict[str, str]) -> None:
    assert fallbacks(load_gpu(name)) == expected


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", gpu_names())
def test_the_sheet_fits_the_terminal(name: str, width: int) -> None:
    sheet = format_gpu(load_gpu(name), width=width)
    assert max(map(len, sheet.splitlines())) <= width
    assert not re.search(r"[ \t]\n|\n\n\n|\bNone\b|\bnan\b|\binf\b", sheet)
    for title in ("Compute", "Peaks", "Memory", "Board", "Sources"):
        assert re.search(f"^{title}", sheet, re.MULTILINE)


def test_what_a_sheet_says() -> None:
    sheet = format_gpu(load_gpu("a100-pcie-40gb"))
    for line in (
        "A100 PCIe 40GB (a100-pcie-40gb)",
        "Ampere, compute capability 8.0, 2020, datacenter",
        "  SMs             108",
        "  Clock           765 MHz base, 1410 MHz boost",
        "  fp16  tensor     2048  1410 MHz   312 T       624 T      312 T           201",
        "  No fast unit    fp8 → fp16, fp4 → fp16",
        "  DRAM: HBM2 with ECC, 1215 MHz × 2 transfers × 5120 bit / 8",
        "  Power           250 W limit",
        "  • NVLink needs a bridge and joins two boards.",
    ):
        assert line in sheet.splitlines()


def test_a_changed_gpu_shows_what_was_set() -> None:
    sheet = format_gpu(override_gpu(load_gpu("t4"), {"sm.count": 80}))
    assert sheet.startswith("Tesla T4 [sm.count=80] (t4)\n")
    assert "  set       sm: sm.count=80; otherwise spec: CUDA" in sheet
    assert "datasheet" not in sheet.partition("Memory")[0]


def test_a_sheet_without_sources() -> None:
    assert format_gpu(toy_gpu()).endswith("\n\nWhat if: simgpu gpu toy --set dram.bandwidth='20 B/s'\n")


def test_data_is_json_with_the_names_of_the_fields() -> None:
    data = json.loads(json.dumps(gpu_to_dict(load_gpu("v100"))))
    assert data["dram"]["capacity_bytes"] == 16 * 2**30
    assert data["compute_capability"] == [7, 0]
    assert data["tensor_cores"]["flop_per_clk"] == {"fp16": 1024}
    assert data["nvlink"]["lanes"] == 6
    assert data["derived"]["fallbacks"]["bf16"] == "fp32"
    assert {"dtype", "pipe", "flop_per_s", "ridge_flop_per_byte"} <= data["derived"]["peaks"][0].keys()


def test_the_table_of_gpus() -> None:
    table = format_gpus([load_gpu("t4"), load_gpu("a100"), load_gpu("gtx-480"), load_gpu("8800-gtx")])
    assert table == (
        "  GPU             year  SMs  boost     FP32  FP16 tensor  DRAM  capacity  TDP\n"
        "                               MHz  TFLOP/s      TFLOP/s  GB/s       GiB    W\n"
        "Tesla\n"
        "  8800-gtx        2006   16   1350    0.346            –  86.4      0.75  155\n"
        "Fermi\n"
        "  gtx-480         2010   15   1401     1.34            –   177       1.5  250\n"
        "Turing\n"
        "  t4              2018   40   1590     8.14         65.1   320        16   70\n"
        "Ampere\n"
        "  a100-sxm4-80gb  2020  108   1410     19.5          312  2039        80  400\n"
        "\n"
        "4 GPUs in 4 generations. `simgpu gpu NAME` has the spec sheet and the sources.\n"
    )


def test_a_sheet_says_which_generation_the_factors_come_from() -> None:
    for name, lines in {
        "v100": ("Generation      Volta, ", "Fitted on       v100-pcie-32gb, v100-sxm2-16gb"),
        "rtx-5090": (
            "Generation      Blackwell GB20x, none of its own",
            "Inherited       ",
            " from Ada, ",
            "no GPU of this generation: its relatives stand in",
        ),
        "gtx-480": ("Generation      Fermi, ", " from Maxwell"),
    }.items():
        sheet = format_gpu(load_gpu(name))
        assert "Factors that no datasheet states" in sheet
        for line in lines:
            assert line in sheet, (name, line)


def test_factors_are_counted_once() -> None:
    origins = factor_origins(load_gpu("rtx-5090"))
    assert (origins.generation, origins.inherits, origins.fitted_on) == ("Blackwell GB20x", ("Ada", "Ampere GA10x", "Ampere GA100"), ())
    assert sum(origins.factors.values()) == len(shipped_calibration().parameters)
    assert gpu_to_dict(load_gpu("b200"))["derived"]["calibration"]["inherits"] == ["Hopper", "Ampere GA100"]
