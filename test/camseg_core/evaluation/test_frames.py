# SPDX-License-Identifier: Apache-2.0
"""Pictures of the worst and best frames: which are kept, how they look, what a kill leaves."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.data.sample import Sample, SampleMetadata
from camseg_core.evaluation.frames import (
    KEPT_FRAMES,
    PICTURES,
    FrameKeeper,
    FrameScore,
    picture_path,
    worst_and_best,
)
from camseg_core.labels import CITYSCAPES

SMALL = (
    Sample(
        np.full((2, 3, 3), 100, np.uint8),
        np.array([[0, 1, 255], [13, 13, 2]], np.uint8),
        SampleMetadata("a", "made", "val"),
    ),
    np.array([[0, 0, 0], [13, 13, 2]], np.uint8),
    np.array([[255, 0, 128], [1, 2, 3]], np.uint8),
)


def scores_of(values: list[float], steps: int = 4) -> list[FrameScore]:
    return [FrameScore(value, f"{index}.png", steps) for index, value in enumerate(values)]


def kept_samples(folder: Path, scores: list[FrameScore]) -> set[str]:
    """Name the frames that have all their pictures; none may have only some."""
    kept = set()
    for score in scores:
        found = [picture_path(folder, score, kind).is_file() for kind in PICTURES]
        assert all(found) or not any(found)
        if all(found):
            kept.add(score.sample)
    assert len(kept) * len(PICTURES) == sum(path.is_file() for path in folder.rglob("*"))
    return kept


def test_worst_first_then_best_first_and_none_twice() -> None:
    worst, best = worst_and_best(scores_of([0.5, 0.1, math.nan, 0.9, 0.3, 0.7]), 2)
    assert [score.score for score in worst] == [0.1, 0.3]
    assert [score.score for score in best] == [0.9, 0.7]
    worst, best = worst_and_best(scores_of([0.5, 0.1, 0.9]), 2)
    assert [score.score for score in worst] == [0.1, 0.5]
    assert [score.score for score in best] == [0.9]
    assert worst_and_best([]) == ([], [])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10), max_size=25), st.integers(0, 25))
def test_what_is_kept_is_the_worst_and_best_however_often_it_starts_again(
    tmp_path_factory: object, values: list[int], stop: int
) -> None:
    folder = tmp_path_factory.mktemp("run")  # type: ignore[attr-defined]  # pytest's factory
    scores = scores_of([value / 10 for value in values])
    for part in (scores[:stop], scores[stop:]):
        earlier = scores[:stop] if part is not scores[:stop] and stop else []
        keeper = FrameKeeper(folder, CITYSCAPES, earlier)
        for score in part:
            keeper.offer(score, *SMALL)
            keeper.prune()
    worst, best = worst_and_best(scores)
    assert kept_samples(folder, scores) == {score.sample for score in (*worst, *best)}


def test_each_number_of_steps_has_its_own(tmp_path: Path) -> None:
    keeper = FrameKeeper(tmp_path, CITYSCAPES, [])
    for steps in (1, 4):
        for score in scores_of([0.1 * index for index in range(9)], steps):
            keeper.offer(score, *SMALL)
            keeper.prune()
    keeper.offer(FrameScore(math.nan, "unlabeled.png", 9), *SMALL)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["steps-0001", "steps-0004"]
    count = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert count == 2 * 2 * KEPT_FRAMES * len(PICTURES)


def test_pictures_hold_what_their_names_say(tmp_path: Path) -> None:
    score = FrameScore(0.5, "0.png", 4)
    FrameKeeper(tmp_path, CITYSCAPES, []).offer(score, *SMALL)
    stored = {
        kind: cv2.imread(str(picture_path(tmp_path, score, kind)), cv2.IMREAD_UNCHANGED)
        for kind in PICTURES
    }
    assert np.abs(stored["image"].astype(int) - 100).max() <= 2
    for kind, ids in (("truth", SMALL[0].ground_truth), ("prediction", SMALL[1])):
        np.testing.assert_array_equal(stored[kind][..., ::-1], CITYSCAPES.color_image(ids))
    np.testing.assert_array_equal(stored["confidence"], SMALL[2])


def test_wide_pictures_are_made_smaller(tmp_path: Path) -> None:
    ids = np.zeros((50, 1300), np.uint8)
    wide = Sample(np.zeros((50, 1300, 3), np.uint8), ids, SMALL[0].metadata)
    score = FrameScore(0.5, "0.png", 4)
    FrameKeeper(tmp_path, CITYSCAPES, []).offer(score, wide, ids, ids)
    for kind in PICTURES:
        picture = cv2.imread(str(picture_path(tmp_path, score, kind)))
        assert picture.shape[:2] == (25, 640), kind


def test_what_a_kill_left_is_removed_by_the_next_start(tmp_path: Path) -> None:
    scores = scores_of([0.1 * index for index in range(9)])
    keeper = FrameKeeper(tmp_path, CITYSCAPES, [])
    for score in scores:
        keeper.offer(score, *SMALL)  # never pruned
    assert len(kept_samples(tmp_path, scores)) == 9
    FrameKeeper(tmp_path, CITYSCAPES, scores)
    assert kept_samples(tmp_path, scores) == {score.sample for score in scores} - {"4.png"}
