# SPDX-License-Identifier: Apache-2.0
"""Buildings, walls, fences, plants, poles, lamps, signs and traffic lights."""

from __future__ import annotations

from dataclasses import dataclass, field

from camseg_core.synthetic import classes
from camseg_core.synthetic.camera import cos_sin
from camseg_core.synthetic.randomness import Color, Draw
from camseg_core.synthetic.textures.atlas import LAMP, TAIL_LAMP, TextureAtlas
from camseg_core.synthetic.world.builder import Body, Box, SceneBuilder
from camseg_core.synthetic.world.scene import Footprint, Material, Pose

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

    def pick_texture(self, name: str) -> int:
        """Draw one of the textures of that name."""
        return self.draw.pick(self.atlas.ids(name))

    def add_building(
        self, pose: Pose, width: float, depth: float, storeys: int, hall: bool = False
    ) -> None:
        """Add a building; the pose is the middle of its front's foot, y goes into the building."""
        draw, builder = self.draw, self.builder
        bay, storey = BAY_M * draw.uniform(0.85, 1.2), STOREY_M * draw.uniform(0.9, 1.15)
        palette = self._building_palette()

        def material(name: str) -> Material:
            return Material(self.pick_texture(name), palette, classes.BUILDING)

        plain = Material(self.atlas.id("plain"), palette, classes.BUILDING)
        half = width / 2
        if hall:
            height = draw.uniform(4.5, 9)
            front = material("hall")
            body = builder.add_object(pose, Footprint(width, depth, height))
            body.box(
                Box(-half, half, 0, depth, 0, height), front, front, front, plain,
                (max(1, round(depth / 18)), 1), (max(1, round(width / 18)), 1),
            )  # fmt: skip
            return
        height, ground = storeys * storey, storey * draw.uniform(1.0, 1.25)
        gable = draw.chance(0.75 if storeys <= 3 else 0.2)
        body = builder.add_object(pose, Footprint(width, depth, ground + height))
        facade, base = material("facade"), material("ground floor")
        upper = Box(-half, half, 0, depth, ground, ground + height)
        across, deep = max(1, round(width / bay)) / 4, max(1, round(depth / bay)) / 4
        body.box(
            upper, facade, facade, facade, None if gable else plain, (deep, storeys / 4),
            (across, storeys / 4),
        )  # fmt: skip
        lower = Box(-half, half, 0, depth, 0, ground)
        body.box(lower, base, base, base, None, (deep, 1), (across, 1))
        if gable:
            tiles = draw.pick([(0.3, 0.09, 0.05), (0.1, 0.1, 0.11), (0.22, 0.16, 0.12)])
            palette_of_roof = builder.add_palette({1: draw.near(tiles, 0.4)})
            roof = Material(self.atlas.id("roof"), palette_of_roof, classes.BUILDING)
            plaster = Material(self.atlas.id("plaster"), palette, classes.BUILDING)
            body.gable_roof(upper, depth * draw.uniform(0.25, 0.5), roof, plaster)

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

    def wall_look(self) -> Material:
        """Draw what a wall looks like."""
        names = ["brick", "brick", "concrete", "stone", "plaster", "panel"]
        return self._painted(names, classes.WALL)

    def fence_look(self) -> Material:
        """Draw what a fence looks like."""
        names = ["boards", "boards", "picket", "picket", "railing", "mesh"]
        return self._painted(names, classes.FENCE)

    def hedge_look(self) -> Material:
        """Draw what a hedge looks like; each piece has a texture of its own."""
        return Material(self.atlas.id("hedge"), self.leaf_palette(), classes.VEGETATION)

    def _painted(self, names: list[str], class_id: int) -> Material:
        name = self.draw.pick(names)
        palette = self.builder.add_palette({1: self.draw.paint(0.6)})
        return Material(self.pick_texture(name), palette, class_id)

    def add_wall(self, pose: Pose, length: float, height: float, look: Material) -> None:
        """Add a piece of wall along y."""
        body = self.builder.add_object(pose, Footprint(0.3, length, height))
        end = length / 2
        body.box(
            Box(-0.16, 0.16, -end, end, 0, height), look, look, look, look,
            (length / 3, height / 3), (0.12, height / 3), (0.1, length / 3),
        )  # fmt: skip
        if height > 1.5 and self.draw.chance(0.5):
            cap = look._replace(texture=self.atlas.id("plain"))
            body.box(Box(-0.24, 0.24, -end, end, height, height + 0.12), cap, cap, cap, cap)

    def add_hedge(self, pose: Pose, length: float, height: float, look: Material) -> None:
        """Add a piece of hedge along y."""
        look = look._replace(texture=self.pick_texture("hedge"))
        self.builder.add_object(pose, Footprint(1.0, length, height)).box(
            Box(-0.5, 0.5, -length / 2, length / 2, 0, height), look, look, look, look,
            (length / 2, height / 2), (0.5, height / 2), (0.5, length / 2),
        )  # fmt: skip

    def add_fence(self, pose: Pose, length: float, height: float, look: Material) -> None:
        """Add a piece of fence along y."""
        self.builder.add_object(pose, Footprint(0.1, length, height * 0.8)).face(
            (0.0, -length / 2, height), (0.0, length, 0.0), (0.0, 0.0, -height), look,
            (max(1.0, round(length / height)), 1.0, 0.0, 0.0), two_sided=True,
        )  # fmt: skip

    def leaf_palette(self) -> int:
        """Draw the colours of one plant: leaves and bark."""
        bark = self.draw.near((0.16, 0.12, 0.08), 0.5)
        return self.builder.add_palette({1: self.draw.near(self.leaves, 0.4), 2: bark})

    def add_plant(self, pose: Pose, height: float, bush: bool = False) -> None:
        """Add a tree or a bush."""
        width = height * (self.draw.uniform(0.9, 1.8) if bush else self.draw.uniform(0.7, 1.1))
        texture = self.pick_texture("bush" if bush else "crown")
        material = Material(texture, self.leaf_palette(), classes.VEGETATION)
        footprint = Footprint(width * 0.8, width * 0.8, height, crown=not bush)
        self.builder.add_object(pose, footprint).sprite((width, height), material)

    def add_bank(self, pose: Pose, length: float, height: float, sign: int, palette: int) -> None:
        """Add a piece of grassy bank along y that rises to the side ``sign``."""
        run = height * 1.8
        self.builder.add_object(pose).face(
            (sign * run, length / 2 * sign, height), (0.0, length * -sign, 0.0),
            (-sign * run, 0.0, -height),
            Material(self.pick_texture("grass"), palette, classes.TERRAIN),
            (length / 4, run / 2, 0.0, 0.0),
        )  # fmt: skip

    def add_hill(self, pose: Pose, width: float, height: float) -> None:
        """Add a far slope."""
        palette = self.builder.add_palette({1: self.draw.near(self.grass, 0.4)})
        material = Material(self.pick_texture("hill"), palette, classes.TERRAIN)
        self.builder.add_object(pose).sprite((width, height), material)

    def metal_look(self) -> Material:
        """Draw what metal posts look like, lamps included."""
        palette = self.builder.add_palette(
            {1: self.draw.paint(0.6), LAMP: (0.6, 0.6, 0.55)}, night_glow={LAMP: (2.4, 1.9, 1.1)}
        )
        return Material(self.atlas.id("plain"), palette, classes.POLE)

    def _add_pole(
        self, body: Body, height: float, width: float, metal: Material, x: float = 0.0
    ) -> None:
        body.sprite((width, height), metal._replace(texture=self.atlas.id("pole")), x=x)

    def add_street_lamp(self, pose: Pose, height: float, reach: float, metal: Material) -> None:
        """Add a street lamp whose arm reaches ``reach`` metres to the right (or left, below 0)."""
        body = self.builder.add_object(pose, Footprint(0.2, 0.2, height))
        cosine, sine = cos_sin(pose.heading)
        self.lamps.append((pose.x + reach * cosine, pose.y - reach * sine))
        self._add_pole(body, height, self.draw.uniform(0.14, 0.24), metal)
        if reach:
            _add_arm(body, height, reach, metal)
        head = Box(reach - 0.4, reach + 0.4, -0.2, 0.2, height - 0.1, height + 0.1)
        body.box(head, metal, metal, metal, metal)

    def add_bollards(self, poses: list[Pose], metal: Material) -> None:
        """Add a row of bollards."""
        height, width = self.draw.uniform(0.7, 1.1), self.draw.uniform(0.14, 0.26)
        for pose in poses:
            body = self.builder.add_object(pose, Footprint(width, width, height))
            self._add_pole(body, height, width, metal)

    def add_sign(self, pose: Pose) -> None:
        """Add one or two traffic signs on a post, facing -y, or a direction board on two."""
        draw, builder, atlas = self.draw, self.builder, self.atlas
        body = builder.add_object(pose, Footprint(0.5, 0.15, 2.8))
        metal = self.metal_look()
        ground = draw.pick([(0.8, 0.8, 0.78), (0.8, 0.8, 0.78), (0.04, 0.14, 0.5),
                            (0.75, 0.5, 0.03), (0.05, 0.3, 0.12), (0.6, 0.05, 0.04)])  # fmt: skip
        rim = draw.pick([(0.62, 0.04, 0.04), (0.62, 0.04, 0.04), (0.85, 0.85, 0.85),
                         (0.04, 0.04, 0.05), (0.05, 0.15, 0.5)])  # fmt: skip
        palette = builder.add_palette({1: draw.near(ground, 0.2), 2: draw.near(rim, 0.2)})
        height = draw.uniform(2.5, 3.6)

        def add_plate(texture: int, back: int, width: float, tall: float, top: float) -> None:
            half, down = width / 2, (0.0, 0.0, -tall)
            front = Material(texture, palette, classes.TRAFFIC_SIGN)
            body.face((-half, -0.1, top), (width, 0.0, 0.0), down, front)
            body.face((half, -0.09, top), (-width, 0.0, 0.0), down, front._replace(texture=back))

        if draw.chance(0.22):  # a direction board
            width, tall = draw.uniform(2.0, 3.6), draw.uniform(1.2, 2.0)
            for x in (-width * 0.35, width * 0.35):
                self._add_pole(body, height + tall * 0.3, 0.14, metal, x)
            board = self.pick_texture("direction board")
            add_plate(board, atlas.id("plain"), width, tall, height)
            return
        self._add_pole(body, height, draw.uniform(0.09, 0.14), metal)
        for _ in range(draw.pick([1, 1, 1, 2])):
            size = draw.uniform(0.7, 1.05)
            shape = draw.integer(len(atlas.ids("sign")))
            add_plate(atlas.id("sign", shape), atlas.id("sign back", shape), size, size, height)
            height -= size + 0.05

    def add_traffic_light(self, pose: Pose, state: int, arm: float = 0.0) -> None:
        """Add a traffic light that faces -y; one with an ``arm`` (metres) has a second on it."""
        draw, builder, atlas = self.draw, self.builder, self.atlas
        body = builder.add_object(pose, Footprint(0.4, 0.4, 3.4))
        metal = self.metal_look()
        case: Color = draw.pick([(0.02, 0.02, 0.02), (0.03, 0.06, 0.04), (0.5, 0.33, 0.03),
                                 (0.2, 0.2, 0.2)])  # fmt: skip
        palette = builder.add_palette(
            {1: draw.near(case, 0.4), LAMP: (0.2, 0.2, 0.2)}, glow={LAMP: LIGHT_GLOWS[state]}
        )
        low = draw.uniform(2.1, 2.6)
        size = draw.uniform(1.0, 1.25)
        self._add_pole(body, 6.2 if arm else low + size, draw.uniform(0.12, 0.2), metal)
        lamps = Material(atlas.id("traffic light", state), palette, classes.TRAFFIC_LIGHT)
        back = lamps._replace(texture=atlas.id("traffic light back"))
        half = size * 0.22
        for x, z in ((0.0, low), (arm, 5.2)) if arm else ((0.0, low),):
            if x:
                _add_arm(body, 6.2, arm, metal)
            box = Box(x - half, x + half, -0.35, -0.05, z, z + size)
            body.box(box, back, back, lamps, back)


def _add_arm(body: Body, z: float, reach: float, metal: Material) -> None:
    """Add a horizontal arm that reaches ``reach`` metres to the right."""
    body.face((0.0, 0.0, z), (reach, 0.0, 0.0), (0.0, 0.0, -0.14), metal, two_sided=True)
