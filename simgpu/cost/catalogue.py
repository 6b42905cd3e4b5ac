"""Tiles that the libraries of a generation have, read from the kernel names that profilers recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from simgpu.cost.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A GEMM kernel: bm rows (tokens, pixels) × bn columns (features), for one pipe.

    Attributes:
        use: "single" (one GEMM), "batched", or "" for both.
    """

    bm: int
    bn: int
    pipe: str
    use: str = ""

    @property
    def name(self) -> str:
        return f"{self.bm}x{self.bn}"


# FP32 tiles by generation as (columns, rows), from the kernel columns of the NeuSight measurements (PyTorch 2.1, cuBLAS 12.1)
# for Linear ("single") and bmm ("batched"); Maxwell and older from the cuBLAS 8 kernels seen in DeepBench's era.
_SGEMM: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "Tesla": {"single": ((64, 16), (32, 32)), "batched": ((64, 16), (32, 32))},  # Volkov & Demmel, SC'08: 64x16 blocks
    "Fermi": {"single": ((64, 64), (96, 96)), "batched": ((64, 64),)},  # MAGMA/CUBLAS 3.2: 96x96 and 64x64 (Nath et al. 2010)
    "Kepler": {"single": ((128, 64), (64, 64), (128, 128)), "batched": ((64, 64), (128, 64))},
    "Maxwell": {"single": ((128, 128), (128, 64), (64, 128), (64, 64)), "batched": ((128, 64), (64, 64))},
    "Pascal GP100": {"single": ((128, 32), (32, 128), (64, 64), (128, 64), (128, 128)), "batched": ((128, 64),)},
    "Pascal GP10x": {"single": ((128, 128), (128, 64), (64, 128), (64, 64)), "batched": ((128, 64),)},
    "Volta": {"single": ((128, 128), (128, 64), (128, 32), (32, 128), (64, 32), (32, 32)), "batched": ((64, 64), (32, 128), (128, 32))},
    "Turing": {"single": ((128, 128), (128, 64), (64, 64), (128, 32), (32, 128), (64, 32), (32, 32)), "batched": ((128, 64), (64, 64), (128, 32), (32, 128))},
    "Ampere GA100": {"single": ((128, 128), (128, 64), (64, 64), (128, 32), (32, 128), (64, 32), (32, 32)), "batched": ((128, 128),)},
}
# Tensor-core tiles as (rows, columns): CUTLASS/cuBLAS mma.sync kernels; Hopper's wgmma adds narrow ones for few rows.
_HMMA: tuple[tuple[int, int], ...] = (
    (256, 128),
    (128, 256),
    (128, 128),
    (256, 64),
    (64, 256),
    (128, 64),
    (64, 128),
    (64, 64),
    (32, 128),
    (128, 32),
    (64, 32),
    (32, 64),
    (16, 128),
    (16, 64),
)
_HMMA_FIRST: tuple[tuple[int, int], ...] = ((256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 128), (64, 64), (32, 128), (128, 32))
_WGMMA: tuple[tuple[int, int], ...] = (*_HMMA, (8, 64), (8, 128), (128, 192), (192, 128))
_LIKE = {"Ampere GA10x": "Ampere GA100", "Ada": "Ampere GA100", "Hopper": "Ampere GA100", "Blackwell GB100": "Ampere GA100", "Blackwell GB20x": "Ampere GA100"}


@cache
def _tiles(generation: str) -> tuple[Tile, ...]:
    sgemm = _SGEMM[_LIKE.get(generation, generation)]
    result = [Tile(bm=rows, bn=cols, pipe="vector", use=use) for use, pairs in sgemm.items() for cols, rows in pairs]
    hmma = _HMMA_FIRST if generation in ("Volta", "Turing") else _WGMMA if generation in ("Hopper", "Blackwell GB100") else _HMMA
    return (*result, *(Tile(bm=rows, bn=cols, pipe="tensor") for rows, cols in hmma))


def gemm_tiles(m: Machine, *, tensor: bool, batched: bool) -> tuple[Tile, ...]:
    """The GEMM kernels of the GPU's generation for one pipe."""
    pipe, other = ("tensor" if tensor else "vector"), ("single" if batched else "batched")
    return tuple(t for t in _tiles(m.generation) if t.pipe == pipe and t.use != other)
