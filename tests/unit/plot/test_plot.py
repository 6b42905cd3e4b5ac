"""Charts of a run worked out by hand, on a toy GPU of 100 FLOP/s (fp16: 800) and 10 B/s; then what is drawn of them."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from simgpu import plot
from simgpu.cost.times import KernelTimes
from simgpu.errors import OptionError
from simgpu.kernels.kernel import Access, Conv, Gemm, Kernel, KernelGraph, Stream
from simgpu.memory.footprint import Footprint
from simgpu.plot import breakdown, compare, roofline, style, time_roofline, timeline
from simgpu.plot.labels import LabelLayer
from simgpu.report import palette
from simgpu.report.layers import layer_rows
from simgpu.report.report import Report
from simgpu.report.roofline import common_name
from simgpu.report.waterfall import why_not_at_peak
from simgpu.runtime import RUNTIMES
from simgpu.sim.host import HostCost
from simgpu.sim.timeline import Timeline
from tests.pictures import faults
from tests.toys import toy_gpu


def kernel(name: str, work: object, flop: float, *, pipe: str = "vector", dtype: str = "fp32", label: str = "") -> Kernel:
    scope = name.rsplit(".", 1)[0] if "." in name else ""
    accesses = (Access(tensor=f"{name}.x", bytes=1.0),)
    return Kernel(name=name, op=name, scope=scope, work=work, flop=flop, pipe=pipe, dtype=dtype, label=label, reads=accesses)  # type: ignore[arg-type]


CONV = Conv(n=1, c=1, h=5, w=5, k=1, r=1, s=1, p=5, q=5)
KERNELS = (
    kernel("stem.conv", CONV, 800.0, pipe="tensor", dtype="fp16", label="conv 1×1"),
    kernel("stem.relu", Stream(elements=10), 10.0, label="relu"),
    kernel("body.conv", CONV, 800.0, pipe="tensor", dtype="fp16", label="conv 1×1"),
    kernel("head.copy", Stream(elements=10), 0.0, pipe="none", label="copy"),
    kernel("head.fc", Gemm(m=1, n=1, k=1, a_bytes=4, b_bytes=4, out_bytes=4), 100.0, label="linear"),
)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


@pytest.fixture
def report() -> Report:
    """Five kernels, one behind the other from second 1 on: 4, 3, 4, 1 and 2 seconds."""
    duration = numbers(4, 3, 4, 1, 2)
    end = 1 + np.cumsum(duration)
    times = KernelTimes(
        duration_s=duration,
        math_s=numbers(3, 0.5, 3, 0, 1.5),
        chain_s=numbers(0, 0, 0, 0, 0),
        l2_s=numbers(1, 1, 1, 0.1, 0),
        dram_s=numbers(2, 2.5, 2, 0.5, 0.5),
        latency_s=numbers(1, 0.5, 1, 0.5, 0.5),
        roofline_s=numbers(1, 1, 1, 0.5, 1),
        own_roofline_s=numbers(1, 1, 1, 0.5, 1),
        executed_flop=numbers(1600, 10, 1600, 0, 50),
        dram_bytes=numbers(20, 20, 20, 5, 10),
        l2_bytes=numbers(40, 20, 40, 5, 10),
        ctas=numbers(8, 10, 10, 1, 10),
        waves=np.ones(5),
        occupancy_fraction=np.ones(5),
        sm_fraction=numbers(1, 1, 0.5, 0, 1),
        energy_j=np.ones(5),
        clock_hz=numbers(1, 1, 0.8, 1, 1),
        choice=np.zeros(5, dtype=np.int64),
    )
    return Report(
        model="toynet",
        gpu=toy_gpu(),
        batch=2,
        dtype="fp16",
        math_dtype="fp16",
        runtime=RUNTIMES["eager"],
        host=HostCost(name="toy", launch_s=1.0),
        num_streams=1,
        num_params=1,
        kernels=KernelGraph(KERNELS, [(), (0,), (1,), (2,), (3,)], graph_name="toynet"),
        times=times,
        timeline=Timeline(
            stream=np.zeros(5, dtype=np.int64),
            launch_start_s=np.arange(5.0),
            launch_end_s=np.arange(1.0, 6.0),
            start_s=end - duration,
            end_s=end,
            host_end_s=5.0,
        ),
        memory=Footprint(
            weights_bytes=1,
            input_bytes=1,
            state_bytes=0,
            activation_bytes=1,
            workspace_bytes=0,
            context_bytes=0,
            capacity_bytes=10,
            peak_kernel=0,
            live_bytes=np.ones(5),
        ),
    )


# ---- numbers


def test_alike_kernels_are_one_point_and_copies_have_none(report: Report):
    points = roofline.roofline_points(report)
    assert [(p.name, p.count, p.time_s) for p in points] == [("*.conv ×2", 2, 8.0), ("stem.relu", 1, 3.0), ("head.fc", 1, 2.0)]
    convs = points[0]
    assert convs.intensity_flop_per_byte == 800 / 20
    assert convs.l2_intensity_flop_per_byte == 800 / 40
    assert convs.rate_flop_per_s == 800 / 4
    assert convs.time_fraction == 8 / 14
    # 40 FLOP/B × 10 B/s; 0.5 × 10; the math of the linear layer takes as long as its bytes
    assert [p.roof_flop_per_s for p in points] == pytest.approx([400, 5, 100])


@pytest.mark.parametrize(
    ("ops", "name"),
    [
        (["layer1.0.conv2", "layer1.1.conv2"], "layer1.*.conv2 ×2"),
        (["layer1.0.relu", "relu"], "*.relu ×2"),
        (["layer1.0.conv1", "layer1.1.conv2", "layer1.1.conv3"], "conv 1×1 ×3 in layer1"),
        (["conv1", "layer1.conv2"], "conv 1×1 ×2"),
        (["fc", "fc"], "fc ×2"),
        (["n12"], "conv 1×1 n12"),
        (["conv12"], "conv12"),
    ],
)
def test_alike_kernels_are_named_by_what_their_paths_share(ops: list[str], name: str):
    assert common_name([kernel(op, CONV, 8.0, label="conv 1×1") for op in ops]) == name


def test_the_run_as_a_whole(report: Report):
    whole = roofline.whole_model(report)
    assert whole.intensity_flop_per_byte == (800 + 10 + 800 + 100) / (20 + 20 + 20 + 5 + 10)
    assert whole.rate_flop_per_s == 1710 / 15


def test_ceilings_are_the_machine(report: Report):
    ceilings = {c.name: c.value for c in roofline.roofline_ceilings(report)}
    assert ceilings == {"DRAM": 10.0, "L2": 40.0, "shared memory": 80.0, "fp16 tensor cores": 800.0, "fp32 CUDA cores": 100.0}


def test_the_waterfall_ends_at_the_latency(report: Report):
    steps = {s.name: s.time_s for s in why_not_at_peak(report)}
    assert sum(steps.values()) == pytest.approx(15.0)
    assert steps == pytest.approx(
        {
            "math at the datasheet peak": 1 + 0.1 + 1 + 0 + 1,
            "tiles: padding": 1 + 0 + 1,
            "work saved: Winograd, masks": -0.5,
            "clock": 2 / 0.8 - 2,  # body.conv runs at 0.8 Hz of 1 Hz
            "waves: SMs without work": 2 * 10 / 8 - 2,  # stem.conv has 8 CTAs for 10 SMs
            "occupancy, issue, operands": 0.5 + 0.4 + 0.5 + 0 + 1,
            "memory latency": 0,
            "L2": 0,
            "DRAM": 2 + 0.5,
            "fill, gaps, overlap lost": 1 + 0.5 + 1 + 0.5 + 0.5,
            "waiting for launches": 1,
        }
    )


def test_utilisation_in_slices_of_a_second(report: Report):
    edges, levels = timeline.utilisation_over_time(report, bins=15)
    assert edges.tolist() == list(range(16))
    assert levels["SMs"] == pytest.approx([0, *[1] * 4, *[1] * 3, *[0.5] * 4, 0, *[1] * 2])
    assert levels["DRAM"] == pytest.approx([0, *[0.5] * 4, *[2 / 3] * 3, *[0.5] * 4, 0.5, *[0.5] * 2])
    assert levels["math pipes"] == pytest.approx([0, *[0.5] * 4, *[1 / 30] * 3, *[0.5] * 4, 0, *[0.25] * 2])


def test_sections_follow_the_modules(report: Report):
    assert [(s.name, s.start_s, s.end_s) for s in timeline.sections(report)] == [("stem", 1, 8), ("body", 8, 12), ("head", 12, 15)]


def test_the_window_holds_the_longest_kernel(report: Report):
    assert timeline.busiest_window(report, kernels=2) == (1.0, 8.0)
    assert timeline.busiest_window(report, kernels=99) == (1.0, 15.0)


def test_layers_are_divided_by_family(report: Report):
    conv, relu = ("conv", 4.0), ("stream", 3.0)
    assert layer_rows(report) == [("stem", dict((conv, relu))), ("body", dict((conv,))), ("head", {"stream": 1.0, "gemm": 2.0})]


def test_layers_are_told_apart_as_finely_as_there_is_room(report: Report, monkeypatch: pytest.MonkeyPatch):
    scopes = ("in", "blocks.0.mlp", "blocks.0.norm", "blocks.1.mlp", "blocks.1.norm")  # 4, 3, 4, 1 and 2 s
    named = [dataclasses.replace(k, scope=scope) for k, scope in zip(KERNELS, scopes, strict=True)]
    deep = dataclasses.replace(report, kernels=KernelGraph(named, report.kernels.deps))
    assert [name for name, _ in layer_rows(deep)] == list(scopes)
    assert [name for name, _ in layer_rows(deep, depth=2)] == ["in", "blocks.0", "blocks.1"]
    monkeypatch.setattr("simgpu.report.layers.ROWS", 3)  # no row of blocks.0, blocks.1 and in holds half of the 14 s
    assert [name for name, _ in layer_rows(deep)] == ["in", "blocks.0", "blocks.1"]
    third = dataclasses.replace(report, kernels=KernelGraph([dataclasses.replace(k, scope=f"blocks.{k.scope}") for k in named], report.kernels.deps))
    monkeypatch.setattr("simgpu.report.layers.ROWS", 2)
    assert [name for name, _ in layer_rows(third)] == ["blocks.in", "blocks.blocks"]  # 10 of 14 s in one, and no finer row fits
    monkeypatch.setattr("simgpu.report.layers.ROWS", 3)
    assert layer_rows(third)[1:] == [("blocks.blocks.0", {"stream": 3.0, "conv": 4.0}), ("blocks.blocks.1", {"stream": 1.0, "gemm": 2.0})]
    monkeypatch.setattr("simgpu.report.layers.ROWS", 4)
    wide = dataclasses.replace(report, kernels=KernelGraph([dataclasses.replace(k, scope=f"b.{i}.mlp") for i, k in enumerate(KERNELS)], report.kernels.deps))
    assert [name for name, _ in layer_rows(wide)] == ["b"]  # five blocks do not fit, and alike they are one row as before
    two = [dataclasses.replace(k, scope=f"b.{i // 2}.{'mlp' if i % 2 else 'norm'}") for i, k in enumerate(KERNELS)]
    monkeypatch.setattr("simgpu.report.layers.ROWS", 2)
    rows = layer_rows(dataclasses.replace(report, kernels=KernelGraph(two, report.kernels.deps)))
    assert rows == [("b.*.norm ×3", {"conv": 8.0, "gemm": 2.0}), ("b.*.mlp ×2", {"stream": 4.0})]


# ---- pictures


def words(ax: Axes) -> str:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return "\n".join(t.get_text() for t in figure.findobj(Text))


@pytest.mark.parametrize("look", palette.THEMES)
@pytest.mark.parametrize(
    "draw",
    [
        lambda r, look: roofline.plot_roofline(r, theme=look),
        lambda r, look: roofline.plot_roofline([r, r], theme=look),
        lambda r, look: time_roofline.plot_time_roofline(r, theme=look),
        lambda r, look: timeline.plot_timeline(r, theme=look),
        lambda r, look: timeline.plot_timeline(r, theme=look, window_s=(2.0, 9.0)),
        lambda r, look: timeline.plot_utilisation(r, theme=look),
        lambda r, look: breakdown.plot_waterfall(r, theme=look),
        lambda r, look: breakdown.plot_layers(r, theme=look),
        lambda r, look: compare.plot_comparison([r, r], theme=look),
    ],
)
def test_each_axis_says_its_unit_and_everything_draws(report: Report, draw, look):
    ax = draw(report, look)
    assert re.search(r"\[(FLOP per byte of DRAM traffic|s)\]", ax.get_xlabel())
    assert ax.get_ylabel() or ax.get_yticklabels()
    ax.get_figure(root=True).set_dpi(60)
    assert faults(ax) == []


def test_the_bars_of_the_waterfall_are_its_steps(report: Report):
    ax = breakdown.plot_waterfall(report)
    shown = [step for step in why_not_at_peak(report) if step.time_s]
    assert [label.get_text() for label in ax.get_yticklabels()] == [*(step.name for step in shown), "latency"]
    bars = [(round(bar.get_x(), 9), round(bar.get_width(), 9)) for bar in ax.patches]
    assert bars[:4] == [(0, 3.1), (3.1, 2), (4.6, 0.5), (4.6, 0.5)]  # what is saved runs back, what comes next starts there
    assert bars[-2:] == [(14, 1), (0, 15)]
    assert "21% of the peak" in words(ax)  # 3.1 of 15 s
    assert {"+ 2 s", "− 500 ms"} <= {text.get_text() for text in ax.texts}


def test_over_time_each_kernel_is_as_wide_as_its_time(report: Report):
    ax = time_roofline.plot_time_roofline(report)
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height()) for bar in ax.patches[:3]]
    assert np.array(bars) == pytest.approx(np.array([(0, 3, 10 / 3 / 1e9), (3, 2, 50 / 1e9), (5, 8, 200 / 1e9)]))  # in GFLOP/s
    (roof,) = (patch for patch in ax.patches if isinstance(patch, StepPatch))
    assert roof.get_data().values == pytest.approx([5 / 1e9, 100 / 1e9, 400 / 1e9])
    assert roof.get_data().edges == pytest.approx([0, 3, 5, 13])
    assert ax.get_xlim() == (0, 15)
    said = words(ax)
    for word in ("*.conv ×2  50%", "head.fc  50%", "no arithmetic", "no kernel runs", "reach 54% of their roofline"):
        assert word in said, word  # 3 × 2/3 + 2 × 1/2 + 8 × 1/2 = 7 of 13 s


def test_over_time_without_arithmetic_nothing_is_claimed(report: Report):
    idle = dataclasses.replace(report, kernels=KernelGraph([dataclasses.replace(k, flop=0.0) for k in KERNELS], report.kernels.deps))
    ax = time_roofline.plot_time_roofline(idle)
    assert faults(ax) == []
    assert "no arithmetic" in words(ax)


def test_the_bars_of_the_layers_are_their_times(report: Report):
    ax = breakdown.plot_layers(report)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stem", "body", "head"]
    assert [(round(bar.get_y() + 0.36), bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 0, 4), (0, 4, 3), (1, 0, 4), (2, 0, 2), (2, 2, 1)]
    assert [text.get_text() for text in ax.texts[:3]] == ["50%", "29%", "21%"]  # of 14 s


def test_the_bars_of_the_comparison_are_what_runs_wait_for(report: Report):
    ax = compare.plot_comparison([report, dataclasses.replace(report, model="other")])
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches if bar.get_y() < 0.5]
    assert ends == pytest.approx([10, 14, 15])  # compute 4 + 4 + 2, DRAM 3 and a tie of 1, host 1
    assert [label.get_text() for label in ax.get_yticklabels()] == ["toynet", "other"]


def test_points_of_the_roofline_stand_where_the_numbers_say(report: Report):
    ax = roofline.plot_roofline(report, levels=False)
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert np.array(points) == pytest.approx(np.array([(40, 200e-9), (0.5, 10 / 3 * 1e-9), (10, 50e-9)]))  # FLOP/B, GFLOP/s
    sizes = [line.get_markersize() for line in ax.lines if line.get_marker() == "o"]
    assert (sizes[0] / sizes[1]) ** 2 == pytest.approx(8 / 3)  # areas go with time
    several = roofline.plot_roofline([report, dataclasses.replace(report, model="other")])
    whole = [(line.get_xdata()[0], line.get_ydata()[0]) for line in several.lines if line.get_markersize() == 11]
    assert np.array(whole) == pytest.approx(np.array([(1710 / 75, 114e-9)] * 2))


def test_bars_of_the_timeline_are_the_spans(report: Report):
    ax = timeline.plot_timeline(report)
    bars = [[(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in one.get_paths()] for one in ax.collections]
    assert bars[0] == [(1, 5), (5, 8), (8, 12), (12, 13), (13, 15)]
    assert bars[1] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]  # the host
    assert [label.get_text() for label in ax.get_yticklabels()] == ["host", "stream 0"]


def test_curves_of_the_utilisation_are_its_levels(report: Report):
    edges, levels = timeline.utilisation_over_time(report)
    drawn = {patch.get_label(): patch.get_data() for patch in timeline.plot_utilisation(report).patches if isinstance(patch, StepPatch)}
    for name, label in (("SMs", "SMs with work"), ("DRAM", "DRAM bandwidth"), ("math pipes", "math pipe peak")):
        assert drawn[label].values == pytest.approx(100 * levels[name])
        assert drawn[label].edges == pytest.approx(edges)
    assert faults(timeline.timeline_figure(report, theme="print")) == []


@pytest.mark.parametrize("name", ["roofline", "time_roofline", "waterfall", "layers", "comparison", "latency_throughput"])
def test_a_column_of_a_paper_has_room_for_it(report: Report, name: str):
    several = [dataclasses.replace(report, model=f"a rather long name {i}", batch=2**i) for i in range(3)]
    given = several if name in ("comparison", "latency_throughput") else report
    ax = getattr(plot, f"plot_{name}")(given, ax=style.new_figure(3.3, 2.8).add_subplot())
    assert faults(ax) == []
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()
    assert box.width * width > 1.2 and box.height * height > 0.7  # inches of it are left for the data


def test_charts_draw_on_the_axes_given(report: Report):
    figure = style.new_figure(8, 6)
    left, right = figure.subplots(1, 2)
    assert roofline.plot_roofline(report, ax=left) is left
    assert breakdown.plot_waterfall(report, ax=right) is right
    figure.draw_without_rendering()


def test_the_chart_names_kernels_ceilings_and_shares(report: Report):
    ax = roofline.plot_roofline(report)
    said = words(ax)
    for word in (
        "toynet on Toy",
        "DRAM 10 B/s",
        "L2 40 B/s",
        "shared memory 80 B/s",
        "fp16 tensor cores 800 FLOP/s",
        "convolution  57%",
        "7% in kernels without arithmetic",
    ):
        assert word in said, word
    (layer,) = [a for a in ax.get_children() if isinstance(a, LabelLayer)]
    assert [label.text for label in layer.labels] == ["*.conv ×2  57%", "stem.relu  21%", "head.fc  14%"]


def test_a_run_without_arithmetic_still_draws(report: Report):
    idle = dataclasses.replace(report, kernels=KernelGraph([dataclasses.replace(k, flop=0.0) for k in KERNELS], report.kernels.deps))
    for reports in (idle, [idle, idle]):
        ax = roofline.plot_roofline(reports)
        ax.get_figure(root=True).canvas.draw()  # type: ignore[union-attr]
    assert roofline.roofline_points(idle) == ()


def test_ceilings_of_many_gpus_are_named_in_the_legend(report: Report):
    runs = [dataclasses.replace(report, gpu=toy_gpu(id=name, name=name)) for name in ("one", "two", "three")]
    ax = roofline.plot_roofline(runs)
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [f"{name}: 800 FLOP/s, 10 B/s" for name in ("one", "two", "three")]
    assert "one DRAM" not in words(ax)


def test_labels_cover_neither_each_other_nor_the_rest(report: Report):
    for size in ((4.0, 3.0), (8.0, 5.0)):
        figure = style.new_figure(*size)
        ax = roofline.plot_roofline(report, ax=figure.add_subplot())
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        (layer,) = [a for a in ax.get_children() if isinstance(a, LabelLayer)]
        boxes = [text.get_window_extent(renderer) for text, _ in layer.place(renderer)]
        assert boxes
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        frame = ax.get_window_extent(renderer)
        assert all(frame.x0 - 1 <= b.x0 and b.x1 <= frame.x1 + 1 for b in boxes)


def test_a_slope_is_written_along_its_line_on_the_page(report: Report):
    figure = style.new_figure(8, 3)
    ax = roofline.plot_roofline(report, ax=figure.add_subplot())
    figure.canvas.draw()
    (name,) = [t for t in ax.texts if t.get_text() == "DRAM 10 B/s"]
    x, y = ax.transData.transform([(1.0, 10.0 / 1e9), (10.0, 100.0 / 1e9)]).T
    assert name.get_rotation() == pytest.approx(np.degrees(np.arctan2(y[1] - y[0], x[1] - x[0])), abs=0.5)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_run_gives_the_same_bytes(report: Report, tmp_path: Path, suffix: str):
    files = [style.save(roofline.plot_roofline(report, ax=style.new_figure(4, 3).add_subplot()).figure, tmp_path / f"{i}.{suffix}") for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"0.{suffix}", f"1.{suffix}"]


def test_no_global_state_is_touched(report: Report):
    before = mpl.rcParams.copy()
    style.new_axes("dark")
    timeline.timeline_figure(report, theme="dark")
    assert mpl.rcParams.copy() == before


def test_pyplot_is_not_loaded():
    code = "import sys; from simgpu.plot import breakdown, compare, roofline, style, timeline; style.new_axes(); print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ---- colours


def luminance(color: str) -> float:
    """WCAG 2.1, relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", list(palette.THEMES.values()), ids=list(style.THEMES))
