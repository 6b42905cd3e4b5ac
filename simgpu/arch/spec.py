"""A GPU as records of facts in SI units. Peaks are derived from components, never stored.

Every number may also be a NumPy array (the designs of a sweep): the properties here are plain arithmetic
and broadcast. A record is built by `simgpu.arch.loader` from `archs/*.yaml`; each field's metadata names
its unit, so the loader reads it, `--set` overrides it and a sweep varies it without further code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

V = TypeVar("V", covariant=True)


class FrozenTable(Mapping[str, V], Generic[V]):
    """A mapping that cannot change, can be hashed and can be sent to another process.

    >>> FrozenTable({"fp16": 2048.0})
    FrozenTable({'fp16': 2048.0})
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._items.items())))

    def __repr__(self) -> str:
        return f"FrozenTable({self._items!r})"


def _none() -> Mapping[str, float]:
    return FrozenTable()


def _f(unit: str = "", default: Any = None, *, required: bool = False, low: float = 0.0, high: float = math.inf) -> Any:
    """A field with its unit; `low` and `high` bound the values that make sense (0 excluded if > 0 is meant: use 1e-300)."""
    metadata = {"unit": unit, "low": low, "high": high, "required": required}
    return field(metadata=metadata) if required else field(default=default, metadata=metadata)


_POSITIVE = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """The die."""

    name: str
    process_nm: float = _f("nm", required=True, low=_POSITIVE)
    process_name: str = ""
    transistors: float | None = _f()
    die_area_mm2: float | None = _f("mm2")


