# SPDX-License-Identifier: Apache-2.0
"""Builds a scene: objects, their palettes, and boxes, sloping sides and gables out of faces.

Object axes: x right, y ahead, z up. The texture of a right side has the front on the right; a left
side shows its mirror image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from camseg_core.synthetic.arrays import Float64
from camseg_core.synthetic.randomness import Color
from camseg_core.synthetic.textures.atlas import SLOTS
from camseg_core.synthetic.world.scene import (
    SURFACE,
    UNIT_SQUARE,
    Footprint,
    Material,
    Motion,
    Pose,
    Scene,
)

Vector = tuple[float, float, float] | Float64
Tile = tuple[float, float, float, float]
Repeats = tuple[float, float]
ONCE: Tile = (1.0, 1.0, 0.0, 0.0)


class Box(NamedTuple):
    """Extent of a box in object axes, metres."""

    x0: float
    x1: float
    y0: float
    y1: float
    z0: float
    z1: float


class SceneBuilder:
    """Collects objects, and freezes them into a `Scene`."""

    def __init__(self) -> None:
        self._motions: list[Motion | Pose] = []
        self._footprints: list[Footprint | None] = []
        self._palettes: list[list[list[Color]]] = []
        self._instances = count(1)
        self.faces: list[tuple[Any, ...]] = []
        self.sprites: list[tuple[Any, ...]] = []

    def add_object(self, motion: Motion | Pose, footprint: Footprint | None = None) -> Body:
        """Add an object at a fixed pose or one that depends on time."""
        self._motions.append(motion)
        self._footprints.append(footprint)
        return Body(self, len(self._motions) - 1)

    def next_instance(self) -> int:
        """Return the next instance number, from 1."""
        return next(self._instances)

    def add_palette(
        self, colors: Mapping[int, Color], glow: Mapping[int, Color] | None = None,
        night_glow: Mapping[int, Color] | None = None,
    ) -> int:  # fmt: skip
        """Add the albedo of slots, and the light that they always or at night give off.

        Slots that are not named are white and give off none. Returns the palette's number.
        """
        parts = ((colors, 1.0), (glow or {}, 0.0), (night_glow or {}, 0.0))
        self._palettes.append(
            [[part.get(slot, (rest, rest, rest)) for slot in range(SLOTS)] for part, rest in parts]
        )
        return len(self._palettes) - 1

    def finish(self) -> Scene:
        """Freeze what was added."""
        palettes = np.array(self._palettes, np.float32).reshape(-1, 3, SLOTS, 3)
        surfaces = np.array([*self.faces, *self.sprites], SURFACE).view(np.recarray)
        return Scene(self._motions, self._footprints, surfaces, palettes)


@dataclass(frozen=True)
class Body:
    """An object of a scene that is being built."""

    builder: SceneBuilder
    number: int

    def face(
        self, origin: Vector, edge_u: Vector, edge_v: Vector, material: Material | None,
        tile: Tile = ONCE, corners: tuple[tuple[float, float], ...] = UNIT_SQUARE,
        two_sided: bool = False,
    ) -> None:  # fmt: skip
        """Add a flat face, none without a material; three corners make a triangle."""
        if material is not None:
            corners = (*corners, corners[-1])[:4]
            shape = (origin, edge_u, edge_v, tile, corners, two_sided)
            self.builder.faces.append((self.number, *material, *shape, False, 0.0, 1))

    def sprite(
        self, size: tuple[float, float], material: Material, front_width: float = 0.0,
        phases: int = 1, x: float = 0.0,
    ) -> None:  # fmt: skip
        """Add an upright texture of ``size`` (width, height) whose foot's middle is at ``x``.

        With ``front_width`` the texture has ``phases`` side views (facing right), then as many
        front views of that width; a moving object goes through the phases as it walks.
        """
        edges = ((size[0], 0.0, 0.0), (0.0, size[1], 0.0))
        shape = ((x, 0.0, 0.0), *edges, ONCE, UNIT_SQUARE, False)
        self.builder.sprites.append((self.number, *material, *shape, True, front_width, phases))

    def box(
        self, box: Box, side: Material | None = None, front: Material | None = None,
        rear: Material | None = None, top: Material | None = None,
        side_tile: Repeats = (1.0, 1.0), end_tile: Repeats = (1.0, 1.0),
        top_tile: Repeats = (1.0, 1.0),
    ) -> None:  # fmt: skip
        """Add the outer faces of a box, those with a material; tiles say how often it repeats."""
        x0, x1, y0, y1, z0, z1 = box
        width, length, down = x1 - x0, y1 - y0, (0.0, 0.0, z0 - z1)
        mirrored = (-side_tile[0], side_tile[1], side_tile[0], 0.0)
        ends = (*end_tile, 0.0, 0.0)
        self.face((x1, y0, z1), (0.0, length, 0.0), down, side, (*side_tile, 0.0, 0.0))
        self.face((x0, y1, z1), (0.0, -length, 0.0), down, side, mirrored)
        self.face((x1, y1, z1), (-width, 0.0, 0.0), down, front, ends)
        self.face((x0, y0, z1), (width, 0.0, 0.0), down, rear, ends)
        self.face((x0, y1, z1), (width, 0.0, 0.0), (0.0, -length, 0.0), top, (*top_tile, 0.0, 0.0))

    def frustum(self, base: Box, top: Box, side: Material, end: Material, roof: Material) -> None:
        """Add the sloping sides between ``base`` (at its z0) and the smaller ``top`` (its z1)."""
        low, high = _ring(base, base.z0), _ring(top, top.z1)
        mirrored = (-1.0, 1.0, 1.0, 0.0)
        faces = ((1, side, ONCE), (3, side, mirrored), (2, end, ONCE), (0, end, ONCE))
        for left, material, tile in faces:
            right = (left + 1) % 4
            # The texture covers the rectangle that encloses the face; its lower edge is the longer.
            edge_u = low[right] - low[left]
            edge_v = (low[left] + low[right]) / 2 - (high[left] + high[right]) / 2
            origin = low[left] - edge_v
            length = _dot(edge_u, edge_u)
            u0, u1 = (_dot(high[corner] - origin, edge_u) / length for corner in (left, right))
            corners = ((u0, 0.0), (u1, 0.0), (1.0, 1.0), (0.0, 1.0))
            self.face(origin, edge_u, edge_v, material, tile, corners)
        self.face(high[3], (top.x1 - top.x0, 0.0, 0.0), (0.0, top.y0 - top.y1, 0.0), roof)

    def gable_roof(self, box: Box, rise: float, roof: Material, wall: Material) -> None:
        """Add a roof on top of a box, its ridge along x."""
        overhang = 0.3
        middle, length, ridge = (box.y0 + box.y1) / 2, box.y1 - box.y0, box.z1 + rise
        half = length / 2 + overhang
        drop = rise * half / (length / 2)
        x0, x1 = box.x0 - overhang, box.x1 + overhang
        triangle = ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0))
        for sign, x in ((1, x0), (-1, x1)):
            self.face(
                (x, middle, ridge), (sign * (x1 - x0), 0.0, 0.0), (0.0, -sign * half, -drop), roof,
                ((x1 - x0) / 3, half / 3, 0.0, 0.0),
            )  # fmt: skip
        for sign, x, y in ((1, box.x1, box.y0), (-1, box.x0, box.y1)):
            self.face(
                (x, y, ridge), (0.0, sign * length, 0.0), (0.0, 0.0, -rise), wall,
                (length / 4, rise / 4, 0.0, 0.0), triangle,
            )  # fmt: skip


def _ring(box: Box, z: float) -> Float64:
    """Return the corners of a box at the height ``z``, from its rear left to the right [4, 3]."""
    return np.array(
        [(box.x0, box.y0, z), (box.x1, box.y0, z), (box.x1, box.y1, z), (box.x0, box.y1, z)]
    )


def _dot(first: Float64, second: Float64) -> float:
    return float(first[0] * second[0] + first[1] * second[1] + first[2] * second[2])
