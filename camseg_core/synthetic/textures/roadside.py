# SPDX-License-Identifier: Apache-2.0
"""Textures of house fronts, traffic signs and traffic lights.

Slots of fronts: 1 wall, 2 frames, 3 doors and shops, 4 balconies, 6 and 7 panes. Slots of signs:
1 the sign's ground, 2 its rim or arrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, Canvas, Point, Texture

BAYS = 4
STOREYS = 4
SIGN_SHAPES = ("round", "round", "triangle", "yield", "octagon", "diamond", "square", "board")
FACADE_STYLES = ("flat", "brick", "arched", "band", "glass", "balcony", "shutter", "old")


def roadside_textures(seed: int) -> dict[str, Sequence[Texture]]:
    """Paint what lines the roads of a drive.

    ``facade`` covers 4 x 4 windows, ``ground floor`` 4 bays.
    """
    return {
        "facade": [_facade(seed, style) for style in FACADE_STYLES],
        "ground floor": [_ground_floor(seed, index) for index in range(6)],
        "hall": [_hall(seed, index) for index in range(2)],
        "roof": [_roof(seed)],
        "sign": [_sign(seed, index, shape) for index, shape in enumerate(SIGN_SHAPES)],
        "sign back": [_sign_back(shape) for shape in SIGN_SHAPES],
        "direction board": [_board(seed, index) for index in range(3)],
        "traffic light": [_light(state) for state in range(3)],
        "traffic light back": [_light(None)],
    }


def _facade(seed: int, style: str) -> Texture:
    draw = Draw(seed, "facade", style)
    random = generator(seed, "facade noise", style)
    canvas = Canvas(128, 128, BAYS, STOREYS, 225, 1)
    texture = 0.92 + 0.13 * canvas.noise(random, 8, 5, 0.7)
    if style in ("brick", "old"):
        texture[::4] *= np.float32(0.82)
        texture *= 0.9 + 0.2 * random.random((128, 128), dtype=np.float32)
    width = {"band": 0.98, "glass": 0.94}.get(style, draw.uniform(0.36, 0.6))
    height = {"band": 0.42, "glass": 0.86}.get(style, draw.uniform(0.45, 0.66))
    sill = {"glass": 0.08}.get(style, draw.uniform(0.22, 0.3))
    frame = 0.03 if style in ("band", "glass") else 0.06
    if style == "old" or draw.chance(0.4):
        for storey in range(STOREYS):
            canvas.box(0, storey, BAYS, storey + 0.07, 210, 2)
    for storey, bay in product(range(STOREYS), range(BAYS)):
        left, bottom = bay + (1 - width) / 2, storey + sill
        right, top, middle = left + width, bottom + height, left + width / 2
        canvas.box(left - frame, bottom - frame, right + frame, top + frame, 205, 2)
        slot = LAMP if draw.chance(0.45) else TAIL_LAMP
        canvas.box(left, bottom, right, top, 120 + draw.integer(120), slot)
        if style == "arched":
            canvas.disc((middle, top), width / 2, 170, slot)
        if draw.chance(0.35):  # a blind or a curtain
            canvas.box(left, top - height * draw.uniform(0.2, 0.7), right, top, 190)
        if style not in ("band", "glass"):
            canvas.box(middle - 0.02, bottom, middle + 0.02, top, 190, 2)
        if style == "shutter":
            for x in (left - 0.22, right + frame):
                canvas.box(x, bottom, x + 0.22 - frame, top, 200, 3)
        canvas.box(left - frame, bottom - frame - 0.05, right + frame, bottom - frame, 110, 1)
        if style == "balcony" and bay % 2 == 0:
            canvas.box(bay + 0.08, storey, bay + 0.92, storey + 0.38, 200, 4)
            canvas.box(bay + 0.08, storey, bay + 0.92, storey + 0.05, 90, 1)
    return canvas.texture(texture)


def _ground_floor(seed: int, index: int) -> Texture:
    """Paint shops with signs and awnings, entrances, garage doors, windows."""
    draw = Draw(seed, "ground floor", index)
    canvas = Canvas(128, 32, BAYS, 1.0, 215, 1)
    kind = ("shop", "shop", "shop", "entrance", "garage", "window")[index]
    for bay in range(BAYS):
        if kind == "shop":
            canvas.box(bay + 0.06, 0.1, bay + 0.94, 0.72, 160 + draw.integer(80), LAMP)
            canvas.box(bay + 0.02, 0.76, bay + 0.98, 0.94, 230, 3 if draw.chance(0.6) else 4)
            for letter in range(5):
                x = bay + 0.2 + 0.12 * letter
                canvas.box(x, 0.81, x + draw.uniform(0.04, 0.09), 0.89, 60 + draw.integer(190))
            if draw.chance(0.4):
                canvas.box(bay + 0.66, 0.02, bay + 0.92, 0.7, 120, 3)
            if draw.chance(0.4):
                for stripe in range(6):
                    x = bay + stripe / 6
                    canvas.box(x, 0.6, x + 1 / 6, 0.76, 240 if stripe % 2 else 150, 4)
        elif kind == "garage" and bay % 2 == 0:
            canvas.box(bay + 0.1, 0.0, bay + 1.5, 0.75, 180, 3)
            for y in range(1, 6):
                canvas.box(bay + 0.1, 0.125 * y, bay + 1.5, 0.125 * y + 0.03, 110, 3)
        elif kind == "entrance" and bay == 1:
            canvas.box(bay + 0.15, 0.0, bay + 0.85, 0.8, 90, 2)
            canvas.box(bay + 0.22, 0.0, bay + 0.78, 0.72, 190, 3)
            canvas.box(bay + 0.3, 0.4, bay + 0.7, 0.66, 150, TAIL_LAMP)
        elif kind != "garage":
            canvas.box(bay + 0.22, 0.28, bay + 0.78, 0.8, 210, 2)
            canvas.box(bay + 0.27, 0.33, bay + 0.73, 0.75, 160, TAIL_LAMP)
    canvas.box(0, 0, BAYS, 0.06, 130, 1)
    plaster = canvas.noise(generator(seed, "ground floor noise", index), 8, 4, 0.7)
    return canvas.texture(0.93 + 0.12 * plaster)


def _hall(seed: int, index: int) -> Texture:
    """Paint a large plain front of sheet metal or concrete with a band of windows."""
    draw = Draw(seed, "hall", index)
    canvas = Canvas(128, 64, 8.0, 1.0, 220, 1)
    canvas.box(0.5, 0.68, 7.5, 0.85, 150, TAIL_LAMP)
    for bay in range(8):
        canvas.box(bay + 0.96, 0.66, bay + 1.04, 0.87, 200, 1)
    for x in (1.0, 4.6):
        canvas.boxes((x, 0.0, x + 1.4, 0.5, 190, 3), (x, 0.47, x + 1.4, 0.5, 90, 3))
    if draw.chance(0.7):
        canvas.box(5.0, 0.88, 7.0, 0.98, 235, 4)
    sheet = 0.92 + 0.16 * canvas.noise(generator(seed, "hall noise", index), 4, 4)
    sheet[:, :: 4 if index else 16] *= np.float32(0.8)  # ribs
    return canvas.texture(sheet)


def _roof(seed: int) -> Texture:
    canvas = Canvas(64, 64, 1.0, 1.0, 215, 1)
    tiles = 0.9 + 0.25 * canvas.noise(generator(seed, "roof noise"), 16, 3)
    tiles *= np.where(np.arange(64) % 6 == 0, np.float32(0.7), 1)[:, None]
    tiles *= np.where(np.arange(64) % 5 == 0, np.float32(0.9), 1)
    return canvas.texture(tiles)


CORNERS: dict[str, list[Point]] = {
    "triangle": [(-1.0, -0.85), (1.0, -0.85), (0.0, 0.95)],
    "yield": [(-1.0, 0.85), (1.0, 0.85), (0.0, -0.95)],
    "diamond": [(-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0)],
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "board": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "octagon": [cos_sin(6.283185307 * (corner + 0.5) / 8) for corner in range(8)],
    "round": [cos_sin(6.283185307 * (corner + 0.5) / 24) for corner in range(24)],
}
"""Corners of each shape of sign, in units of its half-width."""


def _outline(shape: str, size: float) -> list[Point]:
    """Return the corners of a sign of half-width ``size`` around (0.5, 0.5)."""
    return [(0.5 + size * x, 0.5 + size * y) for x, y in CORNERS[shape]]


def _sign(seed: int, index: int, shape: str) -> Texture:
    draw = Draw(seed, "sign", index)
    canvas = Canvas(64, 64, 1.0, 1.0)
    canvas.polygon(_outline(shape, 0.49), 225, 2)
    inner = 0.36 if shape in ("round", "triangle", "yield") else 0.43
    canvas.polygon(_outline(shape, inner), 235, 1)
    kind = draw.integer(4)
    if shape == "octagon":
        for letter in range(4):
            canvas.box(0.16 + 0.18 * letter, 0.4, 0.28 + 0.18 * letter, 0.6, 245)
    elif shape == "diamond":
        canvas.polygon(_outline(shape, 0.3), 235, 2)
    elif shape == "board" or kind == 0:
        for row in range(3):
            width = draw.uniform(0.25, 0.5)
            canvas.box(0.22, 0.3 + 0.16 * row, 0.22 + width, 0.37 + 0.16 * row, 40)
    elif kind == 1:
        canvas.line([(0.5, 0.25), (0.5, 0.68)], 0.08, 30)
        canvas.polygon([(0.36, 0.6), (0.64, 0.6), (0.5, 0.78)], 30)
    elif kind == 2:
        canvas.boxes((0.36, 0.36, 0.48, 0.64, 30, 0), (0.56, 0.36, 0.68, 0.64, 30, 0))
    else:
        canvas.disc((0.5, 0.62), 0.07, 30)
        canvas.line([(0.5, 0.55), (0.5, 0.4), (0.4, 0.28)], 0.07, 30)
        canvas.line([(0.5, 0.4), (0.6, 0.28)], 0.07, 30)
    return canvas.texture()


def _sign_back(shape: str) -> Texture:
    canvas = Canvas(64, 64, 1.0, 1.0)
    canvas.polygon(_outline(shape, 0.49), 120)
    canvas.polygon(_outline(shape, 0.45), 140)
    canvas.boxes((0.1, 0.46, 0.9, 0.52, 100, 0), (0.46, 0.1, 0.54, 0.9, 115, 0))
    return canvas.texture()


def _board(seed: int, index: int) -> Texture:
    """Paint a direction board with places and arrows."""
    draw = Draw(seed, "direction board", index)
    canvas = Canvas(128, 64, 2.0, 1.0, 225, 2)
    canvas.box(0.05, 0.06, 1.95, 0.94, 235, 1)
    for row in range(2 + index % 2):
        y = 0.66 - 0.25 * row
        x = 0.4
        while x < 1.2:
            width = draw.uniform(0.06, 0.2)
            canvas.box(x, y, x + width, y + 0.12, 245, 2)
            x += width + 0.05
        canvas.line([(1.45, y + 0.06), (1.75, y + 0.06)], 0.05, 245, 2)
        canvas.polygon([(1.7, y - 0.04), (1.7, y + 0.16), (1.88, y + 0.06)], 245, 2)
        canvas.polygon([(0.12, y), (0.28, y), (0.2, y + 0.14)], 245, 2)
    return canvas.texture(1 + 0.04 * canvas.noise(generator(seed, "board"), 8, 2))


def _light(lit: int | None) -> Texture:
    """Paint a case with three lamps, red on top, of which ``lit`` burns; None paints the back."""
    canvas = Canvas(32, 64, 0.5, 1.0, 200, 1)
    canvas.box(0, 0, 0.5, 0.03, 120, 1)
    if lit is None:
        canvas.box(0.06, 0.06, 0.44, 0.94, 150, 1)
        return canvas.texture()
    dim = ((70, 14, 12), (72, 52, 10), (12, 60, 30))
    for lamp in range(3):
        center = (0.25, 0.82 - 0.32 * lamp)
        canvas.disc(center, 0.18, 25)
        if lamp == lit:
            canvas.disc(center, 0.15, 255, LAMP)
        else:
            canvas.disc(center, 0.13, dim[lamp])
        canvas.box(0.08, center[1] + 0.12, 0.42, center[1] + 0.16, 40)
    return canvas.texture()
