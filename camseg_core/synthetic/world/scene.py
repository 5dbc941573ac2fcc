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

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Bool, Float32, Float64, Int32
from camseg_core.synthetic.camera import Camera, cos_sin

UNIT_SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
VIEW_DISTANCE_M = 320.0
SMALLEST_RADIUS_PX = 0.7
"""Objects that would be smaller are left out."""

FACE = np.dtype(
    [
        ("object", "i4"), ("origin", "f8", 3), ("edge_u", "f8", 3), ("edge_v", "f8", 3),
        ("material", "i4", 4), ("tile", "f8", 4), ("corners", "f8", (4, 2)), ("two_sided", "?"),
    ]
)  # fmt: skip
"""A face in the axes of its object; for its tile see `Surfaces`."""
SPRITE = np.dtype(
    [
        ("object", "i4"), ("foot", "f8", 3), ("width", "f8"), ("height", "f8"),
        ("material", "i4", 4), ("front_width", "f8"), ("phases", "i4"),
    ]
)  # fmt: skip
"""A sprite; see `Body.sprite`. Its front width is 0 if it has one view."""
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
    class_ids: UInt8
    instance_ids: NDArray[np.uint16]
    two_sided: Bool
    upright: Bool


class Scene:
    """A finished world.

    Attributes:
        footprints: what casts the shadow of each object, None if nothing does.
        moving: numbers of the objects whose pose depends on time.
        colors, glows, night_glows: float32 [palettes, SLOTS, 3]; see `SceneBuilder.add_palette`.
    """

    def __init__(
        self, motions: Sequence[Motion | Pose], footprints: Sequence[Footprint | None],
        faces: NDArray[np.void], sprites: NDArray[np.void], palettes: Float32,
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
        self._faces, self._sprites = faces, sprites
        corners = (
            faces["origin"][:, None]
            + faces["corners"][..., :1] * faces["edge_u"][:, None]
            + faces["corners"][..., 1:] * faces["edge_v"][:, None]
        )
        reach = np.sqrt((corners * corners).sum(axis=2)).max(axis=1)
        self._radius = np.zeros(len(motions))
        np.maximum.at(self._radius, faces["object"], reach)
        reach = np.abs(sprites["foot"]).sum(axis=1) + sprites["width"] + sprites["height"]
        np.maximum.at(self._radius, sprites["object"], reach)
        self._radius += 0.1

    def poses(self, time_s: float) -> Float64:
        """Return x, y, z, cosine and sine of the heading per object: float64 [objects, 5]."""
        poses = self._rest.copy()
        for index, motion in self._motions.items():
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

        faces = self._faces[seen[self._faces["object"]]]
        owner = faces["object"]
        sprites = self._sprites[seen[self._sprites["object"]]]
        holder = sprites["object"]
        foot = turned(sprites["foot"], holder, True)
        width, texture, mirrored = _views(
            sprites, foot, turn_cos[holder], turn_sin[holder], poses[holder]
        )
        height = sprites["height"]
        zero = np.zeros(len(sprites))
        tile = np.stack([1.0 - 2.0 * mirrored, zero + 1.0, mirrored * 1.0, zero], axis=1)
        corner = np.stack([foot[:, 0] - width / 2, foot[:, 1] - height, foot[:, 2]], axis=1)
        across = np.stack([width, zero, zero], axis=1)
        down = np.stack([zero, height, zero], axis=1)
        square = np.broadcast_to(np.array(UNIT_SQUARE), (len(sprites), 4, 2))
        material = np.concatenate([faces["material"], sprites["material"]])
        upright = np.arange(len(material)) >= len(faces)
        return Surfaces(
            origin=np.concatenate([turned(faces["origin"], owner, True), corner]),
            edge_u=np.concatenate([turned(faces["edge_u"], owner, False), across]),
            edge_v=np.concatenate([turned(faces["edge_v"], owner, False), down]),
            corners=np.concatenate([faces["corners"], square]),
            tile=np.concatenate([faces["tile"], tile]),
            texture=np.concatenate([faces["material"][:, 0], texture]),
            palette=material[:, 1],
            object=np.concatenate([owner, holder]),
            class_ids=material[:, 2].astype(np.uint8),
            instance_ids=material[:, 3].astype(np.uint16),
            two_sided=np.concatenate([faces["two_sided"], np.zeros(len(sprites), bool)]),
            upright=upright,
        )


def _views(
    sprites: NDArray[np.void], foot: Float64, turn_cos: Float64, turn_sin: Float64, poses: Float64
) -> tuple[Float64, Int32, Bool]:
    """Choose view and phase: width in metres, texture, and whether it faces left."""
    width, phases, two = sprites["width"], sprites["phases"], sprites["front_width"] > 0
    distance = np.sqrt(foot[:, 0] ** 2 + foot[:, 2] ** 2) + 1e-9
    # The heading against the line of sight: 1 goes to the right across it.
    across = (turn_sin * foot[:, 2] - turn_cos * foot[:, 0]) / distance
    front = two & (np.abs(across) < 0.45)
    squeezed = np.where(two, width * np.maximum(np.abs(across), 0.55), width)
    travelled = (poses[:, 0] + poses[:, 1]) / STEP_CYCLE_M
    phase = np.floor(travelled * phases).astype(np.int32) % phases
    texture = sprites["material"][:, 0] + phase + front * phases
    return np.where(front, sprites["front_width"], squeezed), texture, two & ~front & (across < 0)


def _placed(pose: Pose) -> tuple[float, float, float, float, float]:
    return (pose.x, pose.y, pose.z, *cos_sin(pose.heading))
