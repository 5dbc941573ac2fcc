# SPDX-License-Identifier: Apache-2.0
"""The cameras' mountings on the vehicle, looked up in tf."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from camseg_core.errors import CamsegError
from camseg_ros.ground.camera_model import Mounting


class TransformedMountings:
    """Looks mountings up in tf, where tf2_ros is installed; it comes with a ROS 2 installation.

    It listens from the first look-up to `close`; `GroundView` calls it as its `FindMounting`.
    """

    def __init__(self, node: Node, vehicle_frame: str) -> None:
        """Take the node that listens to tf, and the frame in which the cameras are mounted."""
        self._node = node
        self._vehicle_frame = vehicle_frame
        self._buffer: Any = None
        self._listener: Any = None

    def __call__(self, frame_id: str) -> Mounting:
        """Return the mounting of the camera whose frame is ``frame_id``.

        Raises:
            CamsegError: tf has none (yet), or tf2_ros is not installed.
        """
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError:
            raise CamsegError(
                "the camera's mounting is not given and tf2_ros is not installed; set "
                "<camera>.mounting"
            ) from None
        if self._listener is None:
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, self._node)
        try:  # the newest one
            stamped = self._buffer.lookup_transform(self._vehicle_frame, frame_id, Time())
        except TransformException as error:
            raise CamsegError(
                f"the camera's mounting is not given, and tf has none: {error}"
            ) from error
        return Mounting.from_transform(stamped.transform)

    def close(self) -> None:
        """Stop listening: the node holds the listener's subscriptions, which hold the listener."""
        if self._listener is not None:
            self._listener.unregister()
        self._buffer = self._listener = None
