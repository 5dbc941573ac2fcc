# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from camseg_core.images.drawing import overlay_image
from camseg_core.labels import CITYSCAPES
from camseg_ros.replay.results.snapshots import SNAPSHOTS, TILE_WIDTH_PIXELS, Snapshots, strip

IMAGE = np.full((20, 40, 3), 200, np.uint8)
IDS = np.zeros((20, 40), np.uint8)
CONFIDENCE = np.full((20, 40), 30, np.uint8)


@pytest.mark.parametrize(
    ("expected", "kept"),
    [
        (0, [0]),
        (1, [0]),
        (2, [0, 1]),
        (4, [0, 1, 2, 3]),
        (5, [0, 1, 3, 4]),
        (10, [0, 3, 6, 9]),
        (1000, [0, 333, 666, 999]),
    ],
)
def test_frames_are_spread_evenly(tmp_path: Path, expected: int, kept: list[int]) -> None:
    snapshots = Snapshots(tmp_path, "0002", expected, CITYSCAPES)
    small = np.zeros((1, 2), np.uint8)
    for index in range(max(1, expected)):
        snapshots.offer(index, np.zeros((1, 2, 3), np.uint8), small, small)
    assert len(kept) <= SNAPSHOTS
    assert snapshots.names == [f"0002_{index:06d}.jpg" for index in kept]
    files = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert files == snapshots.names


def test_a_picture_is_rgb_on_the_disk_too(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "x", 1, CITYSCAPES)
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 200
    snapshots.offer(0, red, IDS, CONFIDENCE)
    picture = cv2.imread(str(tmp_path / "pictures" / "x_000000.jpg"))
    assert picture.shape == (TILE_WIDTH_PIXELS // 2, 3 * TILE_WIDTH_PIXELS, 3)
    blue_green_red = picture[100, 200].astype(int)
    assert np.abs(blue_green_red - [0, 0, 200]).max() < 6


def test_image_overlay_and_confidence_stand_beside_each_other() -> None:
    pictures = strip(IMAGE, IDS, CONFIDENCE, CITYSCAPES)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (210, 1260, 3)
    tiles = np.split(pictures, 3, axis=1)
    overlay = overlay_image(IMAGE, IDS, CITYSCAPES)[0, 0].tolist()
    assert overlay == [164, 132, 164]  # half road, 128 64 128
    expected = ([200, 200, 200], overlay, [30, 30, 30])
    for tile, color in zip(tiles, expected, strict=True):
        assert (tile == color).all()


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (70_000, 2), (2, 70_000)])
def test_images_of_extreme_shapes_can_be_written(tmp_path: Path, size: tuple[int, int]) -> None:
    snapshots = Snapshots(tmp_path, "x", 1, CITYSCAPES)
    ids = np.zeros(size, np.uint8)
    snapshots.offer(0, np.zeros((*size, 3), np.uint8), ids, ids)
    picture = cv2.imread(str(tmp_path / "pictures" / "x_000000.jpg"))
    assert picture.shape[0] <= 1000
    assert picture.shape[1] <= 3 * TILE_WIDTH_PIXELS


def test_a_very_flat_image_keeps_a_row() -> None:
    flat = np.zeros((1, 2000), np.uint8)
    assert strip(np.zeros((1, 2000, 3), np.uint8), flat, flat, CITYSCAPES).shape[0] == 1
