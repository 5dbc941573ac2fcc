# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import bags
import numpy as np
import pytest
import yaml

from camseg_core.labels import CAMVID
from camseg_ros.bag.reader import open_bag
from camseg_ros.messages.images import array_from_image_message, stamp_ns
from camseg_ros.replay.results.output_bag import OutputBag

MASK, CONFIDENCE = "/segment_node/left/mask", "/segment_node/left/confidence"


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 11, (6, 8), np.uint8)


def test_masks_and_confidence_have_the_node_s_topics(tmp_path: Path) -> None:
    path = tmp_path / "bags" / "0002"
    with OutputBag(path, CAMVID, "ab" * 32) as masks:
        for index in (1, 2):
            header = bags.header(index * bags.STEP_NS + 5, "lens")
            masks.write("left", header, picture(index), picture(10 + index))
        masks.write("right", bags.header(3 * bags.STEP_NS), picture(3), picture(13))
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
        masks.write("left", bags.header(1), picture(1), picture(2))
    content = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    topics = content["rosbag2_bagfile_information"]["topics_with_message_count"]
    latched = [
        topic["topic_metadata"]["name"]
        for topic in topics
        if "durability: 1" in topic["topic_metadata"]["offered_qos_profiles"]  # transient local
    ]
    assert latched == ["/segment_node/labels"]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), OutputBag(tmp_path / "bag", CAMVID, "") as masks:
        masks.write("left", bags.header(1), picture(1), picture(2))
        raise KeyError
    assert list(tmp_path.iterdir()) == []
