"""What the readers of all tables share: a row's case, a row that is skipped, and the convolution a row describes."""

from __future__ import annotations

from dataclasses import dataclass

from simgpu.cost.machine import LIBRARY_YEAR
from simgpu.dtypes import dtype
from simgpu.errors import DataError
from simgpu.kernels.kernel import Conv
from simgpu.validation.kernels import Case, Launch, launch
from simgpu.validation.score import Group, Skipped
from simgpu.validation.table import Row

DIRECTIONS = {"fwd": "fwd", "bwd_data": "bwd_data", "bwd_weight": "bwd_weight"}
SMALL_BYTES = 64 * 1024  # messages up to here wait for latency, longer ones for bandwidth: told apart in the error table
SMALL, LARGE = "≤ 64 kB", "> 64 kB"
YES_NO = {"yes": True, "no": False}
MAX_FLOP, MAX_BYTES = 1e18, 2.0**50  # of one kernel: a quarter of an hour at 1 PFLOP/s, and more than any memory holds


_FORMATS = {name: name for name in ("fp32", "tf32", "bf16", "fp16")} | {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "fp16_or_bf16": "fp16"}


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """The format a row was measured in.

    Attributes:
        pipe: What does the matrix products.
        itemsize: Bytes of an element in memory.
    """

    name: str
    pipe: str
    itemsize: float


def number_format(row: Row) -> NumberFormat:
    """The format of a row, fp32 if the table does not say."""
    name = "fp32"
    if column := next((c for c in ("dtype_in", "dtype") if row.cells.get(c, "").strip()), ""):
        name = str(row.choice(column, _FORMATS))
    tensor = name != "fp32"
    if row.cells.get("tensor_core", "").strip():
        tensor = bool(row.choice("tensor_core", YES_NO))
    if tensor and name == "fp32":  # fp32 in memory
        name = "tf32"
    return NumberFormat(name, "tensor" if tensor else "vector", dtype(name).bytes)


def make_case(
    row: Row,
    family: str,
    mode: str,
    launches: tuple[Launch, ...],
    *,
    method: str,
    op_class: str = "",
    dtype: str = "fp32",
    time_s: float | None = None,
    trust: str = "",
    library_year: float = LIBRARY_YEAR,
) -> Case:
    """A row as a case; its time is in `time_ms` unless given. [s]"""
    for kernel in (one.kernel for one in launches):
        if kernel.flop > MAX_FLOP or kernel.read_bytes + kernel.write_bytes > MAX_BYTES:
            raise DataError(f"{row.table.path}: row {row.number}: its sizes make a kernel larger than any that runs, {kernel.flop:.3g} FLOP; check them")
    return Case(
        row=row.number,
        source=row.text("source"),
        family=family,
        gpu=row.text("gpu"),
        dtype=dtype,
        mode=mode,
        op_class=op_class or family,
        measured_s=row.time_s("time_ms") if time_s is None else time_s,
        method=method,
        launches=launches,
        trust=trust,
        library_year=library_year,
    )


def skip(row: Row, family: str, mode: str, reason: str, *, dtype: str = "fp32") -> Skipped:
    """A row that is not predicted."""
    return Skipped(group=Group(row.text("source"), family, row.text("gpu"), dtype, mode), row=row.number, reason=reason)


def conv_launch(row: Row, *, itemsize: float, layout: str, direction: str, dtype: str, pipe: str, channels: tuple[int, int]) -> Launch:
    """The convolution of a row; `channels` = (c, k) as really stored."""
    n, h, w, r, s = (row.count(x) for x in ("n", "h", "w", "r", "s"))
    p, q = row.count("h_out"), row.count("w_out")
    c, k = channels
    work = Conv(
        n=n, c=c, h=h, w=w, k=k, r=r, s=s, p=p, q=q, stride_h=row.count("stride_h"), stride_w=row.count("stride_w"),
        direction=direction, layout=layout, x_bytes=itemsize, w_bytes=itemsize, y_bytes=itemsize,
    )  # fmt: skip
    x_bytes, w_bytes, y_bytes = n * c * h * w * itemsize, k * c * r * s * itemsize, n * k * p * q * itemsize
    reads, writes = {
        "fwd": ([x_bytes, w_bytes], [y_bytes]),
        "bwd_data": ([y_bytes, w_bytes], [x_bytes]),
        "bwd_weight": ([x_bytes, y_bytes], [w_bytes]),
    }[direction]
    return launch(work, reads=reads, writes=writes, dtype=dtype, pipe=pipe, label=f"conv {r}×{s} {direction}")
