"""How pictures look: themes, a colour for each family of kernels, and files that are the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from simgpu.errors import OptionError, did_you_mean
from simgpu.report.files import write_bytes
from simgpu.report.palette import THEMES, Theme

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

FORMATS = ("png", "svg", "pdf")
DPI = 200
_FULL_TYPE_INCHES, _SMALLEST_TYPE = 5.0, 0.7  # narrower pictures have smaller words, down to this share
_OVER_TICKS_POINTS = 5.0  # a legend at the page's edge stands higher than the highest number beside the axes [1/72 inch]


MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))


def theme_named(name: str | Theme) -> Theme:
    """The theme of that name.

    Raises:
        OptionError: No such theme.

    >>> theme_named("dark").background
    '#0f1318'
    """
    if isinstance(name, Theme):
        return name
    if name not in THEMES:
        raise OptionError(f"unknown theme '{name}', expected {', '.join(THEMES)}{did_you_mean(name, THEMES)}")
    return THEMES[name]


def new_figure(width: float = 8.0, height: float = 5.0, *, theme: str | Theme = "light") -> Figure:
    """An empty figure on the Agg canvas, so that no display and no global state is touched.

    Args:
        width, height: Size on paper. [inch]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=theme_named(theme).background)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def new_axes(theme: str | Theme = "light", *, width: float = 8.0, height: float = 5.0) -> Axes:
    """Axes on a figure of their own."""
    return new_figure(width, height, theme=theme).add_subplot()


def dress(ax: Axes, theme: str | Theme, *, grid: Literal["x", "y", "both", "none"] = "both") -> Theme:
    """Gives axes the colours of a theme: no box, light grid under the data."""
    colours = theme_named(theme)
    ax.set_facecolor(colours.background)
    for side, spine in ax.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(colours.muted)
        spine.set_linewidth(0.8)
    ax.tick_params(which="both", colors=colours.muted, labelsize=8.5, width=0.8)
    ax.tick_params(which="minor", length=0)
    ax.xaxis.label.set(color=colours.ink, fontsize=9.5)
    ax.yaxis.label.set(color=colours.ink, fontsize=9.5)
    ax.set_axisbelow(True)
    if grid != "none":
        ax.grid(True, which="major", axis=grid, color=colours.grid, linewidth=0.8)
    return colours


