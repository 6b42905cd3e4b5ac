"""Host-timed PyTorch calls on an A100, as LLMCompass publishes them: matmul, softmax, layer norm, GELU, all-reduce.

Source: Zhang, Ning, Prabhakar, Wentzlaff, "LLMCompass", ISCA 2024; github.com/PrincetonUniversity/LLMCompass,
    ae/figure5 (median of 50, synchronised, caches not flushed; layer norm and GELU under torch.compile).
"""

from __future__ import annotations

import re

from simgpu.kernels.kernel import Collective, Gemm, Rows, Stream
from simgpu.validation.formats.build import LARGE, SMALL, SMALL_BYTES, NumberFormat, make_case, number_format
from simgpu.validation.kernels import Case, Launch, launch
from simgpu.validation.table import Row

METHOD = "host_synchronised"
COMPILED_ROW = 8192  # elements; up to here the measured rate is that of one pass over memory
GELU_TANH = (12.0, 2.0)  # ALU instructions and special functions an element of the tanh form


def _matmul(form: NumberFormat, m: int, n: int, k: int, batch: int = 1, layout: str = "nn") -> Launch:
    size = form.itemsize
    work = Gemm(batch=batch, m=m, n=n, k=k, a_bytes=size, b_bytes=size, out_bytes=size, layout=layout)
    reads, writes = [batch * m * k * size, batch * k * n * size], [batch * m * n * size]
    return launch(work, reads=reads, writes=writes, dtype=form.name, pipe=form.pipe, label="matmul")


def _rows(form: NumberFormat, kind: str, rows_: int, cols: int) -> Launch:
    size = rows_ * cols * form.itemsize
    return launch(Rows(kind=kind, rows=rows_, cols=cols, itemsize=form.itemsize), reads=[size], writes=[size], dtype=form.name, label=kind)


def _layer_norm(form: NumberFormat, rows_: int, cols: int) -> Launch:
    """Layer norm as torch.compile writes it: a row that fits the registers of a block is read once."""
    if cols > COMPILED_ROW:
        return _rows(form, "layer_norm", rows_, cols)
    size = rows_ * cols * form.itemsize
    work = Stream(elements=rows_ * cols, instructions=8, itemsize=form.itemsize)
    return launch(work, reads=[size], writes=[size], dtype=form.name, label="layer norm, compiled", flop=8.0 * rows_ * cols)


def _gelu(form: NumberFormat, elements: int) -> Launch:
    instructions, sfu = GELU_TANH
    work, size = Stream(elements=elements, instructions=instructions, sfu=sfu, itemsize=form.itemsize), elements * form.itemsize
    return launch(work, reads=[size], writes=[size], dtype=form.name, label="gelu", flop=elements)


def _all_reduce(size: int, gpus: int, link: str) -> Launch:
    return launch(Collective(op="all_reduce", size_bytes=size, num_gpus=gpus, link=link), reads=[size], writes=[size], pipe="none", label="all_reduce")


def matmul(row: Row) -> Case:
    form = number_format(row)
    return make_case(row, "matmul", "fwd", (_matmul(form, row.count("m"), row.count("n"), row.count("k")),), dtype=form.name, method=METHOD)


def rows(row: Row) -> Case:
    op, form = row.text("op"), number_format(row)
    make = row.choice("op", {"softmax": lambda f, r, c: _rows(f, "softmax", r, c), "layernorm": _layer_norm})
    return make_case(row, op, "fwd", (make(form, row.count("rows"), row.count("cols")),), dtype=form.name, method=METHOD)


def gelu(row: Row) -> Case:
    row.choice("op", {"gelu_tanh": None, "gelu": None})
    form = number_format(row)
    return make_case(row, "gelu", "fwd", (_gelu(form, row.count("elements")),), dtype=form.name, method=METHOD)


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
    kind, form = row.text("kind"), number_format(row)
    repeat = int(found.group(1)) if (found := re.match(r"matmul x(\d+)$", kind)) else 1
    try:
        if kind.startswith("matmul"):
            launches = (_matmul(form, sizes["m"], sizes["n"], sizes["k"]),) * repeat
            op_class = "matmul"
        elif kind == "bmm":
            launches, op_class = (_matmul(form, sizes["m"], sizes["n"], sizes["k"], sizes["batch"]),), "matmul"
        elif kind == "softmax":
            launches, op_class = (_rows(form, "softmax", sizes["rows"], sizes["cols"]),), kind
        elif kind == "layernorm":
            launches, op_class = (_layer_norm(form, sizes["rows"], sizes["cols"]),), kind
        elif kind == "gelu":
            launches, op_class = (_gelu(form, sizes["elements"]),), "gelu"
        elif kind == "allreduce":
            launches, op_class = (_all_reduce(sizes["bytes"], sizes["gpus"], "nvlink"),), "collective"
        else:
            raise row.fail("kind", f"unknown '{kind}'")
    except KeyError as missing:
        raise row.fail("shape", f"'{row.text('shape')}' does not say {missing}") from None
    family = "collective" if kind == "allreduce" else kind.split()[0]
    return make_case(row, family, row.text("phase"), launches, op_class=op_class, dtype=form.name, method=METHOD)
