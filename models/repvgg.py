"""RepVGG with its branches as in training, and folded into one convolution a layer as deployed."""

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

A = (2, 4, 14, 1)
B = (4, 6, 16, 1)


@model("repvgg_a0", family="RepVGG", blocks=A, widths=(0.75, 2.5))
@model("repvgg_a0_deploy", family="RepVGG", blocks=A, widths=(0.75, 2.5), deploy=True)
@model("repvgg_a1", family="RepVGG", blocks=A, widths=(1, 2.5))
@model("repvgg_a1_deploy", family="RepVGG", blocks=A, widths=(1, 2.5), deploy=True)
@model("repvgg_a2", family="RepVGG", blocks=A, widths=(1.5, 2.75))
@model("repvgg_a2_deploy", family="RepVGG", blocks=A, widths=(1.5, 2.75), deploy=True)
@model("repvgg_b0", family="RepVGG", blocks=B, widths=(1, 2.5))
@model("repvgg_b0_deploy", family="RepVGG", blocks=B, widths=(1, 2.5), deploy=True)
@model("repvgg_b1", family="RepVGG", blocks=B, widths=(2, 4))
@model("repvgg_b1_deploy", family="RepVGG", blocks=B, widths=(2, 4), deploy=True)
@model("repvgg_b1g2", family="RepVGG", blocks=B, widths=(2, 4), groups=2)
@model("repvgg_b1g2_deploy", family="RepVGG", blocks=B, widths=(2, 4), groups=2, deploy=True)
@model("repvgg_b1g4", family="RepVGG", blocks=B, widths=(2, 4), groups=4)
@model("repvgg_b1g4_deploy", family="RepVGG", blocks=B, widths=(2, 4), groups=4, deploy=True)
@model("repvgg_b2", family="RepVGG", blocks=B, widths=(2.5, 5))
@model("repvgg_b2_deploy", family="RepVGG", blocks=B, widths=(2.5, 5), deploy=True)
@model("repvgg_b2g4", family="RepVGG", blocks=B, widths=(2.5, 5), groups=4)
@model("repvgg_b2g4_deploy", family="RepVGG", blocks=B, widths=(2.5, 5), groups=4, deploy=True)
@model("repvgg_b3", family="RepVGG", blocks=B, widths=(3, 5))
@model("repvgg_b3_deploy", family="RepVGG", blocks=B, widths=(3, 5), deploy=True)
@model("repvgg_b3g4", family="RepVGG", blocks=B, widths=(3, 5), groups=4)
@model("repvgg_b3g4_deploy", family="RepVGG", blocks=B, widths=(3, 5), groups=4, deploy=True)
def repvgg(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    blocks: tuple[int, ...] = A,
    widths: tuple[float, float] = (1, 2.5),
    groups: int = 1,
    deploy: bool = False,
) -> Graph:
    """Ding et al., "RepVGG: Making VGG-style ConvNets great again", CVPR 2021, tables 2 and 3.

    Args:
        blocks: Layers of the stages 1 to 4.
        widths: The paper's multipliers a (of the first stages) and b (of the last).
        groups: Groups of every second layer.
        deploy: One 3x3 convolution with bias a layer, instead of the branches 3x3, 1x1 and identity.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    a, last = widths
    with b.scope("stem"):
        x = _layer(b, x, min(64, int(64 * a)), 2, 1, deploy)
    layer = 0
    for stage, (repeats, channels) in enumerate(zip(blocks, (64 * a, 128 * a, 256 * a, 512 * last), strict=True)):
        for i in range(repeats):
            layer += 1
            with b.scope(f"stages.{stage}.{i}"):
                x = _layer(b, x, int(channels), 2 if i == 0 else 1, groups if layer % 2 == 0 else 1, deploy)
    return b.build(classifier(b, x, num_classes, name="head.fc"))


def _layer(b: Builder, x: Tensor, channels: int, stride: int, groups: int, deploy: bool) -> Tensor:
    if deploy:
        return b.relu(b.conv(x, channels, 3, stride=stride, groups=groups, bias=True, name="reparam_conv"))
    y = b.add(
        b.conv_bn(x, channels, 3, stride=stride, groups=groups, name="conv_kxk"),
        b.conv_bn(x, channels, 1, stride=stride, groups=groups, name="conv_1x1"),
    )
    if stride == 1 and x.shape[1] == channels:
        y = b.add(y, b.batch_norm(x, name="identity"))
    return b.relu(y)
