# SPDX-License-Identifier: Apache-2.0
"""Pictures of the worst and the best frames, kept while an evaluation runs.

A shard keeps those of its own images; the worst of all images are among the worst of the shards.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from camseg_core.data.sample import Sample
from camseg_core.images.arrays import UInt8
from camseg_core.images.drawing import encode_jpeg, encode_png
from camseg_core.labels import LabelSet
from camseg_core.system.files import write_bytes

KEPT_FRAMES = 4
"""How many of the worst, and how many of the best."""

MAX_WIDTH_PIXELS = 640

PICTURES = {"image": ".jpg", "truth": ".png", "prediction": ".png", "confidence": ".png"}
"""Kind of picture -> suffix of its file."""


@dataclass(frozen=True, order=True)
class FrameScore:
    """How well one image came out: ``score`` (mean IoU of the image, 0..1) orders, then its name.

    ``steps`` is the number of diffusion steps: each has worst and best frames of its own.
    """

    score: float
    sample: str
    steps: int


def worst_and_best(
    scores: Iterable[FrameScore], count: int = KEPT_FRAMES
) -> tuple[list[FrameScore], list[FrameScore]]:
    """Return the ``count`` worst, the worst first, and of the others the best, the best first.

    Scores that are not-a-number are neither.
    """
    ordered = sorted(score for score in scores if not math.isnan(score.score))
    worst = ordered[:count]
    best = ordered[len(worst) :][-count:]
    return worst, best[::-1]


def picture_path(folder: Path, score: FrameScore, kind: str) -> Path:
    """Name the file of one picture in a run's ``folder``."""
    digest = hashlib.sha256(score.sample.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return folder / "frames" / f"steps-{score.steps:04d}" / f"{digest}_{kind}{PICTURES[kind]}"


class FrameKeeper:
    """Keeps the pictures of one shard's worst and best frames on disk, and no others."""

    def __init__(self, folder: Path, label_set: LabelSet, earlier: Iterable[FrameScore]) -> None:
        """Go on in a run's ``folder`` after the scores that this shard recorded ``earlier``."""
        self._folder = folder
        self._label_set = label_set
        self._kept: defaultdict[int, set[FrameScore]] = defaultdict(set)
        for score in earlier:
            self._kept[score.steps].add(score)
        self.prune()  # what a kill left

    def offer(self, score: FrameScore, sample: Sample, class_ids: UInt8, confidence: UInt8) -> None:
        """Write the pictures if the frame is among the worst or best so far.

        Call it before the record is written, and `prune` after: a kill between the two leaves a
        picture too many, never one too few.

        Args:
            score: the frame and its score.
            sample: the image with its ground truth.
            class_ids: the prediction, uint8 [H, W].
            confidence: uint8 [H, W].

        Raises:
            CamsegError: a file cannot be written.
        """
        kept = self._kept[score.steps]
        if not any(score in chosen for chosen in worst_and_best(kept | {score})):
            return
        kept.add(score)
        color, size = self._label_set.color_image, _fitted_size(sample.image)
        contents = {
            "image": encode_jpeg(_resize(sample.image, size, cv2.INTER_AREA)),
            "truth": encode_png(color(_resize(sample.ground_truth, size))),
            "prediction": encode_png(color(_resize(class_ids, size))),
            "confidence": encode_png(_resize(confidence, size)),
        }
        for kind, content in contents.items():
            write_bytes(picture_path(self._folder, score, kind), content)

    def prune(self) -> None:
        """Remove the pictures of frames that are no longer among the worst or best."""
        for scores in self._kept.values():
            worst, best = worst_and_best(scores)
            for score in scores - {*worst, *best}:
                scores.remove(score)
                for kind in PICTURES:
                    picture_path(self._folder, score, kind).unlink(missing_ok=True)


def _fitted_size(image: UInt8) -> tuple[int, int]:
    """Return width and height in pixels, at most `MAX_WIDTH_PIXELS` wide, aspect kept."""
    height, width = image.shape[:2]
    scale = min(1.0, MAX_WIDTH_PIXELS / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(picture: UInt8, size: tuple[int, int], interpolation: int = cv2.INTER_NEAREST) -> UInt8:
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)
