"""Single-shot detectors up to boxes and scores; non-maximum suppression is left to the host, as MLPerf does."""

from simgpu.frontends.blocks import inverted_residual
from simgpu.frontends.builder import Builder, Tensor, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("ssd300_vgg16", family="SSD", aliases=("ssd300", "ssd_vgg16"))
def ssd300_vgg16(*, name: str, batch: int = 1, image_size: int = 300, num_classes: int = 91) -> Graph:
    """Liu et al., "SSD: Single shot multibox detector", ECCV 2016, figure 2; as torchvision builds it for COCO."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    maps: list[Tensor] = []
    with b.scope("backbone"):
        for stage, (channels, repeat) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
            if stage > 0:
                x = b.max_pool(x, 2, ceil_mode=stage == 3, name=f"pool{stage}")
            for i in range(repeat):
                x = _conv(b, x, channels, 3, name=f"conv{stage + 1}_{i + 1}")
            if stage == 3:
                length = b.op("Clip", b.op("ReduceL2", x, axes=(1,), keepdims=1), min=1e-12)
                maps.append(b.mul(b.op("Div", x, length), b.weight("scale_weight", (512, 1, 1)), name="scaled"))
        x = b.max_pool(x, 3, stride=1, padding=1, name="pool5")
        x = _conv(b, x, 1024, 3, dilation=6, padding=6, name="fc6")
        maps.append(_conv(b, x, 1024, 1, name="fc7"))
        for i, (middle, channels, stride, padding) in enumerate(((256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0)), start=8):
            x = _conv(b, maps[-1], middle, 1, name=f"conv{i}_1")
            maps.append(_conv(b, x, channels, 3, stride=stride, padding=padding, name=f"conv{i}_2"))
    return b.build(_heads(b, maps, (4, 6, 6, 6, 4, 4), num_classes))


@model("ssd_resnet34", family="SSD", aliases=("ssd_resnet34_1200", "ssd_r34"))
def ssd_resnet34(*, name: str, batch: int = 1, image_size: int = 1200, num_classes: int = 81) -> Graph:
    """Reddi et al., "MLPerf inference benchmark", ISCA 2020, table 1: the heavy object detector (SSD-ResNet-34, COCO, 1200x1200).

    ResNet-34 without its last stage, whose third stage keeps the size; all heads have stride 3.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("backbone"):
        x = b.relu(b.batch_norm(b.conv(x, 64, 7, stride=2, name="conv1"), name="bn1"))
        x = b.max_pool(x, 3, stride=2, padding=1)
        for stage, (channels, repeat, stride) in enumerate(((64, 3, 1), (128, 4, 2), (256, 6, 1)), start=1):
            for i in range(repeat):
                with b.scope(f"layer{stage}.{i}"):
                    x = _basic(b, x, channels, stride if i == 0 else 1)
    maps = [x]
    for i, (middle, channels, stride, padding) in enumerate(((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 2, 0), (128, 256, 1, 0))):
        with b.scope(f"additional_blocks.{i}"):
            x = _conv(b, x, middle, 1, name="0")
            x = _conv(b, x, channels, 3, stride=stride, padding=padding, name="2")
        maps.append(x)
    return b.build(_heads(b, maps, (4, 6, 6, 6, 4, 4), num_classes, stride=3))


