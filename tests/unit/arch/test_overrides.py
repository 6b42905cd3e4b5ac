"""What `--set` and sweeps do to a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from simgpu.arch.loader import gpu_fields, load_gpu, override_gpu, parse_settings
from simgpu.errors import ArchError
from tests.toys import toy_gpu


def test_text_with_units_and_plain_numbers() -> None:
    gpu = override_gpu(toy_gpu(), {"sm.count": "20", "l2.size": "80 MB", "clocks.boost_hz": 3, "power.tdp": "300", "dram.ecc": "true"})
    assert gpu.sm.count == 20
    assert gpu.l2.size_bytes == 80_000_000
    assert gpu.peak_flop_per_s("fp32") == 20 * 5 * 2 * 3
    assert gpu.power.tdp_w == 300
    assert gpu.dram.ecc is True
    assert toy_gpu().sm.count == 10


def test_bandwidth_moves_the_memory_clock() -> None:
    gpu = override_gpu(toy_gpu(), {"dram.bandwidth": "40 B/s"})
    assert gpu.dram.clock_hz == 4
    assert gpu.dram.bandwidth_bytes_per_s == 40
    wide = override_gpu(toy_gpu(), {"dram.bandwidth": "40 B/s", "dram.bus": "160 bit"})
    assert (wide.dram.clock_hz, wide.dram.bandwidth_bytes_per_s) == (2, 40)


def test_rows_of_tables() -> None:
    gpu = override_gpu(toy_gpu(), {"tensor_cores.flop_per_clk.fp8": 160})
    assert gpu.peak_flop_per_s("fp8") == 10 * 160
    assert gpu.peak_flop_per_s("fp16") == 10 * 80


def test_groups_that_the_gpu_does_not_have() -> None:
    gpu = override_gpu(load_gpu("p100"), {"tensor_cores.generation": 1, "tensor_cores.flop_per_clk.fp16": 1024})
    assert gpu.peak_flop_per_s("fp16", "tensor") == 56 * 1024 * 1303e6
    with pytest.raises(ArchError, match=r"^tensor_cores.generation: missing, it must be set too$"):
        override_gpu(load_gpu("p100"), {"tensor_cores.flop_per_clk.fp16": 1024})


def test_arrays_broadcast_through_the_peaks() -> None:
    gpu = load_gpu("a100", {"sm.count": np.array([[54], [108]]), "dram.bandwidth": np.array([1e12, 2e12, 4e12])})
    assert gpu.peak_flop_per_s("fp32").shape == (2, 1)  # type: ignore[attr-defined]
    assert gpu.ridge_flop_per_byte("fp16").shape == (2, 3)  # type: ignore[attr-defined]
    np.testing.assert_allclose(gpu.dram.bandwidth_bytes_per_s, [1e12, 2e12, 4e12])
    np.testing.assert_allclose(gpu.peak_flop_per_s("fp16")[1], load_gpu("a100").peak_flop_per_s("fp16"))  # type: ignore[index]
    assert override_gpu(toy_gpu(), {"sm.count": np.float32(3)}).sm.count == 3


def test_name_and_sources_say_what_was_changed() -> None:
    gpu = load_gpu("t4", {"sm.count": "80", "power.tdp": 140, "dram.clock": np.array([1e9, 2e9])})
    assert gpu.id == "t4"
    assert gpu.name == "Tesla T4 [sm.count=80, power.tdp=140, dram.clock=2 values]"
    assert gpu.sources["sm"].startswith("set: sm.count=80; otherwise spec: CUDA C++ Programming Guide")
    assert gpu.sources["l2"] == load_gpu("t4").sources["l2"]
    assert override_gpu(toy_gpu(), {"name": "Other"}).name == "Other"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sm.cuont": 1}, "sm.cuont: unknown field of a GPU; did you mean 'sm.count'?"),
        ({"bandwidth": 1}, "bandwidth: unknown field of a GPU; did you mean 'dram.bandwidth'?"),
        ({"gpu.count": 1}, "gpu.count: unknown field of a GPU; did you mean 'sm.count'?"),
        ({"datasheet.fp32": 1}, "datasheet.fp32: cannot be set; peaks follow from the other fields"),
        ({"sm.max_threads_per_block": 256}, "sm.max_threads_per_block: 256 does not fit into sm.max_threads 128; change both"),
        ({"zzz": 1}, "zzz: unknown field of a GPU; `simgpu gpu NAME --json` shows them all"),
        ({"sm": 1}, "sm: unknown field of a GPU; `simgpu gpu NAME --json` shows them all"),
        ({"sm.count": "many"}, "sm.count: expected a number, got 'many'"),
        ({"sm.count": 0}, "sm.count: expected at least 1, got 0"),
        ({"sm.count": None}, "sm.count: expected a number, got None"),
        ({"sm.count": float("nan")}, "sm.count: expected a finite number, got nan"),
        ({"dram.bandwidth": "4"}, "dram.bandwidth: 4 has no unit, expected B/s; write it out, such as '2 TB/s'"),
        ({"dram.bandwidth": "4 TB"}, "dram.bandwidth: '4 TB' has the unit 'TB', expected B/s"),
        ({"dram.bandwidth": 1, "dram.clock": 1}, "dram.bandwidth: follows from dram.clock, expected one of the two"),
        ({"l2.size": 1, "l2.size_bytes": 1}, "l2.size_bytes: given twice, also as l2.size"),
        ({"sm.count": np.array([1.0, -1.0])}, "sm.count: expected at least 1, got -1"),
        ({"sm.count": np.array([1.0, np.nan])}, "sm.count: expected at least 1, got nan"),
        ({"sm.count": np.array(["a"])}, "sm.count: expected numbers, got an array of <U1"),
        ({"shared.size": 10}, "shared.max_per_block: 100 B does not fit into shared.size 10 B; change both"),
        ({"shared.size": np.array([10.0, 200.0])}, "shared.max_per_block: 100 B does not fit into shared.size of some designs; change both"),
        ({"sm.cuont": 1, "power.tdp": -1}, "sm.cuont: unknown field of a GPU; did you mean 'sm.count'?\npower.tdp: expected more than 0, got -1"),
    ],
)  # fmt: skip
def test_bad_overrides(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ArchError) as caught:
        override_gpu(toy_gpu(), overrides)
    assert str(caught.value) == message


def test_every_field_that_is_offered_can_be_set() -> None:
    fields = gpu_fields()
    assert fields["dram.bandwidth"] == "B/s"
    assert fields["l2.latency"] == "s"
    assert fields["copy_engines"] == ""
    assert "name" not in fields
    gpu = load_gpu("a100")
    for field in fields:
        value = {"dram.achievable_fraction": 0.9, "sm.max_threads": 1e5, "sm.registers": 1e5, "shared.size": 1e6}.get(field, 1e3)
        assert override_gpu(gpu, {field: value}) != gpu, field


def test_settings_of_the_command_line() -> None:
    assert parse_settings(["dram.type=GDDR7", " sm.count = 160 "]) == {"dram.type": "GDDR7", "sm.count": "160"}
    for text in ("sm.count", "=3", "sm.count="):
        with pytest.raises(ArchError, match=f"^--set {text}: expected key=value, such as sm.count=160"):
            parse_settings([text])
    with pytest.raises(ArchError, match=r"^--set a=2: a is given twice"):
        parse_settings(["a=1", "a=2"])
