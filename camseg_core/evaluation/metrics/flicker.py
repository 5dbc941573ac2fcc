# SPDX-License-Identifier: Apache-2.0
"""Temporal consistency: how much of a prediction flickers that should stand still.

Pixels whose true class is the same in two consecutive frames should keep their predicted class,
right or wrong. What moves in the ground truth is left out, so that only flicker counts that it
does not explain. Shapes: H, W = image size.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED

NEXT_FRAME_NS = 10**9
"""Frames of one camera that lie farther apart are not consecutive: nothing is compared."""


@dataclass(frozen=True)
class FlickerCounts:
    """Pixels of pairs of consecutive frames; adds up.

    Attributes:
        stable: number of labeled pixels whose true class is the same in both frames.
        flickered: number of those whose predicted class differs.
    """

    stable: int = 0
    flickered: int = 0

    def __add__(self, other: FlickerCounts) -> FlickerCounts:
        """Add the counts of other pairs."""
        return FlickerCounts(self.stable + other.stable, self.flickered + other.flickered)

    @property
    def share(self) -> float | None:
        """Share of stable pixels that flickered, 0..1; None without a stable pixel."""
        return self.flickered / self.stable if self.stable else None


def flicker_counts(
    earlier_truth: UInt8, truth: UInt8, earlier_prediction: UInt8, prediction: UInt8
) -> FlickerCounts:
    """Compare two consecutive frames of one size; class ids uint8 [H, W] each, 255 = unlabeled."""
    stable = (earlier_truth == truth) & (truth != UNLABELED)
    flickered = stable & (earlier_prediction != prediction)
    return FlickerCounts(int(stable.sum()), int(flickered.sum()))


class FlickerTracker:
    """Compares each prediction with that of the frame before, in each stream of frames."""

    def __init__(self) -> None:
        """Start without any frame."""
        self._earlier: dict[Hashable, tuple[int, UInt8 | None, UInt8]] = {}

    def compare(
        self, stream: Hashable, stamp_ns: int, ground_truth: UInt8 | None, prediction: UInt8
    ) -> tuple[float | None, FlickerCounts]:
        """Take the next frame of a stream, and compare it with the one before.

        Args:
            stream: what the frames belong to, e.g. a bag and a camera.
            stamp_ns: time of the frame, in nanoseconds.
            ground_truth: class ids uint8 [H, W]; None without.
            prediction: class ids uint8 [H, W].

        Returns:
            The share of pixels that changed their class, None if the frames are not consecutive or
            differ in size, and the flicker, zero if one of them has no ground truth.
        """
        this = (stamp_ns, ground_truth, prediction)
        earlier_ns, earlier_truth, earlier_prediction = self._earlier.get(stream, this)
        self._earlier[stream] = this
        is_next = 0 < stamp_ns - earlier_ns <= NEXT_FRAME_NS
        if not is_next or earlier_prediction.shape != prediction.shape:
            return None, FlickerCounts()
        changed = float((earlier_prediction != prediction).mean())
        if ground_truth is None or earlier_truth is None:
            return changed, FlickerCounts()
        return changed, flicker_counts(earlier_truth, ground_truth, earlier_prediction, prediction)
