"""Layers as soumith's convnet-benchmarks timed them on Kepler and Maxwell: a framework's loop, synchronised at the end.

Source: github.com/soumith/convnet-benchmarks (10 runs after a warm-up; `caffe time` for the layers of whole networks).
"""

from __future__ import annotations

from simgpu.kernels.kernel import Conv, Gemm, Stream
from simgpu.validation.formats.build import DIRECTIONS, conv_launch, make_case, skip
from simgpu.validation.kernels import Case, Launch, launch
from simgpu.validation.score import Skipped
from simgpu.validation.table import Row

METHOD = "framework_loop"
FP32 = 4
YEAR = 2016.0  # the oldest libraries that are modelled; those that ran are older
_MODELLED = ("cudnn-r1", "cudnn-r2")


def conv(row: Row) -> Case | Skipped:
    mode, library = row.text("pass"), row.text("library")
    row.time_s("time_ms")
    if not library.startswith(_MODELLED):
        return skip(row, "conv", mode, f"library {library} is not modelled: of these, only cuDNN R1 and R2 are")
    if row.count("r") == row.count("s") == 3:
        return skip(row, "conv", mode, f"{library} had no Winograd kernels yet, the cuDNN that is modelled has")
    if mode not in DIRECTIONS:
        return skip(row, "conv", mode, "both backward passes in one number")
    channels = (row.count("c"), row.count("k"))
    one = conv_launch(row, itemsize=FP32, layout="nchw", direction=mode, dtype="fp32", pipe="vector", channels=channels)
    return make_case(row, "conv", mode, (one,), method=METHOD, trust="care", library_year=YEAR)


def _shape(row: Row, column: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(x) for x in row.text(column).split("x"))
    except ValueError:
        raise row.fail(column, f"'{row.text(column)}' is no shape, expected 128x3x224x224") from None
    if not all(1 <= x <= 10**7 for x in shape):
        raise row.fail(column, f"'{row.text(column)}' has a dimension outside 1 … 10⁷")
    return shape


def caffe_layer(row: Row) -> Case | Skipped:
    """A layer of `caffe time`: convolution, ReLU, pooling, concatenation, fully connected; forward only."""
    kind, mode, library = row.text("type"), row.text("pass"), row.text("library")
    row.time_s("time_ms")
    family = {"Convolution": "conv", "ReLU": "elementwise", "Pooling": "pooling", "InnerProduct": "linear", "Concat": "copy"}.get(kind, kind.lower())
    if kind == "Input":
        return skip(row, "input", mode, "an input layer runs no kernel")
    if library != "caffe-2016-02":
        return skip(row, family, mode, f"library {library} (im2col, one image at a time) is not modelled: only cuDNN is")
    if mode != "fwd":
        return skip(row, family, mode, "backward passes of a layer come as one number")
    out = _shape(row, "out_shape")
    size = 1
    for x in out:
        size *= x
    one: Launch
    if kind == "Convolution":
        (n, c, h, w), (_, k, p, q) = _shape(row, "in_shape"), out
        r, groups = row.count("kernel"), row.count("group") if row.cells.get("group", "").strip() else 1
        work = Conv(n=n, c=c, h=h, w=w, k=k, r=r, s=r, p=p, q=q, stride_h=row.count("stride"), stride_w=row.count("stride"), groups=groups)
        reads = [n * c * h * w * FP32, k * c // groups * r * r * FP32, k * FP32]
        one = launch(work, reads=reads, writes=[size * FP32], label=f"conv {r}×{r}")
        bias = launch(Stream(elements=size), reads=[size * FP32, k * FP32], writes=[size * FP32], label="bias")
        return make_case(row, family, f"layers/{mode}", (one, bias), method=METHOD, trust="care", library_year=YEAR)
    if kind == "InnerProduct":
        batch, n = out[0], out[1]
        k = 1
        for x in _shape(row, "in_shape")[1:]:
            k *= x
        work_fc = Gemm(m=batch, n=n, k=k, a_bytes=FP32, b_bytes=FP32, out_bytes=FP32, layout="tn")
        one = launch(work_fc, reads=[batch * k * FP32, n * k * FP32, n * FP32], writes=[size * FP32], label="linear")
    elif kind == "Pooling":
        in_size = 1
        for x in _shape(row, "in_shape"):
            in_size *= x
        window = row.count("kernel") ** 2
        # Caffe's max pooling also writes the position of each maximum (an int mask).
        work_pool = Stream(elements=size, pattern="window", window=window, instructions=2 * window)
        one = launch(work_pool, reads=[in_size * FP32], writes=[size * FP32, size * FP32], label="max pool", flop=size * window)
    else:
        one = launch(Stream(elements=size), reads=[size * FP32], writes=[size * FP32], label=kind.lower(), flop=size)
    return make_case(row, family, f"layers/{mode}", (one,), method=METHOD, trust="care", library_year=YEAR)
