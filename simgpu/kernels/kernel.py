"""WORK on the GPU: what one kernel launch has to do, and the graph of such launches.

A kernel's `work` is the problem as the library sees it (a GEMM of m × n × k, a convolution, a stream of bytes …).
Which tile or algorithm solves it, and how long that takes, is decided by `simgpu.cost`, for all kernels at once:
`columns` hands the problems over as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """C[m, n] = A[m, k] · B[k, n], `batch` independent times.

    Attributes:
        a_bytes, b_bytes, out_bytes: Bytes of one element in memory (0.5 for int4). [B]
        shared_b: All batches read the same B (then B's bytes count once).
        layout: As PyTorch stores them: "tn" Linear (B is n × k row-major), "nn" matmul, "nt".
        bias: The epilogue adds a bias, which only some of a library's kernels can (cuBLASLt's).
        accumulate: C is also read (beta ≠ 0).
        accumulator: Format in which products are summed; "fp16" costs tensor cores less energy.
        scale_block: Depth of a block that shares a scale (128 for DeepSeek's fp8), 0 if scales are per tensor.
        tokens: For grouped GEMM (mixture of experts): rows of each expert; m is their sum, batch 1. () otherwise.
    """

    family: ClassVar[str] = "gemm"
    batch: int = 1
    m: int
    n: int
    k: int
    a_bytes: float
    b_bytes: float
    out_bytes: float
    shared_b: bool = False
    layout: str = "tn"
    bias: bool = False
    accumulate: bool = False
    scale_block: int = 0
    accumulator: str = "fp32"
    tokens: tuple[int, ...] = ()

    @property
    def flop(self) -> float:
        return 2.0 * self.batch * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """A 2-D convolution (1-D: h = r = p = 1; 3-D: depth folded into n and r), also its two gradients.

    Attributes:
        n, c, h, w: Input. k, r, s: Filters and their size. p, q: Output height and width.
        groups: c / groups input channels meet k / groups filters.
        direction: "fwd", "bwd_data" or "bwd_weight"; shapes are always those of the forward convolution.
        layout: "nchw" or "nhwc".
        x_bytes, w_bytes, y_bytes: Bytes of one element. [B]
    """

    family: ClassVar[str] = "conv"
    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    p: int
    q: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    direction: str = "fwd"
    layout: str = "nchw"
    x_bytes: float = 4.0
    w_bytes: float = 4.0
    y_bytes: float = 4.0

    @property
    def flop(self) -> float:
        return 2.0 * self.n * self.k * self.p * self.q * (self.c // self.groups) * self.r * self.s


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Independent elements: elementwise maps, copies, pooling, gathers.

    Attributes:
        elements: Elements written, one after another by the threads.
        instructions: ALU instructions an element beyond its loads and stores.
        sfu: Special-function results an element (exp, rsqrt, tanh …).
        pattern: How memory is walked: "elementwise" (contiguous), "transpose", "gather", "window" (pooling), "reduce".
        window: For "window": input elements read (from L1) for each output element.
        inputs: Number of arrays of full size that are read.
        itemsize: Bytes of one element. [B]
    """

    family: ClassVar[str] = "stream"
    elements: float
    instructions: float = 1.0
    sfu: float = 0.0
    pattern: str = "elementwise"
    window: float = 1.0
    inputs: int = 1
    itemsize: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that are each reduced and perhaps rewritten.

    Attributes:
        kind: "softmax", "layer_norm", "rms_norm", "group_norm", "batch_norm" (statistics of training), "reduce", "argmax", "top_k", "cumsum", "sort".
        rows, cols: Independent rows, and elements in each.
        writes_rows: The full rows are written back (False: one value a row, as a reduction).
        contiguous: A row lies contiguous in memory.
        itemsize: Bytes of one element. [B]
    """

    family: ClassVar[str] = "rows"
    kind: str
    rows: int
    cols: int
    writes_rows: bool = True
    contiguous: bool = True
    itemsize: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedAttention:
    """softmax(Q Kᵀ) V in one kernel (flash attention).

    Attributes:
        q_len, kv_len: Query and key positions. Decode has q_len 1.
        window: Keys each query sees at most; 0 = all.
        q_bytes, kv_bytes: Bytes of one element of Q and O, and of K and V. [B]
        direction: "fwd", or "bwd" for dQ, dK and dV: four products, and the scores once more.
        split_keys: The library may give the keys of a few queries to several CTAs, as decode kernels do; context kernels never do.
        values_in_keys: Values are numbers of the keys, as in latent attention, and are read with them.
    """

    family: ClassVar[str] = "attention"
    batch: int
    heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    v_head_dim: int
    causal: bool = False
    window: int = 0
    q_bytes: float = 2.0
    kv_bytes: float = 2.0
    direction: str = "fwd"
    split_keys: bool = True
    values_in_keys: bool = False

    @property
    def flop(self) -> float:
        """FLOP of the full square, as the literature counts attention; a causal kernel skips up to half of it."""
        return (4.0 if self.direction == "bwd" else 2.0) * self.batch * self.heads * self.q_len * self.kv_len * (self.head_dim + self.v_head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """Steps of a recurrent layer that wait for each other: one GEMM (m = gates × hidden) and a pointwise kernel a step.

    Attributes:
        gates: 1 vanilla, 3 GRU, 4 LSTM.
        direction: "fwd", "bwd_data" or "bwd_weight".
    """

    family: ClassVar[str] = "recurrent"
    gates: int
    hidden: int
    batch: int
    steps: int
    directions: int = 1
    itemsize: float = 4.0
    direction: str = "fwd"

    @property
    def flop(self) -> float:
        return 2.0 * self.gates * self.hidden * self.hidden * self.batch * self.steps * self.directions


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """Communication among GPUs.

    Attributes:
        op: "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send".
        size_bytes: As nccl-tests count it: the whole array (all_gather: the whole output). [B]
        link: "nvlink" or "pcie".
    """

    family: ClassVar[str] = "collective"
    op: str
    size_bytes: float
    num_gpus: int
    link: str = "nvlink"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A copy by a copy engine: "h2d", "d2h" over the host link, or "d2d" within the device."""

    family: ClassVar[str] = "transfer"
    direction: str
    size_bytes: float
    pinned: bool = True


Work = Gemm | Conv | Stream | Rows | FusedAttention | Recurrent | Collective | Transfer
FAMILIES: tuple[type[Any], ...] = (Gemm, Conv, Stream, Rows, FusedAttention, Recurrent, Collective, Transfer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Bytes of a tensor that a kernel reads or writes, each counted once."""

    tensor: str
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One launch.

    Attributes:
        name: Unique in its graph.
        op: Name of the op it computes (the first one, if several were fused).
        ops: Names of all ops it computes.
        scope: Module path.
        label: What a profiler would call it: "conv 3×3 s2", "linear", "softmax", "add".
        dtype: Format of the math.
        pipe: "tensor", "vector" (CUDA cores) or "none" (copies).
        reads, writes: In the order of the work's operands (GEMM: A, B, then epilogue operands; conv: x, w, …).
        flop: Algorithmic work of the ops, 1 MAC = 2. [FLOP]
        repeat: The launch happens so many times in a row, each waiting for the one before.
        internal: A library launches it within the call of another kernel of the same op: the host pays no operator call for it.
    """

    name: str
    work: Work
    dtype: str = "fp32"
    pipe: str = "vector"
    label: str = ""
    op: str = ""
    ops: tuple[str, ...] = ()
    scope: str = ""
    reads: tuple[Access, ...] = ()
    writes: tuple[Access, ...] = ()
    flop: float = 0.0
    repeat: int = 1
    internal: bool = False

    @property
    def family(self) -> str:
        return self.work.family

    @property
    def read_bytes(self) -> float:
        return sum(a.bytes for a in self.reads)

    @property
    def write_bytes(self) -> float:
        return sum(a.bytes for a in self.writes)


class KernelGraph:
    """Kernels in launch order and who waits for whom.

    Args:
        kernels: In the order the host launches them.
        deps: For each kernel the indices of earlier kernels it must wait for.
        graph_name, assumptions: Handed on to the report.
        distances: Reuse distance of each operand read [B], where the kernels are no sequence but stand each for
            itself (measured microbenchmarks); computed from the sequence if None.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        deps: Sequence[tuple[int, ...]],
        *,
        graph_name: str = "",
        assumptions: Iterable[str] = (),
        distances: Sequence[tuple[float, ...]] | None = None,
    ) -> None:
        assert len(kernels) == len(deps)
        assert all(d < i for i, ds in enumerate(deps) for d in ds), "a kernel waits for a later one"
        self.kernels = tuple(kernels)
        self.deps = tuple(deps)
        self.graph_name = graph_name
        self.assumptions = tuple(assumptions)
        self._distances = distances

    def __len__(self) -> int:
        return len(self.kernels)

    @cached_property
    def families(self) -> Mapping[str, Array]:
        """For each family present the indices of its kernels."""
        result: dict[str, list[int]] = {}
        for i, kernel in enumerate(self.kernels):
            result.setdefault(kernel.family, []).append(i)
        return {name: np.array(indices) for name, indices in result.items()}

    @cached_property
    def distances(self) -> Sequence[tuple[float, ...]]:
        """For each kernel and operand read its reuse distance (see `reuse_distances`). [B]"""
        return reuse_distances(self.kernels) if self._distances is None else self._distances


def columns(kernels: Sequence[Kernel], distances: Sequence[tuple[float, ...]]) -> SimpleNamespace:
    """The problems of kernels of one family as arrays.

    Returns:
        One array (N,) for each field of the work, and `dtype`, `pipe`, `flop`, `repeat` (N,);
        `read_bytes` and `read_distance` (operands, N): bytes of each operand, and the bytes of other tensors
        touched since it was last touched (inf if never), which decide whether it is still in L2;
        `write_bytes`, `total_bytes` (N,).
    """
    work_type = type(kernels[0].work)
    table = SimpleNamespace()
    for field in fields(work_type):
        values = [getattr(k.work, field.name) for k in kernels]
        if field.name == "tokens":
            table.tokens = values
            continue
        table.__dict__[field.name] = np.array(values, dtype=float if isinstance(values[0], int | float) and not isinstance(values[0], bool) else None)
    table.dtype = np.array([k.dtype for k in kernels])
    table.pipe = np.array([k.pipe for k in kernels])
    table.flop = np.array([k.flop for k in kernels])
    table.repeat = np.array([k.repeat for k in kernels], dtype=float)
    width = max((len(k.reads) for k in kernels), default=0) or 1
    table.read_bytes = np.zeros((width, len(kernels)))
    table.read_distance = np.full((width, len(kernels)), np.inf)
    for column, (kernel, distance) in enumerate(zip(kernels, distances, strict=True)):
        for row, access in enumerate(kernel.reads):
            table.read_bytes[row, column] = access.bytes
            table.read_distance[row, column] = distance[row]
    table.write_bytes = np.array([k.write_bytes for k in kernels])
    table.total_bytes = table.read_bytes.sum(axis=0) + table.write_bytes
    return table


_BLOCK = 128  # slots of time summed up together


def reuse_distances(kernels: Sequence[Kernel]) -> list[tuple[float, ...]]:
    """For each kernel and operand read: bytes of distinct tensors touched since that tensor was last touched, itself included.

    A tensor never touched before has distance inf: it comes from DRAM. This is Mattson's stack distance counted in
    bytes, so one pass over the kernels serves every L2 size. Where only a small part of a tensor was touched last (new
    entries of a KV cache), the rest of it is as far away as the last touch of at least half of what is read.

    Source: Mattson, Gecsei, Slutz, Traiger, "Evaluation techniques for storage hierarchies", IBM Syst. J. 9(2), 1970.
    """
    last: dict[str, int] = {}  # tensor → time slot of its last touch
    largely: dict[str, tuple[int, float]] = {}  # tensor → slot and bytes of the last touch that was no small part of it
    num_slots = sum(len(k.reads) + len(k.writes) for k in kernels)
    slots = [0.0] * num_slots  # bytes of the tensor last touched then
    blocks = [0.0] * (num_slots // _BLOCK + 1)  # their sums, so that few numbers are added up for one distance
    held: dict[str, float] = {}

    def since(seen: int) -> float:
        """Bytes touched after a slot."""
        block = seen // _BLOCK
        return sum(slots[seen + 1 : (block + 1) * _BLOCK]) + sum(blocks[block + 1 :])

    def distance(access: Access) -> float:
        seen, size = last.get(access.tensor), held.get(access.tensor, 0.0)
        if seen is None or access.bytes <= 2 * size:
            return float("inf") if seen is None else since(seen) + size
        seen, known = largely[access.tensor]
        return since(seen) + access.bytes - size if access.bytes <= 2 * known else float("inf")

    result: list[tuple[float, ...]] = []
    slot = 0
    for kernel in kernels:
        row = [distance(access) for access in kernel.reads]
        for access in (*kernel.reads, *kernel.writes):
            seen = last.get(access.tensor)
            if seen is not None:
                slots[seen] = 0.0
                blocks[seen // _BLOCK] -= held[access.tensor]
            last[access.tensor] = slot
            held[access.tensor] = access.bytes
            if 2 * access.bytes >= largely.get(access.tensor, (0, 0.0))[1]:
                largely[access.tensor] = slot, access.bytes
            slots[slot] = access.bytes
            blocks[slot // _BLOCK] += access.bytes
            slot += 1
        result.append(tuple(row))
    return result
