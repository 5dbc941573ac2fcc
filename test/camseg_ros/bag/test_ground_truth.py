# SPDX-License-Identifier: Apache-2.0
import io
from array import array
from typing import Any

import made_bags as bags
import numpy as np
import pytest
from PIL import Image as PilImage
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.ground_truth import TruthStore, class_ids_of_compressed, read_truth
from camseg_ros.bag.serialization import encode, type_name
from camseg_ros.messages.images import BadFrameError

IDS = np.random.default_rng(3).integers(0, 19, (6, 9), np.uint8)


def message(content: Any) -> BagMessage:
    return BagMessage("/gt", type_name(type(content)), 1, encode(content), "cdr")


def compressed(picture: PilImage.Image, kind: str, **how: Any) -> CompressedImage:
    """Compress with a library that the reader does not use."""
    content = io.BytesIO()
    picture.save(content, kind, **how)
    made = CompressedImage(header=bags.header(7), format=f"mono8; {kind.lower()} compressed ")
    made.data = array("B", content.getvalue())
    return made


def test_raw_truth() -> None:
    image = bags.truth_image(0)
    for encoding in ("mono8", "8UC1"):
        image.encoding = encoding
        stamp, ids = read_truth(message(image))
        assert stamp == bags.STEP_NS
        assert np.array_equal(ids.ravel(), bags.truth_image(0).data)
        assert ids.shape == (24, 32)
    with pytest.raises(BadFrameError, match="^ground truth of encoding 'rgb8': mono8 is needed$"):
        read_truth(message(bags.noise_image(0)))
    with pytest.raises(BadFrameError, match="^ground truth of type std_msgs/msg/String: a mono8 I"):
        read_truth(message(String(data="x")))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_eight_bits(channels: int) -> None:
    picture = PilImage.fromarray(IDS if channels == 1 else np.dstack([IDS] * 3))
    stamp, ids = read_truth(message(compressed(picture, "PNG")))
    assert stamp == 7
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, IDS)


def palette_picture() -> PilImage.Image:
    picture = PilImage.fromarray(IDS, "P")
    picture.putpalette([value for index in range(256) for value in (255 - index,) * 3])
    return picture


@pytest.mark.parametrize(
    ("picture", "kind", "rule"),
    [
        (PilImage.fromarray(IDS), "JPEG", "'mono8; jpeg compressed ': PNG is needed, other format"),
        (PilImage.fromarray(IDS), "WEBP", "PNG is needed, other formats change ids"),
        (PilImage.fromarray(IDS.astype(np.uint16) << 8), "PNG", "a PNG of 16 bits and colour typ"),
        (PilImage.fromarray(IDS > 5), "PNG", "a PNG of 1 bits and colour type 0; gray"),
        (palette_picture(), "PNG", "a PNG of 8 bits and colour type 3; gray .0. or RGB .2. of 8"),
        (PilImage.fromarray(np.dstack([IDS, IDS, IDS + 1])), "PNG", "' is in colour: a gray ima"),
    ],
)
def test_what_may_have_changed_ids_is_refused(
    picture: PilImage.Image, kind: str, rule: str
) -> None:
    with pytest.raises(BadFrameError, match=rule):
        class_ids_of_compressed(compressed(picture, kind))


@pytest.mark.parametrize("size", [0, 4, 20, 25, 60, -30, -13])
def test_torn_png(size: int) -> None:
    torn = compressed(PilImage.fromarray(IDS), "PNG")
    torn.data = torn.data[:size]
    with pytest.raises(BadFrameError, match="PNG is needed|cannot be decoded"):
        class_ids_of_compressed(torn)


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
    packed = [message(compressed(PilImage.fromarray(i), "PNG")) for i in (grey, color)]
    store.read([message(bags.truth_image(2)), *packed, broken])
    assert [*store] == [3 * bags.STEP_NS, 7]
    assert np.array_equal(store.get(7), grey)
    assert np.array_equal(store.get(3 * bags.STEP_NS).ravel(), bags.truth_image(2).data)
    assert len(store.refused) == 2
    assert "' is in colour: a gray image of ids is needed" in store.refused[0]
    assert store.refused[1].startswith("/gt: 4 bytes are not a sensor_msgs/msg/Image: ")
    store.close()
