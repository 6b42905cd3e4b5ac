"""Nodes of an ONNX graph in an order in which they can run, what each reads, and the module each comes from."""

from __future__ import annotations

import ast
import heapq
from collections.abc import Iterable, Sequence

import onnx

from simgpu.errors import ModelError

MAX_DEPTH = 64  # subgraphs and functions inside each other


def in_order(protos: Sequence[onnx.NodeProto], where: str) -> Sequence[onnx.NodeProto]:
    """Nodes so that each stands after those that feed it; most files are written so.

    Raises:
        ModelError: Two nodes make one tensor, or nodes form a cycle.
    """
    makers: dict[str, int] = {}
    for i, node in enumerate(protos):
        for output in filter(None, node.output):
            if output in makers:
                raise ModelError(f"{where}: the tensor '{output}' is made by two nodes: '{label(protos[makers[output]])}' and '{label(node)}'")
            makers[output] = i
    feeds = [{makers[t] for t in reads(node) if t in makers} for node in protos]
    if all(j < i for i, before in enumerate(feeds) for j in before):
        return protos
    waiting = [len(before) for before in feeds]
    users: list[list[int]] = [[] for _ in protos]
    for i, before in enumerate(feeds):
        for j in before:
            users[j].append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for user in users[i]:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(protos):
        stuck = [f"'{label(protos[i])}'" for i, count in enumerate(waiting) if count]
        raise ModelError(f"{where}: the graph has a cycle through {', '.join(stuck[:5])}; a network must be acyclic")
    return [protos[i] for i in order]


def label(proto: onnx.NodeProto) -> str:
    """What messages call a node."""
    return proto.name or (f"{proto.op_type}:{proto.output[0]}" if proto.output else proto.op_type)


def reads(proto: onnx.NodeProto, depth: int = 0) -> Iterable[str]:
    """Tensors a node reads, those of its subgraphs included."""
    yield from (name for name in proto.input if name)
    for attribute in proto.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH and depth < MAX_DEPTH:
            made = {name for node in attribute.g.node for name in node.output} | {i.name for i in attribute.g.input}
            for node in attribute.g.node:
                yield from (name for name in reads(node, depth + 1) if name not in made)
            yield from (info.name for info in attribute.g.output if info.name not in made)


def module_path(proto: onnx.NodeProto, prefix: str = "") -> str:
    """The module a node comes from, dotted; "" if the file does not say.

    The dynamo exporter writes a list of scopes, TorchScript and TensorFlow a path as the node's name.
    """
    for entry in proto.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes" and len(entry.value) < 10_000:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                break
            if isinstance(scopes, list) and len(scopes) > 1 and all(isinstance(s, str) for s in scopes):
                return str(scopes[-2])
    parts = [part for part in (prefix + proto.name).split("/") if part][:-1]
    path = ""
    for part in parts:
        path = part if not path or part.startswith(f"{path}.") else f"{path}.{part}"
    return path
