"""Pictures of studies: what is drawn is what the numbers say, with units, on light and dark ground."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.contour import ContourSet

from simgpu import plot
from simgpu.plot.latency_throughput import curves_of_columns, curves_of_reports
from simgpu.plot.quantities import scaled
from simgpu.report.palette import THEMES
from simgpu.report.study import Lever, Rung
from tests.pictures import faults, written
from tests.runs import three_kernels


def lever(field: str, low_s: float, high_s: float, elasticity: float) -> Lever:
    unit = "B/s" if "bandwidth" in field else ""
    latencies = {"latency_s": 2.0, "low_latency_s": low_s, "high_latency_s": high_s}
    return Lever(field=field, unit=unit, value=10, low=8, high=12, elasticity=elasticity, **latencies)


LEVERS = (lever("sm.count", 2.5, 1.6, -1.1), lever("dram.bandwidth", 2.1, 1.9, -0.2), lever("host", 1.98, 2.02, 0.05), lever("sm.registers", 2.0, 2.0, 0.0))
X, Y = ("sm.count", np.array([10.0, 20.0, 40.0])), ("dram.bandwidth_bytes_per_s", np.array([1e12, 2e12]))
BOUND = np.array([["compute", "DRAM", "DRAM"], ["compute", "compute", "host launch"]], dtype=object)
LATENCY = np.array([[8e-3, 6e-3, 5e-3], [7e-3, 4e-3, 3e-3]])
COLUMNS = {
    "batch": np.array([4, 1, 2, 1, 2, 4]),
    "dtype": np.array(["fp16", "fp16", "fp16", "fp32", "fp32", "fp32"], dtype=object),
    "latency_s": np.array([4e-3, 1e-3, 2e-3, 2e-3, 4e-3, 8e-3]),
    "bound": np.array(["compute", "host launch", "DRAM", "DRAM", "DRAM", "DRAM"], dtype=object),
}
GAINS = (("clock", 0.5), ("SMs", 4.0), ("dtype", 2.0), ("host", 1.0))
RUNGS = (
    Rung(gpu="GeForce Old 100", year=2006, dtype="fp32", latency_s=1.0, throughput_per_s=10.0),
    Rung(gpu="Tesla New X 16GB", year=2010, dtype="fp16", latency_s=0.25, throughput_per_s=40.0, gains=GAINS),
)

BATCHES = {
    "gpu": np.array(["fast", "slow", "fast", "slow", "fast"], dtype=object),
    "batch": np.array([8, 1, 1, 4, 2]),
    "latency_s": np.array([4e-3, 4e-3, 1e-3, 8e-3, 1e-3]),
    "throughput_per_s": np.array([2000.0, 250, 1000, 500, 2000]),
    "fits": np.array([False, True, True, True, True]),
}

PICTURES: dict[str, Callable[[str], Axes]] = {
    "tornado": lambda theme: plot.plot_tornado(LEVERS, subtitle="net on gpu", theme=theme),
    "bottlenecks": lambda theme: plot.plot_bottlenecks(X, Y, BOUND, LATENCY, subtitle="net on gpu", theme=theme),
    "heatmap": lambda theme: plot.plot_heatmap(X, Y, ("energy_j", LATENCY * 100), theme=theme),
    "pareto": lambda theme: plot.plot_pareto(
        ("die_area_estimate_mm2", np.array([1.0, 2.0, 3.0])), ("latency_s", np.array([3.0, 1.0, 2.0])), BOUND[0], np.array([0, 1]), ("a", "b"), theme=theme
    ),
    "sweep": lambda theme: plot.plot_sweep(COLUMNS, "batch", series="dtype", theme=theme),
    "one curve": lambda theme: plot.plot_sweep({name: values[:3] for name, values in COLUMNS.items()}, "batch", theme=theme),
    "latency and throughput": lambda theme: plot.plot_latency_throughput(curves_of_columns(BATCHES, ["gpu"]), subtitle="net", theme=theme),
    "lines of equal latency": lambda theme: plot.plot_iso(X, Y, "latency_s", {"one": LATENCY, "other": 0.8 * LATENCY}, theme=theme),
    "ladder": lambda theme: plot.plot_ladder(RUNGS, theme=theme),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("theme", THEMES)
def test_every_picture_has_units_and_the_colours_of_its_theme(name: str, theme: str):
    ax = PICTURES[name](theme)
    figure = ax.get_figure(root=True)
    assert figure is not None
    assert to_rgb(figure.get_facecolor()) == to_rgb(THEMES[theme].background)
    assert ax.get_xlabel() or ax.get_xticklabels()
    assert ax.get_ylabel() or ax.get_yticklabels()
    figure.set_dpi(60)
    assert faults(ax) == []


def test_the_same_picture_is_the_same_file(tmp_path: Path):
    first, second = (plot.save(PICTURES["bottlenecks"]("light"), tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second and first.startswith(b"\x89PNG")


def test_tornado_bars_are_the_changes():
    ax = PICTURES["tornado"]("light")
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == pytest.approx([25, -20, 5, -5, -1, 1])  # the lever that moves nothing is left out
    assert [label.get_text() for label in ax.get_yticklabels()] == ["sm.count", "dram.bandwidth", "time of the host"]
    assert ax.get_xlabel() == "change of the latency [%]"
    assert {"-1.10", "-0.20", "+0.05"} <= {text.get_text() for text in ax.texts}


def test_the_map_has_a_cell_a_design():
    ax = PICTURES["bottlenecks"]("light")
    (mesh,) = (one for one in ax.collections if isinstance(one, QuadMesh))
    colors = [THEMES["light"].series[place] for place in (1, 0, 6)]
    codes = np.asarray(mesh.get_array()).reshape(2, 3).tolist()
    assert codes == [[0, 1, 1], [0, 0, 2]]
    assert len(colors) == mesh.get_cmap().N
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sm.count", "dram.bandwidth [TB/s]")
    legend = ax.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["compute", "DRAM", "host launch"]


def test_the_heat_map_names_its_unit():
    figure = PICTURES["heatmap"]("light").get_figure(root=True)
    assert figure is not None
    assert [ax.get_ylabel() for ax in figure.axes] == ["dram.bandwidth [TB/s]", "energy a run [mJ]"]
    (mesh,) = (one for one in figure.axes[0].collections if isinstance(one, QuadMesh))
    assert np.asarray(mesh.get_array()).reshape(2, 3).tolist() == [[pytest.approx(v * 1e5) for v in row] for row in LATENCY.tolist()]


def test_the_front_is_a_line():
    ax = PICTURES["pareto"]("light")
    assert ax.lines[0].get_xydata().tolist() == [[1, 3], [2, 1]]
    dots = [one for one in ax.collections if isinstance(one, PathCollection)]
    assert sum(len(one.get_offsets()) for one in dots) == 3 + 2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("die area (estimate) [mm²]", "latency [s]")


def test_curves_run_along_the_field():
    ax = PICTURES["sweep"]("light")
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2, 4], [1, 2, 4]]
    assert [line.get_ydata().tolist() for line in ax.lines] == [pytest.approx([1, 2, 4]), pytest.approx([2, 4, 8])]
    assert ax.get_ylabel() == "latency [ms]"
    legend = ax.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["fp16", "fp32"]
    one = PICTURES["one curve"]("light").get_legend()
    assert one is not None and {text.get_text() for text in one.get_texts()} == {"bound by compute", "bound by host launch", "bound by DRAM"}


def test_throughput_over_latency_is_what_the_table_says():
    ax = PICTURES["latency and throughput"]("light")
    curves = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in ax.lines if line.get_linestyle() != "None"]
    assert curves == [([1, 1, 4], [1000, 2000, 2000]), ([4, 8], [250, 500])]  # by batch, not in the order of the rows
    hollow = [line.get_xdata().tolist() for line in ax.lines if line.get_markerfacecolor() == THEMES["light"].background and len(line.get_xdata())]
    assert hollow == [[4]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("latency [ms]", "throughput [samples/s]")
    legend = ax.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["fast", "slow", "does not fit the memory"]
    assert sorted(text.get_text() for text, _ in written(ax) if text.get_fontsize() == 7.5) == ["1", "1", "2", "4", "8"]


def test_throughput_over_latency_of_reports():
    reports = [dataclasses.replace(three_kernels(), batch=batch, dtype=dtype) for dtype in ("fp16", "fp32") for batch in (4, 2)]
    (half, whole) = curves_of_reports(reports)
    assert (half.name, half.batch.tolist(), half.latency_s.tolist(), half.throughput_per_s.tolist()) == ("fp16", [2, 4], [8, 8], [2 / 8, 4 / 8])
    ax = plot.plot_latency_throughput(reports)
    assert faults(ax) == []
    assert "net · Toy · eager · numbers: the batch" in {text.get_text() for text, _ in written(ax)}
    assert whole.name == "fp32" and whole.fits.all()


def test_of_more_curves_than_colours_the_picture_says_how_many_it_shows():
    reports = [dataclasses.replace(three_kernels(), model=f"net {i}", batch=1) for i in range(9)]
    ax = plot.plot_latency_throughput(reports)
    assert any("the first 8 of 9 curves" in text.get_text() for text, _ in written(ax))


def test_lines_of_equal_value_run_where_the_table_has_it():
    x, y = ("sm.count", np.array([10.0, 20.0, 40.0])), ("sm.max_blocks", np.array([1.0, 2.0]))
    ax = plot.plot_iso(x, y, "latency_s", {"": np.array([[1.0, 2, 4], [1, 2, 4]])}, levels=[3.0, 1.5])
    (contours,) = (one for one in ax.collections if isinstance(one, ContourSet))
    assert contours.levels.tolist() == [1.5, 3]
    for path, value in zip(contours.get_paths(), (15, 30), strict=True):  # midway between the designs
        assert np.asarray(path.vertices)[:, 0] == pytest.approx(value)
    assert ax.get_title(loc="left") == "" and ax.get_xlim() == (10, 40)
    assert {"1.5 s", "3 s"} <= {text.get_text() for text, _ in written(ax)}


def test_ten_thousand_designs_are_drawn_in_time():
    rng = np.random.default_rng(0)
    area, bounds = rng.uniform(100, 800, 10_000), np.array(["compute", "DRAM", "L2"], dtype=object)[rng.integers(0, 3, 10_000)]
    latency = 1 / area * rng.uniform(1, 3, 10_000)
    order = np.argsort(area)
    front = order[np.minimum.accumulate(latency[order]) == latency[order]]
    names = [f"{i} · 2.04 TB/s" for i in front.tolist()]
    ax = plot.plot_pareto(("die_area_estimate_mm2", area), ("latency_s", latency), bounds, front, names)
    assert sum(len(one.get_offsets()) for one in ax.collections if isinstance(one, PathCollection)) == 10_000 + len(front)
    assert faults(ax) == []
    cells = ("sm.count", np.arange(20.0, 120)), ("dram.bandwidth_bytes_per_s", np.geomspace(1e11, 1e13, 100))
    grid = 1 / cells[0][1][None, :] + 1e10 / cells[1][1][:, None]
    assert faults(plot.plot_bottlenecks(*cells, bounds.reshape(100, 100), grid)) == []
    assert faults(plot.plot_heatmap(*cells, ("latency_s", grid))) == []
    lines = plot.plot_iso(*cells, "latency_s", {"": grid})
    assert faults(lines) == []
    frame = lines.get_window_extent()
    said = [box for text, box in written(lines) if text.get_text().endswith(" ms")]
    assert len(said) > 3
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in said)  # none is cut off


def test_ladder_steps_are_the_factors():
    ax = PICTURES["ladder"]("light")
    heights = {(round(bar.get_x() + bar.get_width() / 2, 2), round(bar.get_y(), 6)): round(bar.get_y() + bar.get_height(), 6) for bar in ax.patches}
    assert heights[0.3, 5.0] == 10.0  # the clock lost half
    assert heights[0.5, 5.0] == 20.0  # four times as much by the SMs
    assert heights[0.5, 20.0] == 40.0  # twice by the dtype
    assert {"×4", "250 ms\nfp16", "1 s\nfp32"} <= {text.get_text() for text in ax.texts}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Old 100\n2006", "New X 16GB\n2010"]
    assert ax.get_ylabel() == "throughput [samples/s]"


def test_axes_take_the_prefix_that_reads_well():
    assert scaled("latency_s", np.array([1e-6, 4e-5]))[1] == "latency [µs]"
    assert scaled("l2.size_bytes", np.array([2.0**20, 2.0**23]))[0].tolist() == [1, 8]
    assert scaled("mfu_fraction", np.array([0.5]))[0].tolist() == [50]
    assert scaled("throughput_per_s", np.array([5000.0]))[1] == "throughput [samples/s]"
    assert scaled("chip.process_nm", np.array([7.0]))[1] == "chip.process [nm]"
