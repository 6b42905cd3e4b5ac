"""HTML and SVG elements as text: what is put into them is escaped unless it is an element itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

# What no HTML page may hold: control characters, halves of surrogate pairs, code points that are no characters.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset({"br", "col", "input", "link", "meta"})
_EMPTY = frozenset({"circle", "line", "path", "rect"})  # of SVG


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | int | None | Iterable["Content"]


def safe(text: str) -> Markup:
    """Text as HTML that shows it, whatever it holds.

    >>> safe('<script>"&')
    '&lt;script&gt;&quot;&amp;'
    """
    return text if isinstance(text, Markup) else Markup(escape(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)))


def joined_markup(*contents: Content) -> Markup:
    """Texts, elements, and lists of them, one after the other."""
    return Markup("".join(_flat(contents)))


def _flat(contents: Iterable[Content]) -> Iterable[str]:
    for content in contents:
        if content is None:
            continue
        if isinstance(content, str | int):
            yield safe(str(content)) if not isinstance(content, Markup) else content
        else:
            yield from _flat(content)


def el(name: str, /, *contents: Content, **attributes: str | float | bool | None) -> Markup:
    """An element; `class_` stands for class, `data_k` for data-k, attributes that are None or False are left out.

    >>> el("td", "a < b", class_="n", hidden=True)
    '<td class="n" hidden>a &lt; b</td>'
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        said = key.rstrip("_").replace("_", "-")
        said = "viewBox" if said == "viewbox" else "preserveAspectRatio" if said == "preserveaspectratio" else said
        words.append(said if value is True else f'{said}="{safe(_text(value))}"')
    head = " ".join(words)
    if name in _VOID:
        return Markup(f"<{head}>")
    if name in _EMPTY and not contents:
        return Markup(f"<{head}/>")
    return Markup(f"<{head}>{joined_markup(*contents)}</{name}>")


def _text(value: str | float) -> str:
    """Numbers in as few characters as say them to a tenth."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return value if isinstance(value, str) else str(value)
