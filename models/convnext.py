"""ConvNeXt, as torchvision builds it."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@model("convnext_tiny", family="ConvNeXt", aliases=("facebook/convnext-tiny-224", "convnext_tiny.timm"))
@model("convnext_small", family="ConvNeXt", depths=(3, 3, 27, 3), aliases=("facebook/convnext-small-224",))
@model("convnext_base", family="ConvNeXt", depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), aliases=("facebook/convnext-base-224",))
@model("convnext_large", family="ConvNeXt", depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), aliases=("facebook/convnext-large-224",))
def convnext(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    depths: tuple[int, ...] = (3, 3, 9, 3),
    widths: tuple[int, ...] = (96, 192, 384, 768),
) -> Graph:
    """Liu et al., "A ConvNet for the 2020s", CVPR 2022, table 9 (appendix A).

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = _norm(b, b.conv(x, widths[0], 4, stride=4, padding=0, bias=True, name="0.0"), "0.1")
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if stage > 0:
                with b.scope(2 * stage):
                    x = b.conv(_norm(b, x, "0"), width, 2, stride=2, padding=0, bias=True, name="1")
            for i in range(depth):
                with b.scope(f"{2 * stage + 1}.{i}"):
                    x = _block(b, x)
    x = b.flatten(_norm(b, b.global_avg_pool(x), "classifier.0"))
    return b.build(b.linear(x, num_classes, name="classifier.2"))


def _block(b: Builder, x: Tensor) -> Tensor:
    """7x7 depthwise, layer norm, and a perceptron of four times the width, with a trained scale for each channel."""
    width = x.shape[1]
    with b.scope("block"):
        y = b.transpose(b.conv(x, width, 7, groups=width, bias=True, name="0"), TO_LAST)
        y = b.linear(b.layer_norm(y, name="2"), 4 * width, name="3")
        y = b.transpose(b.linear(b.gelu(y, name="4"), width, name="5"), TO_FIRST)
    return b.add(b.mul(y, b.weight("layer_scale", (width, 1, 1))), x)


def _norm(b: Builder, x: Tensor, name: str) -> Tensor:
    """Layer norm over the channels of (N, C, H, W)."""
    return b.transpose(b.layer_norm(b.transpose(x, TO_LAST), name=name), TO_FIRST)
