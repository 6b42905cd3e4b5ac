"""Xception, as timm builds it."""

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("xception", family="Xception", aliases=("legacy_xception",))
def xception(*, name: str, batch: int = 1, image_size: int = 299, num_classes: int = 1000) -> Graph:
    """Chollet, "Xception: Deep learning with depthwise separable convolutions", CVPR 2017, figure 5."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.relu(b.batch_norm(b.conv(x, 32, 3, stride=2, padding=0, name="conv1"), name="bn1"), name="act1")
    x = b.relu(b.batch_norm(b.conv(x, 64, 3, padding=0, name="conv2"), name="bn2"), name="act2")
    blocks = [(2, (128, 128)), (2, (256, 256)), (2, (728, 728)), *[(1, (728, 728, 728))] * 8, (2, (728, 1024))]
    for i, (stride, channels) in enumerate(blocks, start=1):
        with b.scope(f"block{i}"):
            x = _block(b, x, channels, stride, relu_first=i > 1)
    x = b.relu(b.batch_norm(_separable(b, x, 1536, "conv3"), name="bn3"), name="act3")
    x = b.relu(b.batch_norm(_separable(b, x, 2048, "conv4"), name="bn4"), name="act4")
    return b.build(classifier(b, x, num_classes, name="fc"))


@model("xception41", family="Xception", middle=8)
@model("xception65", family="Xception", middle=16)
def xception_aligned(*, name: str, batch: int = 1, image_size: int = 299, num_classes: int = 1000, middle: int = 8) -> Graph:
    """Chen et al., "Encoder-decoder with atrous separable convolution" (DeepLabv3+), ECCV 2018, figure 4; as timm builds it.

    Args:
        middle: Blocks of the middle flow.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 32, 3, stride=2, act="relu", name="stem.0")
    x = b.conv_bn(x, 64, 3, act="relu", name="stem.1")
    blocks = [((128,) * 3, 2), ((256,) * 3, 2), ((728,) * 3, 2), *[((728,) * 3, 1)] * middle, ((728, 1024, 1024), 2), ((1536, 1536, 2048), 1)]
    for i, (channels, stride) in enumerate(blocks):
        with b.scope(f"blocks.{i}"):
            x = _aligned(b, x, channels, stride, last=i == len(blocks) - 1)
    return b.build(classifier(b, x, num_classes, name="head.fc"))


def _aligned(b: Builder, x: Tensor, channels: tuple[int, ...], stride: int, *, last: bool) -> Tensor:
    """Three separable convolutions with normalisation after both parts; the last block has no shortcut and ReLU after each part."""
    y = x
    for i, width in enumerate(channels):
        with b.scope(f"conv{i}"):
            y = y if last else b.relu(y)
            act = "relu" if last else ""
            y = b.conv_bn(y, y.shape[1], 3, stride=stride if i == 2 else 1, groups=y.shape[1], act=act, name="dw")
            y = b.conv_bn(y, width, 1, act=act, name="pw")
    if last:
        return y
    if stride > 1 or x.shape[1] != channels[-1]:
        x = b.conv_bn(x, channels[-1], 1, stride=stride, name="shortcut")
    return b.add(y, x)


def _block(b: Builder, x: Tensor, channels: tuple[int, ...], stride: int, *, relu_first: bool) -> Tensor:
    y = x
    for i, width in enumerate(channels):
        if i > 0 or relu_first:
            y = b.relu(y, name=f"rep.{i}.relu")
        y = b.batch_norm(_separable(b, y, width, f"rep.{i}"), name=f"rep.{i}.bn")
    if stride > 1:
        y = b.max_pool(y, 3, stride=stride, padding=1, name="pool")
    if stride > 1 or x.shape[1] != channels[-1]:
        x = b.batch_norm(b.conv(x, channels[-1], 1, stride=stride, name="skip"), name="skipbn")
    return b.add(y, x)


def _separable(b: Builder, x: Tensor, channels: int, name: str) -> Tensor:
    """Depthwise and pointwise with nothing in between."""
    with b.scope(name):
        return b.conv(b.conv(x, x.shape[1], 3, groups=x.shape[1], name="conv1"), channels, 1, name="pointwise")
