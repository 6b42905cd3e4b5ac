"""U-Net."""

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

CHANNELS = (64, 128, 256, 512, 1024)


@model("unet", family="U-Net", aliases=("u-net",))
@model("unet_same", family="U-Net", padding=1, image_size=512)
def unet(*, name: str, batch: int = 1, image_size: int = 572, in_channels: int = 1, num_classes: int = 2, padding: int = 0) -> Graph:
    """Ronneberger, Fischer, Brox, "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015, figure 1.

    Args:
        padding: 0 as in the paper, where each 3x3 convolution loses the border; 1 keeps sizes.
    """
    b = Builder(name)
    x = b.input("input", (batch, in_channels, image_size, image_size))
    skips: list[Tensor] = []
    for level, channels in enumerate(CHANNELS):
        with b.scope(f"down{level}"):
            if level:
                if x.shape[2] % 2:
                    raise OptionError(
                        f"{name}: an image of {image_size} gives an odd map of {x.shape[2]} at level {level}; choose 16 · n + 12 (or 16 · n if padded)"
                    )
                x = b.max_pool(x, 2)
            x = _double(b, x, channels, padding)
        skips.append(x)
    for level, channels in reversed(list(enumerate(CHANNELS[:-1]))):
        with b.scope(f"up{level}"):
            x = b.conv_transpose(x, channels, 2, stride=2, bias=True, name="up")
            x = _double(b, b.concat([_cropped(b, skips[level], x.shape[2]), x]), channels, padding)
    return b.build(b.conv(x, num_classes, 1, bias=True, name="outc"))


def _double(b: Builder, x: Tensor, channels: int, padding: int) -> Tensor:
    for i in (0, 1):
        x = b.relu(b.conv(x, channels, 3, padding=padding, bias=True, name=f"conv{i}"))
    return x


def _cropped(b: Builder, x: Tensor, size: int) -> Tensor:
    """The middle of the map."""
    start = (x.shape[2] - size) // 2
    if not start:
        return x
    return b.slice(b.slice(x, start, start + size, axis=2), start, start + size, axis=3)
