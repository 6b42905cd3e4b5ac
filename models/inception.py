"""Inception v2, v3, as torchvision builds it, and v4, as timm builds it."""

from typing import Any

from simgpu.frontends.blocks import classifier
from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph

# A branch is a chain of convolutions (channels, kernel), each with batch normalisation and ReLU; (channels, kernel, stride)
# is one without padding.
Step = tuple[Any, ...]
ROW, COLUMN = (1, 7), (7, 1)


@model("inception_v3", family="Inception", aliases=("inception_v3.timm", "tf_inception_v3"))
def inception_v3(*, name: str, batch: int = 1, image_size: int = 299, num_classes: int = 1000) -> Graph:
    """Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, table 1; without the auxiliary classifier."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = _chain(b, x, [(32, 3, 2), (32, 3, 1), (64, 3)], "stem1")
    x = b.max_pool(x, 3, stride=2, name="maxpool1")
    x = _chain(b, x, [(80, 1), (192, 3, 1)], "stem2")
    x = b.max_pool(x, 3, stride=2, name="maxpool2")
    for block, pool in (("5b", 32), ("5c", 64), ("5d", 64)):
        with b.scope(f"Mixed_{block}"):
            x = b.concat(
                [
                    _chain(b, x, [(64, 1)], "branch1x1"),
                    _chain(b, x, [(48, 1), (64, 5)], "branch5x5"),
                    _chain(b, x, [(64, 1), (96, 3), (96, 3)], "branch3x3dbl"),
                    _pooled(b, x, pool),
                ]
            )
    with b.scope("Mixed_6a"):
        x = b.concat([_chain(b, x, [(384, 3, 2)], "branch3x3"), _chain(b, x, [(64, 1), (96, 3), (96, 3, 2)], "branch3x3dbl"), b.max_pool(x, 3, stride=2)])
    for block, wide in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        with b.scope(f"Mixed_{block}"):
            x = b.concat(
                [
                    _chain(b, x, [(192, 1)], "branch1x1"),
                    _chain(b, x, [(wide, 1), (wide, ROW), (192, COLUMN)], "branch7x7"),
                    _chain(b, x, [(wide, 1), (wide, COLUMN), (wide, ROW), (wide, COLUMN), (192, ROW)], "branch7x7dbl"),
                    _pooled(b, x, 192),
                ]
            )
    with b.scope("Mixed_7a"):
        x = b.concat(
            [
                _chain(b, x, [(192, 1), (320, 3, 2)], "branch3x3"),
                _chain(b, x, [(192, 1), (192, ROW), (192, COLUMN), (192, 3, 2)], "branch7x7x3"),
                b.max_pool(x, 3, stride=2),
            ]
        )
    for block in ("7b", "7c"):
        with b.scope(f"Mixed_{block}"):
            x = b.concat(
                [
                    _chain(b, x, [(320, 1)], "branch1x1"),
                    _fork(b, _chain(b, x, [(384, 1)], "branch3x3"), 384, "branch3x3_2"),
                    _fork(b, _chain(b, x, [(448, 1), (384, 3)], "branch3x3dbl"), 384, "branch3x3dbl_3"),
                    _pooled(b, x, 192),
                ]
            )
    return b.build(classifier(b, x, num_classes, name="fc"))


# Inception v2: 1x1 | 3x3 reduce, 3x3 | double 3x3 reduce, 3x3 (both) | pool, its projection; 0 = left out, and stride 2
V2 = {
    "3a": (64, 64, 64, 64, 96, "avg", 32),
    "3b": (64, 64, 96, 64, 96, "avg", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "avg", 128),
    "4b": (192, 96, 128, 96, 128, "avg", 128),
    "4c": (160, 128, 160, 128, 160, "avg", 128),
    "4d": (96, 128, 192, 160, 192, "avg", 128),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "avg", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}


@model("inception_v2", family="Inception", aliases=("inception_bn", "bn_inception"))
def inception_v2(*, name: str, batch: int = 1, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """Ioffe, Szegedy, "Batch normalization", ICML 2015, figure 5 (appendix); also called BN-Inception."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    x = b.conv_bn(x, 64, 7, stride=2, act="relu", name="conv1")
    x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="pool1")
    x = _chain(b, x, [(64, 1), (192, 3)], "conv2")
    x = b.max_pool(x, 3, stride=2, ceil_mode=True, name="pool2")
    for block, (one, reduce3, three, reduce5, five, pool, projection) in V2.items():
        stride = 1 if one else 2
        with b.scope(f"inception_{block}"):
            parts = [_chain(b, x, [(one, 1)], "1x1")] if one else []
            y = b.conv_bn(x, reduce3, 1, act="relu", name="3x3.0")
            parts.append(b.conv_bn(y, three, 3, stride=stride, act="relu", name="3x3.1"))
            y = _chain(b, x, [(reduce5, 1), (five, 3)], "double_3x3")
            parts.append(b.conv_bn(y, five, 3, stride=stride, act="relu", name="double_3x3.2"))
            if stride == 2:
                parts.append(b.max_pool(x, 3, stride=2, ceil_mode=True))
            else:
                y = b.max_pool(x, 3, stride=1, padding=1) if pool == "max" else b.avg_pool(x, 3, stride=1, padding=1)
                parts.append(_chain(b, y, [(projection, 1)], "pool_proj"))
            x = b.concat(parts)
    return b.build(classifier(b, x, num_classes, name="fc"))


