"""Vision transformers: ViT and DeiT, and CLIP with its two towers."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import Heads, attend, first_token, mlp, read_activation
from simgpu.frontends.hf.decoders import num_labels
from simgpu.frontends.hf.fields import Fields, short
from simgpu.frontends.hf.request import Lengths, Request, check_positions
from simgpu.graph.ir import Graph, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A stack of pre-norm transformer layers."""

    hidden: int
    layers: int
    heads: int
    width: int
    act: str


def read_image(f: Fields, request: Request) -> tuple[int, int]:
    """Height and width of the image: those asked for, else the config's. [pixels]"""
    return request.image_size or _pair(f, "image_size", 224)


def _pair(f: Fields, key: str, default: int) -> tuple[int, int]:
    value = f.sizes(key, default=(default, default), length=2)
    return value[0], value[1]


def patches(b: Builder, f: Fields, request: Request, hidden: int, *, bias: bool, default_patch: int, name: str) -> tuple[Tensor, tuple[int, int]]:
    """The image cut into patches and projected: (B, rows · columns, hidden), and rows and columns."""
    image, patch = read_image(f, request), _pair(f, "patch_size", default_patch)
    if image[0] < patch[0] or image[1] < patch[1]:
        f.fail("patch_size", f"is {patch[0]} × {patch[1]}, larger than the image of {image[0]} × {image[1]} pixels")
    x = b.input("pixel_values", (request.batch, f.size("num_channels", default=3), *image))
    x = b.conv(x, hidden, patch, stride=patch, padding=0, bias=bias, name=name)
    rows, columns = x.shape[2:]
    if image != _pair(f, "image_size", 224):
        b.assume(f"images of {image[0]} × {image[1]} pixels: the position table has {rows} × {columns} entries")
    flat = b.reshape(x, (request.batch, hidden, rows * columns), name="flat_patches")
    return b.transpose(flat, (0, 2, 1), name="patches_first"), (rows, columns)


def vit(f: Fields, name: str, request: Request) -> Graph:
    """ViT (Dosovitskiy et al. 2021)."""
    return _vit(f, name, request, extra_tokens=1)


def deit(f: Fields, name: str, request: Request) -> Graph:
    """DeiT (Touvron et al. 2021): ViT with a second token, for distillation."""
    return _vit(f, name, request, extra_tokens=2)


