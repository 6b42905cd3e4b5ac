"""RegNet X and Y, as torchvision builds them."""

import math
from itertools import groupby

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor, round_channels
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

SE = 0.25


@model("regnet_x_200mf", family="RegNet X", depth=13, w_0=24, w_a=36.44, w_m=2.49, group_width=8, aliases=("regnetx_002",))
@model("regnet_x_400mf", family="RegNet X", depth=22, w_0=24, w_a=24.48, w_m=2.54, group_width=16, aliases=("regnetx_004_tv",))
@model("regnet_x_600mf", family="RegNet X", depth=16, w_0=48, w_a=36.97, w_m=2.24, group_width=24, aliases=("regnetx_006",))
@model("regnet_x_800mf", family="RegNet X", depth=16, w_0=56, w_a=35.73, w_m=2.28, group_width=16, aliases=("regnetx_008",))
@model("regnet_x_1_6gf", family="RegNet X", depth=18, w_0=80, w_a=34.01, w_m=2.25, group_width=24, aliases=("regnetx_016",))
@model("regnet_x_3_2gf", family="RegNet X", depth=25, w_0=88, w_a=26.31, w_m=2.25, group_width=48, aliases=("regnetx_032",))
@model("regnet_x_4gf", family="RegNet X", depth=23, w_0=96, w_a=38.65, w_m=2.43, group_width=40, aliases=("regnetx_040",))
@model("regnet_x_6_4gf", family="RegNet X", depth=17, w_0=184, w_a=60.83, w_m=2.07, group_width=56, aliases=("regnetx_064",))
@model("regnet_x_8gf", family="RegNet X", depth=23, w_0=80, w_a=49.56, w_m=2.88, group_width=120, aliases=("regnetx_080",))
@model("regnet_x_12gf", family="RegNet X", depth=19, w_0=168, w_a=73.36, w_m=2.37, group_width=112, aliases=("regnetx_120", "regnetx_12gf"))
@model("regnet_x_16gf", family="RegNet X", depth=22, w_0=216, w_a=55.59, w_m=2.1, group_width=128, aliases=("regnetx_160",))
@model("regnet_x_32gf", family="RegNet X", depth=23, w_0=320, w_a=69.86, w_m=2.0, group_width=168, aliases=("regnetx_320",))
@model("regnet_y_200mf", family="RegNet Y", depth=13, w_0=24, w_a=36.44, w_m=2.49, group_width=8, se_ratio=SE, aliases=("regnety_002",))
@model("regnet_y_400mf", family="RegNet Y", depth=16, w_0=48, w_a=27.89, w_m=2.09, group_width=8, se_ratio=SE, aliases=("regnety_004",))
@model("regnet_y_600mf", family="RegNet Y", depth=15, w_0=48, w_a=32.54, w_m=2.32, group_width=16, se_ratio=SE, aliases=("regnety_006",))
@model("regnet_y_800mf", family="RegNet Y", depth=14, w_0=56, w_a=38.84, w_m=2.4, group_width=16, se_ratio=SE, aliases=("regnety_008_tv",))
@model("regnet_y_1_6gf", family="RegNet Y", depth=27, w_0=48, w_a=20.71, w_m=2.65, group_width=24, se_ratio=SE, aliases=("regnety_016",))
@model("regnet_y_3_2gf", family="RegNet Y", depth=21, w_0=80, w_a=42.63, w_m=2.66, group_width=24, se_ratio=SE, aliases=("regnety_032",))
@model("regnet_y_4gf", family="RegNet Y", depth=22, w_0=96, w_a=31.41, w_m=2.24, group_width=64, se_ratio=SE, aliases=("regnety_040",))
@model("regnet_y_6_4gf", family="RegNet Y", depth=25, w_0=112, w_a=33.22, w_m=2.27, group_width=72, se_ratio=SE, aliases=("regnety_064",))
@model("regnet_y_8gf", family="RegNet Y", depth=17, w_0=192, w_a=76.82, w_m=2.19, group_width=56, se_ratio=SE, aliases=("regnety_080_tv",), never_narrow=True)
@model("regnety_080", family="RegNet Y", depth=17, w_0=192, w_a=76.82, w_m=2.19, group_width=56, se_ratio=SE)
@model("regnet_y_12gf", family="RegNet Y", depth=19, w_0=168, w_a=73.36, w_m=2.37, group_width=112, se_ratio=SE, aliases=("regnety_120",))
@model("regnet_y_16gf", family="RegNet Y", depth=18, w_0=200, w_a=106.23, w_m=2.48, group_width=112, se_ratio=SE, aliases=("regnety_160",))
@model("regnet_y_32gf", family="RegNet Y", depth=20, w_0=232, w_a=115.89, w_m=2.53, group_width=232, se_ratio=SE, aliases=("regnety_320",))
@model("regnet_y_128gf", family="RegNet Y", depth=27, w_0=456, w_a=160.83, w_m=2.52, group_width=264, se_ratio=SE, aliases=("regnety_1280",))
def regnet(
    *,
    name: str,
    batch: int = 1,
    image_size: int = 224,
    num_classes: int = 1000,
    depth: int = 22,
    w_0: int = 24,
    w_a: float = 24.48,
    w_m: float = 2.54,
    group_width: int = 16,
    se_ratio: float = 0.0,
    never_narrow: bool = False,
) -> Graph:
    """Radosavovic et al., "Designing network design spaces", CVPR 2020, equations 2 to 4 and tables 5 and 6 (appendix B).

    Args:
        depth: Blocks.
        w_0: Width of the first block.
        w_a: How much wider each further block would be.
        w_m: Ratio between the widths of neighbouring stages.
        group_width: Channels of a group.
        se_ratio: Channels of squeeze-and-excitation by those of the block's input; 0 = none (RegNet X).
        never_narrow: Widths that the groups do not divide are rounded as torchvision does, never more than a tenth down; it
            changes regnet_y_8gf only. Otherwise to the nearest multiple, as the paper's code and timm do.
    """
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 32, 3, stride=2, act="relu", name="stem")
    for stage, (width, blocks) in enumerate(stage_widths(depth, w_0, w_a, w_m), start=1):
        group = min(group_width, width)
        fitting = round_channels(width, group) if never_narrow else group * int(width / group + 0.5)
        for i in range(blocks):
            with b.scope(f"block{stage}.{i}"):
                x = _block(b, x, fitting, fitting // group, 2 if i == 0 else 1, round(se_ratio * x.shape[1]))
    return b.build(classifier(b, x, num_classes, name="fc"))


def stage_widths(depth: int, w_0: int, w_a: float, w_m: float) -> list[tuple[int, int]]:
    """Width and number of blocks of each stage: widths grow linearly, then snap to powers of w_m and multiples of 8."""
    snapped = [round(math.log(1 + w_a * i / w_0) / math.log(w_m)) for i in range(depth)]
    widths = [8 * round(w_0 * w_m**s / 8) for s in snapped]
    return [(width, len(list(same))) for width, same in groupby(widths)]


def _block(b: Builder, x: Tensor, channels: int, groups: int, stride: int, squeezed: int) -> Tensor:
    shortcut = x if stride == 1 and x.shape[1] == channels else b.conv_bn(x, channels, 1, stride=stride, name="proj")
    y = b.conv_bn(x, channels, 1, act="relu", name="f.a")
    y = b.conv_bn(y, channels, 3, stride=stride, groups=groups, act="relu", name="f.b")
    if squeezed:
        y = b.squeeze_excite(y, squeezed, name="f.se")
    return b.relu(b.add(shortcut, b.conv_bn(y, channels, 1, name="f.c")))
