# SPDX-License-Identifier: Apache-2.0
"""Who moves and who waits: vehicles in lanes, parked ones, two-wheelers, people, trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.randomness import Draw
from camseg_core.synthetic.world.road import HALF_TURN, QUARTER_TURN, Junction, Lane, Road
from camseg_core.synthetic.world.scene import Motion, Pose
from camseg_core.synthetic.world.vehicles import VehicleBuilder


@dataclass
class Traffic:
    """Places everything that can move in one sequence.

    Attributes:
        speed_m_s: speed of the ego vehicle at the first frame.
        drive_m: distance that the ego vehicle drives.
        taken: occupied stretches (from, to) at the start, by the lateral of their lane.
    """

    road: Road
    vehicles: VehicleBuilder
    draw: Draw
    shown: frozenset[str]
    speed_m_s: float
    drive_m: float
    taken: dict[float, list[tuple[float, float]]] = field(default_factory=dict)

    def along(self, y: float, lateral: float, speed_m_s: float, backward: bool = False) -> Motion:
        """Return a motion along the road from ``y``; backward faces the camera."""
        road, turn = self.road, HALF_TURN if backward else 0.0

        def motion(time_s: float) -> Pose:
            place = min(max(y + speed_m_s * time_s, -35.0), road.end_y - 3)
            return road.pose(place, lateral, turn)

        return motion

    def across(self, junction: Junction, start: float, side: float, speed_m_s: float) -> Motion:
        """Return a motion along a crossing road.

        It begins ``start`` metres to the right of the road, ``side`` metres ahead of the crossing
        road's middle.
        """
        cosine, sine = cos_sin(junction.angle)
        turn = QUARTER_TURN - junction.angle if speed_m_s >= 0 else -QUARTER_TURN - junction.angle

        def motion(time_s: float) -> Pose:
            along = start + speed_m_s * time_s
            x = junction.x + along * cosine - side * sine
            y = junction.y + along * sine + side * cosine
            return Pose(x, y, 0.0, turn)

        return motion

    def take(self, lane: Lane, y: float, length: float) -> bool:
        """Return whether a stretch of a lane is free, and take it if so."""
        stretches = self.taken.setdefault(lane.lateral, [])
        low, high = y - length / 2 - 2.5, y + length / 2 + 2.5
        if any(low < end and start < high for start, end in stretches):
            return False
        stretches.append((low, high))
        return True

    def populate(self) -> None:
        """Place all traffic, beginning with what has to be shown."""
        # The ego vehicle's own place, for as long as it drives, in its lane.
        self.taken[self.road.ego_lane.lateral] = [(-60.0, 9.0)]
        if "train" in self.shown and self.road.tram is not None:
            self._train_in_road(self.road.tram)
        for kind, length in (("bus", 13.0), ("truck", 10.0)):
            if kind in self.shown:
                self._place_large(kind, length)
        self._fill_lanes()
        self._park()
        for junction in self.road.junctions:
            self._crossing_traffic(junction)
        self._two_wheelers()
        self._people()

    def _speed(self, lane: Lane) -> float:
        if lane.direction < 0:
            return -max(4.0, self.speed_m_s * 0.9)
        return self.speed_m_s if lane is self.road.ego_lane else self.speed_m_s * 0.85

    def _train_in_road(self, lateral: float) -> None:
        draw = self.draw
        lane = next(lane for lane in self.road.lanes if lane.lateral == lateral)
        parts = draw.pick([2, 3, 3, 4])
        # Its near end is a few car lengths ahead; opposite ones are still further on.
        start = draw.uniform(12, 26) + (self.drive_m if lane.direction < 0 else 0) + parts * 4.6
        speed = draw.pick([0.0, 1.0]) * self._speed(lane) * 0.8
        self.vehicles.add_train(self.along(start, lateral, speed, lane.direction < 0), parts)
        self.taken.setdefault(lateral, []).append((-60.0, start + parts * 5.5 + 4))

    def add_side_train(self, lateral: float) -> None:
        """Place a train on a track beside the road."""
        parts = self.draw.pick([3, 4, 5])
        speed = self.draw.pick([0.0, -8.0, 9.0])
        start = self.draw.uniform(18, 45) + (self.drive_m * 0.5 if speed else 0.0)
        self.vehicles.add_train(self.along(start, lateral, speed, backward=speed < 0), parts)

    def _place_large(self, kind: str, length: float) -> None:
        """Place a bus or truck ahead in a lane, oncoming, or parked."""
        draw, road = self.draw, self.road
        add = self.vehicles.add_bus if kind == "bus" else self.vehicles.add_truck
        for _ in range(12):
            lane = draw.pick(road.lanes)
            near = draw.uniform(11, 24) + length / 2
            y = near if lane.direction > 0 else near + self.drive_m * draw.uniform(0.6, 1.6)
            hinders = lane.direction == 0 and road.near_junction(y, 4)
            if hinders or not self.take(lane, y, length):
                continue
            if lane.direction == 0:
                backward = lane.lateral * road.ego_lane.lateral < 0 and draw.chance(0.8)
                add(self.road.pose(y, lane.lateral, HALF_TURN if backward else 0.0), False)
            else:
                add(self.along(y, lane.lateral, self._speed(lane), lane.direction < 0), True)
            return
        # No room in a lane: it waits beside the road.
        add(self.road.pose(draw.uniform(20, 40), road.edge(1) + 2.0), False)

    def _fill_lanes(self) -> None:
        draw = self.draw
        density = draw.uniform(0.1, 0.55)
        for lane in self.road.driving:
            for y in draw.places(draw.uniform(10, 20), self.road.end_y - 120, 9, 26):
                if not draw.chance(density) or not self.take(lane, y, 4.8):
                    continue
                lateral = lane.lateral + draw.uniform(-0.25, 0.25)
                motion = self.along(y, lateral, self._speed(lane), lane.direction < 0)
                roll = draw.uniform()
                if roll < 0.82:
                    self.vehicles.add_car(motion, True)
                elif roll < 0.9:
                    self.vehicles.add_two_wheeler(motion, motor=True, ridden=True)
                elif self.take(lane, y + 6, 6.0):
                    self.vehicles.add_truck(motion, True)

    def _park(self) -> None:
        draw = self.draw
        for lane in self.road.parking:
            density = draw.uniform(0.3, 0.95)
            same = lane.lateral * self.road.ego_lane.lateral > 0
            for y in draw.places(-12.0, self.road.end_y - 130, 5.4, 7.0):
                clear = not self.road.near_junction(y, 4)
                if clear and draw.chance(density) and self.take(lane, y, 1.2):
                    turn = 0.0 if same or draw.chance(0.25) else HALF_TURN
                    pose = self.road.pose(y, lane.lateral + draw.uniform(-0.15, 0.15), turn)
                    self.vehicles.add_car(pose, draw.chance(0.1))

    def _crossing_traffic(self, junction: Junction) -> None:
        draw = self.draw
        speed = draw.uniform(4, 9) * draw.sign()
        # Waiting vehicles on both arms, and one that crosses well ahead of the ego vehicle.
        for sign in (-1, 1):
            if draw.chance(0.6):
                distance = self.road.edge(sign) + draw.uniform(4.5, 8)
                side = sign * min(junction.half_width - 1.2, 1.8)
                pose = self.across(junction, sign * distance, side, 0.0)(0.0)
                turn = HALF_TURN if sign > 0 else 0.0
                self.vehicles.add_car(pose._replace(heading=pose.heading + turn), True)
        if junction.y - self.drive_m > 12 and draw.chance(0.7):
            start = -speed * draw.uniform(0.3, 2.5)
            side = (-1 if speed > 0 else 1) * min(junction.half_width - 1.2, 1.8)
            motion = self.across(junction, start, side, speed)
            roll = draw.uniform()
            if roll < 0.6:
                self.vehicles.add_car(motion, True)
            else:
                self.vehicles.add_two_wheeler(motion, roll < 0.8, ridden=True)

    def _two_wheelers(self) -> None:
        draw, road = self.draw, self.road
        for kind, motor in (("rider", False), ("motorcyclist", True)):
            count = draw.pick([1, 1, 2, 3]) if kind in self.shown else draw.pick([0, 0, 1])
            for _ in range(count):
                lane = draw.pick(road.driving)
                outward = 1 if lane.lateral > 0 else -1
                lateral = lane.lateral + outward * lane.width * draw.uniform(0.2, 0.42)
                if lane.direction > 0:
                    y = draw.uniform(8, 22)
                    speed = self.speed_m_s * draw.uniform(0.85, 1.0)
                else:
                    y = draw.uniform(14, 40) + self.drive_m * 0.6
                    speed = -draw.uniform(3, 7)
                if self.take(Lane(lateral, 1, 1), y, 2.0):
                    motion = self.along(y, lateral, speed, lane.direction < 0)
                    self.vehicles.add_two_wheeler(motion, motor, ridden=True)
        for kind, motor in (("bicycle", False), ("motorcycle", True)):
            count = 2 + draw.integer(6) if kind in self.shown else draw.pick([0, 0, 1, 2])
            sign = draw.sign()
            y = draw.uniform(8, 16) + self.drive_m * draw.uniform(0.2, 0.6)
            lateral = sign * (road.edge(sign) + draw.uniform(0.6, 1.3))
            turn = draw.pick([0.0, QUARTER_TURN, 0.7, -0.6])
            for _ in range(count):
                if not road.near_junction(y, 0.5):
                    pose = self.road.pose(y, lateral, turn + draw.uniform(-0.15, 0.15))
                    self.vehicles.add_two_wheeler(pose, motor, ridden=False)
                y += draw.uniform(0.9, 2.4)

    def _people(self) -> None:
        draw, road = self.draw, self.road
        density = draw.uniform(0.1, 0.8)
        for section, sign in product(road.sections, (-1, 1)):
            side = section.side(sign)
            lateral = sign * (road.edge(sign) + (side.footway_m or 1.0))
            busy = density * (1.0 if side.footway_m else 0.15)
            first = max(section.start_y, 4.0) + draw.uniform(0, 8)
            for y in draw.places(first, min(section.end_y, road.end_y - 150), 3, 14):
                if draw.chance(busy):
                    self._group(y, lateral, 0.8)
        if "person" in self.shown:  # some for certain, and near
            for _ in range(1 + draw.integer(3)):
                sign = draw.sign()
                y = draw.uniform(8, 20) + self.drive_m * draw.uniform(0.2, 0.7)
                self._group(y, sign * (road.edge(sign) + draw.uniform(0.7, 2.0)), 0.4)
        for junction in road.junctions:
            if junction.y - self.drive_m > 9 and draw.chance(0.6):
                for _ in range(1 + draw.integer(4)):
                    self._cross_road(junction)

    def _group(self, y: float, lateral: float, spread: float) -> None:
        draw = self.draw
        walking = draw.chance(0.65)
        speed = draw.uniform(0.7, 1.7) * draw.sign()
        turn = draw.uniform(0, 6.28)
        for _ in range(draw.pick([1, 1, 1, 2, 2, 3, 4])):
            place = y + draw.uniform(-1, 1)
            beside = lateral + draw.uniform(-spread, spread)
            child = draw.chance(0.12)
            if walking:
                self.vehicles.add_person(self.along(place, beside, speed, speed < 0), child)
            else:
                pose = self.road.pose(place, beside, turn + draw.uniform(-1, 1))
                self.vehicles.add_person(pose, child)

    def _cross_road(self, junction: Junction) -> None:
        """Let somebody walk over the road in front of a junction."""
        draw, road = self.draw, self.road
        y = junction.y - junction.reach - draw.uniform(0.8, 3.2)
        speed = draw.uniform(0.8, 1.7) * draw.sign()
        x, _ = road.place(y, 0.0)
        start = draw.uniform(road.left_edge - 1, road.right_edge + 1)
        heading = QUARTER_TURN if speed > 0 else -QUARTER_TURN

        def motion(time_s: float) -> Pose:
            lateral = start + speed * time_s
            return Pose(x + lateral, y, road.height(y, lateral), heading)

        self.vehicles.add_person(motion)
