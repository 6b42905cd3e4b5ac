"""The discrete-event simulation: a host that launches, streams that keep order, and a device that kernels share.

The host is a process; kernels are callbacks on timeouts plus counters of what they still wait for, because a process
for each kernel costs ten times as much.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from simgpu.arch.spec import GPU
from simgpu.cost.times import KernelTimes
from simgpu.errors import OptionError, SimulationError
from simgpu.kernels.kernel import KernelGraph
from simgpu.runtime import Runtime
from simgpu.sim.host import HostCost, plan_launches
from simgpu.sim.sharing import Demand, demands, free_slots, speeds
from simgpu.sim.streams import assign_streams
from simgpu.sim.timeline import Ints, Timeline

_NO_SLOT = 1e-9  # less than this share of the slots is rounding, not room for a CTA


@dataclass(slots=True, kw_only=True)
class _Wiring:
    """Who waits for whom.

    Attributes:
        waits: Events each kernel still waits for: its launch, the kernel before it in its stream, its dependencies.
        next_in_stream: The kernel behind each one in its stream; -1 at the end.
        users: For kernels that other streams wait for, who waits.
    """

    waits: list[int]
    next_in_stream: list[int]
    users: dict[int, list[int]]


def _wire(deps: Sequence[tuple[int, ...]], streams: Sequence[int]) -> _Wiring:
    """What a kernel's own stream ordered before it has ended anyway and is not waited for again."""
    waits = [1] * len(deps)
    following = [-1] * len(deps)
    users: dict[int, list[int]] = {}
    tail: dict[int, int] = {}
    for k, (waits_for, stream) in enumerate(zip(deps, streams, strict=True)):
        before = tail.get(stream)
        if before is not None:
            following[before] = k
            waits[k] += 1
        for d in dict.fromkeys(waits_for):
            if streams[d] != stream or d >= k:
                users.setdefault(d, []).append(k)
                waits[k] += 1
        tail[stream] = k
    return _Wiring(waits=waits, next_in_stream=following, users=users)


class _InFlight:
    """A kernel on the device: how much of its time alone is left, and how fast that shrinks."""

    __slots__ = ("demand", "in_tail", "kernel", "left_s", "since_s", "speed", "ticket")

    def __init__(self, kernel: int, demand: Demand, left_s: float, now_s: float) -> None:
        self.kernel = kernel
        self.demand = demand
        self.left_s = left_s
        self.since_s = now_s
        self.speed = 0.0
        self.in_tail = False  # only its last wave is left
        self.ticket = 0  # a timeout that carries an older ticket is stale


class _Device:
    """Streams, front end, SMs and memory of one run."""

    def __init__(self, env: simpy.Environment, duration_s: list[float], wiring: _Wiring, demand: Sequence[Demand], max_concurrent: int) -> None:
        self.env = env
        self.duration_s = duration_s
        self.waits = wiring.waits
        self.next_in_stream = wiring.next_in_stream
        self.users = wiring.users
        self.demand = demand  # empty where there is one stream and nothing is ever shared
        self.max_concurrent = max_concurrent
        self.ready: list[int] = []
        self.in_flight: list[_InFlight] = []
        self.start_s = [-1.0] * len(duration_s)
        self.end_s = [-1.0] * len(duration_s)

    def signal(self, kernel: int) -> None:
        """One thing that the kernel waited for has happened."""
        self.waits[kernel] -= 1
        if self.waits[kernel] == 0:
            if self.demand:
                self.ready.append(kernel)
                self._reschedule()
            else:
                self.start_s[kernel] = self.env.now
                self.env.timeout(self.duration_s[kernel], kernel).callbacks.append(self._ended_alone)

    def _ended_alone(self, event: Any) -> None:
        kernel = event._value
        self.end_s[kernel] = self.env.now
        following = self.next_in_stream[kernel]
        if following >= 0:
            self.signal(following)
        for user in self.users.get(kernel, ()):
            self.signal(user)

    def _advance(self) -> None:
        now = self.env.now
        for run in self.in_flight:
            run.left_s -= run.speed * (now - run.since_s)
            run.since_s = now

    def _admit(self) -> None:
        """Starts ready kernels for which the front end has a place and the SMs a slot, first come first served."""
        now, waiting = self.env.now, []
        on_sms = sum(run.demand.copy_engine < 0 for run in self.in_flight)
        engines = {run.demand.copy_engine for run in self.in_flight}
        free = free_slots([run.demand for run in self.in_flight], [run.in_tail for run in self.in_flight])
        for kernel in self.ready:
            demand = self.demand[kernel]
            if demand.copy_engine >= 0:
                fits = demand.copy_engine not in engines
            else:
                fits = on_sms < self.max_concurrent and (free > _NO_SLOT or demand.slot_fraction == 0)
            if not fits:
                waiting.append(kernel)
                continue
            self.start_s[kernel] = now
            self.in_flight.append(_InFlight(kernel, demand, self.duration_s[kernel], now))
            on_sms += demand.copy_engine < 0
            engines.add(demand.copy_engine)
            free -= min(demand.slot_fraction, free)
        self.ready = waiting

    def _reschedule(self) -> None:
        """The set of kernels in flight may have changed: let new ones in, divide the chip anew, move the ends."""
        self._advance()
        if self.ready:
            self._admit()
        alone = len(self.in_flight) == 1
        new_speeds = [1.0] if alone else speeds([run.demand for run in self.in_flight], [run.in_tail for run in self.in_flight])
        for run, speed in zip(self.in_flight, new_speeds, strict=True):
            if speed != run.speed:
                run.speed = speed
                self._set_alarm(run)

    def _set_alarm(self, run: _InFlight) -> None:
        run.ticket += 1
        stretch = run.left_s if run.in_tail else run.left_s - run.demand.tail_s
        self.env.timeout(max(stretch, 0.0) / run.speed, (run, run.ticket)).callbacks.append(self._alarm)

    def _alarm(self, event: Any) -> None:
        run, ticket = event._value
        if ticket != run.ticket:
            return
        self._advance()
        if run.in_tail or run.demand.tail_s == 0:
            self._end(run)
        else:
            run.in_tail, run.left_s, run.speed = True, run.demand.tail_s, 0.0
        self._reschedule()

    def _end(self, run: _InFlight) -> None:
        self.in_flight.remove(run)
        self.end_s[run.kernel] = self.env.now
        following = self.next_in_stream[run.kernel]
        for user in (*((following,) if following >= 0 else ()), *self.users.get(run.kernel, ())):
            self.waits[user] -= 1
            if self.waits[user] == 0:
                self.ready.append(user)


