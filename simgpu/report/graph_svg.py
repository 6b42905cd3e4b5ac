"""A network as a picture: modules as boxes in boxes, blocks that repeat drawn once, each operator a row with what it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from simgpu.graph.ir import WEIGHT, Graph, Op
from simgpu.ops.registry import is_view, op_flop
from simgpu.report.html_element import Markup, el
from simgpu.report.palette import FAMILY_NAMES, THEMES, Theme
from simgpu.report.text import shorten, shorten_path
from simgpu.units import format_quantity

WIDTH = 760.0
_ROW, _TITLE, _PAD, _GAP, _EDGE = 24.0, 22.0, 10.0, 6.0, 16.0  # [px]
_JOINED = frozenset(
    {"BatchNormalization", "Relu", "Clip", "Sigmoid", "Swish", "HardSwish", "HardSigmoid", "Gelu", "Tanh", "LeakyRelu", "Elu", "Mish", "Softmax"}
)  # written in the row of the operator before, if they read its result and nothing else does
_FAMILIES = {
    "conv": ("Conv", "ConvTranspose", "DeformConv"),
    "gemm": ("Gemm", "MatMul", "Linear", "GroupedLinear", "Einsum"),
    "attention": ("Attention",),
    "recurrent": ("LSTM", "GRU", "RNN"),
    "rows": ("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "BatchNormalization", "Softmax", "GlobalAveragePool"),
}
_FAMILY_OF = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds}


@dataclass(slots=True, kw_only=True)
class Row:
    """An operator with those written beside it; `reads` names the rows it reads from unless that is the row before alone."""

    name: str
    reads: tuple[str, ...] = ()
    ops: list[Op] = field(default_factory=list)
    count: int = 1


@dataclass(slots=True, kw_only=True)
class Box:
    """A module: rows and boxes in the order in which they first run; `count` equal ones follow each other."""

    name: str
    items: list[Row | Box] = field(default_factory=list)
    count: int = 1
    last: str = ""


def folded(graph: Graph) -> Box:
    """The modules of a network, those that repeat as one with a count.

    Two modules are equal if their operators are: types, attributes, shapes of results and parameters, and names within the module.
    """
    root = Box(name=graph.name)
    boxes: dict[tuple[str, ...], Box] = {(): root}
    row_of: dict[str, tuple[Row, Box]] = {}
    latest: Row | None = None
    for op in graph.ops:
        if is_view(op, graph):
            if op.inputs and op.inputs[0] in row_of:
                row_of[op.outputs[0]] = row_of[op.inputs[0]]
            continue
        parts = tuple(op.scope.split(".")) if op.scope else ()
        if parts and op.name == op.scope:
            parts = parts[:-1]
        home = _box(boxes, parts)
        before = row_of.get(op.inputs[0]) if op.inputs else None
        alone = before is not None and before[1] is home and op.type in _JOINED and len(graph.consumers.get(op.inputs[0], ())) == 1
        if before is not None and alone and op.inputs[0] in before[0].ops[-1].outputs:
            row = before[0]
            row.ops.append(op)
        else:
            sources = [row_of[t][0] for t in op.inputs if t in row_of]
            others = () if len(sources) == 1 and sources[0] is latest else sources
            within = ".".join((*parts, ""))
            reads = tuple(dict.fromkeys(source.ops[0].name.removeprefix(within) for source in others))
            row = latest = Row(name=op.name.removeprefix(within), reads=reads, ops=[op])
            home.items.append(row)
        row_of.update(dict.fromkeys(op.outputs, (row, home)))
    _fold(root, graph)
    return root


def _box(boxes: dict[tuple[str, ...], Box], parts: tuple[str, ...]) -> Box:
    if parts not in boxes:
        boxes[parts] = Box(name=parts[-1])
        _box(boxes, parts[:-1]).items.append(boxes[parts])
    return boxes[parts]


def _fold(box: Box, graph: Graph) -> tuple[Any, ...]:
    """Joins equal neighbours inside, takes boxes of a single box together, and says what the box holds."""
    kept: list[Row | Box] = []
    signs: list[tuple[Any, ...]] = []
    for item in box.items:
        if isinstance(item, Box):
            sign = _fold(item, graph)
            while len(item.items) == 1 and isinstance(item.items[0], Box) and item.items[0].count == 1:
                only = item.items[0]
                item.name, item.items = f"{item.name}.{only.name}", only.items
            if len(item.items) == 1 and isinstance(only_row := item.items[0], Row):
                item = Row(name=f"{item.name}.{only_row.name}", reads=only_row.reads, ops=only_row.ops, count=only_row.count)
                sign = (item.name, *sign)
        else:
            sign = (item.name, *(_sign(op, graph) for op in item.ops))
        same = isinstance(item, Box) and kept and isinstance(kept[-1], Box) and sign == signs[-1]
        if same and isinstance(last := kept[-1], Box):
            last.count += 1
            last.last = item.name
        else:
            kept.append(item)
            signs.append(sign)
    box.items = kept
    counts = [item.count for item in kept]
    return tuple(zip(signs, counts, strict=True))


def _sign(op: Op, graph: Graph) -> tuple[Any, ...]:
    weights = tuple(graph[t].shape for t in op.inputs if t and graph[t].kind == WEIGHT)
    return op.type, tuple(sorted((key, str(value)) for key, value in op.attrs.items())), tuple(t.shape for t in graph.out_tensors(op)), weights


# ---- drawing


def graph_svg(graph: Graph) -> str:
    """The picture as an SVG file that follows the reader's light or dark theme."""
    root = folded(graph)
    facts = (
        f"{format_quantity(graph.num_params, '')} parameters · {format_quantity(sum(op_flop(graph, op) for op in graph.ops), 'FLOP')} · {len(graph)} operators"
    )
    inputs = [f"{name} {_shape(graph[name].shape)} {graph[name].dtype}" for name in graph.inputs]
    shapes = [
        el("text", shorten(graph.name, 60), x=_EDGE, y=30.0, class_="head"),
        el("text", facts, x=_EDGE, y=50.0, class_="quiet"),
        *(el("text", f"input {shorten(text, 80)}", x=_EDGE, y=76.0 + 16 * i, class_="quiet") for i, text in enumerate(inputs[:6])),
    ]
    y = 76.0 + 16 * min(len(inputs), 6)
    for item in root.items:
        drawn, height = _draw(item, graph, _EDGE, y, WIDTH - 2 * _EDGE)
        shapes += drawn
        y += height + _GAP
    outputs = ", ".join(f"{name} {_shape(graph[name].shape)}" for name in graph.outputs)
    shapes.append(el("text", f"output {shorten(outputs, 80)}", x=_EDGE, y=y + 16, class_="quiet"))
    return el("svg", el("title", graph.name), el("style", Markup(_style())), el("rect", width=WIDTH, height=y + 34, class_="ground"), shapes,
              xmlns="http://www.w3.org/2000/svg", viewbox=f"0 0 {WIDTH:g} {y + 34:g}", width=WIDTH, height=y + 34) + "\n"  # fmt: skip


