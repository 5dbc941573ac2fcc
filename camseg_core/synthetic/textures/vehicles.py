# SPDX-License-Identifier: Apache-2.0
"""Textures of vehicles.

Slots: 1 paint, 2 second paint, 3 glass, 4 trim, 6 headlights, 7 tail lights.

Sides are painted with the front to the right; lengths are shares of the vehicle's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, Canvas, Picture, noise

GLASS = 3
TRIM = 4


def vehicle_pictures(seed: int) -> dict[str, Sequence[Picture]]:
    """Paint the vehicles of a drive."""
    return {
        "car side": [_car_side(seed, index) for index in range(3)],
        "car front": [_car_end(seed, index, True) for index in range(3)],
        "car rear": [_car_end(seed, index, False) for index in range(3)],
        "glass side": [_glass(seed, True)],
        "glass": [_glass(seed, False)],
        "van rear": [_van_rear(seed)],
        "van side": [_van_side(seed, index) for index in range(2)],
        "bus side": [_bus_side(seed, index) for index in range(3)],
        "bus front": [_bus_end(seed, True)],
        "bus rear": [_bus_end(seed, False)],
        "train side": [_train_side(seed, index) for index in range(3)],
        "train front": [_train_front(seed, index) for index in range(2)],
        "cab side": [_cab_side(seed)],
        "cab front": [_cab_front(seed, index) for index in range(2)],
        "cargo side": [_cargo_side(seed, index) for index in range(4)],
        "cargo rear": [_cargo_rear(seed, index) for index in range(2)],
    }


def _shade(
    seed: int, name: str, height: int, width: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Paint reflects the sky above and the road below, with a little dirt."""
    random = generator(seed, "vehicle noise", name)
    fall = np.linspace(1.06, 0.74, height, dtype=np.float32)[:, None]
    return fall * (0.98 + 0.05 * noise(random, height, width, 4, 3))


def _wheel(canvas: Canvas, x: float, radius_x: float, radius_y: float) -> None:
    canvas.disc((x, radius_y), radius_x * 1.22, 22, radius_y=radius_y * 1.22)
    canvas.disc((x, radius_y), radius_x, 34, radius_y=radius_y)
    canvas.disc((x, radius_y), radius_x * 0.62, 150, radius_y=radius_y * 0.62)
    canvas.disc((x, radius_y), radius_x * 0.3, 60, radius_y=radius_y * 0.3)


def _under(canvas: Canvas, y: float, wheels: Sequence[float], radius: float) -> None:
    """Cut out what is below the body between the wheels."""
    edges = [0.0, *(x + side * radius for x in wheels for side in (-1, 1)), 1.0]
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        if right > left:
            canvas.erase([(left, 0), (right, 0), (right, y), (left, y)])


