"""GPU files: what they become, how they build on each other, and what each mistake gets."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.errors import ArchError

TOY = (Path(__file__).parent / "toy.yaml").read_text()
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the toy file with some text replaced, or a text of its own."""

    def file(*changes: tuple[str, str], name: str = "x.yaml", text: str = TOY) -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return file


def mistakes(path: Path) -> list[str]:
    """The lines of the error that a file gets, without its folder."""
    with pytest.raises(ArchError) as caught:
        load_gpu(path)
    return str(caught.value).replace(str(path.parent) + os.sep, "").splitlines()


def test_units_become_si(write: Write) -> None:
    gpu = load_gpu(write())
    assert (gpu.id, gpu.name, gpu.compute_capability, gpu.year) == ("x", "Toy", (8, 0), 2020)
    assert gpu.chip.process_nm == 10
    assert gpu.shared.size_bytes == 1024
    assert gpu.dram.capacity_bytes == 1_000_000
    assert gpu.dram.bandwidth_bytes_per_s == 2 * 40 / 8
    assert gpu.peak_flop_per_s("fp32") == 10 * 5 * 2
    assert gpu.peak_flop_per_s("fp16") == 10 * 80
    assert gpu.peak_flop_per_s("bf16") == 0
    assert gpu.ridge_flop_per_byte("fp32") == 10
    assert gpu.sources["dram.latency"] == "guess: made up, slow"
    assert gpu.nvlink is None


def test_a_key_may_be_the_whole_name_of_its_field(write: Write) -> None:
    assert load_gpu(write(("capacity: 1 MB", "capacity_bytes: 1e6"))).dram.capacity_bytes == 1_000_000


def test_a_file_may_give_bandwidth_instead_of_clock(write: Write) -> None:
    gpu = load_gpu(write(("clock: 1 Hz, rate", "bandwidth: 30 B/s, rate")))
    assert gpu.dram.clock_hz == 30 * 8 / (2 * 40)


def test_a_gpu_survives_pickling_and_can_be_a_key(write: Write) -> None:
    gpu = load_gpu(write())
    assert pickle.loads(pickle.dumps(gpu)) == gpu
    assert {gpu: 1}[load_gpu(write())] == 1


def test_a_changed_file_is_read_again(write: Write) -> None:
    path = write()
    assert load_gpu(path).sm.count == 10
    write(("count: 10", "count: 1000"))
    assert load_gpu(path).sm.count == 1000


# --- extends


def test_extends_in_three_lines(write: Write) -> None:
    write(name="base.yaml")
    gpu = load_gpu(write(text="extends: base.yaml\nsm: {count: 20}\ndram: {bandwidth: 40 B/s}\n"))
    assert (gpu.id, gpu.name) == ("x", "x")
    assert gpu.sm.count == 20
    assert gpu.sm.fp32_lanes == 5
    assert gpu.dram.bandwidth_bytes_per_s == 40
    assert gpu.dram.clock_hz == 40 * 8 / (2 * 40)


def test_extends_a_shipped_gpu_by_alias(write: Write) -> None:
    gpu = load_gpu(write(text="extends: a100\nname: Big A100\nsm: {count: 216}\n"))
    assert gpu.sm.count == 2 * 108
    assert gpu.name == "Big A100"
    assert gpu.aliases == ()
    assert gpu.datasheet == {}
    assert gpu.notes == ()


def test_changes_without_a_source_are_called_guesses(write: Write) -> None:
    write(name="base.yaml")
    path = write(text="extends: base\nsm: {count: 20, fp64_lanes: 1}\npower: {tdp: 1 W}\nsources: {power: 'spec: page 3'}\n")
    sources = load_gpu(path).sources
    assert sources["sm"] == f"guess: sm.count, sm.fp64_lanes changed in {path}; otherwise guess: made up"
    assert sources["power"] == "spec: page 3"
    assert sources["dram"] == "guess: made up"


def test_null_removes_what_is_inherited(write: Write) -> None:
    write(name="base.yaml")
    gpu = load_gpu(write(text="extends: base\ntensor_cores: null\nl2: {latency: null}\n"))
    assert gpu.tensor_cores is None
    assert gpu.l2.latency_s is None
    assert gpu.peak_flop_per_s("fp16") == 0


