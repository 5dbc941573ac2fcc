# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import bags
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage

from camseg_core.errors import CamsegError
from camseg_core.images.drawing import encode_png
from camseg_ros.bag.camera_topics import cameras_of
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.writer import BagWriter
from camseg_ros.node.parameters import PARAMETERS
from camseg_ros.replay.live.node_setup import Parameters, bag_parameters


def parameters(path: Path, *image_topics: str) -> Parameters:
    with open_bag(path) as bag:
        return bag_parameters(bag, cameras_of(bag, image_topics))


def test_the_node_listens_to_the_bag_s_cameras(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        content = encode_png(np.zeros((12, 16, 3), np.uint8))
        compressed = CompressedImage(header=bags.header(1), format="png", data=content)
        writer.write("/rear/image/compressed", compressed, 1)
        writer.write("/left/image", bags.noise_image(0), 2)
        writer.write("/left/camera_info", CameraInfo(), 3)
    found = parameters(tmp_path / "bag")
    assert found == {
        "use_sim_time": True,
        "cameras": ["left", "rear"],
        "warmup_height": 24,
        "warmup_width": 32,
        "left.image_topic": "/left/image",
        "left.transport": "raw",
        "left.camera_info_topic": "/left/camera_info",
        "rear.image_topic": "/rear/image/compressed",
        "rear.transport": "compressed",
    }
    assert {"cameras", "warmup_height", "warmup_width"} <= {spec.name for spec in PARAMETERS}
    # The first camera is the one that is asked for first.
    other = parameters(tmp_path / "bag", "/rear/image/compressed", "/left/image")
    assert other["cameras"] == ["rear", "left"]
    assert (other["warmup_height"], other["warmup_width"]) == (12, 16)


def test_the_first_image_that_can_be_read_counts(tmp_path: Path) -> None:
    bad = bags.noise_image(0)
    bad.step = 3
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/left/image", bad, 1)
        writer.write("/left/image", bags.noise_image(1, (10, 14)), 2)
    found = parameters(tmp_path / "bag")
    assert (found["warmup_height"], found["warmup_width"]) == (10, 14)


def test_a_bag_of_which_no_image_can_be_read(tmp_path: Path) -> None:
    bad = bags.noise_image(0)
    bad.step = 3
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/left/image", bad, 1)
    with pytest.raises(CamsegError, match=r"bag, /left/image: no image can be read$"):
        parameters(tmp_path / "bag")
