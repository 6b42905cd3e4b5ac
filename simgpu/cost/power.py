"""The clock that the power limit allows, and the energy of a kernel.

Dynamic energy of an operation grows with V², and V with the clock, so a board that would exceed its limit slows down
until power = idle + energy(V) / time(clock) meets it.

Source of the structure: Horowitz, "Computing's energy problem", ISSCC 2014 (energy per operation and byte); the values
are fitted on large GEMMs of boards that throttle (calibration.json).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simgpu.cost.machine import Machine

Values = Any

_STEPS = 14  # halvings of the clock range: 1 part in 16,000


def by_node(values_per_node: dict[str, float], process_nm: Values) -> Values:
    """A per-node value, interpolated over log(feature size) between the nodes that were fitted."""
    nodes = sorted((float(k), v) for k, v in values_per_node.items())
    return np.interp(np.log(process_nm), [np.log(n) for n, _ in nodes], [v for _, v in nodes])


def voltage_v(clock_hz: Values, m: Machine) -> Values:
    """Supply voltage at a clock: a straight line above a floor. [V]"""
    f = m.factors
    nm = m.gpu.chip.process_nm
    line = by_node(f.voltage_offset_v, nm) + by_node(f.voltage_slope_v_per_hz, nm) * clock_hz
    return np.maximum(by_node(f.voltage_floor_v, nm), line)


def energy_j(m: Machine, clock_hz: Values, flop: Values, l2_bytes: Values, dram_bytes: Values) -> Values:
    """Dynamic energy of so much work at a clock. [J] `flop` is weighted relative to FP32 FMA."""
    f = m.factors
    squared = voltage_v(clock_hz, m) ** 2
    return squared * (by_node(f.flop_energy_j, m.gpu.chip.process_nm) * flop + f.l2_byte_energy_j * l2_bytes) + f.dram_byte_energy_j * dram_bytes


def idle_w(m: Machine) -> Values:
    """Power of the board that no kernel accounts for. [W]"""
    idle = m.gpu.power.idle_w
    return m.gpu.power.tdp_w * m.factors.idle_fraction if idle is None else idle


def sustained_clock_hz(m: Machine, time_s: Any, flop: Values, l2_bytes: Values, dram_bytes: Values) -> Values:
    """The highest clock whose power meets the limit. [Hz]

    Args:
        time_s: Function of the clock ratio (clock / highest) that gives the time of the work. [s]
    """
    budget = m.gpu.power.tdp_w - idle_w(m)
    high = np.broadcast_to(np.asarray(m.clock_hz, dtype=float), np.broadcast_shapes(np.shape(flop), np.shape(m.clock_hz)))

    def fits(clock_hz: Values) -> Any:
        return energy_j(m, clock_hz, flop, l2_bytes, dram_bytes) <= budget * time_s(clock_hz / m.clock_hz)

    unthrottled = fits(high)
    if np.all(unthrottled):
        return high
    low, top = np.broadcast_to(m.min_clock_hz, high.shape).astype(float), high.astype(float)
    for _ in range(_STEPS):
        middle = (low + top) / 2.0
        good = fits(middle)
        low, top = np.where(good, middle, low), np.where(good, top, middle)
    return np.where(unthrottled, high, low)
