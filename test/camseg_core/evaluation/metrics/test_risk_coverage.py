# SPDX-License-Identifier: Apache-2.0
"""Risk-coverage: by hand, against sorting, and between its bounds."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from camseg_core.evaluation.metrics.calibration_counts import CalibrationCounts
from camseg_core.evaluation.metrics.ratios import plain_data
from camseg_core.evaluation.metrics.risk_coverage import risk_coverage

Array = np.ndarray[Any, Any]


def histograms(seed: int, bins: int = 6) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 30, bins) * (rng.random(bins) < 0.8)
    return count, rng.binomial(count, rng.random(bins))


def test_errors_that_are_all_in_the_lowest_bin_are_all_found() -> None:
    curve = risk_coverage(np.array([2, 0, 8]), np.array([0, 0, 8]))
    assert curve.threshold == pytest.approx((0, 1 / 3, 2 / 3))
    assert curve.coverage == pytest.approx((1.0, 0.8, 0.8))
    assert curve.risk == pytest.approx((0.2, 0.0, 0.0))
    # Integral of t / (8 + t) for t from 0 to 2, over 10 pixels.
    assert curve.area == pytest.approx((2 - 8 * math.log(10 / 8)) / 10)
    assert curve.oracle_area == pytest.approx(curve.area)
    # Geifman et al. 2019, E-AURC: r + (1 - r) ln(1 - r).
    assert curve.oracle_area == pytest.approx(0.2 + 0.8 * math.log(0.8))
    assert curve.excess_area == pytest.approx(0.0, abs=1e-15)
    assert curve.random_area == pytest.approx(0.2)
    assert curve.ordering_score == pytest.approx(1.0)
    assert curve.risk_at_coverage == pytest.approx(
        {0.8: 0.0, 0.9: 1 / 9, 0.95: 1.5 / 9.5, 1.0: 0.2}
    )


def test_errors_of_the_highest_confidence_are_worse_than_chance() -> None:
    curve = risk_coverage(np.array([8, 2]), np.array([8, 0]))
    # Two pixels at risk 1, then the integral of 2 / (2 + t) for t from 0 to 8.
    assert curve.area == pytest.approx((2 + 2 * math.log(5)) / 10)
    assert curve.ordering_score < 0
    assert curve.risk == pytest.approx((0.2, 1.0))
    assert curve.risk_at_coverage[0.8] == pytest.approx(2 / 8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_curve_equals_that_of_sorted_pixels(seed: int) -> None:
    count, correct = histograms(seed)
    assume(count.sum() > 0)
    curve = risk_coverage(count, correct)
    # Many pixels in the same shares, each bin's errors spread evenly over it.
    scale = 400
    errors = []
    for size, right in zip(count[::-1], correct[::-1], strict=True):
        places = np.arange(1, size * scale + 1)
        wrong = (size - right) * scale
        errors.append(np.diff(np.floor(places * wrong / max(size * scale, 1)), prepend=0.0))
    wrong_so_far = np.concatenate(errors).cumsum()
    risk = wrong_so_far / np.arange(1, wrong_so_far.size + 1)
    assert curve.area == pytest.approx(risk.mean(), abs=0.01)
    for coverage, expected in curve.risk_at_coverage.items():
        assert risk[round(coverage * risk.size) - 1] == pytest.approx(expected, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_ordering_beats_the_oracle_and_more_pixels_of_the_same_change_nothing(seed: int) -> None:
    count, correct = histograms(seed)
    assume(count.sum() > 0)
    curve = risk_coverage(count, correct)
    assert -1e-12 <= curve.oracle_area <= curve.area + 1e-12
    assert curve.area <= 1.0 + 1e-12
    assert curve.oracle_area <= curve.random_area + 1e-12
    assert curve.risk[0] == pytest.approx(curve.random_area)
    assert curve.risk_at_coverage[1.0] == pytest.approx(curve.random_area)
    assert list(curve.coverage) == sorted(curve.coverage, reverse=True)
    more = risk_coverage(7 * count, 7 * correct)
    assert more.area == pytest.approx(curve.area, abs=1e-12)
    assert more.risk_at_coverage == pytest.approx(curve.risk_at_coverage)
    # Neither does splitting each bin in two of the same error rate.
    split = risk_coverage(np.repeat(count, 2), np.repeat(correct, 2))
    assert split.area == pytest.approx(curve.area, abs=1e-12)


@pytest.mark.parametrize("correct", [0, 12])
def test_without_an_error_or_a_right_pixel_there_is_nothing_to_order(correct: int) -> None:
    curve = risk_coverage(np.array([5, 7]), np.array([5, 7]) * (correct > 0))
    assert curve.area == curve.oracle_area == curve.random_area == (0.0 if correct else 1.0)
    assert curve.excess_area == 0.0
    assert math.isnan(curve.ordering_score)


def test_no_pixel_has_no_scores() -> None:
    zero = CalibrationCounts.zero(2)
    curve = risk_coverage(zero.confidence_count, zero.confidence_correct)
    content = json.loads(json.dumps(plain_data(curve), allow_nan=False))
    assert content["threshold"] == [index / 240 for index in range(240)]
    assert content["risk"] == [None] * 240
    assert (content["area"], content["ordering_score"]) == (None, None)
    assert content["risk_at_coverage"] == {"0.8": None, "0.9": None, "0.95": None, "1": None}