def _vit(f: Fields, name: str, request: Request, *, extra_tokens: int) -> Graph:
    request.only_prefill(f.where, "an image classifier")
    request.choose_part(f.where, ())
    t = _tower(f, width="intermediate_size")
    bias = f.flag("qkv_bias", default=True)
    head = _image_head(f, request)
    b = Builder(name)
    prefix = "vit" if extra_tokens == 1 else "deit"
    with b.scope(prefix):
        with b.scope("embeddings"):
            x, grid = patches(b, f, request, t.hidden, bias=True, default_patch=16, name="patch_embeddings.projection")
            tokens = [b.weight(token, (1, 1, t.hidden)) for token in ("cls_token", "distillation_token")[:extra_tokens]]
            x = b.concat([*(b.expand(token, (request.batch, 1, t.hidden), name="expand_token") for token in tokens), x], axis=1)
            x = b.add(x, b.weight("position_embeddings", (1, grid[0] * grid[1] + extra_tokens, t.hidden)), name="add_positions")
        names = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj")
        heads = Heads(count=t.heads, size=t.hidden // t.heads, names=names, bias=(bias, bias, bias, True))
        for i in range(t.layers):
            with b.scope(f"encoder.layer.{i}"):
                x = b.add(attend(b, b.layer_norm(x, name="layernorm_before"), heads), x, name="add_attention")
                x = b.add(mlp(b, b.layer_norm(x, name="layernorm_after"), t.width, act=t.act, up="mlp.fc1", down="mlp.fc2"), x, name="add_mlp")
        x = b.layer_norm(x, name="layernorm")
        if head == "none":
            pooled = b.tanh(b.linear(first_token(b, x), f.size("pooler_output_size", default=t.hidden), name="pooler.dense"), name="pooler.act")
            return b.build((x, pooled))
    labels, first = num_labels(f), first_token(b, x)
    if head != "teacher":
        return b.build(b.linear(first, labels, name="classifier"))
    second = b.reshape(b.slice(x, 1, 2, axis=1, name="second"), first.shape, name="second_token")
    both = b.add(b.linear(first, labels, name="cls_classifier"), b.linear(second, labels, name="distillation_classifier"))
    return b.build(b.op("Div", both, b.scalar("two"), name="mean_logits"))


def _image_head(f: Fields, request: Request) -> str:
    """What follows the last layer: "classify", "teacher" (two classifiers, DeiT) or "none" (a pooled feature)."""
    if request.head in ("none", "classify"):
        return request.head
    architectures = f.texts("architectures", default=("ForImageClassification",), max_length=16)
    for ending, head in {"ForImageClassificationWithTeacher": "teacher", "ForImageClassification": "classify", "Model": "none"}.items():
        if any(a.endswith(ending) for a in architectures):
            return head
    f.fail("architectures", f"names {short(architectures[0]) if architectures else 'nothing'}, whose head is not known; choose head=classify or none")


def _tower(
    f: Fields, *, width: str, hidden: int | None = None, layers: int = 12, heads: int | None = None, inner: int | None = None, act: str = "gelu"
) -> Tower:
    """Sizes of a tower; with defaults where a nested config may leave fields out."""
    size = f.size("hidden_size") if hidden is None else f.size("hidden_size", default=hidden)
    count = f.size("num_attention_heads") if heads is None else f.size("num_attention_heads", default=heads)
    f.divide("hidden_size", size, "num_attention_heads", count)
    return Tower(
        hidden=size,
        layers=f.layers("num_hidden_layers") if hidden is None else f.layers("num_hidden_layers", default=layers),
        heads=count,
        width=f.size(width) if inner is None else f.size(width, default=inner),
        act=read_activation(f, "hidden_act", default=act),
    )


# ---- CLIP


def clip(f: Fields, name: str, request: Request) -> Graph:
    """CLIP (Radford et al. 2021): images and texts in one space; parts "vision" and "text"."""
    request.only_prefill(f.where, "CLIP")
    part = request.choose_part(f.where, ("vision", "text"))
    text, vision, dim = f.sub("text_config"), f.sub("vision_config"), f.size("projection_dim", default=512)
    if part == "vision":
        b = Builder(name)
        return b.build(b.linear(_vision(b, vision, request), dim, bias=False, name="visual_projection"))
    if part == "text":
        b = Builder(name)
        return b.build(_text(b, text, request)[0])
    b = Builder(name)
    image = b.linear(_vision(b, vision, request), dim, bias=False, name="visual_projection")
    words = b.linear(_text(b, text, request)[1], dim, bias=False, name="text_projection")
    image, words = b.op("LpNormalization", image, name="image_embeds", axis=-1), b.op("LpNormalization", words, name="text_embeds", axis=-1)
    scores = b.matmul(words, b.transpose(image, (1, 0), name="image_columns"), name="scores")
    scale = b.op("Exp", b.weight("logit_scale", ()), name="scale")
    return b.build(b.mul(scores, scale, name="logits_per_text"))


def clip_text(f: Fields, name: str, request: Request) -> Graph:
    """The text tower by itself, as Stable Diffusion uses it."""
    request.only_prefill(f.where, "a text encoder")
    request.choose_part(f.where, ())
    b = Builder(name)
    states, pooled = _text(b, f, request)
    if any(a.endswith("WithProjection") for a in f.texts("architectures", default=(), max_length=16)):
        pooled = b.linear(pooled, f.size("projection_dim", default=512), bias=False, name="text_projection")
    return b.build((states, pooled))


def clip_vision(f: Fields, name: str, request: Request) -> Graph:
    """The vision tower by itself."""
    request.only_prefill(f.where, "an image encoder")
    request.choose_part(f.where, ())
    b = Builder(name)
    pooled = _vision(b, f, request)
    if any(a.endswith("WithProjection") for a in f.texts("architectures", default=(), max_length=16)):
        pooled = b.linear(pooled, f.size("projection_dim", default=512), bias=False, name="visual_projection")
    return b.build(pooled)


def _clip_layers(b: Builder, t: Tower, x: Tensor, *, causal: bool) -> Tensor:
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
    heads = Heads(count=t.heads, size=t.hidden // t.heads, names=names)
    for i in range(t.layers):
        with b.scope(f"encoder.layers.{i}"):
            x = b.add(x, attend(b, b.layer_norm(x, name="layer_norm1"), heads, causal=causal), name="add_attention")
            x = b.add(x, mlp(b, b.layer_norm(x, name="layer_norm2"), t.width, act=t.act, up="mlp.fc1", down="mlp.fc2"), name="add_mlp")
    return x


def _vision(b: Builder, f: Fields, request: Request) -> Tensor:
    """Pooled features of the images, (B, hidden)."""
    t = _tower(f, width="intermediate_size", hidden=768, heads=12, inner=3072, act="quick_gelu")
    with b.scope("vision_model"):
        with b.scope("embeddings"):
            x, grid = patches(b, f, request, t.hidden, bias=False, default_patch=32, name="patch_embedding")
            token = b.expand(b.weight("class_embedding", (t.hidden,)), (request.batch, 1, t.hidden), name="expand_token")
            x = b.concat((token, x), axis=1)
            count = grid[0] * grid[1] + 1
            positions = b.constant("position_ids", (1, count), dtype="int64")
            x = b.add(x, b.embedding(positions, count, t.hidden, name="position_embedding"), name="add_positions")
        x = _clip_layers(b, t, b.layer_norm(x, name="pre_layrnorm"), causal=False)
        return b.layer_norm(first_token(b, x), name="post_layernorm")


def _text(b: Builder, f: Fields, request: Request) -> tuple[Tensor, Tensor]:
    """States of all tokens (B, S, hidden), and that of the last token of each text (B, hidden)."""
    t = _tower(f, width="intermediate_size", hidden=512, heads=8, inner=2048, act="quick_gelu")
    have = f.size("max_position_embeddings", default=77)
    seq = request.seq_len or have
    check_positions(f.where, Lengths(query=seq, past=0), have)
    ids = b.input("input_ids", (request.batch, seq), dtype="int64")
    with b.scope("text_model"):
        with b.scope("embeddings"):
            x = b.embedding(ids, f.size("vocab_size", default=49408), t.hidden, name="token_embedding")
            positions = b.constant("position_ids", (1, seq), dtype="int64")
            x = b.add(x, b.embedding(positions, have, t.hidden, name="position_embedding"), name="add_positions")
        x = b.layer_norm(_clip_layers(b, t, x, causal=True), name="final_layer_norm")
        last = b.op("ArgMax", ids, name="end_of_text", axis=-1, keepdims=1)
        return x, b.op("GatherND", x, last, name="pooled", batch_dims=1)
