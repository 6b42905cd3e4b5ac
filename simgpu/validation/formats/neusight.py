"""One PyTorch call between two events, as NeuSight's tables have it: Linear, bmm, conv, elementwise, softmax, layer norm.

Source: Lee, Phanishayee, Mahajan, "Forecasting GPU performance for deep learning training and inference", ASPLOS 2025;
    github.com/sitar-lab/NeuSight, neusight/Dataset/collect.py (same inputs each time, mean of the 5 fastest of 25).
"""

from __future__ import annotations

from simgpu.kernels.kernel import Gemm, Rows, Stream
from simgpu.validation.formats.build import DIRECTIONS, YES_NO, conv_launch, make_case, skip
from simgpu.validation.kernels import Case, launch
from simgpu.validation.score import Skipped
from simgpu.validation.table import Row

METHOD = "event_timed_call"
FP32 = 4

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
    bias = row.choice("bias", YES_NO)
    work = Gemm(m=m, n=n, k=k, a_bytes=FP32, b_bytes=FP32, out_bytes=FP32, layout="tn")
    reads = [m * k * FP32, n * k * FP32, *([n * FP32] if bias else [])]
    return make_case(row, "linear", _split(row, "fwd"), (launch(work, reads=reads, writes=[m * n * FP32], label="linear"),), method=METHOD)


def bmm(row: Row) -> Case:
    """torch.bmm of two contiguous arrays."""
    b, m, n, k = row.count("batch"), row.count("m"), row.count("n"), row.count("k")
    work = Gemm(batch=b, m=m, n=n, k=k, a_bytes=FP32, b_bytes=FP32, out_bytes=FP32, layout="nn")
    one = launch(work, reads=[b * m * k * FP32, b * k * n * FP32], writes=[b * m * n * FP32], label="bmm")
    return make_case(row, "bmm", _split(row, "fwd"), (one,), method=METHOD)


def conv(row: Row) -> Case:
    direction = row.choice("pass", DIRECTIONS)
    one = conv_launch(row, itemsize=FP32, layout="nchw", direction=direction, dtype="fp32", pipe="vector", channels=(row.count("c"), row.count("k")))
    return make_case(row, "conv", _split(row, direction), (one,), method=METHOD)


def memory_bound(row: Row) -> Case:
    """Elementwise, softmax and layer norm over rows × cols."""
    op = row.text("op")
    rows, cols, inputs = row.count("rows"), row.count("cols"), row.count("n_inputs")
    size = rows * cols * FP32
    if op in ("softmax", "layernorm"):
        kind = {"softmax": "softmax", "layernorm": "layer_norm"}[op]
        reads = [size] if op == "softmax" else [size, 2 * cols * FP32]
        one = launch(Rows(kind=kind, rows=rows, cols=cols), reads=reads, writes=[size], label=op)
        return make_case(row, op, _split(row, "fwd"), (one,), method=METHOD)
    instructions, sfu = row.choice("op", ELEMENTWISE)
    work = Stream(elements=rows * cols, instructions=instructions, sfu=sfu, inputs=inputs)
    one = launch(work, reads=[size] * inputs, writes=[size], label=op, flop=rows * cols)
    return make_case(row, "elementwise", _split(row, "fwd"), (one,), method=METHOD)


def model_op(row: Row) -> Case | Skipped:
    """One node of a transformer layer measured alone."""
    return skip(row, "model_ops", "fwd", "operators of models are checked as whole models")
