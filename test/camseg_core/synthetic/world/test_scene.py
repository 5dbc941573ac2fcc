# SPDX-License-Identifier: Apache-2.0
"""Objects in view, in camera axes."""

from __future__ import annotations

import numpy as np
import pytest

from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.world.scene import Material, Pose, Scene, SceneBuilder
from camseg_core.synthetic.world.shapes import Box, BoxLook, add_box, add_frustum, add_gable_roof

QUARTER = 1.57079633
MATERIAL = Material(0, 0, 13, 1)


def camera(x: float = 0.0, y: float = 0.0, yaw: float = 0.0, pitch: float = 0.0) -> Camera:
    return Camera(200, 100, 100.0, 100.0, 50.0, (x, y, 1.5), yaw, pitch)


def scene_with(builder: SceneBuilder) -> Scene:
    """Finish a scene, which needs at least one face, one sprite and one palette."""
    builder.add_palette({})
    far = builder.add_object(Pose(0.0, -900.0, 0.0, 0.0))
    builder.add_sprite(far, (0, 0, 0), (1, 1), MATERIAL)
    builder.add_face(far, (0, 0, 0), (1, 0, 0), (0, 0, -1), MATERIAL)
    return builder.finish()


def test_a_face_is_carried_into_camera_axes() -> None:
    builder = SceneBuilder()
    owner = builder.add_object(Pose(2.0, 10.0, 0.5, QUARTER))  # its x axis points back
    builder.add_face(owner, (1.0, 0.0, 1.0), (2.0, 0.0, 0.0), (0.0, 0.0, -1.0), MATERIAL)
    scene = scene_with(builder)
    seen = scene.surfaces(scene.poses(0.0), camera())
    assert len(seen.origin) == 1
    np.testing.assert_allclose(seen.origin[0], [2.0, 0.0, 9.0], atol=1e-6)
    np.testing.assert_allclose(seen.edge_u[0], [0.0, 0.0, -2.0], atol=1e-6)
    np.testing.assert_allclose(seen.edge_v[0], [0.0, 1.0, 0.0], atol=1e-6)


def test_a_camera_that_turns_right_sees_things_move_left() -> None:
    builder = SceneBuilder()
    owner = builder.add_object(Pose(0.0, 10.0, 0.0, 0.0))
    builder.add_sprite(owner, (0.0, 0.0, 0.0), (1.0, 2.0), MATERIAL)
    scene = scene_with(builder)
    straight = scene.surfaces(scene.poses(0.0), camera())
    np.testing.assert_allclose(straight.origin[0], [-0.5, 1.5 - 2.0, 10.0], atol=1e-9)
    turned = scene.surfaces(scene.poses(0.0), camera(yaw=0.3))
    assert turned.origin[0, 0] + 0.5 == pytest.approx(-10 * np.sin(0.3))
    lowered = scene.surfaces(scene.poses(0.0), camera(pitch=0.1))
    assert lowered.origin[0, 1] < straight.origin[0, 1]  # further up in the image


def test_what_is_behind_far_or_tiny_is_left_out() -> None:
    builder = SceneBuilder()
    for x, y in ((0.0, -20.0), (0.0, 500.0), (200.0, 20.0), (0.0, 150.0)):
        owner = builder.add_object(Pose(x, y, 0.0, 0.0))
        builder.add_sprite(owner, (0, 0, 0), (0.2, 0.2), MATERIAL)
    scene = scene_with(builder)
    assert len(scene.surfaces(scene.poses(0.0), camera()).origin) == 0
    assert len(scene.surfaces(scene.poses(0.0), camera(y=140.0)).origin) == 1


@pytest.mark.parametrize(
    ("heading", "front", "mirrored"),
    [(0.0, True, False), (3.1, True, False), (QUARTER, False, False), (-QUARTER, False, True)],
)
def test_a_sprite_shows_the_view_of_its_heading(
    heading: float, front: bool, mirrored: bool
) -> None:
    builder = SceneBuilder()
    owner = builder.add_object(Pose(0.0, 10.0, 0.0, heading))
    builder.add_sprite(owner, (0, 0, 0), (1.8, 1.0), MATERIAL, front_width=0.6)
    scene = scene_with(builder)
    seen = scene.surfaces(scene.poses(0.0), camera())
    assert seen.texture[0] == int(front)
    assert seen.edge_u[0, 0] == pytest.approx(0.6 if front else 1.8)
    assert seen.tile[0, 0] == (-1 if mirrored else 1)


def test_walking_goes_through_the_phases() -> None:
    builder = SceneBuilder()
    owner = builder.add_object(lambda time_s: Pose(1.4 * time_s, 10.0, 0.0, QUARTER))
    builder.add_sprite(owner, (0, 0, 0), (1, 1), MATERIAL, 0.5, phases=4, metres_per_cycle=1.4)
    scene = scene_with(builder)
    assert scene.moving == (0,)
    textures = [
        int(scene.surfaces(scene.poses(step / 4 + 0.01), camera()).texture[0]) for step in range(5)
    ]
    first = textures[0]
    assert textures == [(first + step) % 4 for step in range(5)]


def outward(seen_from: str) -> int:
    """Count the faces of a box, a frustum and a roof that face a camera on one side."""
    places = {"rear": (0.0, -20.0, 0.0), "front": (0.0, 20.0, 3.14159265),
              "right": (20.0, 0.0, -QUARTER), "left": (-20.0, 0.0, QUARTER)}  # fmt: skip
    x, y, yaw = places[seen_from]
    builder = SceneBuilder()
    owner = builder.add_object(Pose(0.0, 0.0, 0.0, 0.0))
    look = BoxLook(MATERIAL, MATERIAL, MATERIAL)
    add_box(builder, owner, Box(-1, 1, -2, 2, 0, 1), look)
    add_frustum(
        builder, owner, Box(-1, 1, -2, 2, 1, 2), Box(-0.8, 0.8, -1, 1, 1, 2), MATERIAL, MATERIAL,
        MATERIAL,
    )  # fmt: skip
    add_gable_roof(builder, owner, Box(-1, 1, -2, 2, 2, 3), 1.0, MATERIAL, MATERIAL)
    scene = scene_with(builder)
    seen = scene.surfaces(scene.poses(0.0), camera(x, y, yaw))
    facing = (np.cross(seen.edge_u, seen.edge_v) * seen.origin).sum(axis=1)
    return int((facing[:13] > 1e-6).sum())


@pytest.mark.parametrize(("side", "count"), [("rear", 3), ("front", 3), ("right", 3), ("left", 3)])
def test_shapes_face_outwards(side: str, count: int) -> None:
    """From each side one face of the box, one of the frustum and one of the roof."""
    assert outward(side) == count
