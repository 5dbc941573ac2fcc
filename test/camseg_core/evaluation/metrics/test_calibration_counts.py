# SPDX-License-Identifier: Apache-2.0
"""Calibration counts: against loops, exact sums, JSON, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.calibration_counts import (
    CONFIDENCE_BINS,
    RELIABILITY_BINS,
    TEMPERATURES,
    UNITS_PER_ONE,
    CalibrationCounts,
    measure_calibration,
    pack_counts,
    unpack_counts,
)

Array = np.ndarray[Any, Any]
ONE = TEMPERATURES.index(1.0)


def drawn(
    seed: int, num_classes: int = 4, size: tuple[int, int] = (9, 13), void: bool = True
) -> tuple[Array, Array, Array]:
    """Probabilities, ground truth and prediction of an image; a tenth of both masks is void."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(num_classes + void, *size))
    shares = np.exp(logits)
    probabilities = (shares / shares.sum(axis=0))[:num_classes].astype(np.float32)
    truth = rng.integers(0, num_classes, size).astype(np.uint8)
    prediction = probabilities.argmax(axis=0).astype(np.uint8)
    truth[rng.random(size) < 0.1] = 255
    prediction[rng.random(size) < 0.1] = 255
    return probabilities, truth, prediction


def close(units: Array, expected: Array, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(units / UNITS_PER_ONE, expected, rtol=tolerance, atol=2e-6)


# Fixed seeds: the loops round otherwise than float32 does, which may decide a bin at its border.
@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_counts_equal_those_of_loops(seed: int, void: bool) -> None:
    probabilities, truth, prediction = drawn(seed, void=void)
    num_classes = len(probabilities)
    top = np.zeros((3, CONFIDENCE_BINS))
    classes = np.zeros((3, num_classes, RELIABILITY_BINS))
    nll = 0.0
    curve = np.zeros((3, len(TEMPERATURES), RELIABILITY_BINS))
    curve_nll = np.zeros(len(TEMPERATURES))
    for (row, column), true_id in np.ndenumerate(truth):
        if true_id == 255:
            continue
        pixel = probabilities[:, row, column]
        right = prediction[row, column] == true_id
        confidence = pixel.max()
        top[:, min(int(confidence * np.float32(240)), 239)] += 1, right, confidence
        for class_id, share in enumerate(pixel):
            classes[:, class_id, min(int(share * np.float32(15)), 14)] += (
                1,
                class_id == true_id,
                share,
            )
        nll -= math.log(max(float(pixel[true_id]), 1e-12))
        if row % 4 or column % 4:
            continue
        rest = 1.0 - float(pixel.astype(np.float64).sum())
        shares = np.array([*pixel, rest if rest > 1e-5 else 0.0], np.float64)
        for index, temperature in enumerate(TEMPERATURES):
            scaled = shares ** (1.0 / temperature)
            scaled /= scaled.sum()
            level = float(scaled[:-1].max())
            curve[:, index, min(int(level * 15), 14)] += 1, right, level
            curve_nll[index] -= math.log(max(scaled[true_id], 1e-12))
    counts = measure_calibration(probabilities, truth, prediction)
    assert counts.num_classes == num_classes
    assert counts.pixel_count == (truth != 255).sum()
    for kind, unit, expected in (
        ("confidence", "confidence_units", top),
        ("class", "class_probability_units", classes),
        ("temperature", "temperature_confidence_units", curve),
    ):
        right = "class_hits" if kind == "class" else f"{kind}_correct"
        np.testing.assert_array_equal(getattr(counts, f"{kind}_count"), expected[0])
        np.testing.assert_array_equal(getattr(counts, right), expected[1])
        close(getattr(counts, unit), expected[2])
    close(counts.nll_units, np.array([nll]))
    close(counts.temperature_nll_units, curve_nll)


def test_one_pixel_by_hand() -> None:
    probabilities = np.array([0.5, 0.2, 0.0], np.float32)[:, None, None]  # void has 0.3
    truth, prediction = np.array([[1]], np.uint8), np.array([[0]], np.uint8)
    counts = measure_calibration(probabilities, truth, prediction)
    assert np.flatnonzero(counts.confidence_count).tolist() == [120]
    assert not counts.confidence_correct.any()
    assert counts.confidence_units[120] == UNITS_PER_ONE // 2
    assert counts.class_count.argmax(axis=1).tolist() == [7, 3, 0]
    assert counts.class_hits.tolist() == [[0] * 15, [0, 0, 0, 1, *[0] * 11], [0] * 15]
    close(counts.nll_units, np.array([-math.log(0.2)]))
    # At T = 0.5 shares are squared: 0.25, 0.04, 0, and void's 0.09.
    half = TEMPERATURES.index(0.5)
    close(counts.temperature_nll_units[half], np.array(-math.log(0.04 / 0.38)))
    assert counts.temperature_count[half].argmax() == int(0.25 / 0.38 * 15)
    close(counts.temperature_confidence_units[half].sum(), np.array(0.25 / 0.38))


def test_rounding_of_a_sum_is_no_share_of_voids() -> None:
    probabilities = np.array([0.9, 0.1 - 1e-6], np.float32)[:, None, None]
    truth = prediction = np.zeros((1, 1), np.uint8)
    counts = measure_calibration(probabilities, truth, prediction)
    # With void's 1e-6 ** (1 / 8) = 0.18 the sum would be 1.92.
    expected = 0.9 ** (1 / 8) / (0.9 ** (1 / 8) + 0.1 ** (1 / 8))
    close(counts.temperature_nll_units[-1], np.array(-math.log(expected)))


@pytest.mark.parametrize("share", [0.0, 1e-30])
def test_log_likelihood_is_clamped(share: float) -> None:
    probabilities = np.array([1.0, share], np.float32)[:, None, None]
    truth, prediction = np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8)
    counts = measure_calibration(probabilities, truth, prediction)
    close(counts.nll_units, np.array([-math.log(1e-12)]))
    close(counts.temperature_nll_units[: ONE + 1], np.full(ONE + 1, -math.log(1e-12)))
    assert counts.temperature_nll_units[-1] < counts.temperature_nll_units[ONE]


