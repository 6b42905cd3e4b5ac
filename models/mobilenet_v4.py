"""MobileNet v4, as timm builds it."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# A row: first depthwise kernel (0 = none), middle depthwise kernel, stride, expansion, channels. The paper's names for the
# universal inverted bottleneck: both kernels ExtraDW, middle only IB, first only ConvNeXt, none FFN.
# Four numbers: heads, stride of keys and values, head size, channels of mobile multi-query attention.

SMALL = (
    (("conv", 3, 2, 32), ("conv", 1, 1, 32)),
    (("conv", 3, 2, 96), ("conv", 1, 1, 64)),
    ((5, 5, 2, 3, 96), *[(0, 3, 1, 2, 96)] * 4, (3, 0, 1, 4, 96)),
    ((3, 3, 2, 6, 128), (5, 5, 1, 4, 128), (0, 5, 1, 4, 128), (0, 5, 1, 3, 128), *[(0, 3, 1, 4, 128)] * 2),
)
MEDIUM = (
    (("fused", 3, 2, 48),),
    ((3, 5, 2, 4, 80), (3, 3, 1, 2, 80)),
    ((3, 5, 2, 6, 160), *[(3, 3, 1, 4, 160)] * 2, (3, 5, 1, 4, 160), (3, 3, 1, 4, 160), (3, 0, 1, 4, 160), (0, 0, 1, 2, 160), (3, 0, 1, 4, 160)),
    (
        *((5, 5, 2, 6, 256), (5, 5, 1, 4, 256), (3, 5, 1, 4, 256), (3, 5, 1, 4, 256), (0, 0, 1, 4, 256), (3, 0, 1, 4, 256), (3, 5, 1, 2, 256)),
        *((5, 5, 1, 4, 256), (0, 0, 1, 4, 256), (0, 0, 1, 4, 256), (5, 0, 1, 2, 256)),
    ),
)
LARGE = (
    (("fused", 3, 2, 48),),
    ((3, 5, 2, 4, 96), (3, 3, 1, 4, 96)),
    ((3, 5, 2, 4, 192), *[(3, 3, 1, 4, 192)] * 3, (3, 5, 1, 4, 192), *[(5, 3, 1, 4, 192)] * 5, (3, 0, 1, 4, 192)),
    (
        *((5, 5, 2, 4, 512), *[(5, 5, 1, 4, 512)] * 3, (5, 0, 1, 4, 512), (5, 3, 1, 4, 512), *[(5, 0, 1, 4, 512)] * 2, (5, 3, 1, 4, 512)),
        *((5, 5, 1, 4, 512), *[(5, 0, 1, 4, 512)] * 3),
    ),
)
_MQA_28, _MQA_14 = (4, 2, 64, 160), (4, 1, 64, 256)
HYBRID_MEDIUM = (
    (("fused", 3, 2, 48),),
    ((3, 5, 2, 4, 80), (3, 3, 1, 2, 80)),
    (
        *((3, 5, 2, 6, 160), (0, 0, 1, 2, 160), (3, 3, 1, 4, 160), (3, 5, 1, 4, 160), _MQA_28, (3, 3, 1, 4, 160), _MQA_28, (3, 0, 1, 4, 160), _MQA_28),
        *((3, 3, 1, 4, 160), _MQA_28, (3, 0, 1, 4, 160)),
    ),
    (
        *((5, 5, 2, 6, 256), (5, 5, 1, 4, 256), (3, 5, 1, 4, 256), (3, 5, 1, 4, 256), (0, 0, 1, 2, 256), (3, 5, 1, 2, 256), (0, 0, 1, 2, 256)),
        *((0, 0, 1, 4, 256), _MQA_14, (3, 0, 1, 4, 256), _MQA_14, (5, 5, 1, 4, 256), _MQA_14, (5, 0, 1, 4, 256), _MQA_14, (5, 0, 1, 4, 256)),
    ),
)


@model("mobilenetv4_conv_small", family="MobileNet v4", table=SMALL, aliases=("mobilenet_v4_small", "mobilenet_v4"))
@model("mobilenetv4_conv_medium", family="MobileNet v4", table=MEDIUM, image_size=256, aliases=("mobilenet_v4_medium",))
@model("mobilenetv4_conv_large", family="MobileNet v4", table=LARGE, image_size=384, stem=24, aliases=("mobilenet_v4_large",))
@model("mobilenetv4_hybrid_medium", family="MobileNet v4", table=HYBRID_MEDIUM, image_size=256, layer_scale=True)
def mobilenet_v4(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    stem: int = 32,
    table: tuple[tuple[tuple[object, ...], ...], ...] = SMALL,
    layer_scale: bool = False,
) -> Graph:
    """Qin et al., "MobileNetV4: Universal models for the mobile ecosystem", ECCV 2024, tables 11 to 14 (appendix D).

    Args:
        stem: Channels of the first convolution.
        layer_scale: A trained factor for each channel at the end of a block.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, stem, 3, stride=2, act="relu", name="conv_stem")
    for stage, rows in enumerate(table):
        for i, row in enumerate(rows):
            with b.scope(f"blocks.{stage}.{i}"):
                match row:
                    case ("conv", int(kernel), int(stride), int(channels)):
                        x = b.conv_bn(x, channels, kernel, stride=stride, act="relu")
                    case ("fused", int(kernel), int(stride), int(channels)):
                        x = b.conv_bn(x, 4 * x.shape[1], kernel, stride=stride, act="relu", name="expand")
                        x = b.conv_bn(x, channels, 1, name="project")
                    case (int(heads), int(kv_stride), int(head_size), int(_)):
                        x = _attention(b, x, heads, kv_stride, head_size)
                    case (int(first), int(middle), int(stride), int(expansion), int(channels)):
                        x = _bottleneck(b, x, first, middle, stride, expansion, channels, layer_scale)
    x = b.conv_bn(x, 960, 1, act="relu", name=f"blocks.{len(table)}.0")
    x = b.conv_bn(b.global_avg_pool(x), 1280, 1, act="relu", name="conv_head")
    return b.build(b.linear(b.flatten(x), num_classes, name="classifier"))