@model("inception_v4", family="Inception")
def inception_v4(*, name: str, batch: int = 1, image_size: int = 299, num_classes: int = 1000) -> Graph:
    """Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning", AAAI 2017, figures 3 to 9."""
    b = Builder(name)
    x = b.input("input", (batch, 3, image_size, image_size))
    with b.scope("stem"):
        x = _chain(b, x, [(32, 3, 2), (32, 3, 1), (64, 3)], "conv")
        x = b.concat([b.max_pool(x, 3, stride=2), _chain(b, x, [(96, 3, 2)], "mixed_3a")])
        x = b.concat([_chain(b, x, [(64, 1), (96, 3, 1)], "mixed_4a.0"), _chain(b, x, [(64, 1), (64, ROW), (64, COLUMN), (96, 3, 1)], "mixed_4a.1")])
        x = b.concat([_chain(b, x, [(192, 3, 2)], "mixed_5a"), b.max_pool(x, 3, stride=2)])
    for i in range(4):
        with b.scope(f"inception_a.{i}"):
            x = b.concat(
                [
                    _chain(b, x, [(96, 1)], "branch0"),
                    _chain(b, x, [(64, 1), (96, 3)], "branch1"),
                    _chain(b, x, [(64, 1), (96, 3), (96, 3)], "branch2"),
                    _pooled(b, x, 96),
                ]
            )
    with b.scope("reduction_a"):
        x = b.concat([_chain(b, x, [(384, 3, 2)], "branch0"), _chain(b, x, [(192, 1), (224, 3), (256, 3, 2)], "branch1"), b.max_pool(x, 3, stride=2)])
    for i in range(7):
        with b.scope(f"inception_b.{i}"):
            x = b.concat(
                [
                    _chain(b, x, [(384, 1)], "branch0"),
                    _chain(b, x, [(192, 1), (224, ROW), (256, COLUMN)], "branch1"),
                    _chain(b, x, [(192, 1), (192, COLUMN), (224, ROW), (224, COLUMN), (256, ROW)], "branch2"),
                    _pooled(b, x, 128),
                ]
            )
    with b.scope("reduction_b"):
        x = b.concat(
            [
                _chain(b, x, [(192, 1), (192, 3, 2)], "branch0"),
                _chain(b, x, [(256, 1), (256, ROW), (320, COLUMN), (320, 3, 2)], "branch1"),
                b.max_pool(x, 3, stride=2),
            ]
        )
    for i in range(3):
        with b.scope(f"inception_c.{i}"):
            x = b.concat(
                [
                    _chain(b, x, [(256, 1)], "branch0"),
                    _fork(b, _chain(b, x, [(384, 1)], "branch1"), 256, "branch1_1"),
                    _fork(b, _chain(b, x, [(384, 1), (448, (3, 1)), (512, (1, 3))], "branch2"), 256, "branch2_3"),
                    _pooled(b, x, 256),
                ]
            )
    return b.build(classifier(b, x, num_classes, name="last_linear"))


def _chain(b: Builder, x: Tensor, steps: list[Step], name: str) -> Tensor:
    for i, (channels, kernel, *stride) in enumerate(steps):
        valid = {"stride": stride[0], "padding": 0} if stride else {}
        x = b.conv_bn(x, channels, kernel, act="relu", name=f"{name}.{i}", **valid)
    return x


def _fork(b: Builder, x: Tensor, channels: int, name: str) -> Tensor:
    """1x3 and 3x1 side by side."""
    return b.concat([b.conv_bn(x, channels, (1, 3), act="relu", name=f"{name}a"), b.conv_bn(x, channels, (3, 1), act="relu", name=f"{name}b")])


def _pooled(b: Builder, x: Tensor, channels: int) -> Tensor:
    """3x3 mean at stride 1, then 1x1."""
    return _chain(b, b.avg_pool(x, 3, stride=1, padding=1), [(channels, 1)], "branch_pool")
