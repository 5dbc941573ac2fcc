# SPDX-License-Identifier: Apache-2.0
"""What a camera's subscriptions ask for, what they say when nothing comes, and both over DDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from builtin_interfaces.msg import Time
from node_parts import FakeNode, camera
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.node.camera_input import TYPE_NAMES, CameraInput, Offer, Request, follow
from camseg_ros.remote.node_client import SpinningThread

RAW, PACKED, TEXT = TYPE_NAMES["raw"], TYPE_NAMES["compressed"], "std_msgs/msg/String"
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
LIMIT_S = 30.0


def offers(*given: tuple[str, bool]) -> list[Offer]:
    return [Offer("/driver", type_name, is_reliable) for type_name, is_reliable in given]


@pytest.mark.parametrize(
    ("offered", "last", "expected"),
    [
        ([], None, Request("raw", True)),
        ([], Request("compressed", False), Request("compressed", False)),  # it may come back
        ([(RAW, True)], None, Request("raw", True)),
        ([(RAW, True), (RAW, False)], Request("raw", True), Request("raw", False)),
        ([(RAW, False)], Request("raw", True), Request("raw", False)),
        ([(RAW, True)], Request("raw", False), Request("raw", True)),
        ([(PACKED, True)], Request("raw", True), Request("compressed", True)),
        ([(PACKED, False), (RAW, True)], Request("raw", True), Request("raw", True)),
        ([(PACKED, False), (RAW, True)], Request("compressed", True), Request("compressed", False)),
        ([(TEXT, False)], Request("raw", True), Request("raw", True)),
    ],
)
def test_the_subscription_follows_all_publishers_of_images(
    offered: list[tuple[str, bool]], last: Request | None, expected: Request
) -> None:
    assert follow(offers(*offered), camera(), "auto", last) == expected


def test_a_compressed_topic_is_known_by_its_name() -> None:
    settings = camera(image_topic="/front/image_raw/compressed")
    assert follow([], settings, "auto", None) == Request("compressed", True)


def test_what_is_given_is_not_changed() -> None:
    settings = camera(transport="raw")
    assert follow(offers((PACKED, False)), settings, "auto", None).transport == "raw"
    assert follow(offers((RAW, False)), settings, "reliable", None) == Request("raw", True)
    assert follow(offers((RAW, True)), settings, "best_effort", None) == Request("raw", False)


def opened(node: FakeNode, **settings: Any) -> CameraInput:
    made = CameraInput(node, camera(**settings))
    made.open(print, print)
    return made


@pytest.mark.parametrize(
    ("offered", "settings", "told"),
    [
        (
            {},
            {},
            "nobody publishes /front/image_raw (sensor_msgs/msg/Image, reliable)",
        ),
        (
            {"/cam/image": [(RAW, RELIABLE)], "/segment_node/front/mask": [(RAW, RELIABLE)],
             "/chatter": [(TEXT, RELIABLE)], "/gone": []},
            {},
            "nobody publishes /front/image_raw (sensor_msgs/msg/Image, reliable); images are "
            "published on /cam/image",
        ),
        (
            {"/front/image_raw": [(TEXT, RELIABLE)]},
            {},
            "/front/image_raw (sensor_msgs/msg/Image, reliable) is published with another type by "
            "/driver (std_msgs/msg/String, reliable)",
        ),
        (
            {"/front/image_raw": [(PACKED, BEST_EFFORT)]},
            {"transport": "raw"},
            "/front/image_raw (sensor_msgs/msg/Image, reliable) is published with another type by "
            "/driver (sensor_msgs/msg/CompressedImage, best effort); set the camera's transport to "
            "auto",
        ),
        (
            {"/front/image_raw": [(RAW, BEST_EFFORT)]},
            {"reliability": "reliable"},
            "/front/image_raw (sensor_msgs/msg/Image, reliable) is not offered by /driver "
            "(sensor_msgs/msg/Image, best effort); set the camera's reliability to auto",
        ),
        (
            {"/front/image_raw": [(RAW, RELIABLE)] * 5},
            {},
            ", ".join(["/driver (sensor_msgs/msg/Image, reliable)"] * 3) + " and 2 more sends "
            "nothing on /front/image_raw, or DDS loses all of it, as it does with large images: "
            "give its publisher config/fastdds.xml (FASTRTPS_DEFAULT_PROFILES_FILE), too, or use "
            "its compressed topic",
        ),
    ],
)  # fmt: skip
def test_no_input_tells_why(offered: dict[str, Any], settings: dict[str, str], told: str) -> None:
    node = FakeNode()
    node.offers = offered
    assert opened(node, **settings).why_none() == told


def test_images_become_frames_and_calibrations_are_kept() -> None:
    node, frames = FakeNode(), list[QueuedFrame]()
    made = CameraInput(node, camera())
    made.open(frames.append, print)
    images, infos = (node.subscriptions[f"front/{name}"] for name in ("image_raw", "camera_info"))
    assert (images.message_type, infos.message_type) == (Image, CameraInfo)
    message = Image(header=Header(stamp=Time(sec=2, nanosec=3)))
    images.callback(message)
    node.offers = {"/front/image_raw": [(RAW, RELIABLE)]}
    made.look_at_publishers()
    assert made.why_none() == (
        "/driver (sensor_msgs/msg/Image, reliable) sends nothing more on /front/image_raw"
    )
    (frame,) = frames
    assert (frame.camera, frame.stamp_ns, frame.message) == ("front", 2 * 10**9 + 3, message)
    info = CameraInfo(width=7)
    infos.callback(info)
    assert made.camera_info is info
    made.close()
    assert node.subscriptions == {}


def test_images_that_dds_lost_are_told_and_counted_also_over_activations() -> None:
    node, told = FakeNode(), list[str]()
    made = CameraInput(node, camera())
    node.offers = {"/front/image_raw": [(RAW, RELIABLE)]}
    assert made.frames_lost is None
    for expected, changes in ((0, []), (5, [3, 2]), (6, [1])):
        made.open(print, told.append)
        events = node.subscriptions["front/image_raw"].event_callbacks
        for change in changes:
            events.message_lost(SimpleNamespace(total_count=9, total_count_change=change))
        assert made.frames_lost == expected
        assert made.why_none().startswith(f"DDS lost {sum(changes)} images of") == bool(changes)
        made.close()
    assert [text.partition(";")[0] for text in told] == [
        f"DDS lost {number} images on the way" for number in (3, 2, 1)
    ]


def test_a_middleware_that_tells_nothing_still_gives_images() -> None:
    node = FakeNode(knows_events=False)
    made = opened(node)
    assert node.subscriptions["front/image_raw"].event_callbacks is None
    assert made.frames_lost is None
    assert made.values()["frames_lost"] == ""


class Spinning:
    """A node that listens, served by a thread, and a driver's, whose publishers come and go.

    Each is a participant of its own, within which Fast DDS lets a topic have only one type. No
    thread serves the driver, which would still look at a publisher that is destroyed.
    """

    def __init__(self, **overrides: str) -> None:
        given = [part for item in overrides.items() for part in ("-p", "{}:={}".format(*item))]
        self.contexts = [Context(), Context()]
        self.frames: list[QueuedFrame] = []
        self.inputs: list[CameraInput] = []
        for context, arguments in zip(self.contexts, (["--ros-args", *given], []), strict=True):
            rclpy.init(args=arguments, context=context)
        self.listener, self.driver = (
            Node(name, context=context)
            for name, context in zip(("listener", "driver"), self.contexts, strict=True)
        )
        self.listener.create_timer(0.05, self._look)
        executor = SingleThreadedExecutor(context=self.contexts[0])
        executor.add_node(self.listener)
        self.thread = SpinningThread(executor, "listener")
        self.thread.start()

    def _look(self) -> None:
        for item in self.inputs:
            item.look_at_publishers()

    def open(self, **settings: Any) -> CameraInput:
        made = CameraInput(self.listener, camera(**settings))
        made.open(self.frames.append, print)
        self.inputs.append(made)
        return made

    def wait(self, done: Callable[[], Any]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def close(self) -> None:
        self.thread.stop()
        for node in (self.listener, self.driver):
            node.destroy_node()
        for context in self.contexts:
            rclpy.shutdown(context=context)


@pytest.fixture
def spinning() -> Iterator[Callable[..., Spinning]]:
    made: list[Spinning] = []

    def make(**overrides: str) -> Spinning:
        made.append(Spinning(**overrides))
        return made[0]

    yield make
    for item in made:
        item.close()


def test_every_kind_of_publisher_is_heard_when_it_comes(
    spinning: Callable[..., Spinning],
) -> None:
    ros = spinning()
    made = ros.open()
    for message, reliability in (
        (Image(), RELIABLE), (Image(), BEST_EFFORT), (CompressedImage(), BEST_EFFORT),
        (CompressedImage(), RELIABLE),
    ):  # fmt: skip
        quality = QoSProfile(depth=5, reliability=reliability)
        driver = ros.driver.create_publisher(type(message), "front/image_raw", quality)
        ros.wait(driver.get_subscription_count)
        ros.frames.clear()

        def comes(driver: Any = driver, message: Any = message) -> bool:
            driver.publish(message)  # the first ones may meet a subscription that is being replaced
            return any(isinstance(frame.message, type(message)) for frame in ros.frames)

        ros.wait(comes)
        word = "reliable" if reliability == RELIABLE else "best_effort"
        ros.wait(lambda word=word: made.values()["reliability"] == word)
        ros.driver.destroy_publisher(driver)
        ros.wait(lambda: made.values()["publishers"] == "")


def test_qos_overrides_decide(spinning: Callable[..., Spinning]) -> None:
    prefix = "qos_overrides./front/image_raw.subscription"
    ros = spinning(**{f"{prefix}.reliability": "best_effort", f"{prefix}.depth": "7"})
    ros.driver.create_publisher(Image, "front/image_raw", QoSProfile(depth=1))
    made = ros.open()
    ros.wait(lambda: made.values()["publishers"])
    assert made.values()["reliability"] == "best_effort"
    (info,) = ros.listener.get_subscriptions_info_by_topic("/front/image_raw")
    assert info.qos_profile.reliability == BEST_EFFORT
    assert ros.listener.get_parameter(f"{prefix}.depth").value == 7


def test_an_override_that_is_no_reliability_is_told(spinning: Callable[..., Spinning]) -> None:
    name = "qos_overrides./front/image_raw.subscription.reliability"
    ros = spinning(**{name: "often"})
    with pytest.raises(CamsegError, match="is 'often'; it is one of reliable, best_effort"):
        ros.open()