@model("ssd_mobilenet_v1", family="SSD", aliases=("ssd_mobilenet_v1_coco", "ssd_mobilenet"))
def ssd_mobilenet_v1(*, name: str, batch: int = 1, image_size: int = 300, num_classes: int = 91) -> Graph:
    """Reddi et al., "MLPerf inference benchmark", ISCA 2020, table 1: the light object detector (SSD-MobileNet-v1, COCO, 300x300)."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    maps: list[Tensor] = []
    with b.scope("backbone"):
        x = b.conv_bn(x, 32, 3, stride=2, act="relu6", name="0")
        table = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        for i, (channels, stride) in enumerate(table, start=1):
            with b.scope(i):
                x = b.conv_bn(x, x.shape[1], 3, stride=stride, groups=x.shape[1], act="relu6", name="depthwise")
                x = b.conv_bn(x, channels, 1, act="relu6", name="pointwise")
            if i in (11, 13):
                maps.append(x)
    for i, (middle, channels) in enumerate(((256, 512), (128, 256), (128, 256), (64, 128))):
        with b.scope(f"extras.{i}"):
            x = b.conv_bn(x, middle, 1, act="relu6", name="0")
            x = b.conv_bn(x, channels, 3, stride=2, act="relu6", name="2")
        maps.append(x)
    return b.build(_heads(b, maps, (3, 6, 6, 6, 6, 6), num_classes, kernel=1))


# kernel, expanded, channels, squeeze-and-excitation, activation, stride: MobileNetV3-Large whose last stage has half the channels
SSDLITE_V3 = (
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
    (5, 672, 80, True, "hard_swish", 2),
    (5, 480, 80, True, "hard_swish", 1),
    (5, 480, 80, True, "hard_swish", 1),
)


@model("ssdlite320_mobilenet_v3_large", family="SSD", aliases=("ssdlite", "ssdlite_mobilenet_v3"))
def ssdlite320(*, name: str, batch: int = 1, image_size: int = 320, num_classes: int = 91) -> Graph:
    """Howard et al., "Searching for MobileNetV3", ICCV 2019, section 6.3; as torchvision builds it for COCO."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    maps: list[Tensor] = []
    with b.scope("backbone"):
        x = b.conv_bn(x, 16, 3, stride=2, act="hard_swish", name="0")
        for i, (kernel, expanded, channels, squeeze, act, stride) in enumerate(SSDLITE_V3, start=1):
            with b.scope(i):
                if i == 13:  # the detector takes the expanded map of the block that halves it last
                    x = b.conv_bn(x, expanded, 1, act=act, name="expand")
                    maps.append(x)
                squeezed = round_channels(expanded / 4) if squeeze else 0
                x = inverted_residual(b, x, channels, expanded=expanded, kernel=kernel, stride=stride, act=act, squeezed=squeezed, gate="hard_sigmoid")
        x = b.conv_bn(x, 480, 1, act="hard_swish", name="16")
    maps.append(x)
    for i, channels in enumerate((512, 256, 256, 128)):
        with b.scope(f"extra.{i}"):
            x = b.conv_bn(x, channels // 2, 1, act="relu6", name="0")
            x = b.conv_bn(x, channels // 2, 3, stride=2, groups=channels // 2, act="relu6", name="1")
            x = b.conv_bn(x, channels, 1, act="relu6", name="2")
        maps.append(x)
    return b.build(_heads(b, maps, (6,) * 6, num_classes, depthwise=True))


def _conv(b: Builder, x: Tensor, channels: int, kernel: int, *, name: str, stride: int = 1, padding: int | None = None, dilation: int = 1) -> Tensor:
    """A convolution with bias, and ReLU."""
    with b.scope(name):
        return b.relu(b.conv(x, channels, kernel, stride=stride, padding=padding, dilation=dilation, bias=True))


def _basic(b: Builder, x: Tensor, channels: int, stride: int) -> Tensor:
    """The basic block of ResNet."""
    y = b.relu(b.batch_norm(b.conv(x, channels, 3, stride=stride, name="conv1"), name="bn1"))
    y = b.batch_norm(b.conv(y, channels, 3, name="conv2"), name="bn2")
    if x.shape != y.shape:
        x = b.batch_norm(b.conv(x, channels, 1, stride=stride, name="downsample.0"), name="downsample.1")
    return b.relu(b.add(y, x))


def _heads(
    b: Builder, maps: list[Tensor], boxes: tuple[int, ...], num_classes: int, *, kernel: int = 3, stride: int = 1, depthwise: bool = False
) -> tuple[Tensor, Tensor]:
    """Offsets (N, boxes, 4) and scores (N, boxes, classes) from each map, so many boxes a position."""
    results = []
    for head, size in (("regression_head", 4), ("classification_head", num_classes)):
        parts = []
        for i, (x, count) in enumerate(zip(maps, boxes, strict=True)):
            with b.scope(f"head.{head}.{i}"):
                if depthwise:
                    x = b.conv_bn(x, x.shape[1], 3, groups=x.shape[1], act="relu6", name="0")
                y = b.conv(x, count * size, 1 if depthwise else kernel, stride=stride, bias=True, name="1")
                batch, _, height, width = y.shape
                parts.append(b.reshape(b.transpose(y, (0, 2, 3, 1)), (batch, height * width * count, size)))
        results.append(b.concat(parts, axis=1, name=f"head.{head}.concat"))
    return results[0], results[1]
