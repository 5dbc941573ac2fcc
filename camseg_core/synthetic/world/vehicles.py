# SPDX-License-Identifier: Apache-2.0
"""Cars, vans, trucks, buses, trains, and people on two wheels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from camseg_core.synthetic.classes import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRAIN, TRUCK
from camseg_core.synthetic.randomness import Color, Draw
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, TextureAtlas
from camseg_core.synthetic.textures.people import (
    BAG,
    BOTTOM,
    FRONT_SIZE_M,
    HAIR,
    PEOPLE,
    PERSON_SIZE_M,
    PHASES,
    SKIN,
    TOP,
    TWO_WHEELER_SIZE_M,
)
from camseg_core.synthetic.textures.vehicles import GLASS, TRIM
from camseg_core.synthetic.world.scene import Footprint, Material, Motion, Pose, SceneBuilder
from camseg_core.synthetic.world.shapes import Box, BoxLook, add_box, add_frustum

HEADLIGHT_GLOW: Color = (2.6, 2.4, 2.0)
TAIL_GLOW: Color = (0.9, 0.03, 0.02)
CABIN_GLOW: Color = (0.55, 0.5, 0.36)


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

    def _materials(self, palette: int, class_id: int, instance: int) -> Callable[..., Material]:
        """Return a function that makes one vehicle's materials of a texture's name and number."""

        def material(name: str, index: int = 0) -> Material:
            return Material(self.atlas.ids(name)[index], palette, class_id, instance)

        return material

    def add_car(self, motion: Motion | Pose, lamps_on: bool) -> None:
        """Add a car of a random body shape, or now and then a van."""
        draw, builder = self.draw, self.builder
        if draw.chance(0.14):
            self._add_van(motion, lamps_on)
            return
        # length, height, belt, rear window's foot and head, windscreen's head and foot (shares)
        shape = draw.pick(
            [
                (4.7, 1.44, 0.92, 0.16, 0.3, 0.56, 0.72),  # saloon
                (4.1, 1.48, 0.94, 0.02, 0.1, 0.55, 0.74),  # hatchback
                (4.75, 1.5, 0.93, 0.01, 0.07, 0.56, 0.71),  # estate
                (4.5, 1.75, 1.08, 0.02, 0.08, 0.58, 0.74),  # off-road
                (3.6, 1.52, 0.96, 0.02, 0.08, 0.6, 0.82),  # small
                (4.4, 1.25, 0.84, 0.1, 0.38, 0.52, 0.68),  # coupe
            ]
        )
        length = shape[0] * draw.uniform(0.94, 1.06)
        height, belt = shape[1] * draw.uniform(0.96, 1.06), shape[2]
        width = draw.uniform(1.68, 1.92)
        owner = builder.add_object(motion, Footprint(width, length, height))
        instance, palette = builder.next_instance(), self.palette(lamps_on)
        variant = draw.integer(3)
        material = self._materials(palette, CAR, instance)
        rear, half = -length / 2, width / 2
        body = Box(-half, half, rear, -rear, 0.0, belt)
        add_box(builder, owner, body, BoxLook(
            material("car side", variant), material("car front", variant),
            material("car rear", variant), material("plain"),
        ))  # fmt: skip
        add_frustum(
            builder, owner,
            Box(-half * 0.97, half * 0.97, rear + shape[3] * length, rear + shape[6] * length,
                belt, height),
            Box(-half * 0.76, half * 0.76, rear + shape[4] * length, rear + shape[5] * length,
                belt, height),
            material("glass side"), material("glass"), material("plain"),
        )  # fmt: skip

    def _add_van(self, motion: Motion | Pose, lamps_on: bool) -> None:
        draw = self.draw
        length, width, height = draw.uniform(4.8, 6.0), 1.95, draw.uniform(1.95, 2.6)
        owner = self.builder.add_object(motion, Footprint(width, length, height))
        instance, palette = self.builder.next_instance(), self.palette(lamps_on)
        variant = draw.integer(2)
        material = self._materials(palette, CAR, instance)
        half, end = width / 2, length / 2
        side = material("van side", variant)
        nose = end - 0.14 * length
        add_box(self.builder, owner, Box(-half, half, -end, end, 0.0, height),
                BoxLook(side, None, material("van rear")))  # fmt: skip
        low = height * 0.5
        add_box(self.builder, owner, Box(-half, half, nose, end, 0.0, low),
                BoxLook(None, material("car front"), None, material("plain")))  # fmt: skip
        self.builder.add_face(
            owner, (half, end - 0.17 * length, height), (-width, 0, 0),
            (0, 0.13 * length, low - height), material("glass"),
        )  # fmt: skip
        add_box(self.builder, owner, Box(-half, half, -end, end - 0.17 * length, 0.0, height),
                BoxLook(None, None, None, material("plain")))  # fmt: skip

    def add_truck(self, motion: Motion | Pose, lamps_on: bool) -> None:
        """Add a truck: a cab and, apart from it, a box, a curtain, an open bed or a tank."""
        draw, builder = self.draw, self.builder
        cargo_m, width = draw.uniform(4.5, 9.0), draw.uniform(2.3, 2.55)
        cab_height, height = draw.uniform(2.5, 3.3), draw.uniform(2.7, 3.9)
        length = cargo_m + 2.3
        owner = builder.add_object(motion, Footprint(width, length, height))
        instance = builder.next_instance()
        cab, cargo = self.palette(lamps_on), self.palette(lamps_on)
        variant = draw.integer(4)
        of_cab = self._materials(cab, TRUCK, instance)
        of_cargo = self._materials(cargo, TRUCK, instance)
        half, rear = width / 2, -length / 2
        end = rear + cargo_m
        add_box(builder, owner, Box(-half, half, rear, end, 0.0, height), BoxLook(
            of_cargo("cargo side", variant), of_cargo("plain"),
            of_cargo("cargo rear", draw.integer(2)), None if variant == 2 else of_cargo("plain"),
        ))  # fmt: skip
        add_box(builder, owner, Box(-half, half, end + 0.3, -rear, 0.0, cab_height), BoxLook(
            of_cab("cab side"), of_cab("cab front", draw.integer(2)), of_cab("plain"),
            of_cab("plain"),
        ))  # fmt: skip

    def add_bus(self, motion: Motion | Pose, lamps_on: bool) -> None:
        """Add a bus of one or two parts, now and then a double-decker."""
        draw, builder = self.draw, self.builder
        length, width = draw.pick([9.0, 12.0, 12.0, 17.5]), 2.5
        height = draw.uniform(2.9, 3.3)
        owner = builder.add_object(motion, Footprint(width, length, height))
        instance, palette = builder.next_instance(), self.palette(lamps_on, cabin=True)
        material = self._materials(palette, BUS, instance)
        half, end = width / 2, length / 2
        side, plain = material("bus side", draw.integer(3)), material("plain")
        cuts = [-end, end] if length < 15 else [-end, end - 10.5, end]
        for start, stop in pairwise(cuts):
            add_box(builder, owner, Box(-half, half, start, stop, 0.0, height), BoxLook(side))
        add_box(builder, owner, Box(-half, half, -end, end, 0.0, height), BoxLook(
            None, material("bus front"), material("bus rear"), material("plain"),
        ))  # fmt: skip
        if length < 15 and draw.chance(0.5):
            add_box(builder, owner, Box(-half * 0.6, half * 0.6, -end * 0.5, end * 0.2, height,
                                        height + 0.3),
                    BoxLook(plain, plain, plain, plain))  # fmt: skip

    def add_train(self, motion: Motion | Pose, parts: int) -> float:
        """Add a tram or train of ``parts`` cars; return its length in metres."""
        draw, builder = self.draw, self.builder
        part_m, width = draw.uniform(7.5, 11.0), draw.uniform(2.4, 2.8)
        height = draw.uniform(3.3, 3.9)
        length = parts * part_m
        owner = builder.add_object(motion, Footprint(width, length, height))
        instance, palette = builder.next_instance(), self.palette(True, cabin=True)
        material = self._materials(palette, TRAIN, instance)
        half, end = width / 2, length / 2
        side, front = draw.integer(3), draw.integer(2)
        panel = material("panel")
        for part in range(parts):
            start = -end + part * part_m
            add_box(
                builder, owner, Box(-half, half, start + 0.15, start + part_m - 0.15, 0.12, height),
                BoxLook(material("train side", side), material("plain"), material("plain"),
                        material("plain")),
            )  # fmt: skip
            if part % 2 == 0:  # machinery on the roof
                add_box(
                    builder, owner,
                    Box(-half * 0.6, half * 0.6, start + 0.2 * part_m, start + 0.7 * part_m, height,
                        height + 0.35), BoxLook(panel, panel, panel, panel),
                )  # fmt: skip
        slope = draw.uniform(0.0, 0.5)
        for sign in (-1, 1):
            edge = sign * (end - 0.1)
            builder.add_face(
                owner, (sign * half, edge, height), (-sign * width, 0, 0),
                (0, sign * slope, 0.12 - height), material("train front", front),
            )  # fmt: skip
        builder.add_face(
            owner, (-0.8, 0.0, height + 1.3), (1.6, 0.0, 0.0), (0.0, 1.0, -1.2),
            material("railing"), (2.0, 1.0, 0.0, 0.0), two_sided=True,
        )  # fmt: skip
        return length

    def clothes(self) -> int:
        """Draw the colours of a person."""
        draw = self.draw
        depth = draw.uniform()
        skin = (0.62 - 0.45 * depth, 0.42 - 0.35 * depth, 0.32 - 0.28 * depth)
        hair = draw.pick([(0.02, 0.02, 0.02), (0.12, 0.07, 0.03), (0.45, 0.33, 0.16),
                          (0.4, 0.4, 0.4), (0.2, 0.06, 0.03)])  # fmt: skip
        return self.builder.add_palette(
            {SKIN: skin, TOP: draw.paint(), BOTTOM: draw.paint(0.6), HAIR: draw.near(hair, 0.3),
             BAG: draw.paint()}
        )  # fmt: skip

    def add_person(self, motion: Motion | Pose, child: bool = False) -> None:
        """Add a person; one that moves walks."""
        draw, builder = self.draw, self.builder
        size = draw.uniform(0.6, 0.75) if child else draw.uniform(0.88, 1.06)
        width, height = PERSON_SIZE_M[0] * size, PERSON_SIZE_M[1] * size
        figure = self.atlas.ids("person")[draw.integer(PEOPLE) * 2 * PHASES]
        owner = builder.add_object(motion, Footprint(0.45, 0.45, 1.75 * size))
        builder.add_sprite(
            owner, (0.0, 0.0, 0.0), (width, height),
            Material(figure, self.clothes(), PERSON, builder.next_instance()),
            front_width=width, phases=PHASES,
        )  # fmt: skip

    def add_two_wheeler(self, motion: Motion | Pose, motor: bool, ridden: bool) -> None:
        """Add a bicycle or motorcycle, with a rider above it or parked."""
        draw, builder, atlas = self.draw, self.builder, self.atlas
        owner = builder.add_object(motion, Footprint(0.5, 1.7, 1.6 if ridden else 0.9))
        size = draw.uniform(0.92, 1.06)
        side = (TWO_WHEELER_SIZE_M[0] * size, TWO_WHEELER_SIZE_M[1] * size)
        kind = 2 * draw.integer(3)
        if ridden:
            rider = atlas.ids("motorcyclist" if motor else "cyclist")[kind]
            builder.add_sprite(
                owner, (0.0, 0.0, 0.0), side,
                Material(rider, self.clothes(), RIDER, builder.next_instance()),
                front_width=FRONT_SIZE_M[0] * size,
            )  # fmt: skip
        vehicle = atlas.ids("motorcycle" if motor else "bicycle")[kind]
        palette = self.palette(ridden)
        builder.add_sprite(
            owner, (0.0, 0.0, 0.0), side,
            Material(vehicle, palette, MOTORCYCLE if motor else BICYCLE, builder.next_instance()),
            front_width=FRONT_SIZE_M[0] * size,
        )  # fmt: skip