def headline(ax: Axes, title: str, subtitle: str, theme: str | Theme, *, legend: Sequence[Artist] = ()) -> Legend | None:
    """A title at the left edge, a quieter line below it, and below that what the colours mean.

    The edge is the figure's where no other axes are to the left.
    """
    colours = theme_named(theme)
    figure, place = ax.get_figure(root=True), ax.get_subplotspec()
    assert figure is not None
    alone = place is not None and place.colspan.start == 0
    whole_width = place is not None and place.get_gridspec().ncols == 1
    width_points = 72 * float(figure.get_size_inches()[0]) * (1.0 if whole_width else float(ax.get_position().width))
    smaller = type_scale(ax) if whole_width else 1.0
    quiet_points, key_points = (8.5, 8.0) if width_points > 400 else (max(7.5 * smaller, 6.0), max(7.0 * smaller, 6.0))
    subtitle = wrap(subtitle, int(width_points / (quiet_points * 0.56)))
    title_points = min(12.0 * max(smaller, 0.8), width_points / (0.66 * max(len(title), 1)))
    entry_points = key_points * 0.54 * max((len(str(entry.get_label())) for entry in legend), default=0) + 3 * key_points
    columns = max(1, min(len(legend), int((width_points - 40) / entry_points)))
    low = 7.0 + 1.55 * key_points * -(-len(legend) // columns) + (_OVER_TICKS_POINTS if alone and legend else 0.0)
    high = low + quiet_points * 1.4 * (1 + subtitle.count("\n")) + 2 if subtitle else low
    if smaller < 1:
        _shrink(ax, smaller)
    # an empty title keeps the room free; the words themselves stand outside the layout, so that they may start at the figure's edge
    ax.set_title(" ", fontsize=title_points, pad=high + 0.3 * title_points)
    edge, across = (0.0125, "figure fraction") if alone else (0.0, "axes fraction")
    for text, size, weight, color, y in ((subtitle, quiet_points, "normal", colours.muted, low), (title, title_points, "bold", colours.ink, high)):
        label = ax.annotate(
            text, (edge, 1.0), xycoords=(across, "axes fraction"), xytext=(0, y), textcoords="offset points", fontsize=size, fontweight=weight, color=color,
            va="bottom", annotation_clip=False,
        )  # fmt: skip
        label.set_in_layout(False)
    if not legend:
        return None
    key = add_legend(ax, legend, colours, columns=columns, fontsize=key_points, at_page_edge=alone)
    key.set_in_layout(False)
    return key


def type_scale(ax: Axes) -> float:
    """How much smaller than usual words are on a picture as narrow as a column of a paper."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return float(min(1.0, max(_SMALLEST_TYPE, figure.get_size_inches()[0] / _FULL_TYPE_INCHES)))


def _shrink(ax: Axes, scale: float) -> None:
    """Makes what is written on axes so far smaller."""
    from matplotlib.text import Text

    for text in (*ax.texts, ax.xaxis.label, ax.yaxis.label, *(c for c in ax.get_children() if isinstance(c, Text) and c not in ax.texts)):
        text.set_fontsize(float(text.get_fontsize()) * scale)
    ax.tick_params(which="both", labelsize=8.5 * scale)
    for child in ax.get_children():
        if hasattr(child, "fontsize"):  # the layer of labels
            child.fontsize *= scale


def add_legend(ax: Axes, handles: Sequence[Artist], theme: str | Theme, *, columns: int = 1, fontsize: float = 8.0, at_page_edge: bool = False) -> Legend:
    """What the colours mean, over the upper left corner of the axes, or that high at the left edge of the page."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    figure = ax.get_figure(root=True)
    assert figure is not None
    higher = ScaledTranslation(0.0, _OVER_TICKS_POINTS / 72, figure.dpi_scale_trans)
    across = blended_transform_factory(figure.transFigure, ax.transAxes) + higher if at_page_edge else ax.transAxes
    return ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0125 if at_page_edge else 0.0, 1.0), bbox_transform=across, borderaxespad=0.0,
        borderpad=0.0 if at_page_edge else 0.2, ncols=columns, fontsize=fontsize,
        labelcolor=theme_named(theme).ink, frameon=False, handletextpad=0.5, labelspacing=0.35, columnspacing=1.4, handlelength=1.3,
    )  # fmt: skip


def ink_on(color: str) -> str:
    """Black or white, whichever is easier to read on that colour."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "#10151a"


def wrap(text: str, columns: int) -> str:
    """Breaks a line at its " · " where it would get longer than so many characters.

    >>> wrap("fp16 · batch 32 · eager", 16)
    'fp16 · batch 32\\neager'
    """
    lines: list[str] = []
    for part in text.split(" · "):
        if lines and len(lines[-1]) + 3 + len(part) <= columns:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def check_format(path: str | Path) -> str:
    """The format a file name asks for.

    Raises:
        OptionError: The suffix is none that can be written.

    >>> check_format("roofline.SVG")
    'svg'
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        said = f"'.{suffix}'" if suffix else "no suffix"
        raise OptionError(f"{path}: {said} says no picture format, expected {', '.join('.' + f for f in FORMATS)}{did_you_mean(suffix, FORMATS)}")
    return suffix


def save(picture: Figure | Axes, path: str | Path) -> Path:
    """Writes a figure, or the figure of some axes, as PNG, SVG or PDF, by the suffix; the same figure gives the same bytes.

    The file appears whole or not at all.

    Raises:
        OptionError: The suffix is unknown or the file cannot be written.
    """
    import matplotlib as mpl

    kind = check_format(path)
    figure = picture.get_figure(root=True)
    assert figure is not None
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Software": "simgpu"},
        "svg": {"Date": None, "Creator": "simgpu"},
        "pdf": {"CreationDate": None, "Creator": "simgpu", "Producer": "simgpu"},
    }
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "simgpu", "pdf.fonttype": 42}):
        figure.savefig(file, format=kind, dpi=DPI, facecolor=figure.get_facecolor(), metadata=metadata[kind])
    return write_bytes(path, file.getvalue())