def test_a_changed_parent_is_read_again(write: Write) -> None:
    write(name="base.yaml")
    path = write(text="extends: base\n")
    assert load_gpu(path).sm.count == 10
    write(("count: 10", "count: 1000"), name="base.yaml")
    assert load_gpu(path).sm.count == 1000


def test_extends_loop(write: Write) -> None:
    write(name="a.yaml", text="extends: b\n")
    path = write(name="b.yaml", text="extends: a\n")
    assert mistakes(path) == ["a.yaml:1:10: extends: a loop, b -> a -> b; one of them must stand alone"]


def test_extends_itself_by_path(write: Write) -> None:
    assert mistakes(write(text="extends: x.yaml\n")) == ["x.yaml:1:10: extends: a loop, x -> x; one of them must stand alone"]


def test_extends_nothing(write: Write) -> None:
    assert mistakes(write(text="extends: b.yaml\n")) == ["x.yaml:1:10: extends: no file b.yaml, expected the name of a GPU or a path beside this file"]
    assert mistakes(write(text="name: y\nextends: a100x\n")) == [
        "x.yaml:2:10: extends: unknown GPU 'a100x'; did you mean 'a100'?; `simgpu gpus` lists them",
    ]
    assert mistakes(write(text="extends: [a]\n"))[0] == "x.yaml:1:10: extends: expected the name of a GPU or a path, got ['a']"


def test_a_chain_that_never_ends(write: Write) -> None:
    for number in range(20):
        write(name=f"f{number}.yaml", text=f"extends: f{number + 1}\n")
    write(name="f20.yaml")
    with pytest.raises(ArchError, match=r"f15.yaml:1:10: extends: more than 16 files in a row"):
        load_gpu(write(name="x.yaml", text="extends: f0.yaml\n").with_name("f0.yaml"))


