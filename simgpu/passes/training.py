"""One training step: the forward pass, a loss, the backward pass as autograd runs it, and the optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from simgpu.dtypes import dtype as dtype_of
from simgpu.errors import OptionError, did_you_mean
from simgpu.graph.ir import ACTIVATION, CONSTANT, INPUT, STATE, WEIGHT, Attr, Graph, Op, Tensor
from simgpu.passes.fused import FLOP, ORIGIN, with_attrs
from simgpu.passes.gradients import GRADIENTS, NO_GRADIENT

_NONE: Mapping[str, Attr] = MappingProxyType({})
NO_OPTIMIZER = "none"  # the gradients are left for whoever wants them
# State tensors for each parameter, all in fp32. Source: PyTorch `torch.optim.SGD` (momentum buffer), `Adam` (exp_avg, exp_avg_sq).
OPTIMIZERS: dict[str, tuple[str, ...]] = {"sgd": ("momentum",), "adam": ("exp_avg", "exp_avg_sq"), NO_OPTIMIZER: ()}


def training_step(graph: Graph, *, optimizer: str = "sgd", of_inputs: bool = False) -> Graph:
    """The graph with loss, gradients and the optimizer's update behind it.

    Batch norm uses the statistics of the batch. Every tensor gets its gradient in its own format; a tensor that several ops
    read gets their gradients added up. What a gradient needs of the forward pass is an input of the op that computes it, so
    that it stays in memory until then.

    Args:
        optimizer: "sgd" (momentum and weight decay), "adam", or "none": the gradients are computed and kept.
        of_inputs: The gradient of the network's input is computed too, as frameworks do where it is asked for.
    Raises:
        OptionError: An unknown optimizer.
    """
    if optimizer not in OPTIMIZERS:
        raise OptionError(f"unknown optimizer '{optimizer}', expected one of {', '.join(OPTIMIZERS)}{did_you_mean(optimizer, OPTIMIZERS)}")
    ops = [with_attrs(op, training_mode=1) if op.type == "BatchNormalization" else op for op in graph.ops]
    backward = Backward(_with_masks(graph.with_(ops=ops)), of_inputs=of_inputs)
    backward.run()
    backward.update(optimizer)
    update = "no optimizer" if optimizer == NO_OPTIMIZER else f"{optimizer} with multi-tensor kernels"
    notes = [f"training: cross entropy on '{graph.outputs[0]}', gradients as autograd runs them, {update}"]
    if not any(op.attrs.get("training_mode") for op in graph.ops if op.type in ("Dropout", "Attention")):
        notes[0] += "; no dropout"
    if backward.stopped:
        notes.append(f"training: no gradient is known for {', '.join(sorted(backward.stopped))}; nothing flows back through them")
    return Graph(
        name=graph.name,
        ops=backward.ops,
        tensors=backward.tensors,
        inputs=backward.inputs,
        outputs=backward.outputs,
        assumptions=(*graph.assumptions, *notes),
    )


def keep_dropout(graph: Graph) -> Graph:
    """The graph with every dropout at work: what drops a share above 0, by itself or within attention."""
    shares = {"Dropout": "ratio", "Attention": "dropout"}
    if not any(op.type in shares and op.attrs.get(shares[op.type]) for op in graph.ops):
        return graph
    return graph.with_(ops=[with_attrs(op, training_mode=1) if op.attrs.get(shares.get(op.type, "")) else op for op in graph.ops])


def _with_masks(graph: Graph) -> Graph:
    """The graph with what each dropout drops as its second result."""
    tensors = dict(graph.tensors)
    ops = []
    for op in graph.ops:
        if op.type == "Dropout" and op.attrs.get("training_mode"):
            mask = f"{op.outputs[0]}:mask"
            tensors[mask] = Tensor(name=mask, shape=graph[op.outputs[0]].shape, dtype="bool", kind=ACTIVATION)
            op = op.with_(outputs=(op.outputs[0], mask))
        ops.append(op)
    return graph if len(tensors) == len(graph.tensors) else graph.with_(ops=ops, tensors=tensors)


class Backward:
    """Walks the ops in reverse; each op's rule adds the ops that compute its inputs' gradients.

    Attributes:
        ops, tensors, inputs, outputs: Of the step so far.
        stopped: Types of ops that gradients reached and no rule knows.
    """

    def __init__(self, graph: Graph, *, of_inputs: bool = False) -> None:
        self.graph = graph
        self._wanted = (WEIGHT, INPUT) if of_inputs else (WEIGHT,)
        self.ops: list[Op] = list(graph.ops)
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self.inputs = list(graph.inputs)
        self.outputs = list(graph.outputs)
        self.stopped: set[str] = set()
        self._parts: dict[str, str] = {}  # tensor → its gradient so far
        self._differentiable = self._downstream()
        self._op: Op | None = None
        self._names: dict[str, int] = {}

    def _downstream(self) -> set[str]:
        """What depends on a tensor whose gradient is wanted."""
        found = {t.name for t in self.graph.tensors.values() if t.kind in self._wanted and dtype_of(t.dtype).is_float}
        for op in self.graph.ops:
            if op.type not in NO_GRADIENT and any(t in found for t in op.inputs):
                found.update(t for t in op.outputs if t and dtype_of(self.graph[t].dtype).is_float)
        return found

    # ---- what rules use

    def needs(self, name: str) -> bool:
        """Whether a tensor's gradient is wanted."""
        return name in self._differentiable

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def add(
        self,
        kind: str,
        inputs: tuple[str, ...],
        *,
        like: str = "",
        shape: tuple[int, ...] | None = None,
        flop: float | None = None,
        attrs: Mapping[str, Attr] = _NONE,
    ) -> str:
        """An op of the backward pass of the op at hand; returns its output.

        Args:
            like: The output has the format (and, without `shape`, the shape) of this tensor; of the first input if empty.
            flop: Algorithmic work, where the op's own rule does not count it. [FLOP]
        """
        return self.add_many(kind, inputs, ((like or inputs[0], shape),), flop=flop, attrs=attrs)[0]

    def add_many(
        self,
        kind: str,
        inputs: tuple[str, ...],
        outputs: Sequence[tuple[str, tuple[int, ...] | None]],
        *,
        flop: float | None = None,
        attrs: Mapping[str, Attr] = _NONE,
    ) -> tuple[str, ...]:
        """As `add`, with an output for each pair of a tensor to be like and a shape (None = its shape)."""
        assert self._op is not None
        base = f"{self._op.name}/backward/{kind}"
        count = self._names[base] = self._names.get(base, -1) + 1
        name = f"{base}_{count}" if count else base
        made = []
        for i, (like, shape) in enumerate(outputs):
            tensor = self.tensors[like]
            output = f"{name}:{i}" if len(outputs) > 1 else name
            self.tensors[output] = Tensor(name=output, shape=tensor.shape if shape is None else shape, dtype=tensor.dtype, kind=ACTIVATION)
            made.append(output)
        attributes: dict[str, Attr] = {ORIGIN: self._op.name, **attrs}
        if flop is not None:
            attributes[FLOP] = flop
        self.ops.append(Op(name=name, type=kind, inputs=inputs, outputs=tuple(made), attrs=MappingProxyType(attributes), scope=self._op.scope))
        return tuple(made)

    def constant(self, suffix: str) -> str:
        """A number in the format of the op at hand, in a tensor of its own."""
        assert self._op is not None
        name = f"{self._op.name}/backward/{suffix}"
        self.tensors[name] = Tensor(name=name, shape=(), dtype=self.tensors[self._op.outputs[0]].dtype, kind=CONSTANT)
        return name

    def give(self, name: str, gradient: str) -> None:
        """Adds a contribution to a tensor's gradient; broadcast axes are summed first."""
        if not self.needs(name):
            return
        gradient = self._summed(name, gradient)
        before = self._parts.get(name)
        self._parts[name] = gradient if before is None else self.add("Add", (before, gradient))

    def _summed(self, name: str, gradient: str) -> str:
        wanted, shape = self.shape(name), self.shape(gradient)
        if wanted == shape:
            return gradient
        lead = len(shape) - len(wanted)
        axes = tuple(i for i in range(len(shape)) if i < lead or (wanted[i - lead] == 1 and shape[i] != 1))
        return self.add("ReduceSum", (gradient,), like=name, attrs={"axes": axes, "keepdims": 0}) if axes else gradient

    # ---- the walk

    def run(self) -> None:
        self._loss()
        for op in reversed(self.graph.ops):
            gradients = tuple(self._parts.get(t, "") for t in op.outputs)
            if not any(gradients) or not any(self.needs(t) for t in op.inputs if t):
                continue
            self._op = op
            rule = GRADIENTS.get(op.type)
            if rule is None:
                self.stopped.add(op.type)
            else:
                rule(self, op, gradients)

    def _loss(self) -> None:
        """Cross entropy on the first output as torch runs it: log softmax, then the loss; their gradients in one kernel each."""
        logits = self.graph.outputs[0]
        self._op = Op(name="loss", type="loss", inputs=(), outputs=())
        shape = self.shape(logits)
        scores = logits
        if len(shape) == 3:  # (batch, positions, classes)
            scores = self.add("Reshape", (logits,), shape=(shape[0] * shape[1], shape[2]))
        classes = self.shape(scores)
        rank = len(classes)
        self.tensors["labels"] = Tensor(name="labels", shape=(classes[0], *classes[2:]) if rank > 1 else (1,), dtype="int64", kind=INPUT)
        self.inputs.append("labels")
        log_p = self.add("LogSoftmax", (scores,), attrs={"axis": 1 if rank > 1 else 0})
        loss = self.add("NegativeLogLikelihoodLoss", (log_p, "labels"), shape=())
        self.outputs.append(loss)
        seed = self.add("PointwiseGrad", (log_p, "labels"), like=log_p, attrs={"of": "Identity"})
        gradient = self.add("SoftmaxGrad", (seed, log_p), like=log_p, attrs={"axis": 1 if rank > 1 else 0})
        if scores != logits:
            gradient = self.add("Reshape", (gradient,), like=logits, shape=shape)
        self._parts[logits] = gradient

    def update(self, optimizer: str) -> None:
        """One op that updates every parameter that has a gradient; without an optimizer the gradients are what the step returns."""
        self.outputs.extend(self._parts[t] for t in self.graph.inputs if INPUT in self._wanted and t in self._parts)
        weights = [t for t in self.graph.weights if t.name in self._parts]
        if optimizer == NO_OPTIMIZER:
            self.outputs.extend(dict.fromkeys(self._parts[w.name] for w in weights))
        if not weights or optimizer == NO_OPTIMIZER:
            return
        states = []
        for suffix in OPTIMIZERS[optimizer]:
            for weight in weights:
                state = replace(weight, name=f"{weight.name}:{suffix}", dtype="fp32", kind=STATE)
                self.tensors[state.name] = state
                states.append(state.name)
        self.inputs.extend(states)
        self.tensors["optimizer"] = Tensor(name="optimizer", shape=())
        self.outputs.append("optimizer")
        gradients = tuple(self._parts[w.name] for w in weights)
        attrs: dict[str, Attr] = {"optimizer": optimizer, "parameters": len(weights), FLOP: 0.0}
        inputs = (*(w.name for w in weights), *gradients, *states)
        self.ops.append(Op(name="optimizer", type="OptimizerStep", inputs=inputs, outputs=("optimizer",), attrs=MappingProxyType(attrs)))
