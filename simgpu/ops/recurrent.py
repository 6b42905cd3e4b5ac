"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence

from simgpu.graph.ir import Tensor
from simgpu.ops.registry import Call, Spec, rule

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def _macs(call: Call, outs: tuple[Tensor, ...]) -> float:
    """Every step multiplies the input by W (gates × hidden, input) and the state by R (gates × hidden, hidden), in each direction."""
    x, weight = call.shape(0), call.tensor(1)
    return float(x[0] * x[1] * (weight.elements + call.tensor(2).elements))


@rule("LSTM", "GRU", "RNN", macs=_macs)
def recurrent(call: Call) -> Sequence[Spec]:
    """x (steps, batch, input) → (steps, directions, batch, hidden) and the last states; layout 1 puts the batch first."""
    x, w, r = call.shape(0, rank=3), call.shape(1, rank=3), call.shape(2, rank=3)
    gates = GATES[call.op.type]
    directions = 2 if call.attr("direction", "forward") == "bidirectional" else 1
    hidden = call.number("hidden_size", r[2])
    if hidden < 1 or w != (directions, gates * hidden, x[2]) or r != (directions, gates * hidden, hidden):
        raise call.fail(
            f"weights of {w} and {r} do not fit an input of {x} and hidden_size {hidden}, "
            f"expected {(directions, gates * hidden, x[2])} and {(directions, gates * hidden, hidden)}"
        )
    dtype = call.dtype(0)
    if call.attr("layout", 0):
        batch, steps, _ = x
        state: Spec = ((batch, directions, hidden), dtype)
        return ((batch, steps, directions, hidden), dtype), state, state
    steps, batch, _ = x
    state = ((directions, batch, hidden), dtype)
    return ((steps, directions, batch, hidden), dtype), state, state
