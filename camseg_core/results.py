# SPDX-License-Identifier: Apache-2.0
"""What a segmentation looks like on disk: ids, colours, overlay and confidence as PNG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.files import write_bytes
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.segmenter import Segmentation

UInt8 = NDArray[np.uint8]

OVERLAY_OPACITY = 0.5


def overlay_image(image: UInt8, class_ids: UInt8, label_set: LabelSet) -> UInt8:
    """Blend class colours over an RGB image, uint8 [H, W, 3]; unlabeled pixels stay as they are."""
    colors = label_set.color_image(class_ids)
    blended = cv2.addWeighted(image, 1.0 - OVERLAY_OPACITY, colors, OVERLAY_OPACITY, 0.0)
    labeled = (class_ids != UNLABELED)[..., None]
    return np.where(labeled, blended, image).astype(np.uint8)


def save_segmentation(
    out: Path, stem: Path, image: UInt8, result: Segmentation, label_set: LabelSet
) -> list[Path]:
    """Write ``<stem>_ids.png``, and ``_color``, ``_overlay``, ``_confidence``, below ``out``.

    Ids are 8-bit, 255 = unlabeled; confidence is 8-bit, 255 = certain.

    Raises:
        CamsegError: a file cannot be written.
    """
    pictures = {
        "ids": result.class_ids,
        "color": label_set.color_image(result.class_ids),
        "overlay": overlay_image(image, result.class_ids, label_set),
        "confidence": result.confidence,
    }
    paths = []
    for kind, picture in pictures.items():
        path = out / stem.with_name(f"{stem.name}_{kind}.png")
        write_png(path, picture)
        paths.append(path)
    return paths


def write_png(path: Path, picture: UInt8) -> None:
    """Write uint8 [H, W] or RGB uint8 [H, W, 3] as PNG, whole or not at all.

    Raises:
        CamsegError: the file cannot be written.
    """
    encodable = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    done, content = cv2.imencode(".png", encodable)
    if not done:
        raise CamsegError(f"cannot encode {path} from an array of shape {picture.shape}")
    write_bytes(path, content.tobytes())
