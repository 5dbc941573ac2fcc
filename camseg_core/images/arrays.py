# SPDX-License-Identifier: Apache-2.0
"""The arrays that pass between modules: their types, and the check of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError

UInt8 = NDArray[np.uint8]
"""RGB images, class ids, confidence, probabilities in 255ths."""

Int64 = NDArray[np.int64]
"""Counts."""


def check_image(image: object) -> UInt8:
    """Return ``image`` as uint8 [H, W, 3], RGB, or refuse it.

    Raises:
        CamsegError: ``image`` is no array, has another dtype or shape, or has no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise CamsegError(f"an image is a {type(image).__name__}; a numpy array is needed")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise CamsegError(
            f"an image is {image.dtype} of shape {image.shape}; uint8 [height, width, 3] RGB is "
            "needed"
        )
    if image.shape[0] == 0 or image.shape[1] == 0:
        raise CamsegError(f"an image of shape {image.shape} has no pixels")
    return image
