"""From generation to generation: how fast each GPU runs a model, and what each gain came from.

Between two GPUs, what they differ in is put into the older one piece by piece, in a fixed order, and each piece is
credited with what the latency falls by at that moment. The pieces work together, so another order would share the gain
differently; their product is the whole gain in any order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simgpu.api import load_gpu
from simgpu.arch.spec import GPU
from simgpu.errors import OptionError
from simgpu.graph.ir import Graph
from simgpu.report.study import Rung
from simgpu.sim.host import default_host, host_cost
from simgpu.studies.workload import outcomes, workload

# One GPU of each generation: the largest chip that was sold for computing, or for games where there was no other.
GENERATIONS = ("8800-gtx", "gtx-580", "k40", "gtx-titan-x-maxwell", "p100-sxm2-16gb", "v100-sxm2-16gb", "a100-sxm4-80gb", "h100-sxm5-80gb", "b200")

# cause → the older GPU with that piece of the newer one, in the order of substitution
PIECES: dict[str, Callable[[GPU, GPU], GPU]] = {
    "clock": lambda old, new: replace(old, clocks=new.clocks),
    "SMs": lambda old, new: replace(old, sm=new.sm, shared=new.shared, l1=new.l1),
    "L2": lambda old, new: replace(old, l2=new.l2),
    "DRAM bandwidth": lambda old, new: replace(old, dram=new.dram),
    "power": lambda old, new: replace(old, power=new.power, chip=new.chip),
    # what kernels there are and how well they run: the generation's factors, library and launch
    "architecture": lambda old, new: replace(new, tensor_cores=old.tensor_cores),
    "dtype": lambda old, new: replace(new, tensor_cores=old.tensor_cores),
    "tensor cores": lambda old, new: new,
    "host": lambda old, new: new,
}


def usual_dtype(gpu: GPU) -> str:
    """What people run networks in: fp16 where tensor cores make it worth while, fp32 before."""
    return "fp16" if gpu.tensor_flop_per_clk("fp16") > 0 else "fp32"


def ladder(
    model: str | os.PathLike[str] | Graph, gpus: Sequence[str | GPU] = GENERATIONS, *, dtype: str | None = None, host: str | None = None, **options: Any
) -> tuple[Rung, ...]:
    """One model over several GPUs, and where each gain came from.

    Args:
        gpus: Names or records, oldest first; one of each generation if not given.
        dtype: Precision on all of them; None = fp32, and fp16 from the first tensor cores on.
        host: The host of all of them; None = each generation's own.
        options: Others of `simulate`.
    Raises:
        SimgpuError: Something that a user can fix.
    """
    machines = [gpu if isinstance(gpu, GPU) else load_gpu(gpu) for gpu in gpus]
    if not machines:
        raise OptionError("ladder: there is no GPU; name one or more")

    def latency_s(gpu: GPU, precision: str, host_of: GPU) -> tuple[float, float]:
        work = workload(model, gpu, dtype=precision, host=host, **options)
        work = replace(work, host=default_host(host_of) if host is None else host_cost(host))
        result = outcomes(work, gpu)
        return float(result["latency_s"][0]), float(result["throughput_per_s"][0])

    rungs: list[Rung] = []
    for i, new in enumerate(machines):
        to_dtype = dtype or usual_dtype(new)
        reached_s, throughput = latency_s(new, to_dtype, new)
        gains = []
        if i:
            old = machines[i - 1]
            from_dtype = dtype or usual_dtype(old)
            before_s = rungs[-1].latency_s
            causes = list(PIECES)
            stage = old
            for cause in causes:
                stage = PIECES[cause](stage, new)
                done = causes.index(cause)
                precision = to_dtype if done >= causes.index("dtype") else from_dtype
                after_s = latency_s(stage, precision, new if cause == "host" else old)[0]
                gains.append((cause, before_s / after_s))
                before_s = after_s
            assert np.isclose(before_s, reached_s, rtol=1e-9), "the last substitution is the newer GPU"
        rungs.append(Rung(gpu=new.name, year=new.year, dtype=to_dtype, latency_s=reached_s, throughput_per_s=throughput, gains=tuple(gains)))
    return tuple(rungs)
