# SPDX-License-Identifier: Apache-2.0
"""Small bags for tests: images of noise with truth beside them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from camseg_ros.bag.camera_topics import CameraTopics
from camseg_ros.bag.writer import BagWriter
from camseg_ros.conversions import image_message

CAMERA = CameraTopics.below("/kitti/camera_color_left")
STEP_NS = 10**8


def header(stamp_ns: int, frame_id: str = "camera") -> Header:
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp_ns, 10**9)
    return made


def noise_image(index: int, size: tuple[int, int] = (24, 32)) -> Image:
    pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
    return image_message(pixels, "rgb8", header((index + 1) * STEP_NS))


def truth_image(index: int, size: tuple[int, int] = (24, 32)) -> Image:
    ids = np.random.default_rng(1000 + index).integers(0, 19, size, np.uint8)
    return image_message(ids, "mono8", header((index + 1) * STEP_NS))


def write_bag(
    path: Path,
    frames: int = 6,
    *,
    storage: Any = "mcap",
    compression: Any = "none",
    size: tuple[int, int] = (24, 32),
) -> Path:
    with BagWriter(path, storage, compression) as writer:
        writer.write("/about", String(data="noise"), STEP_NS, latched=True)
        for index in range(frames):
            stamp_ns = (index + 1) * STEP_NS
            writer.write(CAMERA.image, noise_image(index, size), stamp_ns)
            writer.write(str(CAMERA.truth), truth_image(index, size), stamp_ns)
    return path


def storage_file(bag: Path) -> Path:
    """Give a bag's one file with messages."""
    (found,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    return found


def cut_copy(bag: Path, to: Path, size: int, *, metadata: bool) -> Path:
    """Copy a bag with its file cut off after ``size`` bytes, with metadata.yaml or without."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    file = storage_file(bag)
    (to / file.name).write_bytes(file.read_bytes()[:size])
    if metadata:
        shutil.copy(bag / "metadata.yaml", to)
    return to
