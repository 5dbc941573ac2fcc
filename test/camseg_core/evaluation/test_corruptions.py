# SPDX-License-Identifier: Apache-2.0
"""Corruptions: the published strengths, exact values on small images, selection, determinism."""

from __future__ import annotations

import colorsys
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import (
    CORRUPTIONS,
    PUBLISHED_CORRUPTIONS,
    Corruption,
    corrupt,
    corruption_generator,
    select_corruptions,
)
from camseg_core.images.arrays import UInt8

WEATHER = ("fog", "rain", "snow")
RANDOM = ("gaussian_noise", "salt_and_pepper")
needs_albumentations = pytest.mark.skipif(
    find_spec("albumentations") is None, reason="albumentations is not installed"
)
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "robustness.md"


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def noise_image(height: int, width: int, seed: int = 1) -> UInt8:
    return generator(seed).integers(0, 256, (height, width, 3), np.uint8)


def scene() -> UInt8:
    """Colours that vary at every scale, as in a picture of a street, 64 x 512."""
    total = np.zeros((64, 512, 3))
    for block in (1, 4, 16, 64):
        colors = noise_image(64 // block, 512 // block, seed=block)
        total += colors.repeat(block, axis=0).repeat(block, axis=1)
    return (total / 4).astype(np.uint8)


def test_the_eight_have_their_published_levels() -> None:
    assert {name: kind.levels for name, kind in PUBLISHED_CORRUPTIONS.items()} == {
        "gaussian_noise": (5, 10, 20, 30, 50, 100),
        "gaussian_blur": (1, 5, 11, 25, 50),
        "motion_blur": (3, 9, 15, 21, 35, 51, 75, 105, 151, 221),
        "salt_and_pepper": (1, 2, 5, 10, 25, 50, 60, 70, 80),
        "brightness": (0.5, 0.75, 1.25, 1.5),
        "contrast": (0.5, 0.75, 1.25, 1.5),
        "saturation": (0, 0.5, 1.5, 2),
        "hue": (-0.2, -0.1, 0.1, 0.2),
    }
    weather = {name: CORRUPTIONS[name].levels for name in WEATHER}
    assert weather == dict.fromkeys(WEATHER, (1, 2, 3, 4, 5))
    assert CORRUPTIONS.keys() == {*PUBLISHED_CORRUPTIONS, *WEATHER}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_documentation_lists_the_levels(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| ([^|]*) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert row is not None
    assert tuple(float(level) for level in row[1].split(",")) == CORRUPTIONS[name].levels


# Values ------------------------------------------------------------------------------------------


def test_gaussian_noise_is_rounded_and_clipped() -> None:
    image = noise_image(20, 30)
    drawn = generator(3).standard_normal(image.shape, np.float32)
    expected = np.clip(image + np.rint(drawn * np.float32(50)), 0, 255)
    np.testing.assert_array_equal(corrupt(image, "gaussian_noise", 50, generator(3)), expected)


@pytest.mark.parametrize("sigma", [1, 5, 11])
def test_gaussian_blur_is_a_gaussian(sigma: float) -> None:
    image = np.zeros((121, 121, 3), np.uint8)
    image[40:81, 40:81] = 240  # a square, since a point would round to nothing
    radius = (round(6 * sigma + 1) | 1) // 2
    line = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    step = np.convolve((image[60, :, 0] > 0).astype(float), line / line.sum(), "same")
    expected = 240 * np.outer(step, step)
    blurred = corrupt(image, "gaussian_blur", sigma, generator())
    assert np.abs(blurred - expected[..., None]).max() <= 2  # OpenCV's weights are 8-bit fractions


@pytest.mark.parametrize("length", [3, 9, 15, 21])
def test_motion_blur_of_a_point_is_a_horizontal_box(length: int) -> None:
    image = np.zeros((5, 51, 3), np.uint8)
    image[2, 25] = (255, 100, 30)
    expected = np.zeros((5, 51, 3))
    expected[2, 25 - length // 2 : 26 + length // 2] = np.rint(np.array([255, 100, 30]) / length)
    np.testing.assert_array_equal(corrupt(image, "motion_blur", length, generator()), expected)


@pytest.mark.parametrize("length", [4, 35, 221])
def test_motion_blur_mirrors_the_border_however_long_it_is(length: int) -> None:
    image = noise_image(3, 10)
    period = np.array([*range(10), *range(8, 0, -1)])  # the border pixel itself is not repeated
    columns = np.arange(10)[:, None] + np.arange(length) - length // 2
    mirrored = image[:, period[columns % len(period)]]  # [H, W, length, 3]
    blurred = corrupt(image, "motion_blur", length, generator())
    # OpenCV divides by small even lengths in whole numbers, and rounds up a quarter too much.
    assert np.abs(blurred - mirrored.mean(axis=2)).max() <= 0.75


@pytest.mark.parametrize("percent", [1, 10, 50, 80, 100])
def test_salt_and_pepper_hits_its_share_of_pixels(percent: float) -> None:
    image = np.full((300, 400, 3), 128, np.uint8)
    noisy = corrupt(image, "salt_and_pepper", percent, generator())
    for value in (0, 255):
        hit = noisy == value
        assert (hit.any(axis=2) == hit.all(axis=2)).all()  # all channels together
        share = percent / 200
        bound = 4 * np.sqrt(share * (1 - share) / hit[..., 0].size)
        assert hit[..., 0].mean() == pytest.approx(share, abs=bound)
    assert set(np.unique(noisy)) <= {0, 128, 255}


def test_brightness_and_contrast_are_factors() -> None:
    image = np.array([[[40] * 3, [140] * 3]], np.uint8)  # mean grey 90
    for name, factor, expected in (
        ("brightness", 0, [0, 0]),
        ("brightness", 0.5, [20, 70]),
        ("brightness", 1.5, [60, 210]),
        ("contrast", 0.5, [65, 115]),
        ("contrast", 1.5, [15, 165]),
    ):
        changed = corrupt(image, name, factor, generator())
        assert changed.tolist() == [[[value] * 3 for value in expected]]


def test_saturation_is_a_factor_about_each_pixels_grey() -> None:
    image = noise_image(20, 30)
    grey = image @ np.array([0.299, 0.587, 0.114])
    zero = corrupt(image, "saturation", 0, generator())
    assert (zero == zero[..., :1]).all()
    assert np.abs(zero[..., 0] - grey).max() <= 0.51
    double = corrupt(image, "saturation", 2, generator())
    assert np.abs(double - np.clip(2.0 * image - grey[..., None], 0, 255)).max() <= 1.51


def test_hue_turns_and_wraps() -> None:
    # Blue's hue is 170 of 255, so turns of 85 and more wrap to red and beyond.
    blue = np.array([[[0, 0, 255]]], np.uint8)
    bytes_of_turns = {-0.5: 43, -0.2: 119, -0.1: 145, 0.1: 195, 0.2: 221, 0.5: 41}
    for turn, hue in bytes_of_turns.items():
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue / 255, 1, 1))
        assert np.abs(corrupt(blue, "hue", turn, generator())[0, 0] - expected).max() <= 1


@pytest.mark.parametrize("name", PUBLISHED_CORRUPTIONS)
def test_identity_levels_give_an_equal_copy(name: str) -> None:
    image, level = noise_image(16, 17), CORRUPTIONS[name].identity
    assert level is not None
    same = corrupt(image, name, level, generator())
    np.testing.assert_array_equal(same, image)
    assert not np.shares_memory(same, image)


@needs_albumentations
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_stronger_level_is_farther_from_the_clean_image(name: str) -> None:
    image = scene()
    identity = CORRUPTIONS[name].identity or 0
    for sign in (-1, 1):
        levels = [level for level in CORRUPTIONS[name].levels if (level - identity) * sign > 0]
        distances = [
            np.abs(corrupt(image, name, level, generator()).astype(float) - image).mean()
            for level in sorted(levels, key=lambda level: abs(level - identity))
        ]
        assert (np.diff([0, *distances]) > 0).all(), (levels, distances)


# Any image, determinism --------------------------------------------------------------------------


@needs_albumentations
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(CORRUPTIONS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(CORRUPTIONS[name].levels))
    ),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_any_image_works_and_stays(corruption: tuple[str, float], height: int, width: int) -> None:
    image = noise_image(height, 2 * width)[::-1, ::2, ::-1]
    image.setflags(write=False)
    corrupted = corrupt(image, *corruption, generator())
    assert corrupted.shape == image.shape
    assert corrupted.dtype == np.uint8
    assert corrupted.flags.writeable
    assert not np.shares_memory(corrupted, image)
    expected = corrupt(image.copy(), *corruption, generator())
    np.testing.assert_array_equal(corrupted, expected)


