"""AlexNet in its two forms."""

from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("alexnet", family="AlexNet", aliases=("alexnet_owt",))
def alexnet(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, as torchvision builds it.

    One tower: no groups, no local response normalisation.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.relu(b.conv(x, 64, 11, stride=4, padding=2, bias=True, name="0"), name="1")
        x = b.max_pool(x, 3, stride=2, name="2")
        x = b.relu(b.conv(x, 192, 5, bias=True, name="3"), name="4")
        x = b.max_pool(x, 3, stride=2, name="5")
        x = b.relu(b.conv(x, 384, 3, bias=True, name="6"), name="7")
        x = b.relu(b.conv(x, 256, 3, bias=True, name="8"), name="9")
        x = b.relu(b.conv(x, 256, 3, bias=True, name="10"), name="11")
        x = b.max_pool(x, 3, stride=2, name="12")
    x = b.flatten(b.adaptive_avg_pool(x, 6))
    with b.scope("classifier"):
        x = b.relu(b.linear(x, 4096, name="1"), name="2")
        x = b.relu(b.linear(x, 4096, name="4"), name="5")
        return b.build(b.linear(x, num_classes, name="6"))


@model("alexnet_2012", family="AlexNet", aliases=("caffenet", "bvlc_alexnet", "alexnet_bvlc"))
def alexnet_2012(*, name: str, batch: int = 1, image_size: int = 227, num_classes: int = 1000) -> Graph:
    """Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012, section 3.5.

    The two towers of the paper's two GPUs are groups = 2, as in Caffe's bvlc_alexnet.
    """
    b = Builder(name)
    x = b.input("data", (batch, 3, image_size, image_size))
    x = b.lrn(b.relu(b.conv(x, 96, 11, stride=4, padding=0, bias=True, name="conv1"), name="relu1"), name="norm1")
    x = b.max_pool(x, 3, stride=2, name="pool1")
    x = b.lrn(b.relu(b.conv(x, 256, 5, groups=2, bias=True, name="conv2"), name="relu2"), name="norm2")
    x = b.max_pool(x, 3, stride=2, name="pool2")
    x = b.relu(b.conv(x, 384, 3, bias=True, name="conv3"), name="relu3")
    x = b.relu(b.conv(x, 384, 3, groups=2, bias=True, name="conv4"), name="relu4")
    x = b.relu(b.conv(x, 256, 3, groups=2, bias=True, name="conv5"), name="relu5")
    x = b.flatten(b.max_pool(x, 3, stride=2, name="pool5"))
    x = b.relu(b.linear(x, 4096, name="fc6"), name="relu6")
    x = b.relu(b.linear(x, 4096, name="fc7"), name="relu7")
    return b.build(b.linear(x, num_classes, name="fc8"))
