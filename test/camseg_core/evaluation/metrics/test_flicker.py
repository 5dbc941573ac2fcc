# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from camseg_core.evaluation.metrics.flicker import FlickerCounts, flicker_counts


def ids(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_only_pixels_whose_truth_stands_still_count() -> None:
    counts = flicker_counts(
        ids([0, 0, 1, 255, 2, 2]),
        ids([0, 1, 1, 255, 255, 2]),  # stays, moves, stays, unlabeled, loses its label, stays
        ids([0, 0, 3, 0, 2, 2]),
        ids([1, 1, 3, 1, 0, 255]),  # flickers, -, wrong but steady, -, -, flickers to unlabeled
    )
    assert counts == FlickerCounts(stable=3, flickered=2)
    assert counts.share == pytest.approx(2 / 3)


def test_counts_add_and_nothing_has_no_share() -> None:
    assert FlickerCounts().share is None
    assert FlickerCounts(3, 1) + FlickerCounts(5, 0) == FlickerCounts(8, 1)
    assert (FlickerCounts(3, 1) + FlickerCounts(5, 0)).share == 1 / 8
