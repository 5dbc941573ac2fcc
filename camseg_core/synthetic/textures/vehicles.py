# SPDX-License-Identifier: Apache-2.0
"""Textures of vehicles.

Slots: 1 paint, 2 second paint, 3 glass, 4 trim, 6 headlights, 7 tail lights.

Sides are painted with the front to the right; lengths are shares of the vehicle's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, Canvas, Texture

PAINT, SECOND, GLASS, TRIM = 1, 2, 3, 4


def vehicle_textures(seed: int) -> dict[str, Sequence[Texture]]:
    """Paint the vehicles of a drive."""
    car_front, car_rear = partial(_car_end, front=True), partial(_car_end, front=False)
    bus_front, bus_rear = partial(_bus_end, front=True), partial(_bus_end, front=False)
    textures: dict[str, Sequence[Texture]] = {
        "glass side": [_glass((0.06, 0.36), (0.4, 0.68), (0.72, 0.94))],
        "glass": [_glass((0.05, 0.95))],
    }
    for name, paint, count, width, height, grey, dirt in (
        ("car side", _car_side, 3, 128, 64, 235, "car {}"),
        ("car front", car_front, 3, 64, 32, 230, "car end {}"),
        ("car rear", car_rear, 3, 64, 32, 230, "car end {}"),
        ("van rear", _van_rear, 1, 64, 64, 232, "van rear"),
        ("van side", _van_side, 2, 128, 64, 232, "van {}"),
        ("bus side", _bus_side, 3, 256, 64, 235, "bus {}"),
        ("bus front", bus_front, 1, 64, 64, 235, "bus end True"),
        ("bus rear", bus_rear, 1, 64, 64, 235, "bus end False"),
        ("train side", _train_side, 3, 256, 64, 235, "train {}"),
        ("train front", _train_front, 2, 64, 64, 235, "train front {}"),
        ("cab side", _cab_side, 1, 64, 64, 235, "cab side"),
        ("cab front", _cab_front, 2, 64, 64, 235, "cab front {}"),
        ("cargo side", _cargo_side, 4, 128, 64, 230, "cargo {}"),
        ("cargo rear", _cargo_rear, 2, 64, 64, 228, "cargo rear {}"),
    ):
        # Paint reflects the sky above and the road below, with a little dirt.
        fall = np.linspace(1.06, 0.74, height, dtype=np.float32)[:, None]
        painted = []
        for index in range(count):
            canvas = Canvas(width, height, 1.0, 1.0, grey, PAINT)
            paint(canvas, seed, index)
            random = generator(seed, "vehicle noise", dirt.format(index))
            painted.append(canvas.texture(fall * (0.98 + 0.05 * canvas.noise(random, 4, 3))))
        textures[name] = painted
    return textures


def _wheels(
    canvas: Canvas, places: Sequence[float], radius_x: float, radius_y: float, under: float
) -> None:
    """Paint wheels around ``places``; what is below ``under`` between them is cut out."""
    for x in places:
        for share, grey in ((1.22, 22), (1.0, 34), (0.62, 150), (0.3, 60)):
            canvas.disc((x, radius_y), radius_x * share, grey, radius_y=radius_y * share)
    edges = [0.0, *(x + side * radius_x for x in places for side in (-1, 1)), 1.0]
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        if right > left:
            canvas.erase([(left, 0), (right, 0), (right, under), (left, under)])


def _tyres(
    canvas: Canvas, places: tuple[float, float], width: float, height: float, under: float
) -> None:
    """Paint tyres as seen along the vehicle; what is below ``under`` between them is cut out."""
    for x in places:
        canvas.box(x, 0, x + width, height, 25)
    left, right = places[0] + width, places[1]
    canvas.erase([(left, 0), (right, 0), (right, under), (left, under)])


def _car_side(canvas: Canvas, seed: int, index: int) -> None:
    """Paint the body up to the windows; height 1 is the belt line."""
    draw = Draw(seed, "car side", index)
    wheels = (0.19 + draw.uniform(-0.015, 0.015), 0.81 + draw.uniform(-0.015, 0.015))
    sill = (0, 0.3, 1, 0.42, 90, TRIM) if draw.chance(0.5) else (0, 0.26, 1, 0.32, 150, PAINT)
    canvas.boxes((0, 0, 1, 0.3, 60, 0), sill)
    for x in (0.36, 0.53, 0.7):
        canvas.line([(x, 0.32), (x, 1.0)], 0.008, 110, PAINT)
    canvas.boxes(
        (0.4, 0.78, 0.445, 0.84, 90, TRIM), (0.57, 0.78, 0.615, 0.84, 90, TRIM),
        (0.0, 0.66, 1.0, 0.7, 250, PAINT), (0.94, 0.62, 1.0, 0.84, 235, LAMP),
        (0.0, 0.64, 0.045, 0.88, 200, TAIL_LAMP),
    )  # fmt: skip
    canvas.polygon([(0.96, 1), (1, 1), (1, 0.9)], 0)
    canvas.erase([(0.95, 1.02), (1.01, 1.02), (1.01, 0.86)])
    canvas.erase([(-0.01, 1.02), (0.025, 1.02), (-0.01, 0.88)])
    _wheels(canvas, wheels, 0.075, 0.36, 0.2)


def _car_end(canvas: Canvas, seed: int, index: int, front: bool) -> None:
    draw = Draw(seed, "car end", index, int(front))
    canvas.box(0, 0, 1, 0.32, 70)
    lamp = LAMP if front else TAIL_LAMP
    high, low = draw.uniform(0.78, 0.9), draw.uniform(0.52, 0.62)
    inner = draw.uniform(0.2, 0.3)
    canvas.boxes((0.03, low, inner, high, 240, lamp), (1 - inner, low, 0.97, high, 240, lamp))
    if front:
        left, right = inner + 0.03, 0.97 - inner
        canvas.boxes(
            (left, low + 0.02, right, high, 35, 0), (0.2, 0.24, 0.8, 0.42, 40, 0),
            (left, low + 0.12, right, low + 0.16, 190, TRIM),
        )  # fmt: skip
    else:
        canvas.line([(0.05, 0.5), (0.95, 0.5)], 0.012, 120, PAINT)
    canvas.boxes((0.39, 0.42, 0.61, 0.54, 225, 0), (0.42, 0.45, 0.58, 0.51, 120, 0))
    _tyres(canvas, (0.04, 0.8), 0.16, 0.26, 0.18)


def _glass(*windows: tuple[float, float]) -> Texture:
    """Paint windows, each from left to right, between posts."""
    canvas = Canvas(64, 32, 1.0, 1.0, 210, PAINT)
    for left, right in windows:
        canvas.box(left, 0.06, right, 0.92, 220, GLASS)
        canvas.polygon([(left, 0.5), (right, 0.75), (right, 0.92), (left, 0.92)], 255, GLASS)
    fall = np.linspace(1.0, 0.7, 32, dtype=np.float32)[:, None]
    return canvas.texture(fall)


def _van_side(canvas: Canvas, seed: int, index: int) -> None:
    """Paint a delivery van from the ground to the roof, with a sloping bonnet."""
    side = (0.05, 0.35, 0.6, 0.75, 215, SECOND) if index else (0.1, 0.58, 0.62, 0.86, 215, GLASS)
    canvas.boxes((0, 0, 1, 0.16, 70, 0), side)
    canvas.polygon([(0.68, 0.55), (0.9, 0.55), (0.83, 0.88), (0.68, 0.88)], 225, GLASS)
    canvas.line([(0.66, 0.15), (0.66, 0.95)], 0.008, 110, PAINT)
    canvas.boxes((0.97, 0.33, 1, 0.45, 235, LAMP), (0, 0.35, 0.02, 0.6, 210, TAIL_LAMP))
    canvas.erase([(0.86, 1.01), (1.01, 1.01), (1.01, 0.5), (0.96, 0.55)])
    _wheels(canvas, (0.2, 0.82), 0.065, 0.165, 0.1)


def _van_rear(canvas: Canvas, seed: int, index: int) -> None:
    """Paint two doors with a window each, tall lamps at the edges, and a bumper."""
    canvas.boxes(
        (0, 0.08, 1, 0.2, 70, 0), (0.49, 0.2, 0.51, 0.95, 90, PAINT),
        (0.16, 0.58, 0.45, 0.86, 225, GLASS), (0.55, 0.58, 0.84, 0.86, 225, GLASS),
        (0.02, 0.3, 0.1, 0.55, 235, TAIL_LAMP), (0.9, 0.3, 0.98, 0.55, 235, TAIL_LAMP),
        (0.38, 0.3, 0.62, 0.37, 225, 0),
    )  # fmt: skip
    _tyres(canvas, (0.05, 0.78), 0.17, 0.1, 0.08)


def _bus_side(canvas: Canvas, seed: int, index: int) -> None:
    draw = Draw(seed, "bus side", index)
    canvas.box(0, 0.05, 1, draw.uniform(0.25, 0.42), 225, SECOND)
    bottom = draw.uniform(0.42, 0.48)
    for window in range(8):
        x = 0.02 + window * 0.12
        canvas.box(x, bottom, x + 0.115, 0.86, 225, LAMP if window % 3 else GLASS)
        canvas.polygon([(x, 0.6), (x + 0.115, 0.74), (x + 0.115, 0.86), (x, 0.86)], 250, GLASS)
    for x in (0.9, 0.52, 0.12)[: 2 + index % 2]:
        canvas.boxes(
            (x, 0.1, x + 0.075, 0.86, 60, 0), (x + 0.006, 0.14, x + 0.034, 0.82, 225, GLASS),
            (x + 0.041, 0.14, x + 0.069, 0.82, 225, GLASS),
        )  # fmt: skip
    canvas.boxes((0, 0.06, 1, 0.1, 90, TRIM), (0.99, 0.2, 1, 0.28, 230, LAMP))
    if index == 1:
        canvas.box(0.3, 0.14, 0.62, 0.4, 240, TRIM)
    _wheels(canvas, (0.26, 0.8), 0.04, 0.15, 0.07)


def _bus_end(canvas: Canvas, seed: int, index: int, front: bool) -> None:
    canvas.box(0, 0.05, 1, 0.3, 225, SECOND)
    if front:
        canvas.box(0.05, 0.33, 0.95, 0.82, 235, GLASS)
        canvas.polygon([(0.05, 0.6), (0.95, 0.7), (0.95, 0.82), (0.05, 0.82)], 255, GLASS)
        canvas.boxes((0.49, 0.33, 0.51, 0.82, 40, 0), (0.15, 0.85, 0.85, 0.96, 20, 0))
        for letter in range(7):
            canvas.box(0.2 + 0.085 * letter, 0.88, 0.25 + 0.085 * letter, 0.93, 250, LAMP)
    else:
        canvas.boxes((0.12, 0.55, 0.88, 0.85, 225, GLASS), (0.2, 0.15, 0.8, 0.4, 80, TRIM))
    lamp = LAMP if front else TAIL_LAMP
    canvas.boxes(
        (0.04, 0.16, 0.2, 0.26, 245, lamp), (0.8, 0.16, 0.96, 0.26, 245, lamp),
        (0, 0.05, 1, 0.1, 50, 0),
    )  # fmt: skip
    _tyres(canvas, (0.05, 0.8), 0.15, 0.08, 0.06)


def _train_side(canvas: Canvas, seed: int, index: int) -> None:
    """Paint one car of a tram or train: closed skirt, a line of windows, double doors, bands."""
    draw = Draw(seed, "train side", index)
    canvas.boxes(
        (0, 0, 1, 0.12, 60, 0), (0, 0.12, 1, draw.uniform(0.2, 0.3), 220, SECOND),
        (0, 0.5, 1, 0.8, 45 if index else 200, TRIM),
    )  # fmt: skip
    for window in range(6):
        x = 0.025 + window / 6
        canvas.box(x, 0.52, x + 0.115, 0.78, 225, LAMP if draw.chance(0.7) else GLASS)
    for x in (0.2, 0.7):
        canvas.boxes(
            (x, 0.1, x + 0.09, 0.84, 215, SECOND), (x + 0.008, 0.3, x + 0.04, 0.8, 225, LAMP),
            (x + 0.05, 0.3, x + 0.082, 0.8, 225, LAMP), (x + 0.043, 0.1, x + 0.047, 0.84, 30, 0),
        )  # fmt: skip
    canvas.boxes(
        (0, 0.86, 1, 0.92, 220, SECOND), (0, 0.08, 0.015, 1, 35, 0), (0.985, 0.08, 1, 1, 35, 0)
    )
    for x in (0.14, 0.24, 0.76, 0.86):
        canvas.disc((x, 0.06), 0.018, 40, radius_y=0.075)


def _train_front(canvas: Canvas, seed: int, index: int) -> None:
    canvas.boxes((0, 0, 1, 0.1, 45, 0), (0, 0.1, 1, 0.4, 225, SECOND))
    canvas.polygon([(0.06, 0.42), (0.94, 0.42), (0.86, 0.84), (0.14, 0.84)], 30)
    canvas.polygon([(0.1, 0.45), (0.9, 0.45), (0.83, 0.8), (0.17, 0.8)], 225, GLASS)
    canvas.boxes((0.3, 0.87, 0.7, 0.96, 20, 0), (0.36, 0.89, 0.64, 0.94, 250, LAMP))
    for x in (0.12, 0.78):
        canvas.disc((x + 0.05, 0.24), 0.05, 250, LAMP)
    if index:
        canvas.disc((0.5, 0.93), 0.05, 250, LAMP)
        canvas.box(0.47, 0.1, 0.53, 0.42, 60)


def _cab_side(canvas: Canvas, seed: int, index: int) -> None:
    canvas.box(0, 0, 1, 0.14, 50)
    canvas.polygon([(0.35, 0.55), (0.92, 0.55), (0.86, 0.85), (0.35, 0.85)], 230, GLASS)
    canvas.line([(0.3, 0.2), (0.3, 0.92)], 0.014, 110, PAINT)
    canvas.box(0.35, 0.46, 0.45, 0.49, 60, TRIM)
    _wheels(canvas, (0.55,), 0.24, 0.17, 0.1)


def _cab_front(canvas: Canvas, seed: int, index: int) -> None:
    canvas.boxes((0, 0.06, 1, 0.16, 60, 0), (0.07, 0.54, 0.93, 0.85, 235, GLASS))
    canvas.polygon([(0.07, 0.68), (0.93, 0.78), (0.93, 0.85), (0.07, 0.85)], 255, GLASS)
    canvas.box(0.2, 0.24, 0.8, 0.48, 40 if index else 180, TRIM)
    for y in (0.3, 0.36, 0.42):
        canvas.box(0.2, y, 0.8, y + 0.02, 130, TRIM)
    canvas.boxes((0.04, 0.17, 0.18, 0.25, 245, LAMP), (0.82, 0.17, 0.96, 0.25, 245, LAMP))
    _tyres(canvas, (0.05, 0.8), 0.15, 0.08, 0.06)


def _cargo_side(canvas: Canvas, seed: int, index: int) -> None:
    """Paint a box, a curtain, an open bed with boards, or a tank; with chassis and wheels."""
    draw = Draw(seed, "cargo side", index)
    if index == 1:
        for fold in range(24):
            canvas.box(fold / 24, 0.25, (fold + 0.35) / 24, 0.97, 200, PAINT)
    if index == 2:
        for board in range(5):
            canvas.box(0, 0.28 + 0.1 * board, 1, 0.3 + 0.1 * board, 120, PAINT)
        canvas.erase([(0, 0.78), (1, 0.78), (1, 1.01), (0, 1.01)])
    if index in (0, 1) and draw.chance(0.7):
        canvas.box(0.2, 0.45, 0.8, 0.8, 230, SECOND)
        for letter in range(6):
            canvas.box(0.25 + 0.09 * letter, 0.55, 0.31 + 0.09 * letter, 0.7, 225, TRIM)
    if index == 3:
        canvas.boxes(
            (0, 0.24, 1, 1, 245, PAINT), (0, 0.24, 1, 0.4, 140, PAINT),
            (0, 0.75, 1, 0.85, 255, PAINT),
        )  # fmt: skip
        canvas.erase([(-0.01, 1.01), (0.06, 1.01), (-0.01, 0.8)])
        canvas.erase([(1.01, 1.01), (0.94, 1.01), (1.01, 0.8)])
    canvas.box(0, 0.14, 1, 0.24, 45)
    _wheels(canvas, (0.14, 0.27, 0.84) if index % 2 else (0.2, 0.84), 0.06, 0.12, 0.15)


def _cargo_rear(canvas: Canvas, seed: int, index: int) -> None:
    canvas.boxes((0, 0.12, 1, 0.24, 45, 0), (0.49, 0.24, 0.51, 0.97, 90, PAINT))
    if index:
        for rib in range(6):
            canvas.box(0.04, 0.3 + 0.11 * rib, 0.96, 0.32 + 0.11 * rib, 150, PAINT)
    canvas.boxes(
        (0.3, 0.28, 0.33, 0.92, 150, TRIM), (0.68, 0.28, 0.71, 0.92, 150, TRIM),
        (0.03, 0.15, 0.17, 0.22, 240, TAIL_LAMP), (0.83, 0.15, 0.97, 0.22, 240, TAIL_LAMP),
        (0.4, 0.14, 0.6, 0.2, 220, 0),
    )  # fmt: skip
    _tyres(canvas, (0.06, 0.74), 0.2, 0.14, 0.12)
