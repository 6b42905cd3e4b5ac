"""Studies of published papers, ready to run: their networks, their measured numbers, and ours beside them."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from simgpu.api import load_gpu
from simgpu.arch.spec import GPU
from simgpu.cost.model import CostModel, one_run
from simgpu.errors import OptionError, did_you_mean
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph, Tensor
from simgpu.kernels.lower import lower
from simgpu.passes.pipeline import prepare

CUDNN_7_YEAR = 2017.9  # cuDNN 7.0, August 2017
CUDNN_7_5_YEAR = 2019.2
_BLOCKS = 10  # of each kind that the paper stacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A network of a study and what the paper measured.

    Attributes:
        group: Cases of a group are compared with its first one: "c 128".
        variant: What is different: "groups 4".
        flop: 1 MAC = 2. [FLOP]
        measured_s: Of a run in the paper. [s]
        device_s: Ours, kernels alone. [s]
    """

    group: str
    variant: str
    flop: float
    measured_s: float
    device_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyStudy:
    """What a paper asked, and on what it measured.

    Attributes:
        claim: What it found, in a sentence.
        gpu, library_year: What it measured on.
        rows: Makes the networks: group, variant, graph and measured time [s].
    """

    name: str
    title: str
    claim: str
    source: str
    gpu: str
    library_year: float
    rows: Callable[[], list[tuple[str, str, Graph, float]]]


def run_ready(study: ReadyStudy, gpu: GPU | None = None) -> tuple[Finding, ...]:
    """The cases of a study, priced: kernels one after the other on an otherwise idle GPU, without the host.

    Args:
        gpu: Another GPU than the paper's; the measured numbers stay those of the paper.
    """
    machine = gpu or load_gpu(study.gpu)
    model = CostModel()
    cases = []
    for group, variant, graph, measured_s in study.rows():
        kernels = lower(prepare(graph, gpu=machine), gpu=machine)
        times = model.price(kernels, machine, runs=one_run(kernels), library_year=study.library_year)
        flop = float(sum(kernel.flop for kernel in kernels.kernels))
        cases.append(Finding(group=group, variant=variant, flop=flop, measured_s=measured_s, device_s=float(times.duration_s.sum())))
    return tuple(cases)


def ready_study(name: str) -> ReadyStudy:
    """The study of that name.

    Raises:
        OptionError: There is no such study.
    """
    known = {study.name: study for study in STUDIES}
    if name not in known:
        raise OptionError(f"unknown study '{name}', expected one of {', '.join(known)}{did_you_mean(name, known)}")
    return known[name]


# ---- ShuffleNetV2: four guidelines


@cache
def _guidelines() -> tuple[Mapping[str, str], ...]:
    data = (resources.files("simgpu.validation") / "data" / "shufflenetv2_guidelines.csv.gz").read_bytes()
    return tuple(csv.DictReader(io.StringIO(gzip.decompress(data).decode("utf-8"))))


def _rows(guideline: str, build: Callable[[Mapping[str, str]], tuple[str, Graph]]) -> list[tuple[str, str, Graph, float]]:
    result = []
    for row in _guidelines():
        if row["guideline"] == guideline:
            group, graph = build(row)
            result.append((group, row["variant"], graph, 1.0 / float(row["gpu_batches_per_s"])))
    return result


def _stack(name: str, channels: int, size: int, block: Callable[[Builder, Tensor], Tensor]) -> Graph:
    b = Builder(name)
    x = b.input("x", (1, channels, size, size))
    for i in range(_BLOCKS):
        with b.scope(f"block{i}"):
            x = block(b, x)
    return b.build(x)


def _g1(row: Mapping[str, str]) -> tuple[str, Graph]:
    c1, c2 = int(row["c1"]), int(row["c2"])
    graph = _stack("equal-channels", c1, int(row["image_hw"]), lambda b, x: b.conv(b.conv(x, c2, 1, name="in"), c1, 1, name="out"))
    return f"x{row['scale']}", graph


def _g2(row: Mapping[str, str]) -> tuple[str, Graph]:
    c, groups = int(row["c1"]), int(row["groups"])
    return f"x{row['scale']}", _stack("groups", c, int(row["image_hw"]), lambda b, x: b.conv(x, c, 1, groups=groups))


