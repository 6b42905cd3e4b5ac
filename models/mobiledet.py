"""MobileDets: SSDLite detectors with searched backbones, as TensorFlow's object detection API builds them."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# A row: kind, channels, kernel, stride, expansion (ibn, fused) or the two rank ratios (tucker), residual. The first row of a
# stage halves the map; the outputs of the last two stages feed the detector.
Row = tuple[str, int, int, int, int | tuple[float, float], bool]


def _ibn(channels: int, expansion: int, *, kernel: int = 3, stride: int = 1, residual: bool = True) -> Row:
    return ("ibn", channels, kernel, stride, expansion, residual and stride == 1)


def _fused(channels: int, expansion: int, *, kernel: int = 3, stride: int = 1, residual: bool = True) -> Row:
    return ("fused", channels, kernel, stride, expansion, residual and stride == 1)


def _tucker(channels: int, ratios: tuple[float, float], *, residual: bool = True) -> Row:
    return ("tucker", channels, 3, 1, ratios, residual)


CPU = (
    (("first", 8, 3, 1, 1, False),),
    (_ibn(16, 4, stride=2),),
    (_ibn(32, 8, stride=2), *[_ibn(32, 4)] * 3),
    (
        *(_ibn(72, 8, kernel=5, stride=2), _ibn(72, 8), _ibn(72, 4, kernel=5), _ibn(72, 4)),
        *(_ibn(72, 8, residual=False), *[_ibn(72, 8)] * 3),
    ),
    (_ibn(104, 8, kernel=5, stride=2), *[_ibn(104, 4, kernel=5)] * 2, _ibn(104, 4), _ibn(144, 8, residual=False)),
)
DSP = (
    (("first", 24, 3, 1, 1, False),),
    (_fused(32, 4, stride=2), _fused(32, 4), _ibn(32, 4), _tucker(32, (0.25, 0.75))),
    (_fused(64, 8, stride=2), _ibn(64, 4), *[_fused(64, 4)] * 2),
    (_fused(120, 8, stride=2), _ibn(120, 4), *[_ibn(120, 8)] * 2, _fused(144, 8, residual=False), *[_ibn(144, 8)] * 3),
    (_ibn(160, 4, stride=2), _ibn(160, 4), _fused(160, 4), _tucker(160, (0.75, 0.75)), _ibn(240, 8, residual=False)),
)
EDGETPU = (
    (_tucker(16, (0.25, 0.75), residual=False),),
    (_fused(16, 8, stride=2), _fused(16, 4), _fused(16, 8), _fused(16, 4)),
    (_fused(40, 8, kernel=5, stride=2), *[_fused(40, 4)] * 3),
    (
        *(_ibn(72, 8, stride=2), _ibn(72, 8), *[_fused(72, 4)] * 2),
        *(_ibn(96, 8, kernel=5, residual=False), _ibn(96, 8, kernel=5), *[_ibn(96, 8)] * 2),
    ),
    (_ibn(120, 8, kernel=5, stride=2), _ibn(120, 8), _ibn(120, 4, kernel=5), _ibn(120, 8), _ibn(384, 8, kernel=5, residual=False)),
)


@model("mobiledet_cpu", family="MobileDet", table=CPU, stem=16, act="hard_swish", squeeze=True, aliases=("ssd_mobiledet_cpu_coco",))
@model("mobiledet_dsp", family="MobileDet", table=DSP, aliases=("ssd_mobiledet_dsp_coco",))
@model("mobiledet_edgetpu", family="MobileDet", table=EDGETPU, aliases=("ssd_mobiledet_edgetpu_coco",))
def mobiledet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 320,
    num_classes: int = 91,
    table: tuple[tuple[Row, ...], ...] = CPU,
    stem: int = 32,
    act: str = "relu6",
    squeeze: bool = False,
) -> Graph:
    """Xiong et al., "MobileDets: Searching for object detection architectures for mobile accelerators", CVPR 2021, figures 9 to 12.

    Args:
        table: Backbone, by stage.
        stem: Channels of the first convolution.
        squeeze: Squeeze-and-excitation in the inverted bottlenecks.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, stem, 3, stride=2, act=act, name="stem")
    ends = []
    for stage, rows in enumerate(table, start=1):
        for i, row in enumerate(rows):
            with b.scope(f"C{stage}.{i}"):
                x = _block(b, x, row, act, squeeze)
        ends.append(x)
    maps = ends[-2:]
    for i, channels in enumerate((512, 256, 256, 128)):
        with b.scope(f"extra.{i}"):
            x = b.conv_bn(maps[-1], channels // 2, 1, act="relu6", name="0")
            x = b.conv_bn(x, channels // 2, 3, stride=2, groups=channels // 2, act="relu6", name="1")
            maps.append(b.conv_bn(x, channels, 1, act="relu6", name="2"))
    outputs = []
    for head, size in (("boxes", 4), ("scores", num_classes)):
        parts = []
        for i, (y, count) in enumerate(zip(maps, (3, 6, 6, 6, 6, 6), strict=True)):
            with b.scope(f"{head}.{i}"):
                y = b.conv_bn(y, y.shape[1], 3, groups=y.shape[1], act="relu6", name="dw")
                y = b.conv(y, count * size, 1, bias=True, name="pw")
                parts.append(b.reshape(b.transpose(y, (0, 2, 3, 1)), (batch, y.shape[2] * y.shape[3] * count, size)))
        outputs.append(b.concat(parts, name=f"{head}.concat"))
    return b.build(outputs)


def _block(b: Builder, x: Tensor, row: Row, act: str, squeeze: bool) -> Tensor:
    """Inverted bottleneck, fused convolution (figure 3) or Tucker convolution (figure 4)."""
    kind, channels, kernel, stride, factor, residual = row
    y = x
    if isinstance(factor, tuple):
        y = b.conv_bn(y, _scaled(x.shape[1] * factor[0]), 1, act=act, name="compress")
        y = b.conv_bn(y, _scaled(channels * factor[1]), kernel, stride=stride, act=act, name="core")
    elif kind == "fused":
        y = b.conv_bn(y, x.shape[1] * factor, kernel, stride=stride, act=act, name="expand")
    else:
        if kind == "ibn":
            y = b.conv_bn(y, x.shape[1] * factor, 1, act=act, name="expand")
        y = b.conv_bn(y, y.shape[1], kernel, stride=stride, groups=y.shape[1], act=act, name="dw")
        if squeeze:
            y = b.squeeze_excite(y, _scaled(y.shape[1] / 4), act=act)
    y = b.conv_bn(y, channels, 1, name="project")
    return b.add(y, x) if residual else y


def _scaled(channels: float) -> int:
    """To the nearest multiple of 8, at least 8."""
    return max(8, int(channels / 8 + 0.5) * 8)