def global_randomness() -> tuple[Any, ...]:
    return random.random(), np.random.random(), cv2.randu(np.zeros((2, 2)), 0, 1).tolist()


@needs_albumentations
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_generator_is_the_only_randomness(name: str) -> None:
    image = noise_image(40, 60)
    level = CORRUPTIONS[name].levels[-1]
    results = []
    for seed in (1, 2):
        drawn = []
        for work in (lambda: results.append(corrupt(image, name, level, generator(7))), int):
            random.seed(seed)
            np.random.seed(seed)
            cv2.setRNGSeed(seed)
            work()
            drawn.append(global_randomness())
        assert drawn[0] == drawn[1]
    np.testing.assert_array_equal(results[0], results[1])
    other = corrupt(image, name, level, generator(8))
    assert (other != results[0]).any() == (name in (*RANDOM, *WEATHER))


def test_the_generator_of_an_evaluation_is_a_function_of_its_arguments() -> None:
    def first(*arguments: Any) -> int:
        return int(corruption_generator(*arguments).integers(2**63))

    base = (0, "a/b.png", "gaussian_noise", 10)
    assert first(*base) == first(0, "a/b.png", "gaussian_noise", 10.0) == PINNED_DRAW
    others = [
        (1, "a/b.png", "gaussian_noise", 10),
        (0, "a/c.png", "gaussian_noise", 10),
        (0, "a/b.png", "salt_and_pepper", 10),
        (0, "a/b.png", "gaussian_noise", 20),
    ]
    assert len({first(*base), *(first(*other) for other in others)}) == 5
    assert first(0, "a", "hue", 0.0) == first(0, "a", "hue", -0.0)
    with pytest.raises(CamsegError, match="no corruption 'noise'; give none alone"):
        corruption_generator(0, "a", "noise", 1)