# --- mistakes, each with its place


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("capacity: 1 MB", "capcity: 1 MB", "x.yaml:22:54: dram.capcity: unknown key; did you mean 'capacity'?"),
        ("power: {tdp", "power: {wattage: 1, tdp", "x.yaml:23:9: power.wattage: unknown key"),
        ("power: {", "bandwidth: 3 B/s\npower: {", "x.yaml:23:1: bandwidth: unknown key; did you mean 'dram.bandwidth'?"),
        ("l2: {size", "lvl2: {size", "x.yaml:21:1: lvl2: unknown key; did you mean 'l2'?"),
        ("count: 10", "count: 0", "x.yaml:9:10: sm.count: expected at least 1, got 0"),
        ("count: 10", "count: -3", "x.yaml:9:10: sm.count: expected at least 1, got -3"),
        ("count: 10", "count: lots", "x.yaml:9:10: sm.count: expected a number, got 'lots'"),
        ("count: 10", "count: true", "x.yaml:9:10: sm.count: expected a number, got True"),
        ("count: 10", "count: [1, 2]", "x.yaml:9:10: sm.count: expected a number, got [1, 2]"),
        ("count: 10", "count: .inf", "x.yaml:9:10: sm.count: expected a number, got '.inf'"),
        ("count: 10", "count: 1e999", "x.yaml:9:10: sm.count: expected a finite number, got inf"),
        ("count: 10", "count: 10 GB", "x.yaml:9:10: sm.count: '10 GB' has the unit 'GB', expected a plain number"),
        ("boost: 1 Hz", "boost: 1 GB", "x.yaml:17:29: clocks.boost: '1 GB' has the unit 'GB', expected Hz"),
        ("boost: 1 Hz", "boost: 0 Hz", "x.yaml:17:29: clocks.boost: expected more than 0, got 0 Hz"),
        ("boost: 1 Hz", "boost: 1410", "x.yaml:17:29: clocks.boost: 1410 has no unit, expected Hz; write it out, such as '1410 MHz'"),
        ("boost: 1 Hz", "boost: 1e9", "x.yaml:17:29: clocks.boost: 1000000000.0 has no unit, expected Hz; write it out, such as '1410 MHz'"),
        ("achievable_fraction: 0.5", "achievable_fraction: 87", "x.yaml:22:91: dram.achievable_fraction: expected at least 0.01 and at most 1, got 87"),
        ("compute_capability: 8.0", "compute_capability: new", "x.yaml:4:21: compute_capability: expected a compute capability such as 8.0, got 'new'"),
        ("year: 2020", "year: 1970", "x.yaml:5:7: year: expected at least 1999 and at most 2100, got 1970"),
        ("year: 2020", "year: 2020.5", "x.yaml:5:7: year: expected a whole number, got 2020.5"),
        ("name: Toy\n", "name: [Toy]\n", "x.yaml:2:7: name: expected text, got ['Toy']"),
        ("year: 2020", "year: 2020\naliases: {a: b}", "x.yaml:6:10: aliases: expected a list of texts, got {'a': 'b'}"),
        ("l1: {size: 1 KiB}", "l1: {size: 1 KiB, unified_with_shared: no}", "x.yaml:20:40: l1.unified_with_shared: expected true or false, got 'no'"),
        ("power: {tdp: 100 W}", "power: 100 W", "x.yaml:23:8: power: expected a group of keys such as tdp, idle, got '100 W'"),
        ("fp16: 80", "fp17: 80", "x.yaml:18:46: tensor_cores.flop_per_clk.fp17: unknown dtype; did you mean 'fp16'?"),
        ("{fp16: 80}", "80", "x.yaml:18:45: tensor_cores.flop_per_clk: expected a group of keys, got 80"),
        ("fp16: 80", "fp16: 0", "x.yaml:18:52: tensor_cores.flop_per_clk.fp16: expected more than 0, got 0"),
        ("chip: \"guess: made up\"", "chip: me", "x.yaml:26:9: sources.chip: expected 'spec: …', 'measured: …', 'derived: …' or 'guess: …', got 'me'"),
        ("  chip:", "  chap:", "x.yaml:26:3: sources.chap: unknown group; did you mean 'chip'?"),
        ("shared: {size: 1 KiB", "shared: {size: 512 B", "x.yaml:19:23: shared.max_per_block: 1 KiB does not fit into shared.size 512 B; change both"),
        ("dram: {type: toy,", "dram: {type: toy, bandwidth: 1 B/s,", "x.yaml:22:19: dram.bandwidth: follows from dram.clock, expected one of the two"),
        ("clock: 1 Hz, ", "clock: 1 Hz, clock_hz: 2, ", "x.yaml:22:32: dram.clock_hz: given twice, also in x.yaml:22:19"),
        ("clock: 1 Hz, ", "", "x.yaml:22:1: dram.clock: missing, expected a quantity in Hz"),
        ("  count: 10\n", "", "x.yaml:8:1: sm.count: missing"),
        ("clock: 1 Hz, ", "clock: , ", "x.yaml:22:1: dram.clock: missing, expected a quantity in Hz"),
        ("power: {tdp: 100 W}\n", "", "x.yaml:1:1: power: missing"),
        ("power: {tdp: 100 W}\n", "power:\n", "x.yaml:23:1: power: missing"),
        ("year: 2020\n", "", "x.yaml:1:1: year: missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(write: Write, old: str, new: str, message: str) -> None:
    assert mistakes(write((old, new))) == [message]


def test_all_mistakes_of_a_file_come_at_once_in_its_order(write: Write) -> None:
    path = write(("count: 10", "cuont: 10"), ("tdp: 100 W", "tdp: -1 W"), ("registers: 1024", "registers: many"), ("  max_warps: 4\n", ""))
    assert mistakes(path) == [
        "x.yaml:9:3: sm.cuont: unknown key; did you mean 'count'?",
        "x.yaml:15:14: sm.registers: expected a number, got 'many'",
        "x.yaml:22:14: power.tdp: expected more than 0, got -1 W",
        "x.yaml:8:1: sm.max_warps: missing",
    ]


def test_mistakes_of_a_parent_are_named_in_the_parent(write: Write) -> None:
    write(("count: 10", "count: -1"), name="base.yaml")
    assert mistakes(write(text="extends: base\npower: {tpd: 1 W}\n")) == [
        "x.yaml:2:9: power.tpd: unknown key; did you mean 'tdp'?",
        "base.yaml:9:10: sm.count: expected at least 1, got -1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: is empty, expected the description of a GPU; `simgpu gpus` lists examples"),
        ("# nothing\n", "x.yaml: is empty, expected the description of a GPU; `simgpu gpus` lists examples"),
        ("just text", "x.yaml:1:1: expected keys such as name, sm and dram, got 'just text'"),
        ("- a\n- b\n", "x.yaml:1:1: expected keys such as name, sm and dram, got a list"),
        ("name: a\nname: b\n", "x.yaml:2:1: name: duplicate key, first given in line 1"),
        ("name: {a\n", "x.yaml:2:1: not YAML: did not find expected ',' or '}'"),
    ],
)
def test_what_is_no_gpu_file(write: Write, text: str, message: str) -> None:
    assert mistakes(write(text=text)) == [message]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ArchError, match=r"none\.yaml: cannot be read: No such file or directory"):
        load_gpu(tmp_path / "none.yaml")
    with pytest.raises(ArchError, match="cannot be read: Is a directory"):
        load_gpu(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ArchError, match=r"binary\.yaml: is not text in UTF-8, expected a YAML file"):
        load_gpu(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_text("# " + "x" * 2_000_000)
    with pytest.raises(ArchError, match=r"huge\.yaml: is larger than 2 MB, expected a short YAML file"):
        load_gpu(tmp_path / "huge.yaml")
    with pytest.raises(ArchError, match="is no file name"):
        load_gpu("a\0.yaml")


# --- names


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("A100", "a100-sxm4-80gb"), ("a100_sxm4_40GB", "a100-sxm4-40gb"), ("a100-40gb", "a100-sxm4-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"), ("NVIDIA A100-PCIE-40GB", "a100-pcie-40gb"), ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("v100", "v100-sxm2-16gb"), ("Tesla V100-SXM2-16GB", "v100-sxm2-16gb"), ("Tesla V100-PCIE-32GB", "v100-pcie-32gb"),
        ("h100", "h100-sxm5-80gb"), ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"), ("NVIDIA H100 PCIe", "h100-pcie-80gb"), ("NVIDIA H200", "h200-sxm5-141gb"),
        ("Tesla T4", "t4"), ("Tesla P100-PCIE-16GB", "p100-pcie-16gb"), ("p100", "p100-pcie-16gb"), ("Tesla K80", "k80-die"), ("Tesla K40m", "k40"),
        ("GeForce 8800 GTX", "8800-gtx"), ("8800gtx", "8800-gtx"), ("gtx1080ti", "gtx-1080-ti"), ("NVIDIA GeForce GTX 1080 Ti", "gtx-1080-ti"),
        ("titan-xp", "titan-xp"), ("NVIDIA TITAN Xp", "titan-xp"), ("TITAN X (Pascal)", "titan-x-pascal"), ("GeForce GTX TITAN X", "gtx-titan-x-maxwell"),
        ("rtx3090", "rtx-3090"), ("3090", "rtx-3090"), ("NVIDIA GeForce RTX 3090", "rtx-3090"), ("NVIDIA RTX A6000", "rtx-a6000"), ("NVIDIA B200", "b200"),
        ("Quadro RTX 6000", "quadro-rtx-6000"), ("Tesla C2050 / C2070", "c2050"),
    ],
)  # fmt: skip
def test_names_that_people_and_drivers_use(name: str, id: str) -> None:
    assert load_gpu(name).id == id


