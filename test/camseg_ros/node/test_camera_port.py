# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from node_parts import FakeNode, camera, stand_in_for_vision_msgs
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from camseg_core.labels import CITYSCAPES
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.node.camera_port import CameraPort


@pytest.mark.parametrize(
    ("transport", "topic", "message_type"),
    [
        ("raw", "front/image_raw", Image),
        ("compressed", "front/image_raw/compressed", CompressedImage),
    ],
)
def test_images_become_frames_and_calibrations_are_kept(
    transport: str, topic: str, message_type: Any
) -> None:
    node, frames = FakeNode(), list[QueuedFrame]()
    port = CameraPort(node, camera(transport=transport))
    assert port.listen(frames.append) == topic
    images, infos = node.subscriptions[topic], node.subscriptions["front/camera_info"]
    assert (images.message_type, infos.message_type) == (message_type, CameraInfo)
    message = message_type(header=Header(stamp=Time(sec=2, nanosec=3)))
    images.callback(message)
    (frame,) = frames
    assert (frame.camera, frame.stamp_ns, frame.message) == ("front", 2 * 10**9 + 3, message)
    info = CameraInfo(width=7)
    infos.callback(info)
    assert port.camera_info is info
    port.stop_listening()
    assert node.subscriptions == {}


def test_images_that_dds_lost_are_counted_also_over_activations() -> None:
    node = FakeNode()
    port = CameraPort(node, camera())
    assert port.frames_lost is None
    for expected, changes in ((0, []), (5, [3, 2]), (6, [1])):
        port.listen(print)
        events = node.subscriptions["front/image_raw"].event_callbacks
        for change in changes:
            events.message_lost(SimpleNamespace(total_count=9, total_count_change=change))
        assert port.frames_lost == expected
        port.stop_listening()


def test_a_middleware_that_tells_nothing_still_gives_images() -> None:
    node = FakeNode(knows_events=False)
    port = CameraPort(node, camera())
    port.listen(print)
    assert node.subscriptions["front/image_raw"].event_callbacks is None
    assert port.frames_lost is None


def test_only_what_is_enabled_and_heard_is_wanted() -> None:
    node = FakeNode()
    port = CameraPort(node, camera())
    node.publishers["~/front/mask"].listeners = 2
    node.publishers["~/front/overlay"].listeners = 1
    assert port.subscribers()["mask"] == 2
    assert port.wanted(("mask", "confidence")) == ["mask"]
    port.publish({"mask": "message"})
    assert node.publishers["~/front/mask"].published == ["message"]
    port.close()
    assert node.publishers == {}


def test_label_info_tells_the_classes_and_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_vision_msgs(monkeypatch)
    node = FakeNode()
    port = CameraPort(node, camera())
    for threshold in (0.0, 0.25):
        port.announce(CITYSCAPES, threshold, "lens", Time(sec=5))
    first, second = node.publishers["~/front/label_info"].published
    assert (first.threshold, second.threshold) == (0.0, 0.25)
    assert (second.header.frame_id, second.header.stamp.sec) == ("lens", 5)
    assert len(second.class_map) == 20
    port.close()
    assert node.publishers == {}


def test_without_vision_msgs_there_is_no_label_info() -> None:
    node = FakeNode()
    CameraPort(node, camera()).announce(CITYSCAPES, 0.0, "lens", Time())
    assert "~/front/label_info" not in node.publishers
