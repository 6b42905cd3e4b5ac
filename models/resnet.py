"""Residual networks, as torchvision builds them (names of modules included)."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("resnet18", family="ResNet", block="basic", blocks=(2, 2, 2, 2), aliases=("microsoft/resnet-18",))
@model("resnet34", family="ResNet", block="basic", blocks=(3, 4, 6, 3))
@model("resnet50", family="ResNet", blocks=(3, 4, 6, 3), aliases=("resnet50_v1_5", "resnet50.timm"))
@model("resnet101", family="ResNet", blocks=(3, 4, 23, 3), aliases=("resnet101_v1_5",))
@model("resnet152", family="ResNet", blocks=(3, 8, 36, 3), aliases=("resnet152_v1_5",))
@model("resnet50_v1", family="ResNet", blocks=(3, 4, 6, 3), stride_in="1x1")
@model("resnet101_v1", family="ResNet", blocks=(3, 4, 23, 3), stride_in="1x1")
@model("resnet152_v1", family="ResNet", blocks=(3, 8, 36, 3), stride_in="1x1")
@model("resnet50d", family="ResNet", blocks=(3, 4, 6, 3), form="d")
@model("resnet101d", family="ResNet", blocks=(3, 4, 23, 3), form="d")
@model("resnext50_32x4d", family="ResNeXt", blocks=(3, 4, 6, 3), groups=32, width_per_group=4)
@model("resnext101_32x4d", family="ResNeXt", blocks=(3, 4, 23, 3), groups=32, width_per_group=4)
@model("resnext101_32x8d", family="ResNeXt", blocks=(3, 4, 23, 3), groups=32, width_per_group=8)
@model("resnext101_64x4d", family="ResNeXt", blocks=(3, 4, 23, 3), groups=64, width_per_group=4)
@model("wide_resnet50_2", family="Wide ResNet", blocks=(3, 4, 6, 3), width_per_group=128)
@model("wide_resnet101_2", family="Wide ResNet", blocks=(3, 4, 23, 3), width_per_group=128)
@model("legacy_seresnet50", family="SE-ResNet", blocks=(3, 4, 6, 3), squeeze_excite=16, stride_in="1x1")
@model("seresnet50", family="SE-ResNet", blocks=(3, 4, 6, 3), squeeze_excite=16)
@model("seresnet101", family="SE-ResNet", blocks=(3, 4, 23, 3), squeeze_excite=16)
@model("seresnext50_32x4d", family="SE-ResNet", blocks=(3, 4, 6, 3), groups=32, width_per_group=4, squeeze_excite=16)
@model("seresnext101_32x4d", family="SE-ResNet", blocks=(3, 4, 23, 3), groups=32, width_per_group=4, squeeze_excite=16)
def resnet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    block: str = "bottleneck",
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    groups: int = 1,
    width_per_group: int = 64,
    stride_in: str = "3x3",
    squeeze_excite: int = 0,
    form: str = "",
) -> Graph:
    """He et al., "Deep residual learning for image recognition", CVPR 2016, table 1.

    Variants: Xie et al., "Aggregated residual transformations", CVPR 2017, table 1 (ResNeXt: groups × width per group);
    Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016; Hu et al., "Squeeze-and-excitation networks", CVPR 2018.

    Args:
        block: "basic" (two 3x3) or "bottleneck" (1x1, 3x3, 1x1).
        stride_in: Where a bottleneck halves the map: the paper's first "1x1" (v1) or the "3x3" (v1.5, as torchvision does).
        squeeze_excite: Channels are squeezed by this factor; 0 = no squeeze-and-excitation.
        form: "d" has three 3x3 in place of the 7x7 and pools before the shortcut's 1x1 (He et al., "Bag of tricks", CVPR 2019,
            figure 2).
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    if form == "d":
        for i, channels in enumerate((32, 32)):
            x = b.conv_bn(x, channels, 3, stride=1 if i else 2, act="relu", name=f"stem.{i}")
        x = b.relu(b.batch_norm(b.conv(x, 64, 3, name="conv1"), name="bn1"))
    else:
        x = b.relu(b.batch_norm(b.conv(x, 64, 7, stride=2, name="conv1"), name="bn1"))
    x = b.max_pool(x, 3, stride=2, padding=1)
    for stage, (channels, repeat) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), start=1):
        for i in range(repeat):
            stride = 2 if stage > 1 and i == 0 else 1
            with b.scope(f"layer{stage}.{i}"):
                if block == "basic":
                    x = _basic(b, x, channels, stride)
                else:
                    width = channels * width_per_group // 64 * groups
                    shortcut = _shortcut(b, x, 4 * channels, stride, pooled=form == "d")
                    x = _bottleneck(b, x, shortcut, width, stride, groups, stride_in, squeeze_excite)
    x = b.flatten(b.global_avg_pool(x))
    return b.build(b.linear(x, num_classes, name="fc"))


