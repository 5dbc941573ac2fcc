# SPDX-License-Identifier: Apache-2.0
"""The world of one sequence: road, scene, camera mount and the ego vehicle's drive."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from camseg_core.synthetic.arrays import Bool
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.classes import Ground
from camseg_core.synthetic.randomness import Draw
from camseg_core.synthetic.textures.atlas import TextureAtlas
from camseg_core.synthetic.world.builder import SceneBuilder
from camseg_core.synthetic.world.population import Population
from camseg_core.synthetic.world.road import Road, Side, make_road
from camseg_core.synthetic.world.roadside import Roadside
from camseg_core.synthetic.world.scene import Pose, Scene
from camseg_core.synthetic.world.traffic import Traffic
from camseg_core.synthetic.world.vehicles import VehicleBuilder

FRAME_INTERVAL_S = 0.1

EGO_BOX_M = (1.0, 2.5, 2.5)
"""Half width of the ego vehicle with its margin, and how far it reaches ahead of the camera and
behind it."""

BLOCK = 5
SHOWN = {
    "person": 5, "rider": 4, "motorcyclist": 3, "bicycle": 4, "motorcycle": 3, "car": 5, "truck": 3,
    "bus": 3, "train": 3, "wall": 3, "fence": 3, "traffic light": 3, "traffic sign": 5, "pole": 5,
    "terrain": 4, "vegetation": 5, "building": 4, "sidewalk": 4,
}  # fmt: skip
"""In how many sequences of a block of five each kind is placed on purpose near the camera.

The seed draws in which ones; ten sequences in a row show each kind often, whatever the seed.
"""

LEAVES = (
    (0.09, 0.17, 0.04), (0.14, 0.24, 0.06), (0.05, 0.1, 0.04), (0.2, 0.26, 0.08),
    (0.34, 0.2, 0.05), (0.32, 0.1, 0.04), (0.3, 0.26, 0.16), (0.12, 0.16, 0.12),
)  # fmt: skip
GRASSES = (
    (0.12, 0.2, 0.05), (0.2, 0.27, 0.08), (0.34, 0.3, 0.14), (0.26, 0.22, 0.12), (0.08, 0.13, 0.05),
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """What one sequence shows.

    Attributes:
        road: road that the ego vehicle drives on.
        scene: everything that stands or moves on and beside it.
        grass: colour of the grass, linear RGB.
        track_m: lateral of the middle of a railway track, or None.
        lamps: places (x, y) of street lamps, world metres.
        speed_m_s, acceleration_m_s2: motion of the ego vehicle at the first frame.
    """

    road: Road
    scene: Scene
    grass: tuple[float, float, float]
    track_m: float | None
    lamps: tuple[tuple[float, float], ...]
    speed_m_s: float
    acceleration_m_s2: float
    _mount: Camera
    _lateral: float
    _yaw_offset: float

    def pose(self, frame: int) -> Pose:
        """Return where the ego vehicle's camera is above the ground in frame ``frame``, from 0."""
        y = _travelled(self.speed_m_s, self.acceleration_m_s2, frame * FRAME_INTERVAL_S)
        x, heading = self.road.place(y, self._lateral)
        return Pose(x, y, 0.0, heading)

    def camera(self, frame: int) -> Camera:
        """Return the camera of frame ``frame`` of the sequence, from 0."""
        x, y, _, heading = self.pose(frame)
        # The suspension moves the view a little.
        sway = round(math.sin(frame * FRAME_INTERVAL_S * 4.1), 9) * 0.004
        return replace(
            self._mount,
            position_m=(x, y, self._mount.position_m[2]),
            yaw_rad=heading + self._yaw_offset,
            pitch_rad=self._mount.pitch_rad + sway,
        )


def kinds_to_show(seed: int, sequence: int) -> frozenset[str]:
    """Return the kinds of things that a sequence has to show, so that rare classes are not rare."""
    block, number = divmod(sequence, BLOCK)
    return frozenset(
        kind
        for kind, count in SHOWN.items()
        if Draw(seed, "cast", block, kind).order(BLOCK)[number] < count
    )


