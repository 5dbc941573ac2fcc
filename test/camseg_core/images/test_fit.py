# SPDX-License-Identifier: Apache-2.0
"""From any image size to the model's input and back, by both resize policies."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8, check_image
from camseg_core.images.fit import Fit
from camseg_core.models.configs import InputConfig

STRIDE = 16
PAD = InputConfig(resize="pad", height=256, width=512)
SQUASH = InputConfig(resize="squash", height=96, width=96)

SIZES = [(375, 1242), (360, 480), (1080, 1920), (1, 1), (1, 5000), (5000, 1), (256, 512), (33, 97)]
"""Heights and widths: KITTI, CamVid, full HD, the extremes, the input's own, odd ones."""


def noise(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "scaled", "input_size"),
    [
        ((375, 1242), (155, 512), (160, 512)),
        ((360, 480), (256, 341), (256, 352)),
        ((1080, 1920), (256, 455), (256, 464)),
        ((1, 5000), (1, 512), (16, 512)),
        ((256, 512), (256, 512), (256, 512)),
    ],
)
def test_pad_keeps_the_aspect_and_pads_to_the_stride(
    size: tuple[int, int], scaled: tuple[int, int], input_size: tuple[int, int]
) -> None:
    fit = Fit.of(*size, PAD, STRIDE)
    assert (fit.height, fit.width) == size
    assert (fit.scaled_height, fit.scaled_width) == scaled
    assert (fit.input_height, fit.input_width) == input_size


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6000),
    st.integers(1, 6000),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([8, 16, 32]),
)
def test_pad_rules_hold_for_every_size(
    height: int, width: int, grid: tuple[int, int], stride: int
) -> None:
    config = InputConfig(resize="pad", height=grid[0] * stride, width=grid[1] * stride)
    fit = Fit.of(height, width, config, stride)
    assert fit.input_height % stride == 0
    assert fit.input_width % stride == 0
    assert 1 <= fit.scaled_height <= fit.input_height <= config.height
    assert 1 <= fit.scaled_width <= fit.input_width <= config.width
    # No more padding than the stride asks for, and no smaller image than fits.
    assert fit.input_height - fit.scaled_height < stride
    assert fit.input_width - fit.scaled_width < stride
    assert fit.scaled_height == config.height or fit.scaled_width == config.width
    # The aspect is kept to within half a pixel, or a side is one pixel, the least there is.
    scale = min(Fraction(config.height, height), Fraction(config.width, width))
    half = Fraction(1, 2) + Fraction(1, 10**6)  # the product may round in floating point
    assert abs(fit.scaled_height - height * scale) <= half or fit.scaled_height == 1
    assert abs(fit.scaled_width - width * scale) <= half or fit.scaled_width == 1


def assert_nearly_equal(actual: UInt8, expected: UInt8) -> None:
    """Assert that values differ by one grey level at most, and only one in a hundred does."""
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@pytest.mark.parametrize("size", SIZES)
def test_squash_is_pillows_bilinear(size: tuple[int, int]) -> None:
    image = noise(*size)
    expected = Image.fromarray(image).resize((96, 96), Image.Resampling.BILINEAR)
    fit = Fit.of(*size, SQUASH, STRIDE)
    assert fit == Fit(*size, 96, 96, 96, 96)
    actual = fit.to_input(image)
    assert actual.dtype == np.uint8
    assert_nearly_equal(actual, np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_pad_is_pillows_bilinear_at_the_top_left_with_its_border_repeated(
    size: tuple[int, int],
) -> None:
    image = noise(*size)
    fit = Fit.of(*size, PAD, STRIDE)
    height, width = fit.scaled_height, fit.scaled_width
    expected = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    actual = fit.to_input(image)
    assert actual.dtype == np.uint8
    assert actual.shape == (fit.input_height, fit.input_width, 3)
    assert_nearly_equal(actual[:height, :width], expected)
    right = np.broadcast_to(
        actual[:height, width - 1 : width], (height, fit.input_width - width, 3)
    )
    np.testing.assert_array_equal(actual[:height, width:], right)
    below = np.broadcast_to(actual[height - 1], (fit.input_height - height, *actual.shape[1:]))
    np.testing.assert_array_equal(actual[height:], below)


def test_class_ids_go_to_the_input_by_nearest_neighbour_and_padding_is_unlabeled() -> None:
    ids = np.array([[1, 2], [3, 4]], np.uint8)
    fit = Fit.of(2, 2, InputConfig(resize="pad", height=4, width=9), 8)
    expected = np.full((8, 8), 255, np.uint8)
    expected[:4, :4] = ids.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(fit.to_input_ids(ids), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([PAD, SQUASH]))
@example(375, 1242, PAD)
@example(360, 480, SQUASH)
def test_results_come_back_as_the_value_under_each_pixels_centre(
    height: int, width: int, config: InputConfig
) -> None:
    fit = Fit.of(height, width, config, STRIDE)
    result = np.random.default_rng(1).integers(
        0, 256, (fit.input_height, fit.input_width), np.uint8
    )
    back = fit.from_input(result)
    assert back.shape == (height, width)
    # The centre of pixel i is at (i + 1/2) n / N of n source pixels. Where it falls on the border
    # of two, or within one part of 65536 of it (fixed point), either is right.
    rows = [candidates(index, fit.scaled_height, height) for index in range(height)]
    columns = [candidates(index, fit.scaled_width, width) for index in range(width)]
    choices = [result[np.ix_([r[i] for r in rows], [c[j] for c in columns])] for i, j in PAIRS]
    assert np.any([back == choice for choice in choices], axis=0).all()
    certain = np.ix_([r[0] == r[1] for r in rows], [c[0] == c[1] for c in columns])
    np.testing.assert_array_equal(back[certain], choices[0][certain])


PAIRS = ((0, 0), (0, 1), (1, 0), (1, 1))


def candidates(index: int, source: int, target: int) -> tuple[int, int]:
    place = Fraction((2 * index + 1) * source, 2 * target)
    slack = Fraction(target, 1 << 16)  # the fixed-point step is added up once per pixel
    return max(0, int(place - slack)), min(source - 1, int(place + slack))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[[1, 2, 3]]], "an image is a list; a numpy array is needed"),
        (Image.new("RGB", (2, 2)), "an image is a Image; a numpy array is needed"),
        (np.zeros((2, 2, 3), np.float32), r"an image is float32 of shape \(2, 2, 3\); uint8 \["),
        (np.zeros((2, 2), np.uint8), r"an image is uint8 of shape \(2, 2\); uint8 \[height, wid"),
        (np.zeros((2, 2, 4), np.uint8), r"an image is uint8 of shape \(2, 2, 4\); uint8 \[heigh"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"an image is uint8 of shape \(1, 2, 2, 3\); uint8"),
        (np.zeros((0, 2, 3), np.uint8), r"an image of shape \(0, 2, 3\) has no pixels"),
        (np.zeros((2, 0, 3), np.uint8), r"an image of shape \(2, 0, 3\) has no pixels"),
    ],
)
def test_what_is_no_image_is_refused_and_an_image_given_back(image: object, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        check_image(image)
    good = noise(1, 1)
    assert check_image(good) is good
