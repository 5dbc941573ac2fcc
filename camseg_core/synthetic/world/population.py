# SPDX-License-Identifier: Apache-2.0
"""What stands along the road, stretch by stretch and side by side."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.randomness import Draw
from camseg_core.synthetic.world.road import HALF_TURN, QUARTER_TURN, Junction, Road, Section
from camseg_core.synthetic.world.roadside import Roadside
from camseg_core.synthetic.world.scene import Pose

BEHIND_M = -25.0
BUILT_LIMIT_M = 190.0
"""Nothing is built further than this beyond the last frame's place."""


@dataclass(frozen=True)
class Population:
    """Builds both sides of the road.

    Attributes:
        shown: kinds of things that this sequence has to show.
        drive_m: distance that the ego vehicle drives.
        near: what has to line the first stretch, "wall" or "fence", by side (-1, 1).
    """

    road: Road
    roadside: Roadside
    draw: Draw
    shown: frozenset[str]
    drive_m: float
    near: dict[int, str]

    def populate(self) -> None:
        """Build everything."""
        for section, sign in product(self.road.sections, (-1, 1)):
            self._side(section, sign)
        beyond_m = self.drive_m * 0.4 + 8
        ahead = [j for j in self.road.junctions if j.y - j.reach > beyond_m]
        for junction in self.road.junctions:
            self._corners(junction, junction in ahead[:1] and "traffic light" in self.shown)
        self._signs()
        self._backdrop()

    def _stretches(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return the parts of a stretch between crossing roads."""
        start, end = max(start, BEHIND_M), min(end, self.drive_m + BUILT_LIMIT_M)
        pieces = [(start, end)]
        for junction in self.road.junctions:
            low, high = junction.y - junction.reach - 0.5, junction.y + junction.reach + 0.5
            cut = []
            for first, last in pieces:
                cut += [(first, min(last, low)), (max(first, high), last)]
            pieces = [(first, last) for first, last in cut if last - first > 3]
        return pieces

    def _side(self, section: Section, sign: int) -> None:
        draw, road = self.draw, self.road
        side = section.side(sign)
        style, edge = side.style, road.edge(sign)
        front = edge + side.front_m
        for start, end in self._stretches(section.start_y, section.end_y):
            near = start < self.drive_m + 45 and end > 5
            line = self.near.get(sign, "") if near else ""
            if line:
                self._line(line, start, end, sign * front)
            self._lamps(start, end, sign, edge)
            if style == "urban" and not line:
                self._houses(start, end, sign, front, (3, 7), draw.uniform(0, 0.1))
                if draw.chance(0.4):
                    self._trees(start, end, sign * (edge + 0.8), (4, 8), 0.6)
            elif style in ("urban", "verge"):
                setback = front + (2 if line else 0)
                self._trees(start, end, sign * (edge + 0.9), (5, 11), 0.7)
                self._houses(start, end, sign, setback, (2, 6), draw.uniform(0.05, 0.4))
            elif style == "residential":
                if not line:
                    lines = ["fence", "wall", "hedge", "hedge", "", ""]
                    self._line(draw.pick(lines), start, end, sign * front)
                self._houses(start, end, sign, front + draw.uniform(3, 8), (1, 3), 0.3)
                self._scattered(start, end, sign, front + 1.2, 0.5)
            elif style == "park":
                if not line and draw.chance(0.3):
                    self._line(draw.pick(["fence", "hedge", "wall"]), start, end, sign * front)
                self._scattered(start, end, sign, front, 1.3)
                self._scattered(start, end, sign, front + 9, 1.5)
            elif style == "industrial":
                if not line and draw.chance(0.7):
                    self._line(draw.pick(["fence", "wall"]), start, end, sign * front)
                self._houses(start, end, sign, front + draw.uniform(4, 12), (0, 0), 0.4)
                self._scattered(start, end, sign, front + 2, 0.3)
            elif style == "rail":
                self._line(draw.pick(["fence", "hedge", ""]), start, end, sign * (edge + 0.9))
                self._scattered(start, end, sign, front + 2, 1.2)
            else:
                if not line and draw.chance(0.35):
                    self._banks(start, end, sign, front)
                elif not line and draw.chance(0.35):
                    self._line(draw.pick(["fence", "hedge"]), start, end, sign * front)
                self._scattered(start, end, sign, front + 2, 0.7)
                self._houses(start, end, sign, front + draw.uniform(6, 25), (1, 2), 0.8)

    def _line(self, kind: str, start: float, end: float, lateral: float) -> None:
        """Put up a wall, a fence or a hedge, with gaps."""
        draw, roadside = self.draw, self.roadside
        if not kind:
            return
        piece = 3.0 if kind == "fence" else 5.0
        heights = draw.uniform(1.0, 3.2), draw.uniform(0.9, 2.0), draw.uniform(0.7, 2.4)
        fence, wall, hedge = roadside.fence_look(), roadside.wall_look(), roadside.hedge_look()
        add, look, height = {
            "wall": (roadside.add_wall, wall, heights[0]),
            "fence": (roadside.add_fence, fence, heights[1]),
            "hedge": (roadside.add_hedge, hedge, heights[2]),
        }[kind]
        gaps = draw.uniform(0.0, 0.1)
        for y in draw.places(start + piece / 2, end - piece / 2, piece):
            if not draw.chance(gaps):
                _, ahead = self.road.place(y + piece / 2, lateral)
                length = piece / cos_sin(ahead)[0] + 0.12
                add(self.road.pose(y, lateral), length, height, look)

    def _houses(
        self, start: float, end: float, sign: int, front: float, storeys: tuple[int, int],
        gap: float,
    ) -> None:  # fmt: skip
        """Put up houses; storeys (0, 0) means halls."""
        draw = self.draw
        y = start
        usual = storeys[0] + draw.integer(storeys[1] - storeys[0] + 1)
        while y < end - 5:
            if draw.chance(gap):
                y += draw.uniform(4, 14)
                continue
            hall = storeys[1] == 0
            width = draw.uniform(16, 40) if hall else draw.uniform(8, 20)
            width = min(width, end - y)
            if width < 5:
                break
            depth = draw.uniform(9, 15)
            count = min(max(1, usual + draw.integer(3) - 1), max(storeys[1], 1))
            lateral = sign * (front + 0.1 + draw.uniform(0, 0.6))
            pose = self.road.pose(y + width / 2, lateral, sign * QUARTER_TURN)
            self.roadside.add_building(pose, width, depth, count, hall)
            y += width + draw.pick([0.0, 0.0, 0.0, 3.0])

    def _trees(
        self, start: float, end: float, lateral: float, heights: tuple[float, float], share: float
    ) -> None:
        draw = self.draw
        spacing = draw.uniform(6, 13)
        height = draw.uniform(*heights)
        y = start + draw.uniform(1, spacing)
        while y < end:
            if draw.chance(share):
                self.roadside.add_plant(self.road.pose(y, lateral), height * draw.uniform(0.8, 1.2))
            y += spacing * draw.uniform(0.8, 1.2)

    def _scattered(self, start: float, end: float, sign: int, inner: float, density: float) -> None:
        """Grow trees and bushes at random beyond ``inner``."""
        draw = self.draw
        y = start
        while y < end:
            y += draw.uniform(2, 9) / density
            lateral = sign * (inner + draw.uniform(0.8, 8))
            bush = draw.chance(0.45)
            height = draw.uniform(0.7, 2.6) if bush else draw.uniform(4, 13)
            self.roadside.add_plant(self.road.pose(y, lateral), height, bush)

    def _banks(self, start: float, end: float, sign: int, lateral: float) -> None:
        height = self.draw.uniform(1.0, 4.5)
        grass = self.draw.near(self.roadside.grass, 0.25)
        palette = self.roadside.builder.add_palette({1: grass})
        for y in self.draw.places(start + 3.0, end - 3.0, 6.0):
            self.roadside.add_bank(self.road.pose(y, sign * lateral), 6.4, height, sign, palette)

    def _lamps(self, start: float, end: float, sign: int, edge: float) -> None:
        draw, roadside = self.draw, self.roadside
        if draw.chance(0.3) and "pole" not in self.shown:
            return
        metal = roadside.metal_look()
        height, arm = draw.uniform(4.2, 8.5), draw.pick([0.0, 1.4, 2.2])
        spacing = draw.uniform(16, 30)
        for y in draw.places(start + draw.uniform(2, spacing), end, spacing):
            pose = self.road.pose(y, sign * (edge + 0.5))
            roadside.add_street_lamp(pose, height, -sign * arm, metal)
        if draw.chance(0.3):
            first = start + draw.uniform(0, 10)
            step = draw.uniform(1.4, 2.6)
            places = [first + step * index for index in range(4 + draw.integer(6))]
            lateral = sign * (edge + 0.3)
            poses = [self.road.pose(place, lateral) for place in places if place < end]
            roadside.add_bollards(poses, metal)

    def _corners(self, junction: Junction, lights: bool) -> None:
        """Put up traffic lights, signs and the houses along the crossing road."""
        draw, roadside, road = self.draw, self.roadside, self.road
        if junction.lights or lights:
            state = draw.integer(3)
            before = junction.y - junction.reach + 0.4
            for sign in (-1, 1):
                arm = -sign * draw.uniform(2.5, 4.5) if draw.chance(0.35) else 0.0
                post = sign * (road.edge(sign) + 0.6)
                roadside.add_traffic_light(road.pose(before, post), state, arm)
                beyond = road.pose(junction.y + junction.reach - 0.4, post, HALF_TURN)
                roadside.add_traffic_light(beyond, draw.integer(3))
                if draw.chance(0.6):  # repeated on the far side, facing the ego vehicle
                    post = sign * (road.edge(sign) + 0.9)
                    pose = road.pose(junction.y + junction.reach, post)
                    roadside.add_traffic_light(pose, state)
        if draw.chance(0.5):
            roadside.add_sign(road.pose(junction.y - junction.reach - 3, road.edge(1) + 0.8))
        for sign, side in product((-1, 1), repeat=2):
            self._crossing_houses(junction, sign, side)

    def _crossing_houses(self, junction: Junction, sign: int, beyond: int) -> None:
        """Line one arm of a crossing road."""
        draw = self.draw
        cosine, sine = cos_sin(junction.angle)
        along = self.road.edge(sign) + 20.0
        kind = draw.pick(["houses", "houses", "trees"])
        for _ in range(2):
            width = draw.uniform(10, 18)
            place, side = sign * (along + width / 2), beyond * (junction.reach + 1.0)
            x = junction.x + place * cosine - side * sine
            y = junction.y + place * sine + side * cosine
            if kind == "houses":
                pose = Pose(x, y, 0.0, (0.0 if beyond > 0 else HALF_TURN) - junction.angle)
                self.roadside.add_building(pose, width, 10.0, 2 + draw.integer(4))
            else:
                self.roadside.add_plant(Pose(x, y + beyond, 0.0, 0.0), draw.uniform(5, 11))
            along += width + draw.uniform(0, 4)

    def _signs(self) -> None:
        draw, road = self.draw, self.road
        for y in draw.places(draw.uniform(9, 18), self.drive_m + 120, 8, 26):
            sign = draw.sign()
            if not road.near_junction(y, 0.3):
                turn = 0.0 if draw.chance(0.75) else HALF_TURN
                lateral = sign * (road.edge(sign) + draw.uniform(0.4, 1.1))
                self.roadside.add_sign(road.pose(y, lateral, turn))
        if "traffic light" in self.shown and draw.chance(0.6):  # a pedestrian crossing's
            y = draw.uniform(14, 24) + self.drive_m * 0.4
            state = draw.integer(3)
            for sign in (-1, 1):
                pose = self.road.pose(y, sign * (road.edge(sign) + 0.5))
                self.roadside.add_traffic_light(pose, state)

    def _backdrop(self) -> None:
        """Close the view far ahead, in part."""
        draw, road = self.draw, self.road
        y = min(self.drive_m + BUILT_LIMIT_M + 15, road.end_y - 2)
        middle, _ = road.place(y, 0.0)
        kind = draw.pick(["houses", "trees", "hills", "mixed", "mixed", "open"])
        for place in range(-9, 10):
            x = middle + place * 16.0 + draw.uniform(-5, 5)
            far = y + draw.uniform(0, 25)
            what = kind if kind != "mixed" else draw.pick(["houses", "trees", "hills", "open"])
            if what == "houses" and abs(place) > 0:
                width = draw.uniform(12, 22)
                self.roadside.add_building(Pose(x, far, 0, 0), width, 12.0, 2 + draw.integer(8))
            elif what == "trees":
                self.roadside.add_plant(Pose(x, far, 0, 0), draw.uniform(9, 18))
            elif what == "hills":
                width, height = draw.uniform(40, 80), draw.uniform(8, 26)
                self.roadside.add_hill(Pose(x, far + 20, 0, 0), width, height)
