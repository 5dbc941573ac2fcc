# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import made_bags as bags
import numpy as np
import pytest

from camseg_core.images.drawing import overlay_image
from camseg_core.labels import CAMVID, CITYSCAPES
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import array_from_image_message, stamp_ns
from camseg_ros.replay.results.kept_frames import (
    TILE_WIDTH_PIXELS,
    OutputBag,
    spread,
    strip,
    write_picture,
)

MASK, CONFIDENCE = "/segment_node/left/mask", "/segment_node/left/confidence"


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 11, (6, 8), np.uint8)


def test_masks_and_confidence_have_the_node_s_topics(tmp_path: Path) -> None:
    path = tmp_path / "bags" / "0002"
    with OutputBag(path, CAMVID, "ab" * 32) as masks:
        for index in (1, 2):
            header = bags.header(index * bags.STEP_NS + 5, "lens")
            masks.write_frame("left", header, picture(index), picture(10 + index))
        masks.write_frame("right", bags.header(3 * bags.STEP_NS), picture(3), picture(13))
        assert not path.exists()  # before it is whole
    with open_bag(path) as bag:
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/segment_node/labels": 1, MASK: 2, CONFIDENCE: 2,
            "/segment_node/right/mask": 1, "/segment_node/right/confidence": 1,
        }  # fmt: skip
        (labels,) = bag.messages(["/segment_node/labels"])
        content = json.loads(labels.decode().data)
        for topic, offset in ((MASK, 0), (CONFIDENCE, 10)):
            for index, message in enumerate(bag.messages([topic]), start=1):
                image = message.decode()
                assert stamp_ns(image.header) == message.log_ns == index * bags.STEP_NS + 5
                assert (image.header.frame_id, image.encoding) == ("lens", "mono8")
                assert np.array_equal(array_from_image_message(image), picture(offset + index))
    assert labels.log_ns == bags.STEP_NS + 5
    assert (content["label_set"], content["weights_sha256"]) == ("camvid", "ab" * 32)
    assert [entry["name"] for entry in content["classes"]] == list(CAMVID.names)


def test_late_subscribers_get_the_labels(tmp_path: Path) -> None:
    with OutputBag(tmp_path / "bag", CAMVID, "") as masks:
        masks.write_frame("left", bags.header(1), picture(1), picture(2))
    content = (tmp_path / "bag" / "metadata.yaml").read_text()
    _, offers = content.split("/segment_node/labels\n")
    assert content.count("durability: 1") == offers.count("durability: 1") == 1  # transient local


IMAGE = np.full((20, 40, 3), 200, np.uint8)
IDS = np.zeros((20, 40), np.uint8)
GRAY = np.full((20, 40), 30, np.uint8)


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (1, [0]),
        (2, [0, 1]),
        (4, [0, 1, 2, 3]),
        (5, [0, 1, 3, 4]),
        (10, [0, 3, 6, 9]),
        (1000, [0, 333, 666, 999]),
    ],
)
def test_frames_are_spread_evenly(count: int, kept: list[int]) -> None:
    assert spread(count) == kept


def test_a_picture_is_rgb_on_the_disk_too(tmp_path: Path) -> None:
    red = np.zeros((20, 40, 3), np.uint8)
    red[..., 0] = 200
    assert write_picture(tmp_path, "x", 7, red) == "x_000007.jpg"
    picture = cv2.imread(str(tmp_path / "pictures" / "x_000007.jpg"))
    assert picture.shape == (20, 40, 3)
    assert np.abs(picture[10, 20].astype(int) - [0, 0, 200]).max() < 6


def test_image_overlay_and_confidence_stand_beside_each_other() -> None:
    pictures = strip(IMAGE, IDS, GRAY, CITYSCAPES)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (210, 1260, 3)
    tiles = np.split(pictures, 3, axis=1)
    overlay = overlay_image(IMAGE, IDS, CITYSCAPES)[0, 0].tolist()
    assert overlay == [164, 132, 164]  # half road, 128 64 128
    expected = ([200, 200, 200], overlay, [30, 30, 30])
    for tile, color in zip(tiles, expected, strict=True):
        assert (tile == color).all()


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (70_000, 2), (2, 70_000)])
def test_pictures_of_extreme_shapes_can_be_written(size: tuple[int, int]) -> None:
    ids = np.zeros(size, np.uint8)
    height, width, _ = strip(np.zeros((*size, 3), np.uint8), ids, ids, CITYSCAPES).shape
    assert 1 <= height <= 1000
    assert width <= 3 * TILE_WIDTH_PIXELS