def test_unlabeled_truth_counts_nothing() -> None:
    probabilities, truth, prediction = drawn(6)
    counts = measure_calibration(probabilities, np.full_like(truth, 255), prediction)
    assert counts.to_dict() == CalibrationCounts.zero(4).to_dict()
    assert counts.pixel_count == 0
    empty = np.zeros((4, 0, 7), np.float32), np.zeros((0, 7), np.uint8), np.zeros((0, 7), np.uint8)
    assert measure_calibration(*empty).to_dict() == CalibrationCounts.zero(4).to_dict()


def test_temperatures_read_every_fourth_row_and_column_only() -> None:
    probabilities, truth, prediction = drawn(7, size=(12, 12))
    counts = measure_calibration(probabilities, truth, prediction).to_dict()
    off = np.ones(truth.shape, bool)
    off[::4, ::4] = False
    prediction[off] = 255
    truth[off] = 0
    changed = measure_calibration(probabilities, truth, prediction).to_dict()
    for name, value in counts.items():
        if name.startswith("temperature"):
            assert changed[name] == value
    assert changed["confidence_correct"] != counts["confidence_correct"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.randoms())
def test_sums_are_exact_in_any_order_and_grouping(seeds: list[int], random: Any) -> None:
    each = [measure_calibration(*drawn(seed)) for seed in seeds]
    total = sum(each, CalibrationCounts.zero(4))
    shuffled = list(each)
    random.shuffle(shuffled)
    middle = len(shuffled) // 2
    shards = [
        sum(part, CalibrationCounts.zero(4)) for part in (shuffled[:middle], shuffled[middle:])
    ]
    read = [CalibrationCounts.from_dict(json.loads(json.dumps(part.to_dict()))) for part in shards]
    assert (read[1] + read[0]).to_dict() == total.to_dict()
    assert total.pixel_count == sum(counts.pixel_count for counts in each)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, "lie in -0.1..0; 0..1 is needed"),
        (2.5, "lie in 0..2.5; 0..1 is needed: apply a softmax"),
        (np.nan, "lie in nan..nan; 0..1 is needed"),
    ],
)
def test_what_are_no_probabilities_is_refused(value: float, message: str) -> None:
    ids = np.zeros((3, 4), np.uint8)
    with pytest.raises(CamsegError, match=message):
        measure_calibration(np.full((2, 3, 4), value, np.float32), ids, ids)


FIELDS = [name for name in CalibrationCounts.zero(1).to_dict() if name != "num_classes"]


@pytest.mark.parametrize("name", FIELDS)
def test_each_damaged_field_is_named(name: str) -> None:
    content = CalibrationCounts.zero(4).to_dict()
    with pytest.raises(CamsegError, match=f"calibration's {name} holds 2 counts"):
        CalibrationCounts.from_dict(content | {name: [5, 5]})
    del content[name]
    with pytest.raises(CamsegError, match=f"calibration's {name} is no list of whole numbers"):
        CalibrationCounts.from_dict(content)


@pytest.mark.parametrize("part", ["confidence_correct", "class_hits", "temperature_correct"])
def test_more_right_pixels_than_pixels_are_damage(part: str) -> None:
    counts = CalibrationCounts.zero(2)
    getattr(counts, part).flat[3] = 1
    with pytest.raises(CamsegError, match=f"calibration's {part} is larger than its "):
        CalibrationCounts.from_dict(counts.to_dict())


@pytest.mark.parametrize("num_classes", [19, 255])
def test_every_class_has_its_own_hits(num_classes: int) -> None:
    truth = np.arange(num_classes, dtype=np.uint8)[None]  # a pixel of each class
    probabilities = np.zeros((num_classes, 1, num_classes), np.float32)
    probabilities[truth[0], 0, np.arange(num_classes)] = 0.85
    counts = measure_calibration(probabilities, truth, truth)
    expected = np.zeros((num_classes, 15), np.int64)
    expected[:, 12] = 1
    np.testing.assert_array_equal(counts.class_hits, expected)


def test_runs_of_zeros_become_one_number() -> None:
    assert pack_counts(np.array([5, 0, 0, 0, 7, 0])) == [5, -3, 7, -1]
    assert pack_counts(np.array([[0, 0], [0, 2]])) == [-3, 2]
    counts = np.array([[0, 2**63 - 1, 0], [0, 0, 3]])
    packed = json.loads(json.dumps(pack_counts(counts)))
    np.testing.assert_array_equal(unpack_counts(packed, counts.shape, "counts"), counts)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (None, "hits is no list of whole numbers; the line is damaged"),
        ([1.0, 2], "hits is no list of whole numbers"),
        ([], "hits holds 0 counts, 3 are needed"),
        ([1, -3], "hits holds 4 counts, 3 are needed"),
        ([0, -2], "hits holds 3 counts, 3 are needed"),
        ([-(10**12)], "hits holds 1000000000000 counts"),
        ([2**63, -2], r"hits holds 9223372036854775808, which is above 2\^63"),
    ],
)
def test_damaged_counts_are_refused(packed: object, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        unpack_counts(packed, (3,), "hits")
