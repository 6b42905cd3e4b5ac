"""Fused attention on the toy: which tiles a mask leaves, what a tile costs, and how decoding splits the keys."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simgpu.arch.loader import load_gpu
from simgpu.arch.spec import FrozenTable
from simgpu.cost.attention import key_blocks, tiles
from simgpu.cost.decode import decodes, grouped_splits
from simgpu.cost.model import CostModel
from simgpu.kernels.kernel import FusedAttention, KernelGraph, columns
from tests.toy_costs import HOPPER, LIMITLESS, VOLTA, compute_gpu, kernel, memory_gpu, price

TENSOR = {"dtype": "fp16", "pipe": "tensor"}


def attention(q: int, kv: int | None = None, *, d: int = 128, heads: int = 1, kv_heads: int | None = None, batch: int = 1, size: float = 2.0, **fields: Any):
    """A kernel on tensor cores, of one head unless told; `size` bytes an element; causal, window, split_keys, direction go to the work.

    Only a single query may be decoded unless `split_keys` says otherwise.
    """
    special = {"split_keys": q == 1, **{key: fields.pop(key) for key in ("causal", "window", "split_keys", "direction") if key in fields}}
    kv, kv_heads = q if kv is None else kv, heads if kv_heads is None else kv_heads
    work = FusedAttention(
        batch=batch, heads=heads, kv_heads=kv_heads, q_len=q, kv_len=kv, head_dim=d, v_head_dim=d, q_bytes=size, kv_bytes=size, **special
    )  # fmt: skip
    queries, keys = batch * heads * q * d * size, batch * kv_heads * kv * d * size
    return kernel(work, reads=(queries, keys, keys), writes=(queries,), **{**TENSOR, **fields})


def table(*kernels: Any) -> SimpleNamespace:
    return columns(kernels, [(np.inf,) * 3] * len(kernels))


def seconds(*args: Any, gpu: Any = None, factors: dict[str, Any] | None = None, **fields: Any) -> float:
    return float(price(attention(*args, **fields), gpu=compute_gpu() if gpu is None else gpu, factors=factors).duration_s[0])


# ---- tiles that a mask leaves


@pytest.mark.parametrize(
    ("q", "kv", "causal", "window", "bq", "bk", "visited", "most"),
    [
        (256, 256, False, 0, 128, 64, 2 * 4, 4),
        (256, 256, True, 0, 128, 64, 2 + 4, 4),
        (256, 256, True, 0, 64, 128, 1 + 1 + 2 + 2, 2),
        (64, 64, True, 0, 64, 256, 1, 1),
        (65, 65, True, 0, 64, 32, 2 + 3, 3),  # the last row of tiles has one query
        (128, 384, True, 0, 64, 64, 5 + 6, 6),  # 256 keys came before: every query sees them
        (128, 300, True, 0, 64, 64, 4 + 5, 5),  # 172 before: ⌈236 / 64⌉, ⌈300 / 64⌉
        (1, 1000, True, 0, 64, 128, 8, 8),
        (100, 77, False, 0, 64, 32, 2 * 3, 3),  # cross attention
        (256, 256, True, 64, 64, 64, 1 + 2 + 2 + 2, 2),  # 64 queries with 64 keys each touch 127 keys: two tiles
        (256, 256, True, 1, 64, 64, 4, 1),
        (256, 256, True, 10_000, 64, 64, 1 + 2 + 3 + 4, 4),  # a window wider than the keys hides nothing
        (256, 256, True, 192, 64, 128, 1 + 1 + 2 + 2, 2),  # 255 keys: two tiles
    ],
)
def test_masked_tiles_are_skipped(q, kv, causal, window, bq, bk, visited, most):
    found = key_blocks(*(np.array([float(x)]) for x in (q, kv)), np.array([causal]), *(np.array([float(x)]) for x in (window, bq, bk)))
    assert [float(x[0]) for x in found] == [visited, most]


def test_key_blocks_agree_with_counting():
    """Against a loop over rows of tiles, on random lengths."""
    rng = np.random.default_rng(0)
    q = rng.integers(1, 500, 200).astype(float)
    kv = q + rng.integers(0, 400, 200) * (rng.random(200) < 0.5)
    window = np.where(rng.random(200) < 0.5, rng.integers(1, 600, 200), 0).astype(float)
    for bq, bk in ((64, 16), (64, 32), (64, 128), (64, 256), (128, 128)):
        found, _ = key_blocks(q, kv, True, window, np.full(200, float(bq)), np.full(200, float(bk)))
        for i in range(200):
            counted = 0
            for row in range(int(-(-q[i] // bq))):
                last_key = min((row + 1) * bq, q[i]) + kv[i] - q[i]
                limit = -(-(window[i] + bq - 1) // bk) if window[i] else np.inf
                counted += min(-(-last_key // bk), limit)
            assert found[i] == counted, (q[i], kv[i], window[i], bq, bk)


@pytest.mark.parametrize(
    ("generation", "d", "size", "q", "expected"),
    [
        ("Hopper", 64, 2.0, 512, (128, 256)),
        ("Hopper", 128, 2.0, 512, (128, 128)),
        ("Hopper", 256, 2.0, 512, (128, 64)),
        ("Hopper", 128, 1.0, 512, (128, 256)),  # bytes half as wide, tiles twice as long
        ("Ampere GA100", 128, 2.0, 512, (64, 128)),
        ("Ampere GA100", 128, 2.0, 16, (64, 32)),
        ("Ada", 128, 2.0, 512, (64, 32)),
        ("Ada", 192, 2.0, 512, (64, 16)),
        ("Ada", 256, 2.0, 512, (64, 128)),
    ],
)
def test_tiles_of_a_generation(generation, d, size, q, expected):
    found = tiles(table(attention(q, d=d, size=size)), generation)
    assert tuple(float(x[0]) for x in found) == expected


# ---- what a tile costs. GA100's tile of 64 × 128 takes 2 · 64 · 128 · (128 + 128) / 80 clocks of the toy's tensor cores.

TILE_S = 2 * 64 * 128 * 256 / 80


def test_tiles_take_their_flop_over_the_rate():
    """10 heads of 128 queries are 20 CTAs of one tile on 10 SMs; the last may start late by 1 − 10 / 20 of itself."""
    times = price(attention(128, heads=10), gpu=compute_gpu())
    assert times.duration_s[0] == pytest.approx(2 * TILE_S + TILE_S / 2)
    assert times.executed_flop[0] == 10 * 2 * 2 * 64 * 128 * 256
    assert times.ctas[0] == 20


def test_one_head_on_one_sm():
    assert seconds(64) == pytest.approx(TILE_S)
    assert seconds(64, 128) == pytest.approx(TILE_S)  # 1 … 128 keys are one tile
    assert seconds(64, 129) == pytest.approx(2 * TILE_S)


def test_the_longest_row_of_tiles_decides_where_sms_are_many():
    """Causal, 1024 × 1024: the last of 16 rows of 64 queries walks over 8 tiles of keys; on 16 SMs nothing is longer."""
    assert seconds(1024, causal=True, gpu=compute_gpu(sm={"count": 16.0})) == pytest.approx(8 * TILE_S)


def test_a_causal_mask_saves_half_of_many_tiles():
    one_sm = compute_gpu(sm={"count": 1.0})
    whole, causal = (price(attention(8192, causal=c), gpu=one_sm).executed_flop[0] for c in (False, True))
    assert whole == 128 * 64 * 2 * 64 * 128 * 256
    assert causal == 2 * (64 * 65 / 2) * 2 * 64 * 128 * 256


def test_small_tiles_wait_for_operands():
    """Inverse intensity of 64 × 128 is 192 / 8192: a feed of 8192 / 192 adds once the time of the math."""
    assert seconds(64, factors={"attention_feed": 8192 / 192}) == pytest.approx(2 * TILE_S)


def test_an_exponential_a_score_shows_only_on_warpgroups():
    """A Hopper tile of 128 × 128 scores: 2 · 128 · 128 · 256 / 80 clocks of math; the toy's SFU does one exponential a clock."""
    math_s = 2 * 128 * 128 * 256 / 80
    assert seconds(128, gpu=compute_gpu(HOPPER)) == pytest.approx(math_s + 128 * 128)