def _bottleneck(b: Builder, x: Tensor, first: int, middle: int, stride: int, expansion: int, channels: int, layer_scale: bool) -> Tensor:
    """The universal inverted bottleneck, figure 3."""
    y = x
    if first:
        y = b.conv_bn(y, y.shape[1], first, stride=1 if middle else stride, groups=y.shape[1], name="dw_start")
    y = b.conv_bn(y, expansion * x.shape[1], 1, act="relu", name="expand")
    if middle:
        y = b.conv_bn(y, y.shape[1], middle, stride=stride, groups=y.shape[1], act="relu", name="dw_mid")
    y = b.conv_bn(y, channels, 1, name="project")
    if layer_scale:
        y = _layer_scale(b, y)
    return b.add(y, x) if x.shape == y.shape else y


def _attention(b: Builder, x: Tensor, heads: int, kv_stride: int, head_size: int) -> Tensor:
    """Mobile multi-query attention, section 3.2: keys and values of one head, from a smaller map."""
    batch, channels, height, width = x.shape
    y = b.batch_norm(x, name="norm")
    q = b.conv(y, heads * head_size, 1, name="query")
    q = b.transpose(b.reshape(q, (batch, heads, head_size, height * width)), (0, 1, 3, 2))
    parts = []
    for part in ("key", "value"):
        with b.scope(part):
            z = b.batch_norm(b.conv(y, channels, 3, stride=kv_stride, groups=channels, name="down"), name="norm") if kv_stride > 1 else y
            z = b.conv(z, head_size, 1, name="proj")
            parts.append(b.transpose(b.reshape(z, (batch, 1, head_size, z.shape[2] * z.shape[3])), (0, 1, 3, 2)))
    o = b.transpose(b.attention(q, parts[0], parts[1]), (0, 1, 3, 2))
    y = b.conv(b.reshape(o, (batch, heads * head_size, height, width)), channels, 1, name="output")
    return b.add(_layer_scale(b, y), x)


def _layer_scale(b: Builder, x: Tensor) -> Tensor:
    return b.mul(x, b.weight("layer_scale.gamma", (x.shape[1], 1, 1)), name="layer_scale")
