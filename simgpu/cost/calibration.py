"""Factors that no datasheet states: few, physical, per generation, in one file with source and error.

`calibration.json` holds for each parameter its unit, meaning and source, and the values: `common` ones that every GPU
shares, and those of a generation. A generation without a value takes that of the one it inherits from. Parameters with
`families` are those that `simgpu calibrate` fits, within their `bounds`, on measured kernels of these families.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simgpu.arch.spec import GPU
from simgpu.errors import DataError

COMMON = "common"  # values that every GPU shares

# Compute capability → generation, as this file groups them; the first match counts.
_GENERATIONS: tuple[tuple[tuple[int, int], str], ...] = (
    ((12, 0), "Blackwell GB20x"),
    ((10, 0), "Blackwell GB100"),
    ((9, 0), "Hopper"),
    ((8, 9), "Ada"),
    ((8, 6), "Ampere GA10x"),
    ((8, 0), "Ampere GA100"),
    ((7, 5), "Turing"),
    ((7, 0), "Volta"),
    ((6, 1), "Pascal GP10x"),
    ((6, 0), "Pascal GP100"),
    ((5, 0), "Maxwell"),
    ((3, 0), "Kepler"),
    ((2, 0), "Fermi"),
    ((1, 0), "Tesla"),
)
_NAMES = frozenset(name for _, name in _GENERATIONS)


def generation(gpu: GPU) -> str:
    """The group of GPUs that shares factors with this one."""
    return next(name for capability, name in _GENERATIONS if gpu.compute_capability >= capability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All factors.

    Attributes:
        parameters: name → {unit, meaning, source}; `sources` where a generation's value has another one; `families` and `bounds`.
        values: "common" or a generation → {name: value}.
        inherits: generation → the one whose values it takes where it has none.
        nearest: generation → its nearest relative, whose values would serve if it had none of its own.
        fit: What the factors were fitted on, and the errors before and after.
    """

    parameters: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Mapping[str, Any]]
    inherits: Mapping[str, str]
    nearest: Mapping[str, str]
    fit: Mapping[str, Any]

    def chain(self, name: str) -> tuple[str, ...]:
        """A generation and those it inherits from, nearest first, `common` last."""
        result = [name]
        while name in self.inherits:
            name = self.inherits[name]
            assert name not in result, f"calibration inherits in a loop at {name}"
            result.append(name)
        return (*result, COMMON)

    def factors(self, gpu: GPU) -> SimpleNamespace:
        """Every parameter's value for this GPU, as attributes."""
        result: dict[str, Any] = {}
        for group in reversed(self.chain(generation(gpu))):
            result.update(self.values.get(group, {}))
        return SimpleNamespace(**result)

    def origin(self, gpu: GPU) -> dict[str, str]:
        """For each parameter the group its value comes from."""
        result: dict[str, str] = {}
        for group in reversed(self.chain(generation(gpu))):
            result.update(dict.fromkeys(self.values.get(group, {}), group))
        return result

    def source(self, name: str, group: str) -> str:
        """Where a parameter's value in a group comes from."""
        about = self.parameters[name]
        return str(about.get("sources", {}).get(group, about["source"]))

    def with_values(self, changes: Mapping[str, Mapping[str, Any]]) -> Calibration:
        """A copy with some values replaced: {"Volta": {"fma_efficiency": 1.0}}."""
        merged = {group: {**self.values.get(group, {}), **changes.get(group, {})} for group in {**self.values, **changes}}
        return replace(self, values=merged)

    def on_loan(self, name: str) -> Calibration:
        """A copy in which a generation has its nearest relative's values where it has values of its own."""
        lender: dict[str, Any] = {}
        for group in reversed(self.chain(self.nearest[name]) if name in self.nearest else (COMMON,)):
            lender.update(self.values.get(group, {}))
        return self.with_values({name: {key: lender[key] for key in self.values.get(name, {}) if key in lender}})


def parse_calibration(text: str, where: str) -> Calibration:
    """A calibration from JSON.

    Raises:
        DataError: Not JSON, or not one value (a number, or numbers by process node) for each parameter that is described;
            all mistakes are named at once.
    """
    try:
        data = json.loads(text)
        calibration = Calibration(
            parameters=data["parameters"], values=data["values"], inherits=data["inherits"], nearest=data.get("nearest", {}), fit=data.get("fit", {})
        )
        mistakes = list(_mistakes(calibration))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: no calibration file ({error}); write one with `simgpu calibrate`") from None
    if mistakes:
        raise DataError(f"{where}: {'; '.join(mistakes)}")
    return calibration


def _mistakes(calibration: Calibration) -> Iterator[str]:
    """What no calibration may have, in words."""
    described = set(calibration.parameters)
    if unknown := sorted({name for group in calibration.values.values() for name in group} - described):
        yield f"values for parameters that are not described: {', '.join(unknown)}"
    if missing := sorted(described - set(calibration.values.get(COMMON, {}))):
        yield f"parameters without a value under '{COMMON}', which every GPU falls back to: {', '.join(missing)}"
    for place, group in calibration.values.items():
        for name, value in group.items():
            numbers = list(value.values()) if isinstance(value, Mapping) else [value]
            if not numbers or not all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) and n >= 0 for n in numbers):
                yield f"{place}.{name} is {json.dumps(value)}, expected a number that is not negative, or such numbers by process node"
            elif name in described and (bounds := calibration.parameters[name].get("bounds")) and not bounds[0] <= min(numbers) <= max(numbers) <= bounds[1]:
                yield f"{place}.{name} is {json.dumps(value)}, expected {bounds[0]:g} to {bounds[1]:g}"
    for relatives in (calibration.inherits, calibration.nearest):
        if strange := sorted({name for pair in relatives.items() for name in pair} - _NAMES):
            yield f"no such generation: {', '.join(strange)}; expected {', '.join(sorted(_NAMES))}"
    for name in calibration.inherits:
        seen = [name]
        while (name := calibration.inherits.get(name, "")) and name not in seen:
            seen.append(name)
        if name == seen[0]:
            yield f"inherits in a loop: {' → '.join((*seen, name))}"


def load_calibration(path: Path) -> Calibration:
    """A calibration that `simgpu calibrate` wrote.

    Raises:
        DataError: There is no such file, it is no calibration, or one of another version of simgpu.
    """
    try:
        calibration = parse_calibration(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if missing := sorted(set(shipped_calibration().parameters) - set(calibration.parameters)):
        raise DataError(f"{path}: lacks {', '.join(missing)}, which this version of simgpu needs; write it anew with `simgpu calibrate`")
    return calibration


@cache
def shipped_calibration() -> Calibration:
    """The calibration that comes with simgpu."""
    return parse_calibration((resources.files("simgpu.cost") / "calibration.json").read_text(encoding="utf-8"), "calibration.json")
