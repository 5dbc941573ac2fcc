# SPDX-License-Identifier: Apache-2.0
"""What a live replay measured: for each camera what came out and how fast. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LiveCamera:
    """One camera.

    Attributes:
        played: number of frames that the player published; 0 where another player plays.
        counts: the node's own counts of frames in, out, dropped and refused.
        masks: number of masks that arrived here.
        frames: number of different frames among them.
        latency_ms: percentiles by name of the time from publishing a frame to the arrival of its
            mask; empty where another player plays.
        accuracy: every metric of the frames that came out, by name, None where undefined; the
            number of ``frames`` among them that have ground truth; ``class_iou`` by class.
    """

    played: int
    counts: dict[str, int]
    masks: int
    frames: int
    latency_ms: dict[str, float]
    accuracy: dict[str, Any]

    @property
    def drop_rate(self) -> float | None:
        """Share of the frames entering the node that were dropped; None without frames."""
        return self.counts["dropped"] / self.counts["in"] if self.counts["in"] else None

    @property
    def lost_in_dds(self) -> int:
        """Number of frames that were played and never entered the node."""
        return max(0, self.played - self.counts["in"])


@dataclass(frozen=True)
class LiveResult:
    """All cameras, and the node's own figures.

    Attributes:
        cameras: the cameras by name.
        node_ms: the node's percentiles of latency, age and stages, by name.
        steps: number of diffusion steps of the last frame.
        rate: speed of playing, 1 = as recorded; None where another player plays.
        machine: the machine, in words.
        problems: promises that the node broke.
        shortfall: what says that a latency budget was not kept; empty if it was.
    """

    cameras: dict[str, LiveCamera]
    node_ms: dict[str, dict[str, float]]
    steps: int
    rate: float | None
    machine: str
    problems: list[str] = field(default_factory=list)
    shortfall: str = ""

    def latency_ms(self, camera: str) -> Mapping[str, float]:
        """Return a camera's latency as measured here, or else as the node measured it."""
        return self.cameras[camera].latency_ms or self.node_ms.get("latency", {})

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return the figures that gates know, by camera."""
        return {
            name: {
                **camera.accuracy,
                "drop_rate": camera.drop_rate,
                **{f"latency_{key}_ms": value for key, value in self.latency_ms(name).items()},
                "age_p99_ms": self.node_ms.get("age", {}).get("p99"),
                **{
                    f"class_iou.{label}": iou for label, iou in camera.accuracy["class_iou"].items()
                },
            }
            for name, camera in self.cameras.items()
        }
