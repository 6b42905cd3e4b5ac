"""One PyTorch call between two events, as NeuSight's tables have it: Linear, bmm, conv, elementwise, softmax, layer norm.

Source: Lee, Phanishayee, Mahajan, "Forecasting GPU performance for deep learning training and inference", ASPLOS 2025;
    github.com/sitar-lab/NeuSight, neusight/Dataset/collect.py (same inputs each time, mean of the 5 fastest of 25).
"""

from __future__ import annotations

import re

from simgpu.kernels.kernel import Gemm, Rows, Stream
from simgpu.validation.formats.build import DIRECTIONS, YES_NO, conv_launch, make_case, number_format, skip
from simgpu.validation.kernels import Case, launch
from simgpu.validation.score import Skipped
from simgpu.validation.table import Row

METHOD = "event_timed_call"

# Kernels that cuBLASLt does not have: where they ran, the bias was not added by the GEMM.
_NO_EPILOGUE = re.compile(r"sgemm_|maxwell_sgemm_128x(64|128)_")

# ALU instructions and special-function results an element (fp32 CUDA math library: div, powf, erff and tanhf expand to so many).
ELEMENTWISE: dict[str, tuple[float, float]] = {
    "add": (1, 0),
    "sub": (1, 0),
    "mul": (1, 0),
    "relu": (1, 0),
    "add_scalar": (1, 0),
    "mul_scalar": (1, 0),
    "div_scalar": (1, 0),  # PyTorch multiplies by the reciprocal
    "div": (8, 1),
    "truediv": (1, 0),
    "tanh": (12, 2),
    "gelu": (20, 1),
    "pow": (40, 4),
    "pow_scalar": (10, 1),
}


def _split(row: Row, mode: str) -> str:
    split = row.cells.get("split", "").strip()
    return f"{mode}/{split}" if split else mode


def linear(row: Row) -> Case:
    """torch.nn.Linear: the bias is added by the GEMM's epilogue."""
    m, n, k = row.count("m"), row.count("n"), row.count("k")
    bias, form = row.choice("bias", YES_NO), number_format(row)
    size = form.itemsize
    work = Gemm(m=m, n=n, k=k, a_bytes=size, b_bytes=size, out_bytes=size, layout="tn", bias=bias and not _NO_EPILOGUE.match(row.cells.get("kernel", "")))
    reads = [m * k * size, n * k * size, *([n * size] if bias else [])]
    one = launch(work, reads=reads, writes=[m * n * size], dtype=form.name, pipe=form.pipe, label="linear")
    return make_case(row, "linear", _split(row, "fwd"), (one,), dtype=form.name, method=METHOD)


def bmm(row: Row) -> Case:
    """torch.bmm of two contiguous arrays."""
    b, m, n, k = row.count("batch"), row.count("m"), row.count("n"), row.count("k")
    form = number_format(row)
    size = form.itemsize
    work = Gemm(batch=b, m=m, n=n, k=k, a_bytes=size, b_bytes=size, out_bytes=size, layout="nn")
    one = launch(work, reads=[b * m * k * size, b * k * n * size], writes=[b * m * n * size], dtype=form.name, pipe=form.pipe, label="bmm")
    return make_case(row, "bmm", _split(row, "fwd"), (one,), dtype=form.name, method=METHOD)


def conv(row: Row) -> Case:
    direction, form = row.choice("pass", DIRECTIONS), number_format(row)
    channels = row.count("c"), row.count("k")
    one = conv_launch(row, itemsize=form.itemsize, layout="nchw", direction=direction, dtype=form.name, pipe=form.pipe, channels=channels)
    return make_case(row, "conv", _split(row, direction), (one,), dtype=form.name, method=METHOD)


def memory_bound(row: Row) -> Case:
    """Elementwise, softmax and layer norm over rows × cols."""
    op = row.text("op")
    rows, cols, inputs = row.count("rows"), row.count("cols"), row.count("n_inputs")
    form = number_format(row)
    size = rows * cols * form.itemsize
    if op in ("softmax", "layernorm"):
        kind = {"softmax": "softmax", "layernorm": "layer_norm"}[op]
        reads = [size] if op == "softmax" else [size, 2 * cols * form.itemsize]
        one = launch(Rows(kind=kind, rows=rows, cols=cols, itemsize=form.itemsize), reads=reads, writes=[size], dtype=form.name, label=op)
        return make_case(row, op, _split(row, "fwd"), (one,), dtype=form.name, method=METHOD)
    instructions, sfu = row.choice("op", ELEMENTWISE)
    work = Stream(elements=rows * cols, instructions=instructions, sfu=sfu, inputs=inputs, itemsize=form.itemsize)
    one = launch(work, reads=[size] * inputs, writes=[size], dtype=form.name, label=op, flop=rows * cols)
    return make_case(row, "elementwise", _split(row, "fwd"), (one,), dtype=form.name, method=METHOD)


def model_op(row: Row) -> Case | Skipped:
    """One node of a transformer layer measured alone."""
    return skip(row, "model_ops", "fwd", "operators of models are checked as whole models")
