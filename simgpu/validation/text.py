"""The error table as text and as JSON."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from simgpu.report.text import columns, numbered, seconds
from simgpu.validation.outcome import Validation
from simgpu.validation.score import Score

WIDTH = 132
_HEADER = ("family", "GPU", "dtype", "mode", "rows", "skipped", "MAPE", "median", "p90", "bias", "roofline", "others")
_ABSENT = "network not in the zoo"
_ALIGN = "<<<<>>>>>>><"


def format_validation(validation: Validation, *, worst: int = 0) -> str:
    """The error table by source, a summary by family, what was skipped and why, and the worst rows."""
    lines = ["Errors of predicted times, in % of the measured time. bias > 0: predicted too slow. roofline: max(FLOP / peak, bytes / bandwidth)", ""]
    table = validation.scores()
    for source in dict.fromkeys(score.source for score in table):
        own = [score for score in table if score.source == source]
        if not any(score.rows for score in own):
            continue
        lines += [source, *columns([_cells(score) for score in own if score.rows], _ALIGN, header=_HEADER), ""]
    lines += [
        "By family",
        *columns(
            [_summary(score) for score in validation.scores(("source", "family", "trust")) if score.rows],
            "<" + _ALIGN[4:],
            header=("source: family", *_HEADER[4:]),
        ),
    ]
    lines += _skips(table)
    if validation.notes:
        lines += ["", "Taken for granted", *numbered(validation.notes, WIDTH)]
    if worst:
        lines += ["", f"The {worst} rows furthest off", *_worst(validation, worst)]
    return "\n".join(lines)


def _percent(value: float, *, signed: bool = False) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:+.1f}" if signed else f"{value:.1f}"


def _numbers(score: Score) -> tuple[str, ...]:
    others = ", ".join(f"{name} {value:.3g}" for name, value in score.published_mape_pct.items())
    return (
        f"{score.rows}",
        f"{score.skipped or '–'}",
        _percent(score.mape_pct),
        _percent(score.median_ape_pct),
        _percent(score.p90_ape_pct),
        _percent(score.bias_pct, signed=True),
        _percent(score.roofline_mape_pct),
        others,
    )


def _cells(score: Score) -> tuple[str, ...]:
    mode = f"{score.mode} (use with care)" if score.trust == "care" else score.mode
    return (score.family, score.gpu, score.dtype, mode, *_numbers(score))


def _summary(score: Score) -> tuple[str, ...]:
    return (f"{score.source}: {score.family}{' (use with care)' if score.trust == 'care' else ''}", *_numbers(score))


def _skips(table: Sequence[Score]) -> list[str]:
    reasons: Counter[tuple[str, str]] = Counter()
    absent: dict[str, set[str]] = defaultdict(set)
    for score in table:
        for reason, count in score.reasons.items():
            if name := re.match(r"no network '([^']+)' in the zoo", reason):
                absent[score.source].add(name[1])
                reason = _ABSENT
            reasons[score.source, reason] += count
    if not reasons:
        return []
    for source, names in absent.items():
        reasons[source, f"{_ABSENT}: {', '.join(sorted(names))}"] = reasons.pop((source, _ABSENT))
    rows = [(f"{count}", source, reason) for (source, reason), count in sorted(reasons.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))]
    count = sum(reasons.values())
    return ["", f"Not predicted: {count} row{'' if count == 1 else 's'}", *columns(rows, "><<", header=("rows", "source", "why"))]


def _worst(validation: Validation, count: int) -> list[str]:
    lines = []
    for result, i in validation.worst(count):
        group = result.groups[i]
        ratio = result.predicted_s[i] / result.measured_s[i]
        lines += [
            f"  ×{ratio:.2f}  {group.family} {group.gpu} {group.dtype} {group.mode}: measured {seconds(result.measured_s[i])}, "
            f"predicted {seconds(result.predicted_s[i])}  ({result.path}: row {result.rows[i]})",
            f"         {result.explain(i)}",
        ]
    return lines


def record(score: Score) -> dict[str, Any]:
    """A line of the table for JSON: numbers to 4 digits after the point, null where there is none."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 4) if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        return value

    return {key: plain(value) for key, value in asdict(score).items()}


def format_json(validation: Validation) -> str:
    """The error table as a JSON list."""
    return json.dumps([record(score) for score in validation.scores()], indent=1, ensure_ascii=False) + "\n"
