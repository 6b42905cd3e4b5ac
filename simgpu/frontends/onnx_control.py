"""If, Loop, Scan and sequences: with static shapes they all unroll."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx

from simgpu.errors import ModelError, ShapeError
from simgpu.frontends.onnx_order import label
from simgpu.frontends.onnx_walk import MAX_TRIPS, Scope, Walker
from simgpu.graph.ir import Attr, Op
from simgpu.ops.registry import rules


@dataclass(frozen=True, slots=True)
class Site:
    """A node with subgraphs, and what stands around it."""

    proto: onnx.NodeProto
    label: str
    where: str
    inputs: Sequence[str]
    attrs: Mapping[str, Attr]
    graphs: Mapping[str, onnx.GraphProto]
    scope: Scope

    def graph(self, name: str) -> onnx.GraphProto:
        if name not in self.graphs:
            raise ModelError(f"{self.where}: has no subgraph '{name}'")
        return self.graphs[name]

    def body(self, step: str) -> Scope:
        stored = f"{self.scope.stored}{label(self.proto)}/" + ("" if step.isdecimal() else f"{step}/")
        return Scope(prefix=f"{self.label}/{step}/", stored=stored, outer=self.scope, given=self.scope.given, depth=self.scope.depth + 1)

    def input(self, index: int) -> str:
        if index >= len(self.inputs) or not self.inputs[index]:
            raise ModelError(f"{self.where}: input {index} is missing")
        return self.inputs[index]

    def number(self, name: str, default: int) -> int:
        value = self.attrs.get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"{self.where}: attribute '{name}' is {value!r}, expected an integer")
        return value


def _scalar(walker: Walker, name: str) -> int | None:
    value = walker.known(name) if name else None
    return int(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def if_(walker: Walker, site: Site) -> list[str]:
    """The branch that a known condition takes; of an unknown one the branch with more work."""
    condition = _scalar(walker, site.input(0))
    if condition is not None:
        branch = "then_branch" if condition else "else_branch"
        return walker.graph(site.graph(branch), site.body(branch.removesuffix("_branch")), site.label)
    best: tuple[float, list[Op], list[str], str] | None = None
    start = len(walker.ops)
    failure: ShapeError | None = None
    for branch in ("then_branch", "else_branch"):
        try:
            results = walker.graph(site.graph(branch), site.body(branch.removesuffix("_branch")), site.label)
        except ShapeError as error:
            failure = error
            del walker.ops[start:]
            continue
        ops = walker.ops[start:]
        del walker.ops[start:]
        work = sum(_macs(walker, op) for op in ops) + len(ops)
        if best is None or work > best[0]:
            best = work, ops, results, branch
    if best is None:
        assert failure is not None
        raise failure
    walker.ops.extend(best[1])
    walker.assume(f"node '{site.label}' (If): its condition is not known before the run; the branch with more work ({best[3]}) is taken")
    return best[2]


def _macs(walker: Walker, op: Op) -> float:
    from simgpu.ops.registry import Call

    rule = rules().get(op.type)
    if rule is None or rule.macs is None:
        return 0.0
    return rule.macs(Call(op, tuple(walker.tensors[t] if t else None for t in op.inputs)), tuple(walker.tensors[t] for t in op.outputs if t))


def loop(walker: Walker, site: Site) -> list[str]:
    """The body as often as the trip count says, or until a known condition fails."""
    body = site.graph("body")
    trips = _scalar(walker, site.inputs[0]) if site.inputs else None
    has_count = bool(site.inputs and site.inputs[0])
    condition = _scalar(walker, site.inputs[1]) if len(site.inputs) > 1 else 1
    carried = list(site.inputs[2:])
    if len(body.input) != 2 + len(carried) or len(body.output) < 1 + len(carried):
        raise ModelError(f"{site.where}: its body takes {len(body.input)} inputs and makes {len(body.output)} outputs for {len(carried)} carried tensors")
    if trips is None and has_count:
        raise ShapeError(_endless(site))
    collected: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
    step = 0
    if condition is None:
        walker.assume(f"node '{site.label}' (Loop): whether it starts is not known before the run; it runs")
    while condition != 0 and (trips is None or step < trips):
        if step >= MAX_TRIPS:
            raise ShapeError(f"{site.where}: runs more than {MAX_TRIPS} times; export the model with fewer steps")
        scope = site.body(str(step))
        scope.names[body.input[0].name] = walker.array(np.int64(step), f"{scope.prefix}iteration")
        scope.names[body.input[1].name] = walker.array(np.bool_(True), f"{scope.prefix}condition")
        scope.names.update({info.name: name for info, name in zip(body.input[2:], carried, strict=True)})
        results = walker.graph(body, scope, site.label)
        condition = _scalar(walker, results[0])
        carried = results[1 : 1 + len(carried)]
        for parts, part in zip(collected, results[1 + len(carried) :], strict=True):
            parts.append(part)
        if condition is None:
            if trips is None:
                raise ShapeError(_endless(site))
            walker.assume(f"node '{site.label}' (Loop): when it stops is not known before the run; it runs all {trips} times")
        step += 1
    return [*carried, *(_stacked(walker, parts, 0, f"{site.label}/stack{i}") for i, parts in enumerate(collected))]


def _endless(site: Site) -> str:
    return (
        f"{site.where}: how often it runs is not known before the run; export the model with a fixed number of steps, "
        "or give the value of the scalar input that decides it with --shape INPUT=N"
    )


def _stacked(walker: Walker, parts: Sequence[str], axis: int, name: str) -> str:
    """The tensors of all steps as one, on a new axis."""
    if not parts:
        return walker.array(np.zeros(0, dtype=np.float32), name)
    wide = [walker.add("Unsqueeze", [part], {"axes": (axis,)}, name=f"{name}/{i}")[0] for i, part in enumerate(parts)]
    return wide[0] if len(wide) == 1 else walker.add("Concat", wide, {"axis": axis}, name=name)[0]


def scan(walker: Walker, site: Site) -> list[str]:
    """The body once for each slice of the scanned inputs."""
    body, num_scanned = site.graph("body"), site.number("num_scan_inputs", 0)
    if walker.opset < 9:
        raise ModelError(f"{site.where}: Scan of opset 8 has a batch axis of its own and is not read; convert the model to opset 9 or newer")
    states = list(site.inputs[: len(site.inputs) - num_scanned])
    scanned = list(site.inputs[len(states) :])
    if not 1 <= num_scanned <= len(site.inputs) or len(body.input) != len(site.inputs) or len(body.output) < len(states):
        raise ModelError(f"{site.where}: {num_scanned} scanned inputs do not fit a body of {len(body.input)} inputs and {len(body.output)} outputs")
    axes, backwards = site.attrs.get("scan_input_axes", (0,) * num_scanned), site.attrs.get("scan_input_directions", (0,) * num_scanned)
    out_axes = site.attrs.get("scan_output_axes", (0,) * (len(body.output) - len(states)))
    if not isinstance(axes, tuple) or not isinstance(backwards, tuple) or not isinstance(out_axes, tuple):
        raise ModelError(f"{site.where}: its axes and directions must be lists")
    try:
        lengths = {walker.shape(name)[axis] for name, axis in zip(scanned, axes, strict=True)}
    except (IndexError, ValueError, KeyError):
        raise ModelError(f"{site.where}: scans axes {axes} that its inputs do not have") from None
    if len(lengths) != 1 or max(lengths) > MAX_TRIPS:
        raise ShapeError(f"{site.where}: scans inputs of {sorted(lengths)} steps, expected one number of at most {MAX_TRIPS}")
    length = lengths.pop()
    collected: list[list[str]] = [[] for _ in body.output[len(states) :]]
    for step in range(length):
        scope = site.body(str(step))
        scope.names.update({info.name: name for info, name in zip(body.input, states, strict=False)})
        for i, (name, axis) in enumerate(zip(scanned, axes, strict=True)):
            at = length - 1 - step if i < len(backwards) and backwards[i] else step
            axis = axis % len(walker.shape(name))
            cut = {"starts": (at,), "ends": (at + 1,), "axes": (axis,), "steps": (1,)}
            part = walker.add("Slice", [name], cut, name=f"{scope.prefix}slice{i}")
            scope.names[body.input[len(states) + i].name] = walker.add("Squeeze", part, {"axes": (axis,)}, name=f"{scope.prefix}step{i}")[0]
        results = walker.graph(body, scope, site.label)
        states = results[: len(states)]
        for parts, result in zip(collected, results[len(states) :], strict=True):
            parts.append(result)
    stacks = [_stacked(walker, parts, out_axes[i] if i < len(out_axes) else 0, f"{site.label}/stack{i}") for i, parts in enumerate(collected)]
    return [*states, *stacks]


# ---- sequences: lists of tensor names


def _sequence(walker: Walker, site: Site, parts: Sequence[str]) -> list[str]:
    name = walker.fresh(site.scope.prefix + (site.proto.output[0] if site.proto.output else site.label))
    walker.sequences[name] = tuple(parts)
    return [name]


def _parts(walker: Walker, site: Site) -> tuple[str, ...]:
    name = site.input(0)
    if name not in walker.sequences:
        raise ModelError(f"{site.where}: '{name}' is no sequence of tensors")
    return walker.sequences[name]


def _position(walker: Walker, site: Site, index: int, length: int, default: int) -> int:
    if index >= len(site.inputs) or not site.inputs[index]:
        return default
    position = _scalar(walker, site.inputs[index])
    if position is None:
        raise ShapeError(f"{site.where}: which element of the sequence it means is not known before the run; export the model with fixed indices")
    if not -length <= position <= length:
        raise ModelError(f"{site.where}: element {position} of a sequence of {length}")
    return position


def sequence_empty(walker: Walker, site: Site) -> list[str]:
    return _sequence(walker, site, ())


def sequence_construct(walker: Walker, site: Site) -> list[str]:
    return _sequence(walker, site, site.inputs)


def sequence_insert(walker: Walker, site: Site) -> list[str]:
    parts = list(_parts(walker, site))
    parts.insert(_position(walker, site, 2, len(parts), len(parts)), site.input(1))
    return _sequence(walker, site, parts)


def sequence_erase(walker: Walker, site: Site) -> list[str]:
    parts = list(_parts(walker, site))
    if not parts:
        raise ModelError(f"{site.where}: erases from an empty sequence")
    del parts[min(_position(walker, site, 1, len(parts), -1), len(parts) - 1)]
    return _sequence(walker, site, parts)


def sequence_at(walker: Walker, site: Site) -> list[str]:
    parts = _parts(walker, site)
    position = _position(walker, site, 1, len(parts), 0)
    if position >= len(parts):
        raise ModelError(f"{site.where}: element {position} of a sequence of {len(parts)}")
    return [parts[position]]


def sequence_length(walker: Walker, site: Site) -> list[str]:
    return [walker.array(np.int64(len(_parts(walker, site))), f"{site.label}/length")]


def concat_from_sequence(walker: Walker, site: Site) -> list[str]:
    parts, axis = _parts(walker, site), site.number("axis", 0)
    if site.number("new_axis", 0):
        return [_stacked(walker, parts, axis, site.label)]
    return walker.add("Concat", parts, {"axis": axis}, name=site.label) if parts else [walker.array(np.zeros(0, dtype=np.float32), site.label)]


def split_to_sequence(walker: Walker, site: Site) -> list[str]:
    """Pieces of given sizes, or of one size, or single slices without their axis."""
    x = site.input(0)
    if x in walker.sequences:
        raise ModelError(f"{site.where}: '{x}' is a sequence, expected a tensor")
    shape, axis = walker.shape(x), site.number("axis", 0)
    if not -len(shape) <= axis < len(shape):
        raise ModelError(f"{site.where}: axis {axis} is outside of {shape}")
    length = shape[axis]
    split = walker.known(site.inputs[1]) if len(site.inputs) > 1 and site.inputs[1] else np.array(1)
    if split is None:
        raise ShapeError(f"{site.where}: the sizes of the pieces are not known before the run; export the model with fixed sizes")
    size = max(int(split), 1) if split.ndim == 0 else 1
    count = math.ceil(length / size) if split.ndim == 0 else split.size
    if count > MAX_TRIPS:
        raise ShapeError(f"{site.where}: splits into {count} pieces, expected at most {MAX_TRIPS}")
    if split.ndim == 0:
        sizes = tuple(min(size, length - start) for start in range(0, length, size))
    else:
        sizes = tuple(int(s) for s in split)
    parts = walker.add("Split", [x], {"axis": axis, "split": sizes}, name=site.label, num_outputs=len(sizes)) if len(sizes) > 1 else [x]
    if len(site.inputs) < 2 and not site.number("keepdims", 1):
        parts = [walker.add("Squeeze", [part], {"axes": (axis,)}, name=f"{site.label}/{i}")[0] for i, part in enumerate(parts)]
    return _sequence(walker, site, parts)


CONTROL: Mapping[str, Callable[[Walker, Site], list[str]]] = MappingProxyType(
    {
        "If": if_,
        "Loop": loop,
        "Scan": scan,
        "SequenceEmpty": sequence_empty,
        "SequenceConstruct": sequence_construct,
        "SequenceInsert": sequence_insert,
        "SequenceErase": sequence_erase,
        "SequenceAt": sequence_at,
        "SequenceLength": sequence_length,
        "ConcatFromSequence": concat_from_sequence,
        "SplitToSequence": split_to_sequence,
    }
)
