# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from node_parts import FakeNode, stand_in_for_tf

from camseg_core.errors import CamsegError
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.node.mountings import TransformedMountings


def test_without_tf_a_mounting_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(CamsegError, match="mounting is not given and tf2_ros is not installed"):
        TransformedMountings(None, "base_link")("lens")


def test_a_mounting_is_looked_up_in_tf_from_the_first_question_to_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Optical axes of a camera that looks forward and level.
    turn, place = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5), Vector3(x=1.0, z=1.4)
    newest = Transform(translation=place, rotation=turn)
    stand_in_for_tf(monkeypatch, {("base_link", "lens"): newest})
    node = FakeNode()
    look_up = TransformedMountings(node, "base_link")
    assert not node.subscriptions  # nobody wants a grid yet
    assert look_up("lens") == Mounting(1.0, 0.0, 1.4)
    with pytest.raises(CamsegError, match="not given, and tf has none: rear does not exist"):
        look_up("rear")
    assert list(node.subscriptions) == ["/tf", "/tf_static"]
    for _ in range(2):
        look_up.close()
        assert not node.subscriptions
