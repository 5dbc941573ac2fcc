# SPDX-License-Identifier: Apache-2.0
"""Types of the arrays that pass between modules, and the confidence that follows from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

UInt8 = NDArray[np.uint8]
"""RGB images, class ids, confidence, probabilities in 255ths."""

Int64 = NDArray[np.int64]
"""Counts."""

Probabilities = TypeVar("Probabilities", NDArray[np.float32], "Tensor")
"""Class probabilities of numpy or torch."""


def confidence_of(probabilities: Probabilities) -> Probabilities:
    """Return the confidence of each pixel: the largest of its class probabilities.

    Args:
        probabilities: probabilities per class and pixel, [C, ...].

    Returns:
        The confidence, [...]; not-a-number where a probability is.
    """
    if isinstance(probabilities, np.ndarray):
        largest: NDArray[np.float32] = probabilities.max(axis=0)
        return largest
    return probabilities.amax(dim=0)
