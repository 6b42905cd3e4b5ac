"""`python -m simgpu.measure --out m.csv`: measure kernels and networks on this machine's GPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simgpu.measure.cases import cases
from simgpu.measure.run import MeasureError, describe_device, gpu_state, run


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:  # also catches nan
        raise argparse.ArgumentTypeError(f"'{text}' is no time above 0")
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="simgpu measure", description="Measure kernels and networks on this machine's NVIDIA GPU, for `simgpu validate --data`."
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="CSV that grows a row at a time; started again, measuring goes on where it stopped"
    )
    parser.add_argument("--budget", type=_seconds, default=600.0, metavar="SECONDS", help="stop after so long (default: %(default)s)")
    parser.add_argument("--gpu", help="the GPU's name in simgpu (`simgpu gpus`), if its own is not understood")
    families = tuple(dict.fromkeys(case.family for case in cases()))
    parser.add_argument("--family", action="append", choices=families, metavar="FAMILY", help=f"only this family: {', '.join(families)}")
    arguments = parser.parse_args(argv)
    try:
        device = describe_device(arguments.gpu)
        from simgpu.measure.kernels import prepare
        from simgpu.measure.timing import CudaClock

        wanted = (case for case in cases() if not arguments.family or case.family in arguments.family)
        rows = run(
            wanted,
            arguments.out,
            budget_s=arguments.budget,
            device=device,
            prepare=lambda case: prepare(case, "cuda"),
            clock=CudaClock(),
            state=gpu_state,
            progress=lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        print(f"\nsimgpu measure: stopped; the same command goes on with {arguments.out}", file=sys.stderr)
        return 130
    except (MeasureError, OSError) as error:
        print(f"simgpu measure: {error}", file=sys.stderr)
        return 1
    print(f"\r\x1b[K{rows} rows added to {arguments.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
