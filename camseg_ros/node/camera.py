# SPDX-License-Identifier: Apache-2.0
"""One camera of the pipeline: its topics, its health, and what was measured of its frames."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode

from camseg_ros.ground.view import GroundView
from camseg_ros.inference.frame_queue import FrameCounts, QueuedFrame
from camseg_ros.node.camera_port import CameraPort
from camseg_ros.node.diagnostics import FrameMeasurements
from camseg_ros.node.health import CameraWatch, Condition, Level, RateMeter, WatchLimits
from camseg_ros.node.safe_state import SafeState
from camseg_ros.node.settings import CameraSettings

NOT_ACTIVE = Condition(Level.OK, "not active")


class Camera:
    """All that belongs to one camera, from configure to cleanup.

    Attributes:
        settings: Its parameters.
        port: Its topics.
        watch: What its health is judged by; a new one for each activation.
        condition: What `watch` last said.
        safe_state: What it publishes when nothing should be trusted.
        measured, rate: Measurements of the frames that came out.
        ground: What projects its masks on the ground; None without a grid.
    """

    def __init__(self, node: LifecycleNode, settings: CameraSettings, limits: WatchLimits) -> None:
        """Create its publishers on ``node``."""
        self.settings = settings
        self.port = CameraPort(node, settings)
        self.watch = CameraWatch(limits, time.monotonic_ns())
        self.condition = NOT_ACTIVE
        self.safe_state = SafeState(self.port)
        self.measured = FrameMeasurements()
        self.rate = RateMeter()
        self.ground: GroundView | None = None

    def listen(self, on_frame: Callable[[QueuedFrame], None], limits: WatchLimits) -> str:
        """Wait for input from now on, and return the image topic's full name."""
        self.watch = CameraWatch(limits, time.monotonic_ns())
        self.rate.clear()
        return self.port.listen(on_frame)

    def stop_listening(self) -> None:
        """Wait for no more input."""
        self.port.stop_listening()
        self.condition = NOT_ACTIVE

    def clear(self) -> None:
        """Forget what was measured."""
        self.measured.clear()
        self.rate.clear()

    def values(self, counts: FrameCounts, now_ns: int) -> dict[str, str]:
        """Return the camera's figures as diagnostics name them."""
        lost = self.port.frames_lost
        return {
            **self.measured.values(counts, self.rate.rate_hz(now_ns)),
            "frames_lost": "" if lost is None else str(lost),
            "safe_masks": str(self.safe_state.masks),
            **{f"subscribers_{name}": str(n) for name, n in self.port.subscribers().items()},
        }