def test_latencies_of_a_cta_hide_behind_its_neighbours():
    """64 queries and 2 × 128 keys of 128 · 2 B are 81,920 B: as many CTAs as fit, three at most, share the wait."""
    tile_bytes = (64 + 2 * 128) * 128 * 2
    found = [
        seconds(64, gpu=compute_gpu(shared={"size_bytes": n * tile_bytes, "max_per_block_bytes": tile_bytes}), factors={"attention_cta_clk": 6000.0}) - TILE_S
        for n in (1, 2, 9)
    ]
    assert found == pytest.approx([6000, 3000, 2000])


def test_queries_and_outputs_move_while_nothing_computes():
    """Memory of 10 B/s: the keys' way hides behind the math, that of queries and outputs does not."""
    times = price(attention(64, kv=128), gpu=compute_gpu(dram={"clock_hz": 1.0}, l2={"bandwidth_bytes_per_clk": LIMITLESS, "size_bytes": 1.0}))
    queries, keys = 64 * 128 * 2, 128 * 128 * 2
    assert times.dram_bytes[0] == pytest.approx(2 * queries + 2 * keys)
    assert times.duration_s[0] == pytest.approx(TILE_S + 2 * queries / 10)


def test_heads_beyond_128_are_computed_as_256():
    """Ampere's kernel for 192 is that for 256: tiles of 64 × 128 of twice the work of 128."""
    assert seconds(64, 128, d=192) == pytest.approx(2 * TILE_S)
    assert seconds(64, 128, d=96) == pytest.approx(96 / 128 * TILE_S)
    assert seconds(64, 128, d=72) == pytest.approx(96 / 128 * TILE_S)


