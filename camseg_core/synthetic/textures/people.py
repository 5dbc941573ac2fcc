# SPDX-License-Identifier: Apache-2.0
"""Textures of people, riders, bicycles and motorcycles, in metres, from the side and the front.

Slots: 1 skin, 2 upper clothes, 3 trousers or skirt, 4 hair, 5 bag or helmet; of two-wheelers
1 paint.
Sides face right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, Canvas, Point, Texture
from camseg_core.synthetic.textures.surfaces import FAR_COVER

PHASES = 4
"""Textures of one person's step, from each side."""
PEOPLE = 8
PERSON_SIZE_M = (1.0, 1.9)
TWO_WHEELER_SIZE_M = (2.2, 1.9)
FRONT_SIZE_M = (0.9, 1.9)
SKIN, TOP, BOTTOM, HAIR, BAG = 1, 2, 3, 4, 5


class _Build(NamedTuple):
    """How one person is built, ``stout`` as a share of the usual width, and what they wear."""

    stout: float
    skirt: bool
    coat: bool
    long_hair: bool
    bag: bool
    hat: bool


def people_textures(seed: int) -> dict[str, list[Texture]]:
    """Paint the people and two-wheelers of a drive.

    ``person`` holds, for each person, PHASES side views and PHASES front views; ``cyclist`` and
    ``motorcyclist`` one side view and one front view each, like ``bicycle`` and ``motorcycle``.
    """

    def build(index: int) -> _Build:
        draw = Draw(seed, "build", index)
        return _Build(draw.uniform(0.85, 1.25), *map(draw.chance, (0.25, 0.35, 0.4, 0.5, 0.25)))

    def painted(
        paint: Callable[..., None], size_m: tuple[float, float], *look: _Build | int,
        cover: float = 0.45,
    ) -> Texture:  # fmt: skip
        canvas = Canvas(128 if size_m is TWO_WHEELER_SIZE_M else 64, 128, *size_m)
        paint(canvas, *look)
        cloth = canvas.noise(generator(seed, "cloth"), 8, 3, 0.7)
        return canvas.texture(0.97 + 0.16 * cloth, cover)

    textures: dict[str, list[Texture]] = defaultdict(list)
    for index, view, phase in product(range(PEOPLE), (_person_side, _person_front), range(PHASES)):
        textures["person"].append(painted(view, PERSON_SIZE_M, build(index), phase))
    side, front = TWO_WHEELER_SIZE_M, FRONT_SIZE_M
    for index in range(3):
        cyclist, motorcyclist = build(index + 20), build(index + 23)
        textures["cyclist"].append(painted(_cyclist_side, side, cyclist, index))
        textures["cyclist"].append(painted(_rider_front, front, cyclist, index))
        textures["bicycle"].append(painted(_bicycle_side, side, index, cover=FAR_COVER))
        textures["bicycle"].append(painted(_bicycle_front, front, cover=FAR_COVER))
        textures["motorcyclist"].append(painted(_motorcyclist_side, side, index))
        textures["motorcyclist"].append(painted(_rider_front, front, motorcyclist, index + 3))
        textures["motorcycle"].append(painted(_motorcycle_side, side, index, cover=0.4))
        textures["motorcycle"].append(painted(_motorcycle_front, front, cover=0.4))
    return textures


def _head(canvas: Canvas, center: Point, build: _Build, facing: float) -> None:
    """Paint a head; ``facing`` 1 looks right, 0 to or from the viewer."""
    x, y = center
    if build.long_hair:
        canvas.box(x - 0.11 - 0.02 * facing, y - 0.2, x + 0.1 - 0.1 * facing, y, 190, HAIR)
    canvas.disc((x, y), 0.1, 225, SKIN, radius_y=0.13)
    canvas.polygon(
        [(x - 0.11, y - 0.04), (x - 0.1, y + 0.12), (x, y + 0.16), (x + 0.1, y + 0.11),
         (x + 0.1, y + 0.05), (x - 0.04 * facing, y + 0.05), (x - 0.05, y - 0.05)],
        205, HAIR,
    )  # fmt: skip
    if build.hat:
        canvas.box(x - 0.12, y + 0.06, x + 0.12 + 0.06 * facing, y + 0.1, 220, BAG)
        canvas.disc((x, y + 0.1), 0.11, 230, BAG, radius_y=0.07)


