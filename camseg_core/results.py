# SPDX-License-Identifier: Apache-2.0
"""What a segmentation looks like on disk: ids, colours, overlay and confidence as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camseg_core.labels import LabelSet
from camseg_core.pictures import overlay_image, write_png
from camseg_core.segmenter import Segmentation

UInt8 = NDArray[np.uint8]


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
