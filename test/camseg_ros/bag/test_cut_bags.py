# SPDX-License-Identifier: Apache-2.0
"""Bags that were cut off anywhere, or are damaged inside: the prefix is read, the loss stated."""

import random
from collections.abc import Collection, Iterator
from pathlib import Path

import made_bags as bags
import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.contents import BagLoss, BagMessage, BagTopic
from camseg_ros.bag.reader import Bag, open_bag

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
VARIANTS = [(s, c) for s in ("mcap", "sqlite3") for c in ("none", "zstd")]


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize(("storage", "compression"), VARIANTS)
def test_of_a_bag_cut_off_anywhere_the_prefix_is_read(
    tmp_path: Path, storage: str, compression: str, metadata: bool
) -> None:
    size = (60, 80)
    path = bags.write_bag(
        tmp_path / "drive", 40, storage=storage, compression=compression, size=size
    )
    expected = {topic: bags.written_images(topic, 40, size) for topic in (IMAGE, TRUTH)}
    whole = bags.storage_file(path).stat().st_size
    rng = random.Random(f"{storage}{compression}{metadata}")
    shares = {}
    for cut in sorted({whole - 1, whole - 9, 1, *(rng.randrange(whole) for _ in range(8))}):
        copy = bags.cut_copy(path, tmp_path / "cut", cut, metadata=metadata)
        try:
            bag = open_bag(copy)
        except CamsegError as error:
            assert str(error).startswith(f"nothing can be read from {copy}: ")
            assert "\n" not in str(error)
            assert cut < 0.2 * whole
            continue
        with bag:
            found = {topic: bags.images_of(bag, topic) for topic in expected}
            assert bag.loss is not None
            for topic, images in found.items():
                assert images == dict(list(expected[topic].items())[: len(images)])
                assert len(images) == bag.topics[topic].count
            lost = 40 - len(found[IMAGE]) if metadata else None
            assert bag.loss.frames([IMAGE]) == lost
            if metadata:
                end_ns = max(t for images in found.values() for t in images)
                assert bag.loss.seconds == pytest.approx((40 * bags.STEP_NS - end_ns) / 1e9)
                assert f"lost: {lost} frames, " in bag.loss.line([IMAGE])
            shares[cut / whole] = len(found[IMAGE]) / 40
    # What stands before the cut is used: nearly as large a share of the frames as of the bytes.
    assert all(frames > share - 0.2 for share, frames in shares.items()), shares


@pytest.mark.parametrize("name", ["old.bag", "old.bag.active"])
def test_a_ros1_bag_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = bags.write_rosbag1(tmp_path / name)
    whole = path.read_bytes()
    rule = r"is a ROS 1 bag without a whole index: it was cut off or never closed \(.*\); `rosbag r"
    for end in (20, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(CamsegError, match=f"^{path} {rule}") as caught:
            open_bag(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["bz2", "lz4", "zstd"])  # the first two are of ROS 1
def test_damage_in_the_middle_is_found_while_reading(tmp_path: Path, compression: str) -> None:
    if compression == "zstd":
        path = bags.write_bag(tmp_path / "drive", 300, compression=compression)
        file = bags.storage_file(path)
    else:
        path = file = bags.write_rosbag1(tmp_path / "old.bag", 300, compression)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    file.write_bytes(content)
    expected = bags.written_images(IMAGE, 300)
    with open_bag(path) as bag:
        found = bags.images_of(bag, IMAGE)
        assert bag.loss is not None
        assert bag.loss.frames([IMAGE]) == 300 - len(found)
        assert "a part cannot be read" in bag.loss.line([IMAGE])
    assert len(found) < 300
    assert found == {time: expected[time] for time in found}


class CountingFile:
    """Counts more than it gives, as an index of another file does; breaks after some."""

    advice = ""

    def __init__(self, given: int, error: Exception | None = None) -> None:
        kind = "sensor_msgs/msg/Image"
        self.topics = {name: BagTopic(name, kind, 5) for name in (IMAGE, TRUTH)}
        self.start_ns, self.end_ns = 10**9, 5 * 10**9
        self.given, self.error = given, error

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        for number in range(self.given):
            for topic in sorted(topics):
                time_ns = (number + 1) * 10**9
                yield BagMessage(topic, "sensor_msgs/msg/Image", time_ns, b"", "cdr")
        if self.error is not None:
            raise self.error


def test_what_a_file_counts_and_does_not_give_is_lost(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "x.mcap", [CountingFile(5), CountingFile(3)], None)
    assert bag.loss is None
    next(bag.messages([IMAGE]))  # who stops has lost nothing
    assert bag.loss is None
    assert len([*bag.messages([IMAGE])]) == 8
    reason = "it holds fewer messages than its index counts"
    assert bag.loss == BagLoss(reason, {IMAGE: 2}, 2.0)


def test_passes_over_several_topics_add_up_and_the_same_pass_does_not(tmp_path: Path) -> None:
    torn = CountingFile(4, OSError("page  7\nis torn"))
    torn.advice = "look elsewhere"
    before = BagLoss("x_0.mcap is missing", {IMAGE: 10, TRUTH: 10}, 1.0)
    bag = Bag(tmp_path / "x", [torn, CountingFile(5)], before)
    for topic in (TRUTH, IMAGE, TRUTH):
        assert len([*bag.messages([topic])]) == 9
    reason = "x_0.mcap is missing; a part cannot be read (OSError: page 7 is torn); look elsewhere"
    assert bag.loss == BagLoss(reason, {IMAGE: 11, TRUTH: 11}, 2.0)
    for torn.given, topic in ((2, TRUTH), (4, IMAGE)):  # the longest lost time counts
        assert len([*bag.messages([topic])]) == torn.given + 5
    assert bag.loss == BagLoss(reason, {IMAGE: 11, TRUTH: 13}, 4.0)
