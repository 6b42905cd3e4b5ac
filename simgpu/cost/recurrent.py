"""Recurrent layers: steps that wait for each other, each a skinny GEMM and a pointwise kernel."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from simgpu.cost.gemm import price_gemm
from simgpu.cost.machine import Machine
from simgpu.cost.parts import Parts


def price_recurrent(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of recurrent layers that share a pipe and a direction, (N,) or (designs, N)."""
    f = m.factors
    direction = str(t.direction[0])
    gates = t.gates * t.hidden
    one = np.ones(len(t.hidden))
    if direction == "bwd_weight":  # all steps at once: one large GEMM
        rows, cols, depth, steps = gates, t.hidden, t.batch * t.steps, one
    else:
        rows, cols, depth, steps = (t.batch, gates, t.hidden, t.steps) if direction == "fwd" else (t.batch, t.hidden, gates, t.steps)
    steps = steps * t.directions
    operands = np.stack([rows * depth * t.itemsize, cols * depth * t.itemsize])
    footprint = operands.sum(axis=0) + rows * cols * t.itemsize
    step = SimpleNamespace(
        dtype=t.dtype,
        pipe=t.pipe,
        batch=one,
        tokens=[()] * len(one),
        scale_block=0.0 * one,
        accumulator=np.full(len(one), "fp32"),
        layout=np.full(len(one), "nn"),
        m=rows,
        n=cols,
        k=depth,
        a_bytes=t.itemsize,
        b_bytes=t.itemsize,
        out_bytes=t.itemsize,
        read_bytes=operands,
        read_distance=np.stack([footprint, footprint]),  # the same weights every step
        write_bytes=rows * cols * t.itemsize,
        total_bytes=footprint,
    )
    gemm = price_gemm(step, m)
    pointwise_s = np.where(direction == "bwd_weight", 0.0, f.recurrent_pointwise_s)
    scale = {name: getattr(gemm, name) * steps for name in ("math_s", "l2_s", "dram_s", "executed_flop", "energy_flop", "dram_bytes", "l2_bytes")}
    return replace(gemm, **scale, latency_s=steps * (gemm.latency_s + pointwise_s))
