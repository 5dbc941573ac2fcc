# SPDX-License-Identifier: Apache-2.0
"""One camera's drivable grid, frame by frame; mounting and calibration are found when needed."""

from __future__ import annotations

from array import array as byte_array
from collections.abc import Callable, Sequence

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_ros.ground.camera_model import CameraModel, Mounting
from camseg_ros.ground.grid import GridGeometry, GroundProjection

FindMounting = Callable[[str], Mounting]
"""Finds a camera's mounting by its frame_id; CamsegError where it is not known (yet)."""


class GroundView:
    """Projects a camera's masks on the ground; what cannot be done is told, and tried again."""

    def __init__(
        self,
        geometry: GridGeometry,
        frame_id: str,
        find_mounting: FindMounting,
        warn: Callable[[str], object],
        *,
        rectified: bool,
    ) -> None:
        """Take what does not change; ``frame_id`` is the vehicle's, in which the grid lies."""
        self._geometry = geometry
        self._frame_id = frame_id
        self._find_mounting = find_mounting
        self._warn = warn
        self._rectified = rectified
        self._mounting: Mounting | None = None
        self._projection: GroundProjection | None = None

    def message(
        self,
        class_ids: UInt8,
        confidence: UInt8,
        info: CameraInfo,
        table: NDArray[np.int8],
        least_confidence: int,
    ) -> OccupancyGrid | None:
        """Build the grid of a mask; None, and a warning, where camera or mounting is not known.

        Args:
            class_ids: Mask, uint8 [H, W].
            confidence: Confidence of each pixel, uint8 [H, W].
            info: Calibration for this size; its header is the mask's.
            table: What each class id means for a cell, int8 [256].
            least_confidence: Least confidence 0..255; pixels below it say nothing.
        """
        try:
            projection = self._project(info)
        except CamsegError as error:
            self._warn(f"no drivable grid: {error}")
            return None
        grid = projection.occupancy(class_ids, confidence, table, least_confidence)
        message = OccupancyGrid(header=Header(stamp=info.header.stamp, frame_id=self._frame_id))
        message.info.map_load_time = info.header.stamp
        message.info.resolution = self._geometry.resolution_m
        message.info.height, message.info.width = grid.shape
        origin = message.info.origin
        origin.position.x, origin.position.y = self._geometry.origin_m
        origin.orientation.w = 1.0
        # The one type that the field takes without a slow check.
        message.data = byte_array("b", grid.tobytes())
        return message

    def _project(self, info: CameraInfo) -> GroundProjection:
        """Return the projection, made anew only when the calibration is another one."""
        camera = CameraModel.from_camera_info(info, rectified=self._rectified)
        if self._mounting is None:
            self._mounting = self._find_mounting(info.header.frame_id)
        if self._projection is None or self._projection.camera != camera:
            self._projection = GroundProjection(camera, self._mounting, self._geometry)
        return self._projection


def fixed_mounting(numbers: Sequence[float]) -> FindMounting:
    """Return a `FindMounting` of six numbers: x, y, z in metres, roll, pitch, yaw in radians.

    Raises:
        CamsegError: not six numbers, or they break a rule of a mounting.
    """
    if len(numbers) != 6:
        raise CamsegError(
            f"mounting has {len(numbers)} numbers; x, y, z in metres and roll, pitch, yaw in "
            "radians are needed"
        )
    mounting = Mounting(*numbers)
    return lambda frame_id: mounting
