"""Tables a few rows long, and a cost model whose answers are known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgpu.cost.times import KernelTimes


class FixedTimes:
    """Every kernel takes `each_s`; its roofline is a quarter of that."""

    def __init__(self, each_s: float) -> None:
        self.each_s = each_s
        self.calls: list[dict[str, Any]] = []

    def price(self, kernels: Any, gpu: Any, **conditions: Any) -> KernelTimes:
        self.calls.append({"kernels": kernels, "gpu": gpu, **conditions})
        n = len(kernels)
        parts = {f.name: np.zeros(n) for f in fields(KernelTimes) if f.name not in ("choice", "choices")}
        parts |= {"duration_s": np.full(n, self.each_s), "roofline_s": np.full(n, self.each_s / 4), "math_s": np.full(n, self.each_s)}
        return KernelTimes(**parts, choice=np.zeros(n, dtype=np.int64), choices=("128x64",))


@pytest.fixture
def fixed() -> type[FixedTimes]:
    return FixedTimes


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CSV from a header and rows given as text."""

    def write(header: str, *rows: str, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
        return path

    return write
