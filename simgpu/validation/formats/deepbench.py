"""Back-to-back library calls as Baidu's DeepBench runs them: cuBLAS GEMM, cuDNN convolution and recurrent layers, NCCL.

Source: github.com/baidu-research/DeepBench, code/nvidia/*.cu. Times are whole microseconds, rounded down, so half a
    microsecond is added. GEMM operands are column-major and beta ≠ 0; what cuBLAS calls m is our n.
"""

from __future__ import annotations

import math

from simgpu.cost.machine import LIBRARY_YEAR
from simgpu.kernels.kernel import Collective, Gemm, Recurrent
from simgpu.validation.formats.build import DIRECTIONS, LARGE, SMALL, SMALL_BYTES, YES_NO, conv_launch, make_case, skip
from simgpu.validation.kernels import Case, launch
from simgpu.validation.score import Skipped
from simgpu.validation.table import Row

METHOD = "back_to_back"
TRUNCATION_S = 0.5e-6
_ITEMSIZE = {"fp32": 4, "fp16": 2, "int8": 1}


def _padded(size: int, unit: int) -> int:
    return math.ceil(size / unit) * unit


def _library_year(row: Row) -> float:
    """From the CUDA version: 7.5 and 8 ran with the libraries of 2017, later ones with those of 2019; recent ones where a row does not say."""
    version = row.cells.get("cuda_version", "").strip()
    try:
        return 2019.0 if float(version.split(".")[0]) >= 9 else 2017.0
    except ValueError:
        return LIBRARY_YEAR


# 3×3 layers added to the sheets of 2016 when these three boards had cuDNN 5.1; what stood there before ran on cuDNN 5.0, which
# has no non-fused Winograd (seen in the algorithm labels and times). As (channels, height, filters).
_BOARDS_OF_2016 = ("m40", "gtx-titan-x-maxwell", "titan-x-pascal")
_LAYERS_ADDED = frozenset({(64, 56, 64), (256, 14, 256), (128, 28, 128), (256, 20, 256), (512, 10, 512), (512, 7, 512)})
_CUDNN_5_0 = 2016.2


def _cudnn_year(row: Row) -> float:
    if row.text("gpu") in _BOARDS_OF_2016 and row.text("dtype_in") == "fp32" and (row.count("c"), row.count("h"), row.count("k")) not in _LAYERS_ADDED:
        return _CUDNN_5_0
    return _library_year(row)


def _time_s(row: Row) -> float:
    return row.time_s("time_ms") + TRUNCATION_S


def gemm(row: Row) -> Case:
    m, n, k = row.count("m"), row.count("n"), row.count("k")
    stored, tensor = row.text("dtype_in"), row.choice("tensor_core", YES_NO)
    size = row.choice("dtype_in", _ITEMSIZE)
    trans_a, trans_b = (row.choice(c, {"N": "n", "T": "t"}) for c in ("trans_a", "trans_b"))
    if stored == "fp16" and tensor:  # gemm_bench.cu pads m and k (n for a transposed B) to multiples of 8
        m, n, k = (_padded(m, 8), n, _padded(k, 8)) if trans_b == "n" else (_padded(m, 8), _padded(n, 8), k)
    if stored == "int8":
        m = _padded(m, 4)
    out = 4 if stored == "int8" else size
    # fp16 without tensor cores is "pseudo fp16": stored in 16 bits, computed in 32 (DeepBench's P100 sheet).
    dtype = "fp32" if stored == "fp16" and not tensor else stored
    accumulator = "fp16" if tensor and stored == "fp16" else "fp32"  # gemm_bench.cu asks cublasGemmEx for CUDA_R_16F
    work = Gemm(m=n, n=m, k=k, a_bytes=size, b_bytes=size, out_bytes=out, layout=trans_a + trans_b, accumulate=True, accumulator=accumulator)
    reads = [n * k * size, m * k * size, m * n * out]
    one = launch(work, reads=reads, writes=[m * n * out], dtype=dtype, pipe="tensor" if tensor else "vector", label=f"gemm {trans_a}{trans_b}")
    return make_case(row, "gemm", row.text("mode"), (one,), dtype=stored, method=METHOD, time_s=_time_s(row), library_year=_library_year(row))


def conv(row: Row) -> Case:
    stored, tensor = row.text("dtype_in"), row.choice("tensor_core", YES_NO)
    direction = row.choice("pass", DIRECTIONS)
    one = conv_launch(
        row,
        itemsize=row.choice("dtype_in", _ITEMSIZE),
        layout=row.choice("layout", {"nchw": "nchw", "nhwc": "nhwc", "nchw_vect_c32": "nhwc"}),
        direction=direction,
        dtype=stored,
        pipe="tensor" if tensor else "vector",
        channels=(row.count("c_exec"), row.count("k_exec")),
    )
    return make_case(row, "conv", direction, (one,), dtype=stored, method=METHOD, time_s=_time_s(row), library_year=_cudnn_year(row))


def rnn(row: Row) -> Case | Skipped:
    """One cuDNN layer, one direction, without the input GEMM (CUDNN_SKIP_INPUT)."""
    stored, tensor = row.text("dtype_in"), row.choice("tensor_core", YES_NO)
    mode = row.text("pass")
    if mode == "bwd_total":
        return skip(row, "rnn", mode, "both backward passes in one number, of a cuDNN whose half-precision kernels were not tuned", dtype=stored)
    gates = row.choice("cell", {"vanilla": 1, "gru": 3, "lstm": 4})
    hidden, batch, steps = row.count("hidden"), row.count("batch"), row.count("timesteps")
    size = row.choice("dtype_in", _ITEMSIZE)
    work = Recurrent(gates=gates, hidden=hidden, batch=batch, steps=steps, itemsize=size, direction=row.choice("pass", DIRECTIONS))
    weights, states = gates * hidden * hidden * size, steps * batch * hidden * size
    reads, writes = ([states, states], [weights]) if mode == "bwd_weight" else ([states, weights], [states])
    one = launch(work, reads=reads, writes=writes, dtype=stored, pipe="tensor" if tensor else "vector", label=f"{row.text('cell')} {mode}")
    split = row.text("mode")
    return make_case(
        row,
        "rnn",
        mode if split == "train" else f"{split}/{mode}",
        (one,),
        dtype=stored,
        method=METHOD,
        time_s=_time_s(row),
        library_year=_library_year(row),
        # Without tensor cores, cuDNN 6 took about twice as long in half precision as in single: kernels nobody had tuned.
        trust="care" if stored == "fp16" and not tensor else "",
    )


def allreduce(row: Row) -> Case | Skipped:
    """Sum over GPUs of one box, over PCIe."""
    size, gpus, nodes = row.count("bytes_per_gpu"), row.count("n_gpus"), row.count("n_nodes")
    if nodes > 1:
        return skip(row, "collective", SMALL if size <= SMALL_BYTES else LARGE, "across several boxes, whose network is not described")
    work = Collective(op="all_reduce", size_bytes=size, num_gpus=gpus, link="pcie")
    one = launch(work, reads=[size], writes=[size], pipe="none", label="all_reduce")
    return make_case(row, "collective", SMALL if size <= SMALL_BYTES else LARGE, (one,), op_class="collective", method=METHOD)
