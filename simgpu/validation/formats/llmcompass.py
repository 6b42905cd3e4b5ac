"""Host-timed PyTorch calls on an A100, as LLMCompass publishes them: matmul, softmax, layer norm, GELU, all-reduce.

Source: Zhang, Ning, Prabhakar, Wentzlaff, "LLMCompass", ISCA 2024; github.com/PrincetonUniversity/LLMCompass,
    ae/figure5 (median of 50, synchronised, caches not flushed; layer norm and GELU under torch.compile).
"""

from __future__ import annotations

import re

from simgpu.kernels.kernel import Collective, Gemm, Rows, Stream
from simgpu.validation.formats.build import LARGE, SMALL, SMALL_BYTES, make_case
from simgpu.validation.kernels import Case, Launch, launch
from simgpu.validation.table import Row

METHOD = "host_synchronised"
FP16 = 2
COMPILED_ROW = 8192  # elements; up to here the measured rate is that of one pass over memory
GELU_TANH = (12.0, 2.0)  # ALU instructions and special functions an element of the tanh form


def _dtype(row: Row) -> str:
    return str(row.choice("dtype_in", {"fp16": "fp16", "bf16": "bf16", "fp16_or_bf16": "fp16", "fp32": "fp32"}))


def _matmul(m: int, n: int, k: int, batch: int = 1, layout: str = "nn") -> Launch:
    work = Gemm(batch=batch, m=m, n=n, k=k, a_bytes=FP16, b_bytes=FP16, out_bytes=FP16, layout=layout)
    reads, writes = [batch * m * k * FP16, batch * k * n * FP16], [batch * m * n * FP16]
    return launch(work, reads=reads, writes=writes, dtype="fp16", pipe="tensor", label="matmul")


def _rows(kind: str, rows_: int, cols: int) -> Launch:
    size = rows_ * cols * FP16
    return launch(Rows(kind=kind, rows=rows_, cols=cols, itemsize=FP16), reads=[size], writes=[size], dtype="fp16", label=kind)


def _layer_norm(rows_: int, cols: int) -> Launch:
    """Layer norm as torch.compile writes it: a row that fits the registers of a block is read once."""
    if cols > COMPILED_ROW:
        return _rows("layer_norm", rows_, cols)
    size = rows_ * cols * FP16
    work = Stream(elements=rows_ * cols, instructions=8, itemsize=FP16)
    return launch(work, reads=[size], writes=[size], dtype="fp16", label="layer norm, compiled", flop=8.0 * rows_ * cols)


def _gelu(elements: int) -> Launch:
    instructions, sfu = GELU_TANH
    work = Stream(elements=elements, instructions=instructions, sfu=sfu, itemsize=FP16)
    return launch(work, reads=[elements * FP16], writes=[elements * FP16], dtype="fp16", label="gelu", flop=elements)


def _all_reduce(size: int, gpus: int, link: str) -> Launch:
    return launch(Collective(op="all_reduce", size_bytes=size, num_gpus=gpus, link=link), reads=[size], writes=[size], pipe="none", label="all_reduce")


def matmul(row: Row) -> Case:
    return make_case(row, "matmul", "fwd", (_matmul(row.count("m"), row.count("n"), row.count("k")),), dtype=_dtype(row), method=METHOD)


def rows(row: Row) -> Case:
    op = row.text("op")
    make = row.choice("op", {"softmax": lambda r, c: _rows("softmax", r, c), "layernorm": _layer_norm})
    return make_case(row, op, "fwd", (make(row.count("rows"), row.count("cols")),), dtype=_dtype(row), method=METHOD)


def gelu(row: Row) -> Case:
    row.choice("op", {"gelu_tanh": None, "gelu": None})
    return make_case(row, "gelu", "fwd", (_gelu(row.count("elements")),), dtype=_dtype(row), method=METHOD)


def allreduce(row: Row) -> Case:
    link = "nvlink" if row.text("link").startswith("nvlink") else "pcie"
    size = row.count("bytes")
    one = _all_reduce(size, row.count("n_gpus"), link)
    return make_case(
        row,
        "collective",
        SMALL if size <= SMALL_BYTES else LARGE,
        (one,),
        op_class="collective",
        dtype=row.text("dtype_in") if "dtype_in" in row.cells else "",
        method=METHOD,
    )


def transformer(row: Row) -> Case:
    """A layer of GPT-3 on one of four ranks, kernel by kernel."""
    sizes = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", row.text("shape"))}
    kind = row.text("kind")
    repeat = int(found.group(1)) if (found := re.match(r"matmul x(\d+)$", kind)) else 1
    try:
        if kind.startswith("matmul"):
            launches = (_matmul(sizes["m"], sizes["n"], sizes["k"]),) * repeat
            op_class = "matmul"
        elif kind == "bmm":
            launches, op_class = (_matmul(sizes["m"], sizes["n"], sizes["k"], sizes["batch"]),), "matmul"
        elif kind == "softmax":
            launches, op_class = (_rows("softmax", sizes["rows"], sizes["cols"]),), kind
        elif kind == "layernorm":
            launches, op_class = (_layer_norm(sizes["rows"], sizes["cols"]),), kind
        elif kind == "gelu":
            launches, op_class = (_gelu(sizes["elements"]),), "gelu"
        elif kind == "allreduce":
            launches, op_class = (_all_reduce(sizes["bytes"], sizes["gpus"], "nvlink"),), "collective"
        else:
            raise row.fail("kind", f"unknown '{kind}'")
    except KeyError as missing:
        raise row.fail("shape", f"'{row.text('shape')}' does not say {missing}") from None
    family = "collective" if kind == "allreduce" else kind.split()[0]
    return make_case(row, family, row.text("phase"), launches, op_class=op_class, dtype=_dtype(row), method=METHOD)
