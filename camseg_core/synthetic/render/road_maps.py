# SPDX-License-Identifier: Apache-2.0
"""Maps of the road from above, in (y, lateral): markings and wear, shadows, lamps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.textures.atlas import noise
from camseg_core.synthetic.world.road import START_M, STEP_M, Junction, Road
from camseg_core.synthetic.world.scene import Footprint, Scene

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

PAINT_STEP_Y_M, PAINT_STEP_M, PAINT_LIMIT_M = 0.1, 0.05, 19.2
LIGHT_STEP_M, LIGHT_LIMIT_M = 0.2, 38.4
NEUTRAL = 128
LAMP_RADIUS_M = 11.0


@dataclass(frozen=True)
class RoadSurface:
    """Maps of the asphalt: opacity of ``paint`` (255 opaque), and brightness (128 is usual)."""

    paint: UInt8
    wear: UInt8

    def look_up(self, y: Float32, lateral: Float32) -> tuple[Float32, Float32]:
        """Return paint (0..1) and brightness (about 1) at places [n]."""
        rows, columns = self.paint.shape
        row = np.clip((y - START_M) * np.float32(1 / PAINT_STEP_Y_M), 0, rows - 1)
        limit = np.float32(PAINT_LIMIT_M)
        column = np.clip((lateral + limit) * np.float32(1 / PAINT_STEP_M), 0, columns - 1)
        place = row.astype(np.int32) * columns + column.astype(np.int32)
        paint = self.paint.ravel()[place].astype(np.float32) * np.float32(1 / 255)
        wear = self.wear.ravel()[place].astype(np.float32) * np.float32(1 / NEUTRAL)
        return paint, wear


class _Painter:
    """Paints on the two maps in metres."""

    def __init__(self, end_y: float) -> None:
        rows = int((end_y - START_M) / PAINT_STEP_Y_M)
        columns = int(2 * PAINT_LIMIT_M / PAINT_STEP_M)
        self.paint = np.zeros((rows, columns), np.uint8)
        self.wear = np.full((rows, columns), NEUTRAL, np.uint8)

    def pixel(self, y: float, lateral: float) -> tuple[int, int]:
        """Return (column, row) of a place."""
        return (
            round((lateral + PAINT_LIMIT_M) / PAINT_STEP_M),
            round((y - START_M) / PAINT_STEP_Y_M),
        )

    def box(self, plane: UInt8, y0: float, y1: float, x0: float, x1: float, value: int) -> None:
        """Fill a rectangle."""
        left, top = self.pixel(y0, x0)
        right, bottom = self.pixel(y1, x1)
        plane[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, left + 1, 0)] = value

    def dashes(self, lateral: float, width: float, length: float, gap: float, end_y: float) -> None:
        """Draw a dashed line along the road; without a gap it is solid."""
        if gap <= 0:
            self.box(self.paint, START_M, end_y, lateral - width / 2, lateral + width / 2, 255)
            return
        y = START_M
        while y < end_y:
            self.box(self.paint, y, y + length, lateral - width / 2, lateral + width / 2, 255)
            y += length + gap


def paint_road(seed: int, sequence: int, road: Road, track_m: float | None) -> RoadSurface:
    """Paint markings, rails, patches and stains."""
    draw = Draw(seed, sequence, "markings")
    painter = _Painter(road.end_y)
    wear = painter.wear
    for _ in range(int(road.end_y / 6)):  # repairs
        y, lateral = draw.uniform(-20, road.end_y), draw.uniform(road.left_edge, road.right_edge)
        length, width = draw.uniform(0.4, 9), draw.uniform(0.3, 2.2)
        value = int(NEUTRAL * draw.uniform(0.72, 1.2))
        painter.box(wear, y, y + length, lateral - width, lateral + width, value)
    for lane in road.lanes:
        if lane.direction:
            for side in (-0.8, 0.8):  # where wheels run
                left = lane.lateral + side - 0.25
                value = int(NEUTRAL * draw.uniform(0.86, 1.0))
                painter.box(wear, START_M, road.end_y, left, left + 0.5, value)
    for _ in range(int(road.end_y / 14)):
        place = painter.pixel(
            draw.uniform(0, road.end_y), draw.uniform(road.left_edge, road.right_edge)
        )
        cv2.ellipse(wear, place, (7, 4), 0, 0, 360, (int(NEUTRAL * draw.uniform(0.5, 0.8)),), -1)
    if road.markings:
        _paint_lanes(painter, draw, road)
        for junction in road.junctions:
            _paint_junction(painter, draw, road, junction)
    if track_m is not None:
        _paint_track(painter, draw, road, track_m)
    random = generator(seed, sequence, "worn paint")
    worn = np.float32(draw.uniform(0.0, 0.5)) * (0.5 + noise(random, 256, 256, 16, 4, 0.8))
    keep = np.clip(255 * (1 - worn), 30, 255).astype(np.uint8)
    rows, columns = painter.paint.shape
    worn_paint = np.tile(keep, (rows // 256 + 1, columns // 256 + 1))[:rows, :columns]
    return RoadSurface(np.minimum(painter.paint, worn_paint), wear)


def _paint_lanes(painter: _Painter, draw: Draw, road: Road) -> None:
    width = draw.uniform(0.1, 0.18)
    length, gap = draw.pick([(3.0, 6.0), (3.0, 3.0), (6.0, 12.0), (1.5, 1.5)])
    driving = sorted((lane for lane in road.lanes if lane.direction), key=lambda lane: lane.lateral)
    for left, right in pairwise(driving):
        border = (left.lateral + left.width / 2 + right.lateral - right.width / 2) / 2
        if left.direction == right.direction:
            painter.dashes(border, width, length, gap, road.end_y)
        elif draw.chance(0.3):
            painter.dashes(border - 0.12, width, 1, 0, road.end_y)
            painter.dashes(border + 0.12, width, 1, 0, road.end_y)
        else:
            painter.dashes(border, width, length, draw.pick([0.0, gap]), road.end_y)
    if draw.chance(0.55):
        outer = draw.uniform(0.1, 0.4)
        painter.dashes(driving[0].lateral - driving[0].width / 2 + outer, width, 1, 0, road.end_y)
        painter.dashes(driving[-1].lateral + driving[-1].width / 2 - outer, width, 1, 0, road.end_y)
    for lane in road.lanes:
        if lane.direction == 0 and draw.chance(0.6):
            y = START_M
            while y < road.end_y:
                painter.box(painter.paint, y, y + 0.12, lane.lateral - 1.1, lane.lateral + 1.1, 255)
                y += 6.0
        elif lane.direction and draw.chance(0.35):
            y = draw.uniform(10, 60)
            while y < road.end_y - 10:
                _paint_arrow(painter, y, lane.lateral, lane.direction, draw.integer(3))
                y += draw.uniform(25, 70)


def _paint_arrow(painter: _Painter, y: float, lateral: float, direction: int, kind: int) -> None:
    points = [(0, -0.08), (2.6, -0.08), (2.6, -0.4), (4, 0), (2.6, 0.4), (2.6, 0.08), (0, 0.08)]
    if kind:
        turn = 1 if kind == 1 else -1
        points = [(0, -0.08), (2.0, -0.08), (2.0, 0.3), (1.4, 0.3), (2.3, 0.9), (3.2, 0.3),
                  (2.6, 0.3), (2.6, -0.08)]  # fmt: skip
        points = [(along, across * turn) for along, across in points]
    corners = [
        painter.pixel(y + along * direction, lateral + across * direction)
        for along, across in points
    ]
    cv2.fillPoly(painter.paint, [np.array(corners, np.int32)], (255,))


def _paint_junction(painter: _Painter, draw: Draw, road: Road, junction: Junction) -> None:
    left, right = road.left_edge, road.right_edge
    low, high = junction.y - junction.half_width, junction.y + junction.half_width
    painter.box(painter.paint, low - 0.2, high + 0.2, left, right, 0)
    stop = low - 0.8
    if junction.crosswalk:
        stripe, length = draw.uniform(0.4, 0.6), draw.uniform(2.4, 4.0)
        for start in (low - 0.6 - length, high + 0.6):
            painter.box(painter.paint, start - 0.3, start + length + 0.3, left, right, 0)
            lateral = left + 0.4
            while lateral < right - 0.3:
                painter.box(painter.paint, start, start + length, lateral, lateral + stripe, 255)
                lateral += 2 * stripe
        stop = low - 1.6 - length
    for lane in road.lanes:
        if lane.direction and draw.chance(0.8):
            y = stop if lane.direction > 0 else 2 * junction.y - stop
            half = lane.width / 2 - 0.15
            painter.box(
                painter.paint, y - 0.25, y + 0.25, lane.lateral - half, lane.lateral + half, 255
            )


def _paint_track(painter: _Painter, draw: Draw, road: Road, track_m: float) -> None:
    in_road = road.left_edge < track_m < road.right_edge
    wear = painter.wear
    if not in_road or draw.chance(0.3):
        y = START_M
        shade = int(NEUTRAL * draw.uniform(0.5, 0.8))
        while not in_road and y < road.end_y:
            painter.box(wear, y, y + 0.3, track_m - 1.25, track_m + 1.25, shade)
            y += 0.7
        if in_road:
            painter.box(wear, START_M, road.end_y, track_m - 1.2, track_m + 1.2, shade)
    for side in (-0.72, 0.72):
        painter.box(wear, START_M, road.end_y, track_m + side - 0.1, track_m + side + 0.1, 45)
        painter.box(wear, START_M, road.end_y, track_m + side - 0.04, track_m + side + 0.02, 235)


class LightMap:
    """How much of the sun (or of the lamps) reaches the ground, in (y, lateral)."""

    def __init__(self, road: Road) -> None:
        self._road = road
        rows = int((road.end_y - START_M) / LIGHT_STEP_M)
        self._shape = (rows, int(2 * LIGHT_LIMIT_M / LIGHT_STEP_M))

    def shadows(
        self, scene: Scene, poses: Float64, objects: list[int], slant: tuple[float, float],
        base: UInt8 | None = None, blur: float = 0.0,
    ) -> UInt8:  # fmt: skip
        """Draw the shadows of ``objects``; 255 is full sun.

        ``slant`` is how far a shadow reaches per metre of height, in world x and y.
        """
        shade = np.full(self._shape, 255, np.uint8) if base is None else base.copy()
        for index in objects:
            footprint = scene.footprints[index]
            if footprint is not None:
                self._draw_shadow(shade, footprint, poses[index], slant)
        if blur:
            shade = np.asarray(cv2.GaussianBlur(shade, (0, 0), blur), np.uint8)
        return shade

    def lamps(self, places: tuple[tuple[float, float], ...]) -> UInt8:
        """Draw the light of street lamps."""
        light = np.zeros(self._shape, np.uint8)
        for x, y in places:
            column, row = self._pixel(x, y)
            radius = int(LAMP_RADIUS_M / LIGHT_STEP_M)
            for share in range(10):
                size = radius * (10 - share) // 10
                cv2.circle(light, (column, row), size, ((share + 1) * (share + 1) * 2,), -1)
        return np.asarray(cv2.GaussianBlur(light, (0, 0), 6), np.uint8)

    def look_up(self, plane: UInt8, y: Float32, lateral: Float32) -> Float32:
        """Return the values, 0..1, at places [n]."""
        rows, columns = plane.shape
        row = np.clip((y - START_M) * np.float32(1 / LIGHT_STEP_M), 0, rows - 1)
        column = np.clip(
            (lateral + np.float32(LIGHT_LIMIT_M)) * np.float32(1 / LIGHT_STEP_M), 0, columns - 1
        )
        place = row.astype(np.int32) * columns + column.astype(np.int32)
        values: Float32 = plane.ravel()[place].astype(np.float32) * np.float32(1 / 255)
        return values

    def at_objects(self, plane: UInt8, poses: Float64) -> Float32:
        """Return the values, 0..1, where objects stand [n]."""
        y = np.clip(poses[:, 1], START_M, self._road.end_y - 1)
        row = ((y - START_M) / STEP_M).astype(np.int64)
        lateral = poses[:, 0] - self._road.middle[row]
        return self.look_up(plane, y.astype(np.float32), lateral.astype(np.float32))

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        middle = self._road.middle
        row = min(max(int((y - START_M) / STEP_M), 0), len(middle) - 1)
        lateral = min(max(x - float(middle[row]), -500.0), 500.0)
        return round((lateral + LIGHT_LIMIT_M) / LIGHT_STEP_M), round((y - START_M) / LIGHT_STEP_M)

    def _draw_shadow(
        self, shade: UInt8, footprint: Footprint, pose: Float64, slant: tuple[float, float]
    ) -> None:
        x, y, _, cosine, sine = pose.tolist()
        half_width, half_length = footprint.width / 2, footprint.length / 2
        reach_x, reach_y = slant[0] * footprint.height, slant[1] * footprint.height
        if footprint.crown:
            middle = self._pixel(x + 0.65 * reach_x, y + 0.65 * reach_y)
            size = (
                round((half_width + 0.2 * abs(reach_x)) / LIGHT_STEP_M),
                round((half_length + 0.2 * abs(reach_y)) / LIGHT_STEP_M),
            )
            cv2.ellipse(shade, middle, size, 0, 0, 360, (70,), -1)
            cv2.line(shade, self._pixel(x, y), middle, (60,), 2)
            return
        # Boxes stand around their pose, buildings behind it; a little too much does no harm.
        corners = []
        for right, ahead in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            across, along = right * half_width, ahead * half_length
            if footprint.length > 8.5 and footprint.width > 4:
                along += half_length
            px = x + across * cosine + along * sine
            py = y - across * sine + along * cosine
            corners += [self._pixel(px, py), self._pixel(px + reach_x, py + reach_y)]
        hull = cv2.convexHull(np.array(corners, np.int32))
        cv2.fillConvexPoly(shade, hull, (30,))
