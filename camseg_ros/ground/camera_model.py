# SPDX-License-Identifier: Apache-2.0
"""A camera on a vehicle: where it is, how it looks, and which pixel sees a point. No rclpy.

Vehicle frame (REP 103): x forward, y left, z up, metres; its z = 0 is the road, as in
base_footprint. Camera frame (REP 103, optical): x right, y down, z along the view. Pixels are those
of the mask, and (0, 0) is the centre of the first one, as in sensor_msgs/CameraInfo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from camseg_core.errors import CamsegError

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]

PINHOLE_DISTORTIONS = {"plumb_bob": (4, 5), "rational_polynomial": (8,)}
"""Distortion models of CameraInfo and their numbers of coefficients, which OpenCV orders alike."""

NEAREST_M = 0.05
"""Points nearer to the camera's plane count as behind it."""

_OPTICAL_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Right, down and along the view as columns, of a camera that looks forward and level."""

LARGEST_NUMBER = 1e6
"""Largest focal length, coordinate of a principal point and coefficient of a distortion."""

SMALLEST_TERM = 1e-12
"""Coefficients of the distortion's polynomials that are smaller, where the first is 1, are 0."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Mounting:
    """Where the camera is on the vehicle.

    The angles turn a camera that looks forward and level about the vehicle's fixed axes, first
    roll about x, then pitch about y, then yaw about z (REP 103), right-handed.

    Attributes:
        x_m, y_m, z_m: Centre of the camera in the vehicle frame, metres; z_m is above the road.
        roll_rad: Angle that tilts the camera's right side down, if positive.
        pitch_rad: Angle that makes the camera look down, if positive.
        yaw_rad: Angle that makes the camera look to the left, if positive.

    Raises:
        CamsegError: a number is not finite, the camera is not above the road, or an angle lies
            outside -pi..pi.
    """

    x_m: float
    y_m: float
    z_m: float
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        """Check position and angles."""
        for name, value in vars(self).items():
            if name.endswith("_m") and not math.isfinite(value):
                raise CamsegError(f"camera mounting {name} {value}: must be finite")
            if name.endswith("_rad") and not abs(value) <= math.pi:
                raise CamsegError(f"camera mounting {name} {value}: must be -pi to pi, in radians")
        if self.z_m <= 0.0:
            raise CamsegError(
                f"camera mounting z_m {self.z_m}: must be above 0, the road; "
                "is the vehicle frame's origin on the ground?"
            )

    @classmethod
    def from_transform(cls, transform: Any) -> Mounting:
        """Read a geometry_msgs/Transform from the camera's optical frame to the vehicle frame.

        That is ``transform`` of what tf2 gives for target vehicle frame, source optical frame.

        Raises:
            CamsegError: the quaternion is not of length 1, or a rule of the mounting is broken.
        """
        position, turn = transform.translation, transform.rotation
        quaternion = np.array([turn.x, turn.y, turn.z, turn.w], np.float64)
        length = float(np.linalg.norm(quaternion))
        if not abs(length - 1.0) < 1e-2:
            raise CamsegError(f"camera transform: quaternion of length {length}; 1 is needed")
        *axis, w = quaternion / length
        cross = np.cross(axis, np.eye(3)).T  # cross @ v is the cross product of axis and v
        rotation = np.eye(3) + 2.0 * w * cross + 2.0 * cross @ cross
        body = rotation @ _OPTICAL_AXES.T
        level = math.hypot(body[0, 0], body[1, 0])
        pitch = math.atan2(-body[2, 0], level)
        if level > 1e-9:
            roll = math.atan2(body[2, 1], body[2, 2])
            yaw = math.atan2(body[1, 0], body[0, 0])
        else:  # looks straight down or up: roll and yaw are about one axis, and yaw takes all
            roll, yaw = 0.0, math.atan2(-body[0, 1], body[1, 1])
        return cls(position.x, position.y, position.z, roll, pitch, yaw)

    def rotation(self) -> Float64:
        """Return the rotation from the camera frame to the vehicle frame: float64 [3, 3]."""
        angles = np.diag([self.roll_rad, self.pitch_rad, self.yaw_rad])
        about_x, about_y, about_z = (cv2.Rodrigues(turn)[0] for turn in angles)
        return np.asarray(about_z @ about_y @ about_x @ _OPTICAL_AXES)

    def camera_points(self, points_m: Float64) -> Float64:
        """Bring points of the vehicle frame [n, 3] into the camera frame [n, 3], metres."""
        position = np.array([self.x_m, self.y_m, self.z_m])
        return np.asarray((points_m - position) @ self.rotation())