def _basic(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    y = b.relu(b.batch_norm(b.conv(x, channels, 3, stride=stride, name="conv1"), name="bn1"))
    y = b.batch_norm(b.conv(y, channels, 3, name="conv2"), name="bn2")
    return b.relu(b.add(y, _shortcut(b, x, channels, stride)))


def _bottleneck(b: Builder, x: Tensor, shortcut: Tensor, width: int, stride: int, groups: int, stride_in: str, squeeze_excite: int) -> Tensor:
    channels = shortcut.shape[1]
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    y = b.relu(b.batch_norm(b.conv(x, width, 1, stride=first, name="conv1"), name="bn1"))
    y = b.relu(b.batch_norm(b.conv(y, width, 3, stride=second, groups=groups, name="conv2"), name="bn2"))
    y = b.batch_norm(b.conv(y, channels, 1, name="conv3"), name="bn3")
    if squeeze_excite:
        y = b.squeeze_excite(y, channels // squeeze_excite, name="se")
    return b.relu(b.add(y, shortcut))


def _shortcut(b: Builder, x: Tensor, channels: int, stride: int, *, pooled: bool = False) -> Tensor:
    """The block's input, through a 1x1 convolution where its shape changes (option B of the paper)."""
    if stride == 1 and x.shape[1] == channels:
        return x
    if pooled and stride > 1:
        x, stride = b.avg_pool(x, 2, ceil_mode=True, name="downsample.pool"), 1
    return b.batch_norm(b.conv(x, channels, 1, stride=stride, name="downsample.0"), name="downsample.1")


@model("resnetv2_50", family="ResNet v2", blocks=(3, 4, 6, 3))
@model("resnetv2_101", family="ResNet v2", blocks=(3, 4, 23, 3))
@model("resnetv2_152", family="ResNet v2", blocks=(3, 8, 36, 3))
@model("resnet200", family="ResNet v2", blocks=(3, 24, 36, 3), aliases=("resnetv2_200",))
def resnet_v2(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> Graph:
    """He et al., "Identity mappings in deep residual networks", ECCV 2016, figure 4 e (normalisation and ReLU before each convolution)."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.max_pool(b.conv(x, 64, 7, stride=2, name="stem.conv"), 3, stride=2, padding=1, name="stem.pool")
    for stage, (channels, repeat) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
        for i in range(repeat):
            stride = 2 if stage > 0 and i == 0 else 1
            with b.scope(f"stages.{stage}.{i}"):
                y = b.relu(b.batch_norm(x, name="norm1"))
                shortcut = b.conv(y, 4 * channels, 1, stride=stride, name="downsample.conv") if i == 0 else x
                y = b.relu(b.batch_norm(b.conv(y, channels, 1, name="conv1"), name="norm2"))
                y = b.relu(b.batch_norm(b.conv(y, channels, 3, stride=stride, name="conv2"), name="norm3"))
                x = b.add(b.conv(y, 4 * channels, 1, name="conv3"), shortcut)
    x = b.global_avg_pool(b.relu(b.batch_norm(x, name="norm")))
    return b.build(b.flatten(b.conv(x, num_classes, 1, bias=True, name="head.fc")))
