# SPDX-License-Identifier: Apache-2.0
"""The two protocols, and the ``published`` one: how CAM-Seg's own table was scored.

`metrics.official_scores` is the other. Their results have different types and different fields,
because their numbers must not stand in one table. Shapes: H, W = image size; C = classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from camseg_core.images.arrays import Int64, UInt8
from camseg_core.labels import UNLABELED, LabelSet

Protocol = Literal["official", "published"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

PUBLISHED_SIDE = 768
"""Width and height, in pixels, that the published protocol squashes images and masks to."""

PRECISION_EPSILON = 1e-10
"""Added to the number of predicted pixels, so that a class that was never predicted scores 0."""


@dataclass(frozen=True)
class PublishedScores:
    """Scores by the published protocol, 0..1.

    Precision is blind to what a model leaves out: predicting void costs nothing here.

    Attributes:
        precision: per class, TP / (TP + FP + 1e-10) over labeled pixels.
        mean_precision: plain mean over all C classes, never predicted ones count 0. The paper's
            "average precision".
    """

    precision: tuple[float, ...]
    mean_precision: float


def published_scores(counts: Int64) -> PublishedScores:
    """Score confusion counts int64 [C, C + 1] as the published evaluation does.

    Rows are ground truth, columns prediction, void's row and column are dropped: a void prediction
    disappears instead of being an error.
    """
    classes = counts[:, :-1]
    precision = np.diagonal(classes) / (classes.sum(axis=0) + PRECISION_EPSILON)
    return PublishedScores(
        precision=tuple(precision.tolist()),
        mean_precision=float(precision.mean()),
    )


def squash_for_published(
    image: UInt8, class_ids: UInt8, label_set: LabelSet, side: int = PUBLISHED_SIDE
) -> tuple[UInt8, UInt8]:
    """Squash an image and its mask to a square as the published protocol does.

    Both are resized by PIL's bilinear on uint8 RGB, the mask as a colour image, which blends the
    colours of neighbouring classes; the nearest palette colour of a blend may be a third class.

    Args:
        image: RGB uint8 [H, W, 3].
        class_ids: uint8 [H, W], 255 = unlabeled.
        label_set: whose palette the mask is coloured with.
        side: width and height of the square, in pixels.

    Returns:
        The image, uint8 [side, side, 3], and the class ids, uint8 [side, side], 255 = void.
    """
    squashed_image, colors = (
        np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
        for pixels in (image, label_set.color_image(class_ids))
    )
    return squashed_image, nearest_color_ids(colors, label_set)


def nearest_color_ids(colors: UInt8, label_set: LabelSet) -> UInt8:
    """Re-quantise a colour mask to the palette: RGB uint8 [H, W, 3] -> class ids uint8 [H, W].

    Euclidean distance to the published decoding palette (colours / 255, rounded to 4 decimals),
    the first minimum wins, void (255) comes first. `palette.nearest_class` is the same on a
    network's output, which is no uint8.
    """
    red, green, blue = np.moveaxis(colors, 2, 0).astype(np.float32) / np.float32(255)  # [H, W] each
    least = np.full(red.shape, np.inf, np.float32)
    class_ids = np.full(red.shape, UNLABELED, np.uint8)
    for row, color in enumerate(label_set.decoding_palette()):
        distance = (red - color[0]) ** 2 + (green - color[1]) ** 2 + (blue - color[2]) ** 2
        closer = distance < least
        class_ids[closer] = UNLABELED if row == 0 else row - 1
        np.minimum(least, distance, out=least)
    return class_ids
