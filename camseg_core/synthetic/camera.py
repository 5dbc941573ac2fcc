# SPDX-License-Identifier: Apache-2.0
"""The camera of the synthetic drive: a pinhole without roll.

World axes: x right, y ahead, z up, metres. Camera axes: x right, y down, z along the view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Camera:
    """Intrinsics and pose of the camera in one frame.

    Attributes:
        width, height: size of the image in pixels.
        focal_px: focal length in pixels, the same in x and y.
        center_x, center_y: principal point in pixels; pixel (0, 0) has its centre at (0.5, 0.5).
        position_m: position in the world, metres; the last number is the height above the road.
        yaw_rad: heading in radians, 0 along the world's y axis, positive to the right.
        pitch_rad: angle below the horizontal in radians, positive when the camera looks down.
    """

    width: int
    height: int
    focal_px: float
    center_x: float
    center_y: float
    position_m: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float


def cos_sin(angle_rad: float) -> tuple[float, float]:
    """Return cosine and sine, rounded so that the last digit of a C library does not matter."""
    return round(math.cos(angle_rad), 12), round(math.sin(angle_rad), 12)
