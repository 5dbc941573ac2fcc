# SPDX-License-Identifier: Apache-2.0
"""Drivable space: a segmented frame seen from above, as an occupancy grid on the ground; no rclpy.

Each cell's centre on the ground, the plane z = 0 of the vehicle frame, is projected into the image
once (inverse perspective mapping, Mallot et al. 1991), and every frame then looks up the class
there. What stands upright covers, in the image, the ground that it hides: its foot alone is where
it is seen, and that is found along rays over the ground (`camseg_ros.ground.rays`). docs/node.md
says what follows from the one assumption, a flat ground.

Frames and pixels are those of `camseg_ros.ground.camera_model`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.labels import LabelSet
from camseg_ros.ground.camera_model import Bool, CameraModel, Mounting
from camseg_ros.ground.rays import GroundRays, Index, pixels_on_ground

Int8 = NDArray[np.int8]
Float64 = NDArray[np.float64]

FREE, OCCUPIED, UNKNOWN = 0, 100, -1
"""Values of a cell, as nav_msgs/OccupancyGrid has them."""

UPRIGHT = 1
"""Value of a pixel of something that stands on the ground, and hides what lies behind its foot."""

NEVER_GROUND = ("sky",)
"""Classes that hide the ground: where one of them shows, nothing is known of it."""

FLAT = ("road", "sidewalk", "pavement", "terrain", "parking", "ground", "lane markings")
"""Classes that lie on the ground and hide none of it, in the label sets that are known."""

MAX_CELLS = 4_000_000


@dataclass(frozen=True)
class GridGeometry:
    """Which part of the ground the grid shows: square cells from the vehicle's origin forward.

    The parameters of the node have ranges, which keep the lengths finite and the cells above 0.

    Attributes:
        resolution_m: Side of a cell, metres.
        forward_m: Length ahead of the vehicle's origin, rounded up to whole cells.
        sideways_m: Length to each side, rounded up.

    Raises:
        CamsegError: there is no cell, or there are more than `MAX_CELLS`.
    """

    resolution_m: float
    forward_m: float
    sideways_m: float

    def __post_init__(self) -> None:
        """Check the number of cells."""
        cells = self.rows * self.columns
        if not 1 <= cells <= MAX_CELLS:
            raise CamsegError(
                f"grid of {self.forward_m} m ahead and {self.sideways_m} m to each side in cells "
                f"of {self.resolution_m} m: must have 1 to {MAX_CELLS} cells; give another range "
                "or size of cells"
            )

    @property
    def columns(self) -> int:
        """Number of cells along x, the width of the OccupancyGrid."""
        return self._cells(self.forward_m)

    @property
    def rows(self) -> int:
        """Number of cells along y, the height of the OccupancyGrid."""
        return 2 * self._cells(self.sideways_m)

    @property
    def origin_m(self) -> tuple[float, float]:
        """Corner of the first cell with the least x and y, vehicle frame, metres."""
        return 0.0, -self._cells(self.sideways_m) * self.resolution_m

    def points(self) -> Float64:
        """Return each cell's centre (x, y), vehicle frame, metres: float64 [rows, columns, 2]."""
        x0, y0 = self.origin_m
        x = x0 + self.resolution_m * (np.arange(self.columns) + 0.5)
        y = y0 + self.resolution_m * (np.arange(self.rows) + 0.5)
        return np.stack(np.meshgrid(x, y), axis=-1)

    def _cells(self, length_m: float) -> int:
        return math.ceil(round(length_m / self.resolution_m, 6))


def occupancy_table(label_set: LabelSet, free_classes: Collection[str] = ("road",)) -> Int8:
    """Return what each class means for a cell: int8 [256] by class id.

    ``free_classes`` are `FREE`, other ones of `FLAT` are `OCCUPIED`, `NEVER_GROUND` and ids without
    a class (255, unlabeled, too) are `UNKNOWN`, all others are `UPRIGHT`.

    Raises:
        CamsegError: a free class is unknown, or can never be ground.
    """
    for name in free_classes:
        if name not in label_set.names or name in NEVER_GROUND:
            ground = [known for known in label_set.names if known not in NEVER_GROUND]
            raise CamsegError(f"free class {name!r}; must be one of {', '.join(ground)}")
    table = np.full(256, UNKNOWN, np.int8)
    for class_id, name in enumerate(label_set.names):
        if name in free_classes:
            table[class_id] = FREE
        elif name not in NEVER_GROUND:
            table[class_id] = OCCUPIED if name in FLAT else UPRIGHT
    return table


class GroundProjection:
    """Where the centre of each cell is in the mask of a fixed camera, computed once.

    Attributes:
        camera: Camera that made the mask.
        mounting: Where it is on the vehicle.
        in_view: Cells whose centre the camera sees, bool [rows, columns].
    """

    def __init__(self, camera: CameraModel, mounting: Mounting, geometry: GridGeometry) -> None:
        self.camera = camera
        self.mounting = mounting
        ground = geometry.points()
        pixel, seen = pixels_on_ground(camera, mounting, ground.reshape(-1, 2))
        self.in_view = seen.reshape(ground.shape[:2])
        self._pixel = pixel.reshape(ground.shape[:2])
        self._rays = GroundRays(camera, mounting, ground, geometry.resolution_m, self.in_view)

    def occupancy(
        self,
        class_ids: UInt8,
        confidence: UInt8,
        table: Int8,
        least_confidence: int = 0,
        hidden: int = UNKNOWN,
    ) -> Int8:
        """Return what a frame says of each cell.

        Args:
            class_ids: Mask of the camera model's size, uint8 [H, W], 255 = unlabeled.
            confidence: Confidence of each pixel, uint8 [H, W], 0..255.
            table: Meaning of each class id, int8 [256], as `occupancy_table` returns it.
            least_confidence: Least confidence 0..255; pixels below it are unknown.
            hidden: Value of cells that something upright hides, `UNKNOWN` or `OCCUPIED`.

        Returns:
            `FREE`, `OCCUPIED` or `UNKNOWN`, int8 [rows, columns]; rows by rising y (to the left),
            columns by rising x (forward), as nav_msgs/OccupancyGrid has them.
        """
        ids, sure = class_ids.reshape(-1), confidence.reshape(-1)

        def shown(pixel: Index, seen: Bool) -> Int8:
            known = seen & (sure[pixel] >= least_confidence)
            return np.where(known, table[ids[pixel]], np.int8(UNKNOWN))

        grid = shown(self._pixel, self.in_view)
        grid[grid == UPRIGHT] = hidden
        rays = self._rays
        along = shown(rays.pixel, rays.seen)
        grid.reshape(-1)[rays.feet(along == UPRIGHT, along != UNKNOWN)] = OCCUPIED
        return grid
