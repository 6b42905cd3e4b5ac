"""Pieces of a terminal page: aligned columns, bars, wrapped notes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from simgpu.units import format_quantity

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(fraction: float, width: int) -> str:
    """A bar of up to `width` characters, in steps of an eighth.

    >>> bar(0.5, 4), bar(0.03125, 4)
    ('██', '▏')
    """
    eighths = round(max(0.0, min(fraction, 1.0)) * width * 8)
    if fraction > 0 and eighths == 0:
        eighths = 1
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def percent(fraction: float) -> str:
    """A share; small ones keep a digit that says something.

    >>> percent(0.4567), percent(0.0042), percent(0.00003), percent(0.0)
    ('45.7 %', '0.4 %', '<0.1 %', '0 %')
    """
    if fraction == 0:
        return "0 %"
    return f"{100 * fraction:.1f} %" if fraction >= 0.0005 else "<0.1 %"


def seconds(value: float) -> str:
    """A time with three digits: "1.23 ms"."""
    return format_quantity(value, "s")


def quantity(value: float, unit: str) -> str:
    """A quantity, or a dash where there is none."""
    return format_quantity(value, unit) if value else "–"


def number(value: float) -> str:
    """A number without unit, three digits or all before the point.

    >>> number(0.01234), number(12.345), number(1373.4)
    ('0.0123', '12.3', '1,373')
    """
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def shorten(text: str, width: int) -> str:
    """Text in at most `width` characters; the middle is left out, because names differ at both ends.

    >>> shorten("encoder.layer.11.attention", 15)
    'encoder…tention'
    """
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}" if width > 1 else "…"[:width]


def shorten_path(path: str, width: int) -> str:
    """A module path in at most `width` characters; its front is left out, because modules differ at the end.

    >>> shorten_path("model.layers.0.attn.q_proj", 15)
    '….0.attn.q_proj'
    """
    return path if len(path) <= width else f"…{path[len(path) - width + 1 :]}"


def columns(rows: Sequence[Sequence[str]], align: str, *, header: Sequence[str] = (), gap: int = 2, indent: int = 2) -> list[str]:
    """Rows as aligned columns.

    Args:
        align: A letter for each column, `<` or `>`.

    >>> columns([("a", "1"), ("bb", "10")], "<>", header=("x", "n"), indent=0)
    ['x    n', 'a    1', 'bb  10']
    """
    lines = [*([tuple(header)] if header else []), *rows]
    widths = [max((len(row[i]) for row in lines), default=0) for i in range(len(align))]
    return [(" " * indent + (" " * gap).join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True))).rstrip() for row in lines]


def joined(parts: Sequence[str], width: int, separator: str = ",") -> list[str]:
    """Parts in as few lines as they need; lines break between parts only.

    >>> joined(["one", "two", "three"], 9)
    ['one, two,', 'three']
    """
    lines = [""]
    for i, part in enumerate(parts):
        text = part + (separator if i < len(parts) - 1 else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] = f"{lines[-1]} {text}".strip()
    return lines


def numbered(notes: Sequence[str], width: int) -> list[str]:
    """Notes with numbers, wrapped.

    >>> numbered(["one two"], 9)
    ['  1  one', '     two']
    """
    places = len(str(len(notes)))
    lines = []
    for number, note in enumerate(notes, start=1):
        lead = f"  {number:>{places}}  "
        lines += textwrap.wrap(note, width, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False)
    return lines


def side_by_side(left: Sequence[str], right: Sequence[str], width: int, gap: int = 3) -> list[str]:
    """Two blocks next to each other if they fit, else one below the other.

    >>> side_by_side(["a", "b"], ["c"], 10)
    ['a   c', 'b']
    """
    left_width = max((len(line) for line in left), default=0)
    if left_width + gap + max((len(line) for line in right), default=0) > width:
        return [*left, "", *right]
    rows = max(len(left), len(right))
    padded = [*left, *[""] * (rows - len(left))]
    other = [*right, *[""] * (rows - len(right))]
    return [f"{a:<{left_width + gap}}{b}".rstrip() for a, b in zip(padded, other, strict=True)]