def test_text_and_data_stand_out(look: palette.Theme):
    assert contrast(look.ink, look.background) >= 7  # WCAG 2.1, 1.4.6
    assert contrast(look.muted, look.background) >= 4.5  # 1.4.3
    assert all(contrast(color, look.background) >= 2.2 for color in (*look.families.values(), *look.series))
    assert len(set(look.families.values())) == len(look.families)
    assert set(look.families) == set(palette.FAMILY_NAMES)


@pytest.mark.parametrize("colours", [palette.THEMES["print"].series, tuple(palette.THEMES["print"].families.values())], ids=["series", "families"])
def test_on_paper_colours_are_told_apart_in_grey(colours: tuple[str, ...]):
    grey = sorted(luminance(color) for color in colours)
    assert all((b + 0.05) / (a + 0.05) >= 1.2 for a, b in pairwise(grey))


# ---- bad input


def test_an_unknown_theme_is_refused():
    with pytest.raises(OptionError, match=r"unknown theme 'drak', expected light, dark, print; did you mean 'dark'\?"):
        style.theme_named("drak")


@pytest.mark.parametrize(
    ("name", "message"), [("a.pgn", r"a.pgn: '.pgn' says no picture format, expected .png, .svg, .pdf; did you mean 'png'\?"), ("a", "a: no suffix says")]
)
def test_an_unknown_format_is_refused(name: str, message: str):
    with pytest.raises(OptionError, match=message):
        style.check_format(name)


def test_an_unwritable_picture_leaves_nothing(tmp_path: Path):
    with pytest.raises(OptionError, match="cannot be written"):
        style.save(style.new_figure(), tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []
