from __future__ import annotations

import numpy as np
import pytest

from simgpu.validation.score import Group, Results, Skipped, errors, scores

LINEAR = Group("lab", "linear", "t4", "fp32", "fwd")
CONV = Group("lab", "conv", "t4", "fp32", "fwd")


def result(groups: list[Group], measured: list[float], predicted: list[float], **others: list[float]) -> Results:
    return Results(
        path="x.csv",
        groups=groups,
        rows=list(range(2, 2 + len(groups))),
        measured_s=np.array(measured),
        predicted_s=np.array(predicted),
        roofline_s=np.array(measured) / 2,
        explain=lambda i: f"row {i}",
        published_s={name: np.array(values) for name, values in others.items()},
    )


def test_errors_by_hand() -> None:
    # 10 % too slow, 50 % too fast, exact, 20 % too slow: sorted 0, 10, 20, 50
    found = errors(np.array([1.1, 1.0, 4.0, 6.0]), np.array([1.0, 2.0, 4.0, 5.0]))
    assert found.mape_pct == pytest.approx((10 + 50 + 0 + 20) / 4)
    assert found.median_ape_pct == pytest.approx((10 + 20) / 2)
    assert found.p90_ape_pct == pytest.approx(20 + 0.7 * (50 - 20))  # the 90th percentile lies at position 2.7 of 0 … 3
    assert found.bias_pct == pytest.approx((10 - 50 + 0 + 20) / 4)


def test_no_rows_have_no_error() -> None:
    assert np.isnan(errors(np.zeros(0), np.zeros(0))).all()


def test_scores_keep_groups_apart_and_count_what_was_skipped() -> None:
    skipped = [Skipped(group=LINEAR, row=9, reason="too odd"), Skipped(group=LINEAR, row=10, reason="too odd")]
    table = scores([result([LINEAR, CONV], [1.0, 1.0], [1.5, 1.0])], skipped, printed={})
    conv, linear = table
    assert (conv.family, conv.rows, conv.skipped, conv.mape_pct) == ("conv", 1, 0, 0.0)
    assert (linear.family, linear.rows, linear.skipped, linear.mape_pct, linear.roofline_mape_pct) == ("linear", 1, 2, 50.0, 50.0)
    assert linear.reasons == {"too odd": 2}


def test_scores_of_several_files_are_one_mean_over_rows() -> None:
    parts = [result([LINEAR], [1.0], [1.1]), result([LINEAR] * 3, [1.0] * 3, [1.3] * 3)]
    (score,) = scores(parts, [], printed={})
    assert score.mape_pct == pytest.approx((10 + 3 * 30) / 4)


def test_lines_can_be_merged() -> None:
    (score,) = scores([result([LINEAR, CONV], [1.0, 1.0], [1.5, 1.0])], [], by=("source",), printed={})
    assert (score.source, score.family, score.rows, score.mape_pct) == ("lab", "all", 2, 25.0)


def test_others_count_only_where_they_said_something() -> None:
    (score,) = scores([result([LINEAR] * 2, [1.0, 1.0], [1.0, 1.0], Rival=[1.4, np.nan])], [], printed={("lab", "linear"): {"Book": 12.0}})
    assert score.published_mape_pct == pytest.approx({"Book": 12.0, "Rival": 40.0})


def test_rows_all_skipped_still_have_a_line() -> None:
    (score,) = scores([], [Skipped(group=LINEAR, row=2, reason="no")], printed={})
    assert score.rows == 0
    assert score.skipped == 1
    assert np.isnan(score.mape_pct)
