# SPDX-License-Identifier: Apache-2.0
"""The road of one sequence: its course, its lanes, what lies beside it, and its junctions.

Places are given as (y, lateral): y along the world's axis, lateral metres to the right of the
middle of the road. The road's middle is a graph x = f(y), and lateral = (x - f(y)) cos(heading).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

import numpy as np

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Float32
from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.classes import Ground
from camseg_core.synthetic.randomness import Draw
from camseg_core.synthetic.world.scene import Pose

QUARTER_TURN, HALF_TURN = 1.57079633, 3.14159265
START_M = -40.0
STEP_M = 0.02
LATERAL_LIMIT_M = 51.2
LATERAL_STEP_M = 0.05
BEYOND_M = 240.0
"""Length of the road ahead of the last frame."""

Style = Literal["urban", "verge", "residential", "park", "rural", "industrial", "rail"]


@dataclass(frozen=True)
class Side:
    """One side of a stretch of road.

    Attributes:
        style: what the place is like.
        strips: (material, width in metres) outwards from the road's edge; the last goes on.
        front_m: distance of house fronts, fences or hedges from the edge of the road.
        footway_m: middle of the footway from the edge of the road; 0 if there is none.
    """

    style: Style
    strips: tuple[tuple[Ground, float], ...]
    front_m: float
    footway_m: float


@dataclass(frozen=True)
class Section:
    """A stretch of road from ``start_y`` to ``end_y``; ``left`` and ``right`` are its sides."""

    start_y: float
    end_y: float
    left: Side
    right: Side

    def side(self, sign: int) -> Side:
        """Return the right side for 1, the left one for -1."""
        return self.right if sign > 0 else self.left


@dataclass(frozen=True)
class Junction:
    """A road that crosses at ``y``, its direction turned by ``angle`` from the world's x axis."""

    x: float
    y: float
    half_width: float
    footway: float
    angle: float
    crosswalk: bool
    lights: bool

    @property
    def reach(self) -> float:
        """Return half of the width with footways, metres."""
        return self.half_width + self.footway


@dataclass(frozen=True)
class Lane:
    """A lane; its direction is 1 for the ego vehicle's, -1 against it, 0 for parking."""

    lateral: float
    width: float
    direction: int


@dataclass(frozen=True)
class Road:
    """The road of one sequence.

    Attributes:
        middle, cosine: x of the middle and cosine of the heading every STEP_M from START_M.
        end_y: where the tables end.
        left_edge, right_edge: lateral of the kerbs; left is negative.
        lanes: every lane; ``ego_lane`` is the one driven in.
        kerb_m: height of footways above the road.
        tram: lateral of a track in the road, or None.
    """

    middle: Float32
    cosine: Float32
    end_y: float
    left_edge: float
    right_edge: float
    lanes: tuple[Lane, ...]
    ego_lane: Lane
    sections: tuple[Section, ...]
    junctions: tuple[Junction, ...]
    kerb_m: float
    tram: float | None
    markings: bool

    @property
    def driving(self) -> list[Lane]:
        """Return the lanes that are driven in."""
        return [lane for lane in self.lanes if lane.direction]

    @property
    def parking(self) -> list[Lane]:
        """Return the lanes that vehicles are parked in."""
        return [lane for lane in self.lanes if not lane.direction]

    def edge(self, sign: int) -> float:
        """Return the distance of the right (1) or left (-1) kerb from the middle, positive."""
        return self.right_edge if sign > 0 else -self.left_edge

    def place(self, y: float, lateral: float) -> tuple[float, float]:
        """Return x of a place and the road's heading there."""
        row = min(max(int((y - START_M) / STEP_M), 0), len(self.middle) - 2)
        cosine = float(self.cosine[row])
        slope = (float(self.middle[row + 1]) - float(self.middle[row])) / STEP_M
        heading = round(float(np.arctan(slope)), 3)
        return float(self.middle[row]) + lateral / cosine, heading

    def height(self, y: float, lateral: float) -> float:
        """Return the height of the ground at a place, metres."""
        sign = 1 if lateral > 0 else -1
        crossed = any(abs(y - junction.y) < junction.half_width for junction in self.junctions)
        if crossed or abs(lateral) < self.edge(sign):
            return 0.0
        for section in self.sections:
            if section.start_y <= y < section.end_y:
                return 0.0 if section.side(sign).style == "rural" else self.kerb_m
        return 0.0

    def pose(self, y: float, lateral: float, turn: float = 0.0) -> Pose:
        """Return the pose of something that stands at a place, turned from the road's direction."""
        x, heading = self.place(y, lateral)
        return Pose(x, y, self.height(y, lateral), heading + turn)

    def near_junction(self, y: float, margin: float) -> bool:
        """Return whether y is within ``margin`` of a crossing road or its footways."""
        return any(abs(y - junction.y) < junction.reach + margin for junction in self.junctions)