@dataclass(frozen=True, slots=True, kw_only=True)
class SM:
    """A streaming multiprocessor and how many there are. Rates are results per clock and SM; an FMA is 2 FLOP."""

    count: float = _f(required=True, low=1)
    fp32_lanes: float = _f(required=True, low=1)
    fp64_lanes: float = _f(default=0.0)
    int32_lanes: float = _f(default=0.0)
    fp16_lanes: float = _f(default=0.0)  # FMA results a clock outside the tensor cores; 0 = no native fp16 math
    bf16_lanes: float = _f(default=0.0)
    dp4a_lanes: float = _f(default=0.0)  # dp4a instructions a clock, 8 integer operations each
    sfu_lanes: float = _f(required=True, low=_POSITIVE)
    lsu_lanes: float | None = _f()
    schedulers: float = _f(required=True, low=1)
    issue_per_scheduler: float = _f(default=1.0, low=_POSITIVE)  # warp instructions a clock
    max_warps: float = _f(required=True, low=1)
    max_threads: float = _f(required=True, low=32)
    max_blocks: float = _f(required=True, low=1)
    max_threads_per_block: float = _f(default=1024.0, low=32)
    registers: float = _f(required=True, low=1024)  # 32-bit registers
    max_registers_per_thread: float = _f(default=255.0, low=16)
    rt_cores: float = _f(default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCores:
    """Matrix units.

    Attributes:
        flop_per_clk: Dense FLOP per clock and SM by dtype, with the accumulator that frameworks use (fp32 for floats).
        fp16_accumulate_flop_per_clk: fp16 with fp16 accumulation, where it is faster (GeForce).
        sparsity: Speed-up with 2:4 sparse weights.
        clock_hz: Clock that the datasheet's tensor peak assumes, if not the boost clock.
    """

    generation: float = _f(required=True, low=1)
    flop_per_clk: Mapping[str, float] = field(default_factory=_none, metadata={"low": _POSITIVE})
    fp16_accumulate_flop_per_clk: float | None = _f()
    sparsity: float = _f(default=1.0, low=1)
    clock_hz: float | None = _f("Hz", low=_POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Clocks of the SMs (the shader clock on Tesla and Fermi).

    Attributes:
        boost_hz: The advertised boost clock; peaks use it.
        max_hz: The highest clock the board really runs at when cool and below its power limit, if known to differ.
        datasheet_hz: The clock that the datasheet's peaks assume, if not boost.
    """

    base_hz: float = _f("Hz", required=True, low=_POSITIVE)
    boost_hz: float = _f("Hz", required=True, low=_POSITIVE)
    max_hz: float | None = _f("Hz", low=_POSITIVE)
    datasheet_hz: float | None = _f("Hz", low=_POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Shared memory of an SM."""

    size_bytes: float = _f("B", required=True, low=1)
    max_per_block_bytes: float = _f("B", required=True, low=1)
    bandwidth_bytes_per_clk: float = _f("B/clk", required=True, low=_POSITIVE)
    banks: float = _f(default=32.0, low=1)
    latency_clk: float | None = _f("clk")


@dataclass(frozen=True, slots=True, kw_only=True)
class L1:
    """First-level data cache of an SM; size 0 = global memory is not cached in L1."""

    size_bytes: float = _f("B", default=0.0)
    unified_with_shared: bool = False
    bandwidth_bytes_per_clk: float | None = _f("B/clk")
    latency_clk: float | None = _f("clk")


@dataclass(frozen=True, slots=True, kw_only=True)
class L2:
    """Second-level cache of the chip.

    Attributes:
        partitions: Parts that each hold their own copy of what their SMs read (2 on GA100 and later big dies).
        bandwidth_bytes_per_clk: Peak read bandwidth.
        measured_bandwidth_bytes_per_s: What a microbenchmark reached, if known.
    """

    size_bytes: float = _f("B", default=0.0)
    partitions: float = _f(default=1.0, low=1)
    bandwidth_bytes_per_clk: float | None = _f("B/clk", low=_POSITIVE)
    measured_bandwidth_bytes_per_s: float | None = _f("B/s", low=_POSITIVE)
    latency_s: float | None = _f("s")


@dataclass(frozen=True, slots=True, kw_only=True)
class DRAM:
    """Device memory. Bandwidth = clock × rate × bus width / 8.

    Attributes:
        rate: Transfers per clock as the clock is quoted: GDDR3/HBM ×2, GDDR5 ×4, GDDR5X/GDDR6 ×8, GDDR6X/GDDR7 ×16.
        achievable_fraction: Share of the peak that a streaming kernel reaches.
        latency_s: Load latency when idle.
    """

    type: str
    clock_hz: float = _f("Hz", required=True, low=_POSITIVE)
    rate: float = _f(required=True, low=1)
    bus_bits: float = _f("bit", required=True, low=1)
    capacity_bytes: float = _f("B", required=True, low=1)
    achievable_fraction: float = _f(required=True, low=0.01, high=1.0)
    latency_s: float = _f("s", required=True, low=_POSITIVE)
    ecc: bool = False

    @property
    def bandwidth_bytes_per_s(self) -> float:
        return self.clock_hz * self.rate * self.bus_bits / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A connection to the host or to other GPUs; bandwidth is per direction."""

    generation: float = _f(default=0.0)
    lanes: float = _f(default=0.0)
    bandwidth_bytes_per_s: float = _f("B/s", required=True, low=_POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    tdp_w: float = _f("W", required=True, low=_POSITIVE)
    idle_w: float | None = _f("W")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Time between dependent kernels that the device alone causes."""

    stream_gap_s: float | None = _f("s")
    graph_gap_s: float | None = _f("s")


@dataclass(frozen=True, slots=True, kw_only=True)
class GPU:
    """A GPU. `sources` names a source for each group; `datasheet` holds printed peaks that a test compares with ours."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    architecture: str
    compute_capability: tuple[int, int]
    year: int
    segment: str = ""
    chip: Chip
    sm: SM
    clocks: Clocks
    tensor_cores: TensorCores | None = None
    shared: Shared
    l1: L1
    l2: L2
    dram: DRAM
    pcie: Link | None = None
    nvlink: Link | None = None
    copy_engines: float = _f(default=2.0, low=1)
    concurrent_kernels: float = _f(default=1.0, low=1)
    power: Power
    launch: Launch = Launch()
    datasheet: Mapping[str, float] = field(default_factory=_none)  # [FLOP/s or B/s]: fp32, fp64, fp16, tensor_fp16, tensor_tf32, tensor_int8, tensor_fp8, dram
    sources: Mapping[str, str] = field(default_factory=FrozenTable)
    notes: tuple[str, ...] = ()

    @property
    def clock_hz(self) -> float:
        """The clock that derived peaks use: boost."""
        return self.clocks.boost_hz

    def vector_flop_per_clk(self, dtype: str) -> float:
        """FLOP per clock and SM of the CUDA cores; 0 if they have no such unit."""
        sm = self.sm
        lanes = {"fp64": sm.fp64_lanes, "fp32": sm.fp32_lanes, "tf32": 0.0, "fp16": sm.fp16_lanes, "bf16": sm.bf16_lanes}
        if dtype in lanes:
            return 2 * lanes[dtype]
        return {"int8": 8 * sm.dp4a_lanes, "int32": 2 * sm.int32_lanes}.get(dtype, 0.0)

    def tensor_flop_per_clk(self, dtype: str) -> float:
        """FLOP per clock and SM of the tensor cores; 0 if they have no such mode."""
        return self.tensor_cores.flop_per_clk.get(dtype, 0.0) if self.tensor_cores else 0.0

    def tensor_clock_hz(self, dtype: str) -> float:
        """The clock of the tensor cores' printed peak. [Hz] Hopper's is below boost, except for fp64."""
        clock_hz = self.tensor_cores.clock_hz if self.tensor_cores and dtype != "fp64" else None
        return self.clock_hz if clock_hz is None else clock_hz

    def peak_flop_per_s(self, dtype: str, pipe: str = "best") -> float:
        """Peak as the vendor counts it: dense, at the boost clock or the tensor cores' own. [FLOP/s]

        `pipe` is vector, tensor or best (tensor cores if they have the dtype); 0 if there is no unit, and on the pipe "none" of copies.
        """
        if pipe == "none":
            return 0.0
        has_tensor = self.tensor_cores is not None and dtype in self.tensor_cores.flop_per_clk
        if pipe == "tensor" or (pipe == "best" and has_tensor):
            return self.sm.count * self.tensor_flop_per_clk(dtype) * self.tensor_clock_hz(dtype)
        return self.sm.count * self.vector_flop_per_clk(dtype) * self.clock_hz

    def ridge_flop_per_byte(self, dtype: str) -> float:
        """Arithmetic intensity where the roofline bends. [FLOP/B]"""
        return self.peak_flop_per_s(dtype) / self.dram.bandwidth_bytes_per_s
