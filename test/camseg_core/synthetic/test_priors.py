# SPDX-License-Identifier: Apache-2.0
"""Neither colour nor position tells the class: simple classifiers that know one of them fail."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from camseg_core.synthetic.drive import SyntheticDrive

SIZE = (96, 48)
CLASSES = 19
BINS = 32
LIMIT = 0.30
Data = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def frames(seeds: Iterable[int], count: int) -> Data:
    """Images [n, H, W, 3] and class ids [n, H, W], each of another world."""
    rendered = [
        SyntheticDrive(seed, *SIZE, frames_per_sequence=1).frame(index)
        for seed in seeds
        for index in range(count)
    ]
    return np.stack([frame.image for frame in rendered]), np.stack([f.class_ids for f in rendered])


@pytest.fixture(scope="module")
def training() -> Data:
    return frames(range(20, 22), 10)


@pytest.fixture(scope="module")
def held_out() -> Data:
    return frames(range(9000, 9001), 8)


def mean_iou(truth: NDArray[np.uint8], predicted: NDArray[np.intp]) -> float:
    confusion = np.bincount(
        (truth.astype(np.int64) * CLASSES + predicted).ravel(), minlength=CLASSES**2
    ).reshape(CLASSES, CLASSES)
    hits = np.diag(confusion)
    return float((hits / np.maximum(confusion.sum(0) + confusion.sum(1) - hits, 1)).mean())


def weightings(counts: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Weights per class that favour frequent classes, rare ones, or neither."""
    totals = counts.reshape(-1, CLASSES).sum(axis=0)
    return [np.ones(CLASSES), 1 / np.sqrt(totals), 1 / totals]


def color_bins(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    part = (images // (256 // BINS)).astype(np.int64)
    return (part[..., 0] * BINS + part[..., 1]) * BINS + part[..., 2]


def test_colour_does_not_tell_the_class(training: Data, held_out: Data) -> None:
    keys = (color_bins(training[0]) * CLASSES + training[1]).ravel()
    counts = np.bincount(keys, minlength=BINS**3 * CLASSES).reshape(-1, CLASSES).astype(float)
    scores = [
        mean_iou(held_out[1], (counts * weights).argmax(axis=1)[color_bins(held_out[0])])
        for weights in weightings(counts)
    ]
    assert 0.02 < max(scores) < LIMIT


def test_position_does_not_tell_the_class(training: Data, held_out: Data) -> None:
    counts = np.stack([(training[1] == k).sum(axis=0) for k in range(CLASSES)], -1).astype(float)
    scores = [
        mean_iou(held_out[1], np.broadcast_to((counts * weights).argmax(-1), held_out[1].shape))
        for weights in weightings(counts)
    ]
    assert 0.02 < max(scores) < LIMIT
