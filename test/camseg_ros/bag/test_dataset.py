# SPDX-License-Identifier: Apache-2.0
"""Odd bags: truth before, after or without its image; repeats, disorder, rubbish; two cameras."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import bags
import numpy as np
from camseg_ros.replay.bag_frames import BagFrame, BagFrames, CameraCounts
from sensor_msgs.msg import Image
from std_msgs.msg import String

from camseg_ros.bag.camera_topics import find_cameras
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.serialization import encode, type_name
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import rgb_from_image

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
NAME = bags.CAMERA.name


def read(tmp_path: Path, *messages: tuple[str, Any]) -> tuple[list[BagFrame], CameraCounts]:
    """Write messages one after another, whatever their stamps, and read the frames."""
    with BagWriter(tmp_path / "bag") as writer:
        for log_ns, (topic, message) in enumerate(messages, start=1):
            writer.write(topic, message, log_ns)
    with open_bag(tmp_path / "bag") as bag:
        frames = BagFrames(bag, find_cameras(bag.topics))
        return list(frames), frames.counts[NAME]


def test_truth_is_found_wherever_it_stands(tmp_path: Path) -> None:
    frames, counts = read(
        tmp_path,
        (TRUTH, bags.truth_image(2)),
        (IMAGE, bags.noise_image(0)),
        (IMAGE, bags.noise_image(1)),
        (IMAGE, bags.noise_image(2)),
        (TRUTH, bags.truth_image(0)),
        (TRUTH, bags.truth_image(7)),
    )
    assert [frame.stamp_ns for frame in frames] == [(i + 1) * bags.STEP_NS for i in range(3)]
    for index, frame in enumerate(frames):
        assert np.array_equal(frame.image, rgb_from_image(bags.noise_image(index)))
    assert frames[0].truth is not None
    assert np.array_equal(frames[0].truth.ravel(), bags.truth_image(0).data)
    assert frames[1].truth is None
    assert frames[2].truth is not None
    assert np.array_equal(frames[2].truth.ravel(), bags.truth_image(2).data)
    assert counts == CameraCounts(images=3, with_truth=2, truth=3, truth_without_image=1)


def test_of_truth_with_one_stamp_the_first_counts(tmp_path: Path) -> None:
    again = bags.truth_image(7)
    again.header = bags.truth_image(0).header
    frames, counts = read(
        tmp_path, (TRUTH, bags.truth_image(0)), (TRUTH, again), (IMAGE, bags.noise_image(0))
    )
    assert np.array_equal(frames[0].truth.ravel(), bags.truth_image(0).data)  # type: ignore
    assert (counts.truth, counts.truth_repeated) == (1, 1)


def test_repeats_are_left_out_and_disorder_is_counted(tmp_path: Path) -> None:
    frames, counts = read(tmp_path, *((IMAGE, bags.noise_image(i)) for i in (1, 0, 1, 3, 2)))
    assert [frame.stamp_ns // bags.STEP_NS for frame in frames] == [2, 1, 4, 3]
    assert (counts.images, counts.repeated, counts.unordered) == (5, 1, 2)


def test_bad_images_are_refused_and_the_others_come(tmp_path: Path) -> None:
    bad = bags.noise_image(1)
    bad.step = 3
    small = bags.truth_image(2, size=(12, 16))
    frames, counts = read(
        tmp_path,
        (IMAGE, bags.noise_image(0)),
        (IMAGE, bad),
        (IMAGE, bags.noise_image(2)),
        (TRUTH, small),
        (TRUTH, bags.noise_image(0)),
    )
    assert [frame.stamp_ns // bags.STEP_NS for frame in frames] == [1, 3]
    assert frames[1].truth is None
    assert (counts.refused, counts.truth_refused, counts.truth) == (1, 2, 1)
    assert counts.problems[0] == f"{TRUTH}: truth of encoding 'rgb8': mono8 is needed"
    assert counts.problems[1].startswith(f"{IMAGE}: image step 3: must be at least 96")
    assert counts.problems[2] == (
        "truth of 300000000 ns is 16 x 12, its image 32 x 24; they are of one size"
    )


def test_truth_with_ids_of_no_class_is_refused_where_the_classes_are_known(tmp_path: Path) -> None:
    odd = bags.truth_image(1)
    odd.data[3] = 19
    unlabeled = bags.truth_image(2)
    unlabeled.data[3] = 255
    with BagWriter(tmp_path / "bag") as writer:
        for index, truth in enumerate((bags.truth_image(0), odd, unlabeled)):
            writer.write(TRUTH, truth, index + 1)
            writer.write(IMAGE, bags.noise_image(index), index + 1)
    with open_bag(tmp_path / "bag") as bag:
        cameras = find_cameras(bag.topics)
        trusting, knowing = BagFrames(bag, cameras), BagFrames(bag, cameras, 19)
        assert [frame.truth is None for frame in trusting] == [False, False, False]
        assert [frame.truth is None for frame in knowing] == [False, True, False]
    counts = knowing.counts[NAME]
    assert (counts.with_truth, counts.truth_refused) == (2, 1)
    assert counts.problems == [
        "truth of 200000000 ns holds id 19; the classes are 0 to 18, and 255 is unlabeled"
    ]


class MixedBag:
    """Two types under one name, as two publishers of a topic can leave them."""

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        for number, (topic, content) in enumerate(
            (
                (IMAGE, bags.noise_image(0)),
                (IMAGE, String(data="x")),
                (TRUTH, bags.truth_image(0)),
                (TRUTH, String(data="y")),
            )
        ):
            if topic in topics:
                kind = type_name(type(content))
                yield BagMessage(topic, kind, number, encode(content), "cdr")


def test_messages_of_another_type_among_the_images_are_refused() -> None:
    frames = BagFrames(MixedBag(), [bags.CAMERA])  # type: ignore[arg-type]
    assert [frame.truth is None for frame in frames] == [False]
    counts = frames.counts[NAME]
    assert (counts.images, counts.refused, counts.truth_refused) == (2, 1, 1)
    assert sorted(counts.problems) == [
        f"{IMAGE}: a message of std_msgs/msg/String among the images",
        f"{TRUTH}: truth of type std_msgs/msg/String: an Image of mono8 is needed",
    ]


def test_cameras_are_apart(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for log_ns in range(3):
            for camera in ("left", "right"):
                writer.write(f"/{camera}/image", bags.noise_image(log_ns), log_ns)
        writer.write("/right/semantic_gt/image", bags.truth_image(1), 9)
        writer.add_topic("/left/empty", Image)
    with open_bag(tmp_path / "bag") as bag:
        frames = BagFrames(bag, find_cameras(bag.topics))
        found = [(frame.camera.name, frame.truth is not None) for frame in frames]
    assert found.count(("left", False)) == 3
    assert found.count(("right", False)) == 2
    assert found.count(("right", True)) == 1
    assert frames.counts["left"] == CameraCounts(images=3)
