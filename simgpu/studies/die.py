"""How large a chip would be, and what it would cost: an estimate, good to about a sixth of the area.

The transistors of a chip are taken as a sum over its parts: FP32 lanes, FP64 lanes, tensor cores, bits of SRAM (registers,
shared memory or L1, L2) and memory interface. What each part takes is fitted on the published transistor counts of the
chips in archs/, all generations alike. A design differs from its GPU by what the sum says, at the GPU's own density.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simgpu.arch.loader import gpu_names, load_gpu
from simgpu.arch.spec import GPU

Values = Any

PARTS = ("FP32 lane", "FP64 lane", "tensor FLOP/clk", "bit of SRAM", "bit of GDDR bus", "bit of HBM bus")
# Foundry sale price of a 300 mm wafer by node. [nm, USD] Between nodes it is interpolated, below the last it stays.
# Source: Khan & Mann, "AI chips: what they are and why they matter", CSET, April 2020, model of prices in 2020.
WAFER_USD = {90.0: 1650.0, 16.0: 3984.0, 10.0: 5992.0, 7.0: 9346.0, 5.0: 16988.0}
# Source: TSMC at its Technology Symposium, August 2020: 0.09 for N7, 0.10 to 0.11 for N5 (AnandTech, 25 August 2020).
DEFECTS_PER_CM2 = 0.1
_WAFER_MM = 300.0
RETICLE_MM2 = 26.0 * 33.0  # the largest field a scanner exposes; a larger chip is made of several dies


@dataclass(frozen=True, slots=True, kw_only=True)
class Die:
    """An estimate; numbers, or arrays over designs.

    Attributes:
        area_mm2: Of all dies of the chip together. [mm2]
        cost_usd: Of the good dies as they leave the foundry: wafer price over good dies, by Murphy's yield. Chips that are
            sold with some parts switched off cost less, packages, memory and development more. [USD]
    """

    transistors: Values
    area_mm2: Values
    cost_usd: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class TransistorModel:
    """Transistors of each of `PARTS`.

    Attributes:
        error_fraction: Mean error on a chip that the fit has not seen.
        chips: What it was fitted on.
    """

    per_part: NDArray[np.float64]
    error_fraction: float
    chips: tuple[str, ...]


def die_estimate(gpu: GPU) -> Die:
    """Transistors, area and cost of a GPU's die; its fields may be arrays (designs, 1). (designs,) each"""
    base = _published(gpu)
    per_part = transistor_model().per_part
    own = _parts(base) @ per_part
    transistors = (np.asarray(_parts(gpu)) @ per_part) * (base.chip.transistors / own if base.chip.transistors else 1.0)
    area_mm2 = transistors / np.reshape(_density_per_mm2(base, gpu.chip.process_nm), -1)
    return Die(transistors=transistors, area_mm2=area_mm2, cost_usd=die_cost_usd(area_mm2, np.reshape(gpu.chip.process_nm, -1)))


def die_cost_usd(area_mm2: Values, process_nm: Values) -> Values:
    """Wafer price over good dies; a chip beyond the reticle is made of several dies. [USD]

    Source: dies per wafer: de Vries, "Investigation of gross die per wafer formulas", IEEE Trans. Semicond. Manuf. 18(1), 2005;
    yield: Murphy, "Cost-size optima of monolithic integrated circuits", Proc. IEEE 52(12), 1964.
    """
    nodes = sorted(WAFER_USD)
    wafer = np.exp(np.interp(np.log(process_nm), np.log(nodes), [np.log(WAFER_USD[node]) for node in nodes]))
    dies = np.ceil(area_mm2 / RETICLE_MM2)
    area = area_mm2 / dies
    per_wafer = np.pi * (_WAFER_MM / 2) ** 2 / area - np.pi * _WAFER_MM / np.sqrt(2 * area)
    defects = DEFECTS_PER_CM2 * area / 100.0
    good = ((1 - np.exp(-defects)) / defects) ** 2
    return dies * wafer / (per_wafer * good)


