"""Colours of every picture: three themes, a colour for each family of kernels, told apart by all readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours of a picture.

    Attributes:
        ink: Text and axes. muted: text of second rank. grid: lines that only help. ceiling: limits of the machine.
        families: Colour of each family of kernels.
        series: Colours of things compared, in this order.
    """

    name: str
    background: str
    ink: str
    muted: str
    grid: str
    ceiling: str
    families: Mapping[str, str]
    series: tuple[str, ...]


# Okabe and Ito's eight colours, told apart with every common kind of colour blindness (https://jfly.uni-koeln.de/color/, 2008);
# on the dark ground each is lightened until it stands out by 4.5 : 1.
THEMES: Mapping[str, Theme] = MappingProxyType(
    {
        "light": Theme(
            name="light",
            background="#ffffff",
            ink="#1b1f24",
            muted="#57606a",
            grid="#e6e9ed",
            ceiling="#3b434c",
            families=MappingProxyType(
                {
                    "conv": "#0072b2",
                    "gemm": "#d55e00",
                    "attention": "#c2619a",
                    "rows": "#009e73",
                    "stream": "#56b4e9",
                    "recurrent": "#e69f00",
                    "collective": "#8c7a00",
                    "transfer": "#8a929b",
                }
            ),
            series=("#0072b2", "#d55e00", "#009e73", "#c2619a", "#e69f00", "#56b4e9", "#57606a", "#8c7a00"),
        ),
        "dark": Theme(
            name="dark",
            background="#0f1318",
            ink="#e6eaef",
            muted="#9aa4af",
            grid="#242b33",
            ceiling="#c3cbd4",
            families=MappingProxyType(
                {
                    "conv": "#3d9be0",
                    "gemm": "#ff8a3d",
                    "attention": "#e08cc0",
                    "rows": "#2cc295",
                    "stream": "#9ad4f7",
                    "recurrent": "#ffc04d",
                    "collective": "#f0e442",
                    "transfer": "#9aa4af",
                }
            ),
            series=("#3d9be0", "#ff8a3d", "#2cc295", "#e08cc0", "#ffc04d", "#9ad4f7", "#9aa4af", "#f0e442"),
        ),
        # The same hues as steps of grey: each stands out from white by at least 1.2 times more or less than the next one does.
        "print": Theme(
            name="print",
            background="#ffffff",
            ink="#000000",
            muted="#3a3f45",
            grid="#d5d9de",
            ceiling="#000000",
            families=MappingProxyType(
                {
                    "conv": "#003655",
                    "gemm": "#da6000",
                    "attention": "#78325d",
                    "rows": "#007152",
                    "stream": "#57b4e9",
                    "recurrent": "#ca8c00",
                    "collective": "#857400",
                    "transfer": "#1a1d20",
                }
            ),
            series=("#003655", "#da6000", "#007152", "#78325d", "#ca8c00", "#57b4e9", "#1a1d20", "#857400"),
        ),
    }
)

FAMILY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "conv": "convolution",
        "gemm": "matrix product",
        "attention": "fused attention",
        "rows": "norm · softmax · reduction",
        "stream": "elementwise · pool · copy",
        "recurrent": "recurrent",
        "collective": "collective",
        "transfer": "host transfer",
    }
)

# What a run waits for, in the order in which bars stack it; the colour is that of the theme's series.
BOUNDS: Mapping[str, int] = MappingProxyType({"compute": 1, "memory latency": 4, "L2": 5, "DRAM": 0, "latency": 3, "host launch": 6})
