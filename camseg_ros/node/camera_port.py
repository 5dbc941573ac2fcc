# SPDX-License-Identifier: Apache-2.0
"""One camera's topics: what it listens to and what it publishes. The node gives the means."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.labels import LabelSet
from camseg_ros.ground.view import GroundView
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.messages.images import stamp_ns
from camseg_ros.messages.labels import label_info_message, label_info_type
from camseg_ros.messages.outputs import OUTPUTS, FrameOutputs, unlabeled_messages
from camseg_ros.node.health import (
    CameraWatch,
    Condition,
    DurationWindow,
    Level,
    RateMeter,
    WatchLimits,
)
from camseg_ros.node.settings import CameraSettings


@dataclass(frozen=True)
class Qualities:
    """Quality of service of a camera's topics, as rclpy has it."""

    input: Any
    output: Any
    latched: Any


QUALITIES = Qualities(
    input=QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability),
    output=QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
    latched=QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
)
"""The newest message counts; latched ones wait for late subscribers."""

Subscribe = Callable[
    [type, str, Callable[[Any], None], Any, Callable[[int], None]], tuple[Any, bool]
]
"""Subscribes: message type, topic, callback, quality, and what hears of lost messages and how many.

Gives the subscription, and whether the middleware tells of lost messages at all.
"""


class CameraPort:
    """Publishers from configure to cleanup, subscriptions from activate to deactivate."""

    def __init__(
        self,
        node: Any,
        settings: CameraSettings,
        limits: WatchLimits,
        qualities: Qualities,
        subscribe: Subscribe,
    ) -> None:
        """Create the publishers on ``node``, a lifecycle node."""
        self.settings = settings
        self.watch = CameraWatch(limits, time.monotonic_ns())
        self.condition = Condition(Level.OK, "not active")
        self.latency = DurationWindow()
        self.age = DurationWindow()
        self.rate = RateMeter()
        self.safe_masks = 0
        self.last_safe_ns = 0
        self.last_safe_stamp_ns = 0
        self.frames_lost: int | None = None
        self.camera_info: CameraInfo | None = None
        self.ground: GroundView | None = None
        self._node = node
        self._qualities = qualities
        self._subscribe = subscribe
        self._shape: tuple[int, int] | None = None
        self._frame_id = ""
        self._subscriptions: list[Any] = []
        self._publishers = {
            name: node.create_publisher(
                spec.message_type, f"~/{self.name}/{spec.topic}", qualities.output
            )
            for name, spec in OUTPUTS.items()
        }
        self._label_info: Any = None

    @property
    def name(self) -> str:
        """The camera's name."""
        return self.settings.name

    def announce(self, label_set: LabelSet, threshold: float, stamp: Any) -> None:
        """Publish what the class ids mean, latched, where vision_msgs is installed."""
        message_type = label_info_type()
        if message_type is None:
            return
        if self._label_info is None:
            self._label_info = self._node.create_publisher(
                message_type, f"~/{self.name}/label_info", self._qualities.latched
            )
        self._label_info.publish(label_info_message(label_set, threshold, self._frame_id, stamp))

    def listen(self, on_frame: Callable[[QueuedFrame], None], limits: WatchLimits) -> str:
        """Subscribe; gives the image topic's full name."""
        now_ns = time.monotonic_ns()
        self.watch = CameraWatch(limits, now_ns)
        self.rate.clear()
        settings, quality = self.settings, self._qualities.input
        message_type = CompressedImage if settings.transport == "compressed" else Image

        def on_image(message: Image | CompressedImage) -> None:
            received_ns = time.monotonic_ns()
            on_frame(QueuedFrame(self.name, stamp_ns(message.header), received_ns, message))

        def on_info(message: CameraInfo) -> None:
            self.camera_info = message

        def on_lost(count: int) -> None:
            self.frames_lost = (self.frames_lost or 0) + count

        images, tells_lost = self._subscribe(
            message_type, settings.image_topic, on_image, quality, on_lost
        )
        self._subscriptions = [images]
        if tells_lost and self.frames_lost is None:
            self.frames_lost = 0
        self._subscriptions.append(
            self._node.create_subscription(CameraInfo, settings.camera_info_topic, on_info, quality)
        )
        return str(images.topic_name)

    def stop_listening(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self.condition = Condition(Level.OK, "not active")

    def close(self) -> None:
        """Destroy everything."""
        self.stop_listening()
        for publisher in [*self._publishers.values(), self._label_info]:
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        self._publishers = {}
        self._label_info = None

    def subscribers(self) -> dict[str, int]:
        """Count who listens to each output."""
        return {
            name: publisher.get_subscription_count() for name, publisher in self._publishers.items()
        }

    def wanted(self, enabled: tuple[str, ...]) -> list[str]:
        """List the enabled outputs that somebody listens to."""
        return [name for name, count in self.subscribers().items() if count and name in enabled]

    def messages(self, outputs: FrameOutputs, enabled: tuple[str, ...]) -> dict[str, Any]:
        """Build what somebody listens to."""
        return outputs.messages(self.wanted(enabled))

    def publish(self, messages: Mapping[str, Any]) -> None:
        """Publish messages, by output name."""
        for name, message in messages.items():
            self._publishers[name].publish(message)

    def remember(self, shape: tuple[int, int], frame_id: str) -> None:
        """Keep the size (height, width) and the frame of the last mask, for the safe state."""
        self._shape, self._frame_id = shape, frame_id

    @property
    def has_published(self) -> bool:
        """True once a mask was published, so that the safe state knows its size."""
        return self._shape is not None

    def publish_safe_state(self, enabled: tuple[str, ...], stamp: Any, now_ns: int) -> bool:
        """Publish all-unlabeled masks; false where no mask was published yet to know the size."""
        if self._shape is None:
            return False
        header = Header(stamp=stamp, frame_id=self._frame_id)
        messages = unlabeled_messages(*self._shape, header)
        wanted = self.wanted(enabled)
        self.publish({name: messages[name] for name in wanted if name in messages})
        self.safe_masks += 1
        self.last_safe_ns, self.last_safe_stamp_ns = now_ns, stamp_ns(header)
        return True

    def wait_until_sent(self, limit: Any) -> None:
        """Wait until reliable subscribers have what was published, at most ``limit`` (Duration)."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(limit)

    def forget(self) -> None:
        """Forget measurements."""
        self.latency.clear()
        self.age.clear()
        self.rate.clear()


try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )


def subscribe(
    node: Any,
    message_type: type,
    topic: str,
    callback: Callable[[Any], None],
    quality: Any,
    on_lost: Callable[[int], None],
) -> tuple[Any, bool]:
    """Subscribe on ``node``; ``on_lost`` hears how many messages were lost since it last heard.

    Returns:
        The subscription, and whether the middleware tells of lost messages at all.
    """
    events = SubscriptionEventCallbacks(
        message_lost=lambda status: on_lost(status.total_count_change)
    )
    try:
        subscription = node.create_subscription(
            message_type, topic, callback, quality, event_callbacks=events
        )
    except UnsupportedEventTypeError:
        return node.create_subscription(message_type, topic, callback, quality), False
    return subscription, True
