"""YOLO v3, v5 and v8 up to decoded boxes and scores; non-maximum suppression is left to the host."""

from simgpu.frontends.builder import Builder, Tensor
from simgpu.frontends.zoo import model
from simgpu.graph.ir import Graph


@model("yolov3", family="YOLO", aliases=("yolov3-416", "yolo_v3"))
def yolov3(*, name: str, batch: int = 1, image_size: int = 416, num_classes: int = 80) -> Graph:
    """Redmon, Farhadi, "YOLOv3: An incremental improvement", arXiv:1804.02767, table 1 (Darknet-53) and section 2.3."""
    b = Builder(name)
    x = b.input("images", (batch, 3, image_size, image_size))
    taps: list[Tensor] = []
    with b.scope("backbone"):
        x = _leaky(b, x, 32, 3, "stem")
        for stage, (channels, repeat) in enumerate(((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))):
            with b.scope(stage):
                x = _leaky(b, x, channels, 3, "down", stride=2)
                for i in range(repeat):
                    x = b.add(x, _leaky(b, _leaky(b, x, channels // 2, 1, f"{i}.0"), channels, 3, f"{i}.1"), name=f"{i}.add")
            taps.append(x)
    outputs = []
    for level, (channels, tap) in enumerate(zip((512, 256, 128), reversed(taps[2:]), strict=True)):
        with b.scope(f"head.{level}"):
            if level:
                x = _leaky(b, x, channels, 1, "route")
                x = b.concat([b.resize(x, tap.shape[2:], name="upsample"), tap])
            for i in range(5):
                x = _leaky(b, x, *((channels, 1) if i % 2 == 0 else (2 * channels, 3)), f"{i}")
            y = b.conv(_leaky(b, x, 2 * channels, 3, "5"), 3 * (num_classes + 5), 1, bias=True, name="detect")
            outputs.append(_anchored(b, y, num_classes, "decode"))
    return b.build(b.concat(outputs, name="detections"))


@model("yolov5n", family="YOLO", depth=0.33, width=0.25)
@model("yolov5s", family="YOLO", depth=0.33, width=0.5, aliases=("yolov5",))
@model("yolov5m", family="YOLO", depth=0.67, width=0.75)
@model("yolov5l", family="YOLO", depth=1.0, width=1.0)
@model("yolov5x", family="YOLO", depth=1.33, width=1.25)
def yolov5(*, name: str, batch: int = 1, image_size: int = 640, num_classes: int = 80, depth: float = 0.33, width: float = 0.5) -> Graph:
    """Jocher et al., YOLOv5 v6.0, doi:10.5281/zenodo.5563715, `models/yolov5s.yaml`.

    Args:
        depth: Multiplier of the repeated blocks.
        width: Multiplier of channels.
    """

    def wide(channels: int) -> int:
        return -(-int(channels * width) // 8) * 8

    def deep(repeats: int) -> int:
        return max(round(repeats * depth), 1)

    b = Builder(name)
    x = b.input("images", (batch, 3, image_size, image_size))
    with b.scope("model"):
        x = _silu(b, x, wide(64), 6, "0", stride=2, padding=2)
        x = _silu(b, x, wide(128), 3, "1", stride=2)
        x = _c3(b, x, wide(128), deep(3), "2")
        x = _silu(b, x, wide(256), 3, "3", stride=2)
        p3 = _c3(b, x, wide(256), deep(6), "4")
        x = _silu(b, p3, wide(512), 3, "5", stride=2)
        p4 = _c3(b, x, wide(512), deep(9), "6")
        x = _silu(b, p4, wide(1024), 3, "7", stride=2)
        x = _c3(b, x, wide(1024), deep(3), "8")
        x = _sppf(b, x, wide(1024), "9")

        top = _silu(b, x, wide(512), 1, "10")
        x = b.concat([b.resize(top, p4.shape[2:], name="11"), p4], name="12")
        middle = _silu(b, _c3(b, x, wide(512), deep(3), "13", shortcut=False), wide(256), 1, "14")
        x = b.concat([b.resize(middle, p3.shape[2:], name="15"), p3], name="16")
        small = _c3(b, x, wide(256), deep(3), "17", shortcut=False)
        x = b.concat([_silu(b, small, wide(256), 3, "18", stride=2), middle], name="19")
        medium = _c3(b, x, wide(512), deep(3), "20", shortcut=False)
        x = b.concat([_silu(b, medium, wide(512), 3, "21", stride=2), top], name="22")
        large = _c3(b, x, wide(1024), deep(3), "23", shortcut=False)
        with b.scope("24"):
            maps = [b.conv(x, 3 * (num_classes + 5), 1, bias=True, name=f"m.{i}") for i, x in enumerate((small, medium, large))]
            return b.build(b.concat([_anchored(b, x, num_classes, f"decode.{i}") for i, x in enumerate(maps)]))


@model("yolov8n", family="YOLO", depth=0.33, width=0.25, most=1024, aliases=("yolov8",))
@model("yolov8s", family="YOLO", depth=0.33, width=0.5, most=1024)
@model("yolov8m", family="YOLO", depth=0.67, width=0.75, most=768)
@model("yolov8l", family="YOLO", depth=1.0, width=1.0, most=512)
@model("yolov8x", family="YOLO", depth=1.0, width=1.25, most=512)
def yolov8(*, name: str, batch: int = 1, image_size: int = 640, num_classes: int = 80, depth: float = 0.33, width: float = 0.25, most: int = 1024) -> Graph:
    """Jocher et al., Ultralytics YOLOv8, 2023, `cfg/models/v8/yolov8.yaml`.

    Args:
        depth: Multiplier of the repeated blocks.
        width: Multiplier of channels.
        most: Channels of a layer before the multiplier are never more than this.
    """

    def wide(channels: int) -> int:
        return -(-int(min(channels, most) * width) // 8) * 8

    def deep(repeats: int) -> int:
        return max(round(repeats * depth), 1)

    b = Builder(name)
    x = b.input("images", (batch, 3, image_size, image_size))
    with b.scope("model"):
        x = _silu(b, x, wide(64), 3, "0", stride=2)
        x = _silu(b, x, wide(128), 3, "1", stride=2)
        x = _c2f(b, x, wide(128), deep(3), "2")
        x = _silu(b, x, wide(256), 3, "3", stride=2)
        p3 = _c2f(b, x, wide(256), deep(6), "4")
        x = _silu(b, p3, wide(512), 3, "5", stride=2)
        p4 = _c2f(b, x, wide(512), deep(6), "6")
        x = _silu(b, p4, wide(1024), 3, "7", stride=2)
        x = _c2f(b, x, wide(1024), deep(3), "8")
        top = _sppf(b, x, wide(1024), "9")

        x = b.concat([b.resize(top, p4.shape[2:], name="10"), p4], name="11")
        middle = _c2f(b, x, wide(512), deep(3), "12", shortcut=False)
        x = b.concat([b.resize(middle, p3.shape[2:], name="13"), p3], name="14")
        small = _c2f(b, x, wide(256), deep(3), "15", shortcut=False)
        x = b.concat([_silu(b, small, wide(256), 3, "16", stride=2), middle], name="17")
        medium = _c2f(b, x, wide(512), deep(3), "18", shortcut=False)
        x = b.concat([_silu(b, medium, wide(512), 3, "19", stride=2), top], name="20")
        large = _c2f(b, x, wide(1024), deep(3), "21", shortcut=False)
        with b.scope("22"):
            return b.build(_anchor_free(b, [small, medium, large], num_classes))


def _leaky(b: Builder, x: Tensor, channels: int, kernel: int, name: str, *, stride: int = 1) -> Tensor:
    return b.conv_bn(x, channels, kernel, stride=stride, act="leaky_relu", name=name)


def _silu(b: Builder, x: Tensor, channels: int, kernel: int, name: str, *, stride: int = 1, padding: int | None = None) -> Tensor:
    return b.conv_bn(x, channels, kernel, stride=stride, padding=padding, act="silu", name=name)


def _c3(b: Builder, x: Tensor, channels: int, repeats: int, name: str, *, shortcut: bool = True) -> Tensor:
    """Cross-stage partial block: one half through bottlenecks, the other past them."""
    half = channels // 2
    with b.scope(name):
        y = _silu(b, x, half, 1, "cv1")
        for i in range(repeats):
            z = _silu(b, _silu(b, y, half, 1, f"m.{i}.cv1"), half, 3, f"m.{i}.cv2")
            y = b.add(y, z, name=f"m.{i}.add") if shortcut else z
        return _silu(b, b.concat([y, _silu(b, x, half, 1, "cv2")]), channels, 1, "cv3")


def _c2f(b: Builder, x: Tensor, channels: int, repeats: int, name: str, *, shortcut: bool = True) -> Tensor:
    """The same with the output of every bottleneck kept."""
    half = channels // 2
    with b.scope(name):
        parts = list(b.split(_silu(b, x, 2 * half, 1, "cv1"), 2))
        for i in range(repeats):
            z = _silu(b, _silu(b, parts[-1], half, 3, f"m.{i}.cv1"), half, 3, f"m.{i}.cv2")
            parts.append(b.add(parts[-1], z, name=f"m.{i}.add") if shortcut else z)
        return _silu(b, b.concat(parts), channels, 1, "cv2")


def _sppf(b: Builder, x: Tensor, channels: int, name: str) -> Tensor:
    """Spatial pyramid pooling: three 5x5 maxima after one another."""
    with b.scope(name):
        parts = [_silu(b, x, x.shape[1] // 2, 1, "cv1")]
        for _ in range(3):
            parts.append(b.max_pool(parts[-1], 5, stride=1, padding=2, name="m"))
        return _silu(b, b.concat(parts), channels, 1, "cv2")


def _anchored(b: Builder, x: Tensor, num_classes: int, name: str) -> Tensor:
    """Boxes and scores of three anchors a position: (N, 3 · (classes + 5), H, W) → (N, 3 · H · W, classes + 5)."""
    batch, _, height, width = x.shape
    with b.scope(name):
        y = b.transpose(b.reshape(x, (batch, 3, num_classes + 5, height, width)), (0, 1, 3, 4, 2))
        centre, size, scores = b.split(b.sigmoid(y), (2, 2, num_classes + 1), axis=4)
        grid, anchors = b.constant("grid", (1, 3, height, width, 2)), b.constant("anchor_grid", (1, 3, height, width, 2))
        centre = b.mul(b.add(b.mul(centre, b.scalar("two")), grid), b.scalar("stride"))
        size = b.mul(b.op("Pow", b.mul(size, b.scalar("two")), b.scalar("square")), anchors)
        return b.reshape(b.concat([centre, size, scores], axis=4), (batch, 3 * height * width, num_classes + 5))


def _anchor_free(b: Builder, maps: list[Tensor], num_classes: int) -> Tensor:
    """Boxes as distributions over 16 distances to each side, and scores: (N, 4 + classes, positions)."""
    bins = 16
    box_width, class_width = max(bins, maps[0].shape[1] // 4, 4 * bins), max(maps[0].shape[1], min(num_classes, 100))
    batch, parts = maps[0].shape[0], []
    for i, x in enumerate(maps):
        with b.scope(f"cv2.{i}"):
            boxes = b.conv(_silu(b, _silu(b, x, box_width, 3, "0"), box_width, 3, "1"), 4 * bins, 1, bias=True, name="2")
        with b.scope(f"cv3.{i}"):
            classes = b.conv(_silu(b, _silu(b, x, class_width, 3, "0"), class_width, 3, "1"), num_classes, 1, bias=True, name="2")
        y = b.concat([boxes, classes], name=f"concat.{i}")
        parts.append(b.reshape(y, (batch, 4 * bins + num_classes, y.shape[2] * y.shape[3])))
    boxes, classes = b.split(b.concat(parts, axis=2), (4 * bins, num_classes))
    positions = boxes.shape[2]
    with b.scope("dfl"):
        y = b.softmax(b.transpose(b.reshape(boxes, (batch, 4, bins, positions)), (0, 2, 1, 3)), axis=1)
        distances = b.reshape(b.conv(y, 1, 1, name="conv"), (batch, 4, positions))
    near, far = b.split(distances, 2)
    anchors = b.constant("anchors", (1, 2, positions))
    low, high = b.op("Sub", anchors, near), b.add(anchors, far)
    centre = b.op("Div", b.add(low, high), b.scalar("two"))
    boxes = b.mul(b.concat([centre, b.op("Sub", high, low)]), b.constant("strides", (1, positions)))
    return b.concat([boxes, b.sigmoid(classes)])