def _host(env: simpy.Environment, available_s: list[float], device: _Device) -> Generator[simpy.Event, object, None]:
    """Launches kernels in program order, running ahead of the device."""
    for kernel, moment in enumerate(available_s):
        if moment > env.now:
            yield env.timeout(moment - env.now)
        device.signal(kernel)


def simulate_kernels(
    kernels: KernelGraph, times: KernelTimes, gpu: GPU, runtime: Runtime, host: HostCost, *, num_streams: int = 1, streams: Ints | None = None
) -> Timeline:
    """Runs a kernel graph and says when each kernel runs.

    Args:
        num_streams: Streams that branches of the graph may be spread over.
        streams: The stream of each kernel, if it is not to be chosen here. (N,)
    Raises:
        OptionError: `num_streams` is no positive number.
        SimulationError: Kernels wait for each other, or one has no finite duration.

    Source: order within a stream, events between streams and concurrent kernels as in the CUDA C++ Programming Guide,
    "Asynchronous concurrent execution"; left-over policy: Adriaens et al., "The case for GPGPU spatial multitasking",
    HPCA 2012; Xu et al., "Warped-Slicer", ISCA 2016.
    """
    if num_streams < 1:
        raise OptionError(f"streams: expected 1 or more, got {num_streams}")
    _check_durations(kernels, times)
    launches = plan_launches(host, runtime, kernels, times.duration_s)
    if streams is None:
        streams = assign_streams(kernels.deps, times.duration_s, num_streams)
    shared = demands(kernels, times, int(gpu.copy_engines)) if num_streams > 1 else ()
    env = simpy.Environment()
    device = _Device(env, times.duration_s.tolist(), _wire(kernels.deps, streams.tolist()), shared, int(gpu.concurrent_kernels))
    env.process(_host(env, launches.available_s.tolist(), device))
    collecting = gc.isenabled()
    gc.disable()  # a run makes millions of short-lived events and no cycles worth collecting
    try:
        env.run()
    finally:
        if collecting:
            gc.enable()
    start_s, end_s = np.array(device.start_s), np.array(device.end_s)
    stuck = np.flatnonzero(end_s < 0)
    if len(stuck):
        names = ", ".join(f"'{kernels.kernels[i].name}'" for i in stuck[:5])
        raise SimulationError(f"{kernels.graph_name}: {len(stuck)} of {len(kernels)} kernels wait for each other and never run: {names}")
    return Timeline(
        stream=streams,
        launch_start_s=launches.start_s,
        launch_end_s=launches.end_s,
        start_s=start_s,
        end_s=end_s,
        host_end_s=launches.host_end_s,
    )


def _check_durations(kernels: KernelGraph, times: KernelTimes) -> None:
    bad = np.flatnonzero(~(np.isfinite(times.duration_s) & (times.duration_s >= 0)))
    if len(bad):
        names = ", ".join(f"'{kernels.kernels[i].name}' ({times.duration_s[i]:g} s)" for i in bad[:5])
        raise SimulationError(f"{kernels.graph_name}: {len(bad)} kernels have no finite duration: {names}; a size or a GPU field must be out of range")
