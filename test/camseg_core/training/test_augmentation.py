# SPDX-License-Identifier: Apache-2.0
"""Paired augmentation: one geometry for image and labels, colours in closed form, determinism."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from augmentations import STILL
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.system.validation import parse
from camseg_core.training.augmentation import (
    LUMA,
    MAX_SIDE,
    AugmentationConfig,
    augment,
    color_matrix,
    draw_geometry,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def noise_image(height: int, width: int, seed: int = 1) -> UInt8:
    return generator(seed).integers(0, 256, (height, width, 3), np.uint8)


def noise_ids(height: int, width: int, seed: int = 2) -> UInt8:
    return generator(seed).integers(0, 19, (height, width), np.uint8)


def changed(image: UInt8, **changes: Any) -> UInt8:
    """One appearance change, everything else switched off."""
    ids = np.zeros(image.shape[:2], np.uint8)
    return augment(image, ids, replace(STILL, **changes), generator())[0]


# Geometry ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32))
def test_disabled_changes_nothing(height: int, width: int, seed: int) -> None:
    image, ids = noise_image(height, width), noise_ids(height, width)
    new_image, new_ids = augment(image, ids, STILL, generator(seed))
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_ids, ids)
    assert not np.shares_memory(new_image, image)
    assert not np.shares_memory(new_ids, ids)


def test_a_flip_mirrors_left_and_right_exactly() -> None:
    image, ids = noise_image(31, 44), noise_ids(31, 44)
    new_image, new_ids = augment(image, ids, replace(STILL, flip_probability=1.0), generator())
    np.testing.assert_array_equal(new_image, image[:, ::-1])
    np.testing.assert_array_equal(new_ids, ids[:, ::-1])


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, 1), (-90.0, 3), (180.0, 2)])
@pytest.mark.parametrize("side", [24, 25])
def test_a_quarter_turn_is_exact_and_positive_is_anticlockwise(
    degrees: float, turns: int, side: int
) -> None:
    image, ids = noise_image(side, side), noise_ids(side, side)
    config = replace(STILL, rotation_range_degrees=(degrees, degrees))
    new_image, new_ids = augment(image, ids, config, generator())
    np.testing.assert_array_equal(new_image, np.rot90(image, turns))
    np.testing.assert_array_equal(new_ids, np.rot90(ids, turns))


def test_a_flip_comes_before_the_turn() -> None:
    image, ids = noise_image(20, 20), noise_ids(20, 20)
    config = replace(STILL, flip_probability=1.0, rotation_range_degrees=(90.0, 90.0))
    new_image, new_ids = augment(image, ids, config, generator())
    np.testing.assert_array_equal(new_image, np.rot90(image[:, ::-1]))
    np.testing.assert_array_equal(new_ids, np.rot90(ids[:, ::-1]))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60), st.integers(0)
)
def test_a_crop_is_a_window_at_whole_pixels(
    height: int, width: int, crop_height: int, crop_width: int, seed: int
) -> None:
    # Larger than the source: the source lies anywhere in the window, its border goes on.
    image, ids = noise_image(height, width), noise_ids(height, width)
    config = replace(STILL, crop_size=(crop_height, crop_width))
    geometry = draw_geometry(height, width, config, generator(seed))
    left, top = (round(start) for start in geometry.source_from_output[:, 2])
    for start, side, crop in ((top, height, crop_height), (left, width, crop_width)):
        assert min(0, side - crop) <= start <= max(0, side - crop)
    rows, columns = np.arange(crop_height) + top, np.arange(crop_width) + left
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    source = np.ix_(np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))

    new_image, new_ids = augment(image, ids, config, generator(seed))
    np.testing.assert_array_equal(new_image, image[source])
    np.testing.assert_array_equal(new_ids, np.where(inside, ids[source], 255))


def test_every_place_of_the_window_is_drawn_up_to_both_ends() -> None:
    config = replace(STILL, crop_size=(4, 4))
    draw = generator()
    starts = {tuple(draw_geometry(6, 4, config, draw).source_from_output[:, 2]) for _ in range(200)}
    assert starts == {(0, 0), (0, 1), (0, 2)}


@pytest.mark.parametrize("factor", [2, 4])
def test_shrinking_averages_areas(factor: int) -> None:
    image, ids = noise_image(40, 60), noise_ids(40, 60)
    height, width = 40 // factor, 60 // factor
    config = replace(STILL, scale_range=(1 / factor, 1 / factor), crop_size=(height, width))
    new_image, new_ids = augment(image, ids, config, generator())
    blocks = image.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    assert np.abs(new_image - blocks).max() <= 0.5
    # The middle of a block lies between four pixels.
    middle = [
        ids[factor // 2 - 1 + down :: factor, factor // 2 - 1 + right :: factor]
        for down in (0, 1)
        for right in (0, 1)
    ]
    assert any(np.array_equal(new_ids, nearest) for nearest in middle)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(40, 240),
    width=st.integers(40, 240),
    scale=st.floats(0.3, 4),
    degrees=st.floats(-180, 180),
    crop=st.tuples(st.integers(20, 200), st.integers(20, 200)),
    seed=st.integers(0, 1000),
)
def test_labels_follow_the_image(
    height: int, width: int, scale: float, degrees: float, crop: tuple[int, int], seed: int
) -> None:
    # The image encodes each pixel's place as a ramp, which interpolation keeps; so do the labels.
    rows, columns = np.indices((height, width)).astype(np.uint8)
    image = np.dstack([columns, rows, columns])
    config = replace(
        STILL,
        flip_probability=0.5,
        scale_range=(scale, scale),
        rotation_range_degrees=(degrees, degrees),
        crop_size=crop,
    )
    new_image, new_columns = augment(image, columns, config, generator(seed))
    again, new_rows = augment(image, rows, config, generator(seed))
    np.testing.assert_array_equal(new_image, again)
    assert new_columns.shape == new_rows.shape == new_image.shape[:2] == crop
    np.testing.assert_array_equal(new_columns == 255, new_rows == 255)
    known = new_columns != 255
    # Half a pixel of nearest neighbour, half of rounding, 1/32 of OpenCV's steps; where areas are
    # averaged, half an area at the border.
    tolerance = 1.04 + (0.5 / scale if scale < 1 else 0.0)
    for channel, ids in ((0, new_columns), (1, new_rows)):
        difference = np.abs(new_image[..., channel].astype(float) - ids)[known]
        assert difference.max(initial=0) <= tolerance
    # And both are where the geometry says.
    geometry = draw_geometry(height, width, config, generator(seed))
    out_rows, out_columns = np.nonzero(known)
    places = geometry.source_from_output @ [out_columns, out_rows, np.ones_like(out_rows)]
    assert np.abs(places[0] - new_columns[known]).max(initial=0) <= 0.51
    assert np.abs(places[1] - new_rows[known]).max(initial=0) <= 0.51


def test_outside_is_unlabeled_and_repeats_the_border() -> None:
    image = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    ids = np.full((8, 8), 7, np.uint8)
    config = replace(STILL, scale_range=(0.5, 0.5))
    new_image, new_ids = augment(image, ids, config, generator())
    assert (new_image == (10, 20, 30)).all()
    assert (new_ids == 7).sum() == 16
    assert (new_ids == 255).sum() == 48


def test_draws_cover_their_ranges() -> None:
    config = replace(STILL, flip_probability=0.25, scale_range=(0.5, 2.0))
    draw = generator()
    drawn = [draw_geometry(64, 64, config, draw) for _ in range(2000)]
    flips = np.mean([geometry.source_from_output[0, 0] < 0 for geometry in drawn])
    assert flips == pytest.approx(0.25, abs=0.04)  # 4 standard deviations
    scales = np.array([geometry.scale for geometry in drawn])
    assert 0.5 <= scales.min() < 0.51
    assert 1.98 < scales.max() <= 2.0
    assert np.mean(scales < 1) == pytest.approx(0.5, abs=0.045)  # uniform in the logarithm


# Appearance --------------------------------------------------------------------------------------


def test_brightness_is_a_factor_that_saturates() -> None:
    image = np.array([[[0, 100, 201], [255, 3, 60]]], np.uint8)
    assert changed(image, brightness_range=(0.5, 0.5)).tolist() == [
        [[0, 50, 100], [128, 2, 30]]  # halves to even: 100.5 -> 100, 127.5 -> 128
    ]
    assert changed(image, brightness_range=(2.0, 2.0)).tolist() == [
        [[0, 200, 255], [255, 6, 120]],
    ]


def test_contrast_is_a_factor_about_the_mean_grey() -> None:
    image = np.array([[[40, 40, 40], [140, 140, 140]]], np.uint8)  # mean grey 90
    assert changed(image, contrast_range=(0.5, 0.5))[0, :, 0].tolist() == [65, 115]
    assert changed(image, contrast_range=(1.5, 1.5))[0, :, 0].tolist() == [15, 165]
    np.testing.assert_array_equal(changed(image, contrast_range=(0.0, 0.0)), np.full((1, 2, 3), 90))


def test_saturation_is_a_factor_about_each_pixels_grey() -> None:
    image = noise_image(9, 11)
    grey = image @ np.array(LUMA)
    zero = changed(image, saturation_range=(0.0, 0.0))
    assert (zero == zero[..., :1]).all()
    # OpenCV rounds the weights to 1/1024.
    assert np.abs(zero - grey[..., None]).max() <= 0.75
    half = changed(image, saturation_range=(0.5, 0.5))
    assert np.abs(half - (image + grey[..., None]) / 2).max() <= 0.75


def test_hue_turns_red_to_green_to_blue() -> None:
    image = np.array([[[200, 0, 0], [0, 90, 0], [10, 20, 30]]], np.uint8)
    third = changed(image, hue_range=(1 / 3, 1 / 3))
    assert third.tolist() == [[[0, 200, 0], [0, 0, 90], [30, 10, 20]]]
    back = changed(image, hue_range=(-1 / 3, -1 / 3))
    assert back.tolist() == [[[0, 0, 200], [90, 0, 0], [20, 30, 10]]]


def test_the_colour_changes_are_one_map_in_their_order() -> None:
    rgb = np.array([120.0, 60.0, 30.0])
    turned = color_matrix(0, 1, 1, 1, 0.07)[:, :3] @ rgb
    grey = np.dot(LUMA, turned)
    saturated = grey + 1.3 * (turned - grey)
    expected = 0.8 * 50 + 0.6 * (0.8 * saturated - 0.8 * 50)  # the mean grey is brightened too
    matrix = color_matrix(50, brightness=0.8, contrast=0.6, saturation=1.3, hue=0.07)
    np.testing.assert_allclose(matrix @ [*rgb, 1], expected)
    np.testing.assert_allclose(color_matrix(99, 1, 1, 1, 0), np.eye(3, 4), atol=1e-15)


def test_noise_has_the_stated_standard_deviation() -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    noise = changed(image, noise_sigma_range=(12.0, 12.0)).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=4 * 12 / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(12, abs=0.15)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.03


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    image = np.zeros((31, 31, 3), np.uint8)
    image[15, 15] = 255
    blurred = changed(image, blur_sigma_range=(1.5, 1.5))
    line = np.exp(-(np.arange(-15.0, 16) ** 2) / (2 * 1.5**2))
    expected = 255 * np.outer(line, line) / line.sum() ** 2
    assert np.abs(blurred - expected[..., None]).max() <= 1


# Randomness --------------------------------------------------------------------------------------


def test_the_same_state_gives_the_same_bytes_and_another_does_not() -> None:
    image, ids = noise_image(48, 64), noise_ids(48, 64)
    config = AugmentationConfig(crop_size=(32, 40))
    first = augment(image, ids, config, generator(5))
    second = augment(image, ids, config, generator(5))
    other = augment(image, ids, config, generator(6))
    for a, b, c in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.uint8
        assert (a != c).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000))
def test_any_size_works_and_the_input_stays(height: int, width: int, seed: int) -> None:
    image, ids = noise_image(height, width), noise_ids(height, width)
    image.setflags(write=False)
    ids.setflags(write=False)
    new_image, new_ids = augment(image, ids, AugmentationConfig(), generator(seed))
    assert (new_image.shape, new_image.dtype) == (image.shape, np.uint8)
    assert (new_ids.shape, new_ids.dtype) == (ids.shape, np.uint8)
    assert set(np.unique(new_ids)) <= {*np.unique(ids).tolist(), 255}


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip_probability": 1.5}, "flip_probability 1.5; a number from 0 to 1 is needed"),
        ({"flip_probability": float("nan")}, "flip_probability nan; "),
        (
            {"scale_range": (0.0, 1.0)},
            r"scale_range \(0.0, 1.0\); \(least, most\) with 0.05 <= least <= most <= 20 is needed",
        ),
        ({"scale_range": (2.0, 1.0)}, r"scale_range \(2.0, 1.0\); "),
        ({"rotation_range_degrees": (-200.0, 0.0)}, "-180 <= least <= most <= 180 is needed"),
        ({"brightness_range": (-1.0, 1.0)}, "brightness_range "),
        ({"contrast_range": (1.0, float("inf"))}, r"contrast_range \(1.0, inf\); "),
        ({"hue_range": (-0.6, 0.0)}, "-0.5 <= least <= most <= 0.5 is needed"),
        ({"blur_sigma_range": (0.0, 51.0)}, "blur_sigma_range "),
        ({"noise_sigma_range": (-1.0, 0.0)}, "noise_sigma_range "),
        ({"corruption_probability": 0.5}, "corruption_probability is set, but no corruptions"),
        ({"corruptions": {"rust": (0, 1)}}, "no corruption 'rust'; "),
        ({"corruptions": {"motion_blur": (0, 9)}}, "corruption motion_blur at level 0: "),
        ({"crop_size": (0, 5)}, r"crop_size \(0, 5\); \(height, width\) in pixels, from 1"),
        ({"crop_size": (5, MAX_SIDE + 1)}, "from 1 to 32766, is needed"),
    ],
)
def test_a_bad_setting_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CamsegError, match=message) as refusal:
        AugmentationConfig(**changes)
    assert "\n" not in str(refusal.value)


def test_plain_data_becomes_a_configuration() -> None:
    config = parse(AugmentationConfig, {"scale_range": [0.5, 2], "crop_size": [256, 512]}, "file")
    assert config == AugmentationConfig(scale_range=(0.5, 2), crop_size=(256, 512))
    with pytest.raises(CamsegError, match=r"^file: zoom is not known; known are flip_"):
        parse(AugmentationConfig, {"zoom": 1}, "file")
    with pytest.raises(CamsegError, match=r'^file: hue_range is "blue": '):
        parse(AugmentationConfig, {"hue_range": "blue"}, "file")


def test_corruptions_change_their_share_of_the_images() -> None:
    image, ids = noise_image(16, 16), noise_ids(16, 16)
    config = replace(
        STILL,
        corruption_probability=0.5,
        corruptions={"gaussian_noise": (5.0, 50.0), "motion_blur": (3.0, 9.0)},
    )
    results = [augment(image, ids, config, generator(seed)) for seed in range(200)]
    changed_images = [new for new, _ in results if (new != image).any()]
    assert 70 < len(changed_images) < 130
    blurred = [new for new in changed_images if new.astype(int).std() < 0.8 * image.std()]
    assert 0.3 < len(blurred) / len(changed_images) < 0.7  # both kinds are drawn
    assert all((new_ids == ids).all() for _, new_ids in results)
