"""GPUs with round numbers, so that expected values can be worked out in the head."""

from __future__ import annotations

import dataclasses
from typing import Any

from simgpu.arch.spec import DRAM, GPU, L1, L2, SM, Chip, Clocks, FrozenTable, Launch, Link, Power, Shared, TensorCores


def toy_gpu(**changes: dict[str, Any] | Any) -> GPU:
    """A GPU of 100 FLOP/s in fp32 and 10 B/s of DRAM, so that its ridge is at 10 FLOP/B.

    10 SMs at 1 Hz; fp32 5 lanes (100 FLOP/s), fp64 1 lane (20 FLOP/s), fp16 on tensor cores (800 FLOP/s);
    shared memory and L1 8 B/clk and SM (80 B/s), L2 1000 B at 40 B/clk (40 B/s), DRAM 10 B/s, all of it achievable;
    an SM holds 4 warps, 128 threads, 2 blocks, 1024 registers and 100 B of shared memory; launch gap 1 s.

    Args:
        changes: A group with the fields to change, `dram={"clock_hz": 2.0}`, or a field of the GPU itself, `id="other"`.
    """
    gpu = GPU(
        id="toy",
        name="Toy",
        architecture="Toy",
        compute_capability=(8, 0),
        year=2020,
        chip=Chip(name="T100", process_nm=10.0),
        sm=SM(
            count=10.0,
            fp32_lanes=5.0,
            fp64_lanes=1.0,
            int32_lanes=5.0,
            sfu_lanes=1.0,
            lsu_lanes=1.0,
            schedulers=1.0,
            max_warps=4.0,
            max_threads=128.0,
            max_blocks=2.0,
            max_threads_per_block=128.0,
            registers=1024.0,
            max_registers_per_thread=16.0,
        ),
        clocks=Clocks(base_hz=1.0, boost_hz=1.0),
        tensor_cores=TensorCores(generation=1.0, flop_per_clk=FrozenTable({"fp16": 80.0})),
        shared=Shared(size_bytes=100.0, max_per_block_bytes=100.0, bandwidth_bytes_per_clk=8.0, latency_clk=1.0),
        l1=L1(size_bytes=100.0, bandwidth_bytes_per_clk=8.0, latency_clk=1.0),
        l2=L2(size_bytes=1000.0, bandwidth_bytes_per_clk=40.0, latency_s=2.0),
        dram=DRAM(type="toy", clock_hz=1.0, rate=1.0, bus_bits=80.0, capacity_bytes=1e6, achievable_fraction=1.0, latency_s=4.0),
        pcie=Link(bandwidth_bytes_per_s=1.0),
        copy_engines=1.0,
        concurrent_kernels=2.0,
        power=Power(tdp_w=1000.0, idle_w=10.0),
        launch=Launch(stream_gap_s=1.0, graph_gap_s=0.5),
    )
    for name, change in changes.items():
        value = dataclasses.replace(getattr(gpu, name), **change) if isinstance(change, dict) else change
        gpu = dataclasses.replace(gpu, **{name: value})
    return gpu
