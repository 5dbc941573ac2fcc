# SPDX-License-Identifier: Apache-2.0
"""Boxes, trapezoids and gables, put together from the faces of a scene.

Object axes: x right, y ahead, z up. The texture of a right side has the front on the right; a left
side shows its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

from camseg_core.synthetic.world.scene import Material, SceneBuilder, Vector

Tile = tuple[float, float, float, float]
ONCE: Tile = (1.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Box:
    """Extent of a box in object axes, metres."""

    x0: float
    x1: float
    y0: float
    y1: float
    z0: float
    z1: float


@dataclass(frozen=True)
class BoxLook:
    """Materials of a box, None for a face to leave out, and how often textures repeat on them."""

    side: Material | None = None
    front: Material | None = None
    rear: Material | None = None
    top: Material | None = None
    side_tile: tuple[float, float] = (1.0, 1.0)
    end_tile: tuple[float, float] = (1.0, 1.0)
    top_tile: tuple[float, float] = (1.0, 1.0)


def add_box(builder: SceneBuilder, owner: int, box: Box, look: BoxLook) -> None:
    """Add the outer faces of a box."""
    x0, x1, y0, y1, z1 = box.x0, box.x1, box.y0, box.y1, box.z1
    width, length, down = x1 - x0, y1 - y0, (0.0, 0.0, box.z0 - z1)
    mirrored = (-look.side_tile[0], look.side_tile[1], look.side_tile[0], 0.0)
    right, end, top = ((*tile, 0.0, 0.0) for tile in (look.side_tile, look.end_tile, look.top_tile))
    faces: tuple[tuple[Material | None, Vector, Vector, Vector, Tile], ...] = (
        (look.side, (x1, y0, z1), (0.0, length, 0.0), down, right),
        (look.side, (x0, y1, z1), (0.0, -length, 0.0), down, mirrored),
        (look.front, (x1, y1, z1), (-width, 0.0, 0.0), down, end),
        (look.rear, (x0, y0, z1), (width, 0.0, 0.0), down, end),
        (look.top, (x0, y1, z1), (width, 0.0, 0.0), (0.0, -length, 0.0), top),
    )
    for material, origin, edge_u, edge_v, tile in faces:
        if material is not None:
            builder.add_face(owner, origin, edge_u, edge_v, material, tile)


def add_trapezoid(
    builder: SceneBuilder, owner: int, top_left: Vector, top_right: Vector, bottom_right: Vector,
    bottom_left: Vector, material: Material, tile: Tile = ONCE,
) -> None:  # fmt: skip
    """Add a flat face whose upper and lower edges are parallel; corners as seen from its front.

    The texture covers the rectangle that encloses it; the lower edge is not the shorter one.
    """
    edge_u = _minus(bottom_right, bottom_left)
    edge_v = _minus(_middle(bottom_left, bottom_right), _middle(top_left, top_right))
    origin = _minus(bottom_left, edge_v)
    length = _dot(edge_u, edge_u)
    left = _dot(_minus(top_left, origin), edge_u) / length
    right = _dot(_minus(top_right, origin), edge_u) / length
    builder.add_face(
        owner, origin, edge_u, edge_v, material, tile,
        ((left, 0.0), (right, 0.0), (1.0, 1.0), (0.0, 1.0)),
    )  # fmt: skip


def add_frustum(
    builder: SceneBuilder, owner: int, base: Box, top: Box, side: Material, end: Material,
    roof: Material,
) -> None:  # fmt: skip
    """Add the sloping sides between ``base`` (at its z0) and the smaller ``top`` (at its z1)."""
    z0, z1 = base.z0, top.z1
    add_trapezoid(
        builder, owner, (top.x1, top.y0, z1), (top.x1, top.y1, z1), (base.x1, base.y1, z0),
        (base.x1, base.y0, z0), side,
    )  # fmt: skip
    add_trapezoid(
        builder, owner, (top.x0, top.y1, z1), (top.x0, top.y0, z1), (base.x0, base.y0, z0),
        (base.x0, base.y1, z0), side, (-1.0, 1.0, 1.0, 0.0),
    )  # fmt: skip
    add_trapezoid(
        builder, owner, (top.x1, top.y1, z1), (top.x0, top.y1, z1), (base.x0, base.y1, z0),
        (base.x1, base.y1, z0), end,
    )  # fmt: skip
    add_trapezoid(
        builder, owner, (top.x0, top.y0, z1), (top.x1, top.y0, z1), (base.x1, base.y0, z0),
        (base.x0, base.y0, z0), end,
    )  # fmt: skip
    builder.add_face(
        owner, (top.x0, top.y1, z1), (top.x1 - top.x0, 0.0, 0.0), (0.0, top.y0 - top.y1, 0.0), roof
    )


def add_gable_roof(
    builder: SceneBuilder, owner: int, box: Box, rise: float, roof: Material, wall: Material,
    overhang: float = 0.3,
) -> None:  # fmt: skip
    """Add a roof on top of a box, its ridge along x."""
    x0, x1 = box.x0 - overhang, box.x1 + overhang
    middle, z = (box.y0 + box.y1) / 2, box.z1
    ridge, width, half = z + rise, x1 - x0, (box.y1 - box.y0) / 2 + overhang
    drop = rise * half / ((box.y1 - box.y0) / 2)
    tile = (width / 3, half / 3, 0.0, 0.0)
    builder.add_face(owner, (x0, middle, ridge), (width, 0.0, 0.0), (0.0, -half, -drop), roof, tile)
    builder.add_face(owner, (x1, middle, ridge), (-width, 0.0, 0.0), (0.0, half, -drop), roof, tile)
    length = box.y1 - box.y0
    triangle = ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0))
    wall_tile = (length / 4, rise / 4, 0.0, 0.0)
    builder.add_face(
        owner, (box.x1, box.y0, ridge), (0.0, length, 0.0), (0.0, 0.0, -rise), wall, wall_tile,
        triangle,
    )  # fmt: skip
    builder.add_face(
        owner, (box.x0, box.y1, ridge), (0.0, -length, 0.0), (0.0, 0.0, -rise), wall, wall_tile,
        triangle,
    )  # fmt: skip


def _minus(first: Vector, second: Vector) -> Vector:
    return first[0] - second[0], first[1] - second[1], first[2] - second[2]


def _middle(first: Vector, second: Vector) -> Vector:
    return (first[0] + second[0]) / 2, (first[1] + second[1]) / 2, (first[2] + second[2]) / 2


def _dot(first: Vector, second: Vector) -> float:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
