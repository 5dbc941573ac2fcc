# SPDX-License-Identifier: Apache-2.0
"""One camera's drivable grid, frame by frame; mounting and calibration are found when needed."""

from __future__ import annotations

from array import array as byte_array
from collections.abc import Callable
from dataclasses import dataclass, field

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
"""Function that finds a camera's mounting by its frame_id; raises CamsegError if it is unknown."""


@dataclass(eq=False)
class GroundView:
    """Projects a camera's masks on the ground; what cannot be done is told, and tried again.

    Attributes:
        geometry: Which part of the ground the grid shows.
        frame_id: Frame of the vehicle, in which the grid lies.
        find_mounting: Function that finds the camera's mounting where none is given.
        warn: Function that is told why there is no grid.
        rectified: True if the camera's images are rectified.
        mounting: Where the camera is on the vehicle; None until it is found.
    """

    geometry: GridGeometry
    frame_id: str
    find_mounting: FindMounting
    warn: Callable[[str], object]
    rectified: bool
    mounting: Mounting | None = None
    _projection: GroundProjection | None = field(default=None, init=False)

    def message(
        self,
        class_ids: UInt8,
        confidence: UInt8,
        info: CameraInfo,
        table: NDArray[np.int8],
        least_confidence: int,
    ) -> OccupancyGrid | None:
        """Build the grid of a mask; warn and return None if calibration or mounting is not known.

        The mask is described by the arguments of `GroundProjection.occupancy`, and by ``info``, the
        calibration for its size with its header.
        """
        try:
            projection = self._project(info)
        except CamsegError as error:
            self.warn(f"no drivable grid: {error}")
            return None
        grid = projection.occupancy(class_ids, confidence, table, least_confidence)
        message = OccupancyGrid(header=Header(stamp=info.header.stamp, frame_id=self.frame_id))
        message.info.map_load_time = info.header.stamp
        message.info.resolution = self.geometry.resolution_m
        message.info.height, message.info.width = grid.shape
        origin = message.info.origin
        origin.position.x, origin.position.y = self.geometry.origin_m
        origin.orientation.w = 1.0
        # The one type that the field takes without a slow check.
        message.data = byte_array("b", grid.tobytes())
        return message

    def _project(self, info: CameraInfo) -> GroundProjection:
        """Return the projection; it is made anew only when the calibration has changed."""
        camera = CameraModel.from_camera_info(info, rectified=self.rectified)
        if self.mounting is None:
            self.mounting = self.find_mounting(info.header.frame_id)
        if self._projection is None or self._projection.camera != camera:
            self._projection = GroundProjection(camera, self.mounting, self.geometry)
        return self._projection
