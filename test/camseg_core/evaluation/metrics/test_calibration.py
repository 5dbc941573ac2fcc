# SPDX-License-Identifier: Apache-2.0
"""Calibration errors of predictors whose error is known, temperature, and the held-out half."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.evaluation.metrics.calibration import (
    calibration_at,
    calibration_scores,
    fit_temperature,
    split_for_fit,
)
from camseg_core.evaluation.metrics.calibration_counts import (
    TEMPERATURES,
    CalibrationCounts,
    measure_calibration,
)
from camseg_core.evaluation.metrics.ratios import plain_data

Array = np.ndarray[Any, Any]


def softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max(axis=0))
    return (shares / shares.sum(axis=0)).astype(np.float32)


def sampled(rng: np.random.Generator, probabilities: Array) -> Array:
    """Class ids that come true as often as stated."""
    below = rng.random(probabilities.shape[1:]) > probabilities.cumsum(axis=0)
    return np.minimum(below.sum(axis=0), len(probabilities) - 1).astype(np.uint8)


def stated(confidence: float, right_pixels: int, pixels: int) -> CalibrationCounts:
    """Two classes, class 0 always predicted with ``confidence``, right on some pixels.

    Each value fills a 4 x 4 block, so that the coarse grid sees the same shares.
    """
    probabilities = np.empty((2, 4, 4 * pixels), np.float32)
    probabilities[0], probabilities[1] = confidence, 1.0 - confidence
    truth = np.ones((4, 4 * pixels), np.uint8)
    truth[:, : 4 * right_pixels] = 0
    return measure_calibration(probabilities, truth, np.zeros_like(truth))


def test_an_over_confident_predictor_has_the_error_it_was_given() -> None:
    scores = calibration_scores(stated(0.9, right_pixels=6, pixels=10))
    assert scores.reliability.accuracy == pytest.approx(0.6)
    assert scores.reliability.mean_confidence == pytest.approx(0.9, abs=1e-6)
    assert scores.reliability.expected_calibration_error == pytest.approx(0.3, abs=1e-6)
    assert scores.reliability.maximum_calibration_error == pytest.approx(0.3, abs=1e-6)
    assert scores.class_calibration_error == pytest.approx((0.3, 0.3), abs=1e-6)
    assert scores.classwise_calibration_error == pytest.approx(0.3, abs=1e-6)
    assert scores.negative_log_likelihood == pytest.approx(
        -0.6 * math.log(0.9) - 0.4 * math.log(0.1), abs=1e-6
    )
    assert [*np.flatnonzero(scores.reliability.bin_count)] == [13]  # 13/15 <= 0.9 < 14/15
    assert scores.reliability.bin_accuracy[13] == pytest.approx(0.6)
    assert scores.reliability.bin_confidence[13] == pytest.approx(0.9, abs=1e-6)
    assert math.isnan(scores.reliability.bin_accuracy[12])


def test_errors_of_two_bins_by_hand() -> None:
    # 160 pixels at 0.9, 96 right; 320 at 0.55, 288 right.
    counts = stated(0.9, 6, 10) + stated(0.55, 18, 20)
    reliability = calibration_scores(counts).reliability
    assert reliability.expected_calibration_error == pytest.approx((0.3 + 2 * 0.35) / 3, abs=1e-6)
    assert reliability.maximum_calibration_error == pytest.approx(0.35, abs=1e-6)
    assert reliability.accuracy == pytest.approx(384 / 480)
    assert reliability.mean_confidence == pytest.approx((0.9 + 2 * 0.55) / 3, abs=1e-6)


def test_a_class_that_the_truth_lacks_leaves_the_class_wise_mean() -> None:
    probabilities = np.empty((3, 4, 4), np.float32)
    probabilities[:] = np.array([0.5, 0.3, 0.2])[:, None, None]
    truth = np.zeros((4, 4), np.uint8)
    scores = calibration_scores(measure_calibration(probabilities, truth, truth))
    assert scores.class_calibration_error[0] == pytest.approx(0.5, abs=1e-6)
    assert math.isnan(scores.class_calibration_error[1])
    assert scores.classwise_calibration_error == pytest.approx(0.5, abs=1e-6)


def test_a_calibrated_predictor_has_nearly_no_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = softmax(2 * rng.normal(size=(5, 400, 400)))
    truth = sampled(rng, probabilities)
    counts = measure_calibration(probabilities, truth, probabilities.argmax(axis=0))
    scores = calibration_scores(counts)
    assert scores.reliability.expected_calibration_error < 0.01
    assert scores.classwise_calibration_error < 0.01
    assert scores.reliability.maximum_calibration_error < 0.05
    assert abs(math.log2(fit_temperature(counts))) < 0.08
    # The same image too sure of itself is far off.
    sure = softmax(3 * np.log(probabilities))
    worse = calibration_scores(measure_calibration(sure, truth, sure.argmax(axis=0)))
    assert worse.reliability.expected_calibration_error > 0.1
    assert worse.negative_log_likelihood > scores.negative_log_likelihood + 0.1


@pytest.mark.parametrize("scale", [0.4, 1.3, 5.0])
def test_the_fit_finds_the_temperature_that_logits_were_scaled_by(scale: float) -> None:
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(5, 480, 480))
    truth = sampled(rng, softmax(logits))
    probabilities = softmax(scale * logits)
    counts = measure_calibration(probabilities, truth, probabilities.argmax(axis=0))
    temperature = fit_temperature(counts)
    assert abs(math.log2(temperature / scale)) < 0.08  # a third of a grid step
    after = calibration_at(counts, temperature)
    assert abs(math.log2(after.temperature / scale)) < 0.25
    assert after.reliability.expected_calibration_error < 0.04
    assert after.pixel_count == 120 * 120


def test_the_fit_of_two_values_has_a_closed_form() -> None:
    # 0.9 comes true 3 in 4 times: log(9) / T = log(3) at T = 2, on the grid.
    counts = stated(0.9, right_pixels=15, pixels=20)
    assert fit_temperature(counts) == pytest.approx(2.0, rel=0.02)
    scores = calibration_at(counts, 2.0)
    assert scores.temperature == 2.0
    assert scores.reliability.mean_confidence == pytest.approx(0.75, abs=1e-5)
    assert scores.reliability.accuracy == 0.75
    assert scores.reliability.expected_calibration_error == pytest.approx(0.0, abs=1e-5)
    assert scores.negative_log_likelihood == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25), abs=1e-5
    )
    assert calibration_at(counts, 1.9).temperature == 2.0  # the nearest measured one
    # 0.9 comes true 6 in 10 times: T = log(9) / log(1.5) = 5.42, between grid temperatures.
    assert fit_temperature(stated(0.9, 6, 10)) == pytest.approx(
        math.log(9) / math.log(1.5), rel=0.03
    )


def with_curve(curve: list[int]) -> CalibrationCounts:
    counts = CalibrationCounts.zero(2)
    counts.temperature_count[:, 0] = 1
    counts.temperature_nll_units[:] = curve
    return counts


def test_the_parabola_is_exact_for_a_parabola_in_log_t() -> None:
    for center in (3.0, 8.3, 8.5, 12.75):
        curve = [round(10000 * (index - center) ** 2) + 7 for index in range(21)]
        assert fit_temperature(with_curve(curve)) == pytest.approx(
            2.0 ** (center / 4 - 2), rel=1e-9
        )


def test_a_minimum_at_an_end_or_a_flat_curve_gives_a_measured_temperature() -> None:
    assert fit_temperature(with_curve(list(range(21)))) == 0.25
    assert fit_temperature(with_curve(list(range(21))[::-1])) == 8.0
    assert fit_temperature(with_curve([5] * 21)) == 0.25
    assert fit_temperature(with_curve([9] * 4 + [5] * 3 + [9] * 14)) == pytest.approx(
        TEMPERATURES[4] * 2 ** (1 / 8)
    )


def test_no_pixel_has_no_scores() -> None:
    zero = CalibrationCounts.zero(2)
    content = json.loads(json.dumps(plain_data(calibration_scores(zero)), allow_nan=False))
    assert content["reliability"]["bin_count"] == [0] * 15
    assert content["reliability"]["bin_accuracy"] == [None] * 15
    assert content["reliability"]["expected_calibration_error"] is None
    assert content["class_calibration_error"] == [None, None]
    assert content["negative_log_likelihood"] is None
    assert math.isnan(calibration_at(zero, 1.0).negative_log_likelihood)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=12), st.randoms())
def test_half_of_the_sequences_is_fitted_on_whatever_their_order(
    names: list[str], random: Any
) -> None:
    chosen = split_for_fit(names)
    assert chosen <= set(names)
    assert len(chosen) == len(set(names)) // 2
    shuffled = names * 2
    random.shuffle(shuffled)
    assert split_for_fit(shuffled) == chosen


def test_the_half_is_the_same_on_every_machine() -> None:
    assert split_for_fit(["frankfurt", "lindau", "munster"]) == {"munster"}
    assert split_for_fit(["only"]) == frozenset()
    assert len(split_for_fit(["caf\udce9", "a"])) == 1  # a file name that is no UTF-8
    numbers = [f"{number:04d}" for number in (2, 6, 7, 8, 10, 13, 14, 16, 18)]  # KITTI-STEP's val
    assert split_for_fit(numbers) == {"0006", "0010", "0013", "0016"}
