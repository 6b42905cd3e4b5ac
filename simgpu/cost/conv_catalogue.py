"""Kernels that cuDNN has for convolutions, by generation and by the year in which it was built.

Source: the grids and kernel names that a profiler recorded with NeuSight's measurements, row by row; cuDNN release notes. DeepBench
    has times alone: what is said of half precision, of gradients and of cuDNN 5 to 7 is inferred from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

Pair = tuple[int, int]
Block = tuple[int, int, int]

# Versions by the year from which on a library counts as one.
_CUDNN_5, _CUDNN_5_1, _CUDNN_7_1, _CUDNN_8 = 2016.0, 2016.4, 2018.2, 2020.0

# Tiles of implicit GEMM as (pixels, filters); backward-weight as (c·r·s, filters).
_FMA_TILES: dict[str, tuple[Pair, ...]] = {
    "fwd": ((128, 128), (128, 64), (128, 32), (64, 64), (64, 32), (32, 32)),
    "bwd_data": ((128, 128), (128, 64), (64, 64)),
    "bwd_weight": ((128, 128), (128, 64), (128, 32), (32, 32)),
}
_TENSOR_TILES: dict[str, tuple[Pair, ...]] = {
    "fwd": ((256, 128), (128, 256), (256, 64), (128, 128), (128, 64), (64, 64)),
    "bwd_data": ((128, 128), (128, 64)),
    "bwd_weight": ((256, 64), (128, 128), (64, 128), (128, 64), (64, 64)),
}
# Where there are fewer: inferred from DeepBench's times. On V100 64 channels take as long as 32; on T4 8 to 64 channels and filters take as
# long as 128 (eleven layers run at 39 to 51 TFLOP/s of 128x128 tiles). Not explained: two layers of T4 with 100 taps, 3.7 times as fast.
_TENSOR_WEIGHT_TILES: dict[str, tuple[Pair, ...]] = {
    "Volta": ((128, 128), (64, 128), (128, 64), (64, 64)),
    "Turing": ((128, 128),),
}
_FORWARD_SPLITS = (1, 2, 4, 8)
_WEIGHT_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)

# Tiles of the batched GEMM in non-fused Winograd, as (tiles of outputs, filters).
WINOGRAD_TILES: tuple[Pair, ...] = ((128, 128), (128, 64), (64, 128), (64, 64), (32, 128), (128, 32))
_EARLY_BLOCKS: tuple[Block, ...] = ((1, 8, 16), (4, 8, 4), (2, 8, 8), (4, 4, 8), (2, 4, 16), (4, 2, 16))
_LATER_BLOCKS: tuple[Block, ...] = ((1, 8, 16), (4, 8, 4))
_FUSED_BLOCKS: dict[str, tuple[Block, ...]] = {
    **dict.fromkeys(("Maxwell", "Pascal GP100", "Pascal GP10x"), _EARLY_BLOCKS),
    **dict.fromkeys(("Volta", "Turing"), ((1, 8, 16),)),
}
# Kepler: VGG-16 at batch 16 takes a K80 154 ms with cuDNN 5.1 (cnn-benchmarks), 3.2 of its 4.4 TFLOP/s, which no direct kernel reaches.
_NO_WINOGRAD = ("Tesla", "Fermi")
_NO_FUSED_WINOGRAD = (*_NO_WINOGRAD, "Kepler")

_WIDE_TAPS = 32.0  # DeepBench's first layers on V100 and T4
_NARROW_TAPS = 8.0  # one 16-byte vector


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvLibrary:
    """What a cuDNN has for a generation beyond implicit GEMM, and how its kernels of that differ.

    Attributes:
        winograd_blocks: Outputs (images, rows, columns) of a CTA of its fused Winograd kernels; () = it has none.
        winograd_non_fused: It has Winograd as transforms around a batched GEMM.
        takes_groups: One launch does all groups.
        splits_small: Its FP32 kernels may split the depth of small pointwise problems, and its int8 kernels that of any (inferred from times:
            DeepBench's on a T4 with cuDNN 7.6 want none, MLPerf's with TensorRT 8 do).
        tap_channels: Input channels to which its tensor-core kernels pad each filter tap.
        computes_offsets: A small kernel more in each call of implicit GEMM, taken for the one that computes offsets. No profile was
            seen: inferred from DeepBench's times of tensor cores against TensorRT's in MLPerf, which prepares them once; in FP32
            DeepBench's larger layers do not tell, but ShuffleNet v2's small ones take as much longer (arXiv:1807.11164, tables 1 to 3).
        converts_weights: Its tensor-core kernels leave the gradient of the weights in FP32, and another kernel converts it. Inferred
            from DeepBench's times on T4: beside the math they take 10 bytes of DRAM traffic for each weight, on V100 they do not.
    """

    winograd_blocks: tuple[Block, ...]
    winograd_non_fused: bool
    takes_groups: bool
    splits_small: bool
    tap_channels: float
    computes_offsets: bool
    converts_weights: bool


@cache
def conv_library(generation: str, library_year: float) -> ConvLibrary:
    """The cuDNN of that year on a generation."""
    fused = generation not in _NO_FUSED_WINOGRAD and library_year >= _CUDNN_5
    # Volta's kernels did not change any more; Turing's did with cuDNN 8.
    wide_taps = generation == "Volta" or (generation == "Turing" and library_year < _CUDNN_8)
    return ConvLibrary(
        winograd_blocks=_FUSED_BLOCKS.get(generation, _LATER_BLOCKS) if fused else (),
        winograd_non_fused=generation not in _NO_WINOGRAD and library_year >= _CUDNN_5_1,
        takes_groups=library_year >= _CUDNN_7_1,
        splits_small=library_year >= _CUDNN_8,
        tap_channels=_WIDE_TAPS if wide_taps else _NARROW_TAPS,
        computes_offsets=library_year < _CUDNN_8,
        converts_weights=generation == "Turing",
    )


def implicit_gemm_tiles(generation: str, direction: str, *, tensor: bool) -> tuple[Pair, ...]:
    """Tiles of implicit GEMM: (pixels, filters), or (c·r·s, filters) for the gradient of the weights."""
    if not tensor:
        return _FMA_TILES[direction]
    tiles = _TENSOR_TILES[direction]
    return _TENSOR_WEIGHT_TILES.get(generation, tiles) if direction == "bwd_weight" else tiles


def implicit_gemm_splits(library: ConvLibrary, direction: str, *, tensor: bool) -> tuple[int, ...]:
    """Into how many parts implicit GEMM may split its depth."""
    if direction == "bwd_weight":
        return _WEIGHT_SPLITS
    return _FORWARD_SPLITS if direction == "fwd" and (tensor or library.splits_small) else (1,)