def _car_side(seed: int, index: int) -> Picture:
    """The body up to the windows; height 1 is the belt line."""
    draw = Draw(seed, "car side", index)
    canvas = Canvas(128, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    wheels = (0.19 + draw.uniform(-0.015, 0.015), 0.81 + draw.uniform(-0.015, 0.015))
    canvas.box(0, 0, 1, 0.3, 60)
    if draw.chance(0.5):
        canvas.box(0, 0.3, 1, 0.42, 90, TRIM)
    else:
        canvas.box(0, 0.26, 1, 0.32, 150, 1)
    for x in (0.36, 0.53, 0.7):
        canvas.line([(x, 0.32), (x, 1.0)], 0.008, 110, 1)
    for x in (0.4, 0.57):
        canvas.box(x, 0.78, x + 0.045, 0.84, 90, TRIM)
    canvas.box(0.0, 0.66, 1.0, 0.7, 250, 1)
    canvas.box(0.94, 0.62, 1.0, 0.84, 235, LAMP)
    canvas.box(0.0, 0.64, 0.045, 0.88, 200, TAIL_LAMP)
    for x in wheels:
        _wheel(canvas, x, 0.075, 0.36)
    canvas.polygon([(0.96, 1), (1, 1), (1, 0.9)], 0)
    canvas.erase([(0.95, 1.02), (1.01, 1.02), (1.01, 0.86)])
    canvas.erase([(-0.01, 1.02), (0.025, 1.02), (-0.01, 0.88)])
    _under(canvas, 0.2, wheels, 0.075)
    return canvas.picture(_shade(seed, f"car {index}", 64, 128))


def _car_end(seed: int, index: int, front: bool) -> Picture:
    draw = Draw(seed, "car end", index, int(front))
    canvas = Canvas(64, 32, 1.0, 1.0, 230)
    canvas.slots[:] = 1
    canvas.box(0, 0, 1, 0.32, 70)
    lamp = LAMP if front else TAIL_LAMP
    high, low = draw.uniform(0.78, 0.9), draw.uniform(0.52, 0.62)
    inner = draw.uniform(0.2, 0.3)
    canvas.box(0.03, low, inner, high, 240, lamp)
    canvas.box(1 - inner, low, 0.97, high, 240, lamp)
    if front:
        canvas.box(inner + 0.03, low + 0.02, 0.97 - inner, high, 35)
        canvas.box(inner + 0.03, low + 0.12, 0.97 - inner, low + 0.16, 190, TRIM)
        canvas.box(0.2, 0.24, 0.8, 0.42, 40)
    else:
        canvas.line([(0.05, 0.5), (0.95, 0.5)], 0.012, 120, 1)
    canvas.box(0.39, 0.42, 0.61, 0.54, 225)
    canvas.box(0.42, 0.45, 0.58, 0.51, 120)
    for x in (0.04, 0.8):
        canvas.box(x, 0, x + 0.16, 0.26, 25)
    canvas.erase([(0.2, 0), (0.8, 0), (0.8, 0.18), (0.2, 0.18)])
    return canvas.picture(_shade(seed, f"car end {index}", 32, 64))


def _glass(seed: int, side: bool) -> Picture:
    """Windows between posts; a side has three."""
    canvas = Canvas(64, 32, 1.0, 1.0, 210)
    canvas.slots[:] = 1
    edges = (0.06, 0.36, 0.4, 0.68, 0.72, 0.94) if side else (0.05, 0.95)
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        canvas.box(left, 0.06, right, 0.92, 220, GLASS)
        canvas.polygon([(left, 0.5), (right, 0.75), (right, 0.92), (left, 0.92)], 255, GLASS)
    fall = np.linspace(1.0, 0.7, 32, dtype=np.float32)[:, None]
    return canvas.picture(fall * np.ones((32, 64), np.float32), cut=False)


def _van_side(seed: int, index: int) -> Picture:
    """A delivery van from the ground to the roof, with a sloping bonnet."""
    canvas = Canvas(128, 64, 1.0, 1.0, 232)
    canvas.slots[:] = 1
    canvas.box(0, 0, 1, 0.16, 70)
    if index:
        canvas.box(0.05, 0.35, 0.6, 0.75, 215, 2)
    else:
        canvas.box(0.1, 0.58, 0.62, 0.86, 215, GLASS)
    canvas.polygon([(0.68, 0.55), (0.9, 0.55), (0.83, 0.88), (0.68, 0.88)], 225, GLASS)
    canvas.line([(0.66, 0.15), (0.66, 0.95)], 0.008, 110, 1)
    canvas.box(0.97, 0.33, 1, 0.45, 235, LAMP)
    canvas.box(0, 0.35, 0.02, 0.6, 210, TAIL_LAMP)
    wheels = (0.2, 0.82)
    for x in wheels:
        _wheel(canvas, x, 0.065, 0.165)
    canvas.erase([(0.86, 1.01), (1.01, 1.01), (1.01, 0.5), (0.96, 0.55)])
    _under(canvas, 0.1, wheels, 0.065)
    return canvas.picture(_shade(seed, f"van {index}", 64, 128))


def _van_rear(seed: int) -> Picture:
    """Two doors with a window each, tall lamps at the edges, a bumper."""
    canvas = Canvas(64, 64, 1.0, 1.0, 232)
    canvas.slots[:] = 1
    canvas.box(0, 0.08, 1, 0.2, 70)
    canvas.box(0.49, 0.2, 0.51, 0.95, 90, 1)
    for x in (0.16, 0.55):
        canvas.box(x, 0.58, x + 0.29, 0.86, 225, GLASS)
    for x in (0.02, 0.9):
        canvas.box(x, 0.3, x + 0.08, 0.55, 235, TAIL_LAMP)
    canvas.box(0.38, 0.3, 0.62, 0.37, 225)
    for x in (0.05, 0.78):
        canvas.box(x, 0, x + 0.17, 0.1, 25)
    canvas.erase([(0.22, 0), (0.78, 0), (0.78, 0.08), (0.22, 0.08)])
    return canvas.picture(_shade(seed, "van rear", 64, 64))


def _bus_side(seed: int, index: int) -> Picture:
    draw = Draw(seed, "bus side", index)
    canvas = Canvas(256, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    canvas.box(0, 0.05, 1, draw.uniform(0.25, 0.42), 225, 2)
    bottom = draw.uniform(0.42, 0.48)
    for window in range(8):
        x = 0.02 + window * 0.12
        canvas.box(x, bottom, x + 0.115, 0.86, 225, LAMP if window % 3 else GLASS)
        canvas.polygon([(x, 0.6), (x + 0.115, 0.74), (x + 0.115, 0.86), (x, 0.86)], 250, GLASS)
    for x in (0.9, 0.52, 0.12)[: 2 + index % 2]:
        canvas.box(x, 0.1, x + 0.075, 0.86, 60)
        canvas.box(x + 0.006, 0.14, x + 0.034, 0.82, 225, GLASS)
        canvas.box(x + 0.041, 0.14, x + 0.069, 0.82, 225, GLASS)
    canvas.box(0, 0.06, 1, 0.1, 90, TRIM)
    if index == 1:
        canvas.box(0.3, 0.14, 0.62, 0.4, 240, TRIM)
    wheels = (0.26, 0.8)
    for x in wheels:
        _wheel(canvas, x, 0.04, 0.15)
    canvas.box(0.99, 0.2, 1, 0.28, 230, LAMP)
    _under(canvas, 0.07, wheels, 0.04)
    return canvas.picture(_shade(seed, f"bus {index}", 64, 256))


def _bus_end(seed: int, front: bool) -> Picture:
    canvas = Canvas(64, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    canvas.box(0, 0.05, 1, 0.3, 225, 2)
    if front:
        canvas.box(0.05, 0.33, 0.95, 0.82, 235, GLASS)
        canvas.polygon([(0.05, 0.6), (0.95, 0.7), (0.95, 0.82), (0.05, 0.82)], 255, GLASS)
        canvas.box(0.49, 0.33, 0.51, 0.82, 40)
        canvas.box(0.15, 0.85, 0.85, 0.96, 20)
        for letter in range(7):
            canvas.box(0.2 + 0.085 * letter, 0.88, 0.25 + 0.085 * letter, 0.93, 250, LAMP)
    else:
        canvas.box(0.12, 0.55, 0.88, 0.85, 225, GLASS)
        canvas.box(0.2, 0.15, 0.8, 0.4, 80, TRIM)
    lamp = LAMP if front else TAIL_LAMP
    canvas.box(0.04, 0.16, 0.2, 0.26, 245, lamp)
    canvas.box(0.8, 0.16, 0.96, 0.26, 245, lamp)
    canvas.box(0, 0.05, 1, 0.1, 50)
    for x in (0.05, 0.8):
        canvas.box(x, 0, x + 0.15, 0.08, 25)
    canvas.erase([(0.2, 0), (0.8, 0), (0.8, 0.06), (0.2, 0.06)])
    return canvas.picture(_shade(seed, f"bus end {front}", 64, 64))


def _train_side(seed: int, index: int) -> Picture:
    """One car of a tram or train: closed skirt, a line of windows, double doors, bands."""
    draw = Draw(seed, "train side", index)
    canvas = Canvas(256, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    canvas.box(0, 0, 1, 0.12, 60)
    canvas.box(0, 0.12, 1, draw.uniform(0.2, 0.3), 220, 2)
    canvas.box(0, 0.5, 1, 0.8, 45 if index else 200, TRIM)
    for window in range(6):
        x = 0.025 + window / 6
        canvas.box(x, 0.52, x + 0.115, 0.78, 225, LAMP if draw.chance(0.7) else GLASS)
    for x in (0.2, 0.7):
        canvas.box(x, 0.1, x + 0.09, 0.84, 215, 2)
        canvas.box(x + 0.008, 0.3, x + 0.04, 0.8, 225, LAMP)
        canvas.box(x + 0.05, 0.3, x + 0.082, 0.8, 225, LAMP)
        canvas.box(x + 0.043, 0.1, x + 0.047, 0.84, 30)
    canvas.box(0, 0.86, 1, 0.92, 220, 2)
    for x in (0.0, 0.985):
        canvas.box(x, 0.08, x + 0.015, 1, 35)
    for x in (0.14, 0.24, 0.76, 0.86):
        canvas.disc((x, 0.06), 0.018, 40, radius_y=0.075)
    return canvas.picture(_shade(seed, f"train {index}", 64, 256), cut=False)


def _train_front(seed: int, index: int) -> Picture:
    canvas = Canvas(64, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    canvas.box(0, 0, 1, 0.1, 45)
    canvas.box(0, 0.1, 1, 0.4, 225, 2)
    canvas.polygon([(0.06, 0.42), (0.94, 0.42), (0.86, 0.84), (0.14, 0.84)], 30)
    canvas.polygon([(0.1, 0.45), (0.9, 0.45), (0.83, 0.8), (0.17, 0.8)], 225, GLASS)
    canvas.box(0.3, 0.87, 0.7, 0.96, 20)
    canvas.box(0.36, 0.89, 0.64, 0.94, 250, LAMP)
    for x in (0.12, 0.78):
        canvas.disc((x + 0.05, 0.24), 0.05, 250, LAMP)
    if index:
        canvas.disc((0.5, 0.93), 0.05, 250, LAMP)
        canvas.box(0.47, 0.1, 0.53, 0.42, 60)
    return canvas.picture(_shade(seed, f"train front {index}", 64, 64), cut=False)


def _cab_side(seed: int) -> Picture:
    canvas = Canvas(64, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    canvas.box(0, 0, 1, 0.14, 50)
    canvas.polygon([(0.35, 0.55), (0.92, 0.55), (0.86, 0.85), (0.35, 0.85)], 230, GLASS)
    canvas.line([(0.3, 0.2), (0.3, 0.92)], 0.014, 110, 1)
    canvas.box(0.35, 0.46, 0.45, 0.49, 60, TRIM)
    _wheel(canvas, 0.55, 0.24, 0.17)
    _under(canvas, 0.1, (0.55,), 0.24)
    return canvas.picture(_shade(seed, "cab side", 64, 64))


def _cab_front(seed: int, index: int) -> Picture:
    canvas = Canvas(64, 64, 1.0, 1.0, 235)
    canvas.slots[:] = 1
    canvas.box(0, 0.06, 1, 0.16, 60)
    canvas.box(0.07, 0.54, 0.93, 0.85, 235, GLASS)
    canvas.polygon([(0.07, 0.68), (0.93, 0.78), (0.93, 0.85), (0.07, 0.85)], 255, GLASS)
    canvas.box(0.2, 0.24, 0.8, 0.48, 40 if index else 180, TRIM)
    for y in (0.3, 0.36, 0.42):
        canvas.box(0.2, y, 0.8, y + 0.02, 130, TRIM)
    canvas.box(0.04, 0.17, 0.18, 0.25, 245, LAMP)
    canvas.box(0.82, 0.17, 0.96, 0.25, 245, LAMP)
    for x in (0.05, 0.8):
        canvas.box(x, 0, x + 0.15, 0.08, 25)
    canvas.erase([(0.2, 0), (0.8, 0), (0.8, 0.06), (0.2, 0.06)])
    return canvas.picture(_shade(seed, f"cab front {index}", 64, 64))


def _cargo_side(seed: int, index: int) -> Picture:
    """Box, curtain, open bed with boards, or tank; with the chassis and wheels below."""
    draw = Draw(seed, "cargo side", index)
    canvas = Canvas(128, 64, 1.0, 1.0, 230)
    canvas.slots[:] = 1
    if index == 1:
        for fold in range(24):
            canvas.box(fold / 24, 0.25, (fold + 0.35) / 24, 0.97, 200, 1)
    if index == 2:
        for board in range(5):
            canvas.box(0, 0.28 + 0.1 * board, 1, 0.3 + 0.1 * board, 120, 1)
        canvas.erase([(0, 0.78), (1, 0.78), (1, 1.01), (0, 1.01)])
    if index in (0, 1) and draw.chance(0.7):
        canvas.box(0.2, 0.45, 0.8, 0.8, 230, 2)
        for letter in range(6):
            canvas.box(0.25 + 0.09 * letter, 0.55, 0.31 + 0.09 * letter, 0.7, 225, TRIM)
    if index == 3:
        canvas.box(0, 0.24, 1, 1, 245, 1)
        canvas.box(0, 0.24, 1, 0.4, 140, 1)
        canvas.box(0, 0.75, 1, 0.85, 255, 1)
        canvas.erase([(-0.01, 1.01), (0.06, 1.01), (-0.01, 0.8)])
        canvas.erase([(1.01, 1.01), (0.94, 1.01), (1.01, 0.8)])
    canvas.box(0, 0.14, 1, 0.24, 45)
    wheels = (0.14, 0.27, 0.84) if index % 2 else (0.2, 0.84)
    for x in wheels:
        _wheel(canvas, x, 0.06, 0.12)
    _under(canvas, 0.15, wheels, 0.06)
    return canvas.picture(_shade(seed, f"cargo {index}", 64, 128))


def _cargo_rear(seed: int, index: int) -> Picture:
    canvas = Canvas(64, 64, 1.0, 1.0, 228)
    canvas.slots[:] = 1
    canvas.box(0, 0.12, 1, 0.24, 45)
    canvas.box(0.49, 0.24, 0.51, 0.97, 90, 1)
    if index:
        for rib in range(6):
            canvas.box(0.04, 0.3 + 0.11 * rib, 0.96, 0.32 + 0.11 * rib, 150, 1)
    for x in (0.3, 0.68):
        canvas.box(x, 0.28, x + 0.03, 0.92, 150, TRIM)
    for x in (0.03, 0.83):
        canvas.box(x, 0.15, x + 0.14, 0.22, 240, TAIL_LAMP)
    canvas.box(0.4, 0.14, 0.6, 0.2, 220)
    for x in (0.06, 0.74):
        canvas.box(x, 0, x + 0.2, 0.14, 25)
    canvas.erase([(0.26, 0), (0.74, 0), (0.74, 0.12), (0.26, 0.12)])
    return canvas.picture(_shade(seed, f"cargo rear {index}", 64, 64))
