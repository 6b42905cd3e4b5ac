"""ShuffleNet v1, as its paper describes it, and v2, as torchvision builds it."""

from simgpu.errors import OptionError
from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# groups → channels of stage 2; stages 3 and 4 have twice and four times as many
V1_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


@model("shufflenet_v1", family="ShuffleNet v1", aliases=("shufflenet", "shufflenet_v1_x1_0", "shufflenet_v1_1x_g3"))
@model("shufflenet_v1_g1", family="ShuffleNet v1", groups=1)
@model("shufflenet_v1_g2", family="ShuffleNet v1", groups=2)
@model("shufflenet_v1_g4", family="ShuffleNet v1", groups=4)
@model("shufflenet_v1_g8", family="ShuffleNet v1", groups=8)
@model("shufflenet_v1_x0_25", family="ShuffleNet v1", width=0.25)
@model("shufflenet_v1_x0_5", family="ShuffleNet v1", width=0.5, aliases=("shufflenet_v1_0.5x_g3",))
@model("shufflenet_v1_x1_5", family="ShuffleNet v1", width=1.5, aliases=("shufflenet_v1_1.5x_g3",))
@model("shufflenet_v1_x2_0", family="ShuffleNet v1", width=2.0, aliases=("shufflenet_v1_2x_g3",))
def shufflenet_v1(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, groups: int = 3, width: float = 1.0) -> Graph:
    """Zhang et al., "ShuffleNet: An extremely efficient convolutional neural network for mobile devices", CVPR 2018, table 1.

    Args:
        groups: Groups of the pointwise convolutions, the paper's g: 1, 2, 3, 4 or 8.
        width: The paper's s×.
    """
    if groups not in V1_CHANNELS:
        raise OptionError(f"{name}: groups is {groups}, expected one of {', '.join(map(str, V1_CHANNELS))}, for which the paper gives channels")
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 24 if 1 <= width < 2 else max(12, int(24 * width)), 3, stride=2, act="relu", name="conv1")
    x = b.max_pool(x, 3, stride=2, padding=1)
    for stage, repeats in ((2, 3), (3, 7), (4, 3)):
        channels = int(V1_CHANNELS[groups] * width) * 2 ** (stage - 2)
        for i in range(repeats + 1):
            with b.scope(f"stage{stage}.{i}"):
                x = _unit_v1(b, x, channels, groups, first_groups=1 if stage == 2 and i == 0 else groups, stride=2 if i == 0 else 1)
    return b.build(classifier(b, x, num_classes, name="fc"))


def _unit_v1(b: Builder, x: Tensor, channels: int, groups: int, *, first_groups: int, stride: int) -> Tensor:
    """Figure 2 b (stride 1, added) and c (stride 2, concatenated with the pooled input)."""
    made = channels - x.shape[1] if stride == 2 else channels
    y = b.conv_bn(x, channels // 4, 1, groups=first_groups, act="relu", name="gconv1")
    if first_groups > 1:
        y = b.channel_shuffle(y, groups)
    y = b.conv_bn(y, channels // 4, 3, stride=stride, groups=channels // 4, name="dw")
    y = b.conv_bn(y, made, 1, groups=groups, name="gconv2")
    if stride == 2:
        return b.relu(b.concat([b.avg_pool(x, 3, stride=2, padding=1), y]))
    return b.relu(b.add(x, y))


@model("shufflenet_v2_x0_5", family="ShuffleNet v2", channels=(48, 96, 192), last=1024, aliases=("shufflenet_v2_0.5x",))
@model("shufflenet_v2_x1_0", family="ShuffleNet v2", channels=(116, 232, 464), last=1024, aliases=("shufflenet_v2", "shufflenet_v2_1x"))
@model("shufflenet_v2_x1_5", family="ShuffleNet v2", channels=(176, 352, 704), last=1024, aliases=("shufflenet_v2_1.5x",))
@model("shufflenet_v2_x2_0", family="ShuffleNet v2", channels=(244, 488, 976), last=2048, aliases=("shufflenet_v2_2x",))
def shufflenet_v2(
    *, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, channels: tuple[int, ...] = (116, 232, 464), last: int = 1024
) -> Graph:
    """Ma et al., "ShuffleNet V2: Practical guidelines for efficient CNN architecture design", ECCV 2018, table 5."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 24, 3, stride=2, act="relu", name="conv1")
    x = b.max_pool(x, 3, stride=2, padding=1)
    for stage, width, repeats in zip((2, 3, 4), channels, (4, 8, 4), strict=True):
        for i in range(repeats):
            with b.scope(f"stage{stage}.{i}"):
                x = _down_v2(b, x, width) if i == 0 else _unit_v2(b, x)
    x = b.conv_bn(x, last, 1, act="relu", name="conv5")
    return b.build(classifier(b, x, num_classes, name="fc"))


def _unit_v2(b: Builder, x: Tensor) -> Tensor:
    """Figure 3 c: half of the channels pass untouched."""
    kept, y = b.split(x, 2)
    y = _branch_v2(b, y, y.shape[1], 1)
    return b.channel_shuffle(b.concat([kept, y]), 2)


def _down_v2(b: Builder, x: Tensor, channels: int) -> Tensor:
    """Figure 3 d: both branches halve the map."""
    with b.scope("branch1"):
        left = b.conv_bn(x, x.shape[1], 3, stride=2, groups=x.shape[1], name="dw")
        left = b.conv_bn(left, channels // 2, 1, act="relu", name="pw")
    return b.channel_shuffle(b.concat([left, _branch_v2(b, x, channels // 2, 2)]), 2)


def _branch_v2(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    with b.scope("branch2"):
        x = b.conv_bn(x, channels, 1, act="relu", name="pw1")
        x = b.conv_bn(x, channels, 3, stride=stride, groups=channels, name="dw")
        return b.conv_bn(x, channels, 1, act="relu", name="pw2")
