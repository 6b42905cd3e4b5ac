"""Stable Diffusion: the UNet that removes noise, and the autoencoder between pixels and latents."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import Heads, activate, attend, load_only, read_activation
from simgpu.frontends.hf.fields import MAX_LAYERS, Fields
from simgpu.frontends.hf.request import Request
from simgpu.graph.ir import Graph, Tensor

MAX_BLOCKS = 8
MAX_REPEATS = 64
LATENT_FACTOR = 8  # pixels a side of a latent, in all Stable Diffusion models to XL
SIZE_CONDITIONS = 6  # original height and width, crop top and left, target height and width (Podell et al. 2023, section 2.2)
USUAL_TEXT_TOKENS = 77  # what CLIP's text encoder gives

# Options of other UNets, which must not be set.
_ABSENT = (
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "class_embed_type",
    "num_class_embeds",
    "time_cond_proj_dim",
    "timestep_post_act",
    "time_embedding_act_fn",
    "cross_attention_norm",
    "num_attention_heads",
    "reverse_transformer_layers_per_block",
)
_FALSE = (
    "dual_cross_attention",
    "only_cross_attention",
    "mid_block_only_cross_attention",
    "class_embeddings_concat",
    "resnet_skip_time_act",
    "center_input_sample",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UNet:
    """A conditional UNet; tuples have one entry for each level of resolution.

    Attributes:
        cross_down, cross_up: Levels that attend to the text, in the order of the blocks.
        depths: Transformer layers in each attention block.
        heads: Attention heads. (Configs call this number `attention_head_dim`.)
        text: Width of the text's features.
        time: Width of the time embedding.
        added: Width of the pooled text and size features that are added to the time; 0 = none (SDXL has them).
        linear: Projections around the transformer layers are linear, else 1 × 1 convolutions.
    """

    channels: tuple[int, ...]
    layers: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    text: tuple[int, ...]
    cross_down: tuple[bool, ...]
    cross_up: tuple[bool, ...]
    groups: int
    act: str
    linear: bool
    time: int
    added: int
    added_time: int


def unet(f: Fields, name: str, request: Request) -> Graph:
    """One denoising step: latents, time and text → noise (Rombach et al. 2022, Podell et al. 2023)."""
    request.only_prefill(f.where, "a UNet")
    request.choose_part(f.where, ())
    u = _read_unet(f)
    if request.image_size is not None:
        if any(size % LATENT_FACTOR for size in request.image_size):
            f.fail("sample_size", f"cannot be made for images of {request.image_size}, expected multiples of {LATENT_FACTOR} pixels")
        size = request.image_size[0] // LATENT_FACTOR, request.image_size[1] // LATENT_FACTOR
    else:
        rows, columns = f.sizes("sample_size", length=2)
        size = rows, columns
    step = 2 ** (len(u.channels) - 1)
    if any(s % step for s in size):
        f.fail("sample_size", f"is {size[0]} × {size[1]}, which {len(u.channels) - 1} halvings do not divide; choose another image_size")
    b = Builder(name)
    x = b.input("sample", (request.batch, f.size("in_channels", default=4), *size))
    time = _time(b, u, request)
    text = b.input("encoder_hidden_states", (request.batch, request.seq_len or USUAL_TEXT_TOKENS, u.text[0]))
    x = b.conv(x, u.channels[0], 3, bias=True, name="conv_in")
    skips = [x]
    for level, channels in enumerate(u.channels):
        with b.scope(f"down_blocks.{level}"):
            for i in range(u.layers[level]):
                x = resnet(b, x, channels, u.groups, u.act, time=time, name=f"resnets.{i}")
                if u.cross_down[level]:
                    x = _transformer(b, x, text, u, level, name=f"attentions.{i}")
                skips.append(x)
            if level + 1 < len(u.channels):
                x = b.conv(x, channels, 3, stride=2, padding=1, bias=True, name="downsamplers.0.conv")
                skips.append(x)
    with b.scope("mid_block"):
        x = resnet(b, x, u.channels[-1], u.groups, u.act, time=time, name="resnets.0")
        x = _transformer(b, x, text, u, len(u.channels) - 1, name="attentions.0")
        x = resnet(b, x, u.channels[-1], u.groups, u.act, time=time, name="resnets.1")
    for block, level in enumerate(reversed(range(len(u.channels)))):
        with b.scope(f"up_blocks.{block}"):
            for i in range(u.layers[level] + 1):
                x = b.concat((x, skips.pop()), axis=1, name=f"skip{i}")
                x = resnet(b, x, u.channels[level], u.groups, u.act, time=time, name=f"resnets.{i}")
                if u.cross_up[block]:
                    x = _transformer(b, x, text, u, level, name=f"attentions.{i}")
            if level:
                x = _upsample(b, x)
    x = activate(b, b.group_norm(x, u.groups, name="conv_norm_out"), u.act)
    return b.build(b.conv(x, f.size("out_channels", default=4), 3, bias=True, name="conv_out"))


def _read_unet(f: Fields) -> UNet:
    for key in _ABSENT:
        if f.has(key):
            f.fail(key, "is set; UNets with it are not supported")
    for key in _FALSE:
        if f.raw(key) not in (None, False):
            f.fail(key, "is set; UNets with it are not supported")
    f.text("time_embedding_type", default="positional", choices=("positional",))
    f.text("resnet_time_scale_shift", default="default", choices=("default",))
    f.text("mid_block_type", default="UNetMidBlock2DCrossAttn", choices=("UNetMidBlock2DCrossAttn",))
    for key in ("conv_in_kernel", "conv_out_kernel"):
        f.size(key, default=3, low=3, high=3)
    channels = f.sizes("block_out_channels", max_length=MAX_BLOCKS)
    n = len(channels)
    if not n:
        f.fail("block_out_channels", "is empty, expected the channels of each level")
    down = f.texts("down_block_types", choices=("CrossAttnDownBlock2D", "DownBlock2D"), max_length=MAX_BLOCKS)
    up = f.texts("up_block_types", choices=("CrossAttnUpBlock2D", "UpBlock2D"), max_length=MAX_BLOCKS)
    for key, blocks in (("down_block_types", down), ("up_block_types", up)):
        if len(blocks) != n:
            f.fail(key, f"has {len(blocks)} entries, expected {n} as in block_out_channels")
    groups, heads = f.size("norm_num_groups", default=32), f.sizes("attention_head_dim", default=(8,) * n, length=n)
    for i, channel in enumerate(channels):
        f.divide(f"block_out_channels[{i}]", channel, "norm_num_groups", groups)
        f.divide(f"block_out_channels[{i}]", channel, f"attention_head_dim[{i}]", heads[i])
    layers, depths = _repeats(f, "layers_per_block", n, 2), _repeats(f, "transformer_layers_per_block", n, 1)
    f.at_most(
        "layers_per_block × transformer_layers_per_block", sum((a + 1) * d for a, d in zip(layers, depths, strict=True)), "the limit of layers", MAX_LAYERS
    )
    text = f.sizes("cross_attention_dim", default=(1280,) * n, length=n)
    if len(set(text)) > 1:
        f.fail("cross_attention_dim", "differs between levels, expected one width of the text's features")
    added = added_time = 0
    if f.has("addition_embed_type"):
        f.text("addition_embed_type", choices=("text_time",))
        added, added_time = f.size("projection_class_embeddings_input_dim"), f.size("addition_time_embed_dim", low=2)
        f.at_most(f"addition_time_embed_dim × {SIZE_CONDITIONS}", SIZE_CONDITIONS * added_time, "projection_class_embeddings_input_dim - 1", added - 1)
    return UNet(
        channels=channels,
        layers=layers,
        depths=depths,
        heads=heads,
        text=text,
        cross_down=tuple(t.startswith("Cross") for t in down),
        cross_up=tuple(t.startswith("Cross") for t in up),
        groups=groups,
        act=read_activation(f, "act_fn", default="silu"),
        linear=f.flag("use_linear_projection", default=False),
        time=f.size("time_embedding_dim", default=4 * channels[0]),
        added=added,
        added_time=added_time,
    )


def _repeats(f: Fields, key: str, length: int, default: int) -> tuple[int, ...]:
    counts = f.sizes(key, default=(default,) * length, length=length)
    if max(counts) > MAX_REPEATS:
        f.fail(key, f"is {max(counts)}, expected at most {MAX_REPEATS}")
    return counts


def _time(b: Builder, u: UNet, request: Request) -> Tensor:
    """The embedding of the time, and of what is added to it, after its activation: (B, time)."""
    steps = b.input("timestep", (request.batch,))
    time = _embed(b, _sinusoid(b, steps, u.channels[0], name="time_proj"), u, name="time_embedding")
    if u.added:
        pooled = u.added - SIZE_CONDITIONS * u.added_time
        words, sizes = b.input("text_embeds", (request.batch, pooled)), b.input("time_ids", (request.batch, SIZE_CONDITIONS))
        waves = _sinusoid(b, b.reshape(sizes, (SIZE_CONDITIONS * request.batch,), name="flat_sizes"), u.added_time, name="add_time_proj")
        both = b.concat((words, b.reshape(waves, (request.batch, SIZE_CONDITIONS * u.added_time), name="sizes")), axis=-1, name="added")
        time = b.add(time, _embed(b, both, u, name="add_embedding"), name="add_conditions")
    return time


def _sinusoid(b: Builder, steps: Tensor, dim: int, *, name: str) -> Tensor:
    """Sines and cosines of a number at many frequencies: (N,) → (N, dim)."""
    with b.scope(name):
        angles = b.mul(b.reshape(steps, (*steps.shape, 1)), b.constant("frequencies", (1, dim // 2)))
        return b.concat((b.op("Cos", angles), b.op("Sin", angles)), axis=-1)


def _embed(b: Builder, x: Tensor, u: UNet, *, name: str) -> Tensor:
    with b.scope(name):
        return b.linear(activate(b, b.linear(x, u.time, name="linear_1"), u.act), u.time, name="linear_2")


def resnet(b: Builder, x: Tensor, channels: int, groups: int, act: str, *, time: Tensor | None = None, name: str) -> Tensor:
    """Two convolutions behind group norms, with the time added between them, and a shortcut."""
    with b.scope(name):
        y = b.conv(activate(b, b.group_norm(x, groups, name="norm1"), act), channels, 3, bias=True, name="conv1")
        if time is not None:
            shift = b.linear(activate(b, time, act), channels, name="time_emb_proj")
            y = b.add(y, b.reshape(shift, (*shift.shape, 1, 1), name="time_shift"), name="add_time")
        y = b.conv(activate(b, b.group_norm(y, groups, name="norm2"), act), channels, 3, bias=True, name="conv2")
        short = x if x.shape[1] == channels else b.conv(x, channels, 1, bias=True, name="conv_shortcut")
        return b.add(short, y)


def _transformer(b: Builder, x: Tensor, text: Tensor, u: UNet, level: int, *, name: str) -> Tensor:
    """Transformer layers over the pixels, which also attend to the text."""
    batch, channels, rows, columns = x.shape
    tokens = (batch, rows * columns, channels)
    with b.scope(name):
        y = b.group_norm(x, u.groups, name="norm")
        if not u.linear:
            y = b.conv(y, channels, 1, bias=True, name="proj_in")
        y = b.reshape(b.transpose(y, (0, 2, 3, 1), name="channels_last"), tokens, name="tokens")
        if u.linear:
            y = b.linear(y, channels, name="proj_in")
        for i in range(u.depths[level]):
            with b.scope(f"transformer_blocks.{i}"):
                y = b.add(attend(b, b.layer_norm(y, name="norm1"), _heads(u, level, "attn1")), y, name="add_self")
                y = b.add(attend(b, b.layer_norm(y, name="norm2"), _heads(u, level, "attn2"), source=text), y, name="add_cross")
                wide = b.linear(b.layer_norm(y, name="norm3"), 8 * channels, name="ff.net.0.proj")
                value, gate = b.split(wide, 2, axis=-1, name="geglu")
                y = b.add(b.linear(b.mul(value, b.gelu(gate), name="gated"), channels, name="ff.net.2"), y, name="add_ff")
        if u.linear:
            y = b.linear(y, channels, name="proj_out")
        y = b.transpose(b.reshape(y, (batch, rows, columns, channels), name="image"), (0, 3, 1, 2), name="channels_first")
        if not u.linear:
            y = b.conv(y, channels, 1, bias=True, name="proj_out")
        return b.add(y, x)


def _heads(u: UNet, level: int, module: str) -> Heads:
    names = (f"{module}.to_q", f"{module}.to_k", f"{module}.to_v", f"{module}.to_out.0")
    return Heads(count=u.heads[level], size=u.channels[level] // u.heads[level], names=names, bias=(False, False, False, True))


def _upsample(b: Builder, x: Tensor) -> Tensor:
    """Twice the size by repeating pixels, then a convolution."""
    with b.scope("upsamplers.0"):
        return b.conv(b.resize(x, (2 * x.shape[2], 2 * x.shape[3])), x.shape[1], 3, bias=True, name="conv")


# ---- the autoencoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder:
    """Sizes of a variational autoencoder between images and latents."""

    channels: tuple[int, ...]
    layers: int
    latent: int
    image: tuple[int, int]  # channels in and out
    groups: int
    act: str
    quant: tuple[bool, bool]
    attention: bool


def vae(f: Fields, name: str, request: Request) -> Graph:
    """The autoencoder of Stable Diffusion; part "decoder" (latents → image, also if no part is named) or "encoder"."""
    request.only_prefill(f.where, "an autoencoder")
    part = request.choose_part(f.where, ("encoder", "decoder")) or "decoder"
    v = _read_vae(f)
    factor = 2 ** (len(v.channels) - 1)
    size = request.image_size
    if size is None:
        rows, columns = f.sizes("sample_size", default=(512, 512), length=2)
        size = rows, columns
    if any(s % factor for s in size):
        f.fail("sample_size", f"cannot be {size[0]} × {size[1]} pixels, expected multiples of {factor}; choose another image_size")
    b = Builder(name)
    latent_size = size[0] // factor, size[1] // factor
    if part == "decoder":
        y = _decoder(b, v, b.input("latents", (request.batch, v.latent, *latent_size)))
        load_only(b, lambda spare: _encoder(spare, v, spare.input("pixel_values", (1, v.image[0], factor, factor))))
    else:
        y = _encoder(b, v, b.input("pixel_values", (request.batch, v.image[0], *size)))
        load_only(b, lambda spare: _decoder(spare, v, spare.input("latents", (1, v.latent, 1, 1))))
    b.assume(f"only the {part} runs; both halves are in memory")
    return b.build(y)


def _read_vae(f: Fields) -> Autoencoder:
    channels = f.sizes("block_out_channels", max_length=MAX_BLOCKS)
    if not channels:
        f.fail("block_out_channels", "is empty, expected the channels of each level")
    for key, kind in (("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")):
        blocks = f.texts(key, choices=(kind,), max_length=MAX_BLOCKS)
        if len(blocks) != len(channels):
            f.fail(key, f"has {len(blocks)} entries, expected {len(channels)} as in block_out_channels")
    groups = f.size("norm_num_groups", default=32)
    for i, channel in enumerate(channels):
        f.divide(f"block_out_channels[{i}]", channel, "norm_num_groups", groups)
    return Autoencoder(
        channels=channels,
        layers=f.size("layers_per_block", default=1, high=MAX_REPEATS),
        latent=f.size("latent_channels", default=4),
        image=(f.size("in_channels", default=3), f.size("out_channels", default=3)),
        groups=groups,
        act=read_activation(f, "act_fn", default="silu"),
        quant=(f.flag("use_quant_conv", default=True), f.flag("use_post_quant_conv", default=True)),
        attention=f.flag("mid_block_add_attention", default=True),
    )


def _decoder(b: Builder, v: Autoencoder, x: Tensor) -> Tensor:
    if v.quant[1]:
        x = b.conv(x, v.latent, 1, bias=True, name="post_quant_conv")
    with b.scope("decoder"):
        x = _middle(b, v, b.conv(x, v.channels[-1], 3, bias=True, name="conv_in"))
        for block, level in enumerate(reversed(range(len(v.channels)))):
            with b.scope(f"up_blocks.{block}"):
                for i in range(v.layers + 1):
                    x = resnet(b, x, v.channels[level], v.groups, v.act, name=f"resnets.{i}")
                if level:
                    x = _upsample(b, x)
        return _out(b, v, x, v.image[1])


def _encoder(b: Builder, v: Autoencoder, x: Tensor) -> Tensor:
    with b.scope("encoder"):
        x = b.conv(x, v.channels[0], 3, bias=True, name="conv_in")
        for level, channels in enumerate(v.channels):
            with b.scope(f"down_blocks.{level}"):
                for i in range(v.layers):
                    x = resnet(b, x, channels, v.groups, v.act, name=f"resnets.{i}")
                if level + 1 < len(v.channels):
                    padded = b.pad(x, (0, 0, 0, 0), (0, 0, 1, 1), name="pad")
                    x = b.conv(padded, channels, 3, stride=2, padding=0, bias=True, name="downsamplers.0.conv")
        x = _out(b, v, _middle(b, v, x), 2 * v.latent)
    return b.conv(x, 2 * v.latent, 1, bias=True, name="quant_conv") if v.quant[0] else x


def _out(b: Builder, v: Autoencoder, x: Tensor, channels: int) -> Tensor:
    return b.conv(activate(b, b.group_norm(x, v.groups, name="conv_norm_out"), v.act), channels, 3, bias=True, name="conv_out")


def _middle(b: Builder, v: Autoencoder, x: Tensor) -> Tensor:
    with b.scope("mid_block"):
        x = resnet(b, x, v.channels[-1], v.groups, v.act, name="resnets.0")
        if v.attention:
            x = _pixel_attention(b, v, x)
        return resnet(b, x, v.channels[-1], v.groups, v.act, name="resnets.1")


def _pixel_attention(b: Builder, v: Autoencoder, x: Tensor) -> Tensor:
    """One head of attention over all pixels."""
    batch, channels, rows, columns = x.shape
    with b.scope("attentions.0"):
        flat = b.reshape(x, (batch, channels, rows * columns), name="flat")
        y = b.transpose(b.group_norm(flat, v.groups, name="group_norm"), (0, 2, 1), name="pixels_first")
        y = attend(b, y, Heads(count=1, size=channels, names=("to_q", "to_k", "to_v", "to_out.0")))
        return b.add(b.reshape(b.transpose(y, (0, 2, 1), name="channels_first"), x.shape, name="image"), x)
