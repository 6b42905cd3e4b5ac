"""How fast simgpu itself is, against the limits it is held to: `python tests/benchmarks/bench.py`.

CPU seconds, the best of a few tries; wall time would measure the neighbours. Status 1 if a limit is missed.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import simgpu
from simgpu.cost.times import KernelTimes
from simgpu.kernels.kernel import Kernel, KernelGraph, Stream
from simgpu.runtime import runtime
from simgpu.sim.engine import simulate_kernels
from simgpu.sim.host import HOSTS


def process_s(*arguments: str) -> float:
    """CPU time of a command line. [s]"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "simgpu", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def call_s(function: Callable[[], object]) -> float:
    """CPU time of a call. [s]"""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def best(measure: Callable[[], float], tries: int) -> float:
    return min(measure() for _ in range(tries))


def schedule(count: int) -> Callable[[], object]:
    """A chain of so many kernels, priced already."""
    kernel = Kernel(name="kernel", work=Stream(elements=1))
    graph = KernelGraph([kernel] * count, [(i - 1,) if i else () for i in range(count)])
    seconds, ones = np.random.default_rng(0).uniform(1e-6, 3e-5, count), np.ones(count)
    names = "math_s shared_s l2_s dram_s latency_s roofline_s executed_flop dram_bytes l2_bytes ctas waves occupancy_fraction sm_fraction energy_j clock_hz"
    times = KernelTimes(duration_s=seconds, choice=np.zeros(count, dtype=np.int64), **dict.fromkeys(names.split(), ones))
    gpu = simgpu.load_gpu("a100")
    return lambda: simulate_kernels(graph, times, gpu, runtime("eager"), HOSTS["pytorch-2"])


def main() -> int:
    """Prints a line for each benchmark: what, CPU seconds, limit, share of the limit."""
    lines: list[tuple[str, float, float]] = [
        ("simgpu --help", best(lambda: process_s("--help"), 3), 0.3),
        ("simgpu run resnet50 --gpu a100, cold", best(lambda: process_s("run", "resnet50", "--gpu", "a100"), 3), 1.2),
    ]
    simgpu.simulate("resnet50", "a100")
    lines.append(("simulate(resnet50), warm", best(lambda: call_s(lambda: simgpu.simulate("resnet50", "a100")), 10), 0.010))
    lines.append(("a schedule of 1,000,000 kernels", call_s(schedule(1_000_000)), 60.0))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for what, taken, limit in lines:
        print(f"{what:<40} {taken:>8.4f} s   limit {limit:>6g} s   {100 * taken / limit:>4.0f} %")
    print(f"{'memory of all of them':<40} {peak_bytes / 2**30:>8.2f} GiB limit      2 GiB {100 * peak_bytes / 2**31:>4.0f} %")
    return int(any(taken > limit for _, taken, limit in lines) or peak_bytes > 2**31)


if __name__ == "__main__":
    sys.exit(main())
