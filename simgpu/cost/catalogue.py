"""Tiles that the libraries of a generation have, read from the kernel names that profilers recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A GEMM kernel: bm rows (tokens, pixels) × bn columns (features)."""

    bm: int
    bn: int

    @property
    def name(self) -> str:
        return f"{self.bm}x{self.bn}"


# FP32 tiles by generation as (columns, rows), from the kernel columns of the NeuSight measurements (PyTorch 2.1, cuBLAS 12.1)
# for Linear ("single") and bmm ("batched"); Maxwell and older from the cuBLAS 8 kernels seen in DeepBench's era.
_SGEMM: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "Tesla": {"single": ((64, 16), (32, 32)), "batched": ((64, 16), (32, 32))},  # Volkov & Demmel, SC'08: 64x16 blocks
    "Fermi": {"single": ((64, 64), (96, 96)), "batched": ((64, 64),)},  # Nath, Tomov, Dongarra 2010: 96x96 and 64x64
    "Kepler": {"single": ((128, 64), (64, 64), (128, 128)), "batched": ((64, 64), (128, 64))},
    "Maxwell": {"single": ((128, 128), (128, 64), (64, 128), (64, 64)), "batched": ((128, 64), (64, 64))},
    "Pascal GP100": {"single": ((128, 128), (128, 64), (64, 64), (128, 32), (32, 128)), "batched": ((128, 64),)},
    "Pascal GP10x": {"single": ((128, 128), (128, 64), (64, 128), (64, 64)), "batched": ((128, 64),)},
    "Volta": {"single": ((128, 128), (128, 64), (128, 32), (32, 128), (64, 32), (32, 32)), "batched": ((64, 64), (32, 128), (128, 32))},
    "Turing": {"single": ((128, 128), (128, 64), (64, 64), (128, 32), (32, 128), (64, 32), (32, 32)), "batched": ((128, 64), (64, 64), (128, 32), (32, 128))},
    "Ampere GA100": {"single": ((128, 128), (128, 64), (64, 64), (128, 32), (32, 128), (64, 32), (32, 32)), "batched": ((128, 128),)},
}
# PyTorch calls cuBLASLt where a bias is to be added (since 1.11), and that has only these kernels for Pascal: Linear on P100 and P4
# ran them, while lm_head, without a bias, ran 17 % faster on P100 by cuBLAS's (NeuSight's operators of GPT-2 Large).
EPILOGUE: dict[str, tuple[tuple[int, int], ...]] = dict.fromkeys(("Pascal GP100", "Pascal GP10x"), ((64, 64), (128, 32), (32, 128)))
CUBLASLT_YEAR = 2020
# Split-K came to cuBLAS with CUDA 9; before, only problems with a huge k were split.
_SPLIT_K_YEAR = 2018
_EARLY_SPLITS = ("Maxwell", "Pascal GP10x", "Kepler", "Fermi", "Tesla")
# Tensor-core tiles as (rows, columns): CUTLASS/cuBLAS mma.sync kernels; Hopper's wgmma adds narrow ones for few rows.
_HMMA_FIRST = ((256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 128), (64, 64), (32, 128), (128, 32))
_HMMA = (*_HMMA_FIRST, (64, 32), (32, 64), (16, 128), (16, 64))
_WGMMA = (*_HMMA, (8, 64), (8, 128), (128, 192), (192, 128))
# Generations whose tensor cores take operands from shared memory while other instructions run.
WARPGROUP_GENERATIONS = ("Hopper", "Blackwell GB100")
_TENSOR = dict.fromkeys(("Volta", "Turing"), _HMMA_FIRST) | dict.fromkeys(WARPGROUP_GENERATIONS, _WGMMA)  # the others: _HMMA
_LIKE = dict.fromkeys(("Ampere GA10x", "Ada", "Hopper", "Blackwell GB100", "Blackwell GB20x"), "Ampere GA100")
_SPLITS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128)


@cache
def gemm_tiles(generation: str, *, tensor: bool, batched: bool, epilogue: bool, library_year: float) -> tuple[Tile, ...]:
    """The GEMM kernels that the libraries of that year have for a generation and pipe; with an `epilogue` those that can add a bias."""
    if tensor:
        return tuple(Tile(bm=rows, bn=cols) for rows, cols in _TENSOR.get(generation, _HMMA))
    name = _LIKE.get(generation, generation)
    shapes = _SGEMM[name]["batched" if batched else "single"]
    if epilogue and library_year >= CUBLASLT_YEAR:
        shapes = EPILOGUE.get(name, shapes)
    return tuple(Tile(bm=rows, bn=cols) for cols, rows in shapes)


def gemm_splits(generation: str, *, tensor: bool, whole: bool, narrow: bool, library_year: float) -> tuple[int, ...]:
    """Split-K factors that the libraries of that year may choose.

    Args:
        whole: Kernels that never split: batched, grouped, int8 and block-scaled fp8 ones.
        narrow: Weight-only kernels (CUTLASS mixed-input GEMM in TensorRT-LLM split at most 7 ways).
    """
    if whole:
        return (1,)
    if narrow:
        return _SPLITS[:6]
    if not tensor and library_year < _SPLIT_K_YEAR and generation in _EARLY_SPLITS:
        return (1, 32, 64, 128)
    return _SPLITS
