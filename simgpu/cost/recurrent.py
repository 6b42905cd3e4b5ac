"""Recurrent layers: steps that wait for each other, each a product of all weights with few columns and a pointwise kernel.

A step's product reads every weight for `batch` columns, so it is bound by the weights' way from memory, or by tiles that
are mostly padding. Its launches and its pointwise kernels take a fixed time. The weights' gradient is one large product
over all steps.

Source: Appleyard, Kocisky, Blunsom, "Optimizing performance of recurrent neural networks on GPUs", arXiv:1604.01946
    (how cuDNN runs a layer); times of DeepBench, cuDNN 5 to 7.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from simgpu.cost.gemm import energy_per_flop_ratio, price_gemm
from simgpu.cost.laws import overlap, resident_fraction
from simgpu.cost.machine import Machine
from simgpu.cost.memory import missed_bytes, stream_s
from simgpu.cost.parts import Parts

Values = Any

_COLUMNS = (8.0, 32.0, 64.0)  # widths of the libraries' narrow kernels; wider products are multiples of 128
# cuBLAS 8 gives 17 to 32 columns on Pascal to a kernel that waits for each step of depth instead of splitting it.
_WAITING_UNTIL, _WAITING_COLUMNS, _WAITING_ON = 2018.0, (16.0, 32.0), ("Pascal GP100", "Pascal GP10x")


def padded_columns(batch: Values) -> Values:
    """Columns that the kernel for so many really multiplies.

    >>> padded_columns(np.array([1.0, 8.0, 9.0, 33.0, 100.0, 129.0])).tolist()
    [8.0, 8.0, 32.0, 64.0, 128.0, 256.0]
    """
    return np.select([batch <= c for c in _COLUMNS], _COLUMNS, np.ceil(batch / 128.0) * 128.0)


def price_recurrent(t: SimpleNamespace, m: Machine) -> Parts:
    """Parts of recurrent layers that share a pipe and a direction, (N,) or (designs, N)."""
    return _price_weight_gradient(t, m) if str(t.direction[0]) == "bwd_weight" else _price_steps(t, m)


def _price_steps(t: SimpleNamespace, m: Machine) -> Parts:
    f = m.factors
    steps = t.steps * t.directions
    weights = t.gates * t.hidden * t.hidden
    depth = t.hidden * np.where(t.direction == "fwd", 1.0, t.gates)
    columns = padded_columns(t.batch)
    peak_flop_per_s = m.flop_per_clk(t.dtype, t.pipe) * m.num_sms * m.clock_hz
    efficiency = f.recurrent_tensor_efficiency if str(t.pipe[0]) == "tensor" else f.recurrent_efficiency
    multiply_s = 2.0 * weights * columns / (peak_flop_per_s * efficiency)
    few, many = _WAITING_COLUMNS
    waits = (t.batch > few) & (t.batch <= many) & (m.library_year < _WAITING_UNTIL) & (m.generation in _WAITING_ON)
    wait_s = np.where(waits, depth * f.recurrent_wait_clk / m.clock_hz, 0.0)
    weight_bytes = weights * t.itemsize
    # Between two uses of a weight lie all others and the states of a step.
    footprint = weight_bytes + t.batch * t.hidden * (t.gates + 1.0) * t.itemsize
    missed, written = missed_bytes(t, m)
    again = np.maximum(steps - 1.0, 0.0) * weight_bytes * (1.0 - resident_fraction(footprint, m.l2_bytes))
    dram_bytes = missed.sum(axis=0) + written + again
    l2_bytes = steps * footprint
    executed = 2.0 * weights * columns * steps
    return Parts(
        math_s=steps * overlap(f.overlap_exponent, multiply_s, wait_s),
        l2_s=l2_bytes / m.l2_bytes_per_s,
        dram_s=stream_s(dram_bytes, m),
        latency_s=steps * f.recurrent_step_s,
        executed_flop=executed,
        energy_flop=executed * energy_per_flop_ratio(m, t.dtype, t.pipe),
        dram_bytes=dram_bytes,
        l2_bytes=l2_bytes,
        ctas=np.ceil(weights / depth / 128.0) * np.ceil(columns / 128.0),
        ctas_per_sm=1.0,
        threads_per_cta=256.0,
    )


def _price_weight_gradient(t: SimpleNamespace, m: Machine) -> Parts:
    """One GEMM over all steps; its sums are added to the gradient in FP32."""
    f = m.factors
    one = np.ones(len(t.hidden))
    rows, cols, depth = t.gates * t.hidden, t.hidden, t.batch * t.steps
    operands = np.stack([rows * depth * t.itemsize, cols * depth * t.itemsize])
    result = rows * cols * t.itemsize
    product = SimpleNamespace(
        dtype=t.dtype,
        pipe=t.pipe,
        batch=one,
        tokens=[()] * len(one),
        scale_block=0.0 * one,
        accumulator=np.full(len(one), "fp32"),
        layout=np.full(len(one), "nt"),
        bias=np.zeros(len(one), dtype=bool),
        m=rows,
        n=cols,
        k=depth,
        a_bytes=t.itemsize,
        b_bytes=t.itemsize,
        out_bytes=t.itemsize,
        read_bytes=operands,
        read_distance=np.broadcast_to(operands.sum(axis=0) + result, operands.shape),
        write_bytes=result,
        total_bytes=operands.sum(axis=0) + result,
    )
    gemm = price_gemm(product, m)
    added = 2.0 * 4.0 * rows * cols
    scaled = {
        name: getattr(gemm, name) * t.directions for name in ("math_s", "l2_s", "dram_s", "executed_flop", "energy_flop", "dram_bytes", "l2_bytes", "latency_s")
    }
    scaled["latency_s"] = scaled["latency_s"] + t.directions * (f.recurrent_gradient_s + stream_s(added, m))
    scaled["dram_bytes"] = scaled["dram_bytes"] + t.directions * added
    return replace(gemm, **scaled)
