"""EfficientNet B0 to B7 and EfficientNetV2, as torchvision builds them."""

import math

from simgpu.frontends.blocks import classifier, inverted_residual
from simgpu.frontends.builder import Builder, Tensor, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# expansion, kernel, stride, channels, layers
B0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))


@model("efficientnet_b0", family="EfficientNet", aliases=("efficientnet_b0.timm", "tf_efficientnet_b0", "google/efficientnet-b0"))
@model("efficientnet_b1", family="EfficientNet", width=1.0, depth=1.1, image_size=240)
@model("efficientnet_b2", family="EfficientNet", width=1.1, depth=1.2, image_size=260)
@model("efficientnet_b3", family="EfficientNet", width=1.2, depth=1.4, image_size=300)
@model("efficientnet_b4", family="EfficientNet", width=1.4, depth=1.8, image_size=380)
@model("efficientnet_b5", family="EfficientNet", width=1.6, depth=2.2, image_size=456)
@model("efficientnet_b6", family="EfficientNet", width=1.8, depth=2.6, image_size=528)
@model("efficientnet_b7", family="EfficientNet", width=2.0, depth=3.1, image_size=600)
def efficientnet(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, width: float = 1.0, depth: float = 1.0) -> Graph:
    """Tan, Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019, table 1 (B0).

    Args:
        width: Multiplier of channels.
        depth: Multiplier of layers, rounded up.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.conv_bn(x, round_channels(32 * width), 3, stride=2, act="silu", name="0")
        for stage, (expansion, kernel, stride, channels, layers) in enumerate(B0, start=1):
            for i in range(math.ceil(layers * depth)):
                with b.scope(f"{stage}.{i}"):
                    x = _mbconv(b, x, round_channels(channels * width), expansion, kernel, stride if i == 0 else 1)
        x = b.conv_bn(x, 4 * x.shape[1], 1, act="silu", name=str(len(B0) + 1))
    return b.build(classifier(b, x, num_classes, name="classifier.1"))


@model("efficientnet_lite0", family="EfficientNet-Lite")
@model("efficientnet_lite1", family="EfficientNet-Lite", depth=1.1, image_size=240)
@model("efficientnet_lite2", family="EfficientNet-Lite", width=1.1, depth=1.2, image_size=260)
@model("efficientnet_lite3", family="EfficientNet-Lite", width=1.2, depth=1.4, image_size=280)
@model("efficientnet_lite4", family="EfficientNet-Lite", width=1.4, depth=1.8, image_size=300)
def efficientnet_lite(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, width: float = 1.0, depth: float = 1.0) -> Graph:
    """Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog, 2020.

    EfficientNet without squeeze-and-excitation, with ReLU6; stem, head and the depth of the first and last stage do not grow.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 32, 3, stride=2, act="relu6", name="conv_stem")
    for stage, (expansion, kernel, stride, channels, layers) in enumerate(B0):
        fixed = stage in (0, len(B0) - 1)
        for i in range(layers if fixed else math.ceil(layers * depth)):
            with b.scope(f"blocks.{stage}.{i}"):
                wide = round_channels(channels * width)
                x = inverted_residual(b, x, wide, expanded=expansion * x.shape[1], kernel=kernel, stride=stride if i == 0 else 1)
    x = b.conv_bn(x, 1280, 1, act="relu6", name="conv_head")
    return b.build(classifier(b, x, num_classes))


# fused (one dense convolution instead of 1x1 and depthwise), expansion, stride, channels, layers
SMALL = ((True, 1, 1, 24, 2), (True, 4, 2, 48, 4), (True, 4, 2, 64, 4), (False, 4, 2, 128, 6), (False, 6, 1, 160, 9), (False, 6, 2, 256, 15))
MEDIUM = (
    (True, 1, 1, 24, 3),
    (True, 4, 2, 48, 5),
    (True, 4, 2, 80, 5),
    (False, 4, 2, 160, 7),
    (False, 6, 1, 176, 14),
    (False, 6, 2, 304, 18),
    (False, 6, 1, 512, 5),
)
LARGE = (
    (True, 1, 1, 32, 4),
    (True, 4, 2, 64, 7),
    (True, 4, 2, 96, 7),
    (False, 4, 2, 192, 10),
    (False, 6, 1, 224, 19),
    (False, 6, 2, 384, 25),
    (False, 6, 1, 640, 7),
)


@model("efficientnet_v2_s", family="EfficientNetV2", table=SMALL, aliases=("tf_efficientnetv2_s",))
@model("efficientnet_v2_m", family="EfficientNetV2", table=MEDIUM, image_size=480, aliases=("tf_efficientnetv2_m",))
@model("efficientnet_v2_l", family="EfficientNetV2", table=LARGE, image_size=480, aliases=("tf_efficientnetv2_l",))
def efficientnet_v2(
    *, name: str, batch: int = 1, image_size: int = 384, num_classes: int = 1000, table: tuple[tuple[bool, int, int, int, int], ...] = SMALL
) -> Graph:
    """Tan, Le, "EfficientNetV2: Smaller models and faster training", ICML 2021, table 4 (S)."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.conv_bn(x, table[0][3], 3, stride=2, act="silu", name="0")
        for stage, (fused, expansion, stride, channels, layers) in enumerate(table, start=1):
            block = _fused if fused else _mbconv
            for i in range(layers):
                with b.scope(f"{stage}.{i}"):
                    x = block(b, x, channels, expansion, 3, stride if i == 0 else 1)
        x = b.conv_bn(x, 1280, 1, act="silu", name=str(len(table) + 1))
    return b.build(classifier(b, x, num_classes, name="classifier.1"))


def _mbconv(b: Builder, x: Tensor, channels: int, expansion: int, kernel: int, stride: int) -> Tensor:
    inside = x.shape[1]
    return inverted_residual(
        b, x, channels, expanded=inside * expansion, kernel=kernel, stride=stride, act="silu", squeezed=max(1, inside // 4), squeeze_act="silu"
    )


def _fused(b: Builder, x: Tensor, channels: int, expansion: int, kernel: int, stride: int) -> Tensor:
    if expansion == 1:
        y = b.conv_bn(x, channels, kernel, stride=stride, act="silu", name="conv")
    else:
        y = b.conv_bn(x, expansion * x.shape[1], kernel, stride=stride, act="silu", name="expand")
        y = b.conv_bn(y, channels, 1, name="project")
    return b.add(y, x) if x.shape == y.shape else y
