"""Convolutions and networks side by side, and the published studies."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import simgpu
from simgpu.cli import main
from simgpu.errors import OptionError
from simgpu.studies.convolutions import KINDS, Layer, break_even, convolution, run_convolution
from simgpu.studies.ready import STUDIES, Finding, ready_study, run_ready
from simgpu.studies.sidebyside import comparison_table, format_break_even, format_comparison, why
from tests import runs


def flop(kind: str, **sizes: int) -> float:
    return run_convolution(kind, Layer(**sizes), "t4").flop


def test_work_by_hand():
    sizes = {"batch": 2, "channels": 24, "size": 10, "kernel": 3, "groups": 4}
    pixels = 2 * 10 * 10
    assert flop("dense", **sizes) == 2 * pixels * 24 * 24 * 9
    assert flop("depthwise", **sizes) == 2 * pixels * 24 * 9
    assert flop("pointwise", **sizes) == 2 * pixels * 24 * 24
    assert flop("separable", **sizes) == 2 * pixels * 24 * (9 + 24)
    assert flop("grouped", **sizes) == 2 * pixels * 24 * 6 * 9
    assert flop("dense", **sizes, stride=2) == 2 * pixels / 4 * 24 * 24 * 9


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        ("seperable", {}, r"unknown convolution 'seperable', .*did you mean 'separable'\?"),
        ("grouped", {"groups": 7}, "grouped: 64 channels cannot be divided into 7 groups; choose --groups so that they can"),
        ("dense", {"kernel": 2}, "kernel: expected an odd size, got 2"),
        ("dense", {"batch": 0}, "batch: expected 1 or more, got 0"),
    ],
)
def test_layers_that_make_no_sense(kind: str, sizes: dict[str, int], message: str):
    with pytest.raises(OptionError, match=message):
        convolution(kind, Layer(**{"channels": 64, "size": 8, **sizes}))


def test_separable_gains_with_channels_where_there_are_tensor_cores():
    # FLOP fall by 9 C / (9 + C): towards 9 with many channels; with few, the depthwise half moves as much data as all of the dense one
    found = break_even(Layer(batch=32, channels=1, size=56), "a100", dtype="fp16", tried=(8, 64, 256, 1024))
    assert found.speed_ups[-1] == max(found.speed_ups)
    assert 3 < found.speed_ups[-1] < 9
    assert found.speed_ups[0] < 1.5
    assert found.channels in (8, 64)
    lines = format_break_even([found]).splitlines()
    assert lines[1].startswith("Dense over separable time, by channels (8 to 1024 tried)")
    assert lines[3].split()[:3] == ["A100", "SXM4", "80GB"]


def test_break_even_is_where_separable_stays_ahead(monkeypatch: pytest.MonkeyPatch):
    dense = {8: 2.0, 16: 1.0, 32: 3.0, 64: 4.0}

    def given(kind: str, layer: Layer, *others: object, **options: object) -> object:
        return runs.report(runs.kernels(()), runs.times(dense[layer.channels] if kind == "dense" else 1.5))

    monkeypatch.setattr("simgpu.studies.convolutions.run_convolution", given)
    found = break_even(Layer(channels=1, size=8), "t4", tried=(8, 16, 32, 64))
    assert found.channels == 32  # it wins with 8 channels, not with 16
    assert found.speed_ups == pytest.approx((2 / 1.5, 1 / 1.5, 2, 4 / 1.5))
    assert break_even(Layer(channels=1, size=8), "t4", tried=(8, 16)).channels is None


def test_the_reasons_are_those_of_the_numbers():
    # three kernels of 4 s, 2 s, 2 s against one of 4 s with ten times the FLOP
    small = runs.report(
        runs.kernels((), (0,), (1,), flop=(10.0, 10.0, 0.0), label=("conv 1×1", "relu", "copy")),
        runs.times(4.0, 2.0, 2.0, dram_s=(4.0, 2.0, 0.0), latency_s=(0.0, 0.0, 2.0), dram_bytes=(40.0, 20.0, 0.0), roofline_s=(2.0, 2.0, 0.0)),
        model="small",
    )
    large = runs.report(runs.kernels((), flop=(200.0,)), runs.times(4.0, math_s=(4.0,), dram_bytes=(1.0,)), model="large")
    text = why(small, large)
    assert text.startswith("small needs 10 times fewer FLOP than large and takes 2 times as long: it does 20 times fewer FLOP a second. ")
    assert "conv 1×1 50% (0.25 FLOP/B, bound by DRAM, 50% of what its work allows); relu 25% (0.5 FLOP/B, bound by DRAM, 100%" in text
    # 20 FLOP for 60 B; fp16 needs 800 / 10
    assert text.endswith("It does 0.333 FLOP for each byte of DRAM traffic, 80 are needed to reach the fp16 peak, so at most 0% of it.")
    assert why(large, small).startswith("large needs 10 times the FLOP of small and is 2 times as fast: it does 20 times more FLOP a second.")
    assert why(large, large).startswith("large needs about the same FLOP as large and takes about as long. ")


def test_waiting_for_the_host_is_a_reason():
    slow = runs.report(runs.kernels((), (0,)), runs.times(1.0, 1.0), launching=runs.host(4.0), model="slow")
    text = why(slow, slow)
    assert text.startswith("slow needs 0 FLOP, slow 0 FLOP, and takes about as long. ")
    assert "78% of its time the GPU waits for the host (2 kernels)" in text  # 7 of 9 s


def test_the_table_and_its_page():
    reports = simgpu.compare(["alexnet", "squeezenet1_1"], ["t4", "k40"])
    table = comparison_table(reports, {"model": [r.model for r in reports], "gpu": [r.gpu.id for r in reports]})
    assert table["latency_s"].tolist() == [r.latency_s for r in reports]
    assert table["mfu_fraction"].tolist() == [r.utilization.mfu_fraction for r in reports]
    for width in (100, 76):
        page = format_comparison(table, width=width)
        assert max(map(len, page.splitlines())) <= width
        assert page.splitlines()[0].split()[:2] == ["model", "gpu"]
        assert "bound by" in page and len(page.splitlines()) == 5


# ---- what the papers found


def by_group(cases: tuple[Finding, ...]) -> dict[str, dict[str, Finding]]:
    groups: dict[str, dict[str, Finding]] = {}
    for case in cases:
        groups.setdefault(case.group, {})[case.variant] = case
    return groups


def off_by(case: Finding, first: Finding) -> float:
    """How far our ratio to the first case is from the paper's."""
    return (case.device_s / first.device_s) / (case.measured_s / first.measured_s) - 1


