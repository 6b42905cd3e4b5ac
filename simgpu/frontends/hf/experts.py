"""Mixture of experts: how many tokens each expert gets, and the block that routes, computes and combines them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import activate, gated_mlp
from simgpu.frontends.hf.request import Request
from simgpu.graph.ir import Tensor

MAX_EXPERTS = 4096  # twice those of Switch-C, the most of any published network


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The experts of a layer.

    Attributes:
        count: Experts that the router chooses from.
        top_k: Experts that each token visits.
        width: Inner size of an expert.
        gated: Experts are act(gate) · up; else act(up).
        score: "softmax" or "sigmoid" makes router logits into weights.
        normalise: The weights of the chosen experts are divided by their sum.
        scale: The weights are multiplied by a factor (a Mul op); DeepSeek.
        shared_width: Inner size of the expert that every token visits; 0 = none.
        shared_gate: The shared expert is scaled by a gate of its own (Qwen2-MoE).
        correction_bias: The router adds a bias to its scores before it chooses (DeepSeek-V3); a buffer, no parameter.
        router, up, down, shared: Names of modules and weights.
    """

    count: int
    top_k: int
    width: int
    gated: bool = True
    act: str = "silu"
    score: str = "softmax"
    normalise: bool = False
    scale: bool = False
    shared_width: int = 0
    shared_gate: bool = False
    correction_bias: bool = False
    router: str = "gate"
    shared: str = "shared_experts"
    up: str = "gate_up_proj"
    down: str = "down_proj"


def expert_tokens(experts: str | Sequence[float], *, tokens: int, count: int, top_k: int, capacity_factor: float | None = None) -> tuple[int, ...]:
    """Tokens that each expert computes, heaviest first for "zipf".

    Each token visits `top_k` different experts, so no expert gets more than `tokens`, and all together get
    tokens · top_k, less what a capacity limit drops.

    Args:
        experts: "balanced", "zipf" (exponent 1), "zipf:EXPONENT", or one weight for each expert, also as text with commas.
        capacity_factor: An expert takes at most ceil(capacity_factor · tokens · top_k / count).
    Raises:
        OptionError: The text is none of these, or the weights do not fit the number of experts.
    Source:
        Capacity: Fedus, Zoph, Shazeer, "Switch Transformers", JMLR 23 (2022), equation 3.

    >>> expert_tokens("balanced", tokens=8, count=4, top_k=2)
    (4, 4, 4, 4)
    >>> expert_tokens([3, 1, 0, 0], tokens=8, count=4, top_k=1)
    (6, 2, 0, 0)
    >>> expert_tokens([3, 1, 0, 0], tokens=8, count=4, top_k=1, capacity_factor=1.5)
    (3, 2, 0, 0)
    >>> expert_tokens("zipf", tokens=11, count=3, top_k=1)
    (6, 3, 2)
    """
    return _tokens(experts if isinstance(experts, str) else tuple(experts), tokens, count, top_k, capacity_factor)


@functools.lru_cache(maxsize=64)
def _tokens(experts: str | tuple[float, ...], tokens: int, count: int, top_k: int, capacity_factor: float | None) -> tuple[int, ...]:
    """The same, worked out once for all layers."""
    rows = _largest_remainder(_weights(experts, count), tokens * top_k, limit=tokens)
    if capacity_factor is not None:
        capacity = math.ceil(capacity_factor * tokens * top_k / count)
        rows = [min(n, capacity) for n in rows]
    return tuple(rows)


def _weights(experts: str | Sequence[float], count: int) -> list[float]:
    if isinstance(experts, str):
        kind, _, exponent = experts.partition(":")
        if experts == "balanced":
            return [1.0] * count
        if kind == "zipf":
            try:
                power = float(exponent) if exponent else 1.0
            except ValueError:
                power = math.nan
            if 0 <= power <= 20:
                return [(rank + 1) ** -power for rank in range(count)]
        try:
            experts = tuple(float(word) for word in experts.split(","))
        except ValueError:
            raise OptionError(
                f"experts: is '{experts}', expected balanced, zipf, zipf:EXPONENT with an exponent from 0 to 20, or one weight for each expert: 3,1,1,1"
            ) from None
    weights = list(experts)
    if len(weights) != count:
        raise OptionError(f"experts: has {len(weights)} weights for a network of {count} experts; give one for each")
    if any(not isinstance(w, int | float) or isinstance(w, bool) or not math.isfinite(w) or w < 0 for w in weights) or sum(weights) <= 0:
        raise OptionError("experts: expected weights of 0 or more, and one above 0")
    return [float(w) for w in weights]


