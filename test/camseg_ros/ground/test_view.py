# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
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
from camseg_ros.ground.view import GridRules, GroundView

GEOMETRY = GridGeometry(0.5, 10.0, 4.0)
HEADER = Header(frame_id="lens", stamp=Time(sec=5))
K = [100.0, 0.0, 49.5, 0.0, 100.0, 20.5, 0.0, 0.0, 1.0]
MOUNTING = Mounting(0.0, 0.0, 1.5)
ROAD = np.zeros((60, 100), np.uint8)
SURE = np.full((60, 100), 255, np.uint8)
RULES = GridRules(occupancy_table(CITYSCAPES), 128)


def info(**changes: Any) -> CameraInfo:
    return CameraInfo(**{"header": HEADER, "width": 100, "height": 60, "k": K} | changes)


def view(warnings: list[str], **changes: Any) -> GroundView:
    given = {"find_mounting": lambda *_: MOUNTING, "info_topic": "front/info", "rectified": False}
    return GroundView(GEOMETRY, "base_link", warn=warnings.append, **given | changes)


def test_a_grid_of_road_is_free_where_it_is_seen() -> None:
    warnings: list[str] = []
    message = view(warnings).message(ROAD, SURE, info(), RULES)
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


def test_in_the_safe_state_nothing_is_known_of_the_same_cells() -> None:
    seen = view([])
    expected = seen.message(ROAD, SURE, info(), RULES)
    assert expected is not None
    message = seen.unknown(HEADER.stamp)
    assert (message.header, message.info) == (expected.header, expected.info)
    assert list(message.data) == [-1] * len(expected.data)


def test_the_projection_is_made_anew_where_calibration_or_mounting_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    real = ground_view.GroundProjection

    def count(*arguments: Any) -> Any:
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(ground_view, "GroundProjection", count)
    mountings = [MOUNTING]
    asked: list[Any] = []

    def find(*arguments: Any) -> Mounting:
        asked.append(arguments)
        return mountings[-1]

    seen = view([], find_mounting=find)
    for _ in range(3):
        seen.message(ROAD, SURE, info(), RULES)
    assert (len(made), asked) == (1, [("lens", HEADER.stamp)] * 3)
    seen.message(ROAD, SURE, info(k=[90.0, *K[1:]]), RULES)
    assert len(made) == 2
    # Each by less than the tolerance, and together by more.
    for pitch_rad in (0.00006, 0.00012):
        mountings.append(replace(MOUNTING, pitch_rad=pitch_rad))
        seen.message(ROAD, SURE, info(k=[90.0, *K[1:]]), RULES)
    assert [mounting.pitch_rad for _, mounting, _ in made] == [0.0, 0.0, 0.00012]


def test_what_is_missing_is_told_and_tried_again() -> None:
    warnings: list[str] = []
    mountings: list[Mounting] = []

    def find(frame_id: str, stamp: Time) -> Mounting:
        if not mountings:
            raise CamsegError(f"no transform of {frame_id} yet")
        return mountings[0]

    seen = view(warnings, find_mounting=find)
    assert seen.message(ROAD, SURE, None, RULES) is None
    assert seen.message(ROAD, SURE, info(), RULES) is None
    assert warnings == [
        "no drivable grid: no camera_info has come on front/info",
        "no drivable grid: no transform of lens yet",
    ]
    assert seen.problem == warnings[1]
    mountings.append(MOUNTING)
    assert seen.message(ROAD, SURE, info(), RULES) is not None
    assert seen.problem == ""
    assert seen.message(ROAD, SURE, info(k=[0.0] * 9), RULES) is None
    assert warnings[2].startswith("no drivable grid: focal lengths 0.0, 0.0: must be above 0")
