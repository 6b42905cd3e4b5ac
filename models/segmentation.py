"""Semantic segmentation with dilated ResNet-50, as torchvision builds it."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("fcn_resnet50", family="Segmentation", blocks=(3, 4, 6, 3))
@model("fcn_resnet101", family="Segmentation", blocks=(3, 4, 23, 3))
@model("deeplabv3_resnet50", family="Segmentation", blocks=(3, 4, 6, 3), pyramid=True)
@model("deeplabv3_resnet101", family="Segmentation", blocks=(3, 4, 23, 3), pyramid=True)
def segmentation(
    *, name: str, batch: int = 1, image_size: int = 520, num_classes: int = 21, blocks: tuple[int, ...] = (3, 4, 6, 3), pyramid: bool = False
) -> Graph:
    """Long, Shelhamer, Darrell, "Fully convolutional networks", CVPR 2015; Chen et al., "Rethinking atrous convolution", arXiv:1706.05587, section 3.

    Args:
        blocks: Blocks of each stage of the backbone, whose last two stages keep the size and dilate by 2 and 4.
        pyramid: DeepLab's parallel convolutions dilated by 12, 24 and 36 before the classifier.
    """
    b = Builder(name)
    x = image = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("backbone"):
        x = b.relu(b.batch_norm(b.conv(x, 64, 7, stride=2, name="conv1"), name="bn1"))
        x = b.max_pool(x, 3, stride=2, padding=1)
        for stage, (channels, repeat, stride, dilation) in enumerate(zip((64, 128, 256, 512), blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1):
            for i in range(repeat):
                with b.scope(f"layer{stage}.{i}"):
                    # the first block of a dilated stage still has the dilation of the stage before
                    x = _bottleneck(b, x, channels, stride if i == 0 else 1, max(1, dilation // 2) if i == 0 else dilation)
    with b.scope("classifier"):
        if pyramid:
            x = _pyramid(b, x, 256)
        x = b.conv_bn(x, 256 if pyramid else x.shape[1] // 4, 3, act="relu", name="0")
        x = b.conv(x, num_classes, 1, bias=True, name="4")
    return b.build(b.resize(x, image.shape[2:], mode="linear"))


def _bottleneck(b: Builder, x: Tensor, width: int, stride: int, dilation: int) -> Tensor:
    y = b.relu(b.batch_norm(b.conv(x, width, 1, name="conv1"), name="bn1"))
    y = b.relu(b.batch_norm(b.conv(y, width, 3, stride=stride, dilation=dilation, name="conv2"), name="bn2"))
    y = b.batch_norm(b.conv(y, 4 * width, 1, name="conv3"), name="bn3")
    if x.shape != y.shape:
        x = b.batch_norm(b.conv(x, 4 * width, 1, stride=stride, name="downsample.0"), name="downsample.1")
    return b.relu(b.add(y, x))


def _pyramid(b: Builder, x: Tensor, channels: int) -> Tensor:
    """Atrous spatial pyramid pooling."""
    with b.scope("aspp"):
        parts = [b.conv_bn(x, channels, 1, act="relu", name="convs.0")]
        parts += [b.conv_bn(x, channels, 3, dilation=rate, act="relu", name=f"convs.{i}") for i, rate in enumerate((12, 24, 36), start=1)]
        mean = b.conv_bn(b.global_avg_pool(x), channels, 1, act="relu", name="convs.4")
        parts.append(b.resize(mean, x.shape[2:], mode="linear"))
        return b.conv_bn(b.concat(parts), channels, 1, act="relu", name="project")
