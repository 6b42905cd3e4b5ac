"""Merges elementwise ops: into the convolution or product before them, into a normalisation beside them, or into one kernel of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from simgpu.graph.ir import Attr, Graph, Op
from simgpu.passes.fused import FLOP, MEMBERS, ORIGIN, POINTWISE
from simgpu.runtime import Runtime

# Ops with an epilogue, and how many inputs are their own: further ones belong to the epilogue.
_EPILOGUE = {"Conv": 3, "ConvTranspose": 3, "Linear": 3, "Gemm": 3, "MatMul": 2}
_ROWS_NAMES = """
    Softmax LogSoftmax LayerNormalization RMSNormalization GroupNormalization InstanceNormalization ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2
    ReduceSumSquare GlobalAveragePool GlobalMaxPool
"""
_ROWS = frozenset(_ROWS_NAMES.split())
_MAX_SIZE = 64  # torch.compile's `max_fusion_size`


@dataclass(slots=True)
class _Group:
    """Ops that will be one; indices into the graph's ops."""

    elements: int
    members: list[int]
    anchor: int = -1
    rows: int = 0
    kind: str = ""  # "", "epilogue" or "rows"
    outputs: set[str] = field(default_factory=set)


def fuse(graph: Graph, runtime: Runtime) -> Graph:
    """The graph with what the runtime fuses.

    Chains and trees of elementwise ops of one size become "FusedPointwise", with a normalisation or reduction among them
    "FusedRows". With `fuses_epilogues`, a convolution or product takes the elementwise ops behind it in: it keeps its
    type, and its further operands stand behind its own inputs. Members are kept in the attribute `members`.
    """
    if not runtime.fuse_pointwise and not runtime.fuses_epilogues:
        return graph
    groups = _Grouping(graph, runtime).run()
    by_last = {g.members[-1]: g for g in groups if len(g.members) > 1}
    if not by_last:
        return graph
    inside = {i for g in by_last.values() for i in g.members}
    ops: list[Op] = []
    for i, op in enumerate(graph.ops):
        if group := by_last.get(i):
            ops.append(_merged(graph, group))
        elif i not in inside:
            ops.append(op)
    return graph.with_(ops=ops)


