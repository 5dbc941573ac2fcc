# SPDX-License-Identifier: Apache-2.0
"""Scores of the masks and confidence that a node publishes, paired with ground truth by stamp."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.calibration import reliability_of
from camseg_core.evaluation.metrics.calibration_counts import RELIABILITY_BINS, UNITS_PER_ONE
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.official import mean_iou_per_image
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.evaluation.metrics.registry import Measured
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED, LabelSet
from camseg_ros.bag.dataset import CameraCounts
from camseg_ros.bag.ground_truth import TruthStore
from camseg_ros.messages.images import stamp_ns
from camseg_ros.replay.results.drives import FrameResult
from camseg_ros.replay.results.kept_frames import OutputBag

OUTPUTS_HEARD = ("mask", "confidence")
MOST_PENDING = 128
"""Number of masks that wait for their confidence or ground truth; the oldest is then scored."""

_LEVELS = np.arange(256)
_LEVEL_BINS = np.minimum(_LEVELS * RELIABILITY_BINS // 255, RELIABILITY_BINS - 1)


@dataclass
class LiveScores:
    """One camera's scores; each stamp counts once, however often it comes.

    Attributes:
        name: name of the camera.
        label_set: the node's classes.
        truth: ground truth by stamp; None where there is none.
        truth_comes: true if more ground truth comes while masks do, so that a mask waits for it.
        frames: results of every mask that came, in the order of completion.
        counts: what became of the ground truth.
        bag: bag that masks and confidence are written into; None for none.
    """

    name: str
    label_set: LabelSet
    truth: TruthStore | None
    truth_comes: bool = False
    frames: list[FrameResult] = field(default_factory=list)
    counts: CameraCounts = field(default_factory=CameraCounts)
    bag: OutputBag | None = None

    def __post_init__(self) -> None:
        """Start from zero."""
        classes = self.label_set.num_classes
        self._confusion = np.zeros((classes, classes + 1), np.int64)
        self._level_count = np.zeros(256, np.int64)  # labeled pixels by confidence byte
        self._level_correct = np.zeros(256, np.int64)
        self._pending: dict[int, dict[str, UInt8]] = {}
        self._done: set[int] = set()

    def on_output(self, output: str, header: Header, picture: UInt8) -> None:
        """Take a mask or a confidence image [H, W]; a frame's two are recorded once both came."""
        stamp = stamp_ns(header)
        if stamp in self._done:
            return
        parts = self._pending.setdefault(stamp, {})
        if output not in parts:
            parts[output] = picture
            if len(parts) == len(OUTPUTS_HEARD) and self.bag is not None:
                self.bag.write_frame(self.name, header, parts["mask"], parts["confidence"])
        self._conclude_if_whole(stamp)
        if len(self._pending) > MOST_PENDING:
            self._conclude(min(self._pending))

    def on_truth(self, stamp: int, class_ids: UInt8) -> None:
        """Take ground truth [H, W], which may come long before its mask."""
        if self.truth is not None:
            self.truth.add(stamp, class_ids)
            self._conclude_if_whole(stamp)

    def finish(self) -> None:
        """Count what came without its ground truth; the store can be closed then."""
        for stamp in sorted(self._pending):
            self._conclude(stamp)
        if self.truth is not None:
            self.counts.take_truth(self.truth)

    def measured(self) -> Measured:
        """Return what metrics of the frames that came with ground truth are computed from."""

        def binned(values: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.bincount(_LEVEL_BINS, values, RELIABILITY_BINS).astype(np.int64)

        units = self._level_count * np.rint(_LEVELS * UNITS_PER_ONE / 255).astype(np.int64)
        reliability = reliability_of(
            binned(self._level_count), binned(self._level_correct), binned(units)
        )
        return Measured(self._confusion, known_reliability=reliability)

    def _conclude_if_whole(self, stamp: int) -> None:
        is_whole = len(self._pending.get(stamp, {})) == len(OUTPUTS_HEARD)
        has_truth = self.truth is not None and stamp in self.truth
        if is_whole and (has_truth or not self.truth_comes):
            self._conclude(stamp)

    def _conclude(self, stamp: int) -> None:
        """Score what has come of a stamp, and forget it."""
        parts = self._pending.pop(stamp)
        if "mask" not in parts:  # it came too late, or never
            return
        self._done.add(stamp)
        confidence = parts.get("confidence")
        truth = self.truth.get(stamp) if self.truth is not None else None
        mean_iou = None if truth is None else self._score(stamp, parts["mask"], truth, confidence)
        mean = 0.0 if confidence is None else float(confidence.mean()) / 255.0
        self.frames.append(FrameResult(self.name, stamp, mean, mean_iou, None))

    def _score(
        self, stamp: int, mask: UInt8, truth: UInt8, confidence: UInt8 | None
    ) -> float | None:
        try:
            counts = confusion_counts(truth, mask, self.label_set.num_classes)
        except CamsegError as error:
            self.counts.truth_refused += 1
            self.counts.problem(f"{stamp} ns: {error}")
            return None
        self.counts.with_truth += 1
        self._confusion += counts
        if confidence is not None and confidence.shape == truth.shape:
            labeled = truth != UNLABELED
            self._level_count += np.bincount(confidence[labeled], minlength=256)
            right = labeled & (truth == mask)
            self._level_correct += np.bincount(confidence[right], minlength=256)
        return finite_or_none(float(mean_iou_per_image(counts[None])[0]))
