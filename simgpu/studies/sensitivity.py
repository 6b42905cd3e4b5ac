"""What matters, and what it would take: elasticities of the latency, and the smallest change that reaches a target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simgpu.errors import OptionError
from simgpu.report.study import Lever, Need
from simgpu.studies.axes import axis
from simgpu.studies.case import HOST, Case, check_fields, levers, rounded

SWING_FRACTION = 0.2
MOST = 64.0  # times a field that "what would it take" tries at the most
_STEPS = 192  # tried between 1 and that; then again between the last that fails and the first that does
_REFINE = 24


def sensitivity(case: Case, fields: Sequence[str] | None = None, *, swing: float = SWING_FRACTION) -> tuple[Lever, ...]:
    """How much the latency changes with each field, the most telling first.

    Args:
        fields: Dotted keys, and "host"; None = those that a chip's designers turn.
        swing: Share of its value that each is lowered and raised by; counts are rounded.
    Raises:
        OptionError: The GPU does not have a field, or the swing makes no sense.
    """
    if not 0 < swing < 1:
        raise OptionError(f"swing: expected a share between 0 and 1, got {swing:g}")
    chosen = tuple(fields) if fields else levers(case)
    check_fields(case, chosen)
    result = []
    for field in chosen:
        value = case.value(field)
        low, high = rounded(field, value * np.array([1 - swing, 1 + swing])).tolist()
        if low == high:
            continue
        slow, fast = case.latencies_s({field: np.array([low, high])}).tolist()
        result.append(
            Lever(
                field=field,
                unit="" if field == HOST else axis(field, [1.0]).unit,
                value=value,
                low=low,
                high=high,
                latency_s=float(case.base["latency_s"]),
                low_latency_s=slow,
                high_latency_s=fast,
                elasticity=float(np.log(fast / slow) / np.log(high / low)),
            )
        )
    return tuple(sorted(result, key=lambda lever: -abs(np.log(lever.high_latency_s / lever.low_latency_s))))


def what_it_takes(case: Case, target_s: float, fields: Sequence[str] | None = None) -> tuple[Need, ...]:
    """The smallest change of each field, and of all of them by the same factor, that reaches a latency.

    Fields that must fall to help (latencies, what the host needs) are divided by the factor. Waves make the latency no
    smooth function of a field, so it is tried at many factors, and then between the last that fails and the first that
    does.

    Args:
        target_s: The latency wanted. [s]
        fields: As for `sensitivity`.
    Returns:
        A record a field, those that meet the target first, the smallest change first; the joint change last.
    Raises:
        OptionError: The target is no positive time, or met already.
    """
    if not target_s > 0:
        raise OptionError(f"target: expected a time of more than 0 s, got {target_s:g}")
    if case.base["latency_s"] <= target_s:
        raise OptionError(f"target: {case.gpu.name} needs {case.base['latency_s']:.3g} s already, which is not above {target_s:.3g} s; nothing has to change")
    chosen = tuple(fields) if fields else levers(case)
    check_fields(case, chosen)
    falling = {field: _falls(field) for field in chosen}
    needs = [_need(case, target_s, (field,), falling) for field in chosen]
    needs.sort(key=lambda need: (not need.met, need.factor if need.met else need.latency_s))
    return (*needs, _need(case, target_s, chosen, falling)) if len(chosen) > 1 else tuple(needs)


def _falls(field: str) -> bool:
    """Whether less of it is better: it is a time."""
    return field == HOST or axis(field, [1.0]).unit in ("s", "clk")


def _designs(case: Case, fields: Sequence[str], falling: dict[str, bool], factors: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {name: rounded(name, case.value(name) * (1 / factors if falling[name] else factors)) for name in fields}


def _need(case: Case, target_s: float, fields: tuple[str, ...], falling: dict[str, bool]) -> Need:
    factors = np.geomspace(1.0, MOST, _STEPS)
    for _ in range(2):
        designs = _designs(case, fields, falling, factors)
        latency_s = case.latencies_s(designs)
        good = np.flatnonzero(latency_s <= target_s)
        if not len(good):
            best = int(np.argmin(latency_s))
            bound = str(case.price({name: values[[best]] for name, values in designs.items()})["bound"][0])
            values = tuple(case.value(name) for name in fields)
            return Need(fields=fields, values=values, factor=float(factors[best]), latency_s=float(latency_s[best]), met=False, bound=bound)
        first = int(good[0])
        factor = float(factors[first])
        factors = np.geomspace(factors[max(first - 1, 0)], factors[first], _REFINE)
    found = {name: values[[first]] for name, values in designs.items()}
    after = case.price(found)
    values = tuple(float(values[0]) for values in found.values())
    if len(fields) == 1 and not falling[fields[0]]:
        factor = values[0] / case.value(fields[0])  # counts were rounded
    return Need(fields=fields, values=values, factor=factor, latency_s=float(after["latency_s"][0]), met=True, bound=str(after["bound"][0]))
