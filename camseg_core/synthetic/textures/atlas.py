# SPDX-License-Identifier: Apache-2.0
"""All textures of a drive in one array, with their smaller versions (mip levels), and a canvas.

A texel has a colour and a slot. Slot 0 shows the texel's own colour; slots 1..7 multiply it with a
colour of the object's palette, so that one texture of a car serves cars of every colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camseg_core.images.arrays import UInt8

Bool = NDArray[np.bool_]
Point = tuple[float, float]

SLOTS = 8
LEVELS = 9
LAMP = 6
"""Slot of headlights, lit windows and lit traffic lights."""
TAIL_LAMP = 7
"""Slot of tail lights and of windows that are seldom lit."""


@dataclass(frozen=True)
class Texture:
    """One texture as it was painted.

    Attributes:
        rgb: uint8 [h, w, 3]; h and w are powers of two.
        slots: uint8 [h, w], 0..7.
        cutout: true where the texture covers what is behind it [h, w]; None if it does everywhere.
        cover: share of covered texels from which on a smaller version's texel is covered.
    """

    rgb: UInt8
    slots: UInt8
    cutout: Bool | None = None
    cover: float = 0.5


class TextureAtlas:
    """Textures under names; several may share one name.

    Attributes:
        texels: uint32 [n], red + green << 8 + blue << 16 + slot << 24, row by row, level by level.
        offsets: int32 [textures * LEVELS], where a level begins in ``texels``.
        log2_width, log2_height, last_level: int32 [textures].
        cutouts: per texture its levels' masks, or None.
    """

    def __init__(self, textures: dict[str, Sequence[Texture]]) -> None:
        self._ids: dict[str, tuple[int, ...]] = {}
        self.cutouts: list[list[Bool] | None] = []
        chunks: list[NDArray[np.uint32]] = []
        offsets: list[list[int]] = []
        sizes: list[tuple[int, int, int]] = []
        length = 0
        for name, group in textures.items():
            self._ids[name] = tuple(range(len(offsets), len(offsets) + len(group)))
            for texture in group:
                levels = _levels(texture)
                starts = []
                for rgb, slots, _ in levels:
                    starts.append(length)
                    chunks.append(np.dstack([rgb, slots]).view("<u4").ravel().astype(np.uint32))
                    length += slots.size
                offsets.append(starts + [starts[-1]] * (LEVELS - len(starts)))
                height, width = texture.slots.shape
                sizes.append((width.bit_length() - 1, height.bit_length() - 1, len(levels) - 1))
                masks = [mask for _, _, mask in levels]
                self.cutouts.append(None if texture.cutout is None else masks)
        self.texels = np.concatenate(chunks)
        self.offsets = np.array(offsets, np.int32).ravel()
        self.log2_width, self.log2_height, self.last_level = np.array(sizes, np.int32).T.copy()

    def ids(self, name: str) -> tuple[int, ...]:
        """Return the textures of that name."""
        return self._ids[name]

    def id(self, name: str) -> int:
        """Return the first texture of that name."""
        return self._ids[name][0]


def _levels(texture: Texture) -> list[tuple[UInt8, UInt8, Bool]]:
    """Halve a texture until a side is one texel; whole-number means are the same everywhere."""
    rgb, slots = texture.rgb, texture.slots
    cover = np.full(slots.shape, 255, np.uint8)
    if texture.cutout is not None:
        cover[~texture.cutout] = 0
        if texture.cutout.any():
            rgb, slots = _filled(rgb, slots, texture.cutout)
    levels = [(rgb, slots, cover > 127)]
    threshold = 255 * texture.cover
    while min(slots.shape) > 1 and len(levels) < LEVELS:
        rgb, cover = _halved(rgb), _halved(cover)
        slots = slots[::2, 1::2]
        levels.append((rgb, slots, cover >= threshold))
    return levels


def _filled(rgb: UInt8, slots: UInt8, cutout: Bool) -> tuple[UInt8, UInt8]:
    """Give what is cut out the look of the nearest texel, so that it does not tint the edges."""
    _, nearest = cv2.distanceTransformWithLabels(
        (~cutout).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    place = np.zeros(int(nearest.max()) + 1, np.intp)
    covered = np.flatnonzero(cutout)
    place[nearest.ravel()[covered]] = covered
    source = place[nearest]
    return rgb.reshape(-1, 3)[source], slots.ravel()[source]


def _halved(array: UInt8) -> UInt8:
    wide = array.astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    halved: UInt8 = ((total + 2) >> 2).astype(np.uint8)
    return halved


class Canvas:
    """A texture being painted, in units of its own: x right, y up, (0, 0) bottom left."""

    def __init__(
        self, width_px: int, height_px: int, width: float, height: float, grey: int | None = None,
        slot: int = 0,
    ) -> None:  # fmt: skip
        """Begin with everything cut out, or with ``grey`` everywhere."""
        self._scale = (width_px / width, height_px / height)
        self._height_px = height_px
        self.rgb = np.full((height_px, width_px, 3), grey or 0, np.uint8)
        self.slots = np.full((height_px, width_px), slot, np.uint8)
        self.cover = np.full((height_px, width_px), 0 if grey is None else 1, np.uint8)

    def polygon(self, points: Sequence[Point], grey: int | UInt8Color, slot: int = 0) -> None:
        """Fill a polygon."""
        corners = self._pixels(points)
        for plane, value in self._planes(grey, slot):
            cv2.fillPoly(plane, corners, value)

    def box(
        self, left: float, bottom: float, right: float, top: float, grey: int | UInt8Color,
        slot: int = 0,
    ) -> None:  # fmt: skip
        """Fill a rectangle."""
        x0, y1 = self._pixel((left, bottom))
        x1, y0 = self._pixel((right, top))
        for plane, value in self._planes(grey, slot):
            plane[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = value

    def boxes(self, *boxes: tuple[float, float, float, float, int, int]) -> None:
        """Fill rectangles, each (left, bottom, right, top, grey, slot), one after the other."""
        for left, bottom, right, top, grey, slot in boxes:
            self.box(left, bottom, right, top, grey, slot)

    def disc(
        self, center: Point, radius: float, grey: int | UInt8Color, slot: int = 0,
        radius_y: float | None = None, thickness: float = 0.0,
    ) -> None:  # fmt: skip
        """Fill an ellipse, or draw its ring of ``thickness``."""
        axes = (
            max(1, round(radius * self._scale[0])),
            max(1, round((radius if radius_y is None else radius_y) * self._scale[1])),
        )
        width = max(1, round(thickness * self._scale[0])) if thickness else -1
        for plane, value in self._planes(grey, slot):
            cv2.ellipse(plane, self._pixel(center), axes, 0, 0, 360, value, width)

    def line(
        self, points: Sequence[Point], thickness: float, grey: int | UInt8Color, slot: int = 0
    ) -> None:
        """Draw a thick line through ``points``, with round ends."""
        corners = self._pixels(points)
        width = max(1, round(thickness * self._scale[0]))
        for plane, value in self._planes(grey, slot):
            cv2.polylines(plane, corners, False, value, width)

    def erase(self, points: Sequence[Point]) -> None:
        """Cut a polygon out."""
        cv2.fillPoly(self.cover, self._pixels(points), (0,))

    def texture(
        self, brightness: NDArray[np.float32] | None = None, cut: bool = True, cover: float = 0.5
    ) -> Texture:
        """Return the texture; ``brightness`` [h, w], about 1, multiplies its colours."""
        rgb = self.rgb
        if brightness is not None:
            rgb = np.clip(rgb * brightness[..., None], 0, 255).astype(np.uint8)
        return Texture(rgb, self.slots, self.cover.astype(bool) if cut else None, cover)

    def _pixel(self, point: Point) -> tuple[int, int]:
        return (
            round(point[0] * self._scale[0]),
            self._height_px - round(point[1] * self._scale[1]),
        )

    def _pixels(self, points: Sequence[Point]) -> list[NDArray[np.int32]]:
        return [np.array([self._pixel(point) for point in points], np.int32)]

    def _planes(
        self, grey: int | UInt8Color, slot: int
    ) -> tuple[tuple[UInt8, tuple[int, ...]], ...]:
        color = (grey, grey, grey) if isinstance(grey, int) else grey
        return (self.rgb, color), (self.slots, (slot,)), (self.cover, (1,))


UInt8Color = tuple[int, int, int]


def noise(
    random: np.random.Generator, height: int, width: int, cells: int, octaves: int,
    gain: float = 0.5,
) -> NDArray[np.float32]:  # fmt: skip
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
        y0, x0 = 2 * scale_y, 2 * scale_x
        part = large[y0 : y0 + rows * scale_y, x0 : x0 + columns * scale_x]
        if part.shape != total.shape:
            part = cv2.resize(part, (width, height))
        total += weight * part
        weights += weight
        weight *= gain
    return total / np.float32(weights)