def _published(gpu: GPU) -> GPU:
    """The GPU as it was sold, whatever was changed; for one that nobody sells, the largest one with its chip, or itself."""
    known = [load_gpu(name) for name in gpu_names()]
    same = [one for one in known if one.id == gpu.id] or [one for one in known if one.chip.name == gpu.chip.name]
    return max(same, key=lambda one: float(one.sm.count), default=gpu)


def _parts(gpu: GPU) -> NDArray[np.float64]:
    """How many of each of `PARTS`. (..., parts)"""
    sm, tensor = gpu.sm, gpu.tensor_cores
    rate = 0.0 if tensor is None else tensor.fp16_accumulate_flop_per_clk or tensor.flop_per_clk.get("fp16", 0.0)
    on_sm = sm.registers * 4 + np.maximum(gpu.shared.size_bytes, gpu.l1.size_bytes)
    hbm = "HBM" in gpu.dram.type
    parts = (
        sm.count * sm.fp32_lanes,
        sm.count * sm.fp64_lanes,
        sm.count * rate,
        8.0 * (gpu.l2.size_bytes + sm.count * on_sm),
        0.0 if hbm else gpu.dram.bus_bits,
        gpu.dram.bus_bits if hbm else 0.0,
    )
    return np.stack([np.reshape(one, -1) for one in np.broadcast_arrays(*parts)], axis=-1).astype(float)


@cache
def transistor_model() -> TransistorModel:
    """The fit on all chips whose transistors are published, so that relative errors are least and no part is negative."""
    chips: dict[str, GPU] = {}
    for name in gpu_names():
        gpu = load_gpu(name)
        if gpu.chip.transistors and gpu.segment != "embedded":  # those have a CPU on the same die
            known = chips.get(gpu.chip.name)
            if known is None or known.sm.count < gpu.sm.count:
                chips[gpu.chip.name] = gpu
    counts = np.array([gpu.chip.transistors for gpu in chips.values()], dtype=float)
    shares = np.concatenate([_parts(gpu) for gpu in chips.values()]) / counts[:, np.newaxis]
    errors = []
    for i in range(len(counts)):
        others = np.arange(len(counts)) != i
        errors.append(abs(float(shares[i] @ _least_squares(shares[others])) - 1))
    return TransistorModel(per_part=_least_squares(shares), error_fraction=float(np.mean(errors)), chips=tuple(chips))


def _least_squares(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of 0 or more whose sums come closest to 1: the best of all choices of parts that count."""
    scale = np.linalg.norm(shares, axis=0)
    scaled = shares / scale
    best, least = np.zeros(shares.shape[1]), np.inf
    for count in range(1, shares.shape[1] + 1):
        for chosen in itertools.combinations(range(shares.shape[1]), count):
            weights = np.linalg.lstsq(scaled[:, chosen], np.ones(len(shares)), rcond=None)[0]
            error = float(((scaled[:, chosen] @ weights - 1) ** 2).sum())
            if (weights >= 0).all() and error < least:
                least, best = error, np.zeros(shares.shape[1])
                best[list(chosen)] = weights
    return np.asarray(best / scale)


def _density_per_mm2(base: GPU, process_nm: Values) -> Values:
    """Transistors a square millimetre: the chip's own, if it is known, and more or fewer as processes differ."""
    nodes, densities = _densities()
    known = np.exp(np.interp(np.log([base.chip.process_nm]), np.log(nodes), np.log(densities)))[0]
    own = base.chip.transistors / base.chip.die_area_mm2 if base.chip.transistors and base.chip.die_area_mm2 else known
    return own * np.exp(np.interp(np.log(process_nm), np.log(nodes), np.log(densities))) / known


@cache
def _densities() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Processes, finest first, and the usual density of chips made in each. [nm, 1/mm²]"""
    found: dict[float, list[float]] = {}
    for name in gpu_names():
        chip = load_gpu(name).chip
        if chip.transistors and chip.die_area_mm2:
            found.setdefault(float(chip.process_nm), []).append(chip.transistors / chip.die_area_mm2)
    nodes = sorted(found)
    return np.array(nodes), np.array([np.median(found[node]) for node in nodes])
