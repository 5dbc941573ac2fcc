# SPDX-License-Identifier: Apache-2.0
import random
from functools import partial

import made_bags as bags
import numpy as np
import pytest

from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.metrics.registry import measure
from camseg_core.labels import CITYSCAPES
from camseg_ros.bag.ground_truth import TruthStore
from camseg_ros.replay.live.scores import MOST_PENDING, LiveScores


def picture(seed: int, most: int = 19) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most, (6, 8), np.uint8)


def scores(*, has_truth: bool = True) -> LiveScores:
    return LiveScores("left", CITYSCAPES, TruthStore() if has_truth else None, has_truth)


def hear(found: LiveScores, output: str, stamp: int, content: np.ndarray) -> None:
    found.on_output(output, bags.header(stamp), content)


def test_parts_come_in_any_order_and_each_stamp_counts_once() -> None:
    found = scores()
    parts = [
        (take, stamp, picture(seed + stamp, most))
        for stamp in range(20)
        for take, seed, most in (
            (partial(hear, found, "mask"), 0, 19),
            (partial(hear, found, "confidence"), 100, 256),
            (found.on_truth, 200, 19),
        )
    ]
    random.Random(1).shuffle(parts)
    for take, stamp, content in parts:
        take(stamp, content)
    for stamp in (3, 4):  # a loop plays them again
        hear(found, "mask", stamp, picture(999))
        hear(found, "confidence", stamp, picture(999))
        found.on_truth(stamp, picture(998))
    found.finish()
    counts = [confusion_counts(picture(200 + s), picture(s), 19) for s in range(20)]
    expected = official_scores(sum_confusions(counts, 19))
    accuracy = measure(found.measured())
    assert found.counts.with_truth == 20
    assert accuracy["mean_iou"] == pytest.approx(expected.mean_iou)
    assert accuracy["pixel_accuracy"] == pytest.approx(expected.pixel_accuracy)
    assert accuracy["classwise_calibration_error"] is None  # no probabilities are published
    assert sorted(frame.stamp_ns for frame in found.frames) == [*range(20)]
    by_stamp = {frame.stamp_ns: frame for frame in found.frames}
    assert by_stamp[7].mean_confidence == pytest.approx(picture(107, 256).mean() / 255)


def test_calibration_error_by_hand() -> None:
    found = scores()
    truth = np.zeros((1, 10), np.uint8)
    truth[0, 9] = 255  # unlabeled
    mask = np.array([[0, 0, 0, 0, 1, 1, 0, 0, 1, 0]], np.uint8)
    confidence = np.array([[255] * 5 + [51] * 4 + [255]], np.uint8)  # 1.0 and 0.2
    found.on_truth(1, truth)
    hear(found, "mask", 1, mask)
    hear(found, "confidence", 1, confidence)
    # Five pixels at 1.0 with accuracy 4/5, four at 0.2 with accuracy 2/4.
    expected = (5 * abs(0.8 - 1.0) + 4 * abs(0.5 - 0.2)) / 9
    assert measure(found.measured())["calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_frames_without_truth_are_told_apart() -> None:
    found = scores()
    hear(found, "mask", 1, picture(1))
    hear(found, "confidence", 1, picture(2))
    found.on_truth(2, picture(3))  # its frame was dropped
    assert found.frames == []
    found.finish()
    assert [(frame.stamp_ns, frame.mean_iou) for frame in found.frames] == [(1, None)]
    accuracy = measure(found.measured())
    assert found.counts.with_truth == 0
    assert (accuracy["mean_iou"], accuracy["calibration_error"]) == (None, None)
    without = scores(has_truth=False)
    hear(without, "confidence", 5, picture(2))
    hear(without, "mask", 5, picture(1))
    assert [frame.stamp_ns for frame in without.frames] == [5]


def test_masks_without_truth_do_not_pile_up() -> None:
    found = scores()
    for stamp in range(2 * MOST_PENDING):
        hear(found, "mask", stamp, picture(1))
        hear(found, "confidence", stamp, picture(2))
    assert len(found.frames) == MOST_PENDING


def test_truth_that_does_not_fit_is_refused() -> None:
    found = scores()
    for stamp, truth in ((1, picture(1)[:3]), (2, np.full((6, 8), 77, np.uint8))):
        found.on_truth(stamp, truth)
        hear(found, "mask", stamp, picture(1))
        hear(found, "confidence", stamp, picture(2))
    assert found.counts.truth_refused == 2
    assert found.counts.problems[0].startswith("1 ns: ground truth has shape (3, 8) and ")
    assert "id 77" in found.counts.problems[1]
    assert found.counts.with_truth == 0
    assert len(found.frames) == 2
