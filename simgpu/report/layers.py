"""Time by layer, divided by family of kernels: as many parts of the module path as leave a picture readable."""

from __future__ import annotations

from collections.abc import Callable

from simgpu.report.report import Report

ROWS = 24  # more layers than this are told apart by one part of the module path less

Rows = list[tuple[str, dict[str, float]]]


def layer_rows(report: Report, depth: int | None = None) -> Rows:
    """Names of layers in the order of the network, each with its time by family of kernels. [s]

    Where the layers that fit would leave half the time in one row, blocks that repeat are one: "layers.*.mlp ×32".

    Args:
        depth: Parts of the module path that make a layer; as many as give at most `ROWS` rows if None.
    """
    if depth is not None:
        return _rows(report, lambda scope: ".".join(scope.split(".")[:depth]))
    depths = range(1, 1 + max((k.scope.count(".") + 1 for k in report.kernels.kernels), default=1))
    plain = [_rows(report, lambda scope, depth=d: ".".join(scope.split(".")[:depth])) for d in depths]  # type: ignore[misc]
    rows = next((found for found in reversed(plain) if len(found) <= ROWS), plain[0])
    if len(rows) > 1 and max(sum(parts.values()) for _, parts in rows) <= report.kernel_s / 2:
        return rows
    alike = [_alike(report, depth) for depth in depths]
    return next((found for found in reversed(alike) if len(rows) < len(found) <= ROWS), rows)


def _rows(report: Report, name: Callable[[str], str]) -> Rows:
    seconds: dict[str, dict[str, float]] = {}
    for kernel, time_s in zip(report.kernels.kernels, report.timeline.span_s.tolist(), strict=True):
        parts = seconds.setdefault(name(kernel.scope) or "(no scope)", {})
        parts[kernel.family] = parts.get(kernel.family, 0.0) + time_s
    return list(seconds.items())


def _alike(report: Report, depth: int) -> Rows:
    """Layers whose paths differ in numbers only are one, which says how many they are."""
    members: dict[str, set[str]] = {}

    def name(scope: str) -> str:
        parts = scope.split(".")[:depth]
        joined = ".".join("*" if part.isdigit() else part for part in parts)
        members.setdefault(joined, set()).add(".".join(parts))
        return joined

    rows = _rows(report, name)
    return [(f"{layer} ×{len(members[layer])}" if len(members.get(layer, ())) > 1 else layer, parts) for layer, parts in rows]
