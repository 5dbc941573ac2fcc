# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3

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
    """tf2_ros is in no registry; this stands in for the part of it that is used."""
    listeners: list[Any] = []

    class TransformListener:
        def __init__(self, buffer: Any, node: str) -> None:
            assert node == "node"
            listeners.append(self)

        def unregister(self) -> None:
            listeners.remove(self)

    class Buffer:
        def lookup_transform(self, target: str, source: str, time: Any) -> Any:
            if source != "lens":
                raise LookupError(f"{source} does not exist")
            assert (target, time.nanoseconds) == ("base_link", 0)  # the newest one
            # Optical axes of a camera that looks forward and level.
            turn = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
            place = Vector3(x=1.0, z=1.4)
            return SimpleNamespace(transform=Transform(translation=place, rotation=turn))

    tf2_ros = ModuleType("tf2_ros")
    tf2_ros.__dict__.update(
        Buffer=Buffer, TransformException=LookupError, TransformListener=TransformListener
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2_ros)
    look_up = TransformedMountings("node", "base_link")
    assert listeners == []  # nobody wants a grid yet
    assert look_up("lens") == Mounting(1.0, 0.0, 1.4)
    with pytest.raises(CamsegError, match="not given, and tf has none: rear does not exist"):
        look_up("rear")
    assert len(listeners) == 1
    for _ in range(2):
        look_up.close()
        assert listeners == []
