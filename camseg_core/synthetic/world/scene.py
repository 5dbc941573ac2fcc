# SPDX-License-Identifier: Apache-2.0
"""What stands in the world: objects made of flat faces and upright sprites, and which are in view.

A face is a part of a plane: ``origin`` is its top left corner as seen from its front, ``edge_u``
goes to the right and ``edge_v`` down, and ``corners`` are places (u, v) in units of the two. A
sprite is an upright texture that always faces the camera. Both belong to an object, whose pose
moves them; object axes are x right, y ahead, z up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from camseg_core.synthetic.arrays import Bool, Float32, Float64
from camseg_core.synthetic.camera import Camera, cos_sin

UNIT_SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
VIEW_DISTANCE_M = 320.0
SMALLEST_RADIUS_PX = 0.7
"""Objects that would be smaller are left out."""

SURFACE = np.dtype(
    [
        ("object", "i4"), ("texture", "i4"), ("palette", "i4"), ("class_ids", "u1"),
        ("instance_ids", "u2"), ("origin", "f8", 3), ("edge_u", "f8", 3), ("edge_v", "f8", 3),
        ("tile", "f8", 4), ("corners", "f8", (4, 2)), ("two_sided", "?"), ("upright", "?"),
        ("front_width", "f8"), ("phases", "i4"),
    ]
)  # fmt: skip
"""A face or a sprite, in metres, in the axes of its object or, once in view, of the camera.

