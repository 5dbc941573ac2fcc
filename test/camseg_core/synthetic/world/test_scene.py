# SPDX-License-Identifier: Apache-2.0
"""Objects in view, in camera axes."""

from __future__ import annotations

import numpy as np
import pytest

from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.world.builder import Box, SceneBuilder
from camseg_core.synthetic.world.scene import Footprint, Material, Pose, Surfaces

QUARTER = 1.57079633
MATERIAL = Material(0, 0, 13, 1)


def camera(x: float = 0.0, y: float = 0.0, yaw: float = 0.0, pitch: float = 0.0) -> Camera:
    return Camera(200, 100, 100.0, 100.0, 50.0, (x, y, 1.5), yaw, pitch)


def seen(builder: SceneBuilder, view: Camera, time_s: float = 0.0) -> Surfaces:
    scene = builder.finish()
    return scene.surfaces(scene.poses(time_s), view)


def test_a_face_is_carried_into_camera_axes() -> None:
    builder = SceneBuilder()
    body = builder.add_object(Pose(2.0, 10.0, 0.5, QUARTER))  # its x axis points back
    body.face((1.0, 0.0, 1.0), (2.0, 0.0, 0.0), (0.0, 0.0, -1.0), MATERIAL)
    surfaces = seen(builder, camera())
    np.testing.assert_allclose(surfaces.origin, [[2.0, 0.0, 9.0]], atol=1e-6)
    np.testing.assert_allclose(surfaces.edge_u, [[0.0, 0.0, -2.0]], atol=1e-6)
    np.testing.assert_allclose(surfaces.edge_v, [[0.0, 1.0, 0.0]], atol=1e-6)


def test_a_camera_that_turns_right_sees_things_move_left() -> None:
    builder = SceneBuilder()
    builder.add_object(Pose(0.0, 10.0, 0.0, 0.0)).sprite((1.0, 2.0), MATERIAL)
    straight = seen(builder, camera())
    np.testing.assert_allclose(straight.origin[0], [-0.5, 1.5 - 2.0, 10.0], atol=1e-9)
    turned = seen(builder, camera(yaw=0.3))
    assert turned.origin[0, 0] + 0.5 == pytest.approx(-10 * np.sin(0.3))
    lowered = seen(builder, camera(pitch=0.1))
    assert lowered.origin[0, 1] < straight.origin[0, 1]  # further up in the image


def test_what_is_behind_far_or_tiny_is_left_out() -> None:
    builder = SceneBuilder()
    for x, y in ((0.0, -20.0), (0.0, 500.0), (200.0, 20.0), (0.0, 150.0)):
        builder.add_object(Pose(x, y, 0.0, 0.0)).sprite((0.2, 0.2), MATERIAL)
    assert len(seen(builder, camera()).origin) == 0
    assert len(seen(builder, camera(y=140.0)).origin) == 1


@pytest.mark.parametrize(
    ("heading", "front", "mirrored"),
    [(0.0, True, False), (3.1, True, False), (QUARTER, False, False), (-QUARTER, False, True)],
)
def test_a_sprite_shows_the_view_of_its_heading(
    heading: float, front: bool, mirrored: bool
) -> None:
    builder = SceneBuilder()
    body = builder.add_object(Pose(0.0, 10.0, 0.0, heading))
    body.sprite((1.8, 1.0), MATERIAL, front_width=0.6)
    surfaces = seen(builder, camera())
    assert surfaces.texture[0] == int(front)
    assert surfaces.edge_u[0, 0] == pytest.approx(0.6 if front else 1.8)
    assert surfaces.tile[0, 0] == (-1 if mirrored else 1)


def test_walking_goes_through_the_phases() -> None:
    builder = SceneBuilder()
    body = builder.add_object(lambda time_s: Pose(1.4 * time_s, 10.0, 0.0, QUARTER))
    body.sprite((1, 1), MATERIAL, 0.5, phases=4)
    assert builder.finish().moving == (0,)
    textures = [int(seen(builder, camera(), step / 4 + 0.01).texture[0]) for step in range(5)]
    assert textures == [(textures[0] + step) % 4 for step in range(5)]


@pytest.mark.parametrize(
    "view",
    [(0.0, -20.0, 0.0), (0.0, 20.0, 3.14159265), (20.0, 0.0, -QUARTER), (-20.0, 0.0, QUARTER)],
)
def test_shapes_face_outwards(view: tuple[float, float, float]) -> None:
    """From each side one face of a box, one of a frustum and one of a roof are seen."""
    builder = SceneBuilder()
    body = builder.add_object(Pose(0.0, 0.0, 0.0, 0.0))
    body.box(Box(-1, 1, -2, 2, 0, 1), MATERIAL, MATERIAL, MATERIAL)
    body.frustum(Box(-1, 1, -2, 2, 1, 2), Box(-0.8, 0.8, -1, 1, 1, 2), MATERIAL, MATERIAL, MATERIAL)
    body.gable_roof(Box(-1, 1, -2, 2, 2, 3), 1.0, MATERIAL, MATERIAL)
    surfaces = seen(builder, camera(*view))
    facing = (np.cross(surfaces.edge_u, surfaces.edge_v) * surfaces.origin).sum(axis=1)
    assert len(facing) == 13
    assert (facing > 1e-6).sum() == 3


def test_a_box_on_wheels_hits_the_road_users_that_reach_into_it() -> None:
    """A car 4 m long and 2 m wide, against a box 2 m wide that reaches from 1 m back to 2 ahead."""
    builder = SceneBuilder()
    places = [
        (1.9, 0.0, 0.0), (2.1, 0.0, 0.0),  # beside it
        (2.9, 0.0, QUARTER), (0.0, 2.9, QUARTER), (0.0, 3.1, QUARTER),  # across its way
        (0.0, 3.9, 0.0), (0.0, 4.1, 0.0), (0.0, -2.9, 0.0), (0.0, -3.1, 0.0),
    ]  # fmt: skip
    for x, y, heading in places:
        body = builder.add_object(Pose(x, y, 0.0, heading), Footprint(2.0, 4.0, 1.5))
        body.sprite((1.0, 1.0), MATERIAL)
    builder.add_object(Pose(0.0, 0.0, 0.0, 0.0), Footprint(2.0, 4.0, 1.5)).sprite(
        (1.0, 1.0), MATERIAL._replace(instance=0)
    )  # a bush
    scene = builder.finish()
    found = scene.hits(scene.poses(0.0), Pose(0.0, 0.0, 0.0, 0.0), (1.0, 2.0, 1.0))
    expected = [True, False, True, True, False, True, False, True, False, False]
    assert found.tolist() == expected
    rest = scene.without(found)
    assert [one is None for one in rest.footprints] == expected
    view = camera(y=-50.0)
    assert len(rest.surfaces(rest.poses(0.0), view)) == 5
    assert len(scene.surfaces(scene.poses(0.0), view)) == 10
