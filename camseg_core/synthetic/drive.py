# SPDX-License-Identifier: Apache-2.0
"""The synthetic drive: frames with exact class ids, instances, depth and camera.

Frame i is frame i % frames_per_sequence of sequence i // frames_per_sequence; each sequence is a
world of its own. A frame depends on (seed, i) only, not on which frames were asked for before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from camseg_core.data.sample import CONDITIONS
from camseg_core.errors import CamsegError
from camseg_core.images.arrays import UInt8
from camseg_core.synthetic import classes
from camseg_core.synthetic.arrays import Float32
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.classes import Ground
from camseg_core.synthetic.randomness import Draw, generator
from camseg_core.synthetic.render import shading
from camseg_core.synthetic.render.ground import GroundPlanes
from camseg_core.synthetic.render.light import make_light, sky_image, sky_panorama
from camseg_core.synthetic.render.rasterizer import rasterize
from camseg_core.synthetic.render.road_maps import LightMap, paint_road
from camseg_core.synthetic.render.weather import photograph
from camseg_core.synthetic.textures.atlas import TextureAtlas
from camseg_core.synthetic.textures.people import people_textures
from camseg_core.synthetic.textures.roadside import roadside_textures
from camseg_core.synthetic.textures.surfaces import surface_textures
from camseg_core.synthetic.textures.vehicles import vehicle_textures
from camseg_core.synthetic.world.world import FRAME_INTERVAL_S, make_world

GENERATOR_VERSION = 2
"""Changes whenever the class ids of any frame change."""

HELD_OUT_SEEDS = range(9000, 10000)
"""Seeds to validate and test on; the bundled weights were not trained on them."""

MAX_FRAMES_PER_SEQUENCE = 200
GRAIN_MARGIN = 96


@dataclass(frozen=True)
class SyntheticFrame:
    """One frame with its ground truth.

    Attributes:
        image: RGB uint8 [H, W, 3].
        class_ids: Cityscapes train ids uint8 [H, W].
        instance_ids: uint16 [H, W]; within a sequence one number per person, rider or vehicle from
            1, and 0 for everything else.
        depth_m: distance along the camera's axis, float32 [H, W], metres; infinite for sky.
        camera: intrinsics and pose of the camera.
    """

    image: UInt8
    class_ids: UInt8
    instance_ids: NDArray[np.uint16]
    depth_m: Float32
    camera: Camera


_GROUND_CLASSES = np.full(len(Ground), classes.TERRAIN, np.uint8)
_GROUND_CLASSES[Ground.PAVING :] = classes.SIDEWALK
_GROUND_CLASSES[Ground.LANE_PARKING :] = classes.ROAD


@dataclass(frozen=True)
class SyntheticDrive:
    """A procedural, seeded drive.

    Attributes:
        seed: number from 0 from which everything but weather and size follows.
        width, height: size of the image in pixels, from 64 x 32 to 2048 x 2048.
        condition: one of `CONDITIONS`; it changes images, never ids or depth.
        frames_per_sequence: number of frames of one world, FRAME_INTERVAL_S apart.

    Raises:
        CamsegError: a value out of its range.
    """

    seed: int
    width: int
    height: int
    condition: str = "clear"
    frames_per_sequence: int = 20

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("seed", self.seed, 0, 2**32 - 1),
            ("width", self.width, 64, 2048),
            ("height", self.height, 32, 2048),
            ("frames per sequence", self.frames_per_sequence, 1, MAX_FRAMES_PER_SEQUENCE),
        ):
            if not low <= value <= high:
                raise CamsegError(f"{name} {value}: a whole number from {low} to {high} is needed")
        if self.condition not in CONDITIONS:
            allowed = ", ".join(CONDITIONS)
            raise CamsegError(f"condition {self.condition!r}: one of {allowed} is needed")

    def frame(self, index: int) -> SyntheticFrame:
        """Render frame ``index``, from 0.

        Raises:
            CamsegError: the index is negative.
        """
        if index < 0:
            raise CamsegError(f"frame {index}: frames are counted from 0")
        number, step = divmod(index, self.frames_per_sequence)
        sequence = _sequence(self, number)
        world, light, atlas = sequence.world, sequence.light, drive_textures(self.seed)
        camera = world.camera(step)
        poses = world.scene.poses(step * FRAME_INTERVAL_S)
        surfaces = world.scene.surfaces(poses, camera)
        fragments = rasterize(surfaces, camera, atlas)
        ground = sequence.ground.pixels(camera, fragments.inverse_depth)

        visible = fragments.index.ravel()  # a view: what the ground hides is taken out
        visible[ground.pixel] = -1
        shown = np.flatnonzero(visible >= 0)
        size, count = (self.height, self.width), self.width * self.height
        class_ids = np.full(count, classes.SKY, np.uint8)
        class_ids[shown] = surfaces.class_ids[visible[shown]]
        class_ids[ground.pixel] = _GROUND_CLASSES[ground.material]
        instance_ids = np.zeros(count, np.uint16)
        instance_ids[shown] = surfaces.instance_ids[visible[shown]]
        depth_m = np.full(count, np.inf, np.float32)
        depth_m[shown] = 1.0 / fragments.inverse_depth.ravel()[shown]
        depth_m[ground.pixel] = 1.0 / ground.inverse_depth

        image = np.empty((count, 3), np.float32)
        sky = np.flatnonzero(class_ids == classes.SKY)
        rows = int(sky[-1]) // self.width + 1 if len(sky) else 0
        image[: rows * self.width] = sky_image(sequence.panorama, camera, rows).reshape(-1, 3)
        at_objects = sequence.light_map.at_objects(poses)
        table = shading.surface_table(world.scene, surfaces, camera, light, *at_objects)
        jitter = _jitter(self.seed, count)
        image[shown] = shading.surface_colors(
            fragments, shown, surfaces, table, atlas, camera, jitter
        )
        on_ground = sequence.light_map.on_ground(poses, ground.y, ground.lateral)
        mirror = np.zeros(count, np.float32)
        image[ground.pixel], mirror[ground.pixel] = shading.ground_colors(
            ground, sequence.look, sequence.road_surface, *on_ground, light, camera, atlas
        )
        photo = photograph(
            image.reshape(*size, 3), mirror.reshape(size), depth_m.reshape(size), camera, light,
            Draw(self.seed, index, "photograph", self.condition),
            _grain(self.seed, self.width, self.height),
        )  # fmt: skip
        ids, instances = class_ids.reshape(size), instance_ids.reshape(size)
        return SyntheticFrame(photo, ids, instances, depth_m.reshape(size), camera)


@lru_cache(maxsize=2)
def drive_textures(seed: int) -> TextureAtlas:
    """Return all textures of the drives of a seed."""
    return TextureAtlas(
        surface_textures(seed)
        | roadside_textures(seed)
        | vehicle_textures(seed)
        | people_textures(seed)
    )


@lru_cache(maxsize=2)
def _grain(seed: int, width: int, height: int) -> Float32:
    """Return sensor noise a little larger than the image, so that each frame takes another part."""
    size = (height + GRAIN_MARGIN, width + GRAIN_MARGIN, 3)
    return generator(seed, "grain").standard_normal(size, dtype=np.float32)


@lru_cache(maxsize=2)
def _jitter(seed: int, count: int) -> Float32:
    """Return two numbers from -0.5 to 0.5 per pixel: float32 [2, count]."""
    return generator(seed, "jitter").random((2, count), dtype=np.float32) - np.float32(0.5)


class _Sequence:
    """What all frames of one sequence share."""

    def __init__(self, drive: SyntheticDrive, number: int) -> None:
        seed, atlas = drive.seed, drive_textures(drive.seed)
        self.world = make_world(
            seed, number, drive.width, drive.height, drive.frames_per_sequence, atlas
        )
        road = self.world.road
        self.ground = GroundPlanes(road)
        self.light = make_light(seed, number, drive.condition)
        self.look = shading.make_ground_look(seed, number, atlas, self.world.grass)
        self.road_surface = paint_road(seed, number, road, self.world.track_m)
        self.light_map = LightMap(road, self.world.scene, self.light, self.world.lamps)
        self.panorama = sky_panorama(seed, number, self.light)


_sequence = lru_cache(maxsize=2)(_Sequence)
