# SPDX-License-Identifier: Apache-2.0
"""Boxes, trapezoids and gables, put together from the faces of a scene.

Object axes: x right, y ahead, z up. Textures of right sides have the front on the right; left sides
show the mirror image.
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
    """Materials of a box; None leaves a face out. ``tile`` are repeats on sides and on ends."""

    side: Material | None = None
    front: Material | None = None
    rear: Material | None = None
    top: Material | None = None
    side_tile: tuple[float, float] = (1.0, 1.0)
    end_tile: tuple[float, float] = (1.0, 1.0)
    top_tile: tuple[float, float] = (1.0, 1.0)


def add_box(builder: SceneBuilder, owner: int, box: Box, look: BoxLook) -> None:
    """Add the outer faces of a box."""
    width, length, height = box.x1 - box.x0, box.y1 - box.y0, box.z1 - box.z0
    down = (0.0, 0.0, -height)
    if look.side is not None:
        su, sv = look.side_tile
        builder.add_face(
            owner, (box.x1, box.y0, box.z1), (0.0, length, 0.0), down, look.side, (su, sv, 0.0, 0.0)
        )
        builder.add_face(
            owner, (box.x0, box.y1, box.z1), (0.0, -length, 0.0), down, look.side,
            (-su, sv, su, 0.0),
        )  # fmt: skip
    eu, ev = look.end_tile
    if look.front is not None:
        builder.add_face(
            owner, (box.x1, box.y1, box.z1), (-width, 0.0, 0.0), down, look.front,
            (eu, ev, 0.0, 0.0),
        )  # fmt: skip
    if look.rear is not None:
        builder.add_face(
            owner, (box.x0, box.y0, box.z1), (width, 0.0, 0.0), down, look.rear, (eu, ev, 0.0, 0.0)
        )
    if look.top is not None:
        builder.add_face(
            owner, (box.x0, box.y1, box.z1), (width, 0.0, 0.0), (0.0, -length, 0.0), look.top,
            (*look.top_tile, 0.0, 0.0),
        )  # fmt: skip


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
