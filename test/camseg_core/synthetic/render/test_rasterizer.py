# SPDX-License-Identifier: Apache-2.0
"""Pixels belong to the polygon that holds their centre, and the nearest one shows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camseg_core.synthetic.camera import Camera
from camseg_core.synthetic.render.rasterizer import NEAR_M, Fragments, rasterize
from camseg_core.synthetic.textures.atlas import GONE, Texture, TextureAtlas
from camseg_core.synthetic.world.scene import SURFACE, UNIT_SQUARE, Surfaces

CAMERA = Camera(32, 24, 20.0, 16.0, 12.0, (0.0, 0.0, 1.5), 0.0, 0.0)
SOLID = np.full((4, 4, 4), (128, 128, 128, 0), np.uint8)
HALF = SOLID.copy()
HALF[:, :2, 3] = GONE
ATLAS = TextureAtlas({"solid": [Texture(SOLID)], "half": [Texture(HALF)]})
Plane = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


def surfaces(
    planes: list[Plane], corners: list[list[tuple[float, float]]] | None = None, texture: int = 0,
    two_sided: bool = False,
) -> Surfaces:  # fmt: skip
    made = np.zeros(len(planes), SURFACE).view(np.recarray)
    made.origin, made.edge_u, made.edge_v = ([plane[part] for plane in planes] for part in range(3))
    made.corners = corners or UNIT_SQUARE
    made.tile = (1.0, 1.0, 0.0, 0.0)
    made.texture, made.two_sided = texture, two_sided
    return made


def draw(given_surfaces: Surfaces) -> Fragments:
    return rasterize(given_surfaces, CAMERA, ATLAS)


def facing(depth: float) -> Plane:
    """A plane that fills the image and faces the camera."""
    return ((-depth * 2, -depth * 2, depth), (depth * 4, 0.0, 0.0), (0.0, depth * 4, 0.0))


def test_a_rectangle_covers_the_pixels_whose_centres_it_holds() -> None:
    # At 2 m a pixel is 0.1 m: from 3.4 to 8.5 pixels and from 2.5 (a centre: in) to 5.5 (out).
    plane = ((-1.26, -0.95, 2.0), (0.51, 0.0, 0.0), (0.0, 0.3, 0.0))
    shown = draw(surfaces([plane])).index >= 0
    expected = np.zeros((24, 32), bool)
    expected[2:5, 3:8] = True
    np.testing.assert_array_equal(shown, expected)


def inside(point: tuple[int, int], corners: NDArray[np.int64]) -> bool:
    """Whether a point is strictly inside a convex polygon, both in 1/256 pixel."""
    x, y = point
    sides = set()
    for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        cross = (second[0] - first[0]) * (y - first[1]) - (second[1] - first[1]) * (x - first[0])
        sides.add(int(np.sign(cross)))
    return sides == {1} or sides == {-1}


coordinate = st.floats(-0.2, 1.2)


@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_triangles_cover_exactly_their_centres(triangle: list[tuple[float, float]]) -> None:
    plane = ((-1.6, -1.2, 2.0), (3.2, 0.0, 0.0), (0.0, 2.4, 0.0))  # the whole image
    padded = [*triangle, triangle[-1]]
    shown = draw(surfaces([plane], [padded], two_sided=False)).index >= 0
    snapped = np.floor(np.array(triangle) * [32 * 256, 24 * 256] + 0.5).astype(np.int64)
    area = np.cross(snapped[1] - snapped[0], snapped[2] - snapped[0])
    for row in range(24):
        for column in range(32):
            within = inside((column * 256 + 128, row * 256 + 128), snapped) and area > 0
            assert shown[row, column] == within or on_edge((column, row), snapped)


def on_edge(pixel: tuple[int, int], corners: NDArray[np.int64]) -> bool:
    """Whether a centre lies on the line of an edge: there the neighbour's rule decides."""
    x, y = pixel[0] * 256 + 128, pixel[1] * 256 + 128
    return any(
        (b[0] - a[0]) * (y - a[1]) == (b[1] - a[1]) * (x - a[0])
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    )


