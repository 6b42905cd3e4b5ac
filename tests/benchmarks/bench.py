"""`make bench`: how fast simgpu is, each figure beside its limit or a peer. Exit status 1 if a limit is broken.

CPU seconds of the process and its children, the best of several runs, so that a busy machine does not count.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

SIMGPU = [sys.executable, "-m", "simgpu"]
NUMPY = [sys.executable, "-c", "import numpy"]


@dataclass(frozen=True)
class Result:
    """A figure, and what it may be at most."""

    name: str
    cpu_s: float
    limit_s: float


def command_s(arguments: list[str], repeats: int = 5) -> float:
    """CPU time of a command. [s]"""
    best = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            before = os.times()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
            after = os.times()
            best = min(best, after.children_user + after.children_system - before.children_user - before.children_system)
    return best


def call_s(call: Callable[[], object], repeats: int = 9) -> float:
    """CPU time of a call, after one that warms up. [s]"""
    call()
    best = float("inf")
    for _ in range(repeats):
        before = time.process_time()
        call()
        best = min(best, time.process_time() - before)
    return best


def main() -> int:
    import simgpu
    from simgpu.frontends.config import load_named_config

    graph = simgpu.load_model("resnet50", batch=32)
    gpu = simgpu.load_gpu("a100")
    batches = itertools.count(64)  # a batch that has not been built yet
    results = [
        Result("simgpu --help", command_s([*SIMGPU, "--help"]), 0.3),
        Result("simgpu gpus", command_s([*SIMGPU, "gpus"]), 1.2),
        Result("simgpu run resnet50 --gpu a100", command_s([*SIMGPU, "run", "resnet50", "--gpu", "a100"]), 1.2),
        Result("simgpu roofline resnet50 --gpu a100", command_s([*SIMGPU, "roofline", "resnet50", "--gpu", "a100"], 3), 4.0),
        Result("simulate(resnet50), warm", call_s(lambda: simgpu.simulate(graph, gpu, dtype="fp16")), 0.010),
        Result("load_model('resnet50')", call_s(lambda: simgpu.load_model("resnet50", batch=next(batches))), 0.100),
        Result("graph of gpt3-175b, prefill", call_s(lambda: load_named_config("gpt3-175b"), 3), 1.0),
        Result("graph of deepseek-v3, prefill", call_s(lambda: load_named_config("deepseek-v3"), 3), 1.0),
        Result("simgpu run deepseek-v3 --gpu a100", command_s([*SIMGPU, "run", "deepseek-v3", "--gpu", "a100", "--dtype", "fp16"], 2), 3.0),
        Result("simgpu run sdxl-unet --gpu t4", command_s([*SIMGPU, "run", "sdxl-unet", "--gpu", "t4", "--dtype", "fp16"], 2), 3.0),
        Result("load_gpu('a100')", call_s(lambda: simgpu.load_gpu("a100")), 0.050),
    ]
    peer_s = command_s(NUMPY)
    print(f"CPU time, best of several runs; `python -c 'import numpy'` takes {peer_s * 1e3:.0f} ms here\n")
    print(f"{'':37}{'CPU [ms]':>10}{'limit [ms]':>12}{'of limit':>10}{'numpy imports':>15}")
    for r in results:
        mark = "" if r.cpu_s <= r.limit_s else "  over the limit"
        print(f"{r.name:37}{r.cpu_s * 1e3:10.1f}{r.limit_s * 1e3:12.0f}{r.cpu_s / r.limit_s:10.0%}{r.cpu_s / peer_s:15.2f}{mark}")
    return int(any(r.cpu_s > r.limit_s for r in results))


if __name__ == "__main__":
    sys.exit(main())
