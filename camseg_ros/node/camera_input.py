# SPDX-License-Identifier: Apache-2.0
"""The subscriptions of one camera, which follow what its publishers offer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from camseg_core.errors import CamsegError, listed, message_of, shown
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.messages.images import stamp_ns
from camseg_ros.node.dds_environment import PROFILES_VARIABLES
from camseg_ros.node.settings import CameraSettings

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import (  # type: ignore[no-redef]
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

IMAGE_TYPES = {"raw": Image, "compressed": CompressedImage}
"""Message type of each transport."""
TYPE_NAMES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
RELIABILITIES = {
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
IMAGE_DEPTH = 10
"""Images that DDS keeps for the executor, as many as it does for a subscriber by default."""
COMPRESSED_SUFFIX = "/compressed"
LONGEST_LIST = 3
"""How many publishers or topics a message names."""
LOSS_CURE = (
    f"give its publisher config/fastdds.xml ({PROFILES_VARIABLES[0]}), too, or use its compressed "
    "topic"
)


class Offer(NamedTuple):
    """What one publisher of the camera's topic offers.

    Attributes:
        node: Full name of its node.
        type_name: Type of its messages.
        is_reliable: True if it sends again what was lost.
    """

    node: str
    type_name: str
    is_reliable: bool

    def __str__(self) -> str:
        """Return the offer in words."""
        return f"{self.node} ({self.type_name}, {_word(self.is_reliable)})"


class Request(NamedTuple):
    """What the camera's subscription asks for: a transport, and whether to send again."""

    transport: str
    is_reliable: bool


def follow(
    offers: Sequence[Offer], settings: CameraSettings, reliability: str, last: Request | None
) -> Request:
    """Return what to ask for, so that all publishers of the camera's images are heard.

    As rosbag2's recorder does: reliable where all publishers are, best effort where one is not.
    Before there is a publisher, `reliable` is right for most drivers and players, which then lose
    nothing while the subscription is made anew.

    Args:
        offers: What the publishers of the topic offer.
        settings: The camera's; its transport may be ``auto``.
        reliability: ``auto``, ``reliable`` or ``best_effort``.
        last: What was asked for until now, which holds while nobody publishes.
    """
    transport = settings.transport
    if transport == "auto":
        offered = [
            name for name in IMAGE_TYPES if any(o.type_name == TYPE_NAMES[name] for o in offers)
        ]
        by_name = "compressed" if settings.image_topic.endswith(COMPRESSED_SUFFIX) else "raw"
        likely = last.transport if last else by_name
        transport = likely if likely in offered or not offered else offered[0]
    if reliability != "auto":
        return Request(transport, reliability == "reliable")
    fitting = [offer for offer in offers if offer.type_name == TYPE_NAMES[transport]]
    if not fitting:
        return Request(transport, last.is_reliable if last else True)
    return Request(transport, all(offer.is_reliable for offer in fitting))


def why_no_input(
    topic: str,
    offers: Sequence[Offer],
    asked: Request,
    frames_lost: int,
    elsewhere: Sequence[str],
    *,
    had_input: bool,
) -> str:
    """Tell in words why no image comes, and what to do.

    Args:
        topic: Full name of the image topic.
        offers: What its publishers offer.
        asked: What the subscription asks for.
        frames_lost: How many images DDS lost since the subscription was opened.
        elsewhere: Other topics on which images are published.
        had_input: True if images came before, since the subscription was opened.
    """
    type_name = TYPE_NAMES[asked.transport]
    expected = f"{topic} ({type_name}, {_word(asked.is_reliable)})"
    if not offers:
        hint = f"; images are published on {listed(elsewhere, LONGEST_LIST)}" if elsewhere else ""
        return f"nobody publishes {expected}{hint}"
    publishers = listed(offers, LONGEST_LIST)
    fitting = [offer for offer in offers if offer.type_name == type_name]
    if not fitting:
        others = [name for name in TYPE_NAMES.values() if any(o.type_name == name for o in offers)]
        cure = "; set the camera's transport to auto" if others else ""
        return f"{expected} is published with another type by {publishers}{cure}"
    if asked.is_reliable and not any(offer.is_reliable for offer in fitting):
        return f"{expected} is not offered by {publishers}; set the camera's reliability to auto"
    if frames_lost:
        return f"DDS lost {frames_lost} images of {expected} from {publishers}; {LOSS_CURE}"
    if had_input:
        return f"{publishers} sends nothing more on {topic}"
    return (
        f"{publishers} sends nothing on {topic}, or DDS loses all of it, as it does with large "
        f"images: {LOSS_CURE}"
    )


