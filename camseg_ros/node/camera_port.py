# SPDX-License-Identifier: Apache-2.0
"""One camera's topics: what it listens to and what it publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from camseg_core.labels import LabelSet
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.messages.images import stamp_ns
from camseg_ros.messages.labels import label_info_message, label_info_type
from camseg_ros.messages.outputs import OUTPUTS
from camseg_ros.node.settings import CameraSettings

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

# The newest message counts; latched ones wait for late subscribers.
INPUT_QOS = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)
OUTPUT_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class CameraPort:
    """Publishers from configure to cleanup, subscriptions from activate to deactivate.

    Attributes:
        name: Name of the camera.
        camera_info: The camera's last calibration; None before the first one.
        frames_lost: How many images DDS lost before the callback; None where the middleware does
            not tell.
    """

    def __init__(self, node: LifecycleNode, settings: CameraSettings) -> None:
        """Create the publishers on ``node``."""
        self.name = settings.name
        self.camera_info: CameraInfo | None = None
        self.frames_lost: int | None = None
        self._node = node
        self._settings = settings
        self._subscriptions: list[Any] = []
        self._publishers = {
            name: node.create_publisher(
                spec.message_type, f"~/{self.name}/{spec.topic}", OUTPUT_QOS
            )
            for name, spec in OUTPUTS.items()
        }
        self._label_info: Any = None

    def announce(self, label_set: LabelSet, threshold: float, frame_id: str, stamp: Time) -> None:
        """Publish what the class ids mean, latched, where vision_msgs is installed."""
        message_type = label_info_type()
        if message_type is None:
            return
        if self._label_info is None:
            self._label_info = self._node.create_publisher(
                message_type, f"~/{self.name}/label_info", LATCHED_QOS
            )
        self._label_info.publish(label_info_message(label_set, threshold, frame_id, stamp))

    def listen(self, on_frame: Callable[[QueuedFrame], None]) -> str:
        """Subscribe, and return the image topic's full name."""

        def on_image(message: Image | CompressedImage) -> None:
            received_ns = time.monotonic_ns()
            on_frame(QueuedFrame(self.name, stamp_ns(message.header), received_ns, message))

        def on_info(message: CameraInfo) -> None:
            self.camera_info = message

        images = self._subscribe_to_images(on_image)
        infos = self._node.create_subscription(
            CameraInfo, self._settings.camera_info_topic, on_info, INPUT_QOS
        )
        self._subscriptions = [images, infos]
        return str(images.topic_name)

    def _subscribe_to_images(self, on_image: Callable[[Any], None]) -> Any:
        is_compressed = self._settings.transport == "compressed"
        given = (
            CompressedImage if is_compressed else Image,
            self._settings.image_topic,
            on_image,
            INPUT_QOS,
        )

        def on_lost(status: Any) -> None:
            self.frames_lost = (self.frames_lost or 0) + status.total_count_change

        events = SubscriptionEventCallbacks(message_lost=on_lost)
        try:
            subscription = self._node.create_subscription(*given, event_callbacks=events)
        except UnsupportedEventTypeError:
            return self._node.create_subscription(*given)
        self.frames_lost = self.frames_lost or 0
        return subscription

    def stop_listening(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

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

    def publish(self, messages: Mapping[str, Any]) -> None:
        """Publish messages, by output name."""
        for name, message in messages.items():
            self._publishers[name].publish(message)

    def wait_until_sent(self, limit: Duration) -> None:
        """Wait until reliable subscribers have what was published, at most ``limit``."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(limit)