def make_road(seed: int, sequence: int, drive_m: float) -> Road:
    """Lay out a road for a drive of ``drive_m`` metres."""
    draw = Draw(seed, sequence, "road")
    end_y = drive_m + BEYOND_M
    middle, cosine = _course(draw, end_y)
    mirrored = -1 if draw.chance(0.3) else 1  # left-hand traffic
    lane_m = draw.uniform(2.9, 3.7)
    own, opposite = draw.pick([(1, 1), (1, 1), (2, 2), (2, 1), (1, 0), (2, 0)])
    tram_in_road = draw.chance(0.25)
    lanes = []
    left = right = 0.0 if opposite else -own * lane_m / 2
    for _ in range(own):
        lanes.append(Lane(mirrored * (right + lane_m / 2), lane_m, 1))
        right += lane_m
    if draw.chance(0.6):
        lanes.append(Lane(mirrored * (right + 1.1), 2.2, 0))
        right += 2.2
    for index in range(opposite):
        lanes.append(Lane(mirrored * -(index + 0.5) * lane_m, lane_m, -1))
        left = -(index + 1) * lane_m
    if draw.chance(0.5):
        lanes.append(Lane(mirrored * (left - 1.1), 2.2, 0))
        left -= 2.2
    ego_lane = draw.pick([lane for lane in lanes if lane.direction == 1])
    other = [lane for lane in lanes if lane.direction and lane is not ego_lane]
    tram = draw.pick(other).lateral if tram_in_road and other else None
    right, left = (right, left) if mirrored > 0 else (-left, -right)
    junctions = tuple(
        Junction(
            x=float(middle[int((y - START_M) / STEP_M)]), y=y, half_width=draw.uniform(3.0, 7.0),
            footway=draw.uniform(1.6, 3.2), angle=draw.uniform(-0.2, 0.2),
            crosswalk=draw.chance(0.7), lights=draw.chance(0.6),
        )
        for y in draw.places(draw.uniform(14, 70), end_y - 40, 50, 110)
        if draw.chance(0.8)
    )  # fmt: skip
    return Road(
        middle=middle, cosine=cosine, end_y=end_y, left_edge=left, right_edge=right,
        lanes=tuple(lanes), ego_lane=ego_lane, sections=_sections(seed, sequence, end_y, junctions),
        junctions=junctions, kerb_m=draw.uniform(0.1, 0.17), tram=tram,
        markings=draw.chance(0.88),
    )  # fmt: skip


def _course(draw: Draw, end_y: float) -> tuple[Float32, Float32]:
    """Draw a course of two slow waves; their slope stays below 0.45."""
    waves = []
    if draw.chance(0.7):
        for slope_limit in (0.28, 0.12):
            period = draw.uniform(140, 420)
            slope = draw.uniform(0.1, 1.0) * slope_limit
            waves.append((slope, period, draw.uniform(0, 6.2831853)))
    count = int((end_y - START_M) / 0.5) + 3
    coarse, slopes = np.zeros(count), np.zeros(count)
    for index, (slope, period, phase) in product(range(count), waves):
        rate = 6.283185307 / period
        cosine, sine = cos_sin(rate * (START_M + 0.5 * index) + phase)
        coarse[index] += slope / rate * sine
        slopes[index] += slope * cosine
    steps = np.arange(int((end_y - START_M) / STEP_M)) * (STEP_M / 0.5)
    whole = steps.astype(np.int64)
    part = steps - whole
    middle, slope = (
        values[whole] * (1 - part) + values[whole + 1] * part for values in (coarse, slopes)
    )
    middle -= coarse[int(-START_M / 0.5)]
    cosine = 1.0 / np.sqrt(1.0 + slope * slope)
    return middle.astype(np.float32), cosine.astype(np.float32)


