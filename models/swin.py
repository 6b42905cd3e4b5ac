"""Swin transformers v1 and v2, as torchvision builds them."""

import math

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

SMALL, BASE = {"depths": (2, 2, 18, 2)}, {"depths": (2, 2, 18, 2), "width": 128, "heads": (4, 8, 16, 32)}
V2 = {"version": 2, "window": 8, "image_size": 256}


@model("swin_t", family="Swin", aliases=("swin_v1_tiny", "swin_tiny_patch4_window7_224", "microsoft/swin-tiny-patch4-window7-224"))
@model("swin_s", family="Swin", aliases=("swin_v1_small", "swin_small_patch4_window7_224", "microsoft/swin-small-patch4-window7-224"), **SMALL)
@model("swin_b", family="Swin", aliases=("swin_v1_base", "swin_base_patch4_window7_224", "microsoft/swin-base-patch4-window7-224"), **BASE)
@model("swin_l", family="Swin", depths=(2, 2, 18, 2), width=192, heads=(6, 12, 24, 48), aliases=("swin_v1_large", "swin_large_patch4_window7_224"))
@model("swin_v2_t", family="Swin v2", aliases=("swin_v2_tiny", "swinv2_tiny_window8_256", "microsoft/swinv2-tiny-patch4-window8-256"), **V2)
@model("swin_v2_s", family="Swin v2", aliases=("swinv2_small_window8_256",), **SMALL, **V2)
@model("swin_v2_b", family="Swin v2", aliases=("swinv2_base_window8_256",), **BASE, **V2)
def swin(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    width: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
    window: int = 7,
    version: int = 1,
) -> Graph:
    """Liu et al., "Swin Transformer: Hierarchical vision transformer using shifted windows", ICCV 2021, table 7.

    Swin v2: Liu et al., "Swin Transformer V2: Scaling up capacity and resolution", CVPR 2022, section 3.

    Args:
        width: Channels of the first stage, doubled by each further one.
        depths: Blocks of each stage; every second one has shifted windows.
        window: Height and width of the windows that attention stays in.
        version: 2 normalises after each layer, has cosine attention and a small network for the position bias.
    """
    if image_size < 32 or image_size % 4:
        raise OptionError(f"{name}: an image of {image_size} cannot be cut into patches of 4 and halved three times; choose a multiple of 4 of 32 or more")
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("features"):
        x = b.transpose(b.conv(x, width, 4, stride=4, padding=0, bias=True, name="0.0"), (0, 2, 3, 1))
        x = b.layer_norm(x, name="0.2")
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            for i in range(depth):
                with b.scope(f"{2 * stage + 1}.{i}"):
                    x = _block(b, x, count, window, window // 2 if i % 2 else 0, version)
            if stage < len(depths) - 1:
                with b.scope(2 * stage + 2):
                    x = _merge(b, x, version)
    x = b.transpose(b.layer_norm(x, name="norm"), (0, 3, 1, 2))
    return b.build(b.linear(b.flatten(b.global_avg_pool(x)), num_classes, name="head"))


def _block(b: Builder, x: Tensor, heads: int, window: int, shift: int, version: int) -> Tensor:
    def attend(y: Tensor) -> Tensor:
        with b.scope("attn"):
            return _attention(b, y, heads, window, shift, version)

    def perceive(y: Tensor) -> Tensor:
        with b.scope("mlp"):
            return b.linear(b.gelu(b.linear(y, 4 * y.shape[-1], name="0"), name="1"), y.shape[-1], name="3")

    if version == 1:
        x = b.add(x, attend(b.layer_norm(x, name="norm1")))
        return b.add(x, perceive(b.layer_norm(x, name="norm2")))
    x = b.add(x, b.layer_norm(attend(x), name="norm1"))
    return b.add(x, b.layer_norm(perceive(x), name="norm2"))


def _attention(b: Builder, x: Tensor, heads: int, window: int, shift: int, version: int) -> Tensor:
    """Attention inside windows; the map is padded to whole windows, and rolled if they are shifted."""
    batch, height, wide, width = x.shape
    rows, columns = math.ceil(height / window), math.ceil(wide / window)
    shifts = tuple(shift if n > 1 else 0 for n in (rows, columns))
    tokens, count = window * window, rows * columns
    y = b.pad(x, (0, 0, 0, 0), (0, rows * window - height, columns * window - wide, 0))
    y = _roll(b, y, shifts)
    y = b.transpose(b.reshape(y, (batch, rows, window, columns, window, width)), (0, 1, 3, 2, 4, 5))
    y = b.reshape(y, (batch * count, tokens, width))

    y = b.transpose(b.reshape(b.linear(y, 3 * width, name="qkv"), (batch * count, tokens, 3, heads, width // heads)), (2, 0, 3, 1, 4))
    q, k, v = (b.reshape(part, (batch * count, heads, tokens, width // heads)) for part in b.split(y, 3, axis=0))
    if version == 1:
        scores = b.matmul(b.mul(q, b.scalar("scale")), b.transpose(k, (0, 1, 3, 2)))
    else:
        q, k = _unit_length(b, q), _unit_length(b, k)
        scale = b.op("Exp", b.op("Clip", b.weight("logit_scale", (heads, 1, 1)), max=math.log(100.0)))
        scores = b.mul(b.matmul(q, b.transpose(k, (0, 1, 3, 2))), scale)
    scores = b.add(scores, _position_bias(b, heads, window, version))
    if any(shifts):  # keeps tokens apart that the roll has brought together
        mask = b.constant("mask", (count, 1, tokens, tokens))
        scores = b.reshape(scores, (batch, count, heads, tokens, tokens))
        scores = b.reshape(b.add(scores, mask), (batch * count, heads, tokens, tokens))
    y = b.merge_heads(b.matmul(b.softmax(scores), v, name="weighted_sum"))
    y = b.linear(y, width, name="proj")

    y = b.transpose(b.reshape(y, (batch, rows, columns, window, window, width)), (0, 1, 3, 2, 4, 5))
    y = _roll(b, b.reshape(y, (batch, rows * window, columns * window, width)), tuple(-s for s in shifts))
    if (rows * window, columns * window) != (height, wide):
        y = b.slice(b.slice(y, 0, height, axis=1), 0, wide, axis=2)
    return y


def _roll(b: Builder, x: Tensor, shifts: tuple[int, ...]) -> Tensor:
    """Moves rows and columns around by so many, each in one copy."""
    for axis, by in enumerate(shifts, start=1):
        if by:
            x = b.concat([b.slice(x, by, x.shape[axis], axis=axis), b.slice(x, 0, by % x.shape[axis], axis=axis)], axis=axis, name="roll")
    return x


def _position_bias(b: Builder, heads: int, window: int, version: int) -> Tensor:
    """A number for each head and each distance of two tokens of a window: trained, or made by a small network (v2)."""
    distances, tokens = (2 * window - 1) ** 2, window * window
    if version == 1:
        table = b.weight("relative_position_bias_table", (distances, heads))
    else:
        offsets = b.constant("relative_coords_table", (1, 2 * window - 1, 2 * window - 1, 2))
        table = b.linear(b.relu(b.linear(offsets, 512, name="cpb_mlp.0")), heads, bias=False, name="cpb_mlp.2")
        table = b.reshape(table, (distances, heads))
    index = b.constant("relative_position_index", (tokens * tokens,), dtype="int64")
    bias = b.reshape(b.op("Gather", table, index, axis=0), (tokens, tokens, heads))
    bias = b.reshape(b.transpose(bias, (2, 0, 1)), (1, heads, tokens, tokens))
    return bias if version == 1 else b.mul(b.sigmoid(bias), b.scalar("sixteen"))


def _unit_length(b: Builder, x: Tensor) -> Tensor:
    """x divided by its Euclidean length."""
    return b.op("Div", x, b.op("ReduceL2", x, axes=(-1,), keepdims=1))


def _merge(b: Builder, x: Tensor, version: int) -> Tensor:
    """Four neighbouring tokens become one of twice the width."""
    _, height, wide, width = x.shape
    if height % 2 or wide % 2:
        x = b.pad(x, (0, 0, 0, 0), (0, height % 2, wide % 2, 0))
        _, height, wide, _ = x.shape
    parts = [b.slice(b.slice(x, i, height, axis=1, step=2), j, wide, axis=2, step=2) for j in (0, 1) for i in (0, 1)]
    x = b.concat(parts, axis=3)
    if version == 1:
        return b.linear(b.layer_norm(x, name="norm"), 2 * width, bias=False, name="reduction")
    return b.layer_norm(b.linear(x, 2 * width, bias=False, name="reduction"), name="norm")
