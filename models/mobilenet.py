"""MobileNets v1 and v2: the depthwise separable networks."""

from simgpu.frontends.blocks import inverted_residual
from simgpu.frontends.builder import Builder, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("mobilenet_v1", family="MobileNet v1", aliases=("mobilenetv1_100", "mobilenet_v1_1.0", "mobilenet_v1_1.0_224", "google/mobilenet_v1_1.0_224"))
@model("mobilenet_v1_075", family="MobileNet v1", width=0.75, aliases=("mobilenet_v1_0.75",))
@model("mobilenet_v1_050", family="MobileNet v1", width=0.5, aliases=("mobilenet_v1_0.5",))
@model("mobilenet_v1_025", family="MobileNet v1", width=0.25, aliases=("mobilenet_v1_0.25",))
@model("mobilenetv1_125", family="MobileNet v1", width=1.25)
def mobilenet_v1(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, width: float = 1.0) -> Graph:
    """Howard et al., "MobileNets: Efficient convolutional neural networks for mobile vision applications", arXiv:1704.04861, table 1.

    Args:
        width: The paper's multiplier α of all channels.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, round_channels(32 * width), 3, stride=2, act="relu6", name="conv_stem")
    table = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for i, (channels, stride) in enumerate(table):
        with b.scope(f"blocks.{i}"):
            x = b.conv_bn(x, x.shape[1], 3, stride=stride, groups=x.shape[1], act="relu6", name="dw")
            x = b.conv_bn(x, round_channels(channels * width), 1, act="relu6", name="pw")
    x = b.flatten(b.global_avg_pool(x))
    return b.build(b.linear(x, num_classes, name="classifier"))


@model("mobilenet_v2", family="MobileNet v2", aliases=("mobilenetv2_100", "mobilenet_v2_1.0", "mobilenet_v2_1.0_224", "google/mobilenet_v2_1.0_224"))
@model("mobilenetv2_035", family="MobileNet v2", width=0.35, aliases=("mobilenet_v2_0.35",))
@model("mobilenetv2_050", family="MobileNet v2", width=0.5, aliases=("mobilenet_v2_0.5",))
@model("mobilenetv2_075", family="MobileNet v2", width=0.75, aliases=("mobilenet_v2_0.75",))
@model("mobilenetv2_140", family="MobileNet v2", width=1.4, aliases=("mobilenet_v2_1.4", "mobilenet_v2_1.4_224"))
def mobilenet_v2(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, width: float = 1.0) -> Graph:
    """Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", CVPR 2018, table 2.

    Args:
        width: Multiplier of all channels but those of the last convolution, which never shrink.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    table = [  # expansion t, channels c, repeats n, stride s
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    with b.scope("features"):
        x = b.conv_bn(x, round_channels(32 * width), 3, stride=2, act="relu6", name="0")
        index = 1
        for expansion, channels, repeats, stride in table:
            for i in range(repeats):
                with b.scope(index):
                    x = inverted_residual(b, x, round_channels(channels * width), expanded=expansion * x.shape[1], stride=stride if i == 0 else 1)
                index += 1
        x = b.conv_bn(x, round_channels(1280 * max(1.0, width)), 1, act="relu6", name=str(index))
    x = b.flatten(b.global_avg_pool(x))
    return b.build(b.linear(x, num_classes, name="classifier.1"))
