# SPDX-License-Identifier: Apache-2.0
"""Pictures of a few frames of each drive, spread evenly: image, overlay and confidence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_jpeg, overlay_image
from camseg_core.labels import LabelSet
from camseg_core.system.files import write_bytes

PICTURES_FOLDER = "pictures"
SNAPSHOTS = 4
TILE_WIDTH_PIXELS = 420
MOST_TILE_HEIGHT_PIXELS = 1000
"""Of pictures that are far higher than wide; they become narrower."""


class Snapshots:
    """Keeps `SNAPSHOTS` frames out of an expected number."""

    def __init__(self, out: Path, name: str, expected: int, label_set: LabelSet) -> None:
        """Write below ``out``; ``name`` begins the files' names."""
        self.names: list[str] = []
        self._out, self._name, self._label_set = out, name, label_set
        places = np.linspace(0, max(0, expected - 1), min(SNAPSHOTS, max(1, expected)))
        self._places = {round(place) for place in places}

    def offer(self, index: int, image: UInt8, class_ids: UInt8, confidence: UInt8) -> None:
        """Write the frame of a number, from 0, if it is one of those.

        Args:
            index: its number.
            image: RGB uint8 [H, W, 3].
            class_ids: uint8 [H, W].
            confidence: uint8 [H, W].

        Raises:
            CamsegError: the file cannot be written.
        """
        if index not in self._places:
            return
        name = f"{self._name}_{index:06d}.jpg"
        write_bytes(
            self._out / PICTURES_FOLDER / name,
            encode_jpeg(strip(image, class_ids, confidence, self._label_set)),
        )
        self.names.append(name)


def strip(image: UInt8, class_ids: UInt8, confidence: UInt8, label_set: LabelSet) -> UInt8:
    """Put image, overlay and confidence beside each other: RGB uint8."""
    overlay = overlay_image(image, class_ids, label_set)
    gray = np.dstack([confidence] * 3)
    return np.hstack([_tile(picture) for picture in (image, overlay, gray)])


def _tile(picture: UInt8) -> UInt8:
    height, width = picture.shape[:2]
    scale = min(TILE_WIDTH_PIXELS / width, MOST_TILE_HEIGHT_PIXELS / height)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
