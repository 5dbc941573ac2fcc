# SPDX-License-Identifier: Apache-2.0
"""Made-up results of a replay, for tests of pages, figures and gates that run no model."""

from __future__ import annotations

from camseg_core.labels import CITYSCAPES
from camseg_ros.bag.dataset import CameraCounts
from camseg_ros.replay.results.accuracy import DatasetAccuracy
from camseg_ros.replay.results.drives import DriveResult, FrameResult
from camseg_ros.replay.results.live_result import LiveCamera, LiveResult
from camseg_ros.replay.results.page import ReplayFacts

FACTS = ReplayFacts("offline", "demo.safetensors", "ab" * 32, False, CITYSCAPES, "steps 1", 1)
METRICS = {
    "mean_iou": 0.4321, "pixel_accuracy": 0.8765, "calibration_error": 0.0123, "flicker": 0.0456,
}  # fmt: skip
ROW = {
    "dataset": "kitti-step val", "part": "", "condition": None, "sequence": None, "frames": 7,
    **METRICS,
}  # fmt: skip
CLASS_IOU = dict.fromkeys(CITYSCAPES.names) | {"person": 0.3141}
ACCURACY = DatasetAccuracy("kitti-step val", "", (ROW,), CLASS_IOU)
LIVE = LiveResult(
    cameras={
        "left": LiveCamera(
            100,
            {"in": 90, "out": 60, "dropped": 27, "refused": 3},
            60,
            60,
            {"p50": 61.5, "p95": 71.5, "p99": 81.5},
            {
                "mean_iou": 0.5432, "pixel_accuracy": 0.9, "calibration_error": 0.02,
                "frames": 60, "class_iou": {"road": 0.9},
            },
        )
    },
    node_ms={"age": {"p50": 50.5, "p95": 60.5, "p99": 70.5}},
    steps=4,
    rate=2.0,
    machine="a machine",
)  # fmt: skip


def made_drive(name: str = "0002", **counts: int) -> DriveResult:
    """A drive of five frames, one a second; ``counts`` are of its messages."""
    frames = [
        FrameResult("left", 10**9 * n, 0.9, 0.1 * n, None if n == 0 else 0.05, 100, n)
        for n in range(5)
    ]
    counted = {"left": CameraCounts(images=5, **counts)}
    return DriveResult(name, "kitti-step", "val", "", "clear", name, "", "", counted, frames)
