# SPDX-License-Identifier: Apache-2.0
"""Palette decoding: the nearest colour as published, and probabilities that agree with it."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camseg_core.labels import CITYSCAPES, UNLABELED
from camseg_core.models.palette_decoder import class_shares, nearest_class, squared_distances

PALETTE = torch.from_numpy(CITYSCAPES.decoding_palette())


def decoded_from(colors: list[tuple[float, float, float]]) -> Tensor:
    """Return the decoder output [1, 3, 1, W] that stands for colours in 0..1."""
    return (torch.tensor(colors).T[None, :, None] - 0.5) / 0.5


def classes_of(colors: list[tuple[float, float, float]], palette: Tensor = PALETTE) -> list[int]:
    classes = nearest_class(squared_distances(decoded_from(colors), palette))
    assert classes.dtype == torch.uint8
    assert classes.shape == (1, 1, len(colors))
    return classes[0, 0].tolist()


def pixels() -> st.SearchStrategy[list[tuple[float, float, float]]]:
    channel = st.floats(-1.5, 2.5, width=32)
    return st.lists(st.tuples(channel, channel, channel), min_size=1, max_size=20)


def test_each_colour_has_its_class_and_void_is_255() -> None:
    colors = [tuple(channel / 255 for channel in color) for color in CITYSCAPES.palette]
    assert classes_of([*colors, (0.0, 0.0, 0.0)]) == [*range(19), UNLABELED]


@settings(max_examples=60, deadline=None)
@given(pixels())
def test_the_nearest_colour_wins(colors: list[tuple[float, float, float]]) -> None:
    palette = PALETTE.numpy().astype(np.float64)
    for color, class_id in zip(colors, classes_of(colors), strict=True):
        distances = np.linalg.norm(palette - color, axis=1)
        row = 0 if class_id == UNLABELED else class_id + 1
        assert distances[row] <= distances.min() + 1e-6


def test_the_first_of_two_equally_near_colours_wins() -> None:
    palette = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # void, 0, 1
    assert classes_of([(0.5, 0.5, 0.0)], palette) == [0]
    assert classes_of([(0.0, 0.5, 0.5)], palette) == [UNLABELED]
    swapped = palette[[1, 0, 2]]
    assert classes_of([(0.5, 0.5, 0.0)], swapped) == [UNLABELED]
    assert classes_of([(0.0, 0.5, 0.5)], swapped) == [0]


def test_colours_are_not_clamped() -> None:
    palette = torch.tensor([[0.0, 0.0, 1.0], [0.9, 0.0, 0.0], [1.0, 0.4, 0.0]])
    # (5, 0.1, 0) is nearer to class 1; clamped to (1, 0.1, 0) it would be nearer to class 0.
    assert classes_of([(5.0, 0.1, 0.0), (1.0, 0.1, 0.0)], palette) == [1, 0]


def test_colours_are_not_rounded_to_bytes() -> None:
    palette = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.504, 0.504, 0.504]])
    # 0.5021 is nearer to 0.504; as a byte it is 128, 0.50196, nearer to 0.5.
    assert classes_of([(0.5021, 0.5021, 0.5021)], palette) == [1]


@settings(max_examples=60, deadline=None)
@given(pixels(), st.floats(1e-3, 10.0))
def test_probabilities_are_a_softmax_with_voids_share_left_out(
    colors: list[tuple[float, float, float]], temperature: float
) -> None:
    distances = squared_distances(decoded_from(colors), PALETTE)
    probabilities = class_shares(distances, temperature)[0, 1:, 0]  # [C, W]
    assert probabilities.shape == (19, len(colors))
    scores = -distances[0, :, 0].double().numpy() / temperature
    shares = np.exp(scores - scores.max(axis=0))
    shares /= shares.sum(axis=0)
    np.testing.assert_allclose(probabilities.numpy(), shares[1:], atol=2e-5)
    np.testing.assert_allclose(probabilities.sum(dim=0).numpy() + shares[0], 1.0, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(pixels(), st.floats(1e-3, 10.0))
def test_the_most_probable_class_is_the_nearest_colours(
    colors: list[tuple[float, float, float]], temperature: float
) -> None:
    distances = squared_distances(decoded_from(colors), PALETTE)
    probabilities = class_shares(distances, temperature)[0, 1:, 0]
    for place, class_id in enumerate(classes_of(colors)):
        if class_id != UNLABELED:
            assert probabilities[class_id, place] == probabilities[:, place].max()
        else:  # void is more probable than any class, so that no class has half
            assert probabilities[:, place].max() <= 0.5


def test_a_pixel_of_voids_colour_is_confident_of_no_class() -> None:
    # Truck, (0, 0, 70), is the nearest: exp(-(70 / 255)^2 / 0.01) of void's share.
    distances = squared_distances(decoded_from([(0.0, 0.0, 0.0)]), PALETTE)
    assert class_shares(distances, 0.01)[:, 1:].max() < 0.001
