"""MixNets, as timm builds them."""

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# depthwise kernels, groups of the expanding and of the projecting 1x1, stride, expansion, channels, squeeze ratio, repeats;
# with squeeze-and-excitation the activation is Swish, without ReLU
Row = tuple[tuple[int, ...], int, int, int, int, int, float, int]
SMALL: tuple[Row, ...] = (
    ((3,), 2, 2, 2, 6, 24, 0, 1),
    ((3,), 2, 2, 1, 3, 24, 0, 1),
    ((3, 5, 7), 1, 1, 2, 6, 40, 0.5, 1),
    ((3, 5), 2, 2, 1, 6, 40, 0.5, 3),
    ((3, 5, 7), 1, 2, 2, 6, 80, 0.25, 1),
    ((3, 5), 1, 2, 1, 6, 80, 0.25, 2),
    ((3, 5, 7), 2, 2, 1, 6, 120, 0.5, 1),
    ((3, 5, 7, 9), 2, 2, 1, 3, 120, 0.5, 2),
    ((3, 5, 7, 9, 11), 1, 1, 2, 6, 200, 0.5, 1),
    ((3, 5, 7, 9), 1, 2, 1, 6, 200, 0.5, 2),
)
MEDIUM: tuple[Row, ...] = (
    ((3, 5, 7), 2, 2, 2, 6, 32, 0, 1),
    ((3,), 2, 2, 1, 3, 32, 0, 1),
    ((3, 5, 7, 9), 1, 1, 2, 6, 40, 0.5, 1),
    ((3, 5), 2, 2, 1, 6, 40, 0.5, 3),
    ((3, 5, 7), 1, 1, 2, 6, 80, 0.25, 1),
    ((3, 5, 7, 9), 2, 2, 1, 6, 80, 0.25, 3),
    ((3,), 1, 1, 1, 6, 120, 0.5, 1),
    ((3, 5, 7, 9), 2, 2, 1, 3, 120, 0.5, 3),
    ((3, 5, 7, 9), 1, 1, 2, 6, 200, 0.5, 1),
    ((3, 5, 7, 9), 1, 2, 1, 6, 200, 0.5, 3),
)


@model("mixnet_s", family="MixNet", table=SMALL, stem=16)
@model("mixnet_m", family="MixNet", table=MEDIUM, stem=24)
@model("mixnet_l", family="MixNet", table=MEDIUM, stem=24, width=1.3)
def mixnet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    width: float = 1.0,
    stem: int = 16,
    table: tuple[Row, ...] = SMALL,
) -> Graph:
    """Tan, Le, "MixConv: Mixed depthwise convolutional kernels", BMVC 2019, figure 5.

    Args:
        width: Multiplier of all channels but those of the last convolution.
        stem: Channels of the first convolution and block.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, round_channels(stem * width), 3, stride=2, act="relu", name="conv_stem")
    with b.scope("blocks.0"):
        y = b.conv_bn(x, x.shape[1], 3, groups=x.shape[1], act="relu", name="dw")
        x = b.add(b.conv_bn(y, x.shape[1], 1, name="pw"), x)
    for stage, (kernels, expand, project, stride, expansion, channels, squeeze, repeats) in enumerate(table, start=1):
        for i in range(repeats):
            with b.scope(f"blocks.{stage}.{i}"):
                act, inside = "silu" if squeeze else "relu", x.shape[1]
                y = b.act(b.batch_norm(_mixed(b, x, inside * expansion, (1,) * expand, name="expand")), act)
                y = b.act(b.batch_norm(_mixed(b, y, y.shape[1], kernels, depthwise=True, stride=stride if i == 0 else 1, name="dw")), act)
                if squeeze:
                    y = b.squeeze_excite(y, int(inside * squeeze), act=act)
                y = b.batch_norm(_mixed(b, y, round_channels(channels * width), (1,) * project, name="project"))
                x = b.add(y, x) if x.shape == y.shape else y
    x = b.conv_bn(x, 1536, 1, act="relu", name="conv_head")
    return b.build(classifier(b, x, num_classes))


def _mixed(b: Builder, x: Tensor, channels: int, kernels: tuple[int, ...], *, name: str, depthwise: bool = False, stride: int = 1) -> Tensor:
    """Channels divided among convolutions of different kernels."""
    with b.scope(name):
        if len(kernels) == 1:
            return b.conv(x, channels, kernels[0], stride=stride, groups=channels if depthwise else 1)
        made = _shares(channels, len(kernels))
        parts = b.split(x, _shares(x.shape[1], len(kernels)))
        return b.concat(
            [b.conv(p, c, k, stride=stride, groups=c if depthwise else 1, name=str(i)) for i, (p, c, k) in enumerate(zip(parts, made, kernels, strict=True))]
        )


def _shares(channels: int, count: int) -> tuple[int, ...]:
    """Equal parts, the first takes what is left over."""
    share = channels // count
    return (channels - share * (count - 1), *(share,) * (count - 1))