@dataclass(frozen=True)
class CameraModel:
    """How the camera makes the image that was segmented, in pixels of the mask.

    Attributes:
        width, height: Size of the mask.
        fx, fy, cx, cy: Focal lengths and principal point, pixels.
        distortion: Coefficients of OpenCV's pinhole model (k1, k2, p1, p2[, k3[, k4, k5, k6]]);
            empty for an image without distortion.
        rectification: Rotation from the camera's frame to that of a rectified image, row-major.

    Raises:
        CamsegError: a number is none or above `LARGEST_NUMBER`, a focal length is not above 0, or
            the rectification is not a rotation.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    rectification: tuple[float, ...] = _IDENTITY

    def __post_init__(self) -> None:
        """Check intrinsics and rectification."""
        intrinsics = (self.fx, self.fy, self.cx, self.cy)
        numbers = np.array([*intrinsics, *self.distortion])
        if not (np.abs(numbers) <= LARGEST_NUMBER).all():
            raise CamsegError(
                f"camera intrinsics {intrinsics}, distortion {self.distortion}: must be numbers of "
                f"at most {LARGEST_NUMBER:g}"
            )
        if self.fx <= 0.0 or self.fy <= 0.0:
            raise CamsegError(
                f"focal lengths {self.fx}, {self.fy}: must be above 0; is the camera calibrated?"
            )
        rotation = np.reshape(self.rectification, (3, 3))
        is_rotation = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        if not is_rotation or np.linalg.det(rotation) < 0:
            raise CamsegError(f"rectification {self.rectification}: must be a rotation matrix")

    @classmethod
    def from_camera_info(cls, info: Any, *, rectified: bool) -> CameraModel:
        """Read a sensor_msgs/CameraInfo that describes the mask.

        The calibration must be for the mask's size, as
        `camseg_ros.messages.outputs.scaled_camera_info` returns it.

        A raw image follows K and D. A rectified one (image_rect) follows P and R, though the
        message is the same; the camera's place is then still its own, and the baseline in P is not
        used. An R of zeros counts as no rotation.

        Args:
            info: Message of which only the fields are used, no ROS.
            rectified: True if the segmented image is rectified.

        Raises:
            CamsegError: the camera is not calibrated, its distortion model is unknown or that of a
                fisheye, or a rule of the camera model is broken.
        """
        matrix = np.reshape(np.asarray(info.p if rectified else info.k, np.float64), (3, -1))
        fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        rotation = tuple(map(float, info.r))
        return cls(
            int(info.width), int(info.height), fx, fy, cx, cy,
            distortion=() if rectified else _distortion(info),
            rectification=rotation if rectified and any(rotation) else _IDENTITY,
        )  # fmt: skip

    @cached_property
    def largest_tangent(self) -> float:
        """Tangent of the angle from the view's axis up to which the distortion is one-to-one.

        With s the squared tangent the radius in the image is sqrt(s) a(s) / b(s), a = 1 + k1 s +
        k2 s^2 + k3 s^3 and b = 1 + k4 s + k5 s^2 + k6 s^3. Beyond the first s where it stops
        growing, the model puts points that are out of view back into the image.
        """
        k1, k2, _, _, k3, k4, k5, k6 = (*self.distortion, *(0.0,) * 8)[:8]
        upper, lower = Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, k4, k5, k6])
        twice_s = Polynomial([0.0, 2.0])
        growth = (upper + twice_s * upper.deriv()) * lower - twice_s * upper * lower.deriv()
        # The tangential part is left out: it is small beside the radial one.
        # Coefficients that are almost zero would have roots beyond any number.
        roots = np.concatenate([part.trim(SMALLEST_TERM).roots() for part in (growth, lower)])
        turning = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0.0)]
        return math.sqrt(turning.min()) if turning.size else math.inf

    def project(self, points_m: Float64) -> tuple[Float64, Bool]:
        """Project points of the camera frame [n, 3], metres, with distortion.

        Returns:
            Pixels float64 [n, 2], column first, and which points are in view, bool [n]. Pixels of
            points that are behind the camera or beyond `largest_tangent` mean nothing.
        """
        points = points_m @ np.reshape(self.rectification, (3, 3)).T
        depth = points[:, 2]
        seen = depth > NEAREST_M
        across = np.hypot(points[:, 0], points[:, 1])
        seen &= across < self.largest_tangent * np.maximum(depth, NEAREST_M)
        pixels = np.full((len(points), 2), -1.0)
        if seen.any():
            matrix = np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])
            found, _ = cv2.projectPoints(
                points[seen], np.zeros(3), np.zeros(3), matrix, np.array(self.distortion)
            )
            pixels[seen] = found[:, 0]
        # A pixel reaches half a pixel around its centre.
        high = np.array([self.width, self.height]) - 0.5
        seen &= ((pixels >= -0.5) & (pixels < high)).all(axis=1)
        return pixels, seen


def _distortion(info: Any) -> tuple[float, ...]:
    """Return the coefficients of a CameraInfo's D, without zeros behind the last known one.

    Some drivers fill them up to a length that they share: 8 of plumb_bob, 14 of the rational model.
    """
    coefficients = tuple(map(float, info.d))
    lengths = PINHOLE_DISTORTIONS.get(info.distortion_model, ())
    longest = max(lengths, default=0)
    if lengths and not any(coefficients[longest:]):
        coefficients = coefficients[:longest]
    if not any(coefficients) and (lengths or info.distortion_model in ("", "none")):
        return ()
    if len(coefficients) not in lengths:
        raise CamsegError(
            f"camera_info has distortion model {info.distortion_model!r} with {len(coefficients)} "
            "coefficients; plumb_bob (4 or 5) or rational_polynomial (8) is needed, "
            "or segment the rectified image"
        )
    return coefficients
