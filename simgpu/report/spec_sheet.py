"""A GPU on a page: units, derived peaks and ridge points, memory levels, board, and where every number comes from."""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import GPU, Link
from simgpu.cost.calibration import COMMON, generation, shipped_calibration
from simgpu.precision import unit_for
from simgpu.report.text import columns, joined
from simgpu.units import format_quantity, parse_quantity

_DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4")
_MHZ, _GIB, _GB_PER_S, _TFLOP_PER_S = (parse_quantity(f"1 {unit}", si) for unit, si in (("MHz", "Hz"), ("GiB", "B"), ("GB/s", "B/s"), ("TFLOP/s", "FLOP/s")))
_SAYS = {
    "set": "changed for this run",
    "spec": "the vendor, or a table that quotes it",
    "measured": "a published microbenchmark",
    "derived": "worked out from other facts",
    "guess": "taken from a relative, to be replaced",
}
_RECALLED = "“Recalled” is quoted from memory, “as quoted” from a secondary text."


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What a pipe does at best.

    Attributes:
        pipe: "tensor" or "vector" (CUDA cores).
        flop_per_clk: Dense FLOP (or integer operations) per clock and SM.
        sparse_flop_per_s: With 2:4 sparse weights; None without such a mode.
        printed_flop_per_s: What the datasheet has, if it says.
        ridge_flop_per_byte: Arithmetic intensity from which this pipe and not DRAM limits.
    """

    dtype: str
    pipe: str
    flop_per_clk: float
    clock_hz: float
    flop_per_s: float
    sparse_flop_per_s: float | None
    printed_flop_per_s: float | None
    ridge_flop_per_byte: float


def peaks(gpu: GPU) -> tuple[Peak, ...]:
    """All units of a GPU by dtype, tensor cores first. Formats without a unit are left out."""
    found = []
    for dtype in _DTYPES:
        for pipe in ("tensor", "vector"):
            flop_per_s = gpu.peak_flop_per_s(dtype, pipe)
            if not flop_per_s:
                continue
            tensor = pipe == "tensor"
            sparsity = gpu.tensor_cores.sparsity if tensor and gpu.tensor_cores and dtype != "fp64" else 1.0
            found.append(
                Peak(
                    dtype=dtype,
                    pipe=pipe,
                    flop_per_clk=gpu.tensor_flop_per_clk(dtype) if tensor else gpu.vector_flop_per_clk(dtype),
                    clock_hz=gpu.tensor_clock_hz(dtype) if tensor else gpu.clock_hz,
                    flop_per_s=flop_per_s,
                    sparse_flop_per_s=flop_per_s * sparsity if sparsity > 1 else None,
                    printed_flop_per_s=gpu.datasheet.get(f"tensor_{dtype}" if tensor else dtype),
                    ridge_flop_per_byte=flop_per_s / gpu.dram.bandwidth_bytes_per_s,
                )
            )
    return tuple(found)


def fallbacks(gpu: GPU) -> dict[str, str]:
    """What software computes in where the GPU has no (fast) unit for a format.

    >>> from simgpu.arch.loader import load_gpu
    >>> fallbacks(load_gpu("gtx-1080-ti"))["fp16"]
    'fp32'
    """
    used = {dtype: unit_for(dtype, gpu).dtype for dtype in _DTYPES if dtype != "int4"}
    return {dtype: other for dtype, other in used.items() if other != dtype}


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorOrigins:
    """Where the calibration's factors for a GPU come from.

    Attributes:
        generation: The GPUs that share its factors.
        inherits: The generations it falls back to, nearest first.
        factors: Generation, or "common" to all GPUs → how many factors come from there.
        fitted_on: The GPUs of its own generation that were measured.
    """

    generation: str
    inherits: tuple[str, ...]
    factors: Mapping[str, int]
    fitted_on: tuple[str, ...]


def factor_origins(gpu: GPU) -> FactorOrigins:
    """Which generations the factors of a GPU are taken from, in the calibration that comes with simgpu."""
    calibration = shipped_calibration()
    own = generation(gpu)
    counts = Counter(calibration.origin(gpu).values())
    chain = calibration.chain(own)
    return FactorOrigins(
        generation=own,
        inherits=chain[1:-1],
        factors={group: counts[group] for group in chain if counts[group]},
        fitted_on=tuple(name for name in calibration.fit.get("gpus", ()) if generation(load_gpu(name)) == own),
    )


def gpu_to_dict(gpu: GPU) -> dict[str, Any]:
    """The record with its field names, and what is derived from it; plain data for JSON."""
    derived = {
        "dram_bandwidth_bytes_per_s": gpu.dram.bandwidth_bytes_per_s,
        "peaks": [_plain(peak) for peak in peaks(gpu)],
        "fallbacks": fallbacks(gpu),
        "calibration": _plain(factor_origins(gpu)),
    }
    return {**_plain(gpu), "derived": derived}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def format_gpu(gpu: GPU, *, width: int = 100) -> str:
    """The spec sheet that `simgpu gpu` prints."""
    blocks = [
        _head(gpu, width),
        ["Compute", *_pairs(_compute(gpu), width)],
        _peaks(gpu, width),
        _memory(gpu),
        ["Board", *_pairs(_board(gpu), width)],
        ["Notes", *_bullets(gpu.notes, width)] if gpu.notes else [],
        ["Factors that no datasheet states", *_pairs(_factors(gpu), width)],
        _sources(gpu.sources, width),
        _closing(gpu, width),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def format_gpus(gpus: Sequence[GPU]) -> str:
    """The table that `simgpu gpus` prints: oldest generation first, by year and name within it."""
    generations: dict[str, list[GPU]] = {}
    for gpu in sorted(gpus, key=lambda gpu: (gpu.year, gpu.id)):
        generations.setdefault(gpu.architecture, []).append(gpu)
    groups = sorted(generations.values(), key=lambda group: min(gpu.compute_capability for gpu in group))
    header = ("GPU", "year", "SMs", "boost", "FP32", "FP16 tensor", "DRAM", "capacity", "TDP")
    units = ("", "", "", "MHz", "TFLOP/s", "TFLOP/s", "GB/s", "GiB", "W")
    lines = columns([units, *(_row(gpu) for group in groups for gpu in group)], "<>>>>>>>>", header=header)
    page, rest = lines[:2], lines[2:]
    for group in groups:
        page += [group[0].architecture, *rest[: len(group)]]
        rest = rest[len(group) :]
    count = f"{len(gpus)} {'GPU' if len(gpus) == 1 else 'GPUs'} in {len(groups)} {'generation' if len(groups) == 1 else 'generations'}"
    return "\n".join([*page, "", f"{count}. `simgpu gpu NAME` has the spec sheet and the sources."]) + "\n"


def _row(gpu: GPU) -> tuple[str, ...]:
    tensor = gpu.peak_flop_per_s("fp16", "tensor")
    return (
        gpu.id,
        str(gpu.year),
        f"{gpu.sm.count:.0f}",
        f"{gpu.clock_hz / _MHZ:.0f}",
        _three_digits(gpu.peak_flop_per_s("fp32", "vector") / _TFLOP_PER_S),
        _three_digits(tensor / _TFLOP_PER_S) if tensor else "–",
        _three_digits(gpu.dram.bandwidth_bytes_per_s / _GB_PER_S),
        f"{gpu.dram.capacity_bytes / _GIB:g}",
        f"{gpu.power.tdp_w:.0f}",
    )


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:#.3g}"


def _head(gpu: GPU, width: int) -> list[str]:
    major, minor = gpu.compute_capability
    facts = (gpu.architecture, f"compute capability {major}.{minor}", str(gpu.year), gpu.segment)
    names = textwrap.wrap(f"also {', '.join(gpu.aliases)}", width, subsequent_indent="     ", break_on_hyphens=False) if gpu.aliases else []
    title = textwrap.wrap(f"{gpu.name} ({gpu.id})", width, subsequent_indent="  ", break_on_hyphens=False)
    return [*title, ", ".join(filter(None, facts)), *names]


def _compute(gpu: GPU) -> list[tuple[str, list[str]]]:
    sm, clocks = gpu.sm, gpu.clocks
    lanes = {"FP32": sm.fp32_lanes, "FP64": sm.fp64_lanes, "INT32": sm.int32_lanes, "FP16": sm.fp16_lanes, "BF16": sm.bf16_lanes, "dp4a": sm.dp4a_lanes}
    shown = [f"{name} {_g(count)}" for name, count in (lanes | {"SFU": sm.sfu_lanes, "load/store": sm.lsu_lanes or 0}).items() if count]
    speeds = {"base": clocks.base_hz, "boost": clocks.boost_hz, "at most": clocks.max_hz, "in the datasheet's peaks": clocks.datasheet_hz}
    rows = [
        ("SMs", [_g(sm.count)]),
        ("Clock", [f"{_mhz(hz)} {name}" for name, hz in speeds.items() if hz]),
        ("Results/clk/SM", shown),
        ("Schedulers/SM", [f"{_g(sm.schedulers)} × {_g(sm.issue_per_scheduler)} warp instruction/clk"]),
        (
            "Resident/SM",
            [f"{_g(sm.max_warps)} warps", f"{_g(sm.max_threads)} threads", f"{_g(sm.max_blocks)} blocks of at most {_g(sm.max_threads_per_block)} threads"],
        ),
        ("Registers/SM", [f"{_g(sm.registers)} of 32 bit", f"at most {_g(sm.max_registers_per_thread)} a thread"]),
    ]
    if gpu.tensor_cores:
        rows.insert(3, ("Tensor cores", [f"generation {_g(gpu.tensor_cores.generation)}", *(["2:4 sparsity"] if gpu.tensor_cores.sparsity > 1 else [])]))
    return rows


def _peaks(gpu: GPU, width: int) -> list[str]:
    rows = [
        (
            peak.dtype,
            peak.pipe,
            _g(peak.flop_per_clk),
            _mhz(peak.clock_hz),
            format_quantity(peak.flop_per_s, ""),
            format_quantity(peak.sparse_flop_per_s, "") if peak.sparse_flop_per_s else "–",
            format_quantity(peak.printed_flop_per_s, "") if peak.printed_flop_per_s else "–",
            f"{peak.ridge_flop_per_byte:.3g}",
        )
        for peak in peaks(gpu)
    ]
    header = ("", "pipe", "/clk/SM", "clock", "FLOP/s", "2:4 sparse", "datasheet", "ridge FLOP/B")
    used = [i for i in range(len(header)) if any(row[i] != "–" for row in rows)]
    table = columns([[row[i] for i in used] for row in rows], "".join("<<>>>>>>"[i] for i in used), header=[header[i] for i in used])
    lines = ["Peaks (derived: SMs × FLOP/clk/SM × clock; integer formats in OP)", *table]
    if missing := fallbacks(gpu):
        parts = [f"{dtype} → {other}" for dtype, other in missing.items()]
        lines += _pairs([("No fast unit", parts)], width)
    return lines


def _memory(gpu: GPU) -> list[str]:
    dram, l2, clock_hz = gpu.dram, gpu.l2, gpu.clock_hz

    def per_sm(bytes_per_clk: float | None) -> float | None:
        return bytes_per_clk * gpu.sm.count * clock_hz if bytes_per_clk else None

    def row(level: str, size: str, bandwidth: float | None, reached: float | None, latency_s: float | None) -> tuple[str, ...]:
        rates = (format_quantity(rate, "B/s") if rate else "–" for rate in (bandwidth, reached))
        return (level, size, *rates, format_quantity(latency_s, "s") if latency_s else "–")

    def clocks_s(clocks: float | None) -> float | None:
        return clocks / clock_hz if clocks else None

    rows = [row("Shared memory", f"{_size(gpu.shared.size_bytes)}/SM", per_sm(gpu.shared.bandwidth_bytes_per_clk), None, clocks_s(gpu.shared.latency_clk))]
    if gpu.l1.size_bytes:
        rows.append(row("L1", f"{_size(gpu.l1.size_bytes)}/SM", per_sm(gpu.l1.bandwidth_bytes_per_clk), None, clocks_s(gpu.l1.latency_clk)))
    if l2.size_bytes:
        peak = l2.bandwidth_bytes_per_clk * clock_hz if l2.bandwidth_bytes_per_clk else None
        rows.append(row("L2", _size(l2.size_bytes), peak, l2.measured_bandwidth_bytes_per_s, l2.latency_s))
    bandwidth = dram.bandwidth_bytes_per_s
    rows.append(row("DRAM", _size(dram.capacity_bytes), bandwidth, bandwidth * dram.achievable_fraction, dram.latency_s))
    notes = [
        f"DRAM: {dram.type}{' with ECC' if dram.ecc else ''}, {_mhz(dram.clock_hz)} × {_g(dram.rate)} transfers × {_g(dram.bus_bits)} bit / 8",
        f"Shared memory: {_g(gpu.shared.banks)} banks, at most {_size(gpu.shared.max_per_block_bytes)} a block",
    ]
    if gpu.l1.size_bytes and gpu.l1.unified_with_shared:
        notes.append("L1: one memory with shared memory, so what one takes the other lacks")
    if not gpu.l1.size_bytes:
        notes.append("L1: none for global memory")
    if l2.partitions > 1:
        notes.append(f"L2: {_g(l2.partitions)} partitions, each may hold a copy of what the other holds")
    if not l2.size_bytes:
        notes.append("L2: none for global memory")
    return ["Memory", *columns(rows, "<>>>>", header=("", "size", "peak", "reached", "latency")), *(f"  {note}" for note in notes)]


def _board(gpu: GPU) -> list[tuple[str, list[str]]]:
    chip, power, launch = gpu.chip, gpu.power, gpu.launch
    facts = [
        chip.name,
        chip.process_name or f"{_g(chip.process_nm)} nm",
        f"{format_quantity(chip.transistors, '')} transistors" if chip.transistors else "",
        f"{_g(chip.die_area_mm2)} mm²" if chip.die_area_mm2 else "",
    ]
    rows = [("Chip", [fact for fact in facts if fact])]
    rows.append(("Power", [f"{_g(power.tdp_w)} W limit", *([f"{_g(power.idle_w)} W idle"] if power.idle_w else [])]))
    if gpu.pcie:
        rows.append(("PCIe", [f"{_g(gpu.pcie.generation)}.0 ×{_g(gpu.pcie.lanes)}", _each_way(gpu.pcie)]))
    if gpu.nvlink:
        rows.append(("NVLink", [f"generation {_g(gpu.nvlink.generation)}", f"{_g(gpu.nvlink.lanes)} links", _each_way(gpu.nvlink)]))
    rows.append(("Concurrency", [_plural(gpu.concurrent_kernels, "kernel"), _plural(gpu.copy_engines, "copy engine")]))
    gaps = {"in a stream": launch.stream_gap_s, "in a graph": launch.graph_gap_s}
    if any(gaps.values()):
        rows.append(("Kernel gap", [f"{format_quantity(gap_s, 's')} {where}" for where, gap_s in gaps.items() if gap_s]))
    return rows


def _factors(gpu: GPU) -> list[tuple[str, list[str]]]:
    origins = factor_origins(gpu)
    own = origins.factors.get(origins.generation, 0)
    rows = [("Generation", [origins.generation, f"{own} of its own" if own else "none of its own"])]
    if inherited := [f"{count} from {name}" for name, count in origins.factors.items() if name not in (origins.generation, COMMON)]:
        rows.append(("Inherited", inherited))
    rows.append(("All GPUs alike", [_g(origins.factors.get(COMMON, 0))]))
    rows.append(("Fitted on", list(origins.fitted_on) or ["no GPU of this generation: its relatives stand in"]))
    return rows


def _each_way(link: Link) -> str:
    return f"{format_quantity(link.bandwidth_bytes_per_s, 'B/s')} each way"


def _sources(sources: Mapping[str, str], width: int) -> list[str]:
    """The sources by kind; of values with the same source one line tells."""
    keys: dict[str, list[str]] = {}
    for key, text in sources.items():
        keys.setdefault(text, []).append(key)
    lines = []
    for kind in _SAYS:
        for text in keys:
            if text.startswith(f"{kind}:"):
                line = f"{', '.join(keys[text])}: {text.removeprefix(f'{kind}:').strip()}"
                lead = f"  {kind:<10}"
                lines += textwrap.wrap(line, width, initial_indent=lead, subsequent_indent=" " * 14, break_on_hyphens=False, break_long_words=False)
    return ["Sources", *lines] if lines else []


def _closing(gpu: GPU, width: int) -> list[str]:
    kinds = [kind for kind in _SAYS if any(text.startswith(f"{kind}:") for text in gpu.sources.values())]
    legend = "; ".join(f"{kind}: {_SAYS[kind]}" for kind in kinds)
    says = f"{legend}. {_RECALLED}" if legend else ""
    bandwidth = format_quantity(2 * gpu.dram.bandwidth_bytes_per_s, "B/s", digits=2)
    return [*textwrap.wrap(says, width), f"What if: simgpu gpu {gpu.id} --set dram.bandwidth='{bandwidth}'"]


def _pairs(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    """Names with their parts; lines break between parts only."""
    return [f"  {name if i == 0 else '':<16}{line}" for name, parts in rows for i, line in enumerate(joined(parts, width - 18))]


def _bullets(notes: Sequence[str], width: int) -> list[str]:
    return [line for note in notes for line in textwrap.wrap(note, width, initial_indent="  • ", subsequent_indent="    ", break_on_hyphens=False)]


def _g(value: float) -> str:
    return f"{value:.6g}"


def _mhz(hz: float) -> str:
    return f"{hz / _MHZ:.0f} MHz" if hz >= _MHZ else format_quantity(hz, "Hz")


def _size(size_bytes: float) -> str:
    return format_quantity(size_bytes, "iB", digits=4)


def _plural(number: float, word: str) -> str:
    return f"{_g(number)} {word}{'' if number == 1 else 's'}"