def _limb(root: Point, length: float, angle: float, bend: float) -> list[Point]:
    """Return root, joint and end of a limb that hangs at ``angle`` and bends back by ``bend``."""
    cosine, sine = cos_sin(angle)
    joint = (root[0] + length / 2 * sine, root[1] - length / 2 * cosine)
    cosine, sine = cos_sin(angle - bend)
    return [root, joint, (joint[0] + length / 2 * sine, joint[1] - length / 2 * cosine)]


def _person_side(canvas: Canvas, build: _Build, phase: int) -> None:
    swing = (0.5, 0.12, -0.5, -0.12)[phase]
    width = 0.13 * build.stout
    far, near = _limb((0.5, 0.92), 0.88, -swing, 0.35), _limb((0.5, 0.92), 0.88, swing, 0.1)
    for leg, shade in ((far, 150), (near, 215)):
        canvas.line(leg, width, shade, BOTTOM)
        foot = leg[-1]
        canvas.line([(foot[0] - 0.03, 0.03), (foot[0] + 0.12, 0.03)], 0.07, 45)
    canvas.line(_limb((0.5, 1.42), 0.62, swing * 0.9, -0.4), 0.08, 140, TOP)
    hip, chest = 0.13 * build.stout, 0.15 * build.stout
    low = 0.6 if build.coat else 0.86
    canvas.polygon([(0.5 - hip, low), (0.5 + hip, low), (0.5 + chest, 1.3), (0.57, 1.53),
                    (0.4, 1.53), (0.5 - chest, 1.3)], 200, TOP)  # fmt: skip
    if build.skirt:
        canvas.polygon([(0.36, 1.0), (0.64, 1.0), (0.72, 0.5), (0.28, 0.5)], 205, BOTTOM)
    if build.bag:
        canvas.box(0.5 - chest - 0.16, 1.0, 0.5 - chest + 0.03, 1.45, 200, BAG)
    arm = _limb((0.5, 1.45), 0.64, -swing * 0.9, -0.4)
    canvas.line(arm, 0.09, 235, TOP)
    canvas.disc(arm[-1], 0.05, 225, SKIN)
    canvas.box(0.46, 1.5, 0.54, 1.6, 200, SKIN)
    _head(canvas, (0.52, 1.7), build, 1)


def _person_front(canvas: Canvas, build: _Build, phase: int) -> None:
    lift = (0.07, 0.0, -0.07, 0.0)[phase]
    width = 0.14 * build.stout
    hip, chest = 0.17 * build.stout, 0.2 * build.stout
    for side in (-1, 1):
        foot = 0.05 + max(0.0, side * lift)
        x = 0.5 + side * 0.1 * build.stout
        canvas.line([(x, 0.9), (x, foot)], width, 215 if side > 0 else 185, BOTTOM)
        canvas.box(x - 0.06, foot - 0.05, x + 0.06, foot + 0.04, 45)
        hand = (0.5 + side * (chest + 0.09), 0.85 + side * lift)
        canvas.line([(0.5 + side * (chest - 0.02), 1.45), hand], 0.095, 190, TOP)
        canvas.disc(hand, 0.05, 225, SKIN)
    low = 0.58 if build.coat else 0.86
    canvas.polygon([(0.5 - hip, low), (0.5 + hip, low), (0.5 + chest, 1.42), (0.57, 1.54),
                    (0.43, 1.54), (0.5 - chest, 1.42)], 218, TOP)  # fmt: skip
    if not build.coat:
        canvas.box(0.5 - hip, 0.88, 0.5 + hip, 0.92, 60, BOTTOM)
    if build.skirt:
        canvas.polygon([(0.34, 1.0), (0.66, 1.0), (0.74, 0.5), (0.26, 0.5)], 205, BOTTOM)
    if build.bag:
        canvas.line([(0.5 - chest, 1.45), (0.5 + hip, 0.95)], 0.03, 120, BAG)
        canvas.box(0.5 + hip - 0.02, 0.75, 0.5 + hip + 0.16, 1.0, 200, BAG)
    canvas.box(0.46, 1.5, 0.54, 1.6, 200, SKIN)
    _head(canvas, (0.5, 1.7), build, 0)


