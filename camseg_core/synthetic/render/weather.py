# SPDX-License-Identifier: Apache-2.0
"""From surface colours to a photograph: headlights, reflections, fog, rain, snow, lens, sensor."""

from __future__ import annotations

import cv2
import numpy as np

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Float32
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.randomness import Draw
from camseg_core.synthetic.render.light import Light
from camseg_core.synthetic.render.shading import HEADLIGHT_COLOR


def photograph(
    image: Float32, mirror: Float32, depth_m: Float32, camera: Camera, light: Light, draw: Draw,
    grain: Float32,
) -> UInt8:  # fmt: skip
    """Return the photograph, RGB uint8 [H, W, 3], of linear RGB ``image`` [H, W, 3], used up.

    ``mirror`` [H, W] is the share of light that each pixel mirrors, 0..1; ``grain``: see `develop`.
    """
    if light.night:
        add_headlights(image, depth_m, camera, light)
    if light.wet:
        add_reflections(image, mirror, camera)
    add_fog(image, depth_m, light)
    if light.night or light.wet:
        add_glare(image)
    if light.wet:
        add_streaks(image, draw, light)
    if light.snow:
        add_flakes(image, draw, light)
    return develop(image, light, draw, grain)


def add_headlights(image: Float32, depth_m: Float32, camera: Camera, light: Light) -> None:
    """Light what is ahead with the ego vehicle's headlights, in place [H, W, 3].

    How bright a surface is under the sky alone tells its albedo; the beam multiplies that.
    """
    column = (np.arange(camera.width, dtype=np.float32) + 0.5 - camera.center_x) / camera.focal_px
    row = (np.arange(camera.height, dtype=np.float32) + 0.5 - camera.center_y) / camera.focal_px
    row = row + np.float32(camera.pitch_rad)
    across = np.exp(-((column / 0.6) ** 2))
    above = np.where(row < 0, np.exp(-((row / 0.09) ** 2)), np.exp(-(((row - 0.05) / 0.3) ** 2)))
    beam = (above[:, None] * across).astype(np.float32)
    reach = 1.0 / (1.0 + (depth_m * np.float32(1 / 16.0)) ** 2)
    gain = beam * reach * np.float32(17.0)
    dim = np.minimum(image, np.float32(0.8) * np.array(light.ambient, np.float32))
    dim *= gain[..., None] * (
        np.array(HEADLIGHT_COLOR, np.float32) * np.float32(0.03 / light.ambient[1])
    )
    image += dim


def add_reflections(image: Float32, mirror: Float32, camera: Camera) -> None:
    """Mirror the scene in wet ground, in place; ``mirror`` [H, W] is the mirrored share."""
    horizon = camera.center_y - camera.focal_px * camera.pitch_rad
    below = int(min(max(horizon, 0), camera.height))
    if below == camera.height:
        return
    source = np.clip(np.round(2 * horizon - np.arange(below, camera.height)), 0, camera.height - 1)
    flipped = image[source.astype(np.intp)]
    flipped = cv2.blur(flipped, (3, max(3, camera.height // 12) | 1))
    image[below:] += (flipped - image[below:]) * mirror[below:, :, None]


def add_fog(image: Float32, depth_m: Float32, light: Light) -> None:
    """Apply Koschmieder's law in place: I = J t + A (1 - t), t = exp(-density depth)."""
    clear = cv2.exp(np.minimum(depth_m, 2000.0) * np.float32(-light.fog_density))
    fog = np.array(light.fog, np.float32)
    image -= fog
    image *= clear[..., None]
    image += fog


def add_glare(image: Float32) -> None:
    """Spread light that is brighter than white, in place."""
    height, width = image.shape[:2]
    bright = np.maximum(image - np.float32(0.9), 0)
    small = cv2.resize(bright, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), max(0.8, width / 220))
    image += cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(1.4)


def add_streaks(image: Float32, draw: Draw, light: Light) -> None:
    """Add falling rain in place, lighter than what is behind it."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    slope = draw.uniform(-0.25, 0.25)
    for _ in range(int(60 + 160 * light.wet)):
        x, y = draw.uniform(0, width), draw.uniform(-0.1, 1) * height
        length = draw.uniform(6, 26) * (width / 512)
        end = (int(x + slope * length), int(y + length))
        cv2.line(layer, (int(x), int(y)), end, (int(draw.uniform(30, 110)),), 1)
    _blend(image, layer, light, 0.6, 1.2)


def add_flakes(image: Float32, draw: Draw, light: Light) -> None:
    """Add falling snow in place: many small flakes, and a few near ones out of focus."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    size = width / 512
    drift = draw.uniform(-3, 3) * size
    for _ in range(int(90 + 260 * light.snow)):
        near = draw.uniform() ** 6
        radius = (0.5 + 3.2 * near) * size
        x, y = int(draw.uniform(0, width)), int(draw.uniform(0, height))
        value = int(draw.uniform(120, 230) * (1 - 0.55 * near))
        end = (int(x + drift * (0.3 + near)), int(y + (1.5 + 5 * near) * size))
        cv2.line(layer, (x, y), end, (value,), max(1, round(2 * radius)))
    _blend(image, layer, light, 0.7, 1.15)


def _blend(image: Float32, layer: UInt8, light: Light, blur: float, brightness: float) -> None:
    """Cover the image with ``layer`` [H, W], 255 opaque, which is brighter than the fog."""
    soft = np.asarray(cv2.GaussianBlur(layer, (0, 0), blur), np.float32)
    share = soft[..., None] * np.float32(1 / 255)
    image += (np.array(light.fog, np.float32) * np.float32(brightness) - image) * share


def develop(image: Float32, light: Light, draw: Draw, grain: Float32) -> UInt8:
    """Expose, compress highlights, encode, blur by the lens and add sensor noise.

    ``image``, linear RGB [H, W, 3], is used up. ``draw`` chooses a part of ``grain``: normal noise
    of standard deviation 1, larger than the image, [h, w, 3]. Returns RGB uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    sample = np.minimum(image[::4, ::4], 1.5)
    # The camera meters the image; steps of 1/32 keep rounding from showing.
    metered = round(32 * float(np.log2(max(float(sample.mean()), 0.004)))) / 32
    gain = 0.27 * light.exposure / 2**metered
    if light.night:  # a longer exposure than this would blur
        gain = min(gain, 3.2)
    image *= np.array(light.white_balance, np.float32) * np.float32(gain)
    # Reinhard et al. 2002, equation 4, with white at 1.5; then about the sRGB curve.
    curve = 1 + image * np.float32(1 / 1.5**2)
    curve *= image
    image += 1
    curve /= image
    np.maximum(curve, 0, out=curve)
    encoded: Float32 = np.sqrt(curve)
    sigma = light.blur_px * max(1.0, width / 1024)
    kernel = (0, 0) if sigma > 1 else (3, 3)
    encoded = np.asarray(cv2.GaussianBlur(encoded, kernel, sigma), np.float32)
    y, x = draw.integer(grain.shape[0] - height + 1), draw.integer(grain.shape[1] - width + 1)
    encoded *= np.float32(255)
    encoded += grain[y : y + height, x : x + width] * np.float32(light.noise_level)
    return np.asarray(cv2.convertScaleAbs(np.maximum(encoded, 0)), np.uint8)
