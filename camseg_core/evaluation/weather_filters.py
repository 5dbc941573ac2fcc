# SPDX-License-Identifier: Apache-2.0
"""Fog, rain and snow for images that have none, made with albumentations.

The depth of an image is not known, so fog is as thick near as far (the synthetic drive has fog by
depth), snow does not lie on the ground, and wet roads do not mirror.

albumentations' own RandomFog draws visible discs, RandomSnow's texture adds the snow to the hue and
overflows to black, and its plasma transform ignores a negative contrast (2.0.8). So only its
patterns are used, drawn on black: the plasma is the density of fog (as in ImageNet-C, Hendrycks and
Dietterich, 2019), the drops are rain and, if short and white, snow.

Every filter takes an RGB image uint8 [H, W, 3], a severity 1..5 and a generator, from which one
integer is drawn for each pattern. It raises `CamsegError` if albumentations is not installed.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8

SEVERITIES = (1, 2, 3, 4, 5)

CANVAS_SIDE = 640
"""Longer side in pixels of the canvas that patterns are drawn on before they are scaled to the
image's size, so that a severity means the same for small and large images."""

AIRLIGHT = 225
"""Grey level of thick fog and of a snowy sky."""

FOG = ((0.25, 0.10), (0.40, 0.13), (0.55, 0.15), (0.68, 0.16), (0.80, 0.16))
"""For each severity of fog: mean share of the light that comes from the fog instead of the scene,
0..1; and what is added to it in the densest patch and taken off in the thinnest."""

RAIN = (
    ("drizzle", 100, 0.9),
    ("default", 120, 0.8),
    ("heavy", 120, 0.7),
    ("heavy", 160, 0.6),
    ("torrential", 160, 0.5),
)
"""For each severity of rain: albumentations' ``rain_type``, which is drops per row of the canvas:
1/4 (drizzle), 1/3 (default), 1 (heavy) or 2 (torrential); what a drop adds to the image, in grey
levels; and the factor of the brightness, 0..1."""

SNOW = (
    ("default", 2, 0.05),
    ("heavy", 2, 0.12),
    ("torrential", 2, 0.2),
    ("torrential", 3, 0.3),
    ("torrential", 3, 0.45),
)
"""For each severity of snowfall: ``rain_type`` of the flakes; size of the nearest flakes in pixels
of the canvas; and the share of the light that comes from far flakes instead of the scene, 0..1."""


def add_fog(image: UInt8, severity: int, generator: np.random.Generator) -> UInt8:
    """Blend an image with airlight, more in some places (Koschmieder's law)."""
    veil, patches = FOG[severity - 1]
    plasma = _albumentations().PlasmaBrightnessContrast(
        brightness_range=(1.0, 1.0),  # on black, this is the pattern itself
        contrast_range=(0.0, 0.0),
        roughness=0.5,  # smooth: each finer octave is half as strong
        p=1.0,
    )
    pattern = _pattern(plasma, image.shape, generator)[..., 0].astype(np.float32) / 255  # [H, W]
    fog = veil + patches * (2 * pattern - 1)
    return np.asarray(cv2.blendLinear(image, np.full_like(image, AIRLIGHT), 1 - fog, fog), np.uint8)


def add_rain(image: UInt8, severity: int, generator: np.random.Generator) -> UInt8:
    """Darken an image and draw falling drops on it."""
    density, drop_grey, light = RAIN[severity - 1]
    layer = _drops(
        image.shape,
        generator,
        rain_type=density,
        drop_length=24,
        slant_range=(-8, 8),  # pixels that a drop moves sideways over its length
        drop_color=(drop_grey,) * 3,
        blur_value=2,
    )
    return np.asarray(cv2.convertScaleAbs(cv2.add(image, layer), alpha=light), np.uint8)


def add_snow(image: UInt8, severity: int, generator: np.random.Generator) -> UInt8:
    """Draw far and near flakes on an image under a pale veil."""
    density, nearest, veil = SNOW[severity - 1]
    veiled = cv2.convertScaleAbs(image, alpha=1 - veil, beta=veil * AIRLIGHT)
    snowy = np.asarray(veiled, np.uint8)
    for size in (1, nearest):  # far, then near
        layer = _drops(
            image.shape,
            generator,
            rain_type=density,
            drop_length=size,
            drop_width=size,
            slant_range=(-size, size),
            drop_color=(255, 255, 255),
            blur_value=2,
        )
        snowy = np.asarray(cv2.add(snowy, layer), np.uint8)
    return snowy


WEATHER_FILTERS: Mapping[str, Callable[[UInt8, int, np.random.Generator], UInt8]] = {
    "fog": add_fog,
    "rain": add_rain,
    "snow": add_snow,
}
"""Filters by the name of the weather: (image, severity, generator) -> image."""


def _drops(shape: tuple[int, ...], generator: np.random.Generator, **settings: Any) -> UInt8:
    """Return drops on black, uint8 of ``shape`` [H, W, 3]; sizes are pixels of the canvas."""
    height, _ = _canvas_size(shape)
    # A drop must fit into the canvas.
    settings["drop_length"] = min(settings["drop_length"], height - 1)
    rain = _albumentations().RandomRain(brightness_coefficient=1.0, p=1.0, **settings)
    return _pattern(rain, shape, generator)


def _pattern(transform: Any, shape: tuple[int, ...], generator: np.random.Generator) -> UInt8:
    """Apply an albumentations transform to a black canvas, scaled to uint8 of ``shape`` [H, W, 3].

    The transform's generators are its own; they are seeded by one integer from ``generator``.
    """
    transform.set_random_seed(int(generator.integers(2**32)))
    drawn = transform(image=np.zeros((*_canvas_size(shape), 3), np.uint8))["image"]
    height, width = shape[:2]
    method = cv2.INTER_AREA if max(height, width) < CANVAS_SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(drawn, (width, height), interpolation=method), np.uint8)


def _canvas_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of the canvas for an image of ``shape`` [H, W, 3]."""
    height, width = shape[:2]
    factor = CANVAS_SIDE / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _albumentations() -> Any:
    """Return the module albumentations, which takes seconds to import and few runs need."""
    # If this is not set, its import asks the package registry for a newer version.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        return importlib.import_module("albumentations")
    except ImportError as error:
        raise CamsegError(
            f"fog, rain and snow need albumentations ({error}); "
            "install it: pip install albumentations==2.0.8"
        ) from error
