# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what the node's parts need: a node without DDS, and values of parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from geometry_msgs.msg import Transform
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from std_msgs.msg import Header, String

from camseg_ros.node.camera_input import UnsupportedEventTypeError
from camseg_ros.node.parameters import CAMERA_PARAMETERS, PARAMETERS
from camseg_ros.node.settings import CameraSettings, camera_settings


def parameter_values(**changes: Any) -> dict[str, Any]:
    """Return the node's parameters by name: the defaults, but for ``changes``."""
    return {spec.name: spec.default for spec in PARAMETERS} | changes


def camera(name: str = "front", **changes: Any) -> CameraSettings:
    """Return the settings of a camera: the defaults, but for ``changes``."""
    values = {spec.name: spec.default for spec in CAMERA_PARAMETERS} | changes
    return camera_settings(name, {f"{name}.{key}": value for key, value in values.items()})


class Log:
    """Remembers the lines, each after its severity."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(f"INFO {message}")

    def warning(self, message: str) -> None:
        self.lines.append(f"WARN {message}")

    def error(self, message: str) -> None:
        self.lines.append(f"ERROR {message}")


@dataclass
class FakePublisher:
    topic: str
    published: list[Any] = field(default_factory=list)
    listeners: int = 0

    def publish(self, message: Any) -> None:
        self.published.append(message)

    def get_subscription_count(self) -> int:
        return self.listeners


@dataclass
class FakeSubscription:
    message_type: type
    topic_name: str
    callback: Any
    quality: Any
    event_callbacks: Any = None


class FakeNode:
    """A lifecycle node's part that cameras and pipeline use; its clock is moved by the test.

    Attributes:
        ns: Time of the node's clock.
        publishers, subscriptions: What exists, by topic.
        knows_events: False for a middleware that does not tell of lost messages.
        offers: Type and reliability of the publishers of each topic.
        parameters: Parameters by name.
    """

    def __init__(self, knows_events: bool = True) -> None:
        self.ns = 10**12
        self.log = Log()
        self.knows_events = knows_events
        self.publishers: dict[str, FakePublisher] = {}
        self.subscriptions: dict[str, FakeSubscription] = {}
        self.offers: dict[str, list[tuple[str, ReliabilityPolicy]]] = {}
        self.parameters: dict[str, Any] = {}

    def get_fully_qualified_name(self) -> str:
        return "/segment_node"

    def resolve_topic_name(self, topic: str) -> str:
        return f"/{topic.lstrip('/')}"

    def has_parameter(self, name: str) -> bool:
        return name in self.parameters

    def declare_parameter(self, name: str, default: Any) -> None:
        self.parameters[name] = default

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self.parameters[name])

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return [
            SimpleNamespace(
                node_namespace="/",
                node_name="driver",
                topic_type=topic_type,
                qos_profile=QoSProfile(depth=1, reliability=reliability),
            )
            for topic_type, reliability in self.offers.get(topic, [])
        ]

    def get_topic_names_and_types(self) -> list[tuple[str, list[str]]]:
        return [(topic, [kind for kind, _ in offers]) for topic, offers in self.offers.items()]

    def count_publishers(self, topic: str) -> int:
        return len(self.offers.get(topic, []))

    def get_logger(self) -> Log:
        return self.log

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: Time(nanoseconds=self.ns))

    def create_publisher(self, message_type: type, topic: str, quality: Any) -> FakePublisher:
        self.publishers[topic] = FakePublisher(topic)
        return self.publishers[topic]

    def destroy_publisher(self, publisher: FakePublisher) -> None:
        del self.publishers[publisher.topic]

    def create_subscription(
        self, *given: Any, event_callbacks: Any = None, qos_overriding_options: Any = None
    ) -> FakeSubscription:
        if event_callbacks is not None and not self.knows_events:
            raise UnsupportedEventTypeError("message lost")
        made = FakeSubscription(*given, event_callbacks)
        self.subscriptions[made.topic_name] = made
        return made

    def destroy_subscription(self, subscription: FakeSubscription) -> None:
        del self.subscriptions[subscription.topic_name]


@dataclass
class FakeVisionClass:
    class_id: int
    class_name: str


@dataclass
class FakeLabelInfo:
    header: Header = field(default_factory=Header)
    class_map: list[FakeVisionClass] = field(default_factory=list)
    threshold: float = 0.0


def stand_in_for_tf(
    monkeypatch: pytest.MonkeyPatch,
    transforms: Mapping[tuple[str, str, int], Transform] | None = None,
) -> None:
    """Stand in for tf2_ros, which is in no registry; its listener owns its subscriptions, too.

    ``transforms`` are by target, source frame and time in nanoseconds; 0 is the newest.
    """

    class TransformListener:
        def __init__(self, buffer: Any, node: Any) -> None:
            self.node = node
            self.subscriptions = [
                node.create_subscription(String, topic, print, 100)
                for topic in ("/tf", "/tf_static")
            ]

        def unregister(self) -> None:
            for subscription in self.subscriptions:
                self.node.destroy_subscription(subscription)

    class Buffer:
        def lookup_transform(self, target: str, source: str, time: Time) -> Any:
            found = (transforms or {}).get((target, source, time.nanoseconds))
            if found is None:
                raise LookupError(f"{source} does not exist")
            return SimpleNamespace(transform=found)

    tf2_ros = ModuleType("tf2_ros")
    tf2_ros.__dict__.update(
        Buffer=Buffer, TransformException=LookupError, TransformListener=TransformListener
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2_ros)


def stand_in_for_vision_msgs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for vision_msgs, which is in no registry, field by field."""
    messages = SimpleNamespace(LabelInfo=FakeLabelInfo, VisionClass=FakeVisionClass)
    monkeypatch.setitem(sys.modules, "vision_msgs", ModuleType("vision_msgs"))
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)
