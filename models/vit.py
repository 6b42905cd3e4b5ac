"""Vision transformers, as torchvision, timm (DeiT) and Hugging Face build them."""

from simgpu.errors import OptionError
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

LARGE = {"hidden": 1024, "layers": 24, "heads": 16}


@model("vit_b_16", family="ViT", aliases=("vit_base_patch16_224",))
@model("vit_base_patch16_384", family="ViT", image_size=384, aliases=("google/vit-base-patch16-384",))
@model("vit_large_patch16_384", family="ViT", image_size=384, aliases=("google/vit-large-patch16-384",), **LARGE)
@model("vit_b_32", family="ViT", patch=32, aliases=("vit_base_patch32_224",))
@model("vit_l_16", family="ViT", aliases=("vit_large_patch16_224",), **LARGE)
@model("vit_l_32", family="ViT", patch=32, aliases=("vit_large_patch32_224",), **LARGE)
@model("vit_h_14", family="ViT", patch=14, hidden=1280, layers=32, heads=16, aliases=("vit_huge_patch14_224",))
@model("vit-base", family="ViT", fused_qkv=False, aliases=("google/vit-base-patch16-224",))
@model("vit_tiny_patch16_224", family="ViT", hidden=192, heads=3)
@model("vit_small_patch16_224", family="ViT", hidden=384, heads=6)
@model("deit_tiny_patch16_224", family="DeiT", hidden=192, heads=3, aliases=("facebook/deit-tiny-patch16-224",))
@model("deit_small_patch16_224", family="DeiT", hidden=384, heads=6, aliases=("facebook/deit-small-patch16-224",))
@model("deit_base_patch16_224", family="DeiT", aliases=("facebook/deit-base-patch16-224",))
@model("deit_base_distilled_patch16_224", family="DeiT", distilled=True, aliases=("facebook/deit-base-distilled-patch16-224",))
def vit(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    patch: int = 16,
    hidden: int = 768,
    layers: int = 12,
    heads: int = 12,
    fused_qkv: bool = True,
    distilled: bool = False,
) -> Graph:
    """Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, table 1.

    DeiT: Touvron et al., "Training data-efficient image transformers", ICML 2021, table 1.

    Args:
        patch: Height and width of a patch.
        fused_qkv: One projection for queries, keys and values (torchvision, timm) or three (Hugging Face).
        distilled: A second class token with a classifier of its own, whose logits are averaged.
    """
    if image_size % patch:
        raise OptionError(f"{name}: an image of {image_size} cannot be cut into patches of {patch}; choose a multiple of {patch}")
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv(x, hidden, patch, stride=patch, padding=0, bias=True, name="conv_proj")
    patches = x.shape[2] * x.shape[3]
    x = b.transpose(b.reshape(x, (batch, hidden, patches)), (0, 2, 1))
    tokens = [b.expand(b.weight(t, (1, 1, hidden)), (batch, 1, hidden)) for t in (("class_token", "dist_token") if distilled else ("class_token",))]
    x = b.concat([*tokens, x], axis=1)
    with b.scope("encoder"):
        x = b.add(x, b.weight("pos_embedding", (1, x.shape[1], hidden)))
        for i in range(layers):
            with b.scope(f"layers.{i}"):
                x = _layer(b, x, heads, fused_qkv)
        x = b.layer_norm(x, name="ln")
    heads_of = ("head", "head_dist")[: len(tokens)]
    logits = [b.linear(b.reshape(b.slice(x, i, i + 1), (batch, hidden)), num_classes, name=n) for i, n in enumerate(heads_of)]
    return b.build(b.mul(b.add(*logits), b.scalar("half")) if distilled else logits[0])


def _layer(b: Builder, x: Tensor, heads: int, fused_qkv: bool) -> Tensor:
    hidden = x.shape[-1]
    y = b.layer_norm(x, name="ln_1")
    with b.scope("attention"):
        if fused_qkv:
            parts = b.split(b.linear(y, 3 * hidden, name="qkv"), 3, axis=2)
        else:
            parts = tuple(b.linear(y, hidden, name=p) for p in ("query", "key", "value"))
        q, k, v = (b.split_heads(part, heads) for part in parts)
        y = b.linear(b.merge_heads(b.attention(q, k, v)), hidden, name="out_proj")
    x = b.add(x, y)
    y = b.layer_norm(x, name="ln_2")
    with b.scope("mlp"):
        y = b.linear(b.gelu(b.linear(y, 4 * hidden, name="fc1")), hidden, name="fc2")
    return b.add(x, y)