def test_a_window_reads_only_what_it_shows():
    cold = memory_gpu(l2={"size_bytes": 1.0, "bandwidth_bytes_per_clk": LIMITLESS})
    whole, windowed = (price(attention(64, kv=4096, causal=True, window=w), gpu=cold).dram_bytes[0] for w in (0, 193))
    assert whole == pytest.approx(2 * 64 * 256 + 2 * 4096 * 256)
    assert windowed == pytest.approx(2 * 64 * 256 + 2 * 256 * 256)  # the last 64 queries with 193 keys each see 256


def test_backward_multiplies_five_times_instead_of_twice():
    forward, backward = (price(attention(64, kv=128, direction=d), gpu=compute_gpu()) for d in ("fwd", "bwd"))
    assert backward.executed_flop[0] == 2.5 * forward.executed_flop[0]
    assert backward.duration_s[0] == pytest.approx(2.5 * 73 / 63 * TILE_S)


def test_cuda_cores_have_a_tile_of_their_own():
    """Volta in fp32: 64 × 64 on 5 lanes, 2 FLOP each."""
    work = attention(64, size=4.0, dtype="fp32", pipe="vector", split_keys=False)
    assert price(work, gpu=compute_gpu(VOLTA)).duration_s[0] == pytest.approx(2 * 64 * 64 * 256 / 10)
    half = price(work, gpu=compute_gpu(VOLTA), factors={"attention_vector_efficiency": 0.5})
    assert half.duration_s[0] == pytest.approx(2 * 2 * 64 * 64 * 256 / 10)


def test_bad_8_bit_kernels_are_known_by_head_size():
    gpu = compute_gpu(tensor_cores={"flop_per_clk": FrozenTable({"fp8": 80.0})})
    slowness = {"attention_narrow_slowness": {"64": 3.0, "128": 1.0, "256": 2.0}}
    for d, times_slower in ((40, 3), (64, 3), (128, 1), (256, 2)):
        plain, slow = (seconds(64, d=d, size=1.0, dtype="fp8", gpu=gpu, factors=f) for f in (None, slowness))
        assert slow == pytest.approx(times_slower * plain), d


# ---- decoding


def test_who_can_decode():
    t = table(
        attention(1, 100),
        attention(65, 100, split_keys=True),
        attention(1, 100, heads=8, kv_heads=2),
        attention(1, 100, heads=66, kv_heads=1),
        attention(1, 100, heads=8, kv_heads=2, split_keys=False),
    )
    grouped_heads, wide, single_heads = decodes(t)
    assert grouped_heads.tolist() == [False, False, True, False, False]  # 2 … 32 heads share keys
    assert wide.tolist() == [False] * 5  # TensorRT-LLM multiplies more heads one by one, unless it is latent attention
    assert single_heads.tolist() == [True, False, True, True, False]
    assert [x.tolist() for x in decodes(table(latent(100, heads=16), latent(100, heads=128)))] == [[False] * 2, [True] * 2, [False] * 2]


