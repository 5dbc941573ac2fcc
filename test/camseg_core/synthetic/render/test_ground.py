# SPDX-License-Identifier: Apache-2.0
"""The ground is where its planes are, and its materials where the road says."""

from __future__ import annotations

import numpy as np
import pytest

from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.classes import Ground
from camseg_core.synthetic.render.ground import GroundPlanes
from camseg_core.synthetic.world.road import (
    START_M,
    STEP_M,
    Junction,
    Lane,
    Road,
    Section,
    Side,
    make_road,
)

HEIGHT_M, KERB_M = 1.6, 0.15


def straight_road(junctions: tuple[Junction, ...] = ()) -> Road:
    """Eight metres wide; a footway of three metres on the right, grass on the left."""
    count = int((200 - START_M) / STEP_M)
    right = Side("urban", ((Ground.PAVING, 3.0), (Ground.GRASS, 60.0)), 3.0, 1.5)
    left = Side("park", ((Ground.GRASS, 60.0),), 1.0, 0.0)
    lane = Lane(2.0, 4.0, 1)
    return Road(
        middle=np.zeros(count, np.float32), cosine=np.ones(count, np.float32), end_y=200.0,
        left_edge=-4.0, right_edge=4.0, lanes=(lane,), ego_lane=lane,
        sections=(Section(START_M, 201.0, left, right),), junctions=junctions, kerb_m=KERB_M,
        tram=None, markings=True,
    )  # fmt: skip


def camera(pitch: float = 0.0, yaw: float = 0.0) -> Camera:
    return Camera(64, 48, 40.0, 32.0, 24.0, (0.0, 0.0, HEIGHT_M), yaw, pitch)


def materials(road: Road, view: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Materials (-1 where there is no ground) and depth per pixel."""
    pixels = GroundPlanes(road).pixels(view, np.zeros((view.height, view.width)))
    material = np.full(view.width * view.height, -1)
    depth = np.full(material.shape, np.inf)
    material[pixels.pixel] = pixels.material
    depth[pixels.pixel] = 1 / pixels.inverse_depth
    return material.reshape(view.height, view.width), depth.reshape(view.height, view.width)


@pytest.mark.parametrize("pitch", [0.0, 0.1, -0.05])
def test_depth_and_material_are_those_of_the_ray(pitch: float) -> None:
    view = camera(pitch)
    material, depth = materials(straight_road(), view)
    checked = 0
    for row in range(0, 48, 5):
        for column in range(0, 64, 7):
            x, y = (column + 0.5 - 32) / 40, (row + 0.5 - 24) / 40
            descent = y * np.cos(pitch) + np.sin(pitch)
            if descent < 1e-3:
                assert material[row, column] == -1
                continue
            raised, low = (HEIGHT_M - KERB_M) / descent, HEIGHT_M / descent
            expected = (Ground.GRASS, raised) if x * raised < -4 else (Ground.PAVING, raised)
            if x * raised > 7:
                expected = (Ground.GRASS, raised)
            elif -4 <= x * low <= 4:
                expected = (Ground.LANE, low)
            elif -4 <= x * raised <= 4:  # the kerb's face
                expected = (Ground.PAVING if x > 0 else Ground.GRASS, 4 / abs(x))
            assert material[row, column] == expected[0]
            assert depth[row, column] == pytest.approx(expected[1], rel=0.02)
            checked += 1
    assert checked > 30


def test_nearer_things_hide_the_ground() -> None:
    view = camera(0.1)
    inverse_depth = np.zeros((48, 64))
    inverse_depth[40:, :32] = 1.0  # something 1 m ahead
    pixels = GroundPlanes(straight_road()).pixels(view, inverse_depth)
    shown = np.zeros(48 * 64, bool)
    shown[pixels.pixel] = True
    assert not shown.reshape(48, 64)[40:, :32].any()
    assert shown.reshape(48, 64)[40:, 32:].all()


def test_a_crossing_road_cuts_through_the_footway() -> None:
    junction = Junction(0.0, 12.0, 3.0, 2.0, 0.0, True, True)
    material, depth = materials(straight_road((junction,)), camera())
    column = 60  # 8.3 m to the right at 11.6 m, beyond the main road's footway
    assert depth[29, column] == pytest.approx(64 / 5.5, rel=1e-3)
    assert material[29, column] == Ground.LANE
    assert material[31, column] == Ground.PAVING  # 8 m ahead: the crossing road's own footway
    assert materials(straight_road(), camera())[0][29, column] == Ground.GRASS


def test_roads_have_what_they_promise() -> None:
    for sequence in range(12):
        road = make_road(7, sequence, 20.0)
        assert road.ego_lane in road.lanes
        assert road.ego_lane.direction == 1
        assert road.left_edge < road.ego_lane.lateral < road.right_edge
        assert road.sections[0].start_y == START_M
        assert road.sections[-1].end_y >= road.end_y
        for before, after in zip(road.sections, road.sections[1:], strict=False):
            assert before.end_y == pytest.approx(after.start_y)
        assert float(road.cosine.min()) > 0.9  # heading below 26 degrees
        x, heading = road.place(0.0, 0.0)
        assert x == pytest.approx(0.0, abs=1e-4)
        assert np.cos(heading) == pytest.approx(road.cosine[int(-START_M / STEP_M)], abs=2e-3)
