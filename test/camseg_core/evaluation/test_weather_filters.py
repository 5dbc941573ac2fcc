# SPDX-License-Identifier: Apache-2.0
"""Fog, rain and snow: what they do to plain images, growth with severity, determinism."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from camseg_core.errors import CamsegError
from camseg_core.evaluation.corruptions import corrupt
from camseg_core.evaluation.weather_filters import (
    AIRLIGHT,
    FOG,
    RAIN,
    SEVERITIES,
    SNOW,
    WEATHER_FILTERS,
)
from camseg_core.images.arrays import UInt8


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def noise_image(height: int, width: int) -> UInt8:
    return generator(1).integers(0, 256, (height, width, 3), np.uint8)


def plain(grey: int, height: int = 128, width: int = 192) -> UInt8:
    return np.full((height, width, 3), grey, np.uint8)


def test_a_missing_library_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    for name in WEATHER_FILTERS:
        with pytest.raises(CamsegError, match=r"need albumentations .*pip install albumentations"):
            corrupt(plain(100), name, 1, generator())


# What follows needs the library.


@pytest.fixture(autouse=True)
def _albumentations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.originalname != "test_a_missing_library_is_named_with_its_install_command":
        monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        pytest.importorskip("albumentations")


def test_the_library_never_asks_for_a_newer_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE")
    corrupt(plain(100), "rain", 1, generator())
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
    # It makes its connection once, on the first question.
    assert sys.modules["albumentations.check_version"].opener is None


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_blends_with_airlight(severity: int) -> None:
    veil, patches = FOG[severity - 1]
    black = corrupt(plain(0), "fog", severity, generator())
    fog = black[..., 0] / AIRLIGHT  # the share of airlight, which the same generator gives again
    # The extremes of the pattern lose a little where it is scaled down.
    assert fog.min() == pytest.approx(veil - patches, abs=0.03)
    assert fog.max() == pytest.approx(veil + patches, abs=0.03)
    assert fog.mean() == pytest.approx(veil, abs=0.3 * patches)
    assert np.abs(np.diff(fog, axis=1)).max() < 0.5 * patches  # patches are smooth
    image = noise_image(128, 192)
    expected = image * (1 - fog[..., None]) + AIRLIGHT * fog[..., None]
    foggy = corrupt(image, "fog", severity, generator())
    assert np.abs(foggy - expected).max() <= 1.2


@pytest.mark.parametrize("severity", SEVERITIES)
def test_rain_darkens_and_draws_drops(severity: int) -> None:
    _, drop_grey, light = RAIN[severity - 1]
    white = corrupt(plain(255), "rain", severity, generator())
    np.testing.assert_array_equal(white, np.full_like(white, round(255 * light)))
    black = corrupt(plain(0), "rain", severity, generator())
    assert black.max() <= drop_grey * light + 1
    assert black.max() > 0.3 * drop_grey * light
    assert (black == black[..., :1]).all()  # drops are grey
    # Streaks: along a column pixels are alike, along a row they are not.
    columns, rows = np.diff(black[..., 0].astype(float), axis=0), np.diff(black[..., 0] * 1.0)
    assert np.abs(columns).mean() < 0.5 * np.abs(rows).mean()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_draws_flakes_under_a_veil(severity: int) -> None:
    _, _, veil = SNOW[severity - 1]
    black = corrupt(plain(0), "snow", severity, generator())
    assert black.min() == round(veil * AIRLIGHT)
    assert black.max() > 150
    assert 0.01 < (black > black.min()).mean() < 0.9
    white = corrupt(plain(255), "snow", severity, generator())
    assert white.min() == round(255 + veil * (AIRLIGHT - 255))


@pytest.mark.parametrize("name", WEATHER_FILTERS)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_severity_means_the_same_for_small_and_large_images(name: str, severity: int) -> None:
    means = [
        np.mean([corrupt(plain(50, 128 * k, 256 * k), name, severity, generator(seed)).mean()
                 for seed in range(3)])
        for k in (1, 4)
    ]  # fmt: skip
    assert means[0] == pytest.approx(means[1], rel=0.06)


@pytest.mark.parametrize("name", WEATHER_FILTERS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 1), (2, 5)])
def test_narrow_images_work(name: str, height: int, width: int) -> None:
    for severity in SEVERITIES:
        image = corrupt(plain(90, height, width), name, severity, generator())
        assert image.shape == (height, width, 3)
