# SPDX-License-Identifier: Apache-2.0
"""Confusion counts of one image: how many pixels of each class were given which class.

Counts are integers, so that their sum over images depends neither on the order nor on how images
were spread over processes. Shapes: H, W = image size; C = number of classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import Int64, UInt8
from camseg_core.labels import MAX_CLASSES, UNLABELED

ClassIds = NDArray[np.integer[Any]]


def confusion_counts(truth: ClassIds, prediction: ClassIds, num_classes: int) -> Int64:
    """Count the pixels of one image by true and predicted class.

    Args:
        truth: ground truth, class ids [H, W], 0..C-1; 255 = unlabeled, those pixels are left out.
        prediction: class ids [H, W], 0..C-1; 255 = unlabeled, an error on a labeled pixel.
        num_classes: C.

    Returns:
        int64 [C, C + 1]: row = true class, column = predicted class, last column = unlabeled.

    Raises:
        CamsegError: sizes differ, no integers, or an id that is neither 0..C-1 nor 255.
    """
    check_num_classes(num_classes)
    truth, prediction = check_class_id_pair(truth, prediction)
    pairs = truth.astype(np.uint16)
    pairs <<= 8
    pairs |= prediction
    table = np.bincount(pairs.ravel(), minlength=1 << 16).reshape(256, 256)
    _check_histogram(table.sum(axis=1), num_classes, "ground truth")
    _check_histogram(table.sum(axis=0), num_classes, "prediction")
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


def check_num_classes(num_classes: int) -> None:
    """Refuse a number of classes that class ids in a byte cannot have.

    Raises:
        CamsegError: not 1 to 255.
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise CamsegError(f"{num_classes} classes; 1 to {MAX_CLASSES} fit")


def check_class_id_pair(truth: ClassIds, prediction: ClassIds) -> tuple[UInt8, UInt8]:
    """Return class ids [H, W] of ground truth and prediction as bytes.

    Raises:
        CamsegError: sizes differ, not two axes, no integers, or an id that is no byte.
    """
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise CamsegError(
            f"ground truth has shape {truth.shape} and prediction {prediction.shape}; both are "
            "[height, width] of one size: resize the prediction to the ground truth"
        )
    return _as_bytes(truth, "ground truth"), _as_bytes(prediction, "prediction")


def check_class_ids(ids: UInt8, num_classes: int, what: str) -> None:
    """Refuse ids that are neither 0..C-1 nor 255; ``what`` names them in the error.

    Raises:
        CamsegError: such an id, with its number of pixels.
    """
    _check_histogram(np.bincount(ids.ravel(), minlength=256), num_classes, what)


def _as_bytes(ids: ClassIds, what: str) -> UInt8:
    if ids.dtype == np.uint8:
        return ids.view(np.ndarray)
    if not np.issubdtype(ids.dtype, np.integer):
        raise CamsegError(f"{what} is {ids.dtype}; class ids are whole numbers, as uint8")
    outside = ids[(ids < 0) | (ids > UNLABELED)]
    if outside.size:
        wrong = outside.min()
        _refuse_id(int(wrong), int((outside == wrong).sum()), what, "0..255")
    return ids.astype(np.uint8)


def _check_histogram(histogram: NDArray[np.integer[Any]], num_classes: int, what: str) -> None:
    """Refuse ids by their histogram [256]."""
    wrong = np.flatnonzero(histogram[num_classes:UNLABELED]) + num_classes
    if wrong.size:
        _refuse_id(int(wrong[0]), int(histogram[wrong[0]]), what, f"0..{num_classes - 1}")


def _refuse_id(wrong: int, pixel_count: int, what: str, span: str) -> None:
    raise CamsegError(
        f"{what} has id {wrong} on {pixel_count} pixels; class ids are {span}, or {UNLABELED} for "
        "unlabeled: use labels and weights of one label set"
    )
