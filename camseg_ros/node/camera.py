# SPDX-License-Identifier: Apache-2.0
"""A camera of the pipeline: topics, health, safe state, measurements, mounting on the vehicle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time as ClockTime
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.ground.view import GroundView
from camseg_ros.inference.frame_queue import FrameCounts, QueuedFrame
from camseg_ros.messages.images import stamp_ns
from camseg_ros.messages.labels import label_info_message
from camseg_ros.messages.output_topics import OUTPUT_TOPICS
from camseg_ros.messages.outputs import OUTPUTS, unlabeled_messages
from camseg_ros.node.camera_input import CameraInput
from camseg_ros.node.diagnostics import Measurements
from camseg_ros.node.health import CameraWatch, Condition, Level, WatchLimits, worst
from camseg_ros.node.settings import CameraSettings

SAFE_PERIOD_NS = 10**9
NOT_ACTIVE = Condition(Level.WARN, "not active")
# The newest message counts; latched ones wait for late subscribers.
OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


@dataclass
class SafeState:
    """Gives all-unlabeled masks of one camera, and says which masks must not come out after them.

    Attributes:
        masks: Number of masks that it has given.
        frame_id: Frame of the camera's last mask; empty before the first one.
    """

    masks: int = 0
    frame_id: str = ""
    _shape: tuple[int, int] | None = None
    _last_ns: int = 0
    _last_stamp_ns: int = 0

    def remember(self, shape: tuple[int, int], frame_id: str) -> None:
        """Keep the size (height, width) and the frame of the last mask that was published."""
        self._shape, self.frame_id = shape, frame_id

    def messages(self, stamp: Time, now_ns: int, *, at_once: bool = False) -> dict[str, Any]:
        """Return what is published once a second; nothing before the first mask.

        Args:
            stamp: Time of the node's clock.
            now_ns: Time of the steady clock.
            at_once: True if the second since the last messages need not be over.
        """
        is_recent = now_ns - self._last_ns < SAFE_PERIOD_NS
        if self._shape is None or (is_recent and not at_once):
            return {}
        header = Header(stamp=stamp, frame_id=self.frame_id)
        self.masks += 1
        self._last_ns, self._last_stamp_ns = now_ns, stamp_ns(header)
        return unlabeled_messages(*self._shape, header)

    def outdates(self, frame: QueuedFrame, now_ns: int, *, is_due: bool) -> bool:
        """Return whether a planner was, or is about to be, told of a newer time to trust nothing.

        Stamps count only for a second after a safe mask: they may be by another clock.

        Args:
            frame: Frame whose mask is ready.
            now_ns: Time of the steady clock.
            is_due: True if the camera has been silent for so long that a safe mask is due.
        """
        if is_due and self._shape is not None:
            return True
        if self.masks == 0:
            return False
        is_recent = now_ns - self._last_ns < SAFE_PERIOD_NS
        return frame.received_ns <= self._last_ns or (
            is_recent and frame.stamp_ns < self._last_stamp_ns
        )


class Camera:
    """All that belongs to one camera.

    Publishers live from configure to cleanup, subscriptions from activate to deactivate.

    Attributes:
        settings: Its parameters.
        input: What it hears: images and calibrations.
        watch: What its health is judged by; a new one for each activation.
        condition: What `watch` last said.
        safe_state: What it publishes when nothing should be trusted.
        measured: Measurements of its frames that came out.
        ground: What projects its masks on the ground; None without a grid.
    """

    def __init__(self, node: LifecycleNode, settings: CameraSettings, limits: WatchLimits) -> None:
        """Create its publishers on ``node``."""
        self.settings = settings
        self.input = CameraInput(node, settings)
        self.watch = CameraWatch(limits, time.monotonic_ns())
        self.condition = NOT_ACTIVE
        self.safe_state = SafeState()
        self.measured = Measurements()
        self.ground: GroundView | None = None
        self._node = node
        self._publishers = {
            name: node.create_publisher(
                OUTPUTS[name].message_type, self._topic(item.topic), OUTPUT_QOS
            )
            for name, item in OUTPUT_TOPICS.items()
        }
        self._label_info: Any = None

    def _topic(self, name: str) -> str:
        return f"~/{self.settings.name}/{name}"

    def announce(self, label_set: LabelSet, threshold: float, stamp: Time) -> None:
        """Publish what the class ids mean, latched, where vision_msgs is installed."""
        message = label_info_message(label_set, threshold, self.safe_state.frame_id, stamp)
        if message is None:
            return
        if self._label_info is None:
            self._label_info = self._node.create_publisher(
                type(message), self._topic("label_info"), LATCHED_QOS
            )
        self._label_info.publish(message)

    def listen(
        self,
        on_frame: Callable[[QueuedFrame], None],
        limits: WatchLimits,
        on_loss: Callable[[str], None],
    ) -> str:
        """Wait for input from now on, and return the image topic's full name."""
        now_ns = time.monotonic_ns()
        self.watch = CameraWatch(limits, now_ns)
        self.input.open(on_frame, on_loss)
        self.condition = self.watch.check(now_ns)
        return self.input.topic

    def stop_listening(self) -> None:
        """Wait for no more input."""
        self.input.close()
        self.condition = NOT_ACTIVE
        if self.ground is not None:
            self.ground.problem = ""

    def check(self, now_ns: int) -> Condition:
        """Follow the publishers of the images, and return the camera's condition now."""
        condition = self.watch.check(now_ns)
        if not self.input.is_open:
            return condition
        self.input.look_at_publishers()
        if self.watch.lacks_input(now_ns):
            return Condition(condition.level, f"{condition.text}: {self.input.why_none()}")
        return condition

    def diagnosed(self, enabled: tuple[str, ...]) -> Condition:
        """Return the condition, with what the drivable grid lacks where somebody wants it."""
        problem = self.ground.problem if self.ground is not None else ""
        if not problem or "drivable_grid" not in self.wanted(enabled):
            return self.condition
        return worst([self.condition, Condition(Level.WARN, problem)], otherwise="")

    def close(self) -> None:
        """Destroy all topics."""
        self.stop_listening()
        for publisher in [*self._publishers.values(), self._label_info]:
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        self._publishers = {}
        self._label_info = None

    def subscribers(self) -> dict[str, int]:
        """Count the subscribers of each output."""
        return {
            name: publisher.get_subscription_count() for name, publisher in self._publishers.items()
        }

    def wanted(self, enabled: tuple[str, ...]) -> list[str]:
        """List the enabled outputs that somebody listens to."""
        return [name for name, count in self.subscribers().items() if count and name in enabled]

    def publish(self, messages: Mapping[str, Any]) -> None:
        """Publish messages, given by the names of their outputs."""
        for name, message in messages.items():
            self._publishers[name].publish(message)

    def wait_until_sent(self, limit: Duration) -> None:
        """Wait until reliable subscribers have what was published, at most ``limit``."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(limit)

    def values(self, counts: FrameCounts, now_ns: int) -> dict[str, str]:
        """Return the camera's figures as diagnostics name them."""
        return {
            **self.measured.values(counts, now_ns),
            **self.input.values(),
            "safe_masks": str(self.safe_state.masks),
            **{f"subscribers_{name}": str(n) for name, n in self.subscribers().items()},
        }


