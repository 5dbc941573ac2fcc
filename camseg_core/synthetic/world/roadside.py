# SPDX-License-Identifier: Apache-2.0
"""Buildings, walls, fences, plants, poles, lamps, signs and traffic lights."""

from __future__ import annotations

from dataclasses import dataclass, field

from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.classes import (
    BUILDING,
    FENCE,
    POLE,
    TERRAIN,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    VEGETATION,
    WALL,
)
from camseg_core.synthetic.randomness import Color, Draw
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, TextureAtlas
from camseg_core.synthetic.world.scene import Footprint, Material, Pose, SceneBuilder
from camseg_core.synthetic.world.shapes import Box, BoxLook, add_box, add_gable_roof

BAY_M = 2.6
STOREY_M = 3.1
LIGHT_GLOWS: tuple[Color, ...] = ((1.6, 0.06, 0.03), (1.6, 0.8, 0.05), (0.05, 1.4, 0.7))
WINDOW_GLOWS: tuple[Color, ...] = ((0.8, 0.62, 0.3), (0.7, 0.66, 0.5), (0.45, 0.6, 0.8))


@dataclass(frozen=True)
class Roadside:
    """What builds the things beside a road.

    Attributes:
        leaves: colour that the leaves of this place vary around.
        grass: the colour of grass.
        lamps: (x, y) of the street lamps' heads, world metres; grows as they are added.
    """

    builder: SceneBuilder
    atlas: TextureAtlas
    draw: Draw
    leaves: Color
    grass: Color
    lamps: list[tuple[float, float]] = field(default_factory=list)

    def add_building(
        self, pose: Pose, width: float, depth: float, storeys: int, hall: bool = False
    ) -> None:
        """Add a building; the pose is the middle of its front's foot, y goes into the building."""
        draw, builder, atlas = self.draw, self.builder, self.atlas
        bay, storey = BAY_M * draw.uniform(0.85, 1.2), STOREY_M * draw.uniform(0.9, 1.15)
        palette = self._building_palette()

        def material(name: str, index: int = 0) -> Material:
            return Material(atlas.ids(name)[index], palette, BUILDING)

        half = width / 2
        if hall:
            height = draw.uniform(4.5, 9)
            front = material("hall", draw.integer(2))
            owner = builder.add_object(pose, Footprint(width, depth, height))
            add_box(builder, owner, Box(-half, half, 0, depth, 0, height), BoxLook(
                front, front, front, material("plain"),
                side_tile=(max(1, round(depth / 18)), 1), end_tile=(max(1, round(width / 18)), 1),
            ))  # fmt: skip
            return
        height, ground = storeys * storey, storey * draw.uniform(1.0, 1.25)
        gable = draw.chance(0.75 if storeys <= 3 else 0.2)
        owner = builder.add_object(pose, Footprint(width, depth, ground + height))
        facade = material("facade", draw.integer(len(atlas.ids("facade"))))
        base = material("ground floor", draw.integer(len(atlas.ids("ground floor"))))
        box = Box(-half, half, 0, depth, ground, ground + height)
        across, deep = max(1, round(width / bay)) / 4, max(1, round(depth / bay)) / 4
        add_box(builder, owner, box, BoxLook(
            facade, facade, facade, None if gable else material("plain"),
            side_tile=(deep, storeys / 4), end_tile=(across, storeys / 4),
        ))  # fmt: skip
        add_box(builder, owner, Box(-half, half, 0, depth, 0, ground), BoxLook(
            base, base, base, side_tile=(deep, 1), end_tile=(across, 1),
        ))  # fmt: skip
        if gable:
            roof = Material(atlas.id("roof"), self._roof_palette(), BUILDING)
            add_gable_roof(
                builder, owner, box, depth * draw.uniform(0.25, 0.5), roof, material("plaster")
            )

    def _building_palette(self) -> int:
        draw = self.draw
        glass = draw.pick([(0.04, 0.05, 0.06), (0.12, 0.16, 0.2), (0.3, 0.36, 0.42)])
        wall = draw.paint(0.5)
        night: dict[int, Color] = {}
        if draw.chance(0.75):
            night[LAMP] = draw.near(draw.pick(WINDOW_GLOWS), 0.3)
        if draw.chance(0.25):
            night[TAIL_LAMP] = draw.near(draw.pick(WINDOW_GLOWS), 0.3)
        return self.builder.add_palette(
            {1: wall, 2: draw.near(wall, 0.5) if draw.chance(0.5) else draw.paint(0.4),
             3: draw.paint(), 4: draw.paint(0.7), LAMP: draw.near(glass, 0.4),
             TAIL_LAMP: draw.near(glass, 0.4)},
            night_glow=night,
        )  # fmt: skip

    def _roof_palette(self) -> int:
        draw = self.draw
        tiles: Color = draw.pick([(0.3, 0.09, 0.05), (0.1, 0.1, 0.11), (0.22, 0.16, 0.12)])
        return self.builder.add_palette({1: draw.near(tiles, 0.4)})

    def add_wall(
        self, pose: Pose, length: float, height: float, look: tuple[str, int, int]
    ) -> None:
        """Add a piece of wall along y; ``look`` is texture name, its number, palette."""
        material = Material(self.atlas.ids(look[0])[look[1]], look[2], WALL)
        owner = self.builder.add_object(pose, Footprint(0.3, length, height))
        add_box(
            self.builder, owner, Box(-0.16, 0.16, -length / 2, length / 2, 0, height),
            BoxLook(material, material, material, material, side_tile=(length / 3, height / 3),
                    end_tile=(0.12, height / 3), top_tile=(0.1, length / 3)),
        )  # fmt: skip
        if height > 1.5 and self.draw.chance(0.5):
            cap = Material(self.atlas.id("plain"), look[2], WALL)
            add_box(
                self.builder, owner,
                Box(-0.24, 0.24, -length / 2, length / 2, height, height + 0.12),
                BoxLook(cap, cap, cap, cap),
            )  # fmt: skip

    def wall_look(self) -> tuple[str, int, int]:
        """Draw what a wall looks like."""
        draw = self.draw
        name = draw.pick(["brick", "brick", "concrete", "stone", "plaster", "panel"])
        palette = self.builder.add_palette({1: draw.paint(0.6)})
        return name, draw.integer(len(self.atlas.ids(name))), palette

    def add_fence(
        self, pose: Pose, length: float, height: float, look: tuple[str, int, int]
    ) -> None:
        """Add a piece of fence along y."""
        material = Material(self.atlas.ids(look[0])[look[1]], look[2], FENCE)
        owner = self.builder.add_object(pose, Footprint(0.1, length, height * 0.8))
        self.builder.add_face(
            owner, (0.0, -length / 2, height), (0.0, length, 0.0), (0.0, 0.0, -height), material,
            (max(1.0, round(length / height)), 1.0, 0.0, 0.0), two_sided=True,
        )  # fmt: skip

    def fence_look(self) -> tuple[str, int, int]:
        """Draw what a fence looks like."""
        draw = self.draw
        name = draw.pick(["boards", "boards", "picket", "picket", "railing", "mesh"])
        palette = self.builder.add_palette({1: draw.paint(0.6)})
        return name, draw.integer(len(self.atlas.ids(name))), palette

    def leaf_palette(self) -> int:
        """Draw the colours of one plant: leaves and bark."""
        draw = self.draw
        bark = draw.near((0.16, 0.12, 0.08), 0.5)
        return self.builder.add_palette({1: draw.near(self.leaves, 0.4), 2: bark})

    def add_tree(self, pose: Pose, height: float) -> None:
        """Add a tree."""
        width = height * self.draw.uniform(0.7, 1.1)
        owner = self.builder.add_object(pose, Footprint(width * 0.8, width * 0.8, height, True))
        crowns = self.atlas.ids("crown")
        crown = crowns[self.draw.integer(len(crowns))]
        self.builder.add_sprite(
            owner, (0, 0, 0), (width, height), Material(crown, self.leaf_palette(), VEGETATION)
        )

    def add_bush(self, pose: Pose, height: float) -> None:
        """Add a bush."""
        width = height * self.draw.uniform(0.9, 1.8)
        owner = self.builder.add_object(pose, Footprint(width * 0.8, width * 0.8, height))
        bushes = self.atlas.ids("bush")
        bush = bushes[self.draw.integer(len(bushes))]
        self.builder.add_sprite(
            owner, (0, 0, 0), (width, height), Material(bush, self.leaf_palette(), VEGETATION)
        )

    def add_hedge(self, pose: Pose, length: float, height: float, palette: int) -> None:
        """Add a piece of hedge along y."""
        material = Material(self.atlas.ids("hedge")[self.draw.integer(2)], palette, VEGETATION)
        owner = self.builder.add_object(pose, Footprint(1.0, length, height))
        add_box(
            self.builder, owner, Box(-0.5, 0.5, -length / 2, length / 2, 0, height),
            BoxLook(material, material, material, material, side_tile=(length / 2, height / 2),
                    end_tile=(0.5, height / 2), top_tile=(0.5, length / 2)),
        )  # fmt: skip

    def add_bank(self, pose: Pose, length: float, height: float, sign: int, palette: int) -> None:
        """Add a piece of grassy bank along y that rises to the side ``sign``."""
        draw = self.draw
        material = Material(self.atlas.ids("grass")[draw.integer(2)], palette, TERRAIN)
        owner = self.builder.add_object(pose)
        run = height * 1.8
        up = (0.0, length * -sign, 0.0)
        self.builder.add_face(
            owner, (sign * run, length / 2 * sign, height), up, (-sign * run, 0.0, -height),
            material, (length / 4, run / 2, 0.0, 0.0),
        )  # fmt: skip

    def add_hill(self, pose: Pose, width: float, height: float) -> None:
        """Add a far slope."""
        hills = self.atlas.ids("hill")
        palette = self.builder.add_palette({1: self.draw.near(self.grass, 0.4)})
        owner = self.builder.add_object(pose)
        self.builder.add_sprite(
            owner, (0, 0, 0), (width, height),
            Material(hills[self.draw.integer(len(hills))], palette, TERRAIN),
        )  # fmt: skip

    def pole_palette(self) -> int:
        """Draw the colour of metal posts, lamps included."""
        draw = self.draw
        return self.builder.add_palette(
            {1: draw.paint(0.6), LAMP: (0.6, 0.6, 0.55)}, night_glow={LAMP: (2.4, 1.9, 1.1)}
        )

    def add_pole(self, owner: int, height: float, width: float, palette: int, x: float = 0) -> None:
        """Add a post to an object."""
        material = Material(self.atlas.id("pole"), palette, POLE)
        self.builder.add_sprite(owner, (x, 0.0, 0.0), (width, height), material)

    def add_arm(self, owner: int, z: float, x0: float, x1: float, palette: int) -> None:
        """Add a horizontal arm from x0 to x1 to an object."""
        material = Material(self.atlas.id("plain"), palette, POLE)
        self.builder.add_face(
            owner, (x0, 0.0, z), (x1 - x0, 0.0, 0.0), (0.0, 0.0, -0.14), material, two_sided=True
        )

    def add_street_lamp(self, pose: Pose, height: float, reach: float, palette: int) -> None:
        """Add a street lamp whose arm reaches ``reach`` metres to the right (or left, below 0)."""
        owner = self.builder.add_object(pose, Footprint(0.2, 0.2, height))
        cosine, sine = cos_sin(pose.heading)
        self.lamps.append((pose.x + reach * cosine, pose.y - reach * sine))
        self.add_pole(owner, height, self.draw.uniform(0.14, 0.24), palette)
        if reach:
            self.add_arm(owner, height, 0.0, reach, palette)
        material = Material(self.atlas.id("plain"), palette, POLE)
        add_box(
            self.builder, owner,
            Box(reach - 0.4, reach + 0.4, -0.2, 0.2, height - 0.1, height + 0.1),
            BoxLook(material, material, material, material),
        )  # fmt: skip

    def add_bollards(self, poses: list[Pose], palette: int) -> None:
        """Add a row of bollards."""
        height, width = self.draw.uniform(0.7, 1.1), self.draw.uniform(0.14, 0.26)
        for pose in poses:
            owner = self.builder.add_object(pose, Footprint(width, width, height))
            self.add_pole(owner, height, width, palette)

    def add_sign(self, pose: Pose, kind: int | None = None) -> None:
        """Add one or two traffic signs on a post, facing -y, or a direction board on two."""
        draw, builder, atlas = self.draw, self.builder, self.atlas
        owner = builder.add_object(pose, Footprint(0.5, 0.15, 2.8))
        metal = self.pole_palette()
        ground = draw.pick([(0.8, 0.8, 0.78), (0.8, 0.8, 0.78), (0.04, 0.14, 0.5),
                            (0.75, 0.5, 0.03), (0.05, 0.3, 0.12), (0.6, 0.05, 0.04)])  # fmt: skip
        rim = draw.pick([(0.62, 0.04, 0.04), (0.62, 0.04, 0.04), (0.85, 0.85, 0.85),
                         (0.04, 0.04, 0.05), (0.05, 0.15, 0.5)])  # fmt: skip
        palette = builder.add_palette({1: draw.near(ground, 0.2), 2: draw.near(rim, 0.2)})
        height = draw.uniform(2.5, 3.6)
        if draw.chance(0.22):  # a direction board
            width, tall = draw.uniform(2.0, 3.6), draw.uniform(1.2, 2.0)
            for x in (-width * 0.35, width * 0.35):
                self.add_pole(owner, height + tall * 0.3, 0.14, metal, x)
            board = atlas.ids("direction board")[draw.integer(3)]
            self._add_plate(owner, Material(board, palette, TRAFFIC_SIGN), width, tall, height)
            return
        self.add_pole(owner, height, draw.uniform(0.09, 0.14), metal)
        top, signs, backs = height, atlas.ids("sign"), atlas.ids("sign back")
        for _ in range(draw.pick([1, 1, 1, 2])):
            size = draw.uniform(0.7, 1.05)
            shape = draw.integer(len(signs))
            material = Material(signs[shape], palette, TRAFFIC_SIGN)
            back = Material(backs[shape], palette, TRAFFIC_SIGN)
            self._add_plate(owner, material, size, size, top, back)
            top -= size + 0.05

    def _add_plate(
        self, owner: int, material: Material, width: float, height: float, top: float,
        back: Material | None = None,
    ) -> None:  # fmt: skip
        half = width / 2
        down = (0.0, 0.0, -height)
        self.builder.add_face(owner, (-half, -0.1, top), (width, 0.0, 0.0), down, material)
        behind = back or Material(self.atlas.id("plain"), material.palette, TRAFFIC_SIGN)
        self.builder.add_face(owner, (half, -0.09, top), (-width, 0.0, 0.0), down, behind)

    def add_traffic_light(self, pose: Pose, state: int, arm: float) -> None:
        """Add a traffic light that faces -y; one with an ``arm`` (metres) has a second on it."""
        draw, builder = self.draw, self.builder
        owner = builder.add_object(pose, Footprint(0.4, 0.4, 3.4))
        metal = self.pole_palette()
        case: Color = draw.pick([(0.02, 0.02, 0.02), (0.03, 0.06, 0.04), (0.5, 0.33, 0.03),
                                 (0.2, 0.2, 0.2)])  # fmt: skip
        palette = builder.add_palette(
            {1: draw.near(case, 0.4), LAMP: (0.2, 0.2, 0.2)}, glow={LAMP: LIGHT_GLOWS[state]}
        )
        low = draw.uniform(2.1, 2.6)
        size = draw.uniform(1.0, 1.25)
        self.add_pole(owner, low + size if not arm else 6.2, draw.uniform(0.12, 0.2), metal)
        self._add_light_case(owner, 0.0, low, size, state, palette)
        if arm:
            self.add_arm(owner, 6.2, 0.0, arm, metal)
            self._add_light_case(owner, arm, 5.2, size, state, palette)

    def _add_light_case(
        self, owner: int, x: float, z: float, size: float, state: int, palette: int
    ) -> None:
        lamps = self.atlas.ids("traffic light")[state]
        back = Material(self.atlas.id("traffic light back"), palette, TRAFFIC_LIGHT)
        half = size * 0.22
        add_box(
            self.builder, owner, Box(x - half, x + half, -0.35, -0.05, z, z + size),
            BoxLook(back, back, Material(lamps, palette, TRAFFIC_LIGHT), back),
        )  # fmt: skip
