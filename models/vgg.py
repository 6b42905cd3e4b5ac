"""VGG networks, as torchvision builds them."""

from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("vgg11", family="VGG", convs=(1, 1, 2, 2, 2), aliases=("vgg_a",))
@model("vgg13", family="VGG", convs=(2, 2, 2, 2, 2))
@model("vgg16", family="VGG", convs=(2, 2, 3, 3, 3))
@model("vgg19", family="VGG", convs=(2, 2, 4, 4, 4))
@model("vgg11_bn", family="VGG", convs=(1, 1, 2, 2, 2), batch_norm=True)
@model("vgg13_bn", family="VGG", convs=(2, 2, 2, 2, 2), batch_norm=True)
@model("vgg16_bn", family="VGG", convs=(2, 2, 3, 3, 3), batch_norm=True)
@model("vgg19_bn", family="VGG", convs=(2, 2, 4, 4, 4), batch_norm=True)
def vgg(
    *, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, convs: tuple[int, ...] = (2, 2, 3, 3, 3), batch_norm: bool = False
) -> Graph:
    """Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    i = 0  # torch numbers the layers of the sequence
    with b.scope("features"):
        for channels, repeat in zip((64, 128, 256, 512, 512), convs, strict=True):
            for _ in range(repeat):
                x = b.conv(x, channels, 3, bias=True, name=str(i))
                if batch_norm:
                    i += 1
                    x = b.batch_norm(x, name=str(i))
                x = b.relu(x, name=str(i + 1))
                i += 2
            x = b.max_pool(x, 2, name=str(i))
            i += 1
    x = b.flatten(b.adaptive_avg_pool(x, 7))
    with b.scope("classifier"):
        x = b.relu(b.linear(x, 4096, name="0"), name="1")
        x = b.relu(b.linear(x, 4096, name="3"), name="4")
        return b.build(b.linear(x, num_classes, name="6"))