class CameraInput:
    """The subscriptions to one camera's images and calibrations, from `open` to `close`.

    Attributes:
        camera_info: The last calibration; None before the first one.
        frames_lost: How many of its images DDS lost before the callback; None where the middleware
            does not tell.
        topic: Name of the image topic; its full name once the input was opened.
    """

    def __init__(self, node: LifecycleNode, settings: CameraSettings) -> None:
        """Take the node that subscribes."""
        self.camera_info: CameraInfo | None = None
        self.frames_lost: int | None = None
        self.topic = settings.image_topic
        self._node = node
        self._settings = settings
        self._reliability = settings.reliability
        self._on_frame: Callable[[QueuedFrame], None] = _ignore
        self._on_loss: Callable[[str], None] = _ignore
        self._images: Any = None
        self._infos: Any = None
        self._asked: Request | None = None
        self._lost_before = 0
        self._had_input = False
        self._offers: tuple[Offer, ...] = ()

    def open(self, on_frame: Callable[[QueuedFrame], None], on_loss: Callable[[str], None]) -> None:
        """Give every image that comes from now on, and the news of every loss, to the callbacks.

        Raises:
            CamsegError: DDS cannot have such a topic, or a user's ``qos_overrides`` name a
                reliability that there is not.
        """
        given = self._settings.image_topic
        try:
            self.topic = str(self._node.resolve_topic_name(given))
        except RuntimeError as error:
            reason = str(error).partition(", at ")[0]
            raise CamsegError(
                f"{self._settings.name}.image_topic is {shown(given)}: {reason}"
            ) from error
        overridden = _overridden_reliability(self._node, self.topic)
        self._reliability = overridden or self._settings.reliability
        self._on_frame, self._on_loss = on_frame, on_loss
        self._lost_before = self.frames_lost or 0
        self._had_input = False
        self._asked = None
        quality = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)

        def on_info(message: CameraInfo) -> None:
            self.camera_info = message

        self._infos = self._node.create_subscription(
            CameraInfo, self._settings.camera_info_topic, on_info, quality
        )
        self.look_at_publishers()

    @property
    def is_open(self) -> bool:
        """True from `open` to `close`."""
        return self._infos is not None

    def close(self) -> None:
        """Wait for no more input."""
        for subscription in (self._images, self._infos):
            if subscription is not None:
                self._node.destroy_subscription(subscription)
        self._images = self._infos = None

    def look_at_publishers(self) -> None:
        """Subscribe to the images anew if the publishers that are there now ask for it.

        It is to be called several times a second while the input is open.
        """
        self._offers = tuple(
            Offer(
                f"{info.node_namespace.rstrip('/')}/{info.node_name}",
                info.topic_type,
                info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
            )
            for info in self._node.get_publishers_info_by_topic(self.topic)
        )
        asked = follow(self._offers, self._settings, self._reliability, self._asked)
        if asked != self._asked:
            self._asked = asked
            self._subscribe(asked)

    def _subscribe(self, asked: Request) -> None:
        if self._images is not None:
            self._node.destroy_subscription(self._images)
        name = self._settings.name

        def on_image(message: Image | CompressedImage) -> None:
            received_ns = time.monotonic_ns()
            self._had_input = True
            self._on_frame(QueuedFrame(name, stamp_ns(message.header), received_ns, message))

        def on_lost(status: Any) -> None:
            lost = status.total_count_change
            self.frames_lost = (self.frames_lost or 0) + lost
            self._on_loss(f"DDS lost {lost} images on the way; {LOSS_CURE}")

        # Every image is counted, also where the executor is late; the queue keeps the newest one.
        quality = QoSProfile(
            depth=IMAGE_DEPTH, reliability=RELIABILITIES[_word(asked.is_reliable, "_")]
        )
        given = (IMAGE_TYPES[asked.transport], self._settings.image_topic, on_image, quality)
        overriding = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))
        # Publishers that do not fit are told by `why_no_input`.
        events = SubscriptionEventCallbacks(message_lost=on_lost, use_default_callbacks=False)
        try:
            self._images = self._node.create_subscription(
                *given, event_callbacks=events, qos_overriding_options=overriding
            )
            self.frames_lost = self.frames_lost or 0
        except UnsupportedEventTypeError:
            self._images = self._node.create_subscription(*given, qos_overriding_options=overriding)

    def why_none(self) -> str:
        """Tell in words why no image comes."""
        assert self._asked is not None  # the input is open
        lost = (self.frames_lost or 0) - self._lost_before
        elsewhere = [] if self._offers else self._other_image_topics()
        reason = why_no_input(
            self.topic, self._offers, self._asked, lost, elsewhere, had_input=self._had_input
        )
        return message_of(reason)  # names come from other participants of DDS

    def _other_image_topics(self) -> list[str]:
        own = f"{self._node.get_fully_qualified_name()}/"
        return [
            name
            for name, types in self._node.get_topic_names_and_types()
            if set(types) & set(TYPE_NAMES.values())
            and not name.startswith(own)
            and self._node.count_publishers(name)
        ]

    def values(self) -> dict[str, str]:
        """Return what diagnostics tell of the input."""
        asked = self._asked
        return {
            "image_topic": self.topic,
            "image_type": TYPE_NAMES[asked.transport] if asked else "",
            "reliability": _word(asked.is_reliable, "_") if asked else "",
            "publishers": message_of(listed(self._offers, LONGEST_LIST)),
            "frames_lost": "" if self.frames_lost is None else str(self.frames_lost),
        }


def _ignore(_: object) -> None:
    """Do nothing, before the input is opened."""


def _word(is_reliable: bool, joint: str = " ") -> str:
    return "reliable" if is_reliable else f"best{joint}effort"


def _overridden_reliability(node: LifecycleNode, topic: str) -> str:
    """Return the reliability by rclpy's ``qos_overrides``; empty if the user gave none.

    rclpy's own declaration cannot tell a value that was given from its default.
    """
    name = f"qos_overrides.{topic}.subscription.reliability"
    if not node.has_parameter(name):
        node.declare_parameter(name, "")
    value = str(node.get_parameter(name).value)
    if value and value not in RELIABILITIES:
        raise CamsegError(
            f"parameter {name} is {shown(value)}; it is one of {', '.join(RELIABILITIES)}"
        )
    return value