def _cyclist_side(canvas: Canvas, build: _Build, index: int) -> None:
    x = 0.95 + (0.18, 0.32, 0.45)[index]
    hip, shoulder = (0.92, 0.98), (x, 1.43)
    canvas.line([hip, (1.22, 0.78), (1.08, 0.36), (1.18, 0.36)], 0.11, 150, BOTTOM)
    canvas.line([shoulder, (1.42, 1.1)], 0.08, 140, TOP)
    torso = [(0.8, 0.92), (1.04, 0.9), (x + 0.12, 1.35), (x, 1.52), (x - 0.16, 1.45)]
    canvas.polygon(torso, 215, TOP)
    canvas.line([hip, (1.28, 0.85), (1.14, 0.5), (1.24, 0.48)], 0.13, 220, BOTTOM)
    canvas.line([shoulder, (1.3, 1.12), (1.46, 1.08)], 0.09, 235, TOP)
    if build.bag:
        bag = [(0.76, 1.1), (0.86, 1.05), (x - 0.12, 1.5), (x - 0.28, 1.45)]
        canvas.polygon(bag, 200, BAG)
    _head(canvas, (x + 0.1, 1.66), build, 1)
    if index != 0:
        canvas.disc((x + 0.08, 1.75), 0.14, 225, BAG, radius_y=0.08)


def _rider_front(canvas: Canvas, build: _Build, index: int) -> None:
    for side in (-1, 1):
        leg = [(0.45 + side * 0.1, 0.95), (0.45 + side * 0.16, 0.75), (0.45 + side * 0.13, 0.35)]
        canvas.line(leg, 0.13, 200 + 15 * side, BOTTOM)
        canvas.line([(0.45 + side * 0.19, 1.42), (0.45 + side * 0.28, 1.15)], 0.1, 190, TOP)
    canvas.polygon([(0.27, 0.9), (0.63, 0.9), (0.67, 1.42), (0.54, 1.55), (0.36, 1.55),
                    (0.23, 1.42)], 215, TOP)  # fmt: skip
    _head(canvas, (0.45, 1.68), build, 0)
    if index != 0:
        canvas.disc((0.45, 1.75), 0.14, 225, BAG, radius_y=0.1)


def _bicycle_side(canvas: Canvas, index: int) -> None:
    for x in (0.55, 1.62):
        for spoke in range(6):
            up, right = (0.3 * part for part in cos_sin(spoke * 0.5236))
            canvas.line([(x - right, 0.35 - up), (x + right, 0.35 + up)], 0.02, 120)
        canvas.disc((x, 0.35), 0.31, 40, thickness=0.07)
        canvas.disc((x, 0.35), 0.05, 90)
        if index:
            canvas.line([(x - 0.25, 0.6), (x, 0.74), (x + 0.25, 0.6)], 0.04, 70)
    rear, front, crank = (0.55, 0.35), (1.62, 0.35), (1.02, 0.32)
    seat, head = (0.9, 0.88), (1.45, 0.9)
    for pair in ((rear, crank), (rear, seat), (crank, seat), (crank, head)):
        canvas.line(pair, 0.065, 225, 1)
    if index != 1:
        canvas.line([seat, head], 0.065, 235, 1)
    canvas.line([front, head, (1.42, 1.05)], 0.06, 215, 1)
    canvas.line([(1.3, 1.06), (1.5, 1.08)], 0.05, 60)
    canvas.line([(0.78, 0.95), (1.0, 0.95)], 0.08, 35)
    canvas.disc(crank, 0.1, 70)
    if index == 2:
        canvas.boxes((1.5, 0.85, 1.85, 1.05, 130, 0), (0.35, 0.72, 0.8, 0.78, 70, 0))


def _bicycle_front(canvas: Canvas) -> None:
    canvas.boxes((0.41, 0.0, 0.49, 0.7, 45, 0), (0.415, 0.4, 0.485, 1.0, 220, 1))
    canvas.line([(0.15, 1.05), (0.75, 1.05)], 0.06, 70)
    canvas.disc((0.45, 0.88), 0.07, 230, LAMP)
    canvas.line([(0.3, 0.3), (0.6, 0.42)], 0.05, 60)


