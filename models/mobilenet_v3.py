"""MobileNet v3, as torchvision builds it."""

from simgpu.frontends.blocks import inverted_residual
from simgpu.frontends.builder import Builder, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# kernel, expanded, channels, squeeze-and-excitation, activation, stride
LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)
SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)


@model("mobilenet_v3_large", family="MobileNet v3", table=LARGE, last=1280)
@model("mobilenet_v3_small", family="MobileNet v3", table=SMALL, last=1024)
@model("mobilenetv3_large_100", family="MobileNet v3", table=LARGE, last=1280, conv_head=True, aliases=("tf_mobilenetv3_large_100",))
@model("mobilenetv3_small_100", family="MobileNet v3", table=SMALL, last=1024, conv_head=True, aliases=("tf_mobilenetv3_small_100",))
def mobilenet_v3(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    table: tuple[tuple[int, int, int, bool, str, int], ...] = LARGE,
    last: int = 1280,
    conv_head: bool = False,
) -> Graph:
    """Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 1 and 2.

    Args:
        width: Multiplier of all channels.
        last: Features of the layer before the classifier.
        conv_head: That layer is a 1x1 convolution (timm), not a linear layer (torchvision).
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.conv_bn(x, round_channels(16 * width), 3, stride=2, act="hard_swish", name="0")
        for i, (kernel, expanded, channels, squeeze, act, stride) in enumerate(table, start=1):
            wide = round_channels(expanded * width)
            with b.scope(i):
                x = inverted_residual(
                    b,
                    x,
                    round_channels(channels * width),
                    expanded=wide,
                    kernel=kernel,
                    stride=stride,
                    act=act,
                    squeezed=round_channels(wide / 4) if squeeze else 0,
                    gate="hard_sigmoid",
                )
        x = b.conv_bn(x, 6 * x.shape[1], 1, act="hard_swish", name=str(len(table) + 1))
    x, wide = b.global_avg_pool(x), round_channels(last * width)
    if conv_head:
        x = b.flatten(b.hard_swish(b.conv(x, wide, 1, bias=True, name="conv_head")))
    else:
        x = b.hard_swish(b.linear(b.flatten(x), wide, name="classifier.0"), name="classifier.1")
    return b.build(b.linear(x, num_classes, name="classifier.3"))
