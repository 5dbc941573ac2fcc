# SPDX-License-Identifier: Apache-2.0
"""One picture of the synthetic drive: the same frames in all conditions, with their classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camseg_core.data.sample import CONDITIONS
from camseg_core.data.synthetic.drive import SyntheticDrive
from camseg_core.files import write_bytes
from camseg_core.labels import CITYSCAPES
from camseg_core.pictures import encode_jpeg

CELL_SIZE = (320, 160)
SHOWN_SEED = 42
SHOWN_FRAMES = (27, 47)


def contact_sheet(
    seed: int, size: tuple[int, int] = CELL_SIZE, frames: tuple[int, ...] = SHOWN_FRAMES
) -> NDArray[np.uint8]:
    """Draw a column per condition and, per frame, a row of images above one of class colours.

    Args:
        seed: of the drive.
        size: (width, height) of a cell in pixels.
        frames: indices of the frames to show.

    Returns:
        RGB uint8 [2 x frames x height, 5 x width, 3].

    Raises:
        CamsegError: a value out of its range.
    """
    rows = []
    drives = [SyntheticDrive(seed, *size, condition) for condition in CONDITIONS]
    for index in frames:
        shown = [drive.frame(index) for drive in drives]
        rows.append(np.hstack([frame.image for frame in shown]))
        rows.append(np.hstack([CITYSCAPES.color_image(frame.class_ids) for frame in shown]))
    return np.vstack(rows)


def write_contact_sheet(path: Path, seed: int = SHOWN_SEED) -> None:
    """Write `contact_sheet` as a JPEG file.

    Raises:
        CamsegError: the file cannot be written.
    """
    write_bytes(path, encode_jpeg(contact_sheet(seed)))