TOWNS: tuple[tuple[tuple[Style, float], ...], ...] = (
    (("urban", 6), ("verge", 2), ("park", 1)),
    (("residential", 5), ("verge", 2), ("urban", 1), ("park", 1)),
    (("verge", 3), ("urban", 2), ("park", 2), ("industrial", 1)),
    (("rural", 5), ("park", 1), ("residential", 2)),
    (("industrial", 4), ("rail", 1), ("verge", 2), ("rural", 1)),
)


def _sections(
    seed: int, sequence: int, end_y: float, junctions: tuple[Junction, ...]
) -> tuple[Section, ...]:
    draw = Draw(seed, sequence, "sections")
    town = draw.pick(TOWNS)
    breaks = [START_M, *(junction.y for junction in junctions), end_y + 1]
    sections: list[Section] = []
    for start, end in pairwise(breaks):
        parts = max(1, round((end - start) / draw.uniform(40, 90)))
        cuts = [start + (end - start) * part / parts for part in range(parts + 1)]
        for low, high in pairwise(cuts):
            left, right = (_side(draw, draw.pick_weighted(town)) for _ in range(2))
            sections.append(Section(low, high, left, right))
    return tuple(sections)


def _side(draw: Draw, style: Style) -> Side:
    footway = draw.uniform(1.6, 4.2)
    paving = draw.pick([Ground.PAVING, Ground.PAVING, Ground.PAVING_SECOND])
    green = draw.pick([Ground.GRASS, Ground.GRASS, Ground.GRASS, Ground.SOIL, Ground.GRAVEL])
    verge = draw.uniform(1.0, 2.6)
    low = draw.pick([Ground.GRASS_LOW, Ground.GRASS_LOW, Ground.SOIL_LOW, Ground.GRAVEL_LOW])
    strips = [(paving, footway), (green, 60.0)]
    front, middle = footway + 0.3, footway / 2
    if style == "urban":
        front = draw.uniform(2.2, 5.5)
        strips, middle = [(paving, 60.0)], front * 0.55
    elif style == "verge":
        strips.insert(0, (green, verge))
        front, middle = verge + footway + draw.uniform(0, 4), verge + middle
    elif style == "residential":
        gardens = [Ground.GRASS, Ground.GRASS, Ground.SOIL, Ground.PAVING_SECOND]
        strips[1], front = (draw.pick(gardens), 60.0), footway + 0.15
    elif style == "park":
        front = footway + draw.uniform(0.3, 2)
    elif style == "industrial":
        strips[1] = (draw.pick([Ground.GRAVEL, Ground.PAVING_SECOND, Ground.SOIL]), 60.0)
    elif style == "rail":
        strips = [(draw.pick([paving, green]), 1.5), (Ground.GRAVEL, 7.0), (green, 60.0)]
        front, middle = 10.0, 0.0
    else:
        strips = [(low, verge * 2), (Ground.GRASS_LOW, 60.0)]
        front, middle = verge * 2, 0.0
    return Side(style, tuple(strips), front, middle)


def lateral_table(road: Road) -> UInt8:
    """Return the material per section and lateral step: uint8 [sections, columns]."""
    columns = int(2 * LATERAL_LIMIT_M / LATERAL_STEP_M)
    lateral = (np.arange(columns) + 0.5) * LATERAL_STEP_M - LATERAL_LIMIT_M
    table = np.full((len(road.sections), columns), Ground.LANE, np.uint8)
    for (row, section), sign in product(zip(table, road.sections, strict=True), (-1, 1)):
        outward = sign * lateral - road.edge(sign)
        begin = 0.0
        for material, width in section.side(sign).strips:
            row[(outward >= begin) & (outward < begin + width)] = material
            begin += width
    for lane in road.parking:
        table[:, np.abs(lateral - lane.lateral) < lane.width / 2] = Ground.LANE_PARKING
    return table
