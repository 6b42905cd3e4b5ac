"""Swin transformers: attention inside windows that shift from layer to layer."""

from __future__ import annotations

from simgpu.frontends.builder import Builder
from simgpu.frontends.hf.blocks import activate, merge_heads, read_activation, split_heads
from simgpu.frontends.hf.decoders import num_labels
from simgpu.frontends.hf.fields import MAX_LAYERS, Fields
from simgpu.frontends.hf.request import Request
from simgpu.frontends.hf.vision import patches
from simgpu.graph.ir import Graph, Tensor

MAX_STAGES = 8


def swin(f: Fields, name: str, request: Request) -> Graph:
    """Swin (Liu et al. 2021)."""
    request.only_prefill(f.where, "an image classifier")
    request.choose_part(f.where, ())
    dim, depths = f.size("embed_dim"), f.sizes("depths", max_length=MAX_STAGES)
    heads = f.sizes("num_heads", length=len(depths))
    window, ratio = f.size("window_size", default=7), f.number("mlp_ratio", default=4.0, low=1e-3, high=64)
    act, bias = read_activation(f, "hidden_act", default="gelu"), f.flag("qkv_bias", default=True)
    if not depths or sum(depths) > MAX_LAYERS:
        f.fail("depths", f"has {len(depths)} stages of {sum(depths)} layers, expected at least one stage and at most {MAX_LAYERS} layers")
    for stage, count in enumerate(heads):
        f.divide("embed_dim", dim * 2**stage, f"num_heads[{stage}]", count)
    b = Builder(name)
    with b.scope("swin"):
        with b.scope("embeddings"):
            x, grid = patches(b, f, request, dim, bias=True, default_patch=4, name="patch_embeddings.projection")
            x = b.layer_norm(x, name="norm")
            if f.flag("use_absolute_embeddings", default=False):
                x = b.add(x, b.weight("position_embeddings", (1, grid[0] * grid[1], dim)), name="add_positions")
        for stage, depth in enumerate(depths):
            with b.scope(f"encoder.layers.{stage}"):
                for i in range(depth):
                    with b.scope(f"blocks.{i}"):
                        x = _layer(b, x, grid, heads=heads[stage], window=window, shift=window // 2 if i % 2 else 0, ratio=ratio, act=act, bias=bias)
                if stage + 1 < len(depths):
                    x, grid = _merge(b, x, grid)
        x = b.layer_norm(x, name="layernorm")
        pooled = b.mean(x, (1,), name="pooler")
    architectures = f.texts("architectures", default=("SwinForImageClassification",), max_length=16)
    if request.head == "none" or (request.head == "auto" and not any(a.endswith("ForImageClassification") for a in architectures)):
        return b.build((x, pooled))
    return b.build(b.linear(pooled, num_labels(f), name="classifier"))


def _layer(b: Builder, x: Tensor, grid: tuple[int, int], *, heads: int, window: int, shift: int, ratio: float, act: str, bias: bool) -> Tensor:
    """Attention within windows, then the feed-forward block: (B, rows · columns, C) → the same."""
    batch, tokens, dim = x.shape
    if min(grid) <= window:
        window, shift = min(grid), 0
    y = b.reshape(b.layer_norm(x, name="layernorm_before"), (batch, *grid, dim), name="image")
    down, right = -grid[0] % window, -grid[1] % window
    if down or right:
        y = b.pad(y, (0, 0, 0, 0), (0, down, right, 0), name="pad")
    padded = (grid[0] + down, grid[1] + right)
    if shift:
        y = roll(b, y, shift, name="shift")
    blocks = (batch, padded[0] // window, window, padded[1] // window, window, dim)
    y = b.transpose(b.reshape(y, blocks, name="blocks"), (0, 1, 3, 2, 4, 5), name="windows_first")
    count = batch * blocks[1] * blocks[3]
    y = b.reshape(y, (count, window * window, dim), name="windows")
    with b.scope("attention"):
        y = _attention(b, y, heads=heads, window=window, windows_of_image=blocks[1] * blocks[3] if shift else 0, bias=bias)
    y = b.reshape(y, (batch, blocks[1], blocks[3], window, window, dim), name="blocks_back")
    y = b.reshape(b.transpose(y, (0, 1, 3, 2, 4, 5), name="rows_first"), (batch, *padded, dim), name="image_back")
    if shift:
        y = roll(b, y, -shift, name="shift_back")
    if down or right:
        y = b.op("Slice", y, name="crop", starts=(0, 0), ends=grid, axes=(1, 2), steps=(1, 1))
    x = b.add(x, b.reshape(y, (batch, tokens, dim), name="tokens"), name="add_attention")
    y = b.linear(b.layer_norm(x, name="layernorm_after"), int(ratio * dim), name="mlp.fc1")
    return b.add(b.linear(activate(b, y, act), dim, name="mlp.fc2"), x, name="add_mlp")


def _attention(b: Builder, x: Tensor, *, heads: int, window: int, windows_of_image: int, bias: bool) -> Tensor:
    """Attention inside each window, with a bias for each relative position and, where the windows are shifted, a mask."""
    count, area, dim = x.shape
    q, k, v = (split_heads(b, b.linear(x, dim, bias=bias, name=name), heads, name=name[0]) for name in ("q_proj", "k_proj", "v_proj"))
    table = b.weight("relative_position_bias_table", ((2 * window - 1) ** 2, heads))
    index = b.constant("relative_position_index", (area * area,), dtype="int64")
    rows = b.reshape(b.op("Gather", table, index, name="bias_rows", axis=0), (area, area, heads), name="bias_square")
    mask = b.reshape(b.transpose(rows, (2, 0, 1), name="bias_heads_first"), (1, heads, area, area), name="bias")
    if windows_of_image:
        shifted = b.constant("shift_mask", (1, windows_of_image, 1, area, area))
        batch = count // windows_of_image
        shifted = b.reshape(b.expand(shifted, (batch, windows_of_image, 1, area, area), name="mask_images"), (count, 1, area, area), name="mask_windows")
        mask = b.add(mask, shifted, name="add_mask")
    return b.linear(merge_heads(b, b.attention(q, k, v, mask=mask)), dim, name="o_proj")


def roll(b: Builder, x: Tensor, shift: int, *, name: str) -> Tensor:
    """Shifts an image (B, rows, columns, C) up and left by `shift`, around its edges: slices joined along one axis, then the other."""
    for axis in (1, 2):
        cut = shift % x.shape[axis]
        with b.scope(f"{name}.{axis}"):
            x = b.concat((b.slice(x, cut, x.shape[axis], axis=axis, name="tail"), b.slice(x, 0, cut, axis=axis, name="head")), axis=axis)
    return x


def _merge(b: Builder, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Joins 2 × 2 patches to one of twice the width."""
    batch, _, dim = x.shape
    with b.scope("downsample"):
        y = b.reshape(x, (batch, *grid, dim), name="image")
        if grid[0] % 2 or grid[1] % 2:
            y = b.pad(y, (0, 0, 0, 0), (0, grid[0] % 2, grid[1] % 2, 0), name="pad")
        rows, columns = y.shape[1:3]
        corners = [b.op("Slice", y, name=f"corner{i}{j}", starts=(i, j), ends=(rows, columns), axes=(1, 2), steps=(2, 2)) for j in range(2) for i in range(2)]
        y = b.reshape(b.concat(corners, axis=-1), (batch, rows * columns // 4, 4 * dim), name="joined")
        return b.linear(b.layer_norm(y, name="norm"), 2 * dim, bias=False, name="reduction"), (rows // 2, columns // 2)
