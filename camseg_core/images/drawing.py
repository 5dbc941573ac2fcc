# SPDX-License-Identifier: Apache-2.0
"""Overlays of masks over images, legends of classes, and arrays as image files."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.system.files import write_bytes

OVERLAY_OPACITY = 0.5
JPEG_QUALITY = 85
LEGEND_ROW = 24
"""Height of a class in the legend, in pixels."""
LEGEND_ROWS = 32
"""Most classes in a column of the legend."""


def overlay_image(image: UInt8, class_ids: UInt8, label_set: LabelSet) -> UInt8:
    """Return an RGB image with class colours blended over it; unlabeled pixels stay as they are.

    Shapes: ``image`` and result uint8 [H, W, 3], ``class_ids`` uint8 [H, W].
    """
    colors = label_set.color_image(class_ids)
    blended = cv2.addWeighted(image, 1.0 - OVERLAY_OPACITY, colors, OVERLAY_OPACITY, 0.0)
    labeled = (class_ids != UNLABELED)[..., None]
    return np.where(labeled, blended, image).astype(np.uint8)


def legend_image(label_set: LabelSet) -> UInt8:
    """Return a picture of the classes' colours, ids and names: RGB uint8 [H, W, 3]."""
    classes = enumerate(zip(label_set.names, label_set.palette, strict=True))
    entries = [(f"{class_id}  {name}", color) for class_id, (name, color) in classes]
    entries.append((f"{UNLABELED}  unlabeled", label_set.void_color))
    font = ImageFont.load_default(LEGEND_ROW * 2 // 3)
    columns = -(-len(entries) // LEGEND_ROWS)
    rows = -(-len(entries) // columns)
    gap, swatch = LEGEND_ROW // 4, 2 * LEGEND_ROW
    column_width = 3 * gap + swatch + max(math.ceil(font.getlength(text)) for text, _ in entries)
    image = Image.new("RGB", (columns * column_width, rows * LEGEND_ROW + gap), "white")
    draw = ImageDraw.Draw(image)
    for index, (text, color) in enumerate(entries):
        left, top = index // rows * column_width + gap, index % rows * LEGEND_ROW + gap
        box = (left, top, left + swatch - 1, top + LEGEND_ROW - gap - 1)
        draw.rectangle(box, fill=color, outline="black")
        middle = top + (LEGEND_ROW - gap) / 2
        draw.text((left + swatch + gap, middle), text, fill="black", font=font, anchor="lm")
    return np.asarray(image, np.uint8)


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