class TransformedMountings:
    """Looks mountings up in tf, where tf2_ros is installed; it comes with a ROS 2 installation.

    It listens from the first look-up to `close`; `GroundView` calls it as its `FindMounting`.
    """

    def __init__(self, node: Node, vehicle_frame: str) -> None:
        """Take the node that listens to tf, and the frame in which the cameras are mounted."""
        self._node = node
        self._vehicle_frame = vehicle_frame
        self._buffer: Any = None
        self._listener: Any = None

    def __call__(self, frame_id: str, stamp: Time) -> Mounting:
        """Return the mounting of the camera whose frame is ``frame_id`` at the time of ``stamp``.

        The newest one where tf knows none of that time: it comes late, or stamps by another clock.

        Raises:
            CamsegError: tf has none (yet), or tf2_ros is not installed.
        """
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError:
            raise CamsegError(
                "the camera's mounting is not given and tf2_ros is not installed; set "
                "<camera>.mounting"
            ) from None
        if self._listener is None:
            self._buffer = Buffer()
            self._listener = TransformListener(self._buffer, self._node)
        look_up = partial(self._buffer.lookup_transform, self._vehicle_frame, frame_id)
        try:
            stamped = look_up(ClockTime.from_msg(stamp))
        except TransformException:
            try:
                stamped = look_up(ClockTime())  # the newest
            except TransformException as error:
                raise CamsegError(
                    f"the camera's mounting is not given, and tf has none: {error}"
                ) from error
        return Mounting.from_transform(stamped.transform)

    def close(self) -> None:
        """Stop listening: the node holds the listener's subscriptions, which hold the listener."""
        if self._listener is not None:
            self._listener.unregister()
        self._buffer = self._listener = None
