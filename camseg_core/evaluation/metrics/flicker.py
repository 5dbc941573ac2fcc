# SPDX-License-Identifier: Apache-2.0
"""Temporal consistency: how much of a prediction flickers that should stand still.

Pixels whose true class is the same in two consecutive frames should keep their predicted class,
right or wrong. What moves in the truth is left out, so that only flicker counts that the truth does
not explain. Shapes: H, W = image size.
"""

from __future__ import annotations

from dataclasses import dataclass

from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.labels import UNLABELED


@dataclass(frozen=True)
class FlickerCounts:
    """Pixels of pairs of consecutive frames; adds up.

    Attributes:
        stable: whose true class is the same in both frames, and labeled.
        flickered: those of them whose predicted class differs.
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
    """Compare two consecutive frames; class ids uint8 [H, W] each, 255 = unlabeled.

    Raises:
        CamsegError: sizes differ.
    """
    shapes = {a.shape for a in (earlier_truth, truth, earlier_prediction, prediction)}
    if len(shapes) != 1:
        raise CamsegError(f"frames of sizes {sorted(shapes)} cannot be compared; one is needed")
    stable = (earlier_truth == truth) & (truth != UNLABELED)
    flickered = stable & (earlier_prediction != prediction)
    return FlickerCounts(int(stable.sum()), int(flickered.sum()))
