"""Products whose rows are divided among several weights: the experts of a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Spec, computed_dtype, rule


def _macs(call: Call, outs: tuple[Tensor, ...]) -> float:
    return float(outs[0].elements * call.shape(0)[-1])


def _active(call: Call, outs: tuple[Tensor, ...]) -> Mapping[int, float]:
    """Only experts that have a row are read."""
    tokens = call.integers("tokens", ())
    share = sum(1 for n in tokens if n) / len(tokens) if tokens else 1.0
    return {i: share * call.tensor(i).bytes for i in (1, 2) if call.has(i)}


@rule("GroupedLinear", macs=_macs, read=_active)
def grouped_linear(call: Call) -> Sequence[Spec]:
    """Rows x[T, in], sorted by expert, each by its expert's weight[E, out, in]ᵀ + bias[E, out].

    Attribute `tokens`: rows of each expert, which sum to T.
    """
    x, weight = call.shape(0, rank=2), call.shape(1, rank=3)
    tokens = call.integers("tokens", (), low=0)
    if len(x) != 2 or len(weight) != 3 or x[1] != weight[2]:
        raise call.fail(f"multiplies {x} by weights of {weight} (experts, out, in): {x[-1]} features meet {weight[-1]}")
    if len(tokens) != weight[0] or sum(tokens) != x[0]:
        raise call.fail(f"divides {x[0]} rows among {weight[0]} experts; its {len(tokens)} tokens sum to {sum(tokens)}")
    if call.has(2) and call.shape(2) != weight[:2]:
        raise call.fail(f"adds a bias of {call.shape(2)} to weights of {weight}")
    return (((x[0], weight[1]), computed_dtype(call, 0, 1)),)
