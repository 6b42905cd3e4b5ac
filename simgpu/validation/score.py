"""Errors of predictions against measured times, group by group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Group(NamedTuple):
    """What rows have in common that share a line of the error table.

    `trust` is "" for rows that can be taken as they are, "care" for those whose measuring leaves doubts.
    """

    source: str
    family: str
    gpu: str
    dtype: str
    mode: str
    trust: str = ""


class Errors(NamedTuple):
    """Errors in percent of the measured time; NaN where there is no row.

    `bias_pct` is the mean of the signed errors: above 0 = predicted too slow.
    """

    mape_pct: float
    median_ape_pct: float
    p90_ape_pct: float
    bias_pct: float


def errors(predicted_s: Floats, measured_s: Floats) -> Errors:
    """Errors of predictions.

    >>> errors(np.array([1.1, 0.8]), np.array([1.0, 1.0]))  # 10 % too slow, 20 % too fast
    Errors(mape_pct=15.0, median_ape_pct=15.0, p90_ape_pct=19.0, bias_pct=-5.0)
    """
    if not len(measured_s):
        return Errors(np.nan, np.nan, np.nan, np.nan)
    relative = 100 * (predicted_s - measured_s) / measured_s
    ape = np.abs(relative)
    return Errors(*(round(float(x), 6) for x in (ape.mean(), np.median(ape), np.percentile(ape, 90), relative.mean())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Rows that are not predicted, and why."""

    group: Group
    row: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Predicted rows of one file. (N,) each

    Attributes:
        rows: Line numbers.
        roofline_s: What max(FLOP / peak, bytes / bandwidth) with datasheet numbers says. [s]
        published_s: What others predicted for the same rows; NaN where they said nothing. [s]
        explain: Row index → what the model says about it, in words.
    """

    path: str
    groups: Sequence[Group]
    rows: Sequence[int]
    measured_s: Floats
    predicted_s: Floats
    roofline_s: Floats
    explain: Callable[[int], str]
    published_s: Mapping[str, Floats] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One line of the error table.

    Attributes:
        rows, skipped: Rows predicted, and rows that could not be.
        roofline_mape_pct: MAPE of the plain datasheet roofline on the same rows. [%]
        published_mape_pct: MAPE of others: their own predictions for the same rows, or the error they print for the family. [%]
        reasons: Why rows were skipped → how many.
    """

    source: str
    family: str
    gpu: str
    dtype: str
    mode: str
    trust: str
    rows: int
    skipped: int
    mape_pct: float
    median_ape_pct: float
    p90_ape_pct: float
    bias_pct: float
    roofline_mape_pct: float
    published_mape_pct: Mapping[str, float]
    reasons: Mapping[str, int]


ALL = "all"


def scores(
    results: Iterable[Results], skipped: Iterable[Skipped], *, by: Sequence[str] = Group._fields, printed: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[Score]:
    """The error table.

    Args:
        by: Fields of `Group` that tell lines apart; the others read "all".
        printed: (source, family) → predictor → MAPE that its authors print for such rows. [%]
    """

    def key(group: Group) -> Group:
        return Group(*(value if name in by else ALL for name, value in zip(Group._fields, group, strict=True)))

    columns: dict[Group, list[tuple[Floats, ...]]] = defaultdict(list)
    others: dict[Group, dict[str, list[tuple[Floats, Floats]]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        members: dict[Group, list[int]] = defaultdict(list)
        for i, group in enumerate(result.groups):
            members[key(group)].append(i)
        for group, indices in members.items():
            columns[group].append((result.measured_s[indices], result.predicted_s[indices], result.roofline_s[indices]))
            for name, values in result.published_s.items():
                others[group][name].append((result.measured_s[indices], values[indices]))
    reasons: dict[Group, Counter[str]] = defaultdict(Counter)
    for skip in skipped:
        reasons[key(skip.group)][skip.reason] += 1
    table = []
    for group in sorted(columns.keys() | reasons.keys()):
        parts = columns.get(group, [])
        measured, predicted, roofline = (np.concatenate(c) if parts else np.zeros(0) for c in (zip(*parts, strict=True) if parts else [[], [], []]))
        found = errors(predicted, measured)
        published = dict(printed.get((group.source, group.family), {})) if parts else {}
        for name, pairs in others.get(group, {}).items():
            theirs_measured, theirs = (np.concatenate(c) for c in zip(*pairs, strict=True))
            said = np.isfinite(theirs)
            if said.any():
                published[name] = errors(theirs[said], theirs_measured[said]).mape_pct
        why = dict(sorted(reasons[group].items(), key=lambda item: (-item[1], item[0]))) if group in reasons else {}
        table.append(
            Score(
                **group._asdict(),
                rows=len(measured),
                skipped=sum(why.values()),
                **found._asdict(),
                roofline_mape_pct=errors(roofline, measured).mape_pct,
                published_mape_pct=published,
                reasons=why,
            )
        )
    return table
