# SPDX-License-Identifier: Apache-2.0
"""What a live replay measured: per camera what came out and how fast. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from camseg_core.labels import LabelSet
from camseg_ros.replay.results.drive_result import DriveResult


@dataclass(frozen=True)
class LiveAccuracy:
    """Scores of the frames that came out with truth, 0..1; None where undefined."""

    frames: int
    mean_iou: float | None
    pixel_accuracy: float | None
    calibration_error: float | None
    class_iou: dict[str, float | None]


@dataclass(frozen=True)
class LiveCamera:
    """One camera.

    Attributes:
        played: frames published by the player; 0 where another player plays.
        counts: the node's own: frames in, out, dropped, refused.
        masks: masks that arrived here.
        frames: different frames among them.
        latency_ms: from publishing a frame to the arrival of its mask, percentiles by name; empty
            where another player plays.
        accuracy: of the frames that came out.
    """

    played: int
    counts: dict[str, int]
    masks: int
    frames: int
    latency_ms: dict[str, float]
    accuracy: LiveAccuracy

    @property
    def drop_rate(self) -> float | None:
        """Share of the frames entering the node that were dropped; None without frames."""
        entered = self.counts.get("in", 0)
        return self.counts.get("dropped", 0) / entered if entered else None

    @property
    def lost_in_dds(self) -> int:
        """Frames that were played and never entered the node."""
        return max(0, self.played - self.counts.get("in", 0)) if self.played else 0


@dataclass(frozen=True)
class LiveResult:
    """All cameras, and the node's own figures.

    Attributes:
        cameras: by name.
        node_ms: the node's percentiles of latency, age, and stages by name.
        steps: used for the last frame.
        rate: of playing, 1 = as recorded; None where another player plays.
        machine: on which.
        problems: promises that the node broke.
    """

    cameras: dict[str, LiveCamera]
    node_ms: dict[str, dict[str, float]]
    steps: int
    rate: float | None
    machine: str
    problems: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return what gates know, by camera."""
        found: dict[str, dict[str, Any]] = {}
        for name, camera in self.cameras.items():
            accuracy = camera.accuracy
            latency = camera.latency_ms or self.node_ms.get("latency", {})
            found[name] = {
                "mean_iou": accuracy.mean_iou,
                "pixel_accuracy": accuracy.pixel_accuracy,
                "calibration_error": accuracy.calibration_error,
                "drop_rate": camera.drop_rate,
                **{f"latency_{key}_ms": value for key, value in latency.items()},
                "age_p99_ms": self.node_ms.get("age", {}).get("p99"),
                **{f"class_iou.{label}": iou for label, iou in accuracy.class_iou.items()},
            }
        return found


@dataclass(frozen=True)
class LiveReplay:
    """What came of a live replay; ``weights_sha256`` is empty where nothing was trained."""

    drive: DriveResult
    live: LiveResult
    label_set: LabelSet
    weights_sha256: str