def _largest_remainder(shares: Sequence[float], total: int, *, limit: int) -> list[int]:
    """Whole numbers as near to the shares as can be, none above the limit, that sum to the total (as far as the limits let them)."""
    result = [0] * len(shares)
    total = min(total, limit * len(shares))
    while (left := total - sum(result)) > 0:
        open_ = [i for i in range(len(shares)) if result[i] < limit]
        weight = sum(shares[i] for i in open_)
        # experts without weight take what the others cannot hold
        exact = {i: left * (shares[i] / weight if weight > 0 else 1 / len(open_)) for i in open_}
        whole = {i: min(int(exact[i]), limit - result[i]) for i in open_}
        for i, n in whole.items():
            result[i] += n
        rest = total - sum(result)
        if sum(whole.values()) == 0 or rest < len(open_):
            ranked = sorted((i for i in open_ if result[i] < limit and (shares[i] > 0 or weight <= 0)), key=lambda i: (whole[i] - exact[i], i))
            for i in ranked[:rest]:
                result[i] += 1
    return result


def moe(b: Builder, x: Tensor, spec: Experts, request: Request) -> Tensor:
    """The feed-forward block of a mixture of experts: x (B, S, hidden) → (B, S, hidden).

    Tokens are sorted by expert, gathered, run through all experts as one grouped matmul with `tokens` rows each, weighted
    and added up. That is how serving engines run it; the loop over experts of the reference code computes the same.

    Source:
        Gale et al., "MegaBlocks: Efficient Sparse Training with Mixture-of-Experts", MLSys 2023.
    """
    batch, seq, hidden = x.shape
    num_tokens, k = batch * seq, spec.top_k
    tokens = expert_tokens(request.experts, tokens=num_tokens, count=spec.count, top_k=k, capacity_factor=request.capacity_factor)
    rows = sum(tokens)
    flat = b.reshape(x, (num_tokens, hidden), name="flat")
    weights, indices = _route(b, flat, spec)
    pairs = b.reshape(indices, (num_tokens * k,), name="pairs")
    order = b.ops("TopK", (pairs,), name="sort_by_expert", num_outputs=2, axis=0, k=rows, largest=0)[1]
    owner = b.op("Div", order, b.scalar("top_k", dtype="int64"), name="owner")
    routed = b.op("Gather", flat, owner, name="dispatch", axis=0)
    with b.scope("experts"):
        up = b.weight(spec.up, (spec.count, spec.width * (2 if spec.gated else 1), hidden))
        inner = b.op("GroupedLinear", routed, up, name=f"{spec.up}.grouped", tokens=tokens)
        if spec.gated:
            gate, up_part = b.split(inner, 2, axis=-1, name="gate_up")
            inner = b.mul(activate(b, gate, spec.act), up_part, name="gated")
        else:
            inner = activate(b, inner, spec.act)
        down = b.weight(spec.down, (spec.count, hidden, spec.width))
        routed = b.op("GroupedLinear", inner, down, name=f"{spec.down}.grouped", tokens=tokens)
    chosen = b.op("Gather", b.reshape(weights, (num_tokens * k, 1), name="flat_weights"), order, name="row_weights", axis=0)
    routed = b.mul(routed, chosen, name="weighted")
    zeros = b.expand(b.scalar("zero"), (num_tokens, hidden), name="zeros")
    y = b.op("ScatterND", zeros, b.reshape(owner, (rows, 1), name="owners"), routed, name="combine", reduction="add")
    if rows < num_tokens * k:
        b.assume(f"experts at capacity drop {1 - rows / (num_tokens * k):.1%} of the token-expert pairs")
    if spec.shared_width:
        y = b.add(y, _shared(b, flat, spec), name="add_shared")
    return b.reshape(y, (batch, seq, hidden), name="unflat")


def _route(b: Builder, flat: Tensor, spec: Experts) -> tuple[Tensor, Tensor]:
    """Weights and numbers of the experts that each token visits, (tokens, top_k) each."""
    scores = b.op("Softmax" if spec.score == "softmax" else "Sigmoid", b.linear(flat, spec.count, bias=False, name=spec.router), name="scores")
    if spec.correction_bias:
        ranked = b.add(scores, b.constant(f"{spec.router}.e_score_correction_bias", (spec.count,)), name="corrected")
        indices = b.ops("TopK", (ranked,), name="choose", num_outputs=2, axis=-1, k=spec.top_k)[1]
        weights = b.op("GatherElements", scores, indices, name="weights", axis=-1)
    else:
        weights, indices = b.ops("TopK", (scores,), name="choose", num_outputs=2, axis=-1, k=spec.top_k)
    if spec.normalise and spec.top_k > 1:
        total = b.op("ReduceSum", weights, name="weight_sum", axes=(-1,), keepdims=1)
        weights = b.op("Div", weights, total, name="normalised")
    if spec.scale:
        weights = b.mul(weights, b.scalar("routed_scaling_factor"), name="scaled")
    return weights, indices


def _shared(b: Builder, flat: Tensor, spec: Experts) -> Tensor:
    """The expert that every token visits."""
    with b.scope(spec.shared):
        y = gated_mlp(b, flat, spec.shared_width, act=spec.act)
    if spec.shared_gate:
        gate = b.sigmoid(b.linear(flat, 1, bias=False, name="shared_expert_gate"), name="shared_gate")
        y = b.mul(gate, y, name="gated_shared")
    return y
