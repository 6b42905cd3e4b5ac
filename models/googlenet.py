"""GoogLeNet, also called Inception v1, in torchvision's form and in the paper's."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# 1x1 | 3x3 reduce, 3x3 | 5x5 reduce, 5x5 | pool projection: the paper's table 1
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


@model("googlenet", family="Inception", aliases=("inception_v1",))
@model("googlenet_paper", family="Inception", paper=True, aliases=("bvlc_googlenet", "inception_v1_paper"))
def googlenet(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, paper: bool = False) -> Graph:
    """Szegedy et al., "Going deeper with convolutions", CVPR 2015, table 1; without the auxiliary classifiers.

    Args:
        paper: 5x5 convolutions, biases and local response normalisation as in the paper and Caffe's bvlc_googlenet;
            otherwise torchvision's form, with 3x3 in their place and batch normalisation.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = _conv(b, x, 64, 7, paper, stride=2, name="conv1")
    x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="maxpool1")
    if paper:
        x = b.lrn(x, name="norm1")
    x = _conv(b, x, 64, 1, paper, name="conv2")
    x = _conv(b, x, 192, 3, paper, name="conv3")
    if paper:
        x = b.lrn(x, name="norm2")
    x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="maxpool2")
    for block, channels in INCEPTION.items():
        with b.scope(f"inception{block}"):
            x = _inception(b, x, channels, paper)
        if block == "3b":
            x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="maxpool3")
        if block == "4e":
            x = b.max_pool(x, 3 if paper else 2, stride=2, ceil_mode=True, name="maxpool4")
    x = b.flatten(b.global_avg_pool(x))
    return b.build(b.linear(x, num_classes, name="fc"))


def _inception(b: Builder, x: Tensor, channels: tuple[int, ...], paper: bool) -> Tensor:
    one, reduce3, three, reduce5, five, pool = channels
    return b.concat(
        [
            _conv(b, x, one, 1, paper, name="branch1"),
            _conv(b, _conv(b, x, reduce3, 1, paper, name="branch2.0"), three, 3, paper, name="branch2.1"),
            _conv(b, _conv(b, x, reduce5, 1, paper, name="branch3.0"), five, 5 if paper else 3, paper, name="branch3.1"),
            _conv(b, b.max_pool(x, 3, stride=1, padding=1, ceil_mode=True, name="branch4.0"), pool, 1, paper, name="branch4.1"),
        ]
    )


def _conv(b: Builder, x: Tensor, channels: int, kernel: int, paper: bool, *, name: str, stride: int = 1) -> Tensor:
    if not paper:
        return b.conv_bn(x, channels, kernel, stride=stride, act="relu", name=name)
    with b.scope(name):
        return b.relu(b.conv(x, channels, kernel, stride=stride, bias=True))
