# SPDX-License-Identifier: Apache-2.0
"""Rays over the ground, outward from the point below the camera: what stands where; no rclpy.

A ray over the ground is what a line of sight passes over. Where the mask shows something upright
after ground, the line of sight meets its foot; farther along the ray it meets the same thing higher
up, and the ground there is hidden. A ray that comes upon ground again, as over a low wall or beside
a pole, sees that ground, and what stands upright after it has a foot of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camseg_ros.ground.camera_model import Bool, CameraModel, Float64, Mounting

Index = NDArray[np.int32]

SAMPLES_PER_CELL = 2
"""Samples of a ray in the length of a cell, and rays in its width where the grid is farthest."""

_BLOCK = 500_000
"""About how many samples are projected at a time, so that a large grid takes no gigabytes."""


def pixels_on_ground(
    camera: CameraModel, mounting: Mounting, ground_m: Float64
) -> tuple[Index, Bool]:
    """Return the pixel that shows each point (x, y) of the ground [n, 2], and which are in view.

    Pixels are places in the mask's rows laid end to end, int32 [n]; 0 where there is none.
    """
    points = np.concatenate([ground_m, np.zeros_like(ground_m[:, :1])], axis=1)
    pixels, seen = camera.project(mounting.camera_points(points))
    column, row = np.floor(np.where(seen[:, None], pixels, 0.0) + 0.5).astype(np.int32).T
    return np.where(seen, row * np.int32(camera.width) + column, 0), seen


class GroundRays:
    """Rays over a grid, computed once for a camera.

    Attributes:
        pixel: Place of each sample's pixel in the mask, int32 [rays, samples], nearest first.
        seen: Samples that lie in view and on the grid, bool [rays, samples].
    """

    def __init__(
        self,
        camera: CameraModel,
        mounting: Mounting,
        centers_m: Float64,
        resolution_m: float,
        in_view: Bool,
    ) -> None:
        """Lay rays over the cells that are ``in_view``, bool [rows, columns].

        ``centers_m`` are the centres (x, y) of all cells, float64 [rows, columns, 2].
        """
        below = np.array([mounting.x_m, mounting.y_m])
        x, y = np.moveaxis(centers_m[in_view] - below, -1, 0)
        distance_m = np.hypot(x, y)
        # Against the direction of view, so that the angles of what it sees do not wrap around.
        turn = np.arctan2(y, x) - mounting.yaw_rad
        turn = np.arctan2(np.sin(turn), np.cos(turn))
        step_m = resolution_m / SAMPLES_PER_CELL
        step_rad = step_m / distance_m.max(initial=step_m)
        along_m = _steps(distance_m, step_m)
        angles = _steps(turn, step_rad) + mounting.yaw_rad
        blocks = np.array_split(angles, 1 + len(angles) * len(along_m) // _BLOCK)
        found = [
            _samples(camera, mounting, below, block, along_m, centers_m, resolution_m)
            for block in blocks
        ]
        self.pixel, self._cell, self.seen = map(np.concatenate, zip(*found, strict=True))
        self._place = np.arange(1, len(along_m) + 1, dtype=np.int32)

    def feet(self, upright: Bool, known: Bool) -> Index:
        """Return the cells in which something upright begins along a ray, each once or more often.

        What is not known, be it out of view or doubtful, neither ends what stands before it nor
        begins anything. At the near edge of the view the foot may lie before it: what is upright
        there counts as its foot.

        Args:
            upright: Samples that show what stands on the ground, bool [rays, samples].
            known: Samples that show anything that is known, bool [rays, samples].
        """
        # The last that is known so far: its place doubled, odd where it is upright.
        last = np.maximum.accumulate(np.where(known, 2 * self._place + upright, 0), axis=1)
        is_foot = upright.copy()
        is_foot[:, 1:] &= last[:, :-1] % 2 == 0
        return self._cell[is_foot]


def _steps(values: Float64, step: float) -> Float64:
    """Return numbers ``step`` apart that reach over all values; none without a value."""
    if not values.size:
        return values
    return np.arange(values.min() - step, values.max() + 2.0 * step, step)


def _samples(
    camera: CameraModel,
    mounting: Mounting,
    below: Float64,
    angles: Float64,
    along_m: Float64,
    centers_m: Float64,
    resolution_m: float,
) -> tuple[Index, Index, Bool]:
    """Return pixel and cell of each sample of some rays, and which are in view and on the grid."""
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    ground = below + directions[:, None] * along_m[:, None]  # [rays, samples, 2]
    shape = ground.shape[:2]
    pixel, seen = pixels_on_ground(camera, mounting, ground.reshape(-1, 2))
    rows, columns = centers_m.shape[:2]
    place = np.rint((ground - centers_m[0, 0]) / resolution_m).astype(np.int32)
    column, row = np.moveaxis(place, -1, 0)
    on_grid = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    seen = seen.reshape(shape) & on_grid
    return pixel.reshape(shape), np.where(seen, row * np.int32(columns) + column, 0), seen
