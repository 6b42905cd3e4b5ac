"""Kinds of convolution side by side: dense, depthwise, separable, grouped, pointwise; and from how many channels on separable wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from simgpu.api import load_gpu, simulate
from simgpu.arch.spec import GPU
from simgpu.errors import OptionError, did_you_mean
from simgpu.frontends.builder import Builder
from simgpu.graph.ir import Graph, Tensor
from simgpu.report.report import Report

Build = Callable[[Builder, Tensor, "Layer"], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer with as many output as input channels.

    Attributes:
        size: Height and width of the input.
        groups: Of the grouped convolution.
    """

    batch: int = 1
    channels: int
    size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 8

    @property
    def words(self) -> str:
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.channels} channels, {self.size}×{self.size}, {self.kernel}×{self.kernel}{stride}, batch {self.batch}"


def _dense(b: Builder, x: Tensor, v: Layer) -> Tensor:
    return b.conv(x, v.channels, v.kernel, stride=v.stride, name="dense")


def _depthwise(b: Builder, x: Tensor, v: Layer) -> Tensor:
    return b.conv(x, v.channels, v.kernel, stride=v.stride, groups=v.channels, name="depthwise")


def _pointwise(b: Builder, x: Tensor, v: Layer) -> Tensor:
    return b.conv(x, v.channels, 1, stride=v.stride, name="pointwise")


def _separable(b: Builder, x: Tensor, v: Layer) -> Tensor:
    return b.conv(_depthwise(b, x, v), v.channels, 1, name="pointwise")


def _grouped(b: Builder, x: Tensor, v: Layer) -> Tensor:
    return b.conv(x, v.channels, v.kernel, stride=v.stride, groups=v.groups, name="grouped")


KINDS: Mapping[str, tuple[str, Build]] = {
    "dense": ("every output channel sees every input channel", _dense),
    "depthwise": ("every channel is filtered alone", _depthwise),
    "pointwise": ("1×1: channels are mixed, pixels are not", _pointwise),
    "separable": ("depthwise, then pointwise", _separable),
    "grouped": ("dense within each group of channels", _grouped),
}


def convolution(kind: str, layer: Layer) -> Graph:
    """The graph of a layer of that kind.

    Raises:
        OptionError: No such kind, or sizes that make no sense.
    """
    if kind not in KINDS:
        raise OptionError(f"unknown convolution '{kind}', expected one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    for name in ("batch", "channels", "size", "kernel", "stride", "groups"):
        if getattr(layer, name) < 1:
            raise OptionError(f"{name}: expected 1 or more, got {getattr(layer, name)}")
    if layer.kernel % 2 == 0:
        raise OptionError(f"kernel: expected an odd size, got {layer.kernel}")
    if kind == "grouped" and layer.channels % layer.groups:
        raise OptionError(f"grouped: {layer.channels} channels cannot be divided into {layer.groups} groups; choose --groups so that they can")
    b = Builder(kind)
    x = b.input("x", (layer.batch, layer.channels, layer.size, layer.size))
    return b.build(KINDS[kind][1](b, x, layer))


def run_convolution(kind: str, layer: Layer, gpu: str | GPU, *, dtype: str = "fp32", runtime: str = "tensorrt") -> Report:
    """A layer on a GPU that reads its input from DRAM, without the host: the kernels' own time."""
    return simulate(convolution(kind, layer), gpu, dtype=dtype, runtime=runtime, host="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """From how many channels on separable is faster than dense.

    Attributes:
        channels: The fewest from which on it is, of those tried; None = never.
        tried: What was tried, ascending.
        speed_ups: Dense over separable time at each.
    """

    gpu: str
    channels: int | None
    tried: tuple[int, ...]
    speed_ups: tuple[float, ...]


TRIED = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def break_even(layer: Layer, gpu: str | GPU, *, dtype: str = "fp32", runtime: str = "tensorrt", tried: Sequence[int] = TRIED) -> BreakEven:
    """The fewest channels from which on a separable layer is faster than a dense one on a GPU."""
    machine = gpu if isinstance(gpu, GPU) else load_gpu(gpu)
    speed_ups = []
    for channels in tried:
        one = replace(layer, channels=channels)
        dense, separable = (run_convolution(kind, one, machine, dtype=dtype, runtime=runtime).kernel_s for kind in ("dense", "separable"))
        speed_ups.append(dense / separable)
    winning = len(speed_ups)
    while winning and speed_ups[winning - 1] > 1:
        winning -= 1
    fewest = tried[winning] if winning < len(tried) else None
    return BreakEven(gpu=machine.name, channels=fewest, tried=tuple(tried), speed_ups=tuple(speed_ups))
