# SPDX-License-Identifier: Apache-2.0
"""All textures of a drive in one array, with their smaller versions (mip levels), and a canvas.

A texel has a colour and a slot. Slot 0 shows the texel's own colour; slots 1..7 multiply it with a
colour of the object's palette, so that one texture of a car serves cars of every colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import NDArray

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Bool, Float32

Point = tuple[float, float]
Grey = int | tuple[int, int, int]

SLOTS = 8
LEVELS = 9
LAMP = 6
"""Slot of headlights, lit windows and lit traffic lights."""
TAIL_LAMP = 7
"""Slot of tail lights and of windows that are seldom lit."""
GONE = 255
"""Slot of a texel that is cut out, where the texture does not cover what is behind it."""


@dataclass(frozen=True)
class Texture:
    """One texture as it was painted.

    Attributes:
        texels: red, green, blue and slot (0..7 or GONE), uint8 [h, w, 4]; h and w are powers of
            two.
        cover: share of covered texels from which on a smaller version's texel is covered.
    """

    texels: UInt8
    cover: float = 0.5


class TextureAtlas:
    """Textures under names; several may share one name.

    Attributes:
        texels: uint32 [n], red + green << 8 + blue << 16 + slot << 24, row by row, level by level.
        offsets: int32 [textures * LEVELS], where a level begins in ``texels``.
        log2_width, log2_height, last_level: int32 [textures].
        cutouts: per texture the masks of its levels, or None if it covers everything.
    """

    def __init__(self, textures: dict[str, Sequence[Texture]]) -> None:
        self._ids: dict[str, tuple[int, ...]] = {}
        self.cutouts: list[list[Bool] | None] = []
        chunks: list[UInt8] = []
        offsets: list[list[int]] = []
        sizes: list[tuple[int, int, int]] = []
        length = 0
        for name, group in textures.items():
            self._ids[name] = tuple(range(len(offsets), len(offsets) + len(group)))
            for texture in group:
                levels, masks = zip(*_levels(texture), strict=True)
                *starts, length = accumulate((mask.size for mask in masks), initial=length)
                chunks += [level.ravel() for level in levels]
                offsets.append(starts + [starts[-1]] * (LEVELS - len(starts)))
                height, width = masks[0].shape
                sizes.append((width.bit_length() - 1, height.bit_length() - 1, len(levels) - 1))
                self.cutouts.append(None if masks[0].all() else list(masks))
        self.texels = np.concatenate(chunks).view("<u4").astype(np.uint32)
        self.offsets = np.array(offsets, np.int32).ravel()
        self.log2_width, self.log2_height, self.last_level = np.array(sizes, np.int32).T.copy()

    def ids(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the textures of that name."""
        return self._ids[name]

    def id(self, name: str, index: int = 0) -> int:
        """Return the number of one texture of that name."""
        return self._ids[name][index]


def _levels(texture: Texture) -> Iterator[tuple[UInt8, Bool]]:
    """Halve a texture until a side is one texel; give each level's texels and which are covered.

    Whole-number means are the same everywhere.
    """
    texels, covered = texture.texels, texture.texels[..., 3] != GONE
    if not covered.all():
        texels = _filled(texels, covered)
    cover = np.where(covered, 255, 0).astype(np.uint8)
    yield texels, covered
    for _ in range(min(LEVELS, min(cover.shape).bit_length()) - 1):
        slots = texels[::2, 1::2, 3]
        texels, cover = _halved(texels), _halved(cover)
        texels[..., 3] = slots
        yield texels, cover >= 255 * texture.cover


def _filled(texels: UInt8, covered: Bool) -> UInt8:
    """Give what is cut out the look of the nearest texel, so that it does not tint the edges."""
    _, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros((int(nearest.max()) + 1, 4), np.uint8)
    source[nearest[covered]] = texels[covered]
    filled: UInt8 = source[nearest]
    return filled


def _halved(array: UInt8) -> UInt8:
    wide = array.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    halved: UInt8 = ((total + 2) >> 2).astype(np.uint8)
    return halved


