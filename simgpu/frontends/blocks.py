"""Blocks that several families of networks share."""

from __future__ import annotations

from simgpu.frontends.builder import Builder, Tensor


def inverted_residual(
    b: Builder,
    x: Tensor,
    channels: int,
    *,
    expanded: int,
    kernel: int = 3,
    stride: int = 1,
    act: str = "relu6",
    squeezed: int = 0,
    squeeze_act: str = "relu",
    gate: str = "sigmoid",
) -> Tensor:
    """1x1 to more channels, depthwise, squeeze-and-excitation if asked, 1x1 back; the input is added where shapes agree.

    Args:
        expanded: Channels of the depthwise convolution; the first 1x1 is left out if the input has as many.
        squeezed: Channels inside squeeze-and-excitation; 0 = none.
    Source:
        Sandler et al., "MobileNetV2", CVPR 2018, table 1; Tan et al., "MnasNet", CVPR 2019, figure 7.
    """
    y = b.conv_bn(x, expanded, 1, act=act, name="expand") if expanded != x.shape[1] else x
    y = b.conv_bn(y, expanded, kernel, stride=stride, groups=expanded, act=act, name="dw")
    if squeezed:
        y = b.squeeze_excite(y, squeezed, act=squeeze_act, gate=gate)
    y = b.conv_bn(y, channels, 1, name="project")
    return b.add(y, x) if x.shape == y.shape else y


def classifier(b: Builder, x: Tensor, num_classes: int, *, name: str = "classifier") -> Tensor:
    """Global average pool and one linear layer."""
    return b.linear(b.flatten(b.global_avg_pool(x)), num_classes, name=name)
