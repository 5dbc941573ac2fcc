# SPDX-License-Identifier: Apache-2.0
"""What is kept of the frames: a bag of masks and confidence, and pictures of a few frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from std_msgs.msg import Header, String

from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_jpeg, overlay_image
from camseg_core.labels import LabelSet
from camseg_core.system.files import write_bytes
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import image_message, stamp_ns
from camseg_ros.messages.labels import labels_json
from camseg_ros.node.parameters import NODE_NAME
from camseg_ros.replay.results.folder import PICTURES_FOLDER

LABELS = f"/{NODE_NAME}/labels"
SNAPSHOTS = 4
TILE_WIDTH_PIXELS = 420
MOST_TILE_HEIGHT_PIXELS = 1000
"""Height of a picture that is far higher than wide; it becomes narrower."""


class OutputBag(BagWriter):
    """A bag of what the node publishes: topics have its names, and log times are the stamps."""

    def __init__(self, path: Path, label_set: LabelSet, weights_sha256: str) -> None:
        """Prepare to write the bag's folder ``path``; see `BagWriter`."""
        super().__init__(path)
        self._labels = labels_json(label_set, weights_sha256)
        self._has_begun = False

    def write_frame(self, camera: str, header: Header, class_ids: UInt8, confidence: UInt8) -> None:
        """Append the outputs of one frame, uint8 [H, W] each.

        Raises:
            CamsegError: the disk is full.
        """
        time_ns = stamp_ns(header)
        if not self._has_begun:
            self.write(LABELS, String(data=self._labels), time_ns, latched=True)
            self._has_begun = True
        for topic, picture in (("mask", class_ids), ("confidence", confidence)):
            message = image_message(picture, "mono8", header)
            self.write(f"/{NODE_NAME}/{camera}/{topic}", message, time_ns)


def write_picture(out: Path, drive: str, index: int, picture: UInt8) -> str:
    """Write the picture of a drive's frame, RGB uint8 [H, W, 3], and return its file's name.

    Raises:
        CamsegError: the picture cannot be written.
    """
    name = f"{drive}_{index:06d}.jpg"
    write_bytes(out / PICTURES_FOLDER / name, encode_jpeg(picture))
    return name


def spread(count: int) -> list[int]:
    """Return the indices of the frames to keep out of ``count``."""
    return [round(place) for place in np.linspace(0, count - 1, min(SNAPSHOTS, count))]


def strip(image: UInt8, class_ids: UInt8, confidence: UInt8, label_set: LabelSet) -> UInt8:
    """Return image, overlay and confidence beside each other, RGB uint8 [H, W, 3]."""
    overlay = overlay_image(image, class_ids, label_set)
    gray = np.dstack([confidence] * 3)
    return np.hstack([_tile(picture) for picture in (image, overlay, gray)])


def _tile(picture: UInt8) -> UInt8:
    height, width = picture.shape[:2]
    scale = min(TILE_WIDTH_PIXELS / width, MOST_TILE_HEIGHT_PIXELS / height)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
