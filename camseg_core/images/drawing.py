# SPDX-License-Identifier: Apache-2.0
"""Overlays of masks over images, and arrays as image files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.system.files import write_bytes

OVERLAY_OPACITY = 0.5
JPEG_QUALITY = 85


def overlay_image(image: UInt8, class_ids: UInt8, label_set: LabelSet) -> UInt8:
    """Return an RGB image with class colours blended over it; unlabeled pixels stay as they are.

    Shapes: ``image`` and result uint8 [H, W, 3], ``class_ids`` uint8 [H, W].
    """
    colors = label_set.color_image(class_ids)
    blended = cv2.addWeighted(image, 1.0 - OVERLAY_OPACITY, colors, OVERLAY_OPACITY, 0.0)
    labeled = (class_ids != UNLABELED)[..., None]
    return np.where(labeled, blended, image).astype(np.uint8)


def write_png(path: Path, image: UInt8) -> None:
    """Write uint8 [H, W] or RGB uint8 [H, W, 3] as PNG, whole or not at all.

    Raises:
        CamsegError: the file cannot be written.
    """
    write_bytes(path, encode_png(image))


def encode_png(image: UInt8) -> bytes:
    """Encode uint8 [H, W] or RGB uint8 [H, W, 3] as PNG.

    Raises:
        CamsegError: the array has no pixels, or another shape.
    """
    return _encode(image, "PNG", [])


def encode_jpeg(image: UInt8) -> bytes:
    """Encode RGB uint8 [H, W, 3] as JPEG: for people to look at, never for ids.

    Raises:
        CamsegError: the array has no pixels, or another shape.
    """
    return _encode(image, "JPEG", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _encode(image: UInt8, kind: str, flags: list[int]) -> bytes:
    encodable = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    try:
        content = cv2.imencode(f".{kind.lower()}", encodable, flags)[1]
    except cv2.error as error:
        raise CamsegError(f"cannot encode an array of shape {image.shape} as {kind}") from error
    return bytes(content.tobytes())
