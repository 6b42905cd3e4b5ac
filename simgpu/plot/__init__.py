"""Pictures of reports. `plot_x(report, ax=…)` draws on axes and returns them; `new_figure` and `save` make the file.

Nothing here touches pyplot or any setting of matplotlib; matplotlib is imported when the first chart is drawn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgpu.plot.breakdown import plot_layers, plot_waterfall
    from simgpu.plot.compare import plot_comparison
    from simgpu.plot.heatmap import plot_bottlenecks, plot_heatmap
    from simgpu.plot.iso import plot_iso
    from simgpu.plot.ladder import plot_ladder
    from simgpu.plot.latency_throughput import plot_latency_throughput
    from simgpu.plot.pareto import plot_pareto
    from simgpu.plot.roofline import plot_roofline
    from simgpu.plot.style import new_figure, save
    from simgpu.plot.sweep import plot_sweep
    from simgpu.plot.time_roofline import plot_time_roofline
    from simgpu.plot.timeline import plot_timeline, plot_utilisation, timeline_figure
    from simgpu.plot.tornado import plot_tornado

__all__ = [
    "new_figure",
    "plot_bottlenecks",
    "plot_comparison",
    "plot_heatmap",
    "plot_iso",
    "plot_ladder",
    "plot_latency_throughput",
    "plot_layers",
    "plot_pareto",
    "plot_roofline",
    "plot_sweep",
    "plot_time_roofline",
    "plot_timeline",
    "plot_tornado",
    "plot_utilisation",
    "plot_waterfall",
    "save",
    "timeline_figure",
]

_HOMES = {
    "new_figure": "style",
    "plot_bottlenecks": "heatmap",
    "plot_comparison": "compare",
    "plot_heatmap": "heatmap",
    "plot_iso": "iso",
    "plot_ladder": "ladder",
    "plot_latency_throughput": "latency_throughput",
    "plot_layers": "breakdown",
    "plot_pareto": "pareto",
    "plot_roofline": "roofline",
    "plot_sweep": "sweep",
    "plot_time_roofline": "time_roofline",
    "plot_timeline": "timeline",
    "plot_tornado": "tornado",
    "plot_utilisation": "timeline",
    "plot_waterfall": "breakdown",
    "save": "style",
    "timeline_figure": "timeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simgpu.plot' has no attribute '{name}'")
    return getattr(importlib.import_module(f"simgpu.plot.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
