"""OverFeat and network in network."""

from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("overfeat_fast", family="OverFeat", aliases=("overfeat",))
def overfeat(*, name: str, batch: int = 1, image_size: int = 231, num_classes: int = 1000) -> Graph:
    """Sermanet et al., "OverFeat: Integrated recognition, localization and detection", ICLR 2014, table 1 (the fast model)."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.max_pool(b.relu(b.conv(x, 96, 11, stride=4, padding=0, bias=True, name="0")), 2)
        x = b.max_pool(b.relu(b.conv(x, 256, 5, padding=0, bias=True, name="3")), 2)
        for i, channels in enumerate((512, 1024, 1024)):
            x = b.relu(b.conv(x, channels, 3, bias=True, name=str(6 + 2 * i)))
        x = b.flatten(b.max_pool(x, 2))
    with b.scope("classifier"):
        x = b.relu(b.linear(x, 3072, name="0"))
        x = b.relu(b.linear(x, 4096, name="2"))
        return b.build(b.linear(x, num_classes, name="4"))


@model("nin", family="NIN", aliases=("network_in_network",))
def nin(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """Lin, Chen, Yan, "Network in network", ICLR 2014, figure 2; in Caffe's size for ImageNet."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    for i, (channels, kernel, stride, padding) in enumerate(((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (1024, 3, 1, 1)), start=1):
        with b.scope(f"block{i}"):
            x = b.relu(b.conv(x, channels, kernel, stride=stride, padding=padding, bias=True, name="conv"))
            x = b.relu(b.conv(x, channels, 1, bias=True, name="cccp1"))
            x = b.relu(b.conv(x, num_classes if i == 4 else channels, 1, bias=True, name="cccp2"))
            if i < 4:
                x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="pool")
    return b.build(b.flatten(b.global_avg_pool(x)))
