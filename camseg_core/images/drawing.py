# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks, and arrays as picture files."""

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
    """Blend class colours over an RGB image, uint8 [H, W, 3]; unlabeled pixels stay as they are."""
    colors = label_set.color_image(class_ids)
    blended = cv2.addWeighted(image, 1.0 - OVERLAY_OPACITY, colors, OVERLAY_OPACITY, 0.0)
    labeled = (class_ids != UNLABELED)[..., None]
    return np.where(labeled, blended, image).astype(np.uint8)


def write_png(path: Path, picture: UInt8) -> None:
    """Write uint8 [H, W] or RGB uint8 [H, W, 3] as PNG, whole or not at all.

    Raises:
        CamsegError: the file cannot be written.
    """
    write_bytes(path, encode_png(picture))


def encode_png(picture: UInt8) -> bytes:
    """Encode uint8 [H, W] or RGB uint8 [H, W, 3] as PNG.

    Raises:
        CamsegError: the array has no pixels or another shape.
    """
    return _encode(picture, "PNG", [])


def encode_jpeg(image: UInt8) -> bytes:
    """Encode RGB uint8 [H, W, 3] as JPEG: pictures for people, never ids.

    Raises:
        CamsegError: the array has no pixels or another shape.
    """
    return _encode(image, "JPEG", [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _encode(picture: UInt8, kind: str, flags: list[int]) -> bytes:
    encodable = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    try:
        content = cv2.imencode(f".{kind.lower()}", encodable, flags)[1]
    except cv2.error as error:
        raise CamsegError(f"cannot encode an array of shape {picture.shape} as {kind}") from error
    return bytes(content.tobytes())
