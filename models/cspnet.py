"""Darknet-53 and cross-stage partial networks, as timm builds them."""

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("cspresnet50", family="CSPNet", depth=(3, 3, 5, 2), channels=(128, 256, 512, 1024), expand=2.0, bottleneck=0.5)
@model("cspresnext50", family="CSPNet", depth=(3, 3, 5, 2), channels=(256, 512, 1024, 2048), inside=0.5, groups=32)
@model("cspdarknet53", family="CSPNet", depth=(1, 2, 8, 8, 4), channels=(64, 128, 256, 512, 1024), inside=0.5, dark=True)
def cspnet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 256,
    num_classes: int = 1000,
    depth: tuple[int, ...] = (3, 3, 5, 2),
    channels: tuple[int, ...] = (128, 256, 512, 1024),
    expand: float = 1.0,
    bottleneck: float = 1.0,
    inside: float = 1.0,
    groups: int = 1,
    dark: bool = False,
) -> Graph:
    """Wang et al., "CSPNet: A new backbone that can enhance learning capability of CNN", CVPRW 2020, figure 2 b.

    CSPDarknet-53: Bochkovskiy et al., "YOLOv4", arXiv:2004.10934, section 3.

    Args:
        depth: Blocks of each stage.
        channels: Output of each stage.
        expand: Channels before a stage divides into its two paths, by those of its output.
        bottleneck: Channels inside a block by those of its output.
        inside: Channels of the blocks by those of the stage's output.
        dark: Darknet's form: stem at full resolution, blocks of 1x1 and 3x3, every stage halves the map; its first stage has
            expand 2 and bottleneck ½.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    if dark:
        x = b.conv_bn(x, 32, 3, act="leaky_relu", name="stem.conv1")
    else:
        x = b.conv_bn(x, 64, 7, stride=2, act="leaky_relu", name="stem.conv1")
        x = b.max_pool(x, 3, stride=2, padding=1, name="stem.pool")
    for stage, (repeats, width) in enumerate(zip(depth, channels, strict=True)):
        first = dark and stage == 0
        with b.scope(f"stages.{stage}"):
            if dark or stage > 0:
                x = b.conv_bn(x, width if dark else x.shape[1], 3, stride=2, groups=groups, act="leaky_relu", name="conv_down")
            wide = int(width * (2.0 if first else expand))
            x = b.conv_bn(x, wide, 1, act="leaky_relu" if dark else "", name="conv_exp")
            kept, y = b.split(x, 2)
            made = width if first else int(width * inside)
            for i in range(repeats):
                with b.scope(f"blocks.{i}"):
                    y = _block(b, y, made, int(made * (0.5 if first else bottleneck)), groups, dark)
            y = b.conv_bn(y, wide // 2, 1, act="leaky_relu", name="conv_transition_b")
            x = b.conv_bn(b.concat([kept, y]), width, 1, act="leaky_relu", name="conv_transition")
    return b.build(classifier(b, x, num_classes, name="head.fc"))


@model("darknet53", family="Darknet", aliases=("darknet_53",))
def darknet(*, name: str, batch: int = 1, image_size: int = 256, num_classes: int = 1000, depth: tuple[int, ...] = (1, 2, 8, 8, 4)) -> Graph:
    """Redmon, Farhadi, "YOLOv3: An incremental improvement", arXiv:1804.02767, table 1.

    Args:
        depth: Blocks of each stage.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 32, 3, act="leaky_relu", name="stem.conv1")
    for stage, repeats in enumerate(depth):
        width = 64 * 2**stage
        with b.scope(f"stages.{stage}"):
            x = b.conv_bn(x, width, 3, stride=2, act="leaky_relu", name="conv_down")
            for i in range(repeats):
                with b.scope(f"blocks.{i}"):
                    x = _block(b, x, width, width // 2, 1, dark=True)
    return b.build(classifier(b, x, num_classes, name="head.fc"))


def _block(b: Builder, x: Tensor, channels: int, middle: int, groups: int, dark: bool) -> Tensor:
    y = b.conv_bn(x, middle, 1, act="leaky_relu", name="conv1")
    if dark:
        return b.add(b.conv_bn(y, channels, 3, groups=groups, act="leaky_relu", name="conv2"), x)
    y = b.conv_bn(y, middle, 3, groups=groups, act="leaky_relu", name="conv2")
    y = b.conv_bn(y, channels, 1, name="conv3")
    return b.leaky_relu(b.add(y, x), name="act3")
