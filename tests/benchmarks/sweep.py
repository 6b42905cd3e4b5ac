"""How fast sweeps are: designs a second in one process, with all cores and on a Dask cluster, and the memory they take.

    python tests/benchmarks/sweep.py            # 10,000 designs in one process, 100,000 on all cores
    python tests/benchmarks/sweep.py --dask     # the latter also on a LocalCluster of two workers

Exit status 1 if a limit is broken. Limits are wall seconds on a machine of two cores with nothing else to do; the load is printed beside
them.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simgpu.studies.sweep import sweep

SMALL = {"sm.count": "54:216:18", "dram.bandwidth": "1..4 TB/s:20", "clocks.boost": "1..2 GHz:10", "l2.size": "20..80 MiB:5"}
LARGE = {"sm.count": "72:216:6", "dram.bandwidth": "1..4 TB/s:20", "clocks.boost": "1..2 GHz:20", "l2.size": "20..80 MiB:10"}


@dataclass(frozen=True)
class Result:
    """A sweep, and what it may take. [s, B]"""

    name: str
    designs: int
    wall_s: float
    limit_s: float
    memory_bytes: float
    limit_bytes: float


def measured(name: str, call: Callable[[], object], cores: int, limit_s: float, limit_bytes: float) -> Result:
    began = time.perf_counter()
    designs = len(call())  # type: ignore[arg-type]
    wall_s = time.perf_counter() - began
    memory = 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + (cores - 1) * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return Result(name, designs, wall_s, limit_s, memory, limit_bytes)


def on_dask(output: Path) -> object:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        return sweep("resnet50", "a100", batch=32, vary=LARGE, output=output, backend=f"dask://{cluster.scheduler_address.removeprefix('tcp://')}")


def main() -> int:
    cores = os.cpu_count() or 1
    sweep("resnet50", "a100", batch=32, vary={"sm.count": "54,108"})  # warms up
    with tempfile.TemporaryDirectory() as folder:
        one, all_cores, cluster = (Path(folder) / name for name in ("one.csv", "all.csv", "dask.csv"))
        results = [
            measured("10,000 designs, one process", lambda: sweep("resnet50", "a100", batch=32, vary=SMALL, output=one, jobs=1), 1, 10.0, 1e9),
            measured("100,000 designs, all cores", lambda: sweep("resnet50", "a100", batch=32, vary=LARGE, output=all_cores, jobs=cores), cores, 120.0, 1e9),
        ]
        if "--dask" in sys.argv[1:]:
            results.append(measured("100,000 designs, Dask", lambda: on_dask(cluster), 2, 120.0, 1e9))
            same = cluster.read_bytes() == all_cores.read_bytes()
            print(f"the files of all cores and of Dask are {'identical' if same else 'NOT identical'}\n")
    print(f"{os.getloadavg()[0]:.1f} processes wanted to run on {cores} cores during the last minute\n")
    print(f"{'':30}{'wall [s]':>10}{'limit [s]':>11}{'designs/s':>11}{'memory [MB]':>13}")
    broken = False
    for r in results:
        over = r.wall_s > r.limit_s or r.memory_bytes > r.limit_bytes
        broken |= over
        mark = "  over the limit" if over else ""
        print(f"{r.name:30}{r.wall_s:10.1f}{r.limit_s:11.0f}{r.designs / r.wall_s:11,.0f}{r.memory_bytes / 1e6:13.0f}{mark}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
