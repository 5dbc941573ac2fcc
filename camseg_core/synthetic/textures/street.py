# SPDX-License-Identifier: Apache-2.0
"""Textures of traffic signs and traffic lights. Slots: 1 the sign's ground, 2 its rim or arrow."""

from __future__ import annotations

from collections.abc import Sequence

from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import LAMP, Canvas, Point, Texture

SIGN_SHAPES = ("round", "round", "triangle", "yield", "octagon", "diamond", "square", "board")


def street_textures(seed: int) -> dict[str, Sequence[Texture]]:
    """Paint signs of every shape, their backs, direction boards, and traffic lights."""
    return {
        "sign": [_sign(seed, index, shape) for index, shape in enumerate(SIGN_SHAPES)],
        "sign back": [_sign_back(shape) for shape in SIGN_SHAPES],
        "direction board": [_board(seed, index) for index in range(3)],
        "traffic light": [_light(state) for state in range(3)],
        "traffic light back": [_light(None)],
    }


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
        for x in (0.36, 0.56):
            canvas.box(x, 0.36, x + 0.12, 0.64, 30)
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