@given(st.integers(0, 32 * 4), st.integers(0, 24 * 4), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_neighbours_leave_no_gap_and_share_no_pixel(x: int, y: int, turn: int) -> None:
    """Four triangles around any point, centres of pixels among them, fill the image once."""
    plane = facing(2.0)
    middle = (float(Fraction(x, 128)) * 0.4 + 0.3, float(Fraction(y, 96)) * 0.3 + 0.35)
    square = [UNIT_SQUARE[(turn + corner) % 4] for corner in range(4)]
    triangles = [[square[side], square[(side + 1) % 4], middle, middle] for side in range(4)]
    counts = np.zeros((24, 32), int)
    for triangle in triangles:
        counts += draw(surfaces([plane], [triangle])).index >= 0
    assert (counts == 1).all()


def test_the_nearer_one_shows_whatever_the_order() -> None:
    near = ((-0.5, -0.5, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    for planes, expected in (([near, facing(5.0)], 0), ([facing(5.0), near], 1)):
        fragments = draw(surfaces(planes))
        assert fragments.index[12, 16] == expected
        assert fragments.index[0, 0] == 1 - expected
        assert 1 / fragments.inverse_depth[12, 16] == pytest.approx(2.0)
        assert 1 / fragments.inverse_depth[0, 0] == pytest.approx(5.0)


def test_of_equal_depths_the_first_one_shows() -> None:
    assert (draw(surfaces([facing(3.0), facing(3.0)])).index == 0).all()


def test_depth_is_that_of_the_ray_through_the_centre() -> None:
    # A floor 1.5 m below the camera from 2 to 30 m ahead: z = 1.5 / descent.
    floor = ((-50.0, 1.5, 30.0), (100.0, 0.0, 0.0), (0.0, 0.0, -28.0))
    fragments = draw(surfaces([floor]))
    shown = np.argwhere(fragments.index == 0)
    assert len(shown) > 150
    for row, column in shown:
        descent = (row + 0.5 - 12.0) / 20.0
        assert 1 / fragments.inverse_depth[row, column] == pytest.approx(1.5 / descent, rel=1e-9)


def test_a_plane_through_the_camera_is_cut_at_the_near_plane() -> None:
    floor = ((-50.0, 0.3, 30.0), (100.0, 0.0, 0.0), (0.0, 0.0, -60.0))
    depth = 1 / np.maximum(draw(surfaces([floor])).inverse_depth, 1e-9)
    assert (draw(surfaces([floor])).index[13:] == 0).all()
    assert (draw(surfaces([floor])).index[:12] == -1).all()
    assert depth[23, 0] == pytest.approx(0.3 * 20 / 11.5)
    assert depth[13:].min() >= NEAR_M


def test_what_is_behind_or_turned_away_is_not_drawn() -> None:
    behind = ((-5.0, -5.0, -2.0), (10.0, 0.0, 0.0), (0.0, 10.0, 0.0))
    away = ((2.0, -2.0, 2.0), (-4.0, 0.0, 0.0), (0.0, 4.0, 0.0))
    assert (draw(surfaces([behind])).index == -1).all()
    assert (draw(surfaces([away])).index == -1).all()
    assert (draw(surfaces([away], two_sided=True)).index == 0).all()


@pytest.mark.parametrize("tilt", [0.0, 0.5])
def test_cut_out_texels_let_the_background_through(tilt: float) -> None:
    """On a sprite (constant depth) and on a slanted face, the right half is there."""
    plane = ((-0.8, -0.6, 2.0), (1.6, 0.0, 0.0), (0.0, 1.2, tilt))
    fragments = draw(surfaces([plane], texture=1))
    shown = fragments.index == 0
    assert shown[8:14, 17:22].all()
    assert not shown[:, :16].any()


def test_texel_planes_give_the_texel_of_a_pixel() -> None:
    plane = ((-0.8, -0.6, 2.0), (1.6, 0.0, 0.0), (0.0, 1.2, 0.4))
    fragments = draw(surfaces([plane]))
    row, column = 10, 14
    z = 1 / fragments.inverse_depth[row, column]
    a, b, c, d, e, f = fragments.texel_planes[0, :6].astype(float)
    x = (column + 0.5 - 16) / 20 * z
    y = (row + 0.5 - 12) / 20 * z
    assert (a * column + b * row + c) * z == pytest.approx((x + 0.8) / 1.6 * 4, rel=1e-4)
    assert (d * column + e * row + f) * z == pytest.approx((y + 0.6) / 1.2 * 4, rel=1e-4)