def _draw(item: Row | Box, graph: Graph, x: float, y: float, width: float) -> tuple[list[Markup], float]:
    """Shapes of an item, and its height."""
    if isinstance(item, Row):
        return list(_row(item, graph, x, y, width)), _ROW
    shapes: list[Markup] = []
    inner = y + _TITLE + 4
    for part in item.items:
        drawn, height = _draw(part, graph, x + _PAD, inner, width - 2 * _PAD)
        shapes += drawn
        inner += height + 4
    height = inner - y + _PAD - 4
    name = f"{item.name} … {item.last}" if item.count > 1 else item.name
    times = el("text", f"×{item.count}", x=x + width - _PAD, y=y + 16, text_anchor="end", class_="times") if item.count > 1 else None
    box = [
        el("rect", x=x, y=y, width=width, height=height, rx=7, class_="box"),
        el("text", shorten_path(name, 56), x=x + _PAD, y=y + 16, class_="module"),
    ]
    return [*box, *([times] if times else []), *shapes], height


def _row(row: Row, graph: Graph, x: float, y: float, width: float) -> Iterator[Markup]:
    first = row.ops[0]
    family = _FAMILY_OF.get(first.type, "stream")
    flop = sum(op_flop(graph, op) for op in row.ops)
    outs = graph.out_tensors(row.ops[-1])
    kinds = " · ".join([_kind(first, graph), *(op.type.replace("BatchNormalization", "BN") for op in row.ops[1:])])
    room = int((width - 260) / 7)
    named = f"{shorten_path(row.name, 22)}{' ← ' + ', '.join(shorten_path(name, 16) for name in row.reads) if row.reads else ''}"
    beside = shorten(named, room - len(kinds)) if room - len(kinds) > 8 else ""
    yield el("rect", x=x, y=y, width=width, height=_ROW, rx=4, class_="row", data_family=family)
    yield el("rect", x=x, y=y, width=4, height=_ROW, rx=2, class_=f"f-{family}")
    what = (shorten(kinds, max(room, 10)), el("tspan", beside, class_="quiet", dx=8) if beside else None)
    yield el("text", *what, el("title", f"{first.name}: {kinds}"), x=x + 12, y=y + 16)
    yield el("text", _shape(outs[0].shape) if outs else "", x=x + width - 84, y=y + 16, text_anchor="end", class_="quiet")
    yield el("text", format_quantity(flop, "FLOP") if flop else "", x=x + width - 8, y=y + 16, text_anchor="end", class_="quiet")


def _kind(op: Op, graph: Graph) -> str:
    """What an operator is, as papers write it: "Conv 3×3 /2, 64 groups"."""
    match op.type:
        case "Conv" | "ConvTranspose":
            shape = graph[op.inputs[1]].shape
            strides, groups = op.attrs.get("strides", ()), op.attrs.get("group", 1)
            stride = f" /{strides[0]}" if isinstance(strides, tuple) and strides and strides[0] != 1 else ""
            depthwise = groups == graph[op.inputs[0]].shape[1] and groups != 1
            apart = " depthwise" if depthwise else f", {groups} groups" if groups != 1 else ""
            return f"{op.type} {'×'.join(map(str, shape[2:]))}{stride}{apart}"
        case "MaxPool" | "AveragePool":
            sizes = op.attrs.get("kernel_shape", ())
            return f"{op.type} {'×'.join(map(str, sizes)) if isinstance(sizes, tuple) else ''}".rstrip()
        case _:
            return op.type


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _style() -> str:
    def colours(theme: Theme) -> str:
        base = f".ground{{fill:{theme.background}}}text{{fill:{theme.ink}}}.quiet{{fill:{theme.muted}}}.box{{fill:none;stroke:{theme.muted};stroke-opacity:.5}}"
        return f"{base}.row{{fill:{theme.grid};fill-opacity:.55}}" + "".join(f".f-{f}{{fill:{theme.families[f]}}}" for f in FAMILY_NAMES)

    text = "text{font:13px system-ui,sans-serif}.head{font-size:20px;font-weight:600}.module{font-weight:600}.times{font-weight:600}.quiet{font-size:12px}"
    return f"{text}{colours(THEMES['light'])}@media(prefers-color-scheme:dark){{{colours(THEMES['dark'])}}}"
