# SPDX-License-Identifier: Apache-2.0
"""Sun, sky, lamps and exposure of one sequence, in each of the five conditions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from camseg_core.synthetic.arrays import Float32
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.randomness import Color, Draw, generator
from camseg_core.synthetic.textures.atlas import noise

SKY_KINDS = (("blue", 0.3), ("clouds", 0.3), ("overcast", 0.22), ("sunset", 0.1), ("white", 0.08))
PANORAMA = (96, 512)


@dataclass(frozen=True)
class Light:
    """The light of one sequence; colours are linear RGB.

    Attributes:
        to_sun: unit vector to the sun in world axes.
        sun, ambient: light of the sun and of the sky.
        zenith, horizon, cloud: colours of the sky and its clouds.
        cover: share of the sky that clouds cover.
        exposure: brightness that the camera aims at, about 1.
        white_balance: gain of each channel.
        softness: blur of shadows in map pixels.
        blur_px: blur of the lens in pixels of an image 512 pixels wide.
        noise_level: standard deviation of the sensor's noise in 8-bit steps.
        fog_density: extinction of the fog per metre.
        fog: colour of the fog.
        wet, snow: how wet or covered with snow the ground is, 0..1.
        night: whether lamps are lit.
    """

    to_sun: tuple[float, float, float]
    sun: Color
    ambient: Color
    zenith: Color
    horizon: Color
    cloud: Color
    cover: float
    exposure: float
    white_balance: Color
    softness: float
    blur_px: float
    noise_level: float
    fog_density: float
    fog: Color
    wet: float
    snow: float
    night: bool


def make_light(seed: int, sequence: int, condition: str) -> Light:
    """Draw the light of a sequence; the weather changes it, not the draws of clear weather."""
    draw = Draw(seed, sequence, "light")
    kind = draw.pick_weighted(SKY_KINDS)
    elevation = draw.uniform(0.18, 0.32) if kind == "sunset" else draw.uniform(0.45, 1.2)
    azimuth = draw.uniform(0, 6.2831853)
    flat, up = math.cos(elevation), math.sin(elevation)
    to_sun = (flat * math.sin(azimuth), flat * math.cos(azimuth), up)
    strength = draw.uniform(1.6, 2.8)
    sun: Color = (strength, strength * 0.95, strength * 0.86)
    ambient: Color = (0.5, 0.56, 0.66)
    zenith: Color = draw.near((0.16, 0.32, 0.72), 0.3)
    horizon: Color = draw.near((0.6, 0.72, 0.9), 0.15)
    cloud: Color = draw.near((0.95, 0.95, 0.97), 0.05)
    cover = draw.uniform(0.0, 0.3)
    softness = draw.uniform(0.8, 2.0)
    if kind == "clouds":
        cover = draw.uniform(0.4, 0.8)
    elif kind == "sunset":
        sun = (strength, strength * 0.62, strength * 0.3)
        ambient = (0.4, 0.38, 0.48)
        horizon = draw.near((0.95, 0.6, 0.34), 0.2)
        zenith = draw.near((0.28, 0.34, 0.55), 0.25)
        cloud = draw.near((0.8, 0.5, 0.45), 0.2)
        cover = draw.uniform(0.2, 0.6)
    greys = {"overcast": (0.4, 1.0), "white": (0.95, 1.1)}
    grey = draw.uniform(*greys[kind]) if kind in greys else None
    tint = draw.uniform(-0.09, 0.09)
    light = Light(
        to_sun=to_sun, sun=sun, ambient=ambient, zenith=zenith, horizon=horizon,
        cloud=cloud, cover=cover, exposure=draw.uniform(0.72, 1.35),
        white_balance=(1 + tint, 1.0, 1 - tint), softness=softness,
        blur_px=draw.uniform(0.35, 0.7), noise_level=draw.uniform(0.8, 3.0),
        fog_density=draw.uniform(0.0, 0.0018), fog=horizon, wet=0.0, snow=0.0, night=False,
    )  # fmt: skip
    if grey is not None:
        light = _overcast(light, grey)
    return _in_weather(light, condition, Draw(seed, sequence, "weather", condition))


def _overcast(light: Light, grey: float, **changes: Any) -> Light:
    """Return light from the whole of a grey sky, a soft sun straight above, with ``changes``."""
    usual: dict[str, Any] = {
        "to_sun": (0.08, 0.05, 0.995), "sun": (0.62, 0.63, 0.64), "ambient": (0.62, 0.63, 0.66),
        "zenith": (grey * 0.9, grey * 0.92, grey * 0.96), "horizon": (grey, grey, grey),
        "cloud": (grey * 0.75, grey * 0.77, grey * 0.8), "cover": 0.5, "softness": 3.5,
        "fog": (grey, grey, grey),
    }  # fmt: skip
    return replace(light, **{**usual, **changes})


def _in_weather(light: Light, condition: str, draw: Draw) -> Light:
    if condition == "fog":
        grey = draw.uniform(0.55, 0.95)
        return _overcast(
            light, grey, fog=draw.near((grey, grey, grey), 0.05),
            fog_density=draw.uniform(0.018, 0.075), cover=0.1, exposure=light.exposure * 1.5,
        )  # fmt: skip
    if condition == "rain":
        grey = draw.uniform(0.3, 0.65)
        return _overcast(
            light, grey, fog=(grey, grey, grey * 1.03), fog_density=draw.uniform(0.004, 0.014),
            wet=draw.uniform(0.5, 1.0), exposure=light.exposure * 1.05,
            noise_level=light.noise_level + 1.0, blur_px=light.blur_px + 0.15,
        )  # fmt: skip
    if condition == "snow":
        grey = draw.uniform(0.6, 0.95)
        return _overcast(
            light, grey, fog=(grey, grey, grey * 1.02), fog_density=draw.uniform(0.004, 0.02),
            snow=draw.uniform(0.35, 1.0), exposure=light.exposure * 1.55,
        )  # fmt: skip
    if condition == "night":
        sky = draw.uniform(0.004, 0.03)
        moon = draw.uniform(0.015, 0.05)
        return replace(
            light, to_sun=(0.08, 0.05, 0.995), sun=(0.0, 0.0, 0.0),
            ambient=(moon, moon, moon * 1.15), zenith=(sky, sky, sky * 1.4),
            horizon=(sky * 2.2, sky * 1.8, sky * 1.4), cloud=(sky * 2, sky * 1.8, sky * 1.6),
            fog_density=0.002, fog=(sky * 2, sky * 1.9, sky * 1.8), softness=3.0, night=True,
            exposure=light.exposure * draw.uniform(0.55, 0.8),
            noise_level=light.noise_level + draw.uniform(2.0, 6.0),
        )  # fmt: skip
    return light


def sky_panorama(seed: int, sequence: int, light: Light) -> Float32:
    """Paint the whole sky: rows from the horizon up, columns once around; float32 [96, 512, 3]."""
    random = generator(seed, sequence, "clouds")
    height, width = PANORAMA
    up = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    share = np.sqrt(up)
    horizon, zenith = np.array(light.horizon, np.float32), np.array(light.zenith, np.float32)
    sky = horizon * (1 - share) + zenith * share
    clouds = np.clip(
        (noise(random, 128, width, 8, 5, 0.6)[:height] * 1.6 + light.cover * 2 - 0.9) * 1.4, 0, 1
    )[..., None] * (0.4 + 0.6 * np.minimum(1, up * 5))
    shade = 1 + 0.25 * noise(random, 128, width, 16, 3)[:height, :, None]
    sky = sky * (1 - clouds) + np.array(light.cloud, np.float32) * clouds * shade
    if max(light.sun) > 1:
        column = (math.atan2(light.to_sun[0], light.to_sun[1]) / 6.2831853 % 1.0) * width
        away = np.abs(np.arange(width) - column)
        away = np.minimum(away, width - away)[None, :] * (6.2831853 / width)
        # A row's elevation, where row = tan / (1 + tan).
        elevation = np.arctan(up[..., 0] / np.maximum(1 - up[..., 0], 1e-3)).astype(np.float32)
        rise = np.abs(elevation - math.asin(light.to_sun[2]))
        glow = np.exp(-((away**2 + rise**2) / 0.06)).astype(np.float32)[..., None]
        sky = sky + 0.5 * glow * np.array(light.sun, np.float32)
    return np.ascontiguousarray(sky, np.float32)


def sky_image(panorama: Float32, camera: Camera, rows: int) -> Float32:
    """Return the sky in the top ``rows`` of the image: linear RGB float32 [rows, W, 3]."""
    if rows == 0:  # no sky in view
        return np.zeros((0, camera.width, 3), np.float32)
    column = (np.arange(camera.width) + 0.5 - camera.center_x) / camera.focal_px
    row = (np.arange(rows) + 0.5 - camera.center_y) / camera.focal_px
    height, width = PANORAMA
    turn = (np.arctan(column) + camera.yaw_rad) / 6.283185307 % 1.0 * width
    climb = np.maximum(-(row + camera.pitch_rad), 0.0)
    map_y = climb / (1 + climb) * (height - 1)
    map_x, map_y = np.meshgrid(turn.astype(np.float32), map_y.astype(np.float32))
    sky = cv2.remap(panorama, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sky, np.float32)