object: number of the object. texture, palette, class_ids, instance_ids: see `Material`.
origin, edge_u, edge_v: see above; the edges of a sprite run to the right and down as seen.
tile: texture repeats per edge and their offsets (u, v, u, v).
corners: (u, v) in units of the edges.
two_sided: seen from both sides.
upright: a sprite, which the light meets from anywhere.
front_width, phases: of a sprite, see `Body.sprite`.
"""
Surfaces = np.recarray[Any, np.dtype[np.void]]
"""n planar polygons of SURFACE, e.g. ``surfaces.edge_u`` [n, 3]."""
STEP_CYCLE_M = 1.4
"""Distance in which a person who walks goes through all phases."""


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


class Material(NamedTuple):
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


class Scene:
    """A finished world.

    Attributes:
        footprints: what casts the shadow of each object, None if nothing does.
        moving: numbers of the objects whose pose depends on time.
        colors, glows, night_glows: float32 [palettes, SLOTS, 3]; see `SceneBuilder.add_palette`.
    """

    def __init__(
        self, motions: Sequence[Motion | Pose], footprints: Sequence[Footprint | None],
        surfaces: Surfaces, palettes: Float32,
    ) -> None:  # fmt: skip
        self.footprints = tuple(footprints)
        self.colors, self.glows, self.night_glows = palettes.swapaxes(0, 1)
        self._motions = {
            index: motion for index, motion in enumerate(motions) if not isinstance(motion, Pose)
        }
        self.moving = tuple(self._motions)
        self._rest = np.array(
            [_placed(motion) if isinstance(motion, Pose) else (0.0,) * 5 for motion in motions]
        )
        self._surfaces = surfaces
        u, v = surfaces.corners[..., :1], surfaces.corners[..., 1:]
        origin, edge_u, edge_v = surfaces.origin, surfaces.edge_u, surfaces.edge_v
        corners = origin[:, None] + u * edge_u[:, None] + v * edge_v[:, None]
        reach = np.sqrt((corners * corners).sum(axis=2)).max(axis=1)
        sprite_reach = np.abs(origin).sum(axis=1) + edge_u[:, 0] + edge_v[:, 1]
        self._radius = np.zeros(len(motions))
        reach = np.where(surfaces.upright, sprite_reach, reach)
        np.maximum.at(self._radius, surfaces.object, reach)
        self._radius += 0.1
        # Of road users, half their width and length; they alone are numbered.
        self._users = np.isin(np.arange(len(motions)), surfaces.object[surfaces.instance_ids > 0])
        self._half_m = 0.5 * np.array(
            [(f.width, f.length) if f else (0.0, 0.0) for f in footprints]
        )

    def poses(self, time_s: float) -> Float64:
        """Return x, y, z, cosine and sine of the heading per object: float64 [objects, 5]."""
        poses = self._rest.copy()
        for index, motion in self._motions.items():
            poses[index] = _placed(motion(time_s))
        return poses

    def hits(self, poses: Float64, pose: Pose, box: tuple[float, float, float]) -> Bool:
        """Return which road users touch a box on wheels, bool [objects].

        Args:
            poses: where the objects are, see `poses`.
            pose: where the box is.
            box: its half width, and how far it reaches ahead and back, in metres.
        """
        half_width, front, rear = box
        cosine, sine = cos_sin(pose.heading)
        dx, dy = poses[:, 0] - pose.x, poses[:, 1] - pose.y
        right, ahead = dx * cosine - dy * sine, dx * sine + dy * cosine
        turn_cos = np.abs(poses[:, 3] * cosine + poses[:, 4] * sine)
        turn_sin = np.abs(poses[:, 4] * cosine - poses[:, 3] * sine)
        half_x, half_y = self._half_m.T
        across, along = half_x * turn_cos + half_y * turn_sin, half_x * turn_sin + half_y * turn_cos
        touched: Bool = self._users & (np.abs(right) < half_width + across)
        touched &= (-rear - along < ahead) & (ahead < front + along)
        return touched

    def without(self, gone: Bool) -> Scene:
        """Return the scene without some objects, bool [objects]; the others keep their numbers."""
        rest = copy(self)
        rest._surfaces = self._surfaces[~gone[self._surfaces.object]]
        rest._users = self._users & ~gone
        rest.footprints = tuple(
            None if out else one for one, out in zip(self.footprints, gone, strict=True)
        )
        return rest

    def surfaces(self, poses: Float64, camera: Camera) -> Surfaces:
        """Return the faces and sprites of the objects that may be in view, in camera axes."""
        yaw_cos, yaw_sin = cos_sin(camera.yaw_rad)
        pitch = cos_sin(camera.pitch_rad)
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

        surfaces: Surfaces = self._surfaces[seen[self._surfaces.object]]
        owner, sprite = surfaces.object, surfaces.upright
        cosine, sine = turn_cos[owner], turn_sin[owner]

        def turned(vectors: Float64, shift: Any = (0.0, 0.0, 0.0)) -> Float64:
            """Turn object axes [n, 3] into camera axes."""
            x = vectors[:, 0] * cosine + vectors[:, 1] * sine + shift[0]
            y = vectors[:, 1] * cosine - vectors[:, 0] * sine + shift[1]
            z = vectors[:, 2] + shift[2]
            return np.stack(
                [x, -(y * pitch[1]) - z * pitch[0], y * pitch[0] - z * pitch[1]], axis=1
            )

        surfaces.origin = turned(surfaces.origin, (right[owner], ahead[owner], up[owner]))
        for edge in (surfaces.edge_u, surfaces.edge_v):
            edge[:] = np.where(sprite[:, None], edge, turned(edge))
        _choose_views(surfaces, sprite, cosine[sprite], sine[sprite], poses[owner[sprite]])
        return surfaces


def _choose_views(
    surfaces: Surfaces, sprite: Bool, turn_cos: Float64, turn_sin: Float64, poses: Float64
) -> None:
    """Turn the sprites [n] to the camera, in place: their view, its width and its phase."""
    sprites = surfaces[sprite]
    foot, width, height = sprites.origin, sprites.edge_u[:, 0], sprites.edge_v[:, 1]
    phases, two = sprites.phases, sprites.front_width > 0
    distance = np.sqrt(foot[:, 0] ** 2 + foot[:, 2] ** 2) + 1e-9
    # The heading against the line of sight: 1 goes to the right across it.
    across = (turn_sin * foot[:, 2] - turn_cos * foot[:, 0]) / distance
    front = two & (np.abs(across) < 0.45)
    squeezed = np.where(two, width * np.maximum(np.abs(across), 0.55), width)
    width = np.where(front, sprites.front_width, squeezed)
    travelled = (poses[:, 0] + poses[:, 1]) / STEP_CYCLE_M
    phase = np.floor(travelled * phases).astype(np.int32) % phases
    surfaces.texture[sprite] += phase + front * phases
    surfaces.edge_u[sprite, 0] = width
    surfaces.origin[sprite, 0] -= width / 2
    surfaces.origin[sprite, 1] -= height
    mirrored = two & ~front & (across < 0)
    surfaces.tile[sprite, 0] -= 2.0 * mirrored
    surfaces.tile[sprite, 2] += mirrored


def _placed(pose: Pose) -> tuple[float, float, float, float, float]:
    return (pose.x, pose.y, pose.z, *cos_sin(pose.heading))
