"""What a network is made of, before any GPU: parameters, arithmetic and traffic by module, as torchinfo shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from simgpu.graph.ir import WEIGHT, Graph, Op
from simgpu.ops.registry import is_view, op_flop, op_macs, op_reads, op_write_bytes
from simgpu.report.text import columns, shorten
from simgpu.units import format_quantity

_WIDEST_NAME = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRecord:
    """A module, with everything inside it, or a single op.

    Attributes:
        path: Dotted module path, "layer1.0.conv1"; "" is the whole network.
        type: Op type of a single op, "" of a module that holds several.
        num_ops: Ops inside.
        output_shape: Shape of what its last op makes.
        num_params: Trained parameters it is the first to read; a tied one counts where it is met first.
        macs: Multiply-accumulates of convolutions and matrix products. [MAC]
        flop: All arithmetic, 1 MAC = 2 FLOP. [FLOP]
        read_bytes: What its ops read, weights included, each op by itself. [B]
        written_bytes: Activations its ops write, each op by itself. [B]
    """

    path: str
    type: str
    num_ops: int
    output_shape: tuple[int, ...]
    num_params: int
    macs: float
    flop: float
    read_bytes: float
    written_bytes: float

    @property
    def depth(self) -> int:
        return self.path.count(".") + 1 if self.path else 0

    @property
    def flop_per_byte(self) -> float:
        """Arithmetic intensity if every op goes to memory; 0 where nothing moves. [FLOP/B]"""
        moved = self.read_bytes + self.written_bytes
        return self.flop / moved if moved else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """A network by module.

    Attributes:
        inputs: Name, shape and dtype of each input.
        total: The whole network.
        modules: Every module and op, each before what it holds.
        weight_bytes: Parameters in memory. [B]
        live_bytes: The most that inputs and activations take at once, if ops run in order and each tensor is freed after its
            last reader. [B]
    """

    name: str
    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    total: ModuleRecord
    modules: tuple[ModuleRecord, ...]
    weight_bytes: float
    live_bytes: float
    assumptions: tuple[str, ...]

    @property
    def stages(self) -> tuple[ModuleRecord, ...]:
        """The modules of the first level."""
        return tuple(m for m in self.modules if m.depth == 1)

    def to_dict(self, depth: int | None = None) -> dict[str, Any]:
        """Plain data; modules down to a depth."""
        kept = [m for m in self.modules if depth is None or m.depth <= depth]
        return {
            "name": self.name,
            "inputs": [{"name": n, "shape": list(s), "dtype": d} for n, s, d in self.inputs],
            "weight_bytes": self.weight_bytes,
            "live_bytes": self.live_bytes,
            "total": _plain(self.total),
            "modules": [_plain(m) for m in kept],
            "assumptions": list(self.assumptions),
        }


def summarize(graph: Graph) -> ModelSummary:
    """Adds up a graph by module.

    >>> from simgpu.frontends.zoo import load_zoo
    >>> s = summarize(load_zoo("resnet18"))
    >>> s.total.num_params, [m.path for m in s.stages][3:6]
    (11689512, ['maxpool', 'layer1', 'layer2'])
    """
    seen: set[str] = set()
    leaves = [_leaf(graph, op, seen) for op in graph.ops]
    inside: dict[str, list[ModuleRecord]] = {}
    for leaf in leaves:
        parts = leaf.path.split(".")
        for i in range(1, len(parts) + 1):
            inside.setdefault(".".join(parts[:i]), []).append(leaf)
    return ModelSummary(
        name=graph.name,
        inputs=tuple((t, graph[t].shape, graph[t].dtype) for t in graph.inputs),
        total=_merged("", leaves),
        modules=tuple(_merged(path, members) for path, members in _in_tree_order(inside)),
        weight_bytes=sum(t.bytes for t in graph.weights),
        live_bytes=_live_bytes(graph),
        assumptions=graph.assumptions,
    )


def _leaf(graph: Graph, op: Op, seen: set[str]) -> ModuleRecord:
    new = [t for t in dict.fromkeys(op.inputs) if t and t not in seen and graph[t].kind == WEIGHT]
    seen.update(new)
    outs = graph.out_tensors(op)
    return ModuleRecord(
        path=_path(op),
        type=op.type,
        num_ops=1,
        output_shape=outs[0].shape if outs else (),
        num_params=sum(graph[t].elements for t in new),
        macs=op_macs(graph, op),
        flop=op_flop(graph, op),
        read_bytes=sum(size for _, size in op_reads(graph, op)),
        written_bytes=op_write_bytes(graph, op),
    )


def _live_bytes(graph: Graph) -> int:
    """The most bytes of inputs and activations alive at once; a view lives in the tensor it shows."""
    buffer = {name: name for name in graph.inputs}
    last = dict.fromkeys(graph.inputs, -1)
    for i, op in enumerate(graph.ops):
        shown = next((buffer[t] for t in op.inputs if t in buffer), "") if is_view(op, graph) else ""
        for name in filter(None, op.outputs):
            buffer[name] = shown or name
            last.setdefault(buffer[name], i)
        for name in op.inputs:
            if name in buffer:
                last[buffer[name]] = i
    for name in graph.outputs:
        last[buffer.get(name, name)] = len(graph.ops)
    alive = most = sum(graph[name].bytes for name in graph.inputs)
    ending: dict[int, list[str]] = {}
    for name, i in last.items():
        ending.setdefault(i, []).append(name)
    for i, op in enumerate(graph.ops):
        alive += sum(graph[name].bytes for name in op.outputs if buffer.get(name) == name)
        most = max(most, alive)
        alive -= sum(graph[name].bytes for name in ending.get(i, ()))
    return most


def _path(op: Op) -> str:
    """Module path of an op: its scope, and its own name below unless the module is the op."""
    if op.name == op.scope or not op.scope:
        return op.name
    own = op.name.removeprefix(f"{op.scope}.").rsplit("/", 1)[-1]
    return f"{op.scope}.{own}"


def _merged(path: str, members: list[ModuleRecord]) -> ModuleRecord:
    alone = len(members) == 1 and members[0].path == path
    return ModuleRecord(
        path=path,
        type=members[0].type if alone else "",
        num_ops=len(members),
        output_shape=members[-1].output_shape if members else (),
        num_params=sum(m.num_params for m in members),
        macs=sum(m.macs for m in members),
        flop=sum(m.flop for m in members),
        read_bytes=sum(m.read_bytes for m in members),
        written_bytes=sum(m.written_bytes for m in members),
    )


def _in_tree_order(inside: dict[str, list[ModuleRecord]]) -> Iterable[tuple[str, list[ModuleRecord]]]:
    """Paths so that each stands before what it holds, children in the order in which they first run."""
    children: dict[str, list[str]] = {}
    for path in inside:
        children.setdefault(path.rpartition(".")[0], []).append(path)
    waiting = list(reversed(children.get("", [])))
    while waiting:
        path = waiting.pop()
        yield path, inside[path]
        waiting += reversed(children.get(path, []))


def _plain(module: ModuleRecord) -> dict[str, Any]:
    return {**asdict(module), "output_shape": list(module.output_shape), "flop_per_byte": module.flop_per_byte}


# ---- as text


def format_summary(summary: ModelSummary, *, depth: int = 2) -> str:
    """The page that `simgpu model` prints.

    Args:
        depth: Levels of modules shown.
    """
    rows = [_row(m) for m in summary.modules if m.depth <= depth]
    header = ("layer (type)", "output shape", "parameters", "MACs", "written", "FLOP/B")
    lines = columns(rows, "<<>>>>", header=header, indent=0)
    rule = "─" * max(map(len, lines))
    inputs = ", ".join(f"{name} {_shape(shape)} {kind}" for name, shape, kind in summary.inputs[:4])
    more = f" and {len(summary.inputs) - 4} more" if len(summary.inputs) > 4 else ""
    total = summary.total
    facts = [
        ("parameters", f"{total.num_params:,}", f"{format_quantity(summary.weight_bytes, 'B')} of weights"),
        ("MACs", format_quantity(total.macs, "MAC"), "convolutions and matrix products"),
        ("FLOP", format_quantity(total.flop, "FLOP"), "all arithmetic, 1 MAC = 2 FLOP"),
        ("activations", format_quantity(total.written_bytes, "B"), "written by all ops, nothing fused"),
        ("alive", format_quantity(summary.live_bytes, "B"), "inputs and activations at once, each freed after its last reader"),
        ("intensity", f"{total.flop_per_byte:.3g} FLOP/B", "FLOP per byte moved, nothing fused"),
    ]
    notes = [f"assumed: {note}" for note in summary.assumptions]
    return "\n".join([f"{summary.name}: {inputs}{more}", rule, lines[0], rule, *lines[1:], rule, *columns(facts, "<><", indent=0), *notes]) + "\n"


def _row(module: ModuleRecord) -> tuple[str, ...]:
    kind = module.type or f"{module.num_ops} ops"
    own = module.path.rpartition(".")[2]
    name = f"{'  ' * (module.depth - 1)}{shorten(own, _WIDEST_NAME)} ({kind})"
    return (
        name,
        _shape(module.output_shape),
        f"{module.num_params:,}" if module.num_params else "–",
        format_quantity(module.macs, "") if module.macs else "–",
        format_quantity(module.written_bytes, "B") if module.written_bytes else "–",
        f"{module.flop_per_byte:.3g}" if module.flop_per_byte else "–",
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
