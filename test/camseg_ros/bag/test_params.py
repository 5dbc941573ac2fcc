# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import made_bags as bags
import numpy as np
import pytest
import yaml
from sensor_msgs.msg import CameraInfo, CompressedImage

from camseg_core.cli import main
from camseg_core.errors import CamsegError
from camseg_core.images.drawing import encode_png
from camseg_ros.bag.camera_topics import cameras_of
from camseg_ros.bag.params import node_parameters
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.writer import BagWriter


def test_the_node_listens_to_the_bag_s_cameras(tmp_path: Path) -> None:
    torn = bags.noise_image(0)
    torn.step = 3
    with BagWriter(tmp_path / "bag") as writer:
        content = encode_png(np.zeros((12, 16, 3), np.uint8))
        compressed = CompressedImage(header=bags.header(1), format="png", data=content)
        writer.write("/rear/image/compressed", compressed, 1)
        writer.write("/left/image", torn, 2)
        writer.write("/left/image", bags.noise_image(0), 3)  # the first that can be read counts
        writer.write("/left/camera_info", CameraInfo(), 4)
        writer.write("/torn/image", torn, 5)
    with open_bag(tmp_path / "bag") as bag:
        rear, left = "/rear/image/compressed", "/left/image"
        found = node_parameters(bag, cameras_of(bag, [left, rear]))
        other = node_parameters(bag, cameras_of(bag, [rear, left]))
        with pytest.raises(CamsegError, match=r"bag, /torn/image: no image can be read$"):
            node_parameters(bag, cameras_of(bag, ["/torn/image"]))
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
    assert other["cameras"] == ["rear", "left"]
    assert (other["warmup_height"], other["warmup_width"]) == (12, 16)


def test_the_command_prints_a_params_file_for_the_three_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = bags.write_bag(tmp_path / "bag")
    assert main(["bag", "params", str(bag)]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    found = {name: one["ros__parameters"] for name, one in content.items()}
    assert found["/segment_node"]["cameras"] == [bags.CAMERA.name]
    assert found["/segment_node"][f"{bags.CAMERA.name}.image_topic"] == bags.CAMERA.image
    assert found["/evaluate_node"] == {
        "cameras": [bags.CAMERA.name], "truth_topics": [bags.CAMERA.truth],
    }  # fmt: skip
    assert found["/play_node"] == {"bag": str(bag)}
    assert main(["bag", "params", str(tmp_path / "none")]) == 2
    assert "no such bag" in capsys.readouterr().err
