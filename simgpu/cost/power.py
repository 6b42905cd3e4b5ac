"""The clock that the power limit allows, and the energy of a kernel.

Dynamic energy of an operation grows with V², and V with the clock, so a board that would exceed its limit slows down
until power = idle + energy(V) / time(clock) meets it.

Source of the structure: Horowitz, "Computing's energy problem", ISSCC 2014 (energy per operation and byte); the values
are fitted on large GEMMs of boards that throttle (calibration.json).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simgpu.cost.machine import Machine

Values = Any

_STEPS = 14  # halvings of the clock range: 1 part in 16,000


def by_node(values_per_node: dict[str, float], process_nm: Values) -> Values:
    """A per-node value, interpolated over log(feature size) between the nodes that were fitted."""
    nodes = sorted((float(k), v) for k, v in values_per_node.items())
    return np.interp(np.log(process_nm), [np.log(n) for n, _ in nodes], [v for _, v in nodes])


def voltage_law(m: Machine) -> Callable[[Values], Values]:
    """Supply voltage [V] as a function of the clock [Hz]: a straight line above a floor."""
    f, nm = m.factors, m.gpu.chip.process_nm
    offset, slope, floor = (by_node(values, nm) for values in (f.voltage_offset_v, f.voltage_slope_v_per_hz, f.voltage_floor_v))
    return lambda clock_hz: np.maximum(floor, offset + slope * clock_hz)


def energy_parts_j(m: Machine, flop: Values, l2_bytes: Values, dram_bytes: Values) -> tuple[Values, Values]:
    """Dynamic energy of so much work: what switches on the chip, at 1 V, and what DRAM takes at any clock. [J]

    Args:
        flop: Weighted relative to FP32 FMA.
    """
    f = m.factors
    return by_node(f.flop_energy_j, m.gpu.chip.process_nm) * flop + f.l2_byte_energy_j * l2_bytes, f.dram_byte_energy_j * dram_bytes


def idle_w(m: Machine) -> Values:
    """Power of the board that no kernel accounts for. [W]"""
    idle = m.gpu.power.idle_w
    return m.gpu.power.tdp_w * m.factors.idle_fraction if idle is None else idle


def sustained_clock_hz(m: Machine, switching_j: Values, dram_j: Values, time_s: Callable[[Values], Values]) -> Values:
    """The highest clock whose power meets the limit. [Hz]

    Args:
        switching_j, dram_j: See `energy_parts_j`.
        time_s: Function of the clock ratio (clock / highest) that gives the time of the work. [s]
    """
    budget, voltage = m.gpu.power.tdp_w - idle_w(m), voltage_law(m)
    high = np.broadcast_to(np.asarray(m.clock_hz, dtype=float), np.broadcast_shapes(np.shape(switching_j), np.shape(m.clock_hz), np.shape(m.min_clock_hz)))

    def fits(clock_hz: Values) -> Any:
        return voltage(clock_hz) ** 2 * switching_j + dram_j <= budget * time_s(clock_hz / m.clock_hz)

    unthrottled = fits(high)
    if np.all(unthrottled):
        return high
    low, top = np.broadcast_to(m.min_clock_hz, high.shape).astype(float), high.astype(float)
    for _ in range(_STEPS):
        middle = (low + top) / 2.0
        good = fits(middle)
        low, top = np.where(good, middle, low), np.where(good, top, middle)
    return np.where(unthrottled, high, low)