def _g3(row: Mapping[str, str]) -> tuple[str, Graph]:
    count = int(row["variant"].partition("-")[0])
    width = round(int(row["c1"]) / math.sqrt(count))  # so narrow that the FLOP stay the same

    def series(b: Builder, x: Tensor) -> Tensor:
        for i in range(count):
            x = b.conv(x, width, 1, name=f"conv{i}")
        return x

    def parallel(b: Builder, x: Tensor) -> Tensor:
        branches = [b.conv(x, width, 1, name=f"conv{i}") for i in range(count)]
        total = branches[0]
        for branch in branches[1:]:
            total = b.add(total, branch)
        return total

    return f"c {row['c1']}", _stack("fragments", width, int(row["image_hw"]), parallel if row["variant"].endswith("parallel") else series)


def _g4(row: Mapping[str, str]) -> tuple[str, Graph]:
    """The paper measured "with tensor fusion on": a ReLU is done by the convolution or the addition before it and is no kernel."""
    c, with_shortcut = int(row["c1"]), "shortcut=yes" in row["variant"]

    def unit(b: Builder, x: Tensor) -> Tensor:
        y = b.conv(x, c // 4, 1, name="reduce")
        y = b.conv(y, c // 4, 3, name="conv")
        y = b.conv(y, c, 1, name="expand")
        return b.add(x, y) if with_shortcut else y

    return f"c {c}", _stack("elementwise", c, int(row["image_hw"]), unit)


# ---- RepVGG: how dense the computation is

# kernel size → [s]; 32 images of 2048 channels in and out at 56 x 56. Source: Ding et al., "RepVGG", CVPR 2021, table 1, as recalled;
# it agrees with the table's own column of FLOP/s.
_REPVGG_S = {1: 84.5e-3, 3: 198.8e-3, 5: 2092.5e-3, 7: 4394.3e-3}


def _kernel_sizes() -> list[tuple[str, str, Graph, float]]:
    rows = []
    for size, measured_s in _REPVGG_S.items():
        b = Builder("density")
        rows.append(("2048 channels, 56x56, batch 32", f"{size}x{size}", b.build(b.conv(b.input("x", (32, 2048, 56, 56)), 2048, size)), measured_s))
    return rows


_SHUFFLENET: dict[str, Any] = {
    "source": 'Ma et al., "ShuffleNet V2: Practical guidelines for efficient CNN architecture design", ECCV 2018, tables 1 to 4',
    "gpu": "gtx-1080-ti",
    "library_year": CUDNN_7_YEAR,
}

STUDIES: tuple[ReadyStudy, ...] = (
    ReadyStudy(
        name="shufflenetv2-g1",
        title="G1: equal channel width",
        claim="With the same FLOP, 1x1 convolutions are fastest when they have as many output as input channels.",
        rows=lambda: _rows("G1", _g1),
        **_SHUFFLENET,
    ),
    ReadyStudy(
        name="shufflenetv2-g2",
        title="G2: few groups",
        claim="With the same FLOP, 1x1 convolutions are slower the more groups they are divided into.",
        rows=lambda: _rows("G2", _g2),
        **_SHUFFLENET,
    ),
    ReadyStudy(
        name="shufflenetv2-g3",
        title="G3: no fragments",
        claim="With the same FLOP, blocks of several small convolutions are slower than one convolution, in series or in parallel.",
        rows=lambda: _rows("G3", _g3),
        **_SHUFFLENET,
    ),
    ReadyStudy(
        name="shufflenetv2-g4",
        title="G4: few elementwise operations",
        claim="Shortcuts have next to no FLOP, and cost time all the same; ReLUs cost next to none where convolutions do them, as there.",
        rows=lambda: _rows("G4", _g4),
        **_SHUFFLENET,
    ),
    ReadyStudy(
        name="repvgg-density",
        title="3x3 is denser than any other kernel",
        claim="A 3x3 convolution does four times the FLOP a second of other sizes, because Winograd saves most of its multiplications.",
        source='Ding et al., "RepVGG: Making VGG-style ConvNets great again", CVPR 2021, table 1',
        gpu="gtx-1080-ti",
        library_year=CUDNN_7_5_YEAR,
        rows=_kernel_sizes,
    ),
)
