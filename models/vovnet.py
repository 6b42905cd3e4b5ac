"""VoVNets: plain, and with residual connections and effective squeeze-and-excitation (ese), as timm builds them."""

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

SLIM = {"widths": (64, 80, 96, 112), "channels": (128, 256, 384, 512)}


@model("vovnet27_slim", family="VoVNet", blocks=(1, 1, 1, 1), **SLIM)
@model("vovnet39a", family="VoVNet", blocks=(1, 1, 2, 2), aliases=("vovnet39",))
@model("vovnet57a", family="VoVNet", blocks=(1, 1, 4, 3), aliases=("vovnet57",))
@model("ese_vovnet19b_dw", family="VoVNet", blocks=(1, 1, 1, 1), layers=3, stem=64, depthwise=True, ese=True)
@model("ese_vovnet39b", family="VoVNet", blocks=(1, 1, 2, 2), ese=True)
@model("ese_vovnet57b", family="VoVNet", blocks=(1, 1, 4, 3), ese=True, image_size=256)
@model("ese_vovnet99b", family="VoVNet", blocks=(1, 3, 9, 3), ese=True)
def vovnet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    blocks: tuple[int, ...] = (1, 1, 2, 2),
    layers: int = 5,
    stem: int = 128,
    widths: tuple[int, ...] = (128, 160, 192, 224),
    channels: tuple[int, ...] = (256, 512, 768, 1024),
    depthwise: bool = False,
    ese: bool = False,
) -> Graph:
    """Lee et al., "An energy and GPU-computation efficient backbone network for real-time object detection", CVPRW 2019, table 1.

    Form b (ese): Lee, Park, "CenterMask", CVPR 2020, section 3.3.

    Args:
        blocks: One-shot aggregation modules of each stage.
        layers: Convolutions of a module, whose outputs are all concatenated.
        widths: Channels of these convolutions, by stage.
        channels: Channels of a stage's output.
        ese: The last module of a stage is gated by its channel means, and all but the first add their input.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 64, 3, stride=2, act="relu", name="stem.0")
    x = _conv(b, x, 64, 1, depthwise, "stem.1")
    x = _conv(b, x, stem, 2, depthwise, "stem.2")
    for stage, (repeats, width, made) in enumerate(zip(blocks, widths, channels, strict=True)):
        with b.scope(f"stages.{stage}"):
            if stage > 0:
                x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="pool")
            for i in range(repeats):
                with b.scope(f"blocks.{i}"):
                    y = _aggregate(b, x, width, made, layers, depthwise)
                    if ese and i == repeats - 1:
                        y = _gated(b, y)
                    x = b.add(y, x) if ese and i > 0 else y
    return b.build(classifier(b, x, num_classes, name="head.fc"))


def _aggregate(b: Builder, x: Tensor, width: int, channels: int, layers: int, depthwise: bool) -> Tensor:
    """One-shot aggregation: a chain of convolutions, all of whose outputs meet in one 1x1."""
    parts = [x]
    if depthwise and x.shape[1] != width:
        x = b.conv_bn(x, width, 1, act="relu", name="conv_reduction")
    for i in range(layers):
        x = _conv(b, x, width, 1, depthwise, f"conv_mid.{i}")
        parts.append(x)
    return b.conv_bn(b.concat(parts), channels, 1, act="relu", name="conv_concat")


def _conv(b: Builder, x: Tensor, channels: int, stride: int, depthwise: bool, name: str) -> Tensor:
    """3x3, dense or depthwise and pointwise."""
    if not depthwise:
        return b.conv_bn(x, channels, 3, stride=stride, act="relu", name=name)
    with b.scope(name):
        x = b.conv(x, x.shape[1], 3, stride=stride, groups=x.shape[1], name="conv_dw")
        return b.conv_bn(x, channels, 1, act="relu", name="conv_pw")


def _gated(b: Builder, x: Tensor) -> Tensor:
    with b.scope("attn"):
        gate = b.conv(b.global_avg_pool(x), x.shape[1], 1, bias=True, name="fc")
        return b.mul(x, b.hard_sigmoid(gate, name="gate"))
