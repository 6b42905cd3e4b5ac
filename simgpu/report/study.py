"""What studies say, as records that pictures draw."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """What a field of a GPU does to the latency.

    Attributes:
        field: Dotted key, or "host" for what the host needs.
        unit: SI unit of its values.
        value: What the GPU has. low, high: What was tried.
        latency_s: The latency as the GPU is. [s]
        low_latency_s, high_latency_s: With the lower and the higher value. [s]
        elasticity: Percent that the latency changes for each percent of the field, between the two.
    """

    field: str
    unit: str
    value: float
    low: float
    high: float
    latency_s: float
    low_latency_s: float
    high_latency_s: float
    elasticity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The smallest change of a field that meets a target.

    Attributes:
        fields: Dotted keys of what changes; several are scaled by the same factor.
        values: What they must have, in SI; as they are if the target cannot be met.
        factor: New over old value.
        latency_s: The latency then. [s] The best that was found if the target cannot be met.
        met: Whether the target is met.
        bound: What limits the run then.
    """

    fields: tuple[str, ...]
    values: tuple[float, ...]
    factor: float
    latency_s: float
    met: bool
    bound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A GPU of a ladder of generations, and where its gain over the one before came from.

    Attributes:
        gpu, year, dtype: What ran on what.
        latency_s, throughput_per_s: Of one run. [s, 1/s]
        gains: Cause → latency before over latency after its substitution; in the order of substitution, their product is
            the whole gain. Empty on the first rung.
    """

    gpu: str
    year: int
    dtype: str
    latency_s: float
    throughput_per_s: float
    gains: tuple[tuple[str, float], ...] = ()
