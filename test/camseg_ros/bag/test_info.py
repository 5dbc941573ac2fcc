# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import made_bags as bags
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID
from camseg_ros.bag.about import AboutDrive, read_about
from camseg_ros.bag.info import describe_bag, info_lines
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.writer import BagWriter

ABOUT = AboutDrive(CAMVID, dataset="camvid", split="val", condition="clear", sequence="0001TP")
FOLDER = "/kitti/camera_color_left"


def write(path: Path, about: str | None = None, storage: Any = "mcap") -> Path:
    with BagWriter(path, storage, "none") as writer:
        if about is not None:
            writer.write(str(bags.CAMERA.about), String(data=about), bags.STEP_NS, latched=True)
        for index in range(3):
            stamp_ns = (index + 1) * bags.STEP_NS
            writer.write(bags.CAMERA.image, bags.noise_image(index), stamp_ns)
            if index:
                writer.write(str(bags.CAMERA.truth), bags.truth_image(index), stamp_ns)
    return path


def describe(path: Path) -> dict[str, Any]:
    with open_bag(path) as bag:
        return describe_bag(bag)


def test_what_a_bag_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "drive", ABOUT.to_json())
    content = describe(path)
    assert content == {
        "bag": str(path),
        "start_ns": bags.STEP_NS,
        "end_ns": 3 * bags.STEP_NS,
        "topics": {
            f"{FOLDER}/image_rect": {"type": "sensor_msgs/msg/Image", "messages": 3},
            f"{FOLDER}/semantic_gt/about": {"type": "std_msgs/msg/String", "messages": 1},
            f"{FOLDER}/semantic_gt/image": {"type": "sensor_msgs/msg/Image", "messages": 2},
        },
        "cameras": {
            "camera_color_left": {
                "image_topic": f"{FOLDER}/image_rect",
                "images": 3,
                "form": "32 x 24 rgb8",
                "camera_info": False,
                "truth": 2,
                "about": {
                    "classes": "camvid",
                    "dataset": "camvid",
                    "split": "val",
                    "part": "",
                    "condition": "clear",
                    "sequence": "0001TP",
                },
            }
        },
        "damage": None,
    }
    assert list(info_lines(content)) == [
        str(path),
        "  0.200 s, from 100000000 to 300000000 ns",
        f"  {FOLDER}/image_rect               3  sensor_msgs/msg/Image",
        f"  {FOLDER}/semantic_gt/about        1  std_msgs/msg/String",
        f"  {FOLDER}/semantic_gt/image        2  sensor_msgs/msg/Image",
        "  camera camera_color_left: 3 images 32 x 24 rgb8, 2 with ground truth",
        "    classes camvid, dataset camvid, split val, condition clear, sequence 0001TP",
    ]


def test_compressed_images_without_truth(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        message = CompressedImage(format="jpeg", data=b"x")
        writer.write("/left/image/compressed", message, 5)
    content = describe(tmp_path / "bag")
    assert content["cameras"]["left"]["form"] == "compressed (jpeg)"
    assert content["cameras"]["left"]["about"] is None
    assert (
        list(info_lines(content))[-1]
        == "  camera left: 1 images compressed (jpeg), no ground truth"
    )


def test_a_bag_without_cameras_and_one_without_messages(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "talk") as writer:
        writer.write("/talk", String(data="x"), 7)
    assert list(info_lines(describe(tmp_path / "talk"))) == [
        f"{tmp_path}/talk",
        "  0.000 s, from 7 to 7 ns",
        "  /talk        1  std_msgs/msg/String",
    ]
    with BagWriter(tmp_path / "empty") as writer:
        writer.add_topic("/talk", String)
    content = describe(tmp_path / "empty")
    assert (content["start_ns"], content["cameras"]) == (None, {})
    assert list(info_lines(content)) == [
        f"{tmp_path}/empty",
        "  /talk        0  std_msgs/msg/String",
    ]


def test_about_that_was_never_written(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "silent") as writer:
        writer.write(bags.CAMERA.image, bags.noise_image(0), 1)
        writer.add_topic(str(bags.CAMERA.about), String)
    with open_bag(tmp_path / "silent") as bag:
        assert read_about(bag, bags.CAMERA) is None


@pytest.mark.parametrize("text", ["", "[]", '{"label_set": 3}', '{"label_set": null, "x": 1}'])
def test_about_that_is_not_readable(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "bag", text)
    with (
        open_bag(path) as bag,
        pytest.raises(
            CamsegError, match="^the bag's description of its ground truth is not readable: "
        ),
    ):
        read_about(bag, bags.CAMERA)
    # The bag can be described all the same.
    camera = describe(path)["cameras"]["camera_color_left"]
    assert (camera["about"], camera["truth"]) == (None, 2)


def test_of_about_bytes_that_are_no_message_the_topic_is_named(tmp_path: Path) -> None:
    path = bags.storage_file(write(tmp_path / "bag", "truth " * 9, "sqlite3"))  # no checksums
    raw = path.read_bytes()
    size = len("truth " * 9) + 1  # as CDR writes it, with a zero at the end
    damaged = raw.replace(size.to_bytes(4, "little") + b"truth ", b"\xff\xff\xff\x7ftruth ")
    assert damaged != raw
    path.write_bytes(damaged)
    with (
        open_bag(path) as bag,
        pytest.raises(CamsegError, match=r"bag\.db3, .*semantic_gt/about: \d+ bytes are not a std"),
    ):
        read_about(bag, bags.CAMERA)
