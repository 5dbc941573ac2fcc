# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Transform
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_ros.ground import view as ground_view
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.ground.grid import GridGeometry, occupancy_table
from camseg_ros.ground.view import GroundView, TransformedMountings, fixed_mounting

GEOMETRY = GridGeometry(0.5, 10.0, 4.0)
HEADER = Header(frame_id="lens", stamp=Time(sec=5))
K = [100.0, 0.0, 49.5, 0.0, 100.0, 20.5, 0.0, 0.0, 1.0]
MOUNTING = (0.0, 0.0, 1.5, 0.0, 0.0, 0.0)
ROAD = np.zeros((60, 100), np.uint8)
SURE = np.full((60, 100), 255, np.uint8)
TABLE = occupancy_table(CITYSCAPES)


def info(**changes: Any) -> CameraInfo:
    return CameraInfo(**{"header": HEADER, "width": 100, "height": 60, "k": K} | changes)


def view(warnings: list[str], **changes: Any) -> GroundView:
    given = {"find_mounting": fixed_mounting(MOUNTING), "rectified": False} | changes
    return GroundView(GEOMETRY, "base_link", warn=warnings.append, **given)


def test_a_grid_of_road_is_free_where_it_is_seen() -> None:
    warnings: list[str] = []
    message = view(warnings).message(ROAD, SURE, info(), TABLE, 128)
    assert message is not None
    assert (message.header.frame_id, message.header.stamp) == ("base_link", HEADER.stamp)
    cells = np.array(message.data, np.int8).reshape(16, 20)
    # The last row, 39 pixels below the horizon, sees the road 3.8 m ahead.
    assert (cells[8, :7] == -1).all()
    assert (cells[8, 8:] == 0).all()
    assert warnings == []


def test_the_projection_is_made_once_for_a_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = ground_view.GroundProjection

    def count(*arguments: Any) -> Any:
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(ground_view, "GroundProjection", count)
    seen = view([])
    for _ in range(3):
        seen.message(ROAD, SURE, info(), TABLE, 0)
    assert len(made) == 1
    seen.message(ROAD, SURE, info(k=[90.0, *K[1:]]), TABLE, 0)
    assert len(made) == 2


def test_what_is_missing_is_told_and_tried_again() -> None:
    warnings: list[str] = []
    mountings: list[Mounting] = []

    def find(frame_id: str) -> Mounting:
        if not mountings:
            raise CamsegError(f"no transform of {frame_id} yet")
        return mountings[0]

    seen = view(warnings, find_mounting=find)
    assert seen.message(ROAD, SURE, info(), TABLE, 0) is None
    assert warnings == ["no drivable grid: no transform of lens yet"]
    mountings.append(Mounting(*MOUNTING))
    assert seen.message(ROAD, SURE, info(), TABLE, 0) is not None
    assert seen.message(ROAD, SURE, info(k=[0.0] * 9), TABLE, 0) is None
    assert warnings[1].startswith("no drivable grid: camera_info has K of zeros")


def test_a_mounting_has_six_numbers() -> None:
    assert fixed_mounting(MOUNTING)("whatever") == Mounting(*MOUNTING)
    with pytest.raises(CamsegError, match="mounting has 2 numbers; x, y, z in metres and roll"):
        fixed_mounting([1.0, 2.0])


def test_without_tf_a_mounting_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    with pytest.raises(CamsegError, match="mounting is not given and tf2_ros is not installed"):
        TransformedMountings(None, "base_link", None)("lens")


def test_a_mounting_is_looked_up_in_tf(monkeypatch: pytest.MonkeyPatch) -> None:
    """tf2_ros is in no registry; this stands in for the part of it that is used."""
    listeners: list[Any] = []

    class TransformListener:
        def __init__(self, buffer: Any, node: str) -> None:
            assert node == "node"
            self.is_registered = True
            listeners.append(self)

        def unregister(self) -> None:
            self.is_registered = False

    class TransformException(Exception):  # noqa: N818  # its name in tf2_ros
        pass

    class Buffer:
        def lookup_transform(self, target: str, source: str, time: Any) -> Any:
            if source != "lens":
                raise TransformException(f"{source} does not exist")
            assert (target, time) == ("base_link", "latest")
            transform = Transform()
            transform.translation.x, transform.translation.z = 1.0, 1.4
            # Optical axes of a camera that looks forward and level.
            turn = transform.rotation
            turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
            return SimpleNamespace(transform=transform)

    tf2_ros = ModuleType("tf2_ros")
    tf2_ros.__dict__.update(
        Buffer=Buffer,
        TransformException=TransformException,
        TransformListener=TransformListener,
    )
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2_ros)
    look_up = TransformedMountings("node", "base_link", "latest")
    assert listeners == []  # nobody wants a grid yet
    found = look_up("lens")
    assert (found.x_m, found.y_m, found.z_m) == (1.0, 0.0, 1.4)
    np.testing.assert_allclose((found.roll_rad, found.pitch_rad, found.yaw_rad), 0.0, atol=1e-9)
    with pytest.raises(CamsegError, match="not given, and tf has none: rear does not exist"):
        look_up("rear")
    (listener,) = listeners
    assert listener.is_registered
    for _ in range(2):
        look_up.close()
        assert not listener.is_registered
