# SPDX-License-Identifier: Apache-2.0
"""The published protocol: hand-computed scores, squashed masks, and that it is not IoU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.evaluation.metrics.published import (
    nearest_color_ids,
    published_scores,
    squash_for_published,
)
from camseg_core.labels import CITYSCAPES, LabelSet
from camseg_core.models.palette_decoder import nearest_class, squared_distances

CLASS = {name: index for index, name in enumerate(CITYSCAPES.names)}
EVERY_CLASS = np.repeat(np.arange(19, dtype=np.uint8)[:, None], 8, axis=1)  # 8 pixels of each


def test_void_on_half_of_the_pixels_keeps_precision_at_one() -> None:
    half_void = EVERY_CLASS.copy()
    half_void[:, ::2] = 255
    counts = confusion_counts(EVERY_CLASS, half_void, 19)
    scores = published_scores(counts)
    assert scores.precision == (4 / (4 + 1e-10),) * 19
    assert scores.mean_precision == pytest.approx(1.0, abs=1e-10)
    # Why it is no IoU: the other protocol calls these pixels errors.
    official = official_scores(counts)
    assert official.mean_iou == 0.5
    assert official.pixel_accuracy == 0.5


def test_scores_by_hand() -> None:
    counts = np.array([[6, 2, 0, 9], [1, 4, 0, 0], [0, 2, 0, 0]])
    scores = published_scores(counts)
    assert scores.precision == pytest.approx((6 / 7, 4 / 8, 0.0), abs=1e-10)
    # Class 2 is never predicted and counts 0; the official mean would leave no such class out.
    assert scores.mean_precision == pytest.approx((6 / 7 + 0.5 + 0.0) / 3, abs=1e-10)


def test_a_blended_border_becomes_a_third_class() -> None:
    # Squashed to one pixel, building (70, 70, 70) and pole (153, 153, 153) blend to
    # (112, 112, 112), whose nearest colour is wall's, (102, 102, 156).
    building, pole = CLASS["building"], CLASS["pole"]
    mask = np.array([[building, pole], [building, pole]], np.uint8)
    image = np.array([[[0, 0, 0], [200, 100, 50]]] * 2, np.uint8)
    squashed, class_ids = squash_for_published(image, mask, CITYSCAPES, side=1)
    assert class_ids.tolist() == [[CLASS["wall"]]]
    assert squashed.tolist() == [[[100, 50, 25]]]
    assert class_ids.dtype == squashed.dtype == np.uint8


def test_most_pairs_of_classes_blend_to_a_third() -> None:
    pairs = [(one, other) for one in range(19) for other in range(one)]
    image = np.zeros((2, 2, 3), np.uint8)
    thirds = 0
    for pair in pairs:
        mask = np.array([pair, pair], np.uint8)
        _, class_ids = squash_for_published(image, mask, CITYSCAPES, side=1)
        thirds += class_ids[0, 0] not in pair
    assert len(pairs) == 171
    assert thirds == 131  # docs/metrics.md says so


def test_a_mask_of_one_class_stays_and_unlabeled_is_void() -> None:
    for class_id in (*range(19), 255):
        mask = np.full((5, 9), class_id, np.uint8)
        _, class_ids = squash_for_published(np.zeros((5, 9, 3), np.uint8), mask, CITYSCAPES, 7)
        assert (class_ids == class_id).all()
        assert class_ids.shape == (7, 7)


def test_of_two_equally_near_colours_the_first_wins_and_void_is_first() -> None:
    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    grey = np.full((1, 1, 3), 80, np.uint8)  # as near to each of red, green, blue
    for void, palette, expected in (
        (white, (blue, red, green), 0),
        (green, (blue, red, white), 255),
        (red, (white, green, blue), 255),
        (white, ((9, 250, 250), green, blue), 1),
    ):
        label_set = LabelSet("three", ("a", "b", "c"), palette, void)
        assert nearest_color_ids(grey, label_set).tolist() == [[expected]]


def test_every_colour_is_read_as_the_network_output_of_that_colour_would_be() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3, indexing="ij"), axis=-1)
    colors = grid.reshape(52, -1, 3).astype(np.uint8)  # 140608 colours
    decoded = torch.from_numpy(colors).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    palette = torch.from_numpy(CITYSCAPES.decoding_palette())
    expected = nearest_class(squared_distances(decoded, palette))[0].numpy()
    np.testing.assert_array_equal(nearest_color_ids(colors, CITYSCAPES), expected)
