# SPDX-License-Identifier: Apache-2.0
"""Textures keep their texels, their smaller versions are whole-number means."""

from __future__ import annotations

import numpy as np

from camseg_core.synthetic.textures.atlas import GONE, LEVELS, Canvas, Texture, TextureAtlas, noise


def texel(atlas: TextureAtlas, texture: int, level: int, row: int, column: int) -> list[int]:
    width = max(1, (1 << int(atlas.log2_width[texture])) >> level)
    value = atlas.texels[atlas.offsets[texture * LEVELS + level] + row * width + column]
    return list(np.array([value], "<u4").view(np.uint8))


def picture(values: list[list[int]], slots: int | list[int] = 3) -> Texture:
    grey = np.array(values, np.uint8)
    return Texture(np.dstack([grey, grey, 255 - grey, np.zeros_like(grey) + np.uint8(slots)]))


def test_levels_hold_rounded_means_of_four_texels() -> None:
    atlas = TextureAtlas(
        {
            "first": [picture([[9]])],
            "second": [picture([[10, 20, 0, 0], [30, 41, 0, 7]], [1, 4, 2, 3])],
        }
    )
    assert atlas.ids("second") == (1,)
    assert texel(atlas, 0, 0, 0, 0) == [9, 9, 246, 3]
    assert texel(atlas, 1, 0, 1, 1) == [41, 41, 214, 4]
    assert texel(atlas, 1, 1, 0, 0) == [25, 25, 230, 4]  # 101 / 4 = 25.25, 919 / 4 = 229.75
    assert texel(atlas, 1, 1, 0, 1) == [2, 2, 253, 3]
    assert list(atlas.last_level) == [0, 1]


def test_what_is_cut_out_takes_the_nearest_texels_look() -> None:
    atlas = TextureAtlas({"edge": [picture([[200, 0], [200, 0]], [3, GONE])]})
    assert texel(atlas, 0, 0, 0, 1) == [200, 200, 55, 3]
    cutouts = atlas.cutouts[0]
    assert cutouts is not None
    np.testing.assert_array_equal(cutouts[0], [[True, False], [True, False]])
    np.testing.assert_array_equal(cutouts[1], [[True]])  # half of it is enough


def test_a_canvas_paints_in_its_own_units_from_the_bottom() -> None:
    canvas = Canvas(8, 4, 2.0, 1.0)
    canvas.box(0.5, 0.0, 1.0, 0.5, 77, 2)
    painted = canvas.texture()
    expected = np.full((4, 8, 4), (0, 0, 0, GONE))
    expected[2:, 2:4] = (77, 77, 77, 2)
    np.testing.assert_array_equal(painted.texels, expected)


def test_noise_repeats_without_a_seam() -> None:
    values = noise(np.random.default_rng(0), 64, 128, 8, 3)
    assert values.shape == (64, 128)
    assert -1.1 < values.min() < -0.2 < 0.2 < values.max() < 1.1
    inner = np.abs(np.diff(values, axis=1)).max()
    assert np.abs(values[:, 0] - values[:, -1]).max() <= 1.5 * inner