@pytest.mark.parametrize("name", ["shufflenetv2-g1", "shufflenetv2-g2"])
def test_equal_channels_and_few_groups(name: str):
    for group in by_group(run_ready(ready_study(name))).values():
        cases = list(group.values())
        assert len(cases) == 4
        assert all(case.flop == pytest.approx(cases[0].flop, rel=0.06) for case in cases)
        ours = [case.device_s for case in cases]
        assert ours[0] == min(ours) and ours[-1] == max(ours)
        for case in cases[1:]:
            assert abs(off_by(case, cases[0])) < 0.3, (case.group, case.variant)


def test_fragments_cost_time():
    for name, group in by_group(run_ready(ready_study("shufflenetv2-g3"))).items():
        first, *others = group.values()
        assert all(case.device_s > first.device_s for case in others)
        assert all(group[f"{count}-fragment-parallel"].device_s > group[f"{count}-fragment-series"].device_s for count in (2, 4))
        # the narrowest case is off by a third in both directions: kernels of some ten microseconds
        assert all(abs(off_by(case, first)) < (0.45 if name == "c 128" else 0.25) for case in others), name


def test_elementwise_operations_cost_time():
    for group in by_group(run_ready(ready_study("shufflenetv2-g4"))).values():
        both, relu, shortcut, none = (group[f"relu={a},shortcut={b}"] for a in ("yes", "no") for b in ("yes", "no"))
        assert both.device_s > 1.1 * relu.device_s  # what the shortcuts cost
        assert (both.device_s, relu.device_s) == (shortcut.device_s, none.device_s)  # ReLUs run within the convolutions
        assert all(abs(off_by(case, both)) < 0.15 for case in (relu, shortcut, none)), both.group
        assert none.flop > 0.97 * both.flop or both.group == "c 32"


def test_3x3_is_denser_than_other_kernels():
    cases = {case.variant: case for case in run_ready(ready_study("repvgg-density"))}
    density = {variant: case.flop / case.device_s for variant, case in cases.items()}
    assert density["3x3"] > 2.5 * density["1x1"]
    assert density["3x3"] > 2.5 * density["7x7"]
    for variant in ("3x3", "7x7"):
        assert abs(off_by(cases[variant], cases["1x1"])) < 0.25
    assert cases["1x1"].flop == 2 * 32 * 56 * 56 * 2048 * 2048


def test_every_study_is_complete():
    for study in STUDIES:
        assert study.source and study.claim.endswith(".")
        cases = run_ready(study)
        assert len({(case.group, case.variant) for case in cases}) == len(cases) >= 4
    with pytest.raises(OptionError, match=r"unknown study 'shufflenet-g1', .*did you mean 'shufflenetv2-g1'\?"):
        ready_study("shufflenet-g1")


# ---- the command