def test_unknown_names() -> None:
    with pytest.raises(ArchError, match=re.escape("unknown GPU 'a100-sxm4-90gb'; did you mean 'a100-sxm4-80gb'?; `simgpu gpus` lists them")):
        load_gpu("a100-sxm4-90gb")
    with pytest.raises(ArchError, match="unknown GPU ''; `simgpu gpus` lists them"):
        load_gpu("")


@pytest.mark.parametrize("name", ["x" * 3000, "folder/" + "x" * 3000])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(ArchError, match="unknown GPU"):
        load_gpu(name)


def test_the_users_own_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(("year: 2020", "year: 2020\naliases: [my-alias]"), name="my-gpu.yaml")
    (tmp_path / "other" / "archs").mkdir(parents=True)
    (tmp_path / "other" / "archs" / "t4.yaml").write_text("extends: t4\npower: {tdp: 140 W}\n")
    monkeypatch.setenv("SIMGPU_PATH", f"{tmp_path}{os.pathsep}{tmp_path / 'other'}")
    assert load_gpu("my-gpu").name == "Toy"
    assert load_gpu("My Alias").id == "my-gpu"
    assert load_gpu("t4").power.tdp_w == 140
    assert load_gpu("t4").sm.count == 40
    monkeypatch.delenv("SIMGPU_PATH")
    assert load_gpu("t4").power.tdp_w == 70
    with pytest.raises(ArchError, match="unknown GPU 'my-gpu'"):
        load_gpu("my-gpu")
