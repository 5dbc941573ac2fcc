# SPDX-License-Identifier: Apache-2.0
"""Planar polygons to pixels: which surface each pixel shows, exactly at its centre, and how near.

Over a plane the inverse depth is linear in the image, and so are u / z and v / z (e.g. Heckbert,
Fundamentals of Texture Mapping and Image Warping, 1989). Corners are rounded to 1/256 pixel and
coverage is decided in whole numbers with the top-left rule, so that neighbours leave no gap and
share no pixel. Everything that decides a pixel is one IEEE operation after the other, without
sums whose order depends on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camseg_core.images.arrays import Int64
from camseg_core.synthetic.arrays import Bool, Float64
from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.textures.atlas import TextureAtlas
from camseg_core.synthetic.world.scene import VIEW_DISTANCE_M, Surfaces

NEAR_M = 0.4
SUBPIXELS = 256
CORNERS = 5
"""Most corners of a quadrilateral that the near plane has cut."""


@dataclass(frozen=True)
class Fragments:
    """What the pixels show.

    Attributes:
        index: row in the surfaces, -1 where there is none, int32 [H, W].
        inverse_depth: 1 / metres, 0 where there is none, float64 [H, W].
        texel_planes: per surface (a, b, c) of column / z and of row / z in texels, and of 1 / z, at
            the centre of pixel (x, y) a x + b y + c, float32 [n, 9].
        texels_per_m: texture density per surface, float32 [n].
    """

    index: NDArray[np.int32]
    inverse_depth: Float64
    texel_planes: NDArray[np.float32]
    texels_per_m: NDArray[np.float32]


def rasterize(surfaces: Surfaces, camera: Camera, atlas: TextureAtlas) -> Fragments:
    """Find the nearest surface of every pixel."""
    height, width = camera.height, camera.width
    index = np.full((height, width), -1, np.int32)
    inverse_depth = np.zeros((height, width))
    planes, facing = _planes(surfaces, camera)
    texels = np.stack(
        [
            np.left_shift(1, atlas.log2_width[surfaces.texture]),
            np.left_shift(1, atlas.log2_height[surfaces.texture]),
        ],
        axis=1,
    ).astype(np.float64)
    texel_planes = _texel_planes(planes, surfaces.tile, texels)
    lengths = np.stack([_length(surfaces.edge_u), _length(surfaces.edge_v)], axis=1)
    density = (np.abs(surfaces.tile[:, :2]) * texels / lengths).max(axis=1)
    fragments = Fragments(
        index, inverse_depth, texel_planes.astype(np.float32), density.astype(np.float32)
    )
    visible, corners, behind = _outlines(surfaces, camera, facing)
    if len(visible) == 0:
        return fragments
    spans = _spans(corners, behind, height, width)
    kept = np.flatnonzero(spans.bottom > spans.top)
    cutouts = atlas.cutouts
    columns = np.arange(width)
    columns_f = columns.astype(np.float64)
    rows_f = np.arange(height, dtype=np.float64)
    surface_of = visible[kept]
    texture_of = surfaces.texture[surface_of]
    masked = np.array([cutout is not None for cutout in cutouts])[texture_of]
    levels = _cutout_levels(surfaces, texels, visible, corners)[kept]
    lists = zip(
        surface_of.tolist(), spans.start[kept].tolist(), spans.top[kept].tolist(),
        spans.bottom[kept].tolist(), spans.left_most[kept].tolist(),
        spans.right_most[kept].tolist(), masked.tolist(), texture_of.tolist(), levels.tolist(),
        planes[surface_of].tolist(), strict=True,
    )  # fmt: skip
    for surface, start, top, bottom, x0, x1, has_mask, texture, level, plane in lists:
        if x1 <= x0:
            continue
        stop = start + bottom - top
        depth_part = inverse_depth[top:bottom, x0:x1]
        a, b, c = plane[6:9]
        x = columns_f[x0:x1]
        y = rows_f[top:bottom, None]
        inverse = (a * x + c) + b * y
        shown = inverse > depth_part
        here = columns[x0:x1]
        shown &= here >= spans.left[start:stop, None]
        shown &= here < spans.right[start:stop, None]
        if has_mask:
            group = cutouts[texture]
            if group is not None:
                mask = group[min(level, len(group) - 1)]
                shown &= _cutout(mask, plane, surfaces.tile[surface], x, y, inverse)
        np.copyto(depth_part, inverse, where=shown)
        np.copyto(index[top:bottom, x0:x1], surface, where=shown)
    return fragments


def _cutout(
    mask: Bool, plane: list[float], tile: Float64, x: Float64, y: Float64, inverse: Float64
) -> Bool:
    """Look up which of the pixels a cut-out texture covers."""
    rows, columns = mask.shape
    scale_u, scale_v, offset_u, offset_v = tile.tolist()
    if plane[6] == 0 and plane[7] == 0:  # a sprite: one depth, columns and rows apart
        z = 1.0 / plane[8]
        u = (plane[0] * x + plane[2]) * z
        v = (plane[4] * y[:, 0] + plane[5]) * z
        column = np.floor((u * scale_u + offset_u) * columns).astype(np.intp) % columns
        row = np.floor((v * scale_v + offset_v) * rows).astype(np.intp) % rows
        sprite: Bool = mask[row[:, None], column]
        return sprite
    z_map = 1.0 / np.where(inverse > 0, inverse, 1.0)
    u_map = ((plane[0] * x + plane[2]) + plane[1] * y) * z_map
    v_map = ((plane[3] * x + plane[5]) + plane[4] * y) * z_map
    limit = 1e6  # outside of the polygon the plane may run to the horizon
    u_map = np.clip(u_map * scale_u + offset_u, -limit, limit) * columns
    v_map = np.clip(v_map * scale_v + offset_v, -limit, limit) * rows
    covered: Bool = mask[
        np.floor(v_map).astype(np.intp) & (rows - 1),
        np.floor(u_map).astype(np.intp) & (columns - 1),
    ]
    return covered


def _length(vectors: Float64) -> Float64:
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return np.sqrt(x * x + y * y + z * z)


def cross(first: Float64, second: Float64) -> Float64:
    """Return the cross product of rows [n, 3], in a fixed order of operations."""
    return np.stack(
        [
            first[:, 1] * second[:, 2] - first[:, 2] * second[:, 1],
            first[:, 2] * second[:, 0] - first[:, 0] * second[:, 2],
            first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0],
        ],
        axis=1,
    )


def _planes(surfaces: Surfaces, camera: Camera) -> tuple[Float64, Float64]:
    """Return u / z, v / z, 1 / z at pixel centres as planes [n, 9], and which side is seen [n].

    With M = [edge_u edge_v origin], (u, v, 1) / z = inverse(M) ray, and the rows of the inverse are
    cross products over the determinant.
    """
    u, v, origin = surfaces.edge_u, surfaces.edge_v, surfaces.origin
    normal = cross(u, v)
    product = normal * origin
    determinant = product[:, 0] + product[:, 1] + product[:, 2]
    safe = np.where(np.abs(determinant) < 1e-9, 1.0, determinant)[:, None]
    parts = []
    x0 = (0.5 - camera.center_x) / camera.focal_px
    y0 = (0.5 - camera.center_y) / camera.focal_px
    for row in (cross(v, origin) / safe, cross(origin, u) / safe, normal / safe):
        parts += [
            row[:, 0] / camera.focal_px,
            row[:, 1] / camera.focal_px,
            row[:, 2] + row[:, 0] * x0 + row[:, 1] * y0,
        ]
    return np.stack(parts, axis=1), determinant


def _texel_planes(planes: Float64, tile: Float64, texels: Float64) -> Float64:
    parts = []
    for axis in range(2):
        scale = (tile[:, axis] * texels[:, axis])[:, None]
        offset = (tile[:, axis + 2] * texels[:, axis])[:, None]
        parts.append(planes[:, 3 * axis : 3 * axis + 3] * scale + planes[:, 6:9] * offset)
    return np.concatenate([*parts, planes[:, 6:9]], axis=1)


def _outlines(
    surfaces: Surfaces, camera: Camera, facing: Float64
) -> tuple[NDArray[np.intp], Int64, Bool]:
    """Project the surfaces that face the camera.

    Returns their rows [m], their corners in 1/256 pixel [m, CORNERS, 2], and which of them are seen
    from behind [m].
    """
    candidates = np.flatnonzero((facing > 1e-9) | (surfaces.two_sided & (facing < -1e-9)))
    uv = surfaces.corners[candidates]
    u, v = surfaces.edge_u[candidates, None], surfaces.edge_v[candidates, None]
    origin = surfaces.origin[candidates, None]
    points = origin + uv[..., :1] * u + uv[..., 1:] * v  # [n, 4, 3]
    z = points[..., 2]
    in_reach = (z.max(axis=1) > NEAR_M) & (z.min(axis=1) < VIEW_DISTANCE_M)
    candidates, points, z = candidates[in_reach], points[in_reach], z[in_reach]
    cut = np.flatnonzero(z.min(axis=1) < NEAR_M)
    points = np.concatenate([points, points[:, 3:]], axis=1)  # [n, CORNERS, 3]
    for row in cut.tolist():
        points[row] = _near_clipped(points[row, :4].tolist())
    scale = camera.focal_px / points[..., 2]
    x = points[..., 0] * scale + camera.center_x
    y = points[..., 1] * scale + camera.center_y
    limit = 1e6  # pixels; products of two of them still fit 64 bits
    snapped = np.floor(np.clip(np.stack([x, y], axis=2), -limit, limit) * SUBPIXELS + 0.5).astype(
        np.int64
    )
    low, high = snapped.min(axis=1), snapped.max(axis=1)
    on_image = (
        (high[:, 0] > 0) & (high[:, 1] > 0)
        & (low[:, 0] < camera.width * SUBPIXELS) & (low[:, 1] < camera.height * SUBPIXELS)
    )  # fmt: skip
    candidates, snapped = candidates[on_image], snapped[on_image]
    return candidates, snapped, facing[candidates] < 0


def _near_clipped(points: list[list[float]]) -> list[list[float]]:
    """Cut a polygon of four corners at the near plane (Sutherland and Hodgman 1974)."""
    kept: list[list[float]] = []
    for first, second in zip(points, [*points[1:], points[0]], strict=True):
        if first[2] >= NEAR_M:
            kept.append(first)
        if (first[2] >= NEAR_M) != (second[2] >= NEAR_M):
            share = (NEAR_M - first[2]) / (second[2] - first[2])
            kept.append(
                [
                    first[0] + share * (second[0] - first[0]),
                    first[1] + share * (second[1] - first[1]),
                    NEAR_M,
                ]
            )
    return kept + [kept[-1]] * (CORNERS - len(kept))


@dataclass(frozen=True)
class _Spans:
    """Pixels inside each of m polygons, row by row; ``left`` <= x < ``right``."""

    top: Int64
    bottom: Int64
    start: Int64
    left: Int64
    right: Int64
    left_most: Int64
    right_most: Int64


def _spans(corners: Int64, behind: Bool, height: int, width: int) -> _Spans:
    """Find the pixels whose centres are inside convex polygons [m, CORNERS, 2]."""
    half = SUBPIXELS // 2
    x, y = corners[..., 0], corners[..., 1]
    dx, dy = np.roll(x, -1, axis=1) - x, np.roll(y, -1, axis=1) - y
    # A point is inside where dx (py - y) - dy (px - x) >= 0 for every edge.
    sign = np.where(behind, -1, 1)[:, None]
    a, b = -dy * sign, dx * sign
    c = -(a * x + b * y)
    excluded = ~((a > 0) | ((a == 0) & (b >= 0)))  # an edge of no length excludes nothing
    c = c - excluded
    top = np.clip(-((half - y.min(axis=1)) // SUBPIXELS), 0, height)
    bottom = np.clip((y.max(axis=1) - half) // SUBPIXELS + 1, 0, height)
    counts = np.maximum(bottom - top, 0)
    start = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(owner)) - np.repeat(start - top, counts)
    a_row, b_row, c_row = a[owner], b[owner], c[owner]
    value = b_row * (row * SUBPIXELS + half)[:, None] + c_row + a_row * half
    step = np.maximum(np.abs(a_row) * SUBPIXELS, 1)
    quotient = value // step
    left = np.where(a_row > 0, -quotient, 0).max(axis=1)
    right = np.where(a_row < 0, quotient + 1, width).min(axis=1)
    outside = ((a_row == 0) & (value < 0)).any(axis=1)
    right = np.where(outside, 0, np.clip(right, 0, width))
    left = np.clip(left, 0, width)
    left_most, right_most = np.zeros_like(top), np.zeros_like(top)
    filled = np.flatnonzero(counts)
    if len(filled):
        empty = right <= left
        left_most[filled] = np.minimum.reduceat(np.where(empty, width, left), start[filled])
        right_most[filled] = np.maximum.reduceat(np.where(empty, 0, right), start[filled])
    return _Spans(top, bottom, start, left, right, left_most, right_most)


def _cutout_levels(
    surfaces: Surfaces, texels: Float64, visible: NDArray[np.intp], corners: Int64
) -> Int64:
    """Choose the version of a cut-out by texels per pixel along the denser axis."""
    extent = np.maximum(corners.max(axis=1) - corners.min(axis=1), 1) / SUBPIXELS
    shown = np.abs(surfaces.tile[visible, :2]) * texels[visible]
    per_pixel = (shown / extent).max(axis=1)
    levels = np.zeros(len(visible), np.int64)
    for level in range(1, 8):
        levels += per_pixel >= 2**level
    return levels
