# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, Vector3
from node_parts import FakeNode, camera, stand_in_for_tf, stand_in_for_vision_msgs

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.inference.frame_queue import QueuedFrame
from camseg_ros.messages.images import array_from_image_message
from camseg_ros.node.camera import Camera, SafeState, TransformedMountings
from camseg_ros.node.health import WatchLimits

LIMITS = WatchLimits()
MS, S = 10**6, 10**9
NOW = 100 * S
"""Both clocks, when the safe state is published."""


def test_only_what_is_enabled_and_heard_is_wanted() -> None:
    node = FakeNode()
    made = Camera(node, camera(), LIMITS)
    node.publishers["~/front/mask"].listeners = 2
    node.publishers["~/front/overlay"].listeners = 1
    assert made.subscribers()["mask"] == 2
    assert made.wanted(("mask", "confidence")) == ["mask"]
    made.publish({"mask": "message"})
    assert node.publishers["~/front/mask"].published == ["message"]
    made.close()
    assert node.publishers == {}


def test_label_info_tells_the_classes_and_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_vision_msgs(monkeypatch)
    node = FakeNode()
    made = Camera(node, camera(), LIMITS)
    made.announce(CITYSCAPES, 0.0, Time(sec=5))
    made.safe_state.remember((2, 3), "lens")
    made.announce(CITYSCAPES, 0.25, Time(sec=5))
    first, second = node.publishers["~/front/label_info"].published
    assert (first.threshold, second.threshold) == (0.0, 0.25)
    assert (second.header.frame_id, second.header.stamp.sec) == ("lens", 5)
    assert len(second.class_map) == 20
    made.close()
    assert node.publishers == {}


def test_without_vision_msgs_there_is_no_label_info() -> None:
    node = FakeNode()
    Camera(node, camera(), LIMITS).announce(CITYSCAPES, 0.0, Time())
    assert "~/front/label_info" not in node.publishers


def outdates(state: SafeState, now_ns: int, stamp_ns: int, received_ns: int) -> bool:
    frame = QueuedFrame("front", stamp_ns, received_ns, None)
    return state.outdates(frame, now_ns, is_due=False)


def test_unlabeled_masks_of_the_last_size_come_once_a_second() -> None:
    state, stamp = SafeState(), Time(sec=100)
    assert state.messages(stamp, NOW) == {}  # no size is known yet
    state.remember((3, 5), "lens")
    first, early, later = (state.messages(stamp, NOW + after_ns) for after_ns in (0, 999 * MS, S))
    assert early == {}
    assert first == later == state.messages(stamp, NOW + S + 1, at_once=True)
    assert state.masks == 3
    mask = first["mask"]
    assert (array_from_image_message(mask) == np.full((3, 5), 255)).all()
    assert (mask.header.frame_id, mask.header.stamp) == ("lens", stamp)


def test_nothing_older_comes_out_after_a_safe_mask() -> None:
    state = SafeState()
    state.remember((3, 5), "lens")
    assert not outdates(state, NOW, NOW, NOW)
    state.messages(Time(sec=100), NOW)
    assert outdates(state, NOW + 2 * S, NOW + S, received_ns=NOW)  # it came in before
    assert outdates(state, NOW + 999 * MS, NOW - 1, received_ns=NOW + 1)  # it has an older stamp
    # Later not, for a driver may stamp by another clock.
    assert not outdates(state, NOW + S, NOW - 1, received_ns=NOW + 1)
    assert not outdates(state, NOW + 30 * MS, NOW, received_ns=NOW + 1)


def test_a_frame_of_a_silent_camera_waits_for_no_safe_mask() -> None:
    """The watchdog has not looked yet, but will publish a newer safe mask when it does."""
    state, frame = SafeState(), QueuedFrame("front", NOW, NOW, None)
    assert not state.outdates(frame, NOW, is_due=True)  # no size yet, no safe mask
    state.remember((3, 5), "lens")
    assert state.outdates(frame, NOW, is_due=True)
    assert not state.outdates(frame, NOW, is_due=False)


def test_without_tf_a_mounting_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(CamsegError, match="mounting is not given and tf2_ros is not installed"):
        TransformedMountings(None, "base_link")("lens", Time())


def test_a_mounting_is_looked_up_in_tf_from_the_first_question_to_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Optical axes of a camera that looks forward and level.
    turn, place = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5), Vector3(x=1.0, z=1.4)
    newest = Transform(translation=place, rotation=turn)
    raised = Transform(translation=Vector3(x=1.0, z=1.5), rotation=turn)
    at_5_s = ("base_link", "lens", 5 * S)
    stand_in_for_tf(monkeypatch, {("base_link", "lens", 0): newest, at_5_s: raised})
    node = FakeNode()
    look_up = TransformedMountings(node, "base_link")
    assert not node.subscriptions  # nobody wants a grid yet
    assert look_up("lens", Time(sec=5)) == Mounting(1.0, 0.0, 1.5)
    assert look_up("lens", Time(sec=6)) == Mounting(1.0, 0.0, 1.4)  # tf is not there yet
    with pytest.raises(CamsegError, match="not given, and tf has none: rear does not exist"):
        look_up("rear", Time(sec=5))
    assert list(node.subscriptions) == ["/tf", "/tf_static"]
    for _ in range(2):
        look_up.close()
        assert not node.subscriptions
