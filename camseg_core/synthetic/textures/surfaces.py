# SPDX-License-Identifier: Apache-2.0
"""Textures of grounds, walls, fences and plants. Slot 1 takes the object's colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from camseg_core.synthetic.arrays import Float32
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import Canvas, Texture, noise

GROUND_TEXELS_PER_M = 64.0
"""Density of the ground textures, whose side is 256 texels."""

FAR_COVER = 0.3
"""Fences and wheels look closed from afar, where a gap is smaller than a texel."""


def surface_textures(seed: int) -> dict[str, Sequence[Texture]]:
    """Paint every surface of a drive."""
    draw = Draw(seed, "surfaces")
    random = generator(seed, "surface noise")
    across = (np.arange(16, dtype=np.float32) + 0.5) / 8 - 1
    cylinder = 0.55 + 0.5 * np.sqrt(np.maximum(0, 1 - (across + 0.25) ** 2 / 1.6))
    return {
        "plain": [_tinted(1 + 0.06 * noise(random, 32, 32, 4, 3))],
        "asphalt": [_asphalt(random, roughness) for roughness in (0.14, 0.22)],
        "concrete": [_slabs(random, 2, 2, 0.05, 0.82)],
        "paving": [_slabs(random, 8, 4, 0.12, 0.7), _slabs(random, 16, 16, 0.16, 0.65)],
        "cobble": [_cobble(random)],
        "grass": [_growth(random, 0.5), _growth(random, 0.3)],
        "soil": [_tinted(0.85 + 0.3 * noise(random, 256, 256, 8, 5, 0.7))],
        "gravel": [_tinted(0.8 + 0.45 * noise(random, 256, 256, 64, 3, 0.9))],
        "brick": [_bricks(random, draw, 16, 6), _bricks(random, draw, 8, 3)],
        "plaster": [_tinted(0.88 + 0.14 * noise(random, 128, 128, 4, 5, 0.6))],
        "panel": [_corrugated(random, 32), _corrugated(random, 12)],
        "stone": [_cobble(random, 128, 60)],
        "boards": [_boards(random, draw, gap) for gap in (0, 1)],
        "picket": [_pickets(random, draw) for _ in range(2)],
        "railing": [_railing(random, draw) for _ in range(2)],
        "mesh": [_mesh(random)],
        "hedge": [_foliage(random), _foliage(random)],
        "crown": [_crown(seed, kind, index) for index in range(2) for kind in CROWNS],
        "bush": [_crown(seed, "bush", index) for index in range(3)],
        "pole": [_tinted(np.tile(cylinder, (16, 1)))],
        "hill": [_hill(seed, index) for index in range(2)],
    }


CROWNS = ("round", "cone", "poplar", "wide")


def _tinted(brightness: Float32, tint: Float32 | None = None) -> Texture:
    """Return a texture of slot 1 of this brightness [h, w], about 1, times ``tint`` [h, w, 3]."""
    texels = np.ones((*brightness.shape, 4), np.uint8)
    texels[..., :3] = np.clip(brightness * 225, 0, 255)[..., None]
    if tint is not None:
        texels[..., :3] = np.clip(texels[..., :3] * tint, 0, 255)
    return Texture(texels)


def _asphalt(random: np.random.Generator, roughness: float) -> Texture:
    grain = random.standard_normal((256, 256), dtype=np.float32)
    return _tinted(0.85 + roughness * 0.5 * grain + roughness * noise(random, 256, 256, 4, 4))


def _slabs(
    random: np.random.Generator, rows: int, columns: int, spread: float, joint: float
) -> Texture:
    side, height, width = 256, 256 // rows, 256 // columns
    shades = 0.88 + spread * (random.random((rows, columns), dtype=np.float32) * 2 - 1)
    brightness = np.kron(shades, np.ones((height, width), np.float32))
    for row in range(rows):
        band = brightness[row * height : (row + 1) * height]
        band[: max(1, 20 // rows)] *= joint
        offset = width // 2 * (row % 2)
        band[:] = np.roll(band, offset, axis=1)
        for column in range(columns):
            x = (column * width + offset) % side
            band[:, x : x + max(1, 20 // columns)] *= joint
    return _tinted(brightness + 0.08 * noise(random, side, side, 16, 4, 0.8))


def _cobble(random: np.random.Generator, side: int = 256, count: int = 900) -> Texture:
    """Paint cells around random points, shaded by the distance to the nearest point."""
    rows = math.isqrt(count)
    step = side / rows
    row, column = np.indices((rows, rows))
    jitter = random.random((rows, rows, 2)) * 0.5
    y = ((row + 0.25 + jitter[..., 0]) * step).astype(int) % side
    x = ((column + 0.25 + jitter[..., 1] + 0.5 * (row % 2)) * step).astype(int) % side
    seeds = np.full((side, side), 255, np.uint8)
    seeds[y, x] = 0
    distance, cells = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    shade = random.random(cells.max() + 1, dtype=np.float32)[cells]
    edge = np.clip(1.25 - distance / np.float32(step * 0.75), 0.45, 1)
    return _tinted((0.75 + 0.3 * shade) * edge + 0.08 * noise(random, side, side, 16, 3))


def _growth(random: np.random.Generator, patches: float) -> Texture:
    brightness = 0.75 + 0.45 * noise(random, 256, 256, 64, 3, 0.9)
    brightness += patches * 0.4 * noise(random, 256, 256, 4, 3)
    dry = noise(random, 256, 256, 4, 5, 0.7)
    return _tinted(brightness, np.dstack([1 + 0.25 * dry, 1 + 0.05 * dry, 1 - 0.25 * dry]))


def _bricks(random: np.random.Generator, draw: Draw, rows: int, columns: int) -> Texture:
    brightness = np.full((128, 128), np.float32(0.9 * draw.uniform(0.6, 1.35)))
    brick_h, brick_w = 128 // rows, 128 // columns
    for row in range(rows):
        for column in range(columns + 1):
            x = column * brick_w - (row % 2) * brick_w // 2
            shade = 0.72 + 0.3 * random.random()
            x0, x1 = max(0, x), max(0, x + brick_w - 1)
            brightness[row * brick_h : (row + 1) * brick_h - 1, x0:x1] = shade
    return _tinted(brightness + 0.08 * noise(random, 128, 128, 8, 4))


def _corrugated(random: np.random.Generator, ribs: int) -> Texture:
    across = np.arange(128, dtype=np.float32) * np.float32(ribs * 2 * math.pi / 128)
    stains = 1 + 0.12 * noise(random, 128, 128, 4, 4)
    return _tinted((0.86 + 0.12 * np.sin(across)) * stains)


def _boards(random: np.random.Generator, draw: Draw, gap: int) -> Texture:
    brightness = np.ones((64, 64), np.float32)
    for x in range(0, 64, 8):
        brightness[:, x : x + 8] *= draw.uniform(0.65, 1.0)
        brightness[:, x : x + 1 + gap] *= 0.35
    for y in (12, 50):
        brightness[y : y + 4] *= 0.8
    return _tinted(brightness * 0.95 + 0.1 * noise(random, 64, 64, 16, 3))


def _pickets(random: np.random.Generator, draw: Draw) -> Texture:
    canvas = Canvas(64, 64, 1.0, 1.0)
    pointed = draw.chance(0.6)
    canvas.boxes((0, 0.2, 1, 0.31, 170, 1), (0, 0.7, 1, 0.81, 170, 1))
    for index in range(6):
        x, right = index / 6, (index + 0.7) / 6
        shade = 190 + draw.integer(50)
        canvas.box(x, 0.02, right, 0.9, shade, 1)
        if pointed:
            canvas.polygon([(x, 0.9), (right, 0.9), ((x + right) / 2, 1.0)], shade, 1)
    return canvas.texture(0.95 + 0.12 * noise(random, 64, 64, 16, 3), cover=FAR_COVER)


def _railing(random: np.random.Generator, draw: Draw) -> Texture:
    canvas = Canvas(64, 64, 1.0, 1.0)
    count = draw.pick([5, 7])
    for index in range(count):
        x = (index + 0.5) / count
        canvas.box(x - 0.035, 0, x + 0.035, 0.97, 200, 1)
    canvas.boxes((0, 0.08, 1, 0.17, 225, 1), (0, 0.86, 1, 0.95, 225, 1))
    return canvas.texture(1 + 0.05 * noise(random, 64, 64, 8, 2), cover=FAR_COVER / 1.5)


def _mesh(random: np.random.Generator) -> Texture:
    canvas = Canvas(64, 64, 1.0, 1.0)
    for index in range(-8, 9):
        x = index / 8
        canvas.line([(x, 0), (x + 1, 1)], 0.035, 200, 1)
        canvas.line([(x, 1), (x + 1, 0)], 0.035, 185, 1)
    canvas.boxes((0, 0, 0.06, 1, 225, 1), (0, 0.95, 1, 1, 225, 1))
    return canvas.texture(1 + 0.05 * noise(random, 64, 64, 8, 2), cover=FAR_COVER)


def _foliage(random: np.random.Generator) -> Texture:
    side = 128
    brightness = 0.62 + 0.42 * noise(random, side, side, side // 4, 2, 0.8)
    brightness += 0.4 * noise(random, side, side, 4, 3)
    warm = noise(random, side, side, 8, 3)
    tint = np.dstack([1 + 0.18 * warm, 1 + 0.05 * warm, 1 - 0.2 * warm])
    return _tinted(np.clip(brightness, 0.08, 1.2), tint)


def _crown(seed: int, kind: str, index: int) -> Texture:
    """Paint a tree with its trunk, or a bush: leaf clumps lit from above, ragged at the edge."""
    draw = Draw(seed, "crown", kind, index)
    canvas = Canvas(128, 128, 1.0, 1.0)
    if kind != "bush":
        width = draw.uniform(0.035, 0.06)
        top = width * 0.6
        trunk = [(0.5 - width, 0), (0.5 + width, 0), (0.5 + top, 0.5), (0.5 - top, 0.5)]
        canvas.polygon(trunk, 110, 2)
        for side in (-1, 1):
            tip = (0.5 + side * draw.uniform(0.1, 0.2), draw.uniform(0.5, 0.6))
            canvas.line([(0.5, 0.25), tip], width * 0.8, 90, 2)
    for step in range(150):
        height = draw.uniform()
        half = _crown_half_width(kind, height)
        x = 0.5 + half * draw.uniform(-1, 1)
        bottom = 0.02 if kind == "bush" else 0.28
        y = bottom + (0.94 - bottom) * height
        light = 0.45 + 0.55 * height - 0.25 * (x - 0.5) + draw.uniform(-0.25, 0.2)
        light *= 0.6 + 0.4 * step / 150  # the nearer clumps come later and are lighter
        radius = draw.uniform(0.03, 0.075) * (0.75 if kind in ("cone", "poplar") else 1.0)
        canvas.disc((x, y), radius, max(20, min(250, int(235 * light))), 1)
    # Bites at the edge, so that the outline is that of leaves.
    for _ in range(70):
        x, y = draw.uniform(0, 1), draw.uniform(0.3, 1)
        if abs(x - 0.5) > _crown_half_width(kind, (y - 0.28) / 0.66) * 0.85:
            size = draw.uniform(0.01, 0.025)
            canvas.erase([(x - size, y), (x, y + size), (x + size, y), (x, y - size)])
    leaves = canvas.noise(generator(seed, "crown noise", kind, index), 32, 2, 0.8)
    return canvas.texture(1 + 0.5 * leaves, cover=0.4)


def _crown_half_width(kind: str, height: float) -> float:
    """Return half the width of a crown of width and height 1 at ``height``, 0 to 1."""
    height = min(1.0, max(0.0, height))
    arch = math.sqrt(max(0.0, 1 - (2 * height - 1) ** 2))
    return {
        "round": 0.4 * arch + 0.02,
        "cone": 0.38 * (1 - height) + 0.02,
        "poplar": 0.17 * arch + 0.02,
        "wide": 0.44 * math.sqrt(arch),
        "bush": 0.43 * math.sqrt(1 - height * height),
    }[kind]


def _hill(seed: int, index: int) -> Texture:
    """Paint a far grassy slope, solid below an uneven line."""
    draw = Draw(seed, "hill", index)
    canvas = Canvas(128, 64, 1.0, 1.0)
    points = [(0.0, 0.0), (0.0, draw.uniform(0.2, 0.5))]
    points += [(x / 8, draw.uniform(0.5, 1.0)) for x in range(1, 8)]
    points += [(1.0, draw.uniform(0.2, 0.5)), (1.0, 0.0)]
    canvas.polygon(points, 215, 1)
    meadow = canvas.noise(generator(seed, "hill noise", index), 8, 4, 0.7)
    return canvas.texture(0.9 + 0.35 * meadow)
