"""What the readers of all tables share: a row's case, a row that is skipped, and the convolution a row describes."""

from __future__ import annotations

from simgpu.kernels.kernel import Conv
from simgpu.validation.kernels import LIBRARY_YEAR, Case, Launch, launch
from simgpu.validation.score import Group, Skipped
from simgpu.validation.table import Row

DIRECTIONS = {"fwd": "fwd", "bwd_data": "bwd_data", "bwd_weight": "bwd_weight"}
SMALL_BYTES = 64 * 1024  # messages up to here wait for latency, longer ones for bandwidth: told apart in the error table
SMALL, LARGE = "≤ 64 kB", "> 64 kB"
YES_NO = {"yes": True, "no": False}


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


def conv_launch(row: Row, *, itemsize: int, layout: str, direction: str, dtype: str, pipe: str, channels: tuple[int, int]) -> Launch:
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
