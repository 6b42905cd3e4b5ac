"""MnasNet-B1, as torchvision builds it, and A1 with squeeze-and-excitation, as timm builds it."""

from simgpu.frontends.blocks import classifier, inverted_residual
from simgpu.frontends.builder import Builder, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# channels, kernel, stride, expansion, repeats, squeeze-and-excitation
B1 = ((24, 3, 2, 3, 3, False), (40, 5, 2, 3, 3, False), (80, 5, 2, 6, 3, False), (96, 3, 1, 6, 2, False), (192, 5, 2, 6, 4, False), (320, 3, 1, 6, 1, False))
A1 = ((24, 3, 2, 6, 2, False), (40, 5, 2, 3, 3, True), (80, 3, 2, 6, 4, False), (112, 3, 1, 6, 2, True), (160, 5, 2, 6, 3, True), (320, 3, 1, 6, 1, False))


@model("mnasnet0_5", family="MnasNet", width=0.5, aliases=("mnasnet_050",))
@model("mnasnet0_75", family="MnasNet", width=0.75, aliases=("mnasnet_075",))
@model("mnasnet1_0", family="MnasNet", aliases=("mnasnet_100", "mnasnet_b1"))
@model("mnasnet1_3", family="MnasNet", width=1.3, aliases=("mnasnet_130",))
@model("semnasnet_100", family="MnasNet", table=A1, aliases=("mnasnet_a1",))
def mnasnet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    table: tuple[tuple[int, int, int, int, int, bool], ...] = B1,
) -> Graph:
    """Tan et al., "MnasNet: Platform-aware neural architecture search for mobile", CVPR 2019, figure 7.

    Args:
        width: Multiplier of all channels but those of the last convolution.
        table: Form B1 or A1.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, round_channels(32 * width), 3, stride=2, act="relu", name="conv_stem")
    x = b.conv_bn(x, x.shape[1], 3, groups=x.shape[1], act="relu", name="blocks.0.dw")
    x = b.conv_bn(x, round_channels(16 * width), 1, name="blocks.0.project")
    for stage, (channels, kernel, stride, expansion, repeats, squeeze) in enumerate(table, start=1):
        for i in range(repeats):
            with b.scope(f"blocks.{stage}.{i}"):
                inside = x.shape[1]
                x = inverted_residual(
                    b,
                    x,
                    round_channels(channels * width),
                    expanded=inside * expansion,
                    kernel=kernel,
                    stride=stride if i == 0 else 1,
                    act="relu",
                    squeezed=inside * expansion // (4 * expansion) if squeeze else 0,
                )
    x = b.conv_bn(x, 1280, 1, act="relu", name="conv_head")
    return b.build(classifier(b, x, num_classes))
