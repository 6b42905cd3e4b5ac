"""The answers of one run: how long, what limits it, how busy each part is, how much memory and energy it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from simgpu.arch.spec import GPU
from simgpu.cost.times import PARTS, Floats, KernelTimes
from simgpu.kernels.kernel import Kernel, KernelGraph
from simgpu.memory.footprint import Footprint
from simgpu.report.records import GroupRecord, KernelRecord, Utilization
from simgpu.runtime import Runtime
from simgpu.sim.host import HostCost
from simgpu.sim.timeline import Timeline, level_over_time

HOST_BOUND = "host launch"


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """One model on one GPU. Everything is derived from the kernels, their times and the timeline.

    Attributes:
        model: Name of the model.
        batch: Samples in one run.
        dtype: Precision policy asked for.
        math_dtype: Format of the matrix products, whose peak MFU refers to.
        num_params: Parameters of the model.
        kernels, times, timeline: The kernels, what each costs alone, and when each runs.
        memory: Memory by category.
        idle_w: Power of the board that no kernel accounts for. [W]
        new_tokens: Passes like this one that a sequence's output takes, a token each; 0 = the run generates none.
        optimizer: Of the training step that this is; "" = inference.
        assumptions: What was taken for granted, most important first.
    """

    model: str
    gpu: GPU
    batch: int
    dtype: str
    math_dtype: str
    runtime: Runtime
    host: HostCost
    num_streams: int
    num_params: int
    kernels: KernelGraph = field(repr=False)
    times: KernelTimes = field(repr=False)
    timeline: Timeline = field(repr=False)
    memory: Footprint = field(repr=False)
    idle_w: float = 0.0
    new_tokens: int = 0
    optimizer: str = ""
    assumptions: tuple[str, ...] = ()

    # ---- time

    @property
    def setting(self) -> str:
        """The run in a few words: "batch 32 · fp16 · eager"."""
        words = [f"batch {self.batch}", self.dtype, self.runtime.name, *([f"training step ({self.optimizer})"] if self.optimizer else [])]
        return " · ".join([*words, f"{self.num_streams} streams"] if self.num_streams > 1 else words)

    @cached_property
    def latency_s(self) -> float:
        """From the host's first step to the end of the last kernel. [s]"""
        return self.timeline.makespan_s

    @property
    def throughput_per_s(self) -> float:
        """Samples a second where one run follows the other, each waited for. [1/s]"""
        return self.batch / self.latency_s

    @property
    def generation_s(self) -> float:
        """All passes of a decode, each as long as this one, the mean of them; 0 if the run generates nothing. [s]"""
        return self.new_tokens * self.latency_s

    @property
    def host_s(self) -> float:
        """What the host needs to issue everything; the run cannot be shorter. [s]"""
        return self.timeline.host_end_s

    @cached_property
    def device_s(self) -> float:
        """Time in which at least one kernel runs; the run cannot be shorter. [s]"""
        return self.timeline.busy_s

    @cached_property
    def kernel_s(self) -> float:
        """All kernels' times on the device, added up. [s]"""
        return float(self.timeline.span_s.sum())

    @cached_property
    def roofline_s(self) -> float:
        """All kernels' times on the datasheet roofline, added up. [s]"""
        return float(self.times.roofline_s.sum())

    @cached_property
    def critical_path_s(self) -> float:
        """Longest chain of kernels that wait for each other; more streams cannot go below it. [s]"""
        end = [0.0] * len(self.kernels)
        durations = self.times.duration_s.tolist()
        for k, deps in enumerate(self.kernels.deps):
            end[k] = max((end[d] for d in deps), default=0.0) + durations[k]
        return max(end, default=0.0)

    @cached_property
    def num_calls(self) -> int:
        """Operator calls that the host makes; a library may launch several kernels within one."""
        return sum(not k.internal for k in self.kernels.kernels)

    # ---- what limits it

    @cached_property
    def bound_fractions(self) -> dict[str, float]:
        """Share of the latency by what the run waits for, the largest first; they add up to 1.

        "host launch" is time in which no kernel runs. The rest is divided by the bound of the kernels that run.
        """
        span = self.timeline.span_s
        seconds = {name: float(span[self.times.bound == i].sum()) for i, name in enumerate(PARTS.values())}
        overlap = self.device_s / self.kernel_s if self.kernel_s else 0.0
        shares = {name: value * overlap / self.latency_s for name, value in seconds.items() if value > 0} if self.latency_s else {}
        idle = (self.latency_s - self.device_s) / self.latency_s if self.latency_s else 0.0
        if idle > 0:
            shares[HOST_BOUND] = idle
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @cached_property
    def bound(self) -> str:
        """What limits the run: "host launch" if the host needs longer to issue it than the device to do it, else what most kernel time is bound by."""
        if self.host_s >= self.device_s:
            return HOST_BOUND
        return next((name for name in self.bound_fractions if name != HOST_BOUND), HOST_BOUND)

    # ---- work

    @cached_property
    def flop(self) -> float:
        """The model's own work, 1 MAC = 2. [FLOP]"""
        return float(sum(k.flop for k in self.kernels.kernels))

    @cached_property
    def executed_flop(self) -> float:
        """Work done, padding included, savings of fast algorithms taken off. [FLOP]"""
        return float(self.times.executed_flop.sum())

    @cached_property
    def dram_bytes(self) -> float:
        """DRAM traffic. [B]"""
        return float(self.times.dram_bytes.sum())

    @cached_property
    def l2_bytes(self) -> float:
        """L2 traffic. [B]"""
        return float(self.times.l2_bytes.sum())

    @property
    def intensity_flop_per_byte(self) -> float:
        """FLOP for each byte of DRAM traffic. [FLOP/B]"""
        return self.flop / self.dram_bytes if self.dram_bytes else float("inf")

    @property
    def flop_per_s(self) -> float:
        """The model's FLOP a second. [FLOP/s]"""
        return self.flop / self.latency_s

    @property
    def peak_flop_per_s(self) -> float:
        """Datasheet peak that MFU refers to. [FLOP/s]"""
        return self.gpu.peak_flop_per_s(self.math_dtype)

    # ---- how busy

    @cached_property
    def utilization(self) -> Utilization:
        """How busy the parts of the GPU are."""
        times, latency = self.times, self.latency_s
        sm_seconds = self._area(times.sm_fraction)
        warp_seconds = self._area(times.sm_fraction * times.occupancy_fraction)
        pipe_seconds = {"tensor": 0.0, "vector": 0.0}
        for kernel, executed, clock in zip(self.kernels.kernels, times.executed_flop.tolist(), times.clock_hz.tolist(), strict=True):
            pipe, per_clk = self._pipe(kernel)
            if per_clk and clock:
                pipe_seconds[pipe] += executed / (self.gpu.sm.count * per_clk * clock)
        return Utilization(
            gpu_util_fraction=self.device_s / latency,
            sm_active_fraction=sm_seconds / latency,
            sm_occupancy_fraction=warp_seconds / latency,
            achieved_occupancy_fraction=warp_seconds / sm_seconds if sm_seconds else 0.0,
            tensor_active_fraction=min(pipe_seconds["tensor"] / latency, 1.0),
            fp32_active_fraction=min(pipe_seconds["vector"] / latency, 1.0),
            dram_active_fraction=min(self.dram_bytes / self.gpu.dram.bandwidth_bytes_per_s / latency, 1.0),
            mfu_fraction=self.flop_per_s / self.peak_flop_per_s,
        )

    def _area(self, level: Floats) -> float:
        """A share of the chip that each kernel takes while it runs, summed over time; together they take at most all of it. [s]"""
        if self.num_streams == 1:
            return float((self.timeline.span_s * level).sum())
        moments, total = level_over_time(self.timeline.start_s, self.timeline.end_s, level)
        return float((np.minimum(total[:-1], 1.0) * np.diff(moments)).sum())

    def _pipe(self, kernel: Kernel) -> tuple[str, float]:
        """The pipe of a kernel's math, and its FLOP per clock and SM."""
        if kernel.pipe == "tensor":
            return "tensor", self.gpu.tensor_flop_per_clk(kernel.dtype)
        return "vector", (self.gpu.vector_flop_per_clk(kernel.dtype) or self.gpu.vector_flop_per_clk("fp32")) if kernel.pipe == "vector" else 0.0

    # ---- energy

    @cached_property
    def energy_j(self) -> float:
        """Energy of the run, the board's idle power included. [J]"""
        return float(self.times.energy_j.sum()) + self.idle_w * self.latency_s

    @property
    def power_w(self) -> float:
        """Average power while the run is repeated. [W]"""
        return self.energy_j / self.latency_s

    @cached_property
    def clock_hz(self) -> float:
        """SM clock under the power limit, averaged over kernel time. [Hz]"""
        span = self.timeline.span_s
        return float((span * self.times.clock_hz).sum() / span.sum()) if self.kernel_s else self.gpu.clock_hz

    # ---- kernels

    @cached_property
    def records(self) -> tuple[KernelRecord, ...]:
        """One record a kernel, in launch order."""
        columns: dict[str, Iterable[object]] = {name: getattr(self.times, name).tolist() for name in _NUMBERS}
        columns["stream"] = self.timeline.stream.tolist()
        columns["start_s"] = self.timeline.start_s.tolist()
        columns["span_s"] = self.timeline.span_s.tolist()
        columns["bound"] = self.times.bound_names()
        columns["choice"] = self.times.choice_names()
        flop = np.array([k.flop for k in self.kernels.kernels])
        duration = np.maximum(self.times.duration_s, 1e-300)
        columns["flop"] = flop.tolist()
        columns["flop_per_s"] = (flop / duration).tolist()
        columns["dram_bytes_per_s"] = (self.times.dram_bytes / duration).tolist()
        columns["roofline_fraction"] = (self.times.own_roofline_s / duration).tolist()
        rows = zip(*columns.values(), strict=True)
        return tuple(
            KernelRecord(
                index=i,
                name=k.name,
                op=k.op,
                scope=k.scope,
                label=k.label or k.family,
                family=k.family,
                dtype=k.dtype,
                pipe=k.pipe,
                **dict(zip(columns, row, strict=True)),
            )
            for i, (k, row) in enumerate(zip(self.kernels.kernels, rows, strict=True))
        )

    def top_kernels(self, count: int = 10) -> tuple[KernelRecord, ...]:
        """The kernels that take longest, the longest first."""
        order = np.argsort(-self.timeline.span_s, kind="stable")[:count]
        return tuple(self.records[i] for i in order)

    def distinct_kernels(self, count: int = 10) -> tuple[tuple[KernelRecord, int, float], ...]:
        """Kernels that take the longest together: the first of those that are alike, how many there are, and their time. [s]"""
        alike: dict[tuple[object, ...], list[KernelRecord]] = {}
        for k in self.records:
            alike.setdefault((k.label, k.choice, k.bound, k.flop, k.ctas, float(f"{k.duration_s:.3g}")), []).append(k)
        groups = [(members[0], len(members), sum(k.span_s for k in members)) for members in alike.values()]
        return tuple(sorted(groups, key=lambda group: -group[2])[:count])

    def by_label(self) -> tuple[GroupRecord, ...]:
        """Time by what a profiler would call the kernels."""
        return self._grouped(lambda k: k.label or k.family)

    def by_family(self) -> tuple[GroupRecord, ...]:
        """Time by family of work: gemm, conv, stream, rows …"""
        return self._grouped(lambda k: k.family)

    def by_scope(self, depth: int = 1) -> tuple[GroupRecord, ...]:
        """Time by the first `depth` parts of the module path, in the order of the network."""
        groups = self._grouped(lambda k: ".".join(k.scope.split(".")[:depth]) or "(no scope)")
        order = {name: i for i, name in enumerate(dict.fromkeys(".".join(k.scope.split(".")[:depth]) or "(no scope)" for k in self.kernels.kernels))}
        return tuple(sorted(groups, key=lambda g: order[g.name]))

    def _grouped(self, key: Callable[[Kernel], str]) -> tuple[GroupRecord, ...]:
        members: dict[str, list[int]] = {}
        for i, kernel in enumerate(self.kernels.kernels):
            members.setdefault(key(kernel), []).append(i)
        span, names = self.timeline.span_s, tuple(PARTS.values())
        groups = []
        for name, indices in members.items():
            seconds = float(span[indices].sum())
            by_bound = np.bincount(self.times.bound[indices], weights=span[indices], minlength=len(names))
            flop = float(sum(self.kernels.kernels[i].flop for i in indices))
            dram = float(self.times.dram_bytes[indices].sum())
            per_s = 1 / seconds if seconds else 0.0
            groups.append(
                GroupRecord(
                    name=name,
                    family=self.kernels.kernels[indices[0]].family,
                    count=len(indices),
                    time_s=seconds,
                    time_fraction=seconds / self.kernel_s if self.kernel_s else 0.0,
                    bound=names[int(by_bound.argmax())],
                    flop=flop,
                    dram_bytes=dram,
                    flop_per_s=flop * per_s,
                    dram_bytes_per_s=dram * per_s,
                    roofline_fraction=float(self.times.own_roofline_s[indices].sum()) * per_s,
                )
            )
        return tuple(sorted(groups, key=lambda g: -g.time_s))

    # ---- over time

    def counters(self) -> dict[str, tuple[Floats, Floats]]:
        """What changes during the run, each as step function: times [s] and values from there on.

        DRAM throughput [B/s], SM active in [0, 1], memory [B] and kernels in flight.
        """
        start, end, span = self.timeline.start_s, self.timeline.end_s, np.maximum(self.timeline.span_s, 1e-300)
        moments, active = level_over_time(start, end, self.times.sm_fraction)
        return {
            "dram_bytes_per_s": level_over_time(start, end, self.times.dram_bytes / span),
            "sm_active_fraction": (moments, np.minimum(active, 1.0)),
            "memory_bytes": (start, self.memory.resident_bytes + self.memory.live_bytes),
            "kernels_in_flight": level_over_time(start, end, np.ones(len(start))),
        }


_NUMBERS = (
    "duration_s", "math_s", "chain_s", "l2_s", "dram_s", "latency_s", "roofline_s", "own_roofline_s", "executed_flop", "dram_bytes", "l2_bytes",
    "ctas", "waves", "occupancy_fraction", "sm_fraction", "energy_j", "clock_hz",
)  # fmt: skip