class _Grouping:
    """Goes through the ops in order; each joins the group of one that feeds it, where that makes no cycle."""

    def __init__(self, graph: Graph, runtime: Runtime) -> None:
        self.graph = graph
        self.runtime = runtime
        self.index = {t: i for i, op in enumerate(graph.ops) for t in op.outputs if t}
        self.group_of: dict[int, _Group] = {}
        self.outputs = set(graph.outputs)

    def run(self) -> list[_Group]:
        groups: list[_Group] = []
        for i, op in enumerate(self.graph.ops):
            pointwise = op.type in POINTWISE and not op.attrs.get("training_mode")
            rows = op.type in _ROWS and self.runtime.fuse_pointwise
            if pointwise or rows:
                if self._joined(i, op, rows=bool(rows)):
                    continue
                if not self.runtime.fuse_pointwise:
                    continue
                group = _Group(elements=self._space(op), members=[i])
                if rows:
                    group.anchor, group.kind, group.rows = i, "rows", self.graph[op.outputs[0]].elements
            elif op.type in _EPILOGUE and self.runtime.fuses_epilogues:
                group = _Group(elements=self.graph[op.outputs[0]].elements, members=[i], anchor=i, kind="epilogue")
            else:
                continue
            groups.append(group)
            self._add(group, i, op)
        return groups

    def _space(self, op: Op) -> int:
        """Elements that a kernel of this op goes over."""
        first = op.inputs[0] if op.type in _ROWS else op.outputs[0]
        return self.graph[first].elements

    def _add(self, group: _Group, i: int, op: Op) -> None:
        self.group_of[i] = group
        group.outputs.update(t for t in op.outputs if t)

    def _joined(self, i: int, op: Op, *, rows: bool) -> bool:
        feeds = sorted({self.index[t] for t in op.inputs if t in self.index}, reverse=True)
        for feed in feeds:
            group = self.group_of.get(feed)
            if group is None or len(group.members) >= _MAX_SIZE or not self._fits(group, op, rows=rows) or self._cycle(group, op):
                continue
            group.members.append(i)
            if rows:
                group.anchor, group.kind, group.rows = i, "rows", self.graph[op.outputs[0]].elements
            self._add(group, i, op)
            self._absorb(group, feeds)
            return True
        return False

    def _absorb(self, group: _Group, feeds: list[int]) -> None:
        """Takes in the other elementwise groups that feed the op that joined last."""
        if group.kind == "epilogue":
            return
        for feed in feeds:
            other = self.group_of.get(feed)
            if other is None or other is group or other.kind or other.elements != group.elements:
                continue
            if len(other.members) + len(group.members) > _MAX_SIZE or self._between(other, group):
                continue
            group.members = sorted((*group.members, *other.members))
            group.outputs |= other.outputs
            for k in other.members:
                self.group_of[k] = group
            other.members = []

    def _between(self, early: _Group, late: _Group) -> bool:
        """Whether something outside both lies between two groups."""
        own = early.outputs | late.outputs
        reads = {t for k in late.members for t in self.graph.ops[k].inputs if t in self.index and t not in own}
        return self._leads_to(early, reads)

    def _fits(self, group: _Group, op: Op, *, rows: bool) -> bool:
        elements = self._space(op)
        if group.kind == "epilogue":
            # One result leaves the kernel: what the op reads of it must be its last result, and the op the only reader.
            read = [t for t in op.inputs if t in group.outputs]
            last = self.graph.ops[group.members[-1]].outputs[0]
            alone = len(read) >= 1 and set(read) == {last} and len(self.graph.consumers[last]) == 1 and last not in self.outputs
            return not rows and alone and elements == group.elements and self.graph[op.outputs[0]].elements == group.elements
        if rows:
            return group.kind == "" and elements == group.elements and op.inputs[0] in group.outputs
        return elements == group.elements or (group.kind == "rows" and elements == group.rows)

    def _cycle(self, group: _Group, op: Op) -> bool:
        """Whether something outside the group lies between it and the op."""
        return self._leads_to(group, {t for t in op.inputs if t in self.index and t not in group.outputs})

    def _leads_to(self, group: _Group, tensors: set[str]) -> bool:
        """Whether a group has a share in one of these tensors."""
        first = group.members[0]
        seen: set[int] = set()
        stack = [self.index[t] for t in tensors]
        while stack:
            i = stack.pop()
            if i in seen:
                continue
            other = self.group_of.get(i)
            if other is group:
                return True
            together = [i] if other is None else other.members
            seen.update(together)
            if together[-1] < first:  # all of it runs before the group
                continue
            for k in together:
                stack.extend(self.index[t] for t in self.graph.ops[k].inputs if t in self.index)
        return False


def _merged(graph: Graph, group: _Group) -> Op:
    """The op that replaces a group."""
    parts = tuple(graph.ops[i] for i in sorted(group.members))
    own = {t for p in parts for t in p.outputs if t}
    inside = {p.name for p in parts}

    def leaves_kernel(name: str) -> bool:
        users = graph.consumers.get(name, ())
        return name in graph.outputs or not users or any(u.name not in inside for u in users)

    leaves = tuple(t for p in parts for t in p.outputs if t and leaves_kernel(t))
    if group.kind == "epilogue":
        anchor = graph.ops[group.anchor]
        count = _EPILOGUE[anchor.type]
        base = (*anchor.inputs, *("",) * max(count - len(anchor.inputs), 0))
        extra = tuple(dict.fromkeys(t for p in parts[1:] for t in p.inputs if t and t not in own))
        attrs: dict[str, Attr] = {k: v for k, v in anchor.attrs.items() if k not in (FLOP, ORIGIN)}
        attrs[MEMBERS] = parts
        return anchor.with_(inputs=(*base, *extra), outputs=leaves, attrs=MappingProxyType(attrs))
    kind = "FusedRows" if group.kind == "rows" else "FusedPointwise"
    inputs = tuple(dict.fromkeys(t for p in parts for t in p.inputs if t and t not in own))
    return Op(name=parts[0].name, type=kind, inputs=inputs, outputs=leaves, attrs=MappingProxyType({MEMBERS: parts}), scope=parts[0].scope)
