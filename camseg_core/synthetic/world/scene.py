# SPDX-License-Identifier: Apache-2.0
"""What stands in the world: objects made of flat faces and upright sprites, and which are in view.

A face is a part of a plane: ``origin`` is its top left corner as seen from its front, ``edge_u``
goes to the right and ``edge_v`` down, and ``corners`` are places (u, v) in units of the two. A
sprite is an upright texture that always faces the camera. Both belong to an object, whose pose
moves them; object axes are x right, y ahead, z up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from camseg_core.synthetic.camera import Camera, cos_sin
from camseg_core.synthetic.randomness import Color
from camseg_core.synthetic.textures.atlas import SLOTS

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Vector = tuple[float, float, float]
Corner = tuple[float, float]

UNIT_SQUARE: tuple[Corner, ...] = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
VIEW_DISTANCE_M = 320.0
SMALLEST_RADIUS_PX = 0.7
"""Objects that would be smaller are left out."""


class Pose(NamedTuple):
    """Where an object is: world metres, and its heading in radians, positive to the right."""

    x: float
    y: float
    z: float
    heading: float


Motion = Callable[[float], Pose]
"""Function that returns the pose at a time in seconds."""


@dataclass(frozen=True)
class Footprint:
    """Shape that casts an object's shadow, in metres: a box, or a crown above a gap."""

    width: float
    length: float
    height: float
    crown: bool = False


@dataclass(frozen=True)
class Material:
    """How a face or sprite looks and what it is.

    Attributes:
        texture: number in the atlas.
        palette: number of the palette that colours it.
        class_id: Cityscapes train id.
        instance: number from 1 for a person, rider or vehicle, 0 for everything else.
    """

    texture: int
    palette: int
    class_id: int
    instance: int = 0


class _Sprite(NamedTuple):
    object: int
    foot: Vector
    width: float
    height: float
    front_width: float
    views: int
    phases: int
    metres_per_cycle: float
    material: Material


class _Face(NamedTuple):
    object: int
    origin: Vector
    edge_u: Vector
    edge_v: Vector
    corners: tuple[Corner, ...]
    tile: tuple[float, float, float, float]
    two_sided: bool
    material: Material


@dataclass(frozen=True)
class Surfaces:
    """The n planar polygons in view, in camera axes (x right, y down, z ahead), metres.

    Attributes:
        origin, edge_u, edge_v: float64 [n, 3].
        corners: (u, v) in units of the edges, float64 [n, 4, 2].
        tile: texture repeats per edge and their offsets (u, v, u, v), float64 [n, 4].
        texture, palette, object: int32 [n].
        class_ids: uint8 [n]. instance_ids: uint16 [n].
        two_sided: seen from both sides, bool [n].
        upright: a sprite, which the light meets from anywhere, bool [n].
    """

    origin: Float64
    edge_u: Float64
    edge_v: Float64
    corners: Float64
    tile: Float64
    texture: Int32
    palette: Int32
    object: Int32
    class_ids: NDArray[np.uint8]
    instance_ids: NDArray[np.uint16]
    two_sided: NDArray[np.bool_]
    upright: NDArray[np.bool_]


class SceneBuilder:
    """Collects objects, and freezes them into a `Scene`."""

    def __init__(self) -> None:
        self._motions: list[Motion | Pose] = []
        self._footprints: list[Footprint | None] = []
        self._faces: list[_Face] = []
        self._sprites: list[_Sprite] = []
        self._colors: list[list[Color]] = []
        self._glows: list[list[Color]] = []
        self._night_glows: list[list[Color]] = []
        self._instances = 0

    def add_object(self, motion: Motion | Pose, footprint: Footprint | None = None) -> int:
        """Add an object at a fixed pose or one that depends on time; return its number."""
        self._motions.append(motion)
        self._footprints.append(footprint)
        return len(self._motions) - 1

    def next_instance(self) -> int:
        """Return the next instance number, from 1."""
        self._instances += 1
        return self._instances

    def add_palette(
        self, colors: dict[int, Color], glow: dict[int, Color] | None = None,
        night_glow: dict[int, Color] | None = None,
    ) -> int:  # fmt: skip
        """Add the albedo of slots, and the light that they always or at night give off.

        Slots that are not named are white and give off none. Returns the palette's number.
        """
        white, dark = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
        self._colors.append([colors.get(slot, white) for slot in range(SLOTS)])
        self._glows.append([(glow or {}).get(slot, dark) for slot in range(SLOTS)])
        self._night_glows.append([(night_glow or {}).get(slot, dark) for slot in range(SLOTS)])
        return len(self._colors) - 1

    def add_face(
        self, owner: int, origin: Vector, edge_u: Vector, edge_v: Vector, material: Material,
        tile: tuple[float, float, float, float] = (1.0, 1.0, 0.0, 0.0),
        corners: tuple[Corner, ...] = UNIT_SQUARE, two_sided: bool = False,
    ) -> None:  # fmt: skip
        """Add a flat face to an object; three corners make a triangle."""
        if len(corners) == 3:
            corners = (*corners, corners[-1])
        self._faces.append(_Face(owner, origin, edge_u, edge_v, corners, tile, two_sided, material))

    def add_sprite(
        self, owner: int, foot: Vector, size: tuple[float, float], material: Material,
        front_width: float | None = None, phases: int = 1, metres_per_cycle: float = 1.4,
    ) -> None:  # fmt: skip
        """Add an upright texture of ``size`` (width, height) whose foot's middle is at ``foot``.

        With ``front_width`` the texture has ``phases`` side views (facing right), then as many
        front views of that width; a moving object goes through the phases once in
        ``metres_per_cycle``.
        """
        self._sprites.append(
            _Sprite(
                owner, foot, size[0], size[1], size[0] if front_width is None else front_width,
                1 if front_width is None else 2, phases, metres_per_cycle, material,
            )
        )  # fmt: skip

    def finish(self) -> Scene:
        """Freeze what was added."""
        return Scene(
            self._motions, self._footprints, self._faces, self._sprites,
            np.array(self._colors, np.float32), np.array(self._glows, np.float32),
            np.array(self._night_glows, np.float32),
        )  # fmt: skip


