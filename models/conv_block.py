"""One convolution block, to compare dense, depthwise, separable and grouped convolutions."""

from simgpu.errors import OptionError, did_you_mean
from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

KINDS = ("dense", "depthwise", "separable", "grouped")


@model("conv-block", family="Blocks", aliases=("conv_block",))
def conv_block(
    *, name: str, batch: int = 1, kind: str = "dense", channels: int = 256, size: int = 56, kernel: int = 3, stride: int = 1, groups: int = 32
) -> Graph:
    """A convolution of as many output as input channels; the block that "MobileNets", arXiv:1704.04861, section 3.1, replaces.

    Args:
        kind: "dense"; "depthwise" (a filter for each channel); "separable" (depthwise, then 1x1); "grouped".
        size: Height and width of the input.
        groups: Groups of kind "grouped".
    """
    if kind not in KINDS:
        raise OptionError(f"{name}: kind is '{kind}', expected one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    b = Builder(name)
    x = b.input("input", (batch, channels, size, size))
    if kind == "separable":
        x = b.conv(x, channels, kernel, stride=stride, groups=channels, name="depthwise")
        return b.build(b.conv(x, channels, 1, name="pointwise"))
    count = {"dense": 1, "depthwise": channels, "grouped": groups}[kind]
    return b.build(b.conv(x, channels, kernel, stride=stride, groups=count, name=kind))
