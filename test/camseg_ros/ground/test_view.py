# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES
from camseg_ros.ground import view as ground_view
from camseg_ros.ground.camera_model import Mounting
from camseg_ros.ground.grid import GridGeometry, occupancy_table
from camseg_ros.ground.view import GroundView

GEOMETRY = GridGeometry(0.5, 10.0, 4.0)
HEADER = Header(frame_id="lens", stamp=Time(sec=5))
K = [100.0, 0.0, 49.5, 0.0, 100.0, 20.5, 0.0, 0.0, 1.0]
MOUNTING = Mounting(0.0, 0.0, 1.5)
ROAD = np.zeros((60, 100), np.uint8)
SURE = np.full((60, 100), 255, np.uint8)
TABLE = occupancy_table(CITYSCAPES)


def info(**changes: Any) -> CameraInfo:
    return CameraInfo(**{"header": HEADER, "width": 100, "height": 60, "k": K} | changes)


def view(warnings: list[str], **changes: Any) -> GroundView:
    given = {"find_mounting": lambda _: MOUNTING, "rectified": False} | changes
    return GroundView(GEOMETRY, "base_link", warn=warnings.append, **given)


def test_a_grid_of_road_is_free_where_it_is_seen() -> None:
    warnings: list[str] = []
    message = view(warnings).message(ROAD, SURE, info(), TABLE, 128)
    assert message is not None
    assert (message.header.frame_id, message.header.stamp) == ("base_link", HEADER.stamp)
    told = message.info
    assert told.map_load_time == HEADER.stamp
    assert (told.resolution, told.width, told.height) == (0.5, 20, 16)
    position, turn = told.origin.position, told.origin.orientation
    assert (position.x, position.y, position.z) == (0.0, -4.0, 0.0)
    assert (turn.x, turn.y, turn.z, turn.w) == (0.0, 0.0, 0.0, 1.0)
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
    mountings.append(MOUNTING)
    assert seen.message(ROAD, SURE, info(), TABLE, 0) is not None
    assert seen.message(ROAD, SURE, info(k=[0.0] * 9), TABLE, 0) is None
    assert warnings[1].startswith("no drivable grid: focal lengths 0.0, 0.0: must be above 0")