def test_convolutions_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output, picture = tmp_path / "out.csv", tmp_path / "out.png"
    arguments = ["dense", "separable", "grouped", "--gpu", "a100", "--gpu", "t4", "--dtype", "fp16", "--channels", "32,64", "--size", "28"]
    assert main(["compare", *arguments, "-o", str(output), "--plot", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("3×3 convolutions at 28×28, batch 32 · fp16 · tensorrt\nKernel time; the input comes from DRAM.\n")
    for part in ("A100 SXM4 80GB: separable needs", "Tesla T4: grouped needs 8 times fewer FLOP than dense", "separable wins"):
        assert part in out
    assert max(map(len, out.splitlines())) <= 100
    assert err.count("wrote ") == 2
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [(row["channels"], row["kind"], row["gpu"]) for row in rows[:2]] == [("32", "dense", "a100-sxm4-80gb"), ("32", "separable", "a100-sxm4-80gb")]
    assert len(rows) == 2 * 2 * 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_networks_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "out.png"
    assert main(["compare", "resnet18", "squeezenet1_1", "--gpu", "t4", "--batch", "4", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("batch 4 · fp32 · eager\n")
    assert "Tesla T4: squeezenet1_1 needs" in out.replace("\n    ", " ")
    assert picture.exists()


def test_a_page_of_all_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "page.html"
    assert main(["compare", "alexnet", "squeezenet1_1", "--gpu", "t4", "--gpu", "v100", "--html", str(page)]) == 0
    assert f"wrote {page}\n" in capsys.readouterr().err
    text = page.read_text(encoding="utf-8")
    assert "<h1>alexnet, squeezenet1_1<small> on Tesla T4, Tesla V100 SXM2 16GB</small></h1>" in text
    assert text.count('<details class="run">') == 4
    assert main(["compare", "dense", "separable", "--channels", "8,16", "--gpu", "t4", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    for name in ("dense, 8 channels", "separable, 8 channels", "dense, 16 channels", "separable, 16 channels"):
        assert f"{name} on Tesla T4" in text  # told apart
    assert "separable needs" in capsys.readouterr().out  # the words name the kinds alone


def test_a_ladder_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    picture = tmp_path / "out.svg"
    assert main(["compare", "alexnet", "--gpu", "k40", "--gpu", "v100", "--batch", "8", "--ladder", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "pieces of the newer GPU are put into the older one, from left to right" in out
    assert out.splitlines()[3].split()[:5] == ["GPU", "year", "dtype", "latency", "gain"]
    assert "alexnet from generation to generation" in picture.read_text()


def test_a_study_on_the_command_line(capsys: pytest.CaptureFixture[str]):
    assert main(["compare", "--study", "shufflenetv2-g2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("G2: few groups · GeForce GTX 1080 Ti\n")
    assert "408 µs" in out  # 2451 batches a second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to compare; name models, kinds of convolution"),
        (["resnet18"], "--gpu: missing, expected one or more"),
        (["dense", "resnet18", "--gpu", "t4"], "dense is a convolution and resnet18 a model; compare models with models"),
        (["resnet18", "--gpu", "t4", "--channels", "8"], "--channels: belongs to convolutions"),
        (["resnet18", "--gpu", "t4", "--gpu", "t4"], "--gpu t4: given twice"),
        (["resnet18", "resnet18", "--gpu", "t4"], "MODEL resnet18: given twice"),
        (["dense", "--gpu", "t4", "--channels", "64:32:8"], "--channels=64:32:8: the range is reversed"),
        (["dense", "--gpu", "t4", "--channels", "0"], "--channels: expected whole numbers of 1 or more, got 0"),
        (["dense", "--gpu", "t4", "--seq-len", "8"], "--seq-len: belongs to models, not to convolutions"),
        (["dense", "--gpu", "t4", "--mode", "train"], "--mode: belongs to models, not to convolutions"),
        (["dense", "--gpu", "t4", "--plot", "x.png"], "--plot: one number of channels makes no curve"),
        (["alexnet", "resnet18", "--ladder", "x.png"], "--ladder: expected one model, got alexnet, resnet18"),
        (["alexnet", "--study", "shufflenetv2-g1"], "--study shufflenetv2-g1: brings its own networks, 'alexnet' has no place in it"),
        (["--study", "shufflenetv2-g1", "--html", "x.html"], "--html x.html: shows networks or convolutions, not --study"),
        (["alexnet", "--ladder", "x.png", "--html", "x.html"], "--html x.html: shows networks or convolutions, not --ladder"),
        (["alexnet", "--gpu", "t4", "--html", "x", "-o", "x"], "x: two outputs have this name; give each a file of its own"),
        (["alexnet", "--gpu", "t4", "--html", "no/x.html"], "no/x.html: cannot be written"),
        (["alexnet", "--gpu", "t4", "--plot", "x.gif"], "'.gif' says no picture format"),
        (["alexnet", "--gpu", "t4", "-o", "there.csv"], "there.csv: exists already; replace it with --force"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("precious\n")
    assert main(["compare", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "precious\n"


def test_all_kinds_run_everywhere():
    layer = Layer(channels=16, size=14)
    for gpu in ("8800-gtx", "k40", "a100"):
        for kind in KINDS:
            assert run_convolution(kind, layer, gpu, dtype="fp16").kernel_s > 0
