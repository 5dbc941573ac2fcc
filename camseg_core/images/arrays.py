# SPDX-License-Identifier: Apache-2.0
"""Types of the arrays that pass between modules, and the confidence that follows from one."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
"""RGB images, class ids, confidence, probabilities in 255ths."""

Int64 = NDArray[np.int64]
"""Counts."""

Probabilities = TypeVar("Probabilities")
"""Class probabilities as a float array of numpy or a tensor of torch."""


def confidence_of(probabilities: Probabilities) -> Probabilities:
    """Return the confidence of each pixel: the largest of its class probabilities.

    Args:
        probabilities: probabilities per class and pixel, [C, ...].

    Returns:
        The confidence, [...]; not-a-number where a probability is.
    """
    array: Any = probabilities
    largest: Probabilities = (
        array.max(axis=0) if isinstance(array, np.ndarray) else array.amax(dim=0)
    )
    return largest