class Scene:
    """A finished world.

    Attributes:
        footprints: what casts the shadow of each object, None if nothing does.
        moving: numbers of the objects whose pose depends on time.
        colors, glows, night_glows: float32 [palettes, SLOTS, 3].
    """

    def __init__(
        self, motions: Sequence[Motion | Pose], footprints: Sequence[Footprint | None],
        faces: Sequence[_Face], sprites: Sequence[_Sprite], colors: NDArray[np.float32],
        glows: NDArray[np.float32], night_glows: NDArray[np.float32],
    ) -> None:  # fmt: skip
        self.footprints = tuple(footprints)
        self.colors, self.glows, self.night_glows = colors, glows, night_glows
        self._rest = np.array(
            [_placed(motion) if isinstance(motion, Pose) else (0.0,) * 5 for motion in motions]
        )
        self._motions = [
            (index, motion) for index, motion in enumerate(motions) if not isinstance(motion, Pose)
        ]
        self.moving = tuple(index for index, _ in self._motions)
        self._set_faces(faces)
        self._set_sprites(sprites)
        radius = np.zeros(len(motions))
        corners = (
            self._origin[:, None]
            + self._corners[..., :1] * self._edge_u[:, None]
            + self._corners[..., 1:] * self._edge_v[:, None]
        )
        reach = np.sqrt((corners * corners).sum(axis=2)).max(axis=1)
        np.maximum.at(radius, self._face_object, reach)
        sprite_reach = [
            abs(s.foot[0]) + abs(s.foot[1]) + abs(s.foot[2]) + s.width + s.height for s in sprites
        ]
        np.maximum.at(radius, self._sprite_object, np.array(sprite_reach))
        self._radius = radius + 0.1

    def _set_faces(self, faces: Sequence[_Face]) -> None:
        self._origin = np.array([face.origin for face in faces])
        self._edge_u = np.array([face.edge_u for face in faces])
        self._edge_v = np.array([face.edge_v for face in faces])
        self._corners = np.array([face.corners for face in faces])
        self._tile = np.array([face.tile for face in faces])
        self._two_sided = np.array([face.two_sided for face in faces], bool)
        self._face_object = np.array([face.object for face in faces], np.int32)
        self._face_material = _materials([face.material for face in faces])

    def _set_sprites(self, sprites: Sequence[_Sprite]) -> None:
        self._foot = np.array([sprite.foot for sprite in sprites])
        self._sprite_size = np.array(
            [(s.width, s.height, s.front_width, s.metres_per_cycle) for s in sprites]
        )
        self._sprite_views = np.array([(s.views, s.phases) for s in sprites], np.int32)
        self._sprite_object = np.array([sprite.object for sprite in sprites], np.int32)
        self._sprite_material = _materials([sprite.material for sprite in sprites])

    def poses(self, time_s: float) -> Float64:
        """Return x, y, z, cosine and sine of the heading per object: float64 [objects, 5]."""
        poses = self._rest.copy()
        for index, motion in self._motions:
            poses[index] = _placed(motion(time_s))
        return poses

    def surfaces(self, poses: Float64, camera: Camera) -> Surfaces:
        """Return the faces and sprites of the objects that may be in view."""
        yaw_cos, yaw_sin = camera.yaw_cos_sin
        pitch = camera.pitch_cos_sin
        dx, dy = poses[:, 0] - camera.position_m[0], poses[:, 1] - camera.position_m[1]
        right = dx * yaw_cos - dy * yaw_sin
        ahead = dx * yaw_sin + dy * yaw_cos
        up = poses[:, 2] - camera.position_m[2]
        # The object's axes, turned into the camera's heading.
        turn_cos = poses[:, 3] * yaw_cos + poses[:, 4] * yaw_sin
        turn_sin = poses[:, 4] * yaw_cos - poses[:, 3] * yaw_sin

        radius = self._radius
        half_width = 0.5 * camera.width / camera.focal_px
        near = np.maximum(ahead + radius, 0.0)
        seen = (
            (ahead > -radius)
            & (ahead < VIEW_DISTANCE_M + radius)
            & (np.abs(right) < near * half_width + 2 * radius)
            & (radius * camera.focal_px > SMALLEST_RADIUS_PX * near)
        )

        def turned(vectors: Float64, owner: Int32, place: bool) -> Float64:
            """Turn object axes [n, 3] into camera axes; points are moved too."""
            cosine, sine = turn_cos[owner], turn_sin[owner]
            x = vectors[:, 0] * cosine + vectors[:, 1] * sine
            y = vectors[:, 1] * cosine - vectors[:, 0] * sine
            z = vectors[:, 2]
            if place:
                x, y, z = x + right[owner], y + ahead[owner], z + up[owner]
            return np.stack(
                [x, -(y * pitch[1]) - z * pitch[0], y * pitch[0] - z * pitch[1]], axis=1
            )

        faces = np.flatnonzero(seen[self._face_object])
        owner = self._face_object[faces]
        edge_u = turned(self._edge_u[faces], owner, False)
        edge_v = turned(self._edge_v[faces], owner, False)
        origin = turned(self._origin[faces], owner, True)

        sprites = np.flatnonzero(seen[self._sprite_object])
        sprite_owner = self._sprite_object[sprites]
        foot = turned(self._foot[sprites], sprite_owner, True)
        width, texture, mirrored = self._views(
            sprites, foot, turn_cos[sprite_owner], turn_sin[sprite_owner], poses[sprite_owner]
        )
        height = self._sprite_size[sprites, 1]
        zero = np.zeros(len(sprites))
        tile = np.stack([1.0 - 2.0 * mirrored, zero + 1.0, mirrored * 1.0, zero], axis=1)
        square = np.broadcast_to(np.array(UNIT_SQUARE), (len(sprites), 4, 2))
        face_material, sprite_material = self._face_material[faces], self._sprite_material[sprites]
        material = np.concatenate([face_material, sprite_material])
        # Sprites first: of equal depths the first one wins, and riders sit on their vehicles.
        return Surfaces(
            origin=np.concatenate(
                [origin, np.stack([foot[:, 0] - width / 2, foot[:, 1] - height, foot[:, 2]], 1)]
            ),
            edge_u=np.concatenate([edge_u, np.stack([width, zero, zero], 1)]),
            edge_v=np.concatenate([edge_v, np.stack([zero, height, zero], 1)]),
            corners=np.concatenate([self._corners[faces], square]),
            tile=np.concatenate([self._tile[faces], tile]),
            texture=np.concatenate([face_material[:, 0], texture]).astype(np.int32),
            palette=material[:, 1],
            object=np.concatenate([owner, sprite_owner]),
            class_ids=material[:, 2].astype(np.uint8),
            instance_ids=material[:, 3].astype(np.uint16),
            two_sided=np.concatenate([self._two_sided[faces], np.zeros(len(sprites), bool)]),
            upright=np.concatenate([np.zeros(len(faces), bool), np.ones(len(sprites), bool)]),
        )

    def _views(
        self, sprites: NDArray[np.intp], foot: Float64, turn_cos: Float64, turn_sin: Float64,
        poses: Float64,
    ) -> tuple[Float64, Int32, NDArray[np.bool_]]:  # fmt: skip
        """Choose view and phase: width in metres, texture, and whether it faces left."""
        size, views = self._sprite_size[sprites], self._sprite_views[sprites]
        distance = np.sqrt(foot[:, 0] ** 2 + foot[:, 2] ** 2) + 1e-9
        # The heading against the line of sight: 1 goes to the right across it.
        across = (turn_sin * foot[:, 2] - turn_cos * foot[:, 0]) / distance
        two = views[:, 0] == 2
        front = two & (np.abs(across) < 0.45)
        squeezed = size[:, 0] * np.maximum(np.abs(across), 0.55)
        width = np.where(two, np.where(front, size[:, 2], squeezed), size[:, 0])
        travelled = (poses[:, 0] + poses[:, 1]) / size[:, 3]
        phase = (np.floor(travelled * views[:, 1]).astype(np.int32)) % views[:, 1]
        texture = self._sprite_material[sprites, 0] + phase + front * views[:, 1]
        return width, texture.astype(np.int32), two & ~front & (across < 0)


def _placed(pose: Pose) -> tuple[float, float, float, float, float]:
    return (pose.x, pose.y, pose.z, *cos_sin(pose.heading))


def _materials(materials: Sequence[Material]) -> Int32:
    """Return texture, palette, class id and instance: int32 [n, 4]."""
    return np.array(
        [(m.texture, m.palette, m.class_id, m.instance) for m in materials], np.int32
    ).reshape(-1, 4)