@pytest.mark.parametrize(
    ("keys", "base", "splits"),
    [
        (128, 1, 1),
        (256, 1, 2),  # no fewer than 128 keys a CTA
        (1024, 1, 8),
        (4096, 1, 16),  # √(8 · 32)
        (4096, 400, 2),  # 8 CTAs for each of 100 SMs
        (4096, 10_000, 1),
    ],
)
def test_splits_of_grouped_heads(keys, base, splits):
    assert float(grouped_splits(float(keys), float(base), 100.0)) == pytest.approx(splits)


GROUPED = {"heads": 8, "kv_heads": 1}
CLOCKS = {"decode_cta_clk": 7.0, "decode_step_clk": 2.0, "decode_head_cta_clk": LIMITLESS}


def test_a_grouped_cta_starts_then_steps_over_64_keys_at_a_time():
    fast = {"tensor_cores": {"flop_per_clk": FrozenTable({"fp16": LIMITLESS})}}
    for keys, steps in ((1, 1), (64, 1), (65, 2), (128, 2)):
        assert seconds(1, keys, **GROUPED, factors=CLOCKS, gpu=compute_gpu(**fast)) == pytest.approx(7 + 2 * steps), keys
    # 25 sequences are 25 CTAs on 10 SMs: three rounds. At head size 256 a step is twice as long.
    assert seconds(1, 64, batch=25, **GROUPED, factors=CLOCKS, gpu=compute_gpu(**fast)) == pytest.approx(3 * (7 + 2))
    assert seconds(1, 64, d=256, **GROUPED, factors=CLOCKS, gpu=compute_gpu(**fast)) == pytest.approx(7 + 2 * 2)
    # 1024 keys for 8 CTAs, each of 128 keys, if adding their results up costs less than it saves.
    assert seconds(1, 1024, **GROUPED, factors=CLOCKS, gpu=compute_gpu(**fast)) == pytest.approx(7 + 2 * 2)
    assert seconds(1, 1024, **GROUPED, factors={**CLOCKS, "decode_split_s": 3.0}, gpu=compute_gpu(**fast)) == pytest.approx(7 + 2 * 2 + 3)
    assert seconds(1, 1024, **GROUPED, factors={**CLOCKS, "decode_split_s": 1e6}, gpu=compute_gpu(**fast)) == pytest.approx(7 + 2 * 16)


def test_heads_of_a_group_share_the_cache_single_heads_read_it_again():
    slow_l2 = memory_gpu(tensor_cores={"flop_per_clk": FrozenTable({"fp16": LIMITLESS})})
    cache, queries = 2 * 100 * 128 * 2, 2 * 8 * 128 * 2
    found = {}
    for name, factors in (("grouped", {"decode_head_fixed_s": 1e9}), ("single", {"decode_fixed_s": 1e9})):
        found[name] = price(attention(1, 100, **GROUPED), gpu=slow_l2, factors=factors)
    assert found["grouped"].choice_names() == ["decode, grouped heads"]
    assert found["grouped"].l2_bytes[0] == pytest.approx(cache + queries)
    assert found["single"].choice_names() == ["decode, single heads"]
    assert found["single"].l2_bytes[0] == pytest.approx(8 * cache + queries)
    assert found["single"].dram_bytes[0] == found["grouped"].dram_bytes[0]


def test_decoding_streams_the_cache_within_the_window():
    cold = memory_gpu(l2={"size_bytes": 1.0, "bandwidth_bytes_per_clk": LIMITLESS}, tensor_cores={"flop_per_clk": FrozenTable({"fp16": LIMITLESS})})
    queries = 2 * 8 * 128 * 2
    for window, keys in ((0, 1000), (300, 300), (5000, 1000)):
        times = price(attention(1, 1000, **GROUPED, window=window), gpu=cold)
        assert times.dram_bytes[0] == pytest.approx(queries + 2 * keys * 128 * 2)
        assert times.duration_s[0] == pytest.approx(times.dram_bytes[0] / 10)
    half = price(attention(1, 1000, **GROUPED), gpu=cold, factors={"decode_stream_fraction": 0.5})
    assert half.duration_s[0] == pytest.approx(2 * (queries + 2 * 1000 * 128 * 2) / 10)


# ---- latent attention: all heads share one key of 80 numbers, whose first 64 are the value


