# SPDX-License-Identifier: Apache-2.0
"""Linear RGB colours of the surfaces that pixels show, in the light of the sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camseg_core.images.arrays import UInt8
from camseg_core.synthetic.arrays import Float32, Index, Int32
from camseg_core.synthetic.camera import Camera, cos_sin
from camseg_core.synthetic.classes import VEGETATION, Ground
from camseg_core.synthetic.randomness import Color, Draw, generator
from camseg_core.synthetic.render.ground import GroundPixels
from camseg_core.synthetic.render.light import Light
from camseg_core.synthetic.render.rasterizer import Fragments, cross
from camseg_core.synthetic.render.road_maps import RoadSurface
from camseg_core.synthetic.textures.atlas import LAMP, LEVELS, SLOTS, TextureAtlas, noise
from camseg_core.synthetic.textures.surfaces import GROUND_TEXELS_PER_M
from camseg_core.synthetic.world.scene import Scene, Surfaces

LAMP_COLOR: Color = (1.5, 1.15, 0.62)
HEADLIGHT_COLOR: Color = (1.5, 1.45, 1.3)
SNOW_ALBEDO = 0.82
PATCH_M = 32.0
"""Side of the map of stains, puddles and snow, which repeats."""


@dataclass(frozen=True)
class GroundLook:
    """Textures and colours of the ground materials, and the paint of markings."""

    texture: Int32
    tint: Float32
    paint: Float32
    patches: Float32


def make_ground_look(seed: int, sequence: int, atlas: TextureAtlas, grass: Color) -> GroundLook:
    """Draw how the ground of a sequence looks."""
    draw = Draw(seed, sequence, "ground look")
    second = draw.pick(["paving", "cobble", "asphalt", "concrete"])
    parking = draw.pick(["asphalt", "cobble", "paving"])
    lane = draw.pick(["asphalt", "asphalt", "asphalt", "asphalt", "concrete", "cobble"])
    paving = draw.pick(["paving", "paving", "paving", "asphalt", "concrete"])

    def mineral() -> Color:
        grey = draw.uniform(0.05, 0.5)
        warmth = draw.uniform(-0.08, 0.2)
        return grey * (1 + warmth), grey, grey * (1 - warmth)

    road, soil = mineral(), draw.near(draw.pick([(0.3, 0.22, 0.14), (0.2, 0.15, 0.1)]), 0.3)
    looks: dict[Ground, tuple[str, Color]] = {
        Ground.NOTHING: ("asphalt", road), Ground.GRASS_LOW: ("grass", draw.near(grass, 0.2)),
        Ground.GRASS: ("grass", grass), Ground.SOIL_LOW: ("soil", soil),
        Ground.SOIL: ("soil", soil), Ground.GRAVEL_LOW: ("gravel", mineral()),
        Ground.GRAVEL: ("gravel", mineral()), Ground.PAVING: (paving, mineral()),
        Ground.PAVING_SECOND: (second, mineral()),
        Ground.LANE_PARKING: (parking, road if draw.chance(0.6) else mineral()),
        Ground.LANE: (lane, road),
    }  # fmt: skip
    if draw.chance(0.15):  # red brick footways
        looks[Ground.PAVING] = (paving, draw.near((0.34, 0.13, 0.09), 0.25))
    paint = draw.pick([(0.75, 0.75, 0.73), (0.75, 0.75, 0.73), (0.7, 0.5, 0.08)])
    ordered = [looks[material] for material in Ground]
    return GroundLook(
        texture=np.array([draw.pick(atlas.ids(name)) for name, _ in ordered], np.int32),
        tint=np.array([tint for _, tint in ordered], np.float32),
        paint=np.array(paint, np.float32) * np.float32(draw.uniform(0.7, 1.0)),
        patches=noise(generator(seed, sequence, "patches"), 256, 256, 4, 5, 0.6),
    )


def _look_up(
    atlas: TextureAtlas, texture: Int32, per_pixel: Float32, u: Float32, v: Float32,
    jitter: Float32 | None = None,
) -> tuple[Float32, UInt8]:  # fmt: skip
    """Look texels up in the level for ``per_pixel`` texels a pixel.

    ``jitter`` [2, n] moves each look-up, in units of the level's texels. Returns albedo 0..255
    [n, 3] and slot [n].
    """
    exponent = (np.maximum(per_pixel, 1.0).view(np.int32) >> 23) - 127  # floor of log2
    level = np.minimum(exponent, atlas.last_level[texture])
    if jitter is not None:
        size = np.left_shift(1, level).astype(np.float32)
        u, v = u + jitter[0] * size, v + jitter[1] * size
    log2_width, log2_height = atlas.log2_width[texture], atlas.log2_height[texture]
    column = np.floor(u).astype(np.int32) & ((1 << log2_width) - 1)
    row = np.floor(v).astype(np.int32) & ((1 << log2_height) - 1)
    place = ((row >> level) << (log2_width - level)) + (column >> level)
    texels = atlas.texels[atlas.offsets[texture * LEVELS + level] + place]
    parts = texels.view(np.uint8).reshape(-1, 4)
    return parts[:, :3].astype(np.float32), parts[:, 3]


def surface_colors(
    fragments: Fragments, shown: Index, surfaces: Surfaces, table: Float32, atlas: TextureAtlas,
    camera: Camera, jitter: Float32,
) -> Float32:  # fmt: skip
    """Colour the pixels ``shown`` (places in the flattened image): linear RGB [n, 3].

    ``table`` [surfaces, SLOTS, 3] is what a white texel of a slot looks like. ``jitter``
    [2, pixels], -0.5..0.5, moves each look-up within a texel, so that the lens' blur makes texels
    run into each other: interpolation by chance (Pharr et al. 2024, Filtering After Shading With
    Stochastic Texture Filtering).
    """
    surface = fragments.index.ravel()[shown]
    row, column = np.divmod(shown.astype(np.int32), np.int32(camera.width))
    x, y = column.astype(np.float32), row.astype(np.float32)
    planes = fragments.texel_planes[surface]
    z = 1.0 / fragments.inverse_depth.ravel()[shown].astype(np.float32)
    u = (planes[:, 0] * x + planes[:, 1] * y + planes[:, 2]) * z
    v = (planes[:, 3] * x + planes[:, 4] * y + planes[:, 5]) * z
    per_pixel = fragments.texels_per_m[surface] * z * np.float32(0.8 / camera.focal_px)
    texture = surfaces.texture[surface]
    albedo, slot = _look_up(atlas, texture, per_pixel, u, v, jitter[:, shown])
    colors: Float32 = albedo * table.reshape(-1, 3)[surface * SLOTS + slot]
    return colors


def surface_table(
    scene: Scene, surfaces: Surfaces, camera: Camera, light: Light, sun_at: Float32,
    lamp_at: Float32 | None,
) -> Float32:  # fmt: skip
    """Light every palette colour of every surface: float32 [n, SLOTS, 3], per 8-bit texel step.

    ``sun_at`` and ``lamp_at`` are the shares of sun and lamp light per object.
    """
    normal = -cross(surfaces.edge_u, surfaces.edge_v)
    normal /= np.sqrt((normal * normal).sum(axis=1, keepdims=True))
    yaw_cos, yaw_sin = cos_sin(camera.yaw_rad)
    pitch_cos, pitch_sin = cos_sin(camera.pitch_rad)
    sx, sy, sz = light.to_sun
    right, ahead = sx * yaw_cos - sy * yaw_sin, sx * yaw_sin + sy * yaw_cos
    sun = (right, -ahead * pitch_sin - sz * pitch_cos, ahead * pitch_cos - sz * pitch_sin)
    facing = normal[:, 0] * sun[0] + normal[:, 1] * sun[1] + normal[:, 2] * sun[2]
    facing = np.where(surfaces.two_sided, np.abs(facing), np.maximum(facing, 0.0))
    up = -normal[:, 1] * pitch_cos - normal[:, 2] * pitch_sin
    upright = surfaces.upright
    facing = np.where(upright, 0.55, facing) * sun_at[surfaces.object]
    ambient = np.where(upright, 0.85, 0.72 + 0.28 * up)
    lit = facing[:, None] * np.array(light.sun) + ambient[:, None] * np.array(light.ambient)
    if lamp_at is not None:
        lit = lit + 0.8 * lamp_at[surfaces.object][:, None] * np.array(LAMP_COLOR)
    colors = scene.colors[surfaces.palette]
    if light.snow:
        plant = upright & (surfaces.class_ids == VEGETATION)
        cover = np.where(up > 0.5, 0.9, 0.0) + np.where(plant, 0.45, 0.0)
        cover = (cover * light.snow).astype(np.float32)[:, None, None]
        colors = colors * (1 - cover) + np.float32(SNOW_ALBEDO) * cover
    table = colors * lit[:, None, :].astype(np.float32)
    table += scene.glows[surfaces.palette]
    if light.night:
        glow = scene.night_glows[surfaces.palette]
        table = np.where(glow.max(axis=2, keepdims=True) > 0, glow, table)
    elif light.wet:  # lamps are on in the rain
        table[:, LAMP] += 0.35 * scene.night_glows[surfaces.palette][:, LAMP]
    scaled: Float32 = table * np.float32(1 / 255)
    return scaled


def ground_colors(
    ground: GroundPixels, look: GroundLook, road_surface: RoadSurface, sun_at: Float32,
    lamp_at: Float32 | None, light: Light, camera: Camera, atlas: TextureAtlas,
) -> tuple[Float32, Float32]:  # fmt: skip
    """Colour the ground: linear RGB [n, 3], and how much each pixel mirrors [n], 0..1.

    ``sun_at`` and ``lamp_at`` are the shares of sun and lamp light per pixel [n].
    """
    material = ground.material
    z = (1.0 / ground.inverse_depth).astype(np.float32)
    # A pixel covers z / f across, and more along the view; the level is between the two.
    stretch = np.sqrt(z * np.float32(1 / camera.position_m[2]))
    per_pixel = z * stretch * np.float32(0.6 * GROUND_TEXELS_PER_M / camera.focal_px)
    scale = np.float32(GROUND_TEXELS_PER_M)
    texture = look.texture[material]
    albedo, _ = _look_up(atlas, texture, per_pixel, ground.x * scale, ground.y * scale)
    paint, wear = road_surface.look_up(ground.y, ground.lateral)
    patch_x, patch_y = (
        np.floor(place * np.float32(256 / PATCH_M)).astype(np.int32) & 255
        for place in (ground.x, ground.y)
    )
    patch = look.patches[patch_y, patch_x]
    # Rails run over gravel too, so that wear counts everywhere; paint stays on the road.
    wear = wear * (1 + np.float32(0.16) * patch)
    paint = paint * (material >= Ground.LANE_PARKING)
    _paint_crossings(ground, paint)
    colors = albedo * np.float32(1 / 255) * look.tint[material] * wear[:, None]
    colors += (look.paint - colors) * (paint * np.float32(0.9))[:, None]
    colors[ground.kerb] *= np.float32(0.8)

    colors, mirror = _weathered(colors, material, patch, z, light)
    sun = sun_at * np.float32(light.to_sun[2])
    lit = sun[:, None] * np.array(light.sun, np.float32)
    # Under things that shade it the ground sees less of the sky too.
    lit += np.array(light.ambient, np.float32) * (
        np.float32(0.6) + np.float32(0.4) * sun[:, None] * np.float32(1 / light.to_sun[2])
    )
    if lamp_at is not None:
        lit += lamp_at[:, None] * np.array(LAMP_COLOR, np.float32)
    return colors * lit, mirror


def _paint_crossings(ground: GroundPixels, paint: Float32) -> None:
    """Paint the middle line and the crosswalks of crossing roads, in place [n]."""
    for junction, inside, along, across in ground.crossing:
        edge = np.abs(along)
        middle = np.abs(across) < np.float32(0.08)
        dash = (np.floor(along * np.float32(1 / 3)).astype(np.int32) & 1) == 0
        paint[inside] = np.where(middle & dash & (edge > 12), np.float32(0.9), paint[inside])
        if junction.crosswalk:
            stripes = (np.floor(across * 2).astype(np.int32) & 1).astype(np.float32)
            zone = (edge > 8.5) & (edge < 11.5) & (np.abs(across) < junction.half_width - 0.4)
            zone &= np.abs(ground.lateral[inside]) > np.float32(8.0)
            paint[inside] = np.where(zone, stripes, paint[inside])


def _weathered(
    colors: Float32, material: UInt8, patch: Float32, z: Float32, light: Light
) -> tuple[Float32, Float32]:
    """Return ground colours [n, 3] under snow or water, and how much they mirror [n]."""
    mirror = np.zeros(len(z), np.float32)
    paved = material >= Ground.PAVING
    if light.snow:
        driven = np.where(material >= Ground.LANE_PARKING, 0.5, 0.0).astype(np.float32)
        cover = np.clip((light.snow * 1.6 - driven - 0.35 + 0.9 * patch) * 2.2, 0, 1)
        share = cover.astype(np.float32)[:, None]
        colors = colors * (1 - share) + np.float32(SNOW_ALBEDO) * share
    if light.wet:
        darker = 1 - np.float32(0.45 * light.wet) * np.where(paved, 1.0, 0.5).astype(np.float32)
        colors = colors * darker[:, None]
        puddles = np.clip((patch + 0.1) * 3, 0, 1)
        glancing = np.clip(z * np.float32(0.06), 0.12, 0.75)
        mirrored = light.wet * glancing * (0.45 + 0.55 * puddles)
        mirror = np.where(paved, mirrored, 0.0).astype(np.float32)
    return colors, mirror
