# SPDX-License-Identifier: Apache-2.0
"""Cars, vans, trucks, buses, trains, and people on two wheels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from camseg_core.synthetic.classes import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRAIN, TRUCK
from camseg_core.synthetic.randomness import Color, Draw
from camseg_core.synthetic.textures import people
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, TextureAtlas
from camseg_core.synthetic.textures.vehicles import GLASS, TRIM
from camseg_core.synthetic.world.builder import Box, SceneBuilder
from camseg_core.synthetic.world.scene import Footprint, Material, Motion, Pose

HEADLIGHT_GLOW: Color = (2.6, 2.4, 2.0)
TAIL_GLOW: Color = (0.9, 0.03, 0.02)
CABIN_GLOW: Color = (0.55, 0.5, 0.36)
CAR_SHAPES = (
    (4.7, 1.44, 0.92, 0.16, 0.3, 0.56, 0.72),  # saloon
    (4.1, 1.48, 0.94, 0.02, 0.1, 0.55, 0.74),  # hatchback
    (4.75, 1.5, 0.93, 0.01, 0.07, 0.56, 0.71),  # estate
    (4.5, 1.75, 1.08, 0.02, 0.08, 0.58, 0.74),  # off-road
    (3.6, 1.52, 0.96, 0.02, 0.08, 0.6, 0.82),  # small
    (4.4, 1.25, 0.84, 0.1, 0.38, 0.52, 0.68),  # coupe
)
"""Length, height, belt; rear window's foot and head, windscreen's head and foot as shares."""


@dataclass(frozen=True)
class VehicleBuilder:
    """Adds vehicles, riders and people to a scene."""

    builder: SceneBuilder
    atlas: TextureAtlas
    draw: Draw

    def palette(self, lamps_on: bool, cabin: bool = False) -> int:
        """Draw a vehicle's colours; ``cabin`` says that slot 6 holds windows with light inside."""
        draw = self.draw
        glass = draw.near((0.1, 0.12, 0.14), 0.5)
        shine = draw.uniform(0.7, 2.2)
        glass = (glass[0] * shine, glass[1] * shine, glass[2] * shine)
        lamp = glass if cabin else draw.near((0.7, 0.7, 0.68), 0.15)
        glow = CABIN_GLOW if cabin else HEADLIGHT_GLOW
        paint = draw.paint()
        second = draw.near(paint, 0.3) if draw.chance(0.4) else draw.paint()
        return self.builder.add_palette(
            {1: paint, 2: second, GLASS: glass, TRIM: draw.paint(0.5), LAMP: lamp,
             TAIL_LAMP: draw.near((0.42, 0.04, 0.03), 0.3)},
            glow={TAIL_LAMP: (0.25, 0.01, 0.0)} if lamps_on and draw.chance(0.4) else None,
            night_glow={LAMP: glow, TAIL_LAMP: TAIL_GLOW} if lamps_on else None,
        )  # fmt: skip

    def _materials(
        self, class_id: int, lamps_on: bool, cabin: bool = False, instance: int = 0
    ) -> Callable[..., Material]:
        """Return a function that makes one vehicle's materials of a texture's name and number."""
        instance = instance or self.builder.next_instance()
        look = Material(0, self.palette(lamps_on, cabin), class_id, instance)
        return lambda name, index=0: look._replace(texture=self.atlas.id(name, index))

    def add_car(self, motion: Motion | Pose, lamps_on: bool) -> None:
        """Add a car of a random body shape, or now and then a van."""
        draw, builder = self.draw, self.builder
        if draw.chance(0.14):
            self._add_van(motion, lamps_on)
            return
        shape = draw.pick(CAR_SHAPES)
        length = shape[0] * draw.uniform(0.94, 1.06)
        height, belt = shape[1] * draw.uniform(0.96, 1.06), shape[2]
        width = draw.uniform(1.68, 1.92)
        body = builder.add_object(motion, Footprint(width, length, height))
        material = self._materials(CAR, lamps_on)
        variant = draw.integer(3)
        rear, half = -length / 2, width / 2
        body.box(
            Box(-half, half, rear, -rear, 0.0, belt), material("car side", variant),
            material("car front", variant), material("car rear", variant), material("plain"),
        )  # fmt: skip
        y0, y1, y2, y3 = (rear + share * length for share in shape[3:])
        base = Box(-half * 0.97, half * 0.97, y0, y3, belt, height)
        top = Box(-half * 0.76, half * 0.76, y1, y2, belt, height)
        body.frustum(base, top, material("glass side"), material("glass"), material("plain"))

    def _add_van(self, motion: Motion | Pose, lamps_on: bool) -> None:
        draw = self.draw
        length, width, height = draw.uniform(4.8, 6.0), 1.95, draw.uniform(1.95, 2.6)
        body = self.builder.add_object(motion, Footprint(width, length, height))
        material = self._materials(CAR, lamps_on)
        half, end, low = width / 2, length / 2, height * 0.5
        side = material("van side", draw.integer(2))
        nose, windscreen = end - 0.14 * length, end - 0.17 * length
        body.box(Box(-half, half, -end, end, 0.0, height), side, rear=material("van rear"))
        body.box(
            Box(-half, half, nose, end, 0.0, low), front=material("car front"),
            top=material("plain"),
        )  # fmt: skip
        body.face(
            (half, windscreen, height), (-width, 0, 0), (0, 0.13 * length, low - height),
            material("glass"),
        )  # fmt: skip
        body.box(Box(-half, half, -end, windscreen, 0.0, height), top=material("plain"))

    def add_truck(self, motion: Motion | Pose, lamps_on: bool) -> None:
        """Add a truck: a cab and, apart from it, a box, a curtain, an open bed or a tank."""
        draw, builder = self.draw, self.builder
        cargo_m, width = draw.uniform(4.5, 9.0), draw.uniform(2.3, 2.55)
        cab_height, height = draw.uniform(2.5, 3.3), draw.uniform(2.7, 3.9)
        length = cargo_m + 2.3
        body = builder.add_object(motion, Footprint(width, length, height))
        cab = self._materials(TRUCK, lamps_on)
        cargo = self._materials(TRUCK, lamps_on, instance=cab("plain").instance)
        variant = draw.integer(4)
        half, rear = width / 2, -length / 2
        end = rear + cargo_m
        body.box(
            Box(-half, half, rear, end, 0.0, height), cargo("cargo side", variant), cargo("plain"),
            cargo("cargo rear", draw.integer(2)), None if variant == 2 else cargo("plain"),
        )  # fmt: skip
        body.box(
            Box(-half, half, end + 0.3, -rear, 0.0, cab_height), cab("cab side"),
            cab("cab front", draw.integer(2)), cab("plain"), cab("plain"),
        )  # fmt: skip

    def add_bus(self, motion: Motion | Pose, lamps_on: bool) -> None:
        """Add a bus of one or two parts, now and then a double-decker."""
        draw = self.draw
        length, width = draw.pick([9.0, 12.0, 12.0, 17.5]), 2.5
        height = draw.uniform(2.9, 3.3)
        body = self.builder.add_object(motion, Footprint(width, length, height))
        material = self._materials(BUS, lamps_on, cabin=True)
        half, end = width / 2, length / 2
        side, plain = material("bus side", draw.integer(3)), material("plain")
        for start, stop in pairwise([-end, end] if length < 15 else [-end, end - 10.5, end]):
            body.box(Box(-half, half, start, stop, 0.0, height), side)
        body.box(
            Box(-half, half, -end, end, 0.0, height), front=material("bus front"),
            rear=material("bus rear"), top=plain,
        )  # fmt: skip
        if length < 15 and draw.chance(0.5):
            roof = Box(-half * 0.6, half * 0.6, -end * 0.5, end * 0.2, height, height + 0.3)
            body.box(roof, plain, plain, plain, plain)

    def add_train(self, motion: Motion | Pose, parts: int) -> None:
        """Add a tram or train of ``parts`` cars."""
        draw = self.draw
        part_m, width = draw.uniform(7.5, 11.0), draw.uniform(2.4, 2.8)
        height = draw.uniform(3.3, 3.9)
        length = parts * part_m
        body = self.builder.add_object(motion, Footprint(width, length, height))
        material = self._materials(TRAIN, True, cabin=True)
        half, end = width / 2, length / 2
        side, front = material("train side", draw.integer(3)), draw.integer(2)
        panel, plain = material("panel"), material("plain")
        for part in range(parts):
            start = -end + part * part_m
            car = Box(-half, half, start + 0.15, start + part_m - 0.15, 0.12, height)
            body.box(car, side, plain, plain, plain)
            if part % 2 == 0:  # machinery on the roof
                first, last = start + 0.2 * part_m, start + 0.7 * part_m
                machinery = Box(-half * 0.6, half * 0.6, first, last, height, height + 0.35)
                body.box(machinery, panel, panel, panel, panel)
        slope = draw.uniform(0.0, 0.5)
        for sign in (-1, 1):
            body.face(
                (sign * half, sign * (end - 0.1), height), (-sign * width, 0, 0),
                (0, sign * slope, 0.12 - height), material("train front", front),
            )  # fmt: skip
        body.face(
            (-0.8, 0.0, height + 1.3), (1.6, 0.0, 0.0), (0.0, 1.0, -1.2), material("railing"),
            (2.0, 1.0, 0.0, 0.0), two_sided=True,
        )  # fmt: skip

    def clothes(self) -> int:
        """Draw the colours of a person."""
        draw = self.draw
        depth = draw.uniform()
        skin = (0.62 - 0.45 * depth, 0.42 - 0.35 * depth, 0.32 - 0.28 * depth)
        hair = draw.pick([(0.02, 0.02, 0.02), (0.12, 0.07, 0.03), (0.45, 0.33, 0.16),
                          (0.4, 0.4, 0.4), (0.2, 0.06, 0.03)])  # fmt: skip
        return self.builder.add_palette(
            {people.SKIN: skin, people.TOP: draw.paint(), people.BOTTOM: draw.paint(0.6),
             people.HAIR: draw.near(hair, 0.3), people.BAG: draw.paint()}
        )  # fmt: skip

    def add_person(self, motion: Motion | Pose, child: bool = False) -> None:
        """Add a person; one that moves walks."""
        draw, builder = self.draw, self.builder
        size = draw.uniform(0.6, 0.75) if child else draw.uniform(0.88, 1.06)
        width, height = people.PERSON_SIZE_M[0] * size, people.PERSON_SIZE_M[1] * size
        figure = self.atlas.id("person", draw.integer(people.PEOPLE) * 2 * people.PHASES)
        body = builder.add_object(motion, Footprint(0.45, 0.45, 1.75 * size))
        material = Material(figure, self.clothes(), PERSON, builder.next_instance())
        body.sprite((width, height), material, front_width=width, phases=people.PHASES)

    def add_two_wheeler(self, motion: Motion | Pose, motor: bool, ridden: bool) -> None:
        """Add a bicycle or motorcycle, with a rider above it or parked."""
        draw, builder, atlas = self.draw, self.builder, self.atlas
        body = builder.add_object(motion, Footprint(0.5, 1.7, 1.6 if ridden else 0.9))
        size = draw.uniform(0.92, 1.06)
        side = (people.TWO_WHEELER_SIZE_M[0] * size, people.TWO_WHEELER_SIZE_M[1] * size)
        front = people.FRONT_SIZE_M[0] * size
        kind = 2 * draw.integer(3)
        if ridden:
            rider = atlas.id("motorcyclist" if motor else "cyclist", kind)
            look = Material(rider, self.clothes(), RIDER, builder.next_instance())
            body.sprite(side, look, front)
        name, class_id = ("motorcycle", MOTORCYCLE) if motor else ("bicycle", BICYCLE)
        palette = self.palette(ridden)
        material = Material(atlas.id(name, kind), palette, class_id, builder.next_instance())
        body.sprite(side, material, front)
