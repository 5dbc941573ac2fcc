# SPDX-License-Identifier: Apache-2.0
"""Maps of the road from above, in (y, lateral): markings and wear, shadows, lamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import cv2
import numpy as np

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Float32, Float64
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.render.light import Light
from camseg_core.synthetic.textures.atlas import noise
from camseg_core.synthetic.world.road import START_M, STEP_M, Junction, Road
from camseg_core.synthetic.world.scene import Footprint, Scene

NEUTRAL = 128
LAMP_RADIUS_M = 11.0
Shares = tuple[Float32, Float32 | None]
"""Shares of the sun's and, by night, of the lamps' light, 0..1, at n places."""


@dataclass(frozen=True)
class MapGrid:
    """Rows of ``step_y_m`` along y from START_M, columns of ``step_m`` from -limit_m to limit_m."""

    step_y_m: float
    step_m: float
    limit_m: float

    def empty(self, end_y: float, value: int) -> UInt8:
        """Return a map up to ``end_y`` that is ``value`` everywhere."""
        rows = int((end_y - START_M) / self.step_y_m)
        return np.full((rows, int(2 * self.limit_m / self.step_m)), value, np.uint8)

    def pixel(self, y: float, lateral: float) -> tuple[int, int]:
        """Return (column, row) of a place."""
        column = round((lateral + self.limit_m) / self.step_m)
        return column, round((y - START_M) / self.step_y_m)

    def look_up(self, plane: UInt8, y: Float32, lateral: Float32) -> Float32:
        """Return the values of a map at places [n], 0..255."""
        rows, columns = plane.shape
        row = np.clip((y - START_M) * np.float32(1 / self.step_y_m), 0, rows - 1)
        column = (lateral + np.float32(self.limit_m)) * np.float32(1 / self.step_m)
        column = np.clip(column, 0, columns - 1).astype(np.int32)
        return plane.ravel()[row.astype(np.int32) * columns + column].astype(np.float32)


PAINT_GRID = MapGrid(0.1, 0.05, 19.2)
LIGHT_GRID = MapGrid(0.2, 0.2, 38.4)


class RoadSurface:
    """Maps of the asphalt: opacity of ``paint`` (255 opaque), and brightness (NEUTRAL is usual)."""

    def __init__(self, end_y: float) -> None:
        self.paint = PAINT_GRID.empty(end_y, 0)
        self.wear = PAINT_GRID.empty(end_y, NEUTRAL)
        self._end_y = end_y

    def look_up(self, y: Float32, lateral: Float32) -> tuple[Float32, Float32]:
        """Return paint (0..1) and brightness (about 1) at places [n]."""
        paint = PAINT_GRID.look_up(self.paint, y, lateral) * np.float32(1 / 255)
        return paint, PAINT_GRID.look_up(self.wear, y, lateral) * np.float32(1 / NEUTRAL)

    def box(self, plane: UInt8, y0: float, y1: float, x0: float, x1: float, value: int) -> None:
        """Fill a rectangle."""
        left, top = PAINT_GRID.pixel(y0, x0)
        right, bottom = PAINT_GRID.pixel(y1, x1)
        plane[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, left + 1, 0)] = value

    def strip(self, plane: UInt8, x0: float, x1: float, value: int) -> None:
        """Fill a strip along the whole road."""
        self.box(plane, START_M, self._end_y, x0, x1, value)

    def dashes(self, lateral: float, width: float, length: float = 1.0, gap: float = 0.0) -> None:
        """Draw a dashed line along the road; without a gap it is solid."""
        left, right = lateral - width / 2, lateral + width / 2
        if gap <= 0:
            self.strip(self.paint, left, right, 255)
            return
        y = START_M
        while y < self._end_y:
            self.box(self.paint, y, y + length, left, right, 255)
            y += length + gap


def paint_road(seed: int, sequence: int, road: Road, track_m: float | None) -> RoadSurface:
    """Paint markings, rails, patches and stains."""
    draw = Draw(seed, sequence, "markings")
    surface = RoadSurface(road.end_y)
    wear = surface.wear
    for _ in range(int(road.end_y / 6)):  # repairs
        y, lateral = draw.uniform(-20, road.end_y), draw.uniform(road.left_edge, road.right_edge)
        length, width = draw.uniform(0.4, 9), draw.uniform(0.3, 2.2)
        value = int(NEUTRAL * draw.uniform(0.72, 1.2))
        surface.box(wear, y, y + length, lateral - width, lateral + width, value)
    for lane, side in product(road.driving, (-0.8, 0.8)):  # where wheels run
        left = lane.lateral + side - 0.25
        surface.strip(wear, left, left + 0.5, int(NEUTRAL * draw.uniform(0.86, 1.0)))
    for _ in range(int(road.end_y / 14)):
        y, lateral = draw.uniform(0, road.end_y), draw.uniform(road.left_edge, road.right_edge)
        place = PAINT_GRID.pixel(y, lateral)
        cv2.ellipse(wear, place, (7, 4), 0, 0, 360, (int(NEUTRAL * draw.uniform(0.5, 0.8)),), -1)
    if road.markings:
        _paint_lanes(surface, draw, road)
        for junction in road.junctions:
            _paint_junction(surface, draw, road, junction)
    if track_m is not None:
        _paint_track(surface, draw, road, track_m)
    random = generator(seed, sequence, "worn paint")
    worn = np.float32(draw.uniform(0.0, 0.5)) * (0.5 + noise(random, 256, 256, 16, 4, 0.8))
    keep = np.clip(255 * (1 - worn), 30, 255).astype(np.uint8)
    rows, columns = wear.shape
    keep = np.tile(keep, (rows // 256 + 1, columns // 256 + 1))[:rows, :columns]
    np.minimum(surface.paint, keep, out=surface.paint)
    return surface


def _paint_lanes(surface: RoadSurface, draw: Draw, road: Road) -> None:
    width = draw.uniform(0.1, 0.18)
    length, gap = draw.pick([(3.0, 6.0), (3.0, 3.0), (6.0, 12.0), (1.5, 1.5)])
    driving = sorted(road.driving, key=lambda lane: lane.lateral)
    for left, right in pairwise(driving):
        border = (left.lateral + left.width / 2 + right.lateral - right.width / 2) / 2
        if left.direction == right.direction:
            surface.dashes(border, width, length, gap)
        elif draw.chance(0.3):
            surface.dashes(border - 0.12, width)
            surface.dashes(border + 0.12, width)
        else:
            surface.dashes(border, width, length, draw.pick([0.0, gap]))
    if draw.chance(0.55):
        outer = draw.uniform(0.1, 0.4)
        surface.dashes(driving[0].lateral - driving[0].width / 2 + outer, width)
        surface.dashes(driving[-1].lateral + driving[-1].width / 2 - outer, width)
    for lane in road.lanes:
        if lane.direction == 0 and draw.chance(0.6):
            for y in draw.places(START_M, road.end_y, 6.0):
                surface.box(surface.paint, y, y + 0.12, lane.lateral - 1.1, lane.lateral + 1.1, 255)
        elif lane.direction and draw.chance(0.35):
            for y in draw.places(draw.uniform(10, 60), road.end_y - 10, 25, 70):
                _paint_arrow(surface, y, lane.lateral, lane.direction, draw.integer(3))


def _paint_arrow(surface: RoadSurface, y: float, lateral: float, direction: int, kind: int) -> None:
    points = [(0, -0.08), (2.6, -0.08), (2.6, -0.4), (4, 0), (2.6, 0.4), (2.6, 0.08), (0, 0.08)]
    if kind:
        points = [(0, -0.08), (2.0, -0.08), (2.0, 0.3), (1.4, 0.3), (2.3, 0.9), (3.2, 0.3),
                  (2.6, 0.3), (2.6, -0.08)]  # fmt: skip
    right = direction * (-1 if kind == 2 else 1)
    corners = [PAINT_GRID.pixel(y + u * direction, lateral + v * right) for u, v in points]
    cv2.fillPoly(surface.paint, [np.array(corners, np.int32)], (255,))


def _paint_junction(surface: RoadSurface, draw: Draw, road: Road, junction: Junction) -> None:
    left, right = road.left_edge, road.right_edge
    low, high = junction.y - junction.half_width, junction.y + junction.half_width
    surface.box(surface.paint, low - 0.2, high + 0.2, left, right, 0)
    stop = low - 0.8
    if junction.crosswalk:
        stripe, length = draw.uniform(0.4, 0.6), draw.uniform(2.4, 4.0)
        for start in (low - 0.6 - length, high + 0.6):
            surface.box(surface.paint, start - 0.3, start + length + 0.3, left, right, 0)
            for lateral in draw.places(left + 0.4, right - 0.3, 2 * stripe):
                surface.box(surface.paint, start, start + length, lateral, lateral + stripe, 255)
        stop = low - 1.6 - length
    for lane in road.driving:
        if draw.chance(0.8):
            y = stop if lane.direction > 0 else 2 * junction.y - stop
            half = lane.width / 2 - 0.15
            left, right = lane.lateral - half, lane.lateral + half
            surface.box(surface.paint, y - 0.25, y + 0.25, left, right, 255)


def _paint_track(surface: RoadSurface, draw: Draw, road: Road, track_m: float) -> None:
    wear = surface.wear
    in_road = road.left_edge < track_m < road.right_edge
    if not in_road or draw.chance(0.3):
        shade = int(NEUTRAL * draw.uniform(0.5, 0.8))
        if in_road:
            surface.strip(wear, track_m - 1.2, track_m + 1.2, shade)
        else:
            for y in draw.places(START_M, road.end_y, 0.7):
                surface.box(wear, y, y + 0.3, track_m - 1.25, track_m + 1.25, shade)
    for rail in (track_m - 0.72, track_m + 0.72):
        surface.strip(wear, rail - 0.1, rail + 0.1, 45)
        surface.strip(wear, rail - 0.04, rail + 0.02, 235)


class LightMap:
    """How much of the sun and of the street lamps reaches the ground, in (y, lateral)."""

    def __init__(
        self, road: Road, scene: Scene, light: Light, lamps: tuple[tuple[float, float], ...]
    ) -> None:
        self._road, self._scene = road, scene
        x, y, z = light.to_sun
        self._slant = (-x / z, -y / z)  # how far shadows reach per metre of height
        poses = scene.poses(0.0)
        resting = sorted(set(range(len(poses))) - set(scene.moving))
        sun = LIGHT_GRID.empty(road.end_y, 255)
        self._draw_shadows(sun, resting, poses)
        self._sun = np.asarray(cv2.GaussianBlur(sun, (0, 0), light.softness), np.uint8)
        self._lamps = self._lamp_light(lamps) if light.night else None

    def on_ground(self, poses: Float64, y: Float32, lateral: Float32) -> Shares:
        """Return the light at places [n] on the ground."""
        sun = self._sun.copy()
        self._draw_shadows(sun, self._scene.moving, poses)
        return self._shares(sun, y, lateral)

    def at_objects(self, poses: Float64) -> Shares:
        """Return the light where objects stand [n]."""
        y = np.clip(poses[:, 1], START_M, self._road.end_y - 1)
        row = ((y - START_M) / STEP_M).astype(np.int64)
        lateral = poses[:, 0] - self._road.middle[row]
        moving, lamps = self._shares(self._sun, y.astype(np.float32), lateral.astype(np.float32))
        sun = np.ones_like(moving)  # what rests casts the shadows of this map itself
        sun[list(self._scene.moving)] = moving[list(self._scene.moving)]
        return sun, lamps

    def _shares(self, sun: UInt8, y: Float32, lateral: Float32) -> Shares:
        scale = np.float32(1 / 255)
        share = LIGHT_GRID.look_up(sun, y, lateral) * scale
        if self._lamps is None:
            return share, None
        return share, LIGHT_GRID.look_up(self._lamps, y, lateral) * scale

    def _lamp_light(self, places: tuple[tuple[float, float], ...]) -> UInt8:
        light = LIGHT_GRID.empty(self._road.end_y, 0)
        radius = int(LAMP_RADIUS_M / LIGHT_GRID.step_m)
        for x, y in places:
            for share in range(10):
                size = radius * (10 - share) // 10
                cv2.circle(light, self._pixel(x, y), size, ((share + 1) * (share + 1) * 2,), -1)
        return np.asarray(cv2.GaussianBlur(light, (0, 0), 6), np.uint8)

    def _draw_shadows(self, shade: UInt8, objects: Sequence[int], poses: Float64) -> None:
        for index in objects:
            footprint = self._scene.footprints[index]
            if footprint is not None:
                self._draw_shadow(shade, footprint, poses[index])

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        middle = self._road.middle
        row = min(max(int((y - START_M) / STEP_M), 0), len(middle) - 1)
        lateral = min(max(x - float(middle[row]), -500.0), 500.0)
        return LIGHT_GRID.pixel(y, lateral)

    def _draw_shadow(self, shade: UInt8, footprint: Footprint, pose: Float64) -> None:
        x, y, _, cosine, sine = pose.tolist()
        half_width, half_length = footprint.width / 2, footprint.length / 2
        reach_x, reach_y = (slant * footprint.height for slant in self._slant)
        if footprint.crown:
            middle = self._pixel(x + 0.65 * reach_x, y + 0.65 * reach_y)
            radii = (half_width + 0.2 * abs(reach_x), half_length + 0.2 * abs(reach_y))
            size = [round(radius / LIGHT_GRID.step_m) for radius in radii]
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