def _motorcycle_side(canvas: Canvas, index: int) -> None:
    """Paint a naked bike, a scooter or a tourer with a case."""
    radius = 0.24 if index == 1 else 0.31
    for x in (0.45, 1.75):
        for share, grey in ((1.0, 32), (0.6, 140), (0.25, 50)):
            canvas.disc((x, radius), radius * share, grey)
    if index == 1:
        canvas.polygon([(0.2, 0.35), (0.9, 0.3), (1.3, 0.28), (1.3, 0.42), (0.95, 0.45),
                        (0.85, 0.75), (0.25, 0.75)], 225, 1)  # fmt: skip
        canvas.polygon([(1.25, 0.28), (1.5, 0.3), (1.62, 1.05), (1.48, 1.05)], 235, 1)
        canvas.polygon([(0.25, 0.75), (0.95, 0.75), (0.9, 0.86), (0.3, 0.86)], 40)
    else:
        canvas.polygon([(0.6, 0.25), (1.35, 0.25), (1.45, 0.55), (0.8, 0.65)], 70)
        canvas.disc((1.0, 0.4), 0.17, 110)
        canvas.line([(0.35, 0.28), (1.0, 0.3)], 0.09, 150)
        canvas.polygon([(0.9, 0.62), (1.45, 0.62), (1.48, 0.88), (1.2, 0.97), (0.95, 0.85)], 230, 1)
        canvas.polygon([(0.2, 0.85), (0.95, 0.75), (0.98, 0.86), (0.3, 0.95)], 38)
        canvas.polygon([(0.15, 0.7), (0.6, 0.68), (0.6, 0.82), (0.15, 0.88)], 205, 1)
    if index == 2:
        canvas.box(0.05, 0.82, 0.42, 1.15, 190, 1)
        canvas.polygon([(1.4, 0.8), (1.62, 0.8), (1.5, 1.3), (1.4, 1.25)], 225, 1)
    canvas.line([(1.75, radius), (1.45, 1.05)], 0.08, 120)
    canvas.line([(1.32, 1.08), (1.5, 1.06)], 0.07, 45)
    canvas.disc((1.6, 0.88), 0.1, 240, LAMP)
    canvas.box(0.12, 0.8, 0.2, 0.9, 230, TAIL_LAMP)
    canvas.polygon([(1.5, radius * 2.1), (2.0, radius * 1.9), (1.9, radius * 2.3)], 215, 1)


def _motorcycle_front(canvas: Canvas) -> None:
    canvas.box(0.36, 0.0, 0.54, 0.62, 34)
    canvas.polygon([(0.24, 0.3), (0.66, 0.3), (0.7, 0.8), (0.58, 1.05), (0.32, 1.05), (0.2, 0.8)],
                   225, 1)  # fmt: skip
    canvas.box(0.38, 0.0, 0.52, 0.5, 30)
    canvas.disc((0.45, 0.85), 0.13, 240, LAMP)
    canvas.line([(0.06, 1.1), (0.84, 1.1)], 0.07, 50)
    for x in (0.1, 0.8):
        canvas.disc((x, 1.22), 0.06, 70)


def _motorcyclist_side(canvas: Canvas, index: int) -> None:
    x = 0.74 + (0.35, 0.08, 0.22)[index]
    shoulder = (x, 1.42)
    torso = [(0.58, 0.88), (0.88, 0.86), (x + 0.17, 1.3), (x + 0.05, 1.52), (x - 0.18, 1.45)]
    canvas.polygon(torso, 215, TOP)
    foot = [(1.1, 0.42), (1.22, 0.42)] if index == 1 else [(0.92, 0.36), (1.06, 0.34)]
    canvas.line([(0.72, 0.95), (1.15, 0.85), *foot], 0.15, 220, BOTTOM)
    canvas.line(foot, 0.1, 50)
    canvas.line([shoulder, (1.2, 1.15), (1.4, 1.1)], 0.11, 235, TOP)
    canvas.disc(foot[0], 0.03, 60)
    if index == 2:
        canvas.box(x - 0.35, 1.0, x - 0.15, 1.45, 200, BAG)
    canvas.disc((x + 0.1, 1.68), 0.15, 230, BAG, radius_y=0.17)
    visor = [(x + 0.12, 1.63), (x + 0.25, 1.65), (x + 0.25, 1.75), (x + 0.13, 1.76)]
    canvas.polygon(visor, 30)
