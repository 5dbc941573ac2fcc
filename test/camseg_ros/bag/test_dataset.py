# SPDX-License-Identifier: Apache-2.0
"""Odd bags: truth before, after or without its image; repeats, disorder, rubbish; two cameras."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import made_bags as bags
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from camseg_core.data.datasets import DatasetWarning, open_dataset
from camseg_core.data.sample import Sample, UnusableSampleError
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES
from camseg_ros.bag.about import AboutDrive
from camseg_ros.bag.contents import BagMessage
from camseg_ros.bag.dataset import BagDataset, CameraCounts, open_bag_dataset, read_rgb
from camseg_ros.bag.serialization import encode, type_name
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import BadFrameError, rgb_from_image, stamp_ns

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
NAME = bags.CAMERA.name


def written(path: Path, *messages: tuple[str, Any]) -> Path:
    """Write messages one after another, whatever their stamps."""
    with BagWriter(path) as writer:
        for log_ns, (topic, message) in enumerate(messages, start=1):
            writer.write(topic, message, log_ns)
    return path


def samples_of(dataset: BagDataset) -> list[Sample]:
    """Read the samples that can be used."""
    found = []
    for index in range(len(dataset)):
        with suppress(UnusableSampleError):
            found.append(dataset.read(index))
    return found


def read(tmp_path: Path, *messages: tuple[str, Any]) -> tuple[list[Sample], CameraCounts]:
    with BagDataset(written(tmp_path / "bag", *messages), CITYSCAPES) as dataset:
        return samples_of(dataset), dataset.counts[NAME]


def places(samples: list[Sample]) -> list[int]:
    return [int(sample.metadata.stamp_ns or 0) // bags.STEP_NS for sample in samples]


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
    assert places(frames) == [1, 2, 3]
    for index, frame in enumerate(frames):
        assert np.array_equal(frame.image, rgb_from_image(bags.noise_image(index)))
    assert frames[0].class_ids is not None
    assert np.array_equal(frames[0].class_ids.ravel(), bags.truth_image(0).data)
    assert frames[1].class_ids is None
    assert frames[2].class_ids is not None
    assert np.array_equal(frames[2].class_ids.ravel(), bags.truth_image(2).data)
    assert counts == CameraCounts(images=3, with_truth=2, truth=3, truth_without_image=1)


def test_repeats_are_left_out_and_disorder_is_counted(tmp_path: Path) -> None:
    frames, counts = read(tmp_path, *((IMAGE, bags.noise_image(i)) for i in (1, 0, 1, 3, 2)))
    assert places(frames) == [2, 1, 4, 3]
    assert (counts.images, counts.repeated, counts.unordered) == (5, 1, 2)


def test_frames_without_a_stamp_have_the_time_of_their_recording(tmp_path: Path) -> None:
    messages = [bags.noise_image(index) for index in range(3)]
    for message in messages:
        message.header.stamp.sec = message.header.stamp.nanosec = 0
    frames, counts = read(tmp_path, *((IMAGE, message) for message in messages))
    assert [frame.metadata.stamp_ns for frame in frames] == [1, 2, 3]
    for frame, message in zip(frames, messages, strict=True):
        assert np.array_equal(frame.image, rgb_from_image(message))
    assert counts == CameraCounts(images=3)


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
    assert places(frames) == [1, 3]
    assert frames[1].class_ids is None
    assert (counts.refused, counts.truth_refused, counts.truth) == (1, 2, 1)
    assert counts.problems[0] == f"{TRUTH}: ground truth of encoding 'rgb8': mono8 is needed"
    assert counts.problems[1].startswith(f"{IMAGE}: image step 3: must be at least 96")
    assert counts.problems[2] == (
        "ground truth of 300000000 ns is 16 x 12, its image 32 x 24; both must have the same size"
    )


def test_truth_with_ids_of_no_class_is_refused(tmp_path: Path) -> None:
    odd, unlabeled = bags.truth_image(1), bags.truth_image(2)
    odd.data[3], unlabeled.data[3] = 19, 255
    messages = [(TRUTH, truth) for truth in (bags.truth_image(0), odd, unlabeled)]
    frames, counts = read(tmp_path, *messages, *((IMAGE, bags.noise_image(i)) for i in range(3)))
    assert [frame.class_ids is None for frame in frames] == [False, True, False]
    assert (counts.with_truth, counts.truth_refused) == (2, 1)
    assert counts.problems == [
        "ground truth of 200000000 ns holds id 19; the classes are 0 to 18, and 255 is unlabeled"
    ]


def test_cameras_are_apart(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for log_ns in range(3):
            for camera in ("left", "right"):
                writer.write(f"/{camera}/image", bags.noise_image(log_ns), log_ns)
        writer.write("/right/semantic_gt/image", bags.truth_image(1), 9)
        writer.add_topic("/left/empty", Image)
    with BagDataset(tmp_path / "bag", CITYSCAPES) as dataset:
        found = [(one.metadata.camera, one.class_ids is not None) for one in samples_of(dataset)]
        indices = [(one.camera, one.frame_index) for one in dataset.samples]
    assert found.count(("left", False)) == 3
    assert found.count(("right", False)) == 2
    assert found.count(("right", True)) == 1
    assert sorted(indices) == [(name, n) for name in ("left", "right") for n in range(3)]
    assert dataset.counts["left"] == CameraCounts(images=3)


def test_messages_of_another_type_among_the_images_are_refused() -> None:
    for content in (String(data="x"), CompressedImage(header=bags.header(1), format="png")):
        kind = type_name(type(content))
        message = BagMessage(IMAGE, kind, 1, encode(content), "cdr")
        with pytest.raises(BadFrameError, match=f"a message of {kind} among the images"):
            read_rgb(message, bags.CAMERA)


def test_samples_are_read_in_any_order_and_counted_once(tmp_path: Path) -> None:
    bad = bags.noise_image(1)
    bad.step = 3
    path = written(
        tmp_path / "bag", (IMAGE, bags.noise_image(0)), (IMAGE, bad), (IMAGE, bags.noise_image(2)),
        (TRUTH, bags.truth_image(2)),
    )  # fmt: skip
    with BagDataset(path, CITYSCAPES) as dataset:
        for index in (2, 0, 0, 2):
            sample = dataset.read(index)
            assert np.array_equal(sample.image, rgb_from_image(bags.noise_image(index)))
            assert sample.metadata.name == f"bag/{NAME}/{(index + 1) * bags.STEP_NS}"
            header = dataset.header(index)
            assert (stamp_ns(header), header.frame_id) == (sample.metadata.stamp_ns, "camera")
        for _ in range(2):
            with pytest.raises(UnusableSampleError, match="image step 3: must be at least 96"):
                dataset.read(1)
        counts = dataset.counts[NAME]
    assert (counts.images, counts.refused, counts.with_truth, len(counts.problems)) == (3, 1, 1, 1)


def test_only_the_first_frames(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag")
    with BagDataset(path, CITYSCAPES, most_frames=2) as dataset:
        assert (len(dataset), dataset.expected) == (2, 2)
        assert places(samples_of(dataset)) == [1, 2]
    assert BagDataset(path, CITYSCAPES).expected == 6


def about_bag(path: Path, about: AboutDrive) -> Path:
    return written(
        path, (str(bags.CAMERA.about), String(data=about.to_json())),
        (IMAGE, bags.noise_image(0)), (TRUTH, bags.truth_image(0)),
    )  # fmt: skip


def test_a_bag_is_opened_as_any_data_set(tmp_path: Path) -> None:
    about = AboutDrive(CITYSCAPES, "acdc", "val", "adverse", "fog", "GOPR1")
    path = about_bag(tmp_path / "foggy", about)
    dataset = open_dataset("bag", path, "all")
    assert (dataset.name, dataset.split, len(dataset)) == ("acdc", "val", 1)
    assert dataset.label_set == CITYSCAPES
    metadata = dataset.read(0).metadata
    assert (metadata.part, metadata.condition, metadata.sequence) == ("adverse", "fog", "foggy")
    assert open_bag_dataset("bag", path, "val", conditions=["fog"], part="adverse").samples
    other = about_bag(tmp_path / "other", about)
    assert dataset.fingerprint() != BagDataset(other).fingerprint()
    assert dataset.fingerprint() == BagDataset(path).fingerprint()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"split": "train"}, "is of split val, not train; leave the split out to take the whole"),
        ({"part": "reference"}, "is of part adverse, not reference"),
        ({"conditions": ["snow", "rain"]}, "is of condition fog, not snow or rain"),
        ({"list_file": "a.txt"}, "a.txt: a list chooses image files, and bag has none"),
        ({"label_set": CAMVID}, "has the 19 classes of 'cityscapes'"),
    ],
)
def test_what_a_bag_is_not(tmp_path: Path, given: dict[str, Any], rule: str) -> None:
    path = about_bag(tmp_path / "bag", AboutDrive(CITYSCAPES, "acdc", "val", "adverse", "fog"))
    with pytest.raises(CamsegError, match=rule):
        open_bag_dataset("bag", path, **{"split": "all", **given})


def test_a_bag_that_says_nothing_needs_its_classes_named(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag")
    with pytest.raises(CamsegError, match="does not say what its ground truth means; --label-set"):
        open_bag_dataset("bag", path, "all")
    dataset = open_bag_dataset("bag", path, "all", label_set=CITYSCAPES)
    assert (dataset.name, dataset.split) == ("bag", "all")


def test_of_a_damaged_bag_what_can_be_read_is_taken_with_a_warning(tmp_path: Path) -> None:
    cut = bags.cut_copy(bags.write_bag(tmp_path / "a"), tmp_path / "cut", 9000, metadata=True)
    with pytest.warns(DatasetWarning, match="is damaged: .*; lost: 4 frames"):
        dataset = open_bag_dataset("bag", cut, "all", label_set=CITYSCAPES)
    assert len(dataset) == 2