def latent(keys: int, *, heads: int = 128, batch: int = 1, width: int = 80, value: int = 64, queries: int = 1, **fields: Any):
    """A kernel of 16 bits; as lowering has it, the keys' operand is only what is no value too."""
    work = FusedAttention(
        batch=batch, heads=heads, kv_heads=1, q_len=queries, kv_len=keys, head_dim=width, v_head_dim=value, values_in_keys=True, q_bytes=2, kv_bytes=2
    )  # fmt: skip
    rows = batch * heads * queries
    reads = (rows * width * 2, batch * keys * (width - value) * 2, batch * keys * value * 2)
    return kernel(work, reads=reads, writes=(rows * value * 2,), **{**TENSOR, **fields})


STEP_S = 2 * 64 * 64 * (80 + 64) / 80  # 64 rows by 64 keys on Hopper's tensor cores, which do 80 FLOP a clock on the toy


def wide(*args: Any, gpu: Any = None, factors: dict[str, Any] | None = None, **fields: Any):
    return price(latent(*args, **fields), gpu=compute_gpu(HOPPER) if gpu is None else gpu, factors=factors)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"keys": 64, "heads": 64}, 1),
        ({"keys": 64, "heads": 16}, 1),  # a tile has 64 rows, however few are filled
        ({"keys": 65, "heads": 64}, 1),  # two blocks of keys on two of 10 SMs
        ({"keys": 640, "heads": 128}, 2),  # two tiles of rows by 10 blocks on 10 SMs
        ({"keys": 640, "heads": 64, "batch": 2}, 2),
        ({"keys": 640, "heads": 32, "queries": 4}, 2),  # 32 heads of 4 queries are 128 rows
        ({"keys": 704, "heads": 128}, 3),  # 22 blocks: somebody gets a third
    ],
)
def test_blocks_of_keys_are_dealt_evenly(fields, steps):
    times = wide(**fields)
    assert times.choice_names() == ["decode, 64 heads a CTA"]
    assert times.duration_s[0] == pytest.approx(steps * STEP_S)


def latent_of_one_cta(keys: int, **fields: Any):
    made = latent(keys, **fields)
    return replace(made, work=replace(made.work, split_keys=False))


def test_a_library_that_does_not_split_keys_leaves_sms_idle():
    """One sequence takes as long as ten on 10 SMs."""
    for batch, steps in ((1, 10), (10, 10), (11, 20)):
        times = price(latent_of_one_cta(640, heads=64, batch=batch), gpu=compute_gpu(HOPPER))
        assert (times.choice_names(), times.ctas[0]) == (["decode, 64 heads a CTA"], batch)
        assert times.duration_s[0] == pytest.approx(steps * STEP_S)


def test_a_tile_is_multiplied_whole():
    assert wide(65, heads=70).executed_flop[0] == 2 * 2 * (2 * 64 * 64 * (80 + 64))


def test_a_step_has_a_shortest_time_and_a_cta_a_start():
    assert wide(640, heads=64, factors={"decode_step_clk": 2 * STEP_S}).duration_s[0] == pytest.approx(2 * STEP_S)
    # 10 SMs for 20 tiles of one block: with even shares an SM starts three times, once in the midst of a sequence.
    assert wide(64, heads=64, batch=20, factors={"decode_cta_clk": 7.0}).duration_s[0] == pytest.approx(2 * STEP_S + 3 * 7)
    # Two CTAs share the keys, so their results are added up.
    assert wide(128, heads=64, factors={"decode_split_s": 5.0}).duration_s[0] == pytest.approx(STEP_S + 5)
    assert wide(64, heads=64, factors={"decode_split_s": 5.0}).duration_s[0] == pytest.approx(STEP_S)


def test_steps_reach_a_share_of_the_peak():
    assert wide(64, heads=64, factors={"decode_wide_efficiency": 0.5}).duration_s[0] == pytest.approx(2 * STEP_S)


@pytest.mark.parametrize(("heads", "tiles"), [(16, 1), (64, 1), (65, 2), (128, 2), (129, 3)])
def test_the_latent_comes_once_from_dram_and_once_a_tile_from_l2(heads, tiles):
    cold = memory_gpu(l2={"size_bytes": 1.0}, tensor_cores={"flop_per_clk": FrozenTable({"fp16": LIMITLESS})})
    times = wide(640, heads=heads, gpu=cold)
    cache, queries_and_results = 640 * 80 * 2, heads * (80 + 64) * 2
    assert times.dram_bytes[0] == pytest.approx(cache + queries_and_results)
    assert times.l2_bytes[0] == pytest.approx(tiles * cache + queries_and_results)


