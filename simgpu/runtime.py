"""The software stack that runs a model: what a launch costs the host, what is fused, which libraries it has."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from simgpu.errors import OptionError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime as data.

    Attributes:
        graph_replay: Kernels are replayed from a captured graph, so the host costs nothing per launch.
        fold_batch_norm: Batch norm is folded into the convolution before it.
        fuse_pointwise: Chains of elementwise ops become one kernel, normalisations and reductions among them included.
        fuses_epilogues: Convolutions and products take the elementwise ops behind them (bias, activation, residual) in.
        fused_attention: Attention runs as one flash-attention kernel where the GPU has one.
        channels_last: Convolutions on tensor cores run NHWC without layout copies.
        casts_weights: Under amp, weights are cast by a kernel in every step (PyTorch autocast).
        narrow_chains: Under int8 and fp8, tensors between quantised layers are stored in the narrow format.
    """

    name: str
    meaning: str
    graph_replay: bool = False
    fold_batch_norm: bool = False
    fuse_pointwise: bool = False
    fuses_epilogues: bool = False
    fused_attention: bool = True
    channels_last: bool = False
    casts_weights: bool = False
    narrow_chains: bool = False


RUNTIMES: dict[str, Runtime] = {
    r.name: r
    for r in (
        Runtime(name="eager", meaning="PyTorch eager: one kernel an op, one launch after the other", casts_weights=True),
        Runtime(name="graph", meaning="the eager kernels replayed from a CUDA graph", graph_replay=True, casts_weights=True),
        # torch.compile without freezing keeps batch norm, whose arithmetic it fuses with its neighbours; convolutions and products are library
        # calls without epilogue. Inductor's layout optimisation turns convolutional networks to channels-last (torch/_inductor/graph.py).
        Runtime(
            name="compiled",
            meaning="torch.compile: elementwise chains fused, also around normalisations; CUDA-graph replay",
            graph_replay=True,
            fuse_pointwise=True,
            channels_last=True,
            casts_weights=True,
        ),
        Runtime(
            name="tensorrt",
            meaning="TensorRT: batch norm folded, conv/GEMM epilogues and attention fused, NHWC on tensor cores, graph replay",
            graph_replay=True,
            fold_batch_norm=True,
            fuse_pointwise=True,
            fuses_epilogues=True,
            channels_last=True,
            narrow_chains=True,
        ),
    )
}


def runtime(name: str) -> Runtime:
    """The runtime of that name; flags may be added to it: "eager+channels_last".

    Raises:
        OptionError: No such runtime or flag.

    >>> runtime("eager+fold_batch_norm").fold_batch_norm
    True
    """
    base, *added = name.split("+")
    if base not in RUNTIMES:
        raise OptionError(f"unknown runtime '{base}', expected one of {', '.join(RUNTIMES)}{did_you_mean(base, RUNTIMES)}")
    stack = RUNTIMES[base]
    flags = [f.name for f in fields(Runtime) if f.name not in ("name", "meaning")]
    for flag in added:
        if flag not in flags:
            raise OptionError(f"runtime '{name}': unknown flag '{flag}', expected one of {', '.join(flags)}{did_you_mean(flag, flags)}")
    changes: dict[str, Any] = {"name": name, **dict.fromkeys(added, True)}
    return replace(stack, **changes) if added else stack
