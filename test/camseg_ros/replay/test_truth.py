# SPDX-License-Identifier: Apache-2.0
from array import array

import bags
import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.serialization import encode, type_name
from camseg_ros.replay.truth import TruthStore


def message(content: Image | CompressedImage) -> BagMessage:
    return BagMessage("/gt", type_name(type(content)), 1, encode(content), "cdr")


def png(pixels: np.ndarray) -> CompressedImage:
    content = CompressedImage(header=bags.header(7), format="png")
    content.data = array("B", cv2.imencode(".png", pixels)[1].tobytes())
    return content


def test_keeps_masks_by_stamp() -> None:
    store = TruthStore()
    masks = [np.random.default_rng(i).integers(0, 19, (5 + i, 9), np.uint8) for i in range(4)]
    for index in (2, 0, 3, 1):
        store.add(index, masks[index])
    store.add(3, masks[0])
    assert len(store) == 4
    assert store.repeated == 1
    assert [*store] == [2, 0, 3, 1]
    for index, mask in enumerate(masks):
        assert np.array_equal(store.get(index), mask)
    assert store.get(9) is None
    store.close()


def test_reads_raw_and_compressed_truth_and_counts_what_is_none() -> None:
    store = TruthStore()
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    color = np.dstack([grey, grey, grey + 1])
    broken = BagMessage("/gt", "sensor_msgs/msg/Image", 1, b"\0\1\0\0", "cdr")
    store.read([message(bags.truth_image(2)), message(png(grey)), message(png(color)), broken])
    assert [*store] == [3 * bags.STEP_NS, 7]
    assert np.array_equal(store.get(7), grey)
    assert np.array_equal(store.get(3 * bags.STEP_NS).ravel(), bags.truth_image(2).data)
    assert len(store.refused) == 2
    assert store.refused[0] == (
        "/gt: compressed truth of format 'png' is in colour: a gray image of ids is needed"
    )
    assert store.refused[1].startswith("/gt: 4 bytes are no sensor_msgs/msg/Image: ")
    store.close()
