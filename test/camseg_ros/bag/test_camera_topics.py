# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import (
    COMPRESSED_IMAGE,
    IMAGE,
    CameraTopics,
    about_beside,
    camera_names,
    find_cameras,
    loss_line,
)
from camseg_ros.bag.contents import BagLoss, BagTopic
from camseg_ros.bag.reader import Bag
from camseg_ros.messages.output_topics import OUTPUT_TOPICS


def topics(**types: str) -> dict[str, BagTopic]:
    """``a__b=IMAGE`` is the topic /a/b with three messages."""
    names = {"/" + key.replace("__", "/"): kind for key, kind in types.items()}
    return {name: BagTopic(name, kind, 3) for name, kind in names.items()}


def test_a_kitti_camera_with_all_its_topics() -> None:
    found = find_cameras(
        topics(
            kitti__camera_color_left__image_rect=IMAGE,
            kitti__camera_color_left__camera_info="sensor_msgs/msg/CameraInfo",
            kitti__camera_color_left__semantic_gt__image=IMAGE,
            kitti__camera_color_left__semantic_gt__about="std_msgs/msg/String",
            imu="sensor_msgs/msg/Imu",
        )
    )
    assert found == [CameraTopics.below("/kitti/camera_color_left")]


def test_cameras_are_found_by_type_without_masks_depth_and_copies() -> None:
    found = find_cameras(
        topics(
            left__image_raw=IMAGE,
            left__image_raw__compressed=COMPRESSED_IMAGE,
            right__image_raw__compressed=COMPRESSED_IMAGE,
            left__mask=IMAGE,
            left__depth__image=IMAGE,
            segment_node__left__overlay=IMAGE,
        )
    )
    assert [(c.name, c.image, c.is_compressed) for c in found] == [
        ("left", "/left/image_raw", False),
        ("right", "/right/image_raw/compressed", True),
    ]


def test_what_the_node_publishes_is_no_camera() -> None:
    published = [f"/segment_node/left/{item.topic}" for item in OUTPUT_TOPICS.values()]
    known = {name: BagTopic(name, IMAGE, 1) for name in ["/left/image_raw", *published]}
    assert [camera.image for camera in find_cameras(known)] == ["/left/image_raw"]


def test_an_empty_topic_is_no_camera_unless_it_is_asked_for() -> None:
    known = {"/a/image": BagTopic("/a/image", IMAGE, 0)}
    with pytest.raises(CamsegError, match=r"no topic with images; its topics are: /a/image \("):
        find_cameras(known)
    assert find_cameras(known, ["/a/image"])[0].name == "a"


def test_topics_by_name() -> None:
    known = topics(a__image=IMAGE, a__truth=IMAGE, b__image=IMAGE, text="std_msgs/msg/String")
    (camera,) = find_cameras(known, ["/a/image"], ["/a/truth"])
    assert (camera.image, camera.truth) == ("/a/image", "/a/truth")
    with pytest.raises(CamsegError, match="no topic /c; its image topics are: /a/image, /a/truth"):
        find_cameras(known, ["/c"])
    with pytest.raises(
        CamsegError, match="^/text has type std_msgs/msg/String; sensor_msgs/msg/Im"
    ):
        find_cameras(known, ["/text"])
    with pytest.raises(CamsegError, match="1 ground truth topics for 2 image topics; one for each"):
        find_cameras(known, ["/a/image", "/b/image"], ["/a/truth"])


def test_what_stands_beside_counts_with_its_type_alone() -> None:
    text = "std_msgs/msg/String"
    known = topics(
        a__image=IMAGE, a__camera_info=text, a__semantic_gt__image=text, a__semantic_gt__about=IMAGE
    )
    assert find_cameras(known)[0] == CameraTopics("a", "/a/image")
    packed = topics(
        a__image=IMAGE,
        a__semantic_gt__image=text,
        a__semantic_gt__image__compressed=COMPRESSED_IMAGE,
    )
    assert find_cameras(packed)[0].truth == "/a/semantic_gt/image/compressed"


def test_other_truth_is_explained_by_what_stands_beside_it() -> None:
    text = "std_msgs/msg/String"
    known = topics(
        a__image=IMAGE, a__semantic_gt__about=text, gt__ids=IMAGE, gt__about=text, b__ids=IMAGE
    )
    assert find_cameras(known, ["/a/image"])[0].about == "/a/semantic_gt/about"
    assert find_cameras(known, ["/a/image"], ["/gt/ids"])[0].about == "/gt/about"
    assert find_cameras(known, ["/a/image"], ["/b/ids"])[0].about == "/a/semantic_gt/about"
    assert about_beside("/gt/ids/compressed") == "/gt/about"


def test_the_loss_counts_cameras_that_were_lost_as_a_whole(tmp_path: Path) -> None:
    known = {"/a/image": IMAGE, "/b/image": IMAGE, "/b/mask": IMAGE, "/text": "std_msgs/msg/String"}
    lost = {"/a/image": 1, "/b/image": 6, "/b/mask": 50, "/text": 9}
    camera = CameraTopics("a", "/a/image")
    with Bag(tmp_path / "x.mcap", [], BagLoss("cut off", lost, 0.5), known) as bag:
        assert loss_line(bag, [camera]) == "damaged: cut off; lost: 7 frames, the last 0.500 s"
        assert loss_line(bag, [camera], ["/a/image"]).startswith("damaged: cut off; lost: 1 frames")
    with Bag(tmp_path / "x.mcap", [], None) as whole:
        assert loss_line(whole, [camera]) == ""


@pytest.mark.parametrize(
    ("image_topics", "names"),
    [
        (["/kitti/camera_color_left/image_rect"], ["camera_color_left"]),
        (["/image"], ["image"]),
        (["/front/cam/image", "/rear/cam/image"], ["front_cam", "rear_cam"]),
        (["/cam/image_raw", "/cam/image_color"], ["cam_image_raw", "cam_image_color"]),
        (["/0/image"], ["camera_0"]),
        (["/a-b/image/compressed"], ["a_b"]),
    ],
)
def test_names_are_short_and_different(image_topics: list[str], names: list[str]) -> None:
    assert camera_names(image_topics) == names
