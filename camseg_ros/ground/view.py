# SPDX-License-Identifier: Apache-2.0
"""One camera's drivable grid, frame by frame; mounting and calibration are found when needed."""

from __future__ import annotations

from array import array as byte_array
from collections.abc import Callable
from dataclasses import astuple, dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_ros.ground.camera_model import CameraModel, Mounting
from camseg_ros.ground.grid import UNKNOWN, GridGeometry, GroundProjection

FindMounting = Callable[[str, Time], Mounting]
"""Function that finds a camera's mounting by its frame_id and a time; raises CamsegError if it is
unknown."""

TOLERANCE_M, TOLERANCE_RAD = 0.001, 0.0001
"""A mounting that has changed by less is the same: at 20 m that is a tenth of a cell."""


@dataclass(frozen=True)
class GridRules:
    """What a frame's pixels mean for the grid.

    Attributes:
        table: Meaning of each class id, int8 [256], as `occupancy_table` returns it.
        least_confidence: Least confidence 0..255 of a pixel that says something.
        hidden: Value of cells that something upright hides.
    """

    table: NDArray[np.int8]
    least_confidence: int = 0
    hidden: int = UNKNOWN


@dataclass(eq=False)
class GroundView:
    """Projects a camera's masks on the ground; what cannot be done is told, and tried again.

    Attributes:
        geometry: Which part of the ground the grid shows.
        frame_id: Frame of the vehicle, in which the grid lies.
        find_mounting: Function that is asked for each frame where no mounting is given.
        warn: Function that is told why there is no grid.
        info_topic: Topic of the calibration.
        rectified: True if the camera's images are rectified.
        mounting: Where the camera is on the vehicle; None where `find_mounting` is to be asked.
        problem: Why there was no grid of the last frame; empty if there was one.
    """

    geometry: GridGeometry
    frame_id: str
    find_mounting: FindMounting
    warn: Callable[[str], object]
    info_topic: str
    rectified: bool
    mounting: Mounting | None = None
    problem: str = field(default="", init=False)
    _projection: GroundProjection | None = field(default=None, init=False)

    def message(
        self, class_ids: UInt8, confidence: UInt8, info: CameraInfo | None, rules: GridRules
    ) -> OccupancyGrid | None:
        """Build the grid of a mask; warn and return None if calibration or mounting is not known.

        Args:
            class_ids: Mask, uint8 [H, W], 255 = unlabeled.
            confidence: Confidence of each pixel, uint8 [H, W], 0..255.
            info: The calibration for the mask's size, with its header; None before it has come.
            rules: What the pixels mean.
        """
        try:
            if info is None:
                raise CamsegError(f"no camera_info has come on {self.info_topic}")
            projection = self._project(info)
        except CamsegError as error:
            self.problem = f"no drivable grid: {error}"
            self.warn(self.problem)
            return None
        self.problem = ""
        grid = projection.occupancy(
            class_ids, confidence, rules.table, rules.least_confidence, rules.hidden
        )
        return self._message(grid, info.header.stamp)

    def unknown(self, stamp: Time) -> OccupancyGrid:
        """Build the grid of the safe state, in which nothing is known."""
        size = (self.geometry.rows, self.geometry.columns)
        return self._message(np.full(size, UNKNOWN, np.int8), stamp)

    def _message(self, grid: NDArray[np.int8], stamp: Time) -> OccupancyGrid:
        message = OccupancyGrid(header=Header(stamp=stamp, frame_id=self.frame_id))
        message.info.map_load_time = stamp
        message.info.resolution = self.geometry.resolution_m
        message.info.height, message.info.width = grid.shape
        origin = message.info.origin
        origin.position.x, origin.position.y = self.geometry.origin_m
        origin.orientation.w = 1.0
        # The one type that the field takes without a slow check.
        message.data = byte_array("b", grid.tobytes())
        return message

    def _project(self, info: CameraInfo) -> GroundProjection:
        """Return the projection; it is made anew only when calibration or mounting has changed."""
        camera = CameraModel.from_camera_info(info, rectified=self.rectified)
        mounting = self.mounting or self.find_mounting(info.header.frame_id, info.header.stamp)
        last = self._projection
        if last is None or last.camera != camera or not _is_same(last.mounting, mounting):
            self._projection = last = GroundProjection(camera, mounting, self.geometry)
        return last


def _is_same(first: Mounting, second: Mounting) -> bool:
    """Return whether two mountings differ by less than the tolerances."""
    *places, roll, pitch, yaw = np.abs(np.subtract(astuple(first), astuple(second)))
    return max(places) < TOLERANCE_M and max(roll, pitch, yaw) < TOLERANCE_RAD
