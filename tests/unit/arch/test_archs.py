"""The shipped GPUs: derived peaks against what their vendors print, sources, aliases."""

from __future__ import annotations

import re

import pytest

from simgpu.arch.loader import gpu_names, load_gpu
from simgpu.arch.names import aliases_of, squash
from simgpu.arch.schema import schema
from simgpu.arch.spec import GPU
from simgpu.data_paths import data_dir

GENERATIONS = {"Tesla": 3, "Fermi": 4, "Kepler": 5, "Maxwell": 5, "Pascal": 8, "Volta": 6, "Turing": 5, "Ampere": 13, "Ada": 3, "Hopper": 3, "Blackwell": 2}

# Printed peaks that the components do not give within 2 %, and why.
EXCEPTIONS = {
    ("b200", "dram"): "the datasheet rounds 8.19 to 8 TB/s",
    ("jetson-agx-xavier", "tensor_fp16"): "the datasheet rounds 11.28 down to 11 TFLOP/s",
    ("jetson-agx-xavier", "tensor_int8"): "the datasheet rounds 22.56 down to 22 TOP/s",
    ("m40", "fp32"): "the datasheet rounds 6.84 up to 7 TFLOP/s",
    ("titan-v", "tensor_fp16"): "the advertised 110 TFLOP/s belong to a clock of 1343 MHz, not to the boost clock",
}

# FP32 at boost and DRAM as the vendors print them, typed in here once more so that a slip in a file's own datasheet shows.
PRINTED = {
    "8800-gtx": (345.6e9, 86.4e9),
    "gtx-480": (1.345e12, 177.4e9),
    "p100-sxm2-16gb": (10.6e12, 732e9),
    "v100-sxm2-16gb": (15.7e12, 900e9),
    "t4": (8.1e12, 320e9),
    "a100-sxm4-80gb": (19.5e12, 2039e9),
    "rtx-3090": (35.6e12, 936e9),
    "h100-sxm5-80gb": (66.9e12, 3352e9),
}


def derived(gpu: GPU, key: str) -> float:
    """Our number for a printed one."""
    if key == "dram":
        return gpu.dram.bandwidth_bytes_per_s
    if key.startswith("tensor_"):
        return gpu.peak_flop_per_s(key.removeprefix("tensor_"), "tensor")
    return gpu.peak_flop_per_s(key, "vector") * (gpu.clocks.datasheet_hz or gpu.clock_hz) / gpu.clock_hz


@pytest.mark.parametrize("name", gpu_names())
def test_derived_peaks_agree_with_the_datasheet(name: str) -> None:
    gpu = load_gpu(name)
    assert {"fp32", "dram"} <= gpu.datasheet.keys()
    assert gpu.tensor_cores is None or "tensor_fp16" in gpu.datasheet
    for key, printed in gpu.datasheet.items():
        close = abs(derived(gpu, key) / printed - 1) <= 0.02
        assert close != ((name, key) in EXCEPTIONS), f"{key}: derived {derived(gpu, key):.4g}, printed {printed:.4g}"


@pytest.mark.parametrize(("name", "printed"), PRINTED.items())
def test_flagships_against_numbers_typed_in_here(name: str, printed: tuple[float, float]) -> None:
    gpu = load_gpu(name)
    assert gpu.peak_flop_per_s("fp32") == pytest.approx(printed[0], rel=0.01)
    assert gpu.dram.bandwidth_bytes_per_s == pytest.approx(printed[1], rel=0.01)


def test_every_generation_is_there() -> None:
    gpus = [load_gpu(name) for name in gpu_names()]
    counts = {generation: sum(gpu.architecture == generation for gpu in gpus) for generation in GENERATIONS}
    assert counts == GENERATIONS
    assert len(gpus) == sum(GENERATIONS.values())


@pytest.mark.parametrize("name", gpu_names())
def test_every_group_has_a_source_of_its_own(name: str) -> None:
    gpu = load_gpu(name)
    groups = {group for group in schema().groups if getattr(gpu, group) is not None} - ({"launch"} if gpu.launch.stream_gap_s is None else set())
    assert groups | {"copy_engines", "concurrent_kernels", "datasheet", "dram.achievable_fraction", "dram.latency"} <= gpu.sources.keys()
    for key, text in gpu.sources.items():
        assert re.match(r"(spec|measured|derived|guess): .{5,}", text), key
        assert "changed in" not in text, f"{key}: changed without a source"


