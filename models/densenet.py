"""DenseNets, as torchvision builds them."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("densenet121", family="DenseNet", layers=(6, 12, 24, 16))
@model("densenet161", family="DenseNet", layers=(6, 12, 36, 24), growth=48, stem=96)
@model("densenet169", family="DenseNet", layers=(6, 12, 32, 32))
@model("densenet201", family="DenseNet", layers=(6, 12, 48, 32))
def densenet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    layers: tuple[int, ...] = (6, 12, 24, 16),
    growth: int = 32,
    stem: int = 64,
) -> Graph:
    """Huang et al., "Densely connected convolutional networks", CVPR 2017, table 1 (DenseNet-BC).

    Args:
        layers: Layers of each dense block.
        growth: Channels each layer adds, the paper's k.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.relu(b.batch_norm(b.conv(x, stem, 7, stride=2, name="conv0"), name="norm0"), name="relu0")
        x = b.max_pool(x, 3, stride=2, padding=1, name="pool0")
        for block, count in enumerate(layers, start=1):
            parts = [x]
            for layer in range(1, count + 1):
                with b.scope(f"denseblock{block}.denselayer{layer}"):
                    parts.append(_layer(b, parts, growth))
            x = b.concat(parts, name=f"denseblock{block}.concat")
            if block < len(layers):
                with b.scope(f"transition{block}"):
                    x = b.relu(b.batch_norm(x, name="norm"))
                    x = b.avg_pool(b.conv(x, x.shape[1] // 2, 1), 2, name="pool")
        x = b.batch_norm(x, name="norm5")
    x = b.flatten(b.global_avg_pool(b.relu(x)))
    return b.build(b.linear(x, num_classes, name="classifier"))


def _layer(b: Builder, parts: list[Tensor], growth: int) -> Tensor:
    """Batch normalisation, ReLU, 1x1 to 4k channels; the same with 3x3 to k channels."""
    x = b.concat(parts)
    x = b.conv(b.relu(b.batch_norm(x, name="norm1"), name="relu1"), 4 * growth, 1, name="conv1")
    return b.conv(b.relu(b.batch_norm(x, name="norm2"), name="relu2"), growth, 3, name="conv2")
