"""GhostNet v1 and v2, as timm builds them."""

import math

from simgpu.frontends.builder import Builder, Tensor, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# kernel, expanded, channels, squeeze-and-excitation, stride
TABLE = (
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)


@model("ghostnet_050", family="GhostNet", width=0.5)
@model("ghostnet_100", family="GhostNet", aliases=("ghostnet", "ghostnet_v1"))
@model("ghostnet_130", family="GhostNet", width=1.3)
@model("ghostnetv2_100", family="GhostNet v2", version=2, aliases=("ghostnet_v2",))
@model("ghostnetv2_130", family="GhostNet v2", version=2, width=1.3)
def ghostnet(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, width: float = 1.0, version: int = 1) -> Graph:
    """Han et al., "GhostNet: More features from cheap operations", CVPR 2020, table 1.

    GhostNet v2: Tang et al., "GhostNetV2: Enhance cheap operation with long-range attention", NeurIPS 2022, figure 4.

    Args:
        width: Multiplier of all channels but those of the last convolution.
        version: 2 gates the first ghost module of all blocks but two by decoupled fully connected attention.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, round_channels(16 * width, 4), 3, stride=2, act="relu", name="conv_stem")
    for i, (kernel, expanded, channels, squeeze, stride) in enumerate(TABLE):
        with b.scope(f"blocks.{i}"):
            x = _block(b, x, round_channels(expanded * width, 4), round_channels(channels * width, 4), kernel, stride, squeeze, version == 2 and i > 1)
    x = b.conv_bn(x, round_channels(960 * width, 4), 1, act="relu", name="conv_last")
    x = b.relu(b.conv(b.global_avg_pool(x), 1280, 1, bias=True, name="conv_head"))
    return b.build(b.linear(b.flatten(x), num_classes, name="classifier"))


def _block(b: Builder, x: Tensor, expanded: int, channels: int, kernel: int, stride: int, squeeze: bool, attention: bool) -> Tensor:
    with b.scope("ghost1"):
        y = _ghost(b, x, expanded, act="relu")
        if attention:
            y = b.mul(y, _attention(b, x, expanded))
    if stride > 1:
        y = b.conv_bn(y, expanded, kernel, stride=stride, groups=expanded, name="dw")
    if squeeze:
        y = b.squeeze_excite(y, round_channels(expanded / 4, 4), gate="hard_sigmoid")
    with b.scope("ghost2"):
        y = _ghost(b, y, channels, act="")
    if stride == 1 and x.shape[1] == channels:
        return b.add(y, x)
    with b.scope("shortcut"):
        x = b.conv_bn(x, x.shape[1], kernel, stride=stride, groups=x.shape[1], name="dw")
        return b.add(y, b.conv_bn(x, channels, 1, name="pw"))


def _ghost(b: Builder, x: Tensor, channels: int, *, act: str) -> Tensor:
    """Half of the channels by a 1x1 convolution, the other half from these by a cheap depthwise one (the paper's s = 2, d = 3)."""
    half = math.ceil(channels / 2)
    main = b.conv_bn(x, half, 1, act=act, name="primary_conv")
    cheap = b.conv_bn(main, half, 3, groups=half, act=act, name="cheap_operation")
    both = b.concat([main, cheap])
    return both if 2 * half == channels else b.slice(both, 0, channels)


def _attention(b: Builder, x: Tensor, channels: int) -> Tensor:
    """Long-range attention of v2: at half resolution, along rows and then columns."""
    with b.scope("short_conv"):
        y = b.conv_bn(b.avg_pool(x, 2), channels, 1, name="pw")
        y = b.conv_bn(y, channels, (1, 5), groups=channels, name="row")
        y = b.conv_bn(y, channels, (5, 1), groups=channels, name="column")
        return b.resize(b.sigmoid(y), x.shape[2:])
