# SPDX-License-Identifier: Apache-2.0
"""The ``official`` protocol: scores from confusion counts, as cityscapesScripts defines them.

One confusion matrix over the whole data set; unlabeled ground truth is ignored; an unlabeled
prediction on a labeled pixel is an error. Shapes: N = images; C = number of classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camseg_core.evaluation.metrics.ratios import Float64, mean_of_defined, ratio
from camseg_core.images.arrays import Int64


@dataclass(frozen=True)
class OfficialScores:
    """Scores by the official protocol, 0..1; NaN where undefined.

    Attributes:
        iou: per class, TP / (TP + FP + FN); NaN for a class in neither ground truth nor prediction.
        precision: per class, TP / (TP + FP); NaN for a class that was never predicted.
        recall: per class, TP / (TP + FN); NaN for a class that the ground truth lacks.
        mean_iou: mean of the defined ``iou``.
        pixel_accuracy: share of labeled pixels with the right class.
        frequency_weighted_iou: mean of ``iou``, weighted by the class's share of labeled pixels.
    """

    iou: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    mean_iou: float
    pixel_accuracy: float
    frequency_weighted_iou: float


def official_scores(counts: Int64) -> OfficialScores:
    """Score confusion counts int64 [C, C + 1], summed over a data set or of one image.

    Precision and false positives count labeled pixels only: what is predicted where the ground
    truth is unlabeled has no row. Equal to cityscapesScripts' ``evalPixelLevelSemanticLabeling``.
    """
    correct, truth, predicted = _margins(counts)
    iou = ratio(correct, truth + predicted - correct)  # [C]
    pixel_count = int(truth.sum())
    weighted = float((truth * np.nan_to_num(iou)).sum())  # its classes have an IoU
    return OfficialScores(
        iou=tuple(iou.tolist()),
        precision=tuple(ratio(correct, predicted).tolist()),
        recall=tuple(ratio(correct, truth).tolist()),
        mean_iou=mean_of_defined(iou),
        pixel_accuracy=float(correct.sum() / pixel_count) if pixel_count else np.nan,
        frequency_weighted_iou=weighted / pixel_count if pixel_count else np.nan,
    )


def mean_iou_per_image(counts: Int64) -> Float64:
    """Rank frames: the mean IoU of each image by itself, float64 [N] from int64 [N, C, C + 1].

    A class in neither the image's ground truth nor its prediction leaves its mean; NaN for an image
    without a labeled pixel. The mean over images is not the data set's mean IoU.
    """
    correct, truth, predicted = _margins(counts)
    iou = ratio(correct, truth + predicted - correct)  # [N, C]
    defined = ~np.isnan(iou)
    return ratio(np.where(defined, iou, 0.0).sum(axis=1), defined.sum(axis=1))


def _margins(counts: Int64) -> tuple[Int64, Int64, Int64]:
    """Count correct, labeled and predicted pixels per class, int64 [..., C] each."""
    classes = counts[..., :-1]
    return np.diagonal(classes, axis1=-2, axis2=-1), counts.sum(axis=-1), classes.sum(axis=-2)
