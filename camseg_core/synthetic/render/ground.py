# SPDX-License-Identifier: Apache-2.0
"""The ground: where each pixel's ray meets the plane of the road or that of the footways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Bool, Float32, Float64, Index
from camseg_core.synthetic.camera import Camera, cos_sin
from camseg_core.synthetic.classes import Ground
from camseg_core.synthetic.world.road import (
    LATERAL_LIMIT_M,
    LATERAL_STEP_M,
    START_M,
    STEP_M,
    Junction,
    Road,
    lateral_table,
)

PointAt = Callable[[Float64, Index], tuple[Float32, Float32]]

HORIZON_M = 5000.0
KERB_STEPS = 6
"""Halvings that find a kerb's face between the two planes."""


@dataclass(frozen=True)
class GroundPixels:
    """The n pixels that show the ground.

    Attributes:
        pixel: index into the flattened image [n].
        inverse_depth: 1 / metres, float64 [n].
        material: ground material as numbered in `road`, uint8 [n].
        x, y: position in the world, metres, float32 [n].
        lateral: distance from the middle of the road, metres, float32 [n].
        kerb: whether the pixel shows the face of a kerb, bool [n].
        crossing: crossing roads, each with its pixels' indices into [n], and their distances along
            and across it, metres.
    """

    pixel: Index
    inverse_depth: Float64
    material: UInt8
    x: Float32
    y: Float32
    lateral: Float32
    kerb: Bool
    crossing: tuple[tuple[Junction, Index, Float32, Float32], ...]


class GroundPlanes:
    """The ground of one road."""

    def __init__(self, road: Road) -> None:
        self._road = road
        table = lateral_table(road)
        self._table = table.ravel()
        self._section_start = np.zeros(len(road.middle), np.int32)
        for number, part in enumerate(road.sections):
            row = max(0, int((part.start_y - START_M) / STEP_M))
            self._section_start[row:] = number * table.shape[1]

    def pixels(self, camera: Camera, inverse_depth: Float64) -> GroundPixels:
        """Find the pixels where the ground is nearer than ``inverse_depth`` [H, W] says."""
        pitch_cos, pitch_sin = cos_sin(camera.pitch_rad)
        rows = (np.arange(camera.height) + 0.5 - camera.center_y) / camera.focal_px
        columns = (np.arange(camera.width) + 0.5 - camera.center_x) / camera.focal_px
        descent = pitch_cos * rows + pitch_sin  # metres down per metre of depth
        height = camera.position_m[2]
        raised = descent / (height - self._road.kerb_m)
        hit = descent / height > 1.0 / HORIZON_M
        pixel = np.flatnonzero((raised[:, None] > inverse_depth) & hit[:, None])
        row, column = np.divmod(pixel, camera.width)
        descent_at = descent[row]
        # Right and ahead per metre of depth, and those in world axes.
        yaw_cos, yaw_sin = cos_sin(camera.yaw_rad)
        across, ahead = columns[column], (pitch_cos - pitch_sin * rows)[row]
        ray_x = across * yaw_cos + ahead * yaw_sin
        ray_y = ahead * yaw_cos - across * yaw_sin

        def point(inverse: Float64, chosen: Index | slice) -> tuple[Float32, Float32]:
            x = camera.position_m[0] + ray_x[chosen] / inverse
            y = camera.position_m[1] + ray_y[chosen] / inverse
            return x.astype(np.float32), y.astype(np.float32)

        inverse = raised[row]
        x, y = point(inverse, slice(None))
        material, lateral = self._material(x, y)
        low = np.flatnonzero(~_raised(material))
        low_inverse = descent_at[low] / height
        low_x, low_y = point(low_inverse, low)
        low_material, low_lateral = self._material(low_x, low_y)
        inverse[low] = low_inverse
        material[low] = low_material
        x[low], y[low], lateral[low] = low_x, low_y, low_lateral
        kerb = np.zeros(len(pixel), bool)
        at_kerb = low[_raised(low_material)]
        kerb[at_kerb] = True
        inverse[at_kerb] = self._kerb_face(point, descent_at[at_kerb], at_kerb, height)
        kept = np.flatnonzero(inverse > inverse_depth.ravel()[pixel])
        x, y = x[kept], y[kept]
        return GroundPixels(
            pixel[kept], inverse[kept], material[kept], x, y, lateral[kept], kerb[kept],
            tuple(self._crossing(x, y)),
        )  # fmt: skip

    def _kerb_face(self, point: PointAt, descent: Float64, chosen: Index, height: float) -> Float64:
        """Halve the height between road and footway until the kerb's face is found."""
        kerb = self._road.kerb_m
        low, high = np.zeros(len(chosen)), np.full(len(chosen), kerb)
        for _ in range(KERB_STEPS):
            middle = (low + high) / 2
            inside = _raised(self._material(*point(descent / (height - middle), chosen))[0])
            low = np.where(inside, middle, low)
            high = np.where(inside, high, middle)
        inverse: Float64 = descent / (height - (low + high) / 2)
        return inverse

    def _material(self, x: Float32, y: Float32) -> tuple[UInt8, Float32]:
        """Return material and lateral distance of world places [n]."""
        road = self._road
        row = (np.clip(y, START_M, road.end_y - 1) - np.float32(START_M)) / np.float32(STEP_M)
        row_index = row.astype(np.int32)
        lateral = (x - road.middle[row_index]) * road.cosine[row_index]
        limit = np.float32(LATERAL_LIMIT_M - 0.01)
        column = np.clip(lateral, -limit, limit) + np.float32(LATERAL_LIMIT_M)
        column = (column / np.float32(LATERAL_STEP_M)).astype(np.int32)
        material = self._table[self._section_start[row_index] + column]
        for junction, inside, _, across in self._crossing(x, y):
            on_lane = np.abs(across) < np.float32(junction.half_width)
            crossing = np.where(on_lane, Ground.LANE, Ground.PAVING).astype(np.uint8)
            material[inside] = np.maximum(material[inside], crossing)
        far = (y > np.float32(road.end_y)) & (material < Ground.GRASS)
        material[far] = Ground.GRASS_LOW
        return material, lateral

    def _crossing(self, x: Float32, y: Float32) -> list[tuple[Junction, Index, Float32, Float32]]:
        """Return each crossing road with the points on it or its footways, along and across it."""
        found: list[tuple[Junction, Index, Float32, Float32]] = []
        if len(y) == 0:
            return found
        low, high = float(y.min()), float(y.max())
        for junction in self._road.junctions:
            if not low - 20 < junction.y < high + 20:
                continue
            cosine, sine = (np.float32(value) for value in cos_sin(junction.angle))
            dx, dy = x - np.float32(junction.x), y - np.float32(junction.y)
            across = dy * cosine - dx * sine
            inside = np.flatnonzero(np.abs(across) < np.float32(junction.reach))
            if len(inside):
                along = dx[inside] * cosine + dy[inside] * sine
                found.append((junction, inside, along, across[inside]))
        return found


def _raised(material: UInt8) -> Bool:
    """Return which materials lie a kerb higher than the road."""
    return (material >= Ground.GRASS) & (material <= Ground.PAVING_SECOND)
