"""DCGAN: a small generator and its discriminator."""

from simgpu.frontends.builder import Builder
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("dcgan", family="DCGAN", aliases=("dcgan_generator",))
def generator(*, name: str, batch: int = 1, latent: int = 100, width: int = 64) -> Graph:
    """Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional GANs", ICLR 2016, figure 1.

    In the size of PyTorch's example: 64x64 images from half of the paper's channels.

    Args:
        latent: Numbers an image is made from.
        width: Channels of the last hidden layer.
    """
    b = Builder(name)
    x = b.input("z", (batch, latent, 1, 1))
    for i, channels in enumerate((8 * width, 4 * width, 2 * width, width)):
        x = b.conv_transpose(x, channels, 4, stride=2 if i else 1, padding=1 if i else 0, name=f"main.{3 * i}")
        x = b.relu(b.batch_norm(x, name=f"main.{3 * i + 1}"), name=f"main.{3 * i + 2}")
    return b.build(b.tanh(b.conv_transpose(x, 3, 4, stride=2, padding=1, name="main.12"), name="main.13"))


@model("dcgan_discriminator", family="DCGAN")
def discriminator(*, name: str, batch: int = 1, image_size: int = 64, width: int = 64) -> Graph:
    """Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional GANs", ICLR 2016, section 3.

    Args:
        width: Channels of the first layer.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.leaky_relu(b.conv(x, width, 4, stride=2, padding=1, name="main.0"), alpha=0.2, name="main.1")
    for i, channels in enumerate((2 * width, 4 * width, 8 * width)):
        x = b.batch_norm(b.conv(x, channels, 4, stride=2, padding=1, name=f"main.{3 * i + 2}"), name=f"main.{3 * i + 3}")
        x = b.leaky_relu(x, alpha=0.2, name=f"main.{3 * i + 4}")
    return b.build(b.sigmoid(b.conv(x, 1, 4, padding=0, name="main.11"), name="main.12"))