def make_world(
    seed: int, sequence: int, width: int, height: int, frames: int, atlas: TextureAtlas
) -> World:
    """Build the world of a sequence."""
    shown = kinds_to_show(seed, sequence)
    draw = Draw(seed, sequence, "drive")
    speed = draw.uniform(3.0, 14.0)
    acceleration = draw.uniform(-0.8, 1.2)
    drive_m = max(2.0, _travelled(speed, acceleration, frames * FRAME_INTERVAL_S))
    road, rail_side = _road_with_track(seed, sequence, drive_m, "train" in shown)
    builder = SceneBuilder()
    leaves = draw.near(draw.pick(LEAVES), 0.3)
    grass = draw.near(draw.pick(GRASSES), 0.3)
    roadside = Roadside(builder, atlas, Draw(seed, sequence, "roadside"), leaves, grass)
    side = Draw(seed, sequence, "lines").sign()
    near = {sign: kind for sign, kind in ((side, "wall"), (-side, "fence")) if kind in shown}
    if len(near) == 1 and rail_side in near:  # a line would hide the train
        near = {-sign: kind for sign, kind in near.items()}
    vehicles = VehicleBuilder(builder, atlas, Draw(seed, sequence, "vehicles"))
    traffic = Traffic(road, vehicles, Draw(seed, sequence, "traffic"), shown, speed, drive_m)
    traffic.populate()
    track = road.tram
    if rail_side:
        track = rail_side * (road.edge(rail_side) + 1.5 + 3.5)
        traffic.add_side_train(track)
    populating = Draw(seed, sequence, "population")
    Population(road, roadside, populating, shown, drive_m, near).populate()
    world = World(
        road=road, scene=builder.finish(), grass=grass, track_m=track,
        lamps=tuple(roadside.lamps), speed_m_s=speed, acceleration_m_s2=acceleration,
        _mount=_mount(seed, sequence, width, height),
        _lateral=road.ego_lane.lateral + draw.uniform(-0.35, 0.35),
        _yaw_offset=draw.uniform(-0.06, 0.06),
    )  # fmt: skip
    return replace(world, scene=world.scene.without(_in_the_way(world, frames)))


def _in_the_way(world: World, frames: int) -> Bool:
    """Return which road users the ego vehicle would drive through, bool [objects]."""
    gone: Bool = np.zeros(len(world.scene.footprints), np.bool_)
    for frame in range(frames):
        poses = world.scene.poses(frame * FRAME_INTERVAL_S)
        gone |= world.scene.hits(poses, world.pose(frame), EGO_BOX_M)
    return gone


def _travelled(speed: float, acceleration: float, time_s: float) -> float:
    """Return the metres driven in ``time_s``: who brakes stops, and none exceeds 18 m/s."""
    limit = 18.0 if acceleration >= 0 else 0.0
    changing = min(time_s, (limit - speed) / (acceleration or 1e-6))
    cruising = (speed + acceleration * changing) * (time_s - changing) if limit else 0.0
    return speed * changing + 0.5 * acceleration * changing * changing + cruising


def _road_with_track(seed: int, sequence: int, drive_m: float, train: bool) -> tuple[Road, int]:
    """Lay out the road; a train beside it makes one side a railway, whose sign is returned."""
    road = make_road(seed, sequence, drive_m)
    if not train or road.tram is not None:
        return road, 0
    draw = Draw(seed, sequence, "railway")
    other = [lane for lane in road.driving if lane is not road.ego_lane]
    if other and draw.chance(0.5):
        return replace(road, tram=draw.pick(other).lateral), 0
    sign = draw.sign()
    gravel, grass = Ground.GRAVEL, Ground.GRASS
    bed, verge = draw.pick([gravel, gravel, grass]), draw.pick([grass, gravel])
    rail = Side("rail", ((verge, 1.5), (bed, 7.0), (grass, 60.0)), 10.0, 0.0)
    sections = tuple(
        replace(section, left=rail) if sign < 0 else replace(section, right=rail)
        for section in road.sections
    )
    return replace(road, sections=sections), sign


def _mount(seed: int, sequence: int, width: int, height: int) -> Camera:
    """Draw where the camera is mounted and what its lens is like."""
    draw = Draw(seed, sequence, "camera")
    longer = max(width, height)
    field_of_view = draw.uniform(0.95, 1.5)  # rad over the longer side
    focal = round(longer / 2 / round(math.tan(field_of_view / 2), 9), 3)
    return Camera(
        width=width, height=height, focal_px=focal,
        center_x=width / 2 + round(draw.uniform(-0.02, 0.02) * width, 3),
        center_y=height / 2 + round(draw.uniform(-0.04, 0.04) * height, 3),
        position_m=(0.0, 0.0, round(draw.uniform(1.15, 2.2), 4)), yaw_rad=0.0,
        pitch_rad=round(draw.uniform(-0.04, 0.1), 5),
    )  # fmt: skip
