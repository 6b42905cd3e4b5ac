"""MobileOne with its branches as in training, and folded as deployed."""

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

S0, S1, S2, S3, S4 = (0.75, 1, 1, 2), (1.5, 1.5, 2, 2.5), (1.5, 2, 2.5, 4), (2, 2.5, 3, 4), (3, 3.5, 3.5, 4)


@model("mobileone_s0", family="MobileOne", widths=S0, branches=4)
@model("mobileone_s0_deploy", family="MobileOne", widths=S0, deploy=True)
@model("mobileone_s1", family="MobileOne", widths=S1)
@model("mobileone_s1_deploy", family="MobileOne", widths=S1, deploy=True)
@model("mobileone_s2", family="MobileOne", widths=S2)
@model("mobileone_s2_deploy", family="MobileOne", widths=S2, deploy=True)
@model("mobileone_s3", family="MobileOne", widths=S3)
@model("mobileone_s3_deploy", family="MobileOne", widths=S3, deploy=True)
@model("mobileone_s4", family="MobileOne", widths=S4, squeezed_blocks=(0, 0, 5, 1))
@model("mobileone_s4_deploy", family="MobileOne", widths=S4, squeezed_blocks=(0, 0, 5, 1), deploy=True)
def mobileone(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    widths: tuple[float, ...] = S1,
    branches: int = 1,
    squeezed_blocks: tuple[int, ...] = (0, 0, 0, 0),
    deploy: bool = False,
) -> Graph:
    """Vasu et al., "MobileOne: An improved one millisecond mobile backbone", CVPR 2023, tables 2 and 3.

    Args:
        widths: The paper's α of each stage.
        branches: The paper's k, convolutions of the same kernel side by side.
        squeezed_blocks: Last blocks of each stage that have squeeze-and-excitation.
        deploy: One convolution with bias in place of the branches.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    count = 1 if deploy else branches
    with b.scope("stem"):
        x = _layer(b, x, min(64, int(64 * widths[0])), 3, 2, 1, 1, deploy, squeeze=False)
    for stage, (channels, repeat, alpha, squeezed) in enumerate(zip((64, 128, 256, 512), (2, 8, 10, 1), widths, squeezed_blocks, strict=True)):
        for i in range(repeat):
            squeeze = i >= repeat - squeezed
            with b.scope(f"stages.{stage}.{i}.dw"):
                x = _layer(b, x, x.shape[1], 3, 2 if i == 0 else 1, x.shape[1], count, deploy, squeeze=squeeze)
            with b.scope(f"stages.{stage}.{i}.pw"):
                x = _layer(b, x, int(channels * alpha), 1, 1, 1, count, deploy, squeeze=squeeze)
    return b.build(classifier(b, x, num_classes, name="head.fc"))


def _layer(b: Builder, x: Tensor, channels: int, kernel: int, stride: int, groups: int, branches: int, deploy: bool, *, squeeze: bool) -> Tensor:
    """Figure 3: so many convolutions, a 1x1 beside a 3x3, the identity where shapes agree; each with normalisation, added."""
    if deploy:
        y = b.conv(x, channels, kernel, stride=stride, groups=groups, bias=True, name="reparam_conv")
    else:
        parts = [b.conv_bn(x, channels, kernel, stride=stride, groups=groups, name=f"conv_kxk.{i}") for i in range(branches)]
        if kernel > 1:
            parts.append(b.conv_bn(x, channels, 1, stride=stride, groups=groups, name="conv_scale"))
        if stride == 1 and x.shape[1] == channels:
            parts.append(b.batch_norm(x, name="identity"))
        y = parts[0]
        for part in parts[1:]:
            y = b.add(y, part)
    if squeeze:
        y = b.squeeze_excite(y, channels // 16, name="attn")
    return b.relu(y)
