"""SqueezeNet 1.0 and 1.1, as torchvision builds them."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# squeeze channels, expand channels of each kind, of the fire modules 2 … 9
FIRES = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]


@model("squeezenet1_0", family="SqueezeNet", version=0, aliases=("squeezenet",))
@model("squeezenet1_1", family="SqueezeNet", version=1)
def squeezenet(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, version: int = 0) -> Graph:
    """Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360, table 1.

    Args:
        version: 0 is the paper's; 1 has a smaller first layer and pools earlier, for 2.4 times fewer operations.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    pool_after = (4, 8) if version == 0 else (3, 5)  # the numbers of the fire modules
    with b.scope("features"):
        x = b.relu(b.conv(x, *((96, 7) if version == 0 else (64, 3)), stride=2, padding=0, bias=True, name="0"), name="1")
        x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="2")
        index = 3
        for number, (squeeze, expand) in enumerate(FIRES, start=2):
            with b.scope(index):
                x = _fire(b, x, squeeze, expand)
            index += 1
            if number in pool_after:
                x = b.max_pool(x, 3, stride=2, ceil_mode=True, name=str(index))
                index += 1
    x = b.relu(b.conv(x, num_classes, 1, bias=True, name="classifier.1"), name="classifier.2")
    return b.build(b.flatten(b.global_avg_pool(x, name="classifier.3")))


def _fire(b: Builder, x: Tensor, squeeze: int, expand: int) -> Tensor:
    x = b.relu(b.conv(x, squeeze, 1, bias=True, name="squeeze"), name="squeeze_activation")
    small = b.relu(b.conv(x, expand, 1, bias=True, name="expand1x1"), name="expand1x1_activation")
    large = b.relu(b.conv(x, expand, 3, bias=True, name="expand3x3"), name="expand3x3_activation")
    return b.concat([small, large])