PINNED_DRAW = 824930037948134444
"""So that results of old and new versions stay comparable."""


# Selection ---------------------------------------------------------------------------------------


def sweep(*names: str) -> tuple[Corruption, ...]:
    return tuple(Corruption(name, level) for name in names for level in CORRUPTIONS[name].levels)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" none ", ()),
        ("all,weather", sweep(*CORRUPTIONS)),
        ("gaussian_noise", sweep("gaussian_noise")),
        ("gaussian_noise:10,fog:3", (Corruption("gaussian_noise", 10), Corruption("fog", 3))),
        ("hue:-0.33", (Corruption("hue", -0.33),)),
        ("gaussian_noise: 7.5", (Corruption("gaussian_noise", 7.5),)),
        ("fog:3, fog:3.0 ,fog:3", (Corruption("fog", 3),)),
        (
            "hue:0.1,hue,hue:-0.2",
            tuple(Corruption("hue", level) for level in (0.1, -0.2, -0.1, 0.2)),
        ),
    ],
)
def test_a_text_selects(text: str, expected: tuple[Corruption, ...]) -> None:
    assert select_corruptions(text) == expected


def test_a_corruption_prints_as_it_is_selected() -> None:
    everything = select_corruptions("all,weather")
    assert str(everything[0]) == "gaussian_noise:5"
    assert select_corruptions(",".join(map(str, everything))) == everything
    assert len(everything) == 6 + 5 + 10 + 9 + 4 * 4 + 3 * 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "noise",
            r"^no corruption 'noise'; give none alone, or a comma list of all, weather, NAME and "
            r"NAME:LEVEL with gaussian_noise \(5, 10, 20, 30, 50, 100\); gaussian_blur .*"
            r"snow \(1, 2, 3, 4, 5\)$",
        ),
        ("fog,", "^no corruption ''; "),
        ("none,fog", "^no corruption 'none'; give none alone"),
        ("all:3", "^no corruption 'all'; "),
        (
            "gaussian_noise:much",
            r"^corruption gaussian_noise at level 'much': its level is standard deviation in grey "
            r"levels, a number from 0 to 255 \(a sweep takes 5, 10, 20, 30, 50, 100\)$",
        ),
        ("fog:", "^corruption fog at level '': its level is severity, a whole number from 1 to 5"),
        ("fog:0", "^corruption fog at level 0: "),
        ("fog:2.5", "^corruption fog at level 2.5: "),
        ("motion_blur:2.5", "^corruption motion_blur at level 2.5: its level is length in pixels"),
        ("salt_and_pepper:101", "share of the pixels in percent, a number from 0 to 100"),
        ("hue:0.6", "turn as a share of the full circle, a number from -0.5 to 0.5"),
        ("brightness:-1", "its level is factor, a number from 0 to 10"),
        ("contrast:nan", "^corruption contrast at level nan: "),
    ],
)
def test_a_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(CamsegError, match=message) as refusal:
        select_corruptions(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("image", "name", "level", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), "noise", 1, "no corruption 'noise'; give none alone"),
        (np.zeros((4, 4, 3), np.uint8), "gaussian_noise", -1, "gaussian_noise at level -1: "),
        (np.zeros((4, 4), np.uint8), "hue", 0.1, r"shape \(4, 4\); uint8 \[height, width, 3\]"),
    ],
)
def test_bad_input_is_refused(image: Any, name: str, level: float, message: str) -> None:
    with pytest.raises(CamsegError, match=message):
        corrupt(image, name, level, generator())


def test_neither_torch_nor_albumentations_is_imported() -> None:
    program = (
        "import sys, numpy, camseg_core.evaluation.corruptions as c; "
        "c.corrupt(numpy.zeros((4, 4, 3), 'uint8'), 'hue', 0.1, numpy.random.default_rng(0)); "
        "print(sorted({'torch', 'albumentations'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.strip() == "[]"
