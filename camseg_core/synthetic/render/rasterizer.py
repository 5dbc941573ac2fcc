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

from camseg_core.images.arrays import Int64
from camseg_core.synthetic.arrays import Bool, Float32, Float64, Index, Int32
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

    index: Int32
    inverse_depth: Float64
    texel_planes: Float32
    texels_per_m: Float32


def rasterize(surfaces: Surfaces, camera: Camera, atlas: TextureAtlas) -> Fragments:
    """Find the nearest surface of every pixel."""
    height, width = camera.height, camera.width
    planes, facing = _planes(surfaces, camera)
    log2_sides = (atlas.log2_width[surfaces.texture], atlas.log2_height[surfaces.texture])
    texels = np.left_shift(1, np.stack(log2_sides, axis=1)).astype(np.float64)
    lengths = np.stack([_length(surfaces.edge_u), _length(surfaces.edge_v)], axis=1)
    density = (np.abs(surfaces.tile[:, :2]) * texels / lengths).max(axis=1)
    fragments = Fragments(
        np.full((height, width), -1, np.int32), np.zeros((height, width)),
        _texel_planes(planes, surfaces.tile, texels), density.astype(np.float32),
    )  # fmt: skip
    visible, corners = _outlines(surfaces, camera, facing)
    left, right, extents = _spans(corners, facing[visible] < 0, height, width)
    # The version of a cut-out is chosen by texels per pixel along the denser axis.
    sides = np.maximum(corners.max(axis=1) - corners.min(axis=1), 1) / SUBPIXELS
    per_pixel = (np.abs(surfaces.tile[visible, :2]) * texels[visible] / sides).max(axis=1)
    levels = (per_pixel[:, None] >= 2.0 ** np.arange(1, 8)).sum(axis=1)
    columns = np.arange(width)
    columns_f, rows_f = columns.astype(np.float64), np.arange(height, dtype=np.float64)
    polygons = zip(
        visible.tolist(), surfaces.texture[visible].tolist(), planes[visible].tolist(),
        levels.tolist(), extents.tolist(), strict=True,
    )  # fmt: skip
    for surface, texture, plane, level, (start, top, bottom, x0, x1) in polygons:
        if x1 <= x0:
            continue
        rows = slice(start, start + bottom - top)
        depth_part = fragments.inverse_depth[top:bottom, x0:x1]
        x, y = columns_f[x0:x1], rows_f[top:bottom, None]
        a, b, c = plane[6:9]
        inverse = (a * x + c) + b * y
        shown = inverse > depth_part
        shown &= columns[x0:x1] >= left[rows, None]
        shown &= columns[x0:x1] < right[rows, None]
        masks = atlas.cutouts[texture]
        if masks is not None:
            mask = masks[min(level, len(masks) - 1)]
            shown &= _cutout(mask, plane, surfaces.tile[surface], x, y, inverse)
        np.copyto(depth_part, inverse, where=shown)
        np.copyto(fragments.index[top:bottom, x0:x1], surface, where=shown)
    return fragments


def _cutout(
    mask: Bool, plane: list[float], tile: Float64, x: Float64, y: Float64, inverse: Float64
) -> Bool:
    """Look up which of the pixels a cut-out texture covers."""
    rows, columns = mask.shape
    scale_u, scale_v, offset_u, offset_v = tile.tolist()
    if plane[6] == 0 and plane[7] == 0:  # a sprite: one depth, columns and rows apart
        z = 1.0 / plane[8]
        u, v = (plane[0] * x + plane[2]) * z, (plane[4] * y + plane[5]) * z
    else:
        z_map = 1.0 / np.where(inverse > 0, inverse, 1.0)
        u = ((plane[0] * x + plane[2]) + plane[1] * y) * z_map
        v = ((plane[3] * x + plane[5]) + plane[4] * y) * z_map
    limit = 1e6  # outside of the polygon the plane may run to the horizon
    column = np.floor(np.clip(u * scale_u + offset_u, -limit, limit) * columns).astype(np.intp)
    row = np.floor(np.clip(v * scale_v + offset_v, -limit, limit) * rows).astype(np.intp)
    covered: Bool = mask[row & (rows - 1), column & (columns - 1)]
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
    planes = []
    x0 = (0.5 - camera.center_x) / camera.focal_px
    y0 = (0.5 - camera.center_y) / camera.focal_px
    for row in (cross(v, origin) / safe, cross(origin, u) / safe, normal / safe):
        a, b, c = row.T
        planes += [a / camera.focal_px, b / camera.focal_px, c + a * x0 + b * y0]
    return np.stack(planes, axis=1), determinant


def _texel_planes(planes: Float64, tile: Float64, texels: Float64) -> Float32:
    uvz = planes.reshape(-1, 3, 3)
    scale, offset = (tile[:, :2] * texels)[..., None], (tile[:, 2:] * texels)[..., None]
    scaled = uvz[:, :2] * scale + uvz[:, 2:] * offset
    texel_planes: Float32 = np.concatenate([scaled, uvz[:, 2:]], axis=1).astype(np.float32)
    return texel_planes.reshape(-1, 9)


def _outlines(surfaces: Surfaces, camera: Camera, facing: Float64) -> tuple[Index, Int64]:
    """Project the surfaces that face the camera.

    Returns their rows [m] and their corners in 1/256 pixel [m, CORNERS, 2].
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
    return candidates[on_image], snapped[on_image]


def _near_clipped(points: list[list[float]]) -> list[list[float]]:
    """Cut a polygon of four corners at the near plane (Sutherland and Hodgman 1974)."""
    kept: list[list[float]] = []
    for first, second in zip(points, [*points[1:], points[0]], strict=True):
        if first[2] >= NEAR_M:
            kept.append(first)
        if (first[2] >= NEAR_M) != (second[2] >= NEAR_M):
            share = (NEAR_M - first[2]) / (second[2] - first[2])
            x, y = (first[axis] + share * (second[axis] - first[axis]) for axis in range(2))
            kept.append([x, y, NEAR_M])
    return kept + [kept[-1]] * (CORNERS - len(kept))


def _spans(corners: Int64, behind: Bool, height: int, width: int) -> tuple[Int64, Int64, Int64]:
    """Find the pixels whose centres are inside convex polygons [m, CORNERS, 2].

    Returns, of the rows of all polygons one after the other, the first pixel and the one after the
    last [k], and for each polygon its first place in them, its first row and the one after its
    last, its first column and the one after its last [m, 5].
    """
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
    extents = np.stack([start, top, bottom, np.zeros_like(top), np.zeros_like(top)], axis=1)
    filled = np.flatnonzero(counts)
    if len(filled):
        empty = right <= left
        firsts, ends = np.where(empty, width, left), np.where(empty, 0, right)
        extents[filled, 3] = np.minimum.reduceat(firsts, start[filled])
        extents[filled, 4] = np.maximum.reduceat(ends, start[filled])
    return left, right, extents