@pytest.mark.parametrize(("gpu", "bandwidth_bytes_per_s"), [("h100-sxm5-80gb", 3000e9), ("h200-sxm5-141gb", 4450e9)])
def test_flash_mla_streams(gpu, bandwidth_bytes_per_s):
    """FlashMLA's README: up to 3000 GB/s on H800 (H100 with fewer links); H200: 4.45 TB/s, 512 × 16,384 keys, 16 heads (aiconfigurator-core 0.12)."""
    batch, keys = 512, 16384
    times = real_mla(gpu, keys, heads=16, batch=batch)
    assert batch * keys * 576 * 2 / times.duration_s[0] == pytest.approx(bandwidth_bytes_per_s, rel=0.2)


def test_flash_mla_computes():
    """FlashMLA's README: 580, later 660 TFLOP/s on H800 where 128 heads share long keys; the power limit lowers the clock (to 1.6 GHz, they say)."""
    times = real_mla("h100-sxm5-80gb", 16384, heads=128, batch=128)
    flop_per_s = 2 * 128 * 128 * 16384 * (576 + 512) / times.duration_s[0]
    assert 0.75 * 580e12 < flop_per_s < 1.25 * 660e12
    assert times.clock_hz[0] < 0.96 * load_gpu("h100-sxm5-80gb").clocks.boost_hz


def real_mla(gpu: str, keys: int, **fields: Any):
    work = latent(keys, width=576, value=512, dtype="bf16", **fields)
    return CostModel().price(KernelGraph([work], [()], distances=[(np.inf,) * 3]), load_gpu(gpu))


@pytest.mark.parametrize(("name", "dtype"), [("h100-sxm5-80gb", "bf16"), ("a100-sxm4-80gb", "bf16"), ("v100-sxm2-16gb", "fp16")])
def test_latent_attention_never_gains_by_more_work(name, dtype):
    for heads in (8, 64, 128):
        for batch in (1, 8, 100):
            works = [latent(keys, heads=heads, batch=batch, width=576, value=512, dtype=dtype) for keys in (1, 64, 65, 500, 1000, 4096, 100_000)]
            times = CostModel().price(KernelGraph(works, [()] * len(works), distances=[(np.inf,) * 3] * len(works)), load_gpu(name))
            assert np.all(np.diff(times.duration_s) >= -1e-4 * times.duration_s[1:]), (heads, batch, times.duration_s)
            assert np.all(times.duration_s >= times.own_roofline_s * (1 - 1e-9))


# ---- real GPUs

REAL = [
    ("h100-sxm5-80gb", "bf16", "tensor", 2.0),
    ("h100-sxm5-80gb", "fp8", "tensor", 1.0),
    ("a100-sxm4-80gb", "bf16", "tensor", 2.0),
    ("l40s", "bf16", "tensor", 2.0),
    ("v100-sxm2-16gb", "fp32", "vector", 4.0),
    ("gtx-titan-x-maxwell", "fp32", "vector", 4.0),
]


@pytest.mark.parametrize(("name", "dtype", "pipe", "size"), REAL)
def test_longer_is_never_faster_and_nothing_beats_its_roofline(name, dtype, pipe, size):
    gpu = load_gpu(name)
    for d in (40, 64, 96, 128, 192, 256):
        for heads, kv_heads, batch in ((8, 8, 1), (16, 2, 4), (64, 1, 32)):
            for causal, window in ((False, 0), (True, 0), (True, 1000)):
                same = {"d": d, "heads": heads, "kv_heads": kv_heads, "batch": batch, "size": size, "dtype": dtype, "pipe": pipe, "causal": causal}
                for shapes in (
                    [(q, q) for q in (2, 7, 64, 65, 128, 500, 1024, 4096)],
                    [(1, kv) for kv in (1, 2, 63, 64, 65, 129, 1000, 5000, 40_000)],
                    [(77, kv) for kv in (77, 78, 500, 2048, 10_000)],
                ):
                    works = [attention(q, kv, window=window, **same) for q, kv in shapes]
                    times = CostModel().price(KernelGraph(works, [()] * len(works), distances=[(np.inf,) * 3] * len(works)), gpu)
                    assert np.all(np.isfinite(times.duration_s) & (times.duration_s > 0))
                    assert np.all(np.diff(times.duration_s) >= -1e-4 * times.duration_s[1:]), (same, shapes, times.duration_s)
                    assert np.all(times.duration_s >= times.own_roofline_s * (1 - 1e-9)), (same, shapes)
