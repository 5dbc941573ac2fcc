# SPDX-License-Identifier: Apache-2.0
"""Confusion counts of one image: how many pixels of each class were given which class.

Counts are integers, so that their sum over images depends neither on the order nor on how images
were spread over processes. Shapes: H, W = image size; C = number of classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import Int64, UInt8
from camseg_core.labels import UNLABELED


def confusion_counts(truth: UInt8, prediction: UInt8, num_classes: int) -> Int64:
    """Count the pixels of one image by true and predicted class.

    Args:
        truth: ground truth, class ids uint8 [H, W], 0..C-1; pixels of 255, unlabeled, are left out.
        prediction: class ids uint8 [H, W], 0..C-1; 255 = unlabeled, an error on a labeled pixel.
        num_classes: C.

    Returns:
        int64 [C, C + 1]: row = true class, column = predicted class, last column = unlabeled.

    Raises:
        CamsegError: sizes differ, or an id is neither 0..C-1 nor 255.
    """
    if truth.shape != prediction.shape:
        raise CamsegError(
            f"ground truth has shape {truth.shape} and prediction {prediction.shape}; one size is "
            "needed: resize the prediction to the ground truth"
        )
    pairs = truth.astype(np.uint16)
    pairs <<= 8
    pairs |= prediction
    table = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    _check_ids(table.sum(axis=1), num_classes, "ground truth")
    _check_ids(table.sum(axis=0), num_classes, "prediction")
    columns = [*range(num_classes), UNLABELED]
    return table[:num_classes, columns].astype(np.int64)


def sum_confusions(confusions: Iterable[Int64], num_classes: int) -> Int64:
    """Add the confusion counts of many images; zeros if there is none.

    Raises:
        CamsegError: counts of another number of classes.
    """
    total = np.zeros((num_classes, num_classes + 1), np.int64)
    for counts in confusions:
        if counts.shape != total.shape:
            raise CamsegError(
                f"confusion counts of shape {counts.shape} cannot be added to those of "
                f"{num_classes} classes, {total.shape}; score one label set at a time"
            )
        total += counts
    return total


def confusion_from_json(content: object, num_classes: int) -> Int64:
    """Read confusion counts from nested lists, row by row: int64 [C, C + 1].

    Raises:
        CamsegError: another shape, or values that are no counts.
    """
    try:
        counts = np.array(content)
    except ValueError:  # rows of different lengths
        counts = np.empty(0)
    if (
        counts.shape != (num_classes, num_classes + 1)
        or counts.dtype != np.int64
        or (counts < 0).any()
    ):
        raise CamsegError(
            f"confusion counts are not {num_classes} rows of {num_classes + 1} whole numbers from "
            "0; they were written with another label set, or are damaged"
        )
    return counts


def _check_ids(histogram: Int64, num_classes: int, what: str) -> None:
    """Refuse ids that are neither 0..C-1 nor 255, by their histogram [256]."""
    wrong = np.flatnonzero(histogram[num_classes:UNLABELED]) + num_classes
    if wrong.size:
        raise CamsegError(
            f"{what} has id {wrong[0]} on {histogram[wrong[0]]} pixels; class ids are "
            f"0..{num_classes - 1}, or {UNLABELED} for unlabeled: use labels and weights of one "
            "label set"
        )