@pytest.mark.parametrize("name", gpu_names())
def test_values_are_plausible(name: str) -> None:
    gpu = load_gpu(name)
    assert gpu.clocks.base_hz <= gpu.clocks.boost_hz <= (gpu.clocks.max_hz or gpu.clocks.boost_hz)
    assert gpu.sm.max_threads == 32 * gpu.sm.max_warps
    assert gpu.sm.schedulers * gpu.sm.issue_per_scheduler * 32 >= gpu.sm.fp32_lanes * (0.5 if gpu.architecture == "Fermi" else 1)
    assert 200e-9 < gpu.dram.latency_s < 600e-9
    assert gpu.l2.latency_s is None or gpu.l2.latency_s < gpu.dram.latency_s
    assert (gpu.l2.size_bytes > 0) == (gpu.architecture != "Tesla")
    assert gpu.l2.size_bytes == 0 or (gpu.l2.bandwidth_bytes_per_clk or 0) * gpu.clock_hz > gpu.dram.bandwidth_bytes_per_s
    assert (gpu.l2.measured_bandwidth_bytes_per_s or 0) <= 1.01 * (gpu.l2.bandwidth_bytes_per_clk or 0) * (gpu.clocks.max_hz or gpu.clock_hz)
    assert (gpu.tensor_cores is not None) == (gpu.compute_capability >= (7, 0) and name != "gtx-1660-ti")
    assert gpu.l2.partitions == (2 if gpu.chip.name in ("GA100", "GH100", "GB100 x2") else 1)


def test_units_that_came_with_a_generation() -> None:
    first: dict[str, tuple[int, int]] = {}
    for gpu in sorted((load_gpu(name) for name in gpu_names()), key=lambda gpu: gpu.compute_capability):
        for dtype in gpu.tensor_cores.flop_per_clk if gpu.tensor_cores else ():
            first.setdefault(dtype, gpu.compute_capability)
    assert first == {"fp16": (7, 0), "int8": (7, 2), "int4": (7, 5), "bf16": (8, 0), "tf32": (8, 0), "fp64": (8, 0), "fp8": (8, 9), "fp4": (10, 0)}


def test_names_and_aliases_are_unique_and_lead_home() -> None:
    owner: dict[str, str] = {}
    for name in gpu_names():
        path = data_dir("archs") / f"{name}.yaml"
        aliases = aliases_of(path, path.stat().st_mtime_ns, path.stat().st_size)
        gpu = load_gpu(name)
        assert gpu.aliases == aliases
        for spelling in (name, *aliases):
            assert owner.setdefault(squash(spelling), name) == name, spelling
        assert len({squash(spelling) for spelling in (name, *aliases)}) == 1 + len(aliases), f"{name}: an alias that says the same again"
        for spelling in (*aliases, gpu.name, f"NVIDIA {gpu.name}"):
            if "(" not in spelling or "titan" in spelling.lower():
                assert load_gpu(spelling).id == name, spelling


def test_a_sibling_inherits_what_it_does_not_say() -> None:
    sxm, pcie = load_gpu("a100-sxm4-80gb"), load_gpu("a100-pcie-40gb")
    assert (pcie.sm, pcie.tensor_cores, pcie.l2) == (sxm.sm, sxm.tensor_cores, sxm.l2)
    assert (sxm.power.tdp_w, pcie.power.tdp_w) == (400, 250)
    assert pcie.dram.bandwidth_bytes_per_s == pytest.approx(1555e9, rel=0.001)
    assert load_gpu("gtx-1660-ti").tensor_cores is None


def test_the_tensor_peak_of_hopper_has_a_clock_of_its_own() -> None:
    gpu = load_gpu("h100")
    assert gpu.tensor_clock_hz("fp16") == 1830e6
    assert gpu.tensor_clock_hz("fp64") == gpu.clock_hz == 1980e6
    assert gpu.peak_flop_per_s("fp16") == pytest.approx(989.4e12, rel=0.001)
