# SPDX-License-Identifier: Apache-2.0
"""Confusion counts: against loops, additive, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.confusion import (
    confusion_counts,
    confusion_from_json,
    sum_confusions,
)

Ids = np.ndarray[Any, Any]


def random_ids(rng: np.random.Generator, shape: tuple[int, int], num_classes: int) -> Ids:
    return rng.choice([*range(num_classes), 255], shape).astype(np.uint8)


def counted_by_loops(truth: Ids, prediction: Ids, num_classes: int) -> Ids:
    counts = np.zeros((num_classes, num_classes + 1), np.int64)
    for true_id, predicted_id in zip(truth.ravel(), prediction.ravel(), strict=True):
        if true_id != 255:
            counts[true_id, num_classes if predicted_id == 255 else predicted_id] += 1
    return counts


def test_rows_are_truth_columns_prediction_and_the_last_is_unlabeled() -> None:
    truth = np.array([[0, 0, 1], [1, 255, 255]], np.uint8)
    prediction = np.array([[0, 1, 255], [1, 0, 255]], np.uint8)
    counts = confusion_counts(truth, prediction, 2)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0], [0, 1, 1]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 19, 255]), st.integers(1, 12))
def test_counts_equal_those_of_loops(seed: int, num_classes: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_ids(rng, (side, 9), num_classes)
    prediction = random_ids(rng, (side, 9), num_classes)
    counts = confusion_counts(truth, prediction, num_classes)
    np.testing.assert_array_equal(counts, counted_by_loops(truth, prediction, num_classes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_images_add_up_to_their_concatenation(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_ids(rng, (3, 7), 5) for _ in range(images)]
    predictions = [random_ids(rng, (3, 7), 5) for _ in range(images)]
    each = [confusion_counts(*pair, 5) for pair in zip(truths, predictions, strict=True)]
    whole = confusion_counts(np.vstack(truths), np.vstack(predictions), 5)
    np.testing.assert_array_equal(sum_confusions(each, 5), whole)
    np.testing.assert_array_equal(sum_confusions(each[::-1], 5), whole)


@pytest.mark.parametrize("wrong", [19, 100, 254])
@pytest.mark.parametrize("what", ["ground truth", "prediction"])
def test_an_id_outside_of_the_label_set_is_named_with_its_count(what: str, wrong: int) -> None:
    ids = {"ground truth": np.zeros((4, 5), np.uint8), "prediction": np.zeros((4, 5), np.uint8)}
    ids[what][:2, :3] = wrong
    with pytest.raises(
        CamsegError, match=rf"^{what} has id {wrong} on 6 pixels; class ids are 0\.\.18, or 255 "
    ):
        confusion_counts(ids["ground truth"], ids["prediction"], 19)


def test_sizes_must_agree() -> None:
    truth, prediction = np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)
    with pytest.raises(CamsegError, match="resize the prediction to the ground truth"):
        confusion_counts(truth, prediction, 19)


def test_counts_of_another_label_set_are_not_added() -> None:
    with pytest.raises(CamsegError, match=r"shape \(3, 4\) cannot be added to those of 2 classes"):
        sum_confusions([np.zeros((3, 4), np.int64)], 2)


def test_an_image_without_pixels_counts_nothing() -> None:
    empty = np.zeros((0, 5), np.uint8)
    assert not confusion_counts(empty, empty, 3).any()
    assert sum_confusions([], 3).tolist() == [[0, 0, 0, 0]] * 3


def test_counts_survive_json() -> None:
    counts = np.array([[2**62, 1, 0], [0, 3, 4]])
    back = confusion_from_json(json.loads(json.dumps(counts.tolist())), 2)
    np.testing.assert_array_equal(back, counts)


@pytest.mark.parametrize(
    "content",
    [
        [[1, 2, 3]],
        [[1, 2, 3], [1, 2]],
        [[1, 2, 3], [1, 2, -1]],
        [[1, 2, 3], [1, 2.0, 3]],
        [[1, 2, 3], [1, 2**63, 3]],
        [[1, 2, 3], [1, 2**64, 3]],
    ],
)
def test_damaged_counts_are_refused(content: object) -> None:
    with pytest.raises(CamsegError, match="are not 2 rows of 3 whole numbers from 0; they were"):
        confusion_from_json(content, 2)
