"""MLP-Mixer, as timm builds it."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("mixer_s16_224", family="MLP-Mixer", hidden=512, layers=8, aliases=("mixer_s_16",))
@model("mixer_b16_224", family="MLP-Mixer", aliases=("mixer_b_16",))
@model("mixer_l16_224", family="MLP-Mixer", hidden=1024, layers=24, aliases=("mixer_l_16",))
def mixer(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000, patch: int = 16, hidden: int = 768, layers: int = 12) -> Graph:
    """Tolstikhin et al., "MLP-Mixer: An all-MLP architecture for vision", NeurIPS 2021, table 1."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv(x, hidden, patch, stride=patch, padding=0, bias=True, name="stem.proj")
    x = b.transpose(b.reshape(x, (batch, hidden, x.shape[2] * x.shape[3])), (0, 2, 1))
    for i in range(layers):
        with b.scope(f"blocks.{i}"):
            y = b.transpose(b.layer_norm(x, name="norm1"), (0, 2, 1))
            x = b.add(x, b.transpose(_perceptron(b, y, hidden // 2, "mlp_tokens"), (0, 2, 1)))
            x = b.add(x, _perceptron(b, b.layer_norm(x, name="norm2"), 4 * hidden, "mlp_channels"))
    x = b.mean(b.layer_norm(x, name="norm"), (1,))
    return b.build(b.linear(x, num_classes, name="head"))


def _perceptron(b: Builder, x: Tensor, hidden: int, name: str) -> Tensor:
    with b.scope(name):
        return b.linear(b.gelu(b.linear(x, hidden, name="fc1")), x.shape[-1], name="fc2")
