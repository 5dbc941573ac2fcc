# SPDX-License-Identifier: Apache-2.0
"""Make camera_info messages from a data set's calibration files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sensor_msgs.msg import CameraInfo

from camseg_core.data.sample import SampleMetadata
from camseg_core.errors import CamsegError, in_one_line

KITTI_CAMERA = "P2"
"""Name of the left colour camera's projection matrix, for the images of ``image_02``."""


def find_camera_info(
    root: Path, sample: SampleMetadata, height: int, width: int
) -> CameraInfo | None:
    """Return the calibration of a data set's image; None if the data set has no file for it.

    For KITTI-STEP it is ``training/calib/<sequence>.txt`` of KITTI's tracking data. For Cityscapes,
    and for the synthetic drive in Cityscapes' or ACDC's layout, it is the image's own JSON file
    below ``camera/``.

    Args:
        root: Folder of the data set.
        sample: Description of the image.
        height: Height of the image, pixels.
        width: Width of the image, pixels.

    Raises:
        CamsegError: The file exists but cannot be read.
    """
    if sample.name.startswith("training/image_02/"):
        path = root / "training" / "calib" / f"{sample.sequence}.txt"
        return _kitti_info(path, (height, width)) if path.is_file() else None
    for folder, ending, replacement in (
        ("leftImg8bit/", "_leftImg8bit.png", "_camera.json"),
        ("rgb_anon/", "_rgb_anon.png", "_camera.json"),
        ("rgb_anon/", "_rgb_ref_anon.png", "_camera_ref.json"),
    ):
        if sample.name.startswith(folder) and sample.name.endswith(ending):
            name = sample.name.removeprefix(folder).removesuffix(ending) + replacement
            path = root / "camera" / name
            return _json_info(path, (height, width)) if path.is_file() else None
    return None


def pinhole_info(
    focal_px: float, center_x: float, center_y: float, size: tuple[int, int]
) -> CameraInfo:
    """Return the camera_info of a pinhole camera.

    Args:
        focal_px: Focal length, pixels.
        center_x: Principal point, pixels to the right of the first pixel's centre.
        center_y: Principal point, pixels below the first pixel's centre.
        size: Height and width of the image, pixels.
    """
    return _info([focal_px, 0, center_x, 0, 0, focal_px, center_y, 0, 0, 0, 1, 0], size)


def _info(numbers: Sequence[float], size: tuple[int, int]) -> CameraInfo:
    """Build the message of a rectified camera from its projection matrix [3, 4], row by row."""
    projection = np.array(numbers, np.float64).reshape(3, 4)
    info = CameraInfo(height=size[0], width=size[1], distortion_model="plumb_bob")
    info.d = [0.0] * 5
    info.k = projection[:, :3].ravel()
    info.r = np.eye(3).ravel()
    info.p = projection.ravel()
    return info


def _kitti_info(path: Path, size: tuple[int, int]) -> CameraInfo:
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == KITTI_CAMERA:
                return _info([float(number) for number in numbers.split()], size)
    except (OSError, ValueError) as error:
        raise CamsegError(f"{path} is not a KITTI calibration: {error}") from error
    raise CamsegError(f"{path} is not a KITTI calibration: it has no line {KITTI_CAMERA}")


def _json_info(path: Path, size: tuple[int, int]) -> CameraInfo:
    try:
        content = json.loads(path.read_bytes())["intrinsic"]
        fx, fy, u0, v0 = (float(content[name]) for name in ("fx", "fy", "u0", "v0"))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = in_one_line(error)
        raise CamsegError(f"{path} is not a Cityscapes calibration: {reason}") from error
    return _info([fx, 0, u0, 0, 0, fy, v0, 0, 0, 0, 1, 0], size)