class Canvas:
    """A texture being painted, in units of its own: x right, y up, (0, 0) bottom left.

    Shapes are painted in ``grey``, a brightness or an RGB colour of 0..255, into ``slot``.
    """

    def __init__(
        self, width_px: int, height_px: int, width: float, height: float, grey: int | None = None,
        slot: int = 0,
    ) -> None:  # fmt: skip
        """Begin with everything cut out, or with ``grey`` everywhere."""
        self._scale = (width_px / width, height_px / height)
        texel = (0, 0, 0, GONE) if grey is None else _texel(grey, slot)
        self._texels = np.full((height_px, width_px, 4), texel, np.uint8)

    def polygon(self, points: Sequence[Point], grey: Grey, slot: int = 0) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self._texels, self._pixels(points), _texel(grey, slot))

    def box(
        self, left: float, bottom: float, right: float, top: float, grey: Grey, slot: int = 0
    ) -> None:
        """Fill a rectangle."""
        x0, y1 = self._pixel((left, bottom))
        x1, y0 = self._pixel((right, top))
        self._texels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = _texel(grey, slot)

    def boxes(self, *boxes: tuple[float, float, float, float, int, int]) -> None:
        """Fill rectangles, each (left, bottom, right, top, grey, slot), one after the other."""
        for box in boxes:
            self.box(*box)

    def disc(
        self, center: Point, radius: float, grey: Grey, slot: int = 0,
        radius_y: float | None = None, thickness: float = 0.0,
    ) -> None:  # fmt: skip
        """Fill an ellipse, or draw its ring of ``thickness``."""
        radii = (radius, radius if radius_y is None else radius_y)
        axes = [max(1, round(r * scale)) for r, scale in zip(radii, self._scale, strict=True)]
        width = max(1, round(thickness * self._scale[0])) if thickness else -1
        cv2.ellipse(self._texels, self._pixel(center), axes, 0, 0, 360, _texel(grey, slot), width)

    def line(self, points: Sequence[Point], thickness: float, grey: Grey, slot: int = 0) -> None:
        """Draw a thick line through ``points``, with round ends."""
        width = max(1, round(thickness * self._scale[0]))
        cv2.polylines(self._texels, self._pixels(points), False, _texel(grey, slot), width)

    def erase(self, points: Sequence[Point]) -> None:
        """Cut a polygon out."""
        self.polygon(points, 0, GONE)

    def noise(
        self, random: np.random.Generator, cells: int, octaves: int, gain: float = 0.5
    ) -> Float32:
        """Make `noise` of the canvas' size."""
        height, width, _ = self._texels.shape
        return noise(random, height, width, cells, octaves, gain)

    def texture(self, brightness: Float32 | None = None, cover: float = 0.5) -> Texture:
        """Return the texture; ``brightness`` [h, w], about 1, multiplies its colours."""
        texels = self._texels.copy()
        if brightness is not None:
            texels[..., :3] = np.clip(texels[..., :3] * brightness[..., None], 0, 255)
        return Texture(texels, cover)

    def _pixel(self, point: Point) -> tuple[int, int]:
        x, y = (round(place * scale) for place, scale in zip(point, self._scale, strict=True))
        return x, self._texels.shape[0] - y

    def _pixels(self, points: Sequence[Point]) -> list[NDArray[np.int32]]:
        return [np.array([self._pixel(point) for point in points], np.int32)]


def _texel(grey: Grey, slot: int) -> tuple[int, int, int, int]:
    red, green, blue = (grey, grey, grey) if isinstance(grey, int) else grey
    return red, green, blue, slot


def noise(
    random: np.random.Generator, height: int, width: int, cells: int, octaves: int,
    gain: float = 0.5,
) -> Float32:  # fmt: skip
    """Make value noise that repeats without a seam: float32 [height, width], mean 0, about -1..1.

    Random grids of ``cells``, twice ``cells``, ... cells, each smoothly enlarged, are summed with
    weights 1, gain, gain^2, ...
    """
    total = np.zeros((height, width), np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        count = cells << octave
        rows, columns = min(count, height), min(count, width)
        grid = random.random((rows, columns), dtype=np.float32) * 2 - 1
        padded = np.pad(grid, 2, mode="wrap")
        scale_y, scale_x = height // rows, width // columns
        large = cv2.resize(
            padded, (padded.shape[1] * scale_x, padded.shape[0] * scale_y),
            interpolation=cv2.INTER_CUBIC,
        )  # fmt: skip
        part = large[2 * scale_y : -2 * scale_y, 2 * scale_x : -2 * scale_x]
        if part.shape != total.shape:
            part = cv2.resize(part, (width, height))
        total += weight * part
        weights += weight
        weight *= gain
    return total / np.float32(weights)
