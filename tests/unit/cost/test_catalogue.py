"""The kernels that libraries have."""

from __future__ import annotations

from itertools import pairwise

import pytest

from simgpu.arch.loader import load_gpu
from simgpu.cost.calibration import generation
from simgpu.cost.catalogue import Tile, gemm_splits, gemm_tiles
from simgpu.cost.conv_catalogue import conv_library, implicit_gemm_splits, implicit_gemm_tiles

ONE_OF_EACH = ("8800-gtx", "gtx-480", "k40", "m40", "p100", "p4", "v100", "t4", "a100", "rtx-3090", "l4", "h100", "b200", "rtx-5090")
GENERATIONS = [generation(load_gpu(name)) for name in ONE_OF_EACH]


def shapes(name: str, *, tensor: bool = False, batched: bool = False, epilogue: bool = False, library_year: float = 2024.0) -> set[tuple[int, int]]:
    return {(tile.bm, tile.bn) for tile in gemm_tiles(name, tensor=tensor, batched=batched, epilogue=epilogue, library_year=library_year)}


def test_the_fourteen_generations_differ():
    assert len(set(GENERATIONS)) == 14


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_generation_has_kernels_for_every_problem(name):
    for tensor in (False, True):
        for batched in (False, True):
            for epilogue in (False, True):
                for year in (2015.0, 2024.0):
                    found = shapes(name, tensor=tensor, batched=batched, epilogue=epilogue, library_year=year)
                    assert found
                    assert all(bm % 8 == bn % 8 == 0 and bm * bn <= 256 * 256 for bm, bn in found)
            assert 1 in gemm_splits(name, tensor=tensor, whole=batched, narrow=False, library_year=2024.0)


def test_tiles_are_named_rows_by_columns():
    assert Tile(bm=256, bn=128).name == "256x128"


def test_facts_about_single_generations():
    assert (16, 64) in shapes("Tesla")  # Volkov & Demmel, SC'08: blocks of 64 × 16, column-major
    assert (96, 96) in shapes("Fermi")  # Nath, Tomov, Dongarra 2010
    for name in ("Pascal GP100", "Pascal GP10x"):
        assert (128, 128) in shapes(name)  # kernel names of NeuSight's P4 rows without a bias in the epilogue
        assert shapes(name, epilogue=True) == {(64, 64), (128, 32), (32, 128)}  # of its P100 and P4 rows with one, cuBLASLt 12
        assert shapes(name, epilogue=True, library_year=2017.0) == shapes(name, library_year=2017.0)  # DeepBench's P100 rows reached 98 % of its peak
    assert shapes("Ampere GA100", batched=True) == {(128, 128)}  # grids of NeuSight's bmm rows
    assert min(bm for bm, _ in shapes("Hopper", tensor=True)) == 8  # wgmma takes as few as 8 columns, PTX ISA 8.0
    assert min(bm for bm, _ in shapes("Volta", tensor=True)) > 16


def test_generations_without_profiles_of_their_own_have_those_of_ampere():
    for name in ("Ampere GA10x", "Ada", "Hopper", "Blackwell GB100", "Blackwell GB20x"):
        assert shapes(name) == shapes("Ampere GA100")


def test_some_kernels_never_split():
    assert gemm_splits("Volta", tensor=False, whole=True, narrow=False, library_year=2024.0) == (1,)


def test_weight_only_kernels_split_at_most_seven_ways():
    """CUTLASS's mixed-input GEMM in TensorRT-LLM, `split_k_limit = 7`."""
    splits = gemm_splits("Ampere GA100", tensor=True, whole=False, narrow=True, library_year=2024.0)
    assert splits[0] == 1
    assert max(splits) <= 7


def test_before_cuda_9_only_a_huge_depth_was_split():
    early, late = (gemm_splits("Maxwell", tensor=False, whole=False, narrow=False, library_year=year) for year in (2016.0, 2024.0))
    assert set(early) < set(late)
    assert min(s for s in early if s > 1) >= 32


# ---- convolutions


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_generation_has_implicit_gemm_for_every_direction(name):
    for direction in ("fwd", "bwd_data", "bwd_weight"):
        for tensor in (False, True):
            assert implicit_gemm_tiles(name, direction, tensor=tensor)
            assert 1 in implicit_gemm_splits(conv_library(name, 2015.0), direction, tensor=tensor)


@pytest.mark.parametrize("name", GENERATIONS)
def test_a_newer_cudnn_has_what_older_ones_had(name):
    libraries = [conv_library(name, year) for year in (2015.0, 2016.2, 2017.0, 2019.0, 2024.0)]
    for older, newer in pairwise(libraries):
        assert set(older.winograd_blocks) <= set(newer.winograd_blocks)
        assert older.winograd_non_fused <= newer.winograd_non_fused
        assert older.takes_groups <= newer.takes_groups
        assert older.splits_small <= newer.splits_small
        assert older.tap_channels >= newer.tap_channels
        assert older.computes_offsets >= newer.computes_offsets


def test_versions_of_cudnn_by_what_they_brought():
    """Winograd with 5 and 5.1, groups in one launch with 7.1, kernels of other shapes with 8."""
    assert not conv_library("Maxwell", 2015.9).winograd_blocks
    assert conv_library("Maxwell", 2016.2).winograd_blocks
    assert [conv_library("Maxwell", year).winograd_non_fused for year in (2016.2, 2016.7)] == [False, True]
    assert [conv_library("Volta", year).takes_groups for year in (2017.8, 2019.0)] == [False, True]
    assert [conv_library("Turing", year).tap_channels for year in (2019.0, 2021.0)] == [32.0, 8.0]
    assert [conv_library("Volta", year).tap_channels for year in (2019.0, 2021.0)] == [32.0, 32.0]
    assert not conv_library("Kepler", 2024.0).winograd_blocks
