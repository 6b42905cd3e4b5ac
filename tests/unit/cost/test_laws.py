"""The laws on numbers for the head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgpu.cost.laws import busiest_sm_s, overlap, resident_fraction, saturation

positive = st.floats(1e-9, 1e3)


def test_overlap_of_two_parts_is_their_p_norm():
    assert overlap(2.0, 5.0, 12.0) == pytest.approx(13.0)
    assert overlap(1.0, 5.0, 12.0) == pytest.approx(17.0)  # nothing overlaps
    assert overlap(1e6, 5.0, 12.0) == pytest.approx(12.0)  # everything does


def test_overlap_takes_arrays_and_parts_that_are_zero():
    np.testing.assert_allclose(overlap(2.0, np.array([3.0, 0.0, 7.0]), np.array([4.0, 2.0, 0.0])), [5.0, 2.0, 7.0])
    assert overlap(4.0, 0.0, 0.0) == 0.0


@given(st.floats(1.0, 64.0), st.lists(positive, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_overlap_lies_between_the_longest_part_and_the_sum(exponent, parts):
    assert max(parts) * (1 - 1e-12) <= overlap(exponent, *parts) <= sum(parts) * (1 + 1e-9)


def test_a_cache_keeps_what_fits_and_loses_what_does_not():
    """The edge is at its size, and blurred by a few percent of it."""
    found = resident_fraction(np.array([0.0, 500.0, 1000.0, 2000.0, np.inf]), 1000.0)
    assert found[2] == 0.5
    np.testing.assert_allclose(found, [1.0, 1.0, 0.5, 0.0, 0.0], atol=0.005)


def test_the_share_kept_depends_on_the_ratio_alone():
    assert resident_fraction(1.05e9, 1e9) == pytest.approx(resident_fraction(1.05, 1.0))


def test_without_a_cache_nothing_is_kept():
    assert resident_fraction(100.0, 0.0) < 1e-12


@given(st.lists(st.floats(0.0, 1e12), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_more_traffic_in_between_never_keeps_more(distances):
    kept = resident_fraction(np.sort(distances), 1e6)
    assert np.all(np.diff(kept) <= 0)
    assert np.all((kept >= 0) & (kept <= 1))


def test_half_the_peak_at_half_and_all_of_it_at_the_end():
    assert saturation(10.0, 10.0) == 0.5
    assert saturation(30.0, 10.0) == 0.75
    assert saturation(5.0, 0.0) == 1.0  # no latency to hide
    assert saturation(0.0, 10.0) == 0.0


@pytest.mark.parametrize(("ctas", "rounds"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_the_busiest_of_four_sms_decides(ctas, rounds):
    assert busiest_sm_s(ctas, 3.0, num_sms=4, per_sm=1, accumulators=100.0, half_accumulators=0.0) == 3.0 * rounds


def test_a_cta_alone_cannot_hide_latency():
    """100 accumulators where 100 make half the rate: alone it takes twice as long; a pair, two thirds of the rate, 3 s for 2 CTAs."""
    one = {"num_sms": 4, "accumulators": 100.0, "half_accumulators": 100.0}
    assert busiest_sm_s(4, 1.0, per_sm=2, **one) == 2.0
    assert busiest_sm_s(8, 1.0, per_sm=2, **one) == pytest.approx(3.0)
    assert busiest_sm_s(8, 1.0, per_sm=1, **one) == 4.0  # one after the other
    assert busiest_sm_s(12, 1.0, per_sm=2, **one) == pytest.approx(3.0 + 2.0)  # a pair, then one alone
