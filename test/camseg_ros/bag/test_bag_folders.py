# SPDX-License-Identifier: Apache-2.0
"""Split bags, and metadata.yaml that is cut off, wrong, or of other files."""

import shutil
from pathlib import Path

import bags
import pytest
import yaml

from camseg_ros.bag.contents import BagLoss
from camseg_ros.bag.reader import open_bag

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
VARIANTS = [(s, c) for s in ("mcap", "sqlite3") for c in ("none", "zstd")]


def stamps_of(*numbers: int) -> list[int]:
    return [number * bags.STEP_NS for number in numbers]


def split(tmp_path: Path, count: int) -> Path:
    """A bag in several files without metadata.yaml, as a recorder that was killed leaves it."""
    folder = tmp_path / "split"
    folder.mkdir()
    for part in range(count):
        one = bags.write_bag(tmp_path / f"part_{part}", 2)
        shutil.copy(bags.storage_file(one), folder / f"split_{part}.mcap")
    return folder


def test_split_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = split(tmp_path, 11)
    (folder / "split_10.mcap").rename(folder / "split_a.mcap")
    (folder / "split_a.mcap").rename(folder / "split_10.mcap")
    bags.cut_copy(tmp_path / "part_0", tmp_path / "cut", 4000, metadata=False)
    with open_bag(folder) as bag:
        assert bag.loss is None
        assert bag.topics[IMAGE].count == 22
        assert len([*bag.messages([IMAGE])]) == 22
    shutil.copy(tmp_path / "cut" / "part_0.mcap", folder / "split_10.mcap")
    with open_bag(folder) as bag:
        times = [m.log_ns for m in bag.messages([IMAGE])]
        assert bag.loss is not None
        assert "split_10.mcap is cut off" in bag.loss.reason
    assert times[:20] == [bags.STEP_NS, 2 * bags.STEP_NS] * 10
    assert len(times) == 21


def test_a_missing_part_is_stated(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag")
    metadata = path / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("- bag.mcap", "- bag.mcap\n  - bag_1.mcap"))
    with open_bag(path) as bag:
        assert bag.loss is None  # nothing that is counted is missing
    metadata.write_text(metadata.read_text().replace("message_count: ", "message_count: 1"))
    with open_bag(path) as bag:  # counts that do not add up: nobody knows
        assert bag.loss == BagLoss("bag_1.mcap is missing", None, 0.0)
        assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE)


def test_a_part_of_a_split_bag_that_is_missing(tmp_path: Path) -> None:
    path = bags.write_split_bag(tmp_path / "s", parts=3, frames=2)
    with open_bag(path) as bag:
        assert bag.loss is None
        assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE)
    (path / "s_1.mcap").rename(tmp_path / "s_1.mcap")
    with open_bag(path) as bag:
        assert bag.loss is not None
        assert bag.loss.reason == "s_1.mcap is missing"
        assert bag.loss.frames([IMAGE]) == 2
        assert sorted(bags.images_of(bag, IMAGE)) == stamps_of(1, 2, 5, 6)
    (path / "s_2.mcap").unlink()
    with open_bag(path) as bag:
        assert bag.loss is not None
        assert bag.loss.reason == "s_1.mcap is missing; s_2.mcap is missing"
        assert (bag.loss.frames([IMAGE]), bag.loss.seconds) == (4, 0.4)


def test_wherever_metadata_is_cut_off_all_files_are_read(tmp_path: Path) -> None:
    path = bags.write_split_bag(tmp_path / "s")
    text = (path / "metadata.yaml").read_text()
    for names_last in (False, True):  # rosbag2 writes the files' names behind the counts
        if names_last:
            content = yaml.safe_load(text)["rosbag2_bagfile_information"]
            content["relative_file_paths"] = content.pop("relative_file_paths")
            text = yaml.safe_dump({"rosbag2_bagfile_information": content}, sort_keys=False)
        for end in range(0, len(text) + 1, 11):
            (path / "metadata.yaml").write_text(text[:end])
            with open_bag(path) as bag:
                assert (end, sorted(bags.images_of(bag, IMAGE))) == (
                    end,
                    stamps_of(1, 2, 3, 4, 5, 6),
                )
                assert bag.loss is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("depth: 10", "depth: 7"),  # the library then finds no message
        ("RIHS01_", "RIHS01_0"),
        ("message_count: ", "message_count: 0 #"),
        ("message_count: 6", "message_count: 2"),
        ("storage_identifier: mcap", "storage_identifier: sqlite3"),
        ("version: 8", "version: 99"),
        ("version: 8", "version: 2020-13-45"),
        ("nanoseconds: ", "nanoseconds: x"),
        ("serialization_format: cdr", "serialization_format: json"),
        ("compression_mode: ''", "compression_mode: FILE"),
        ("type: sensor_msgs/msg/Image", "type: std_msgs/msg/String"),
    ],
)
def test_the_files_win_over_metadata(tmp_path: Path, old: str, new: str) -> None:
    path = bags.write_bag(tmp_path / "bag")
    text = (path / "metadata.yaml").read_text()
    assert old in text
    (path / "metadata.yaml").write_text(text.replace(old, new))
    with open_bag(path) as bag:
        assert bag.loss is None
        assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE)
        assert bag.topics[IMAGE].count == 6


def test_what_metadata_counts_and_no_file_holds_is_lost(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag")
    text = (path / "metadata.yaml").read_text()
    assert "message_count: 13" in text
    text = text.replace("message_count: 6", "message_count: 9").replace("nt: 13", "nt: 19")
    (path / "metadata.yaml").write_text(text)
    with open_bag(path) as bag:
        reason = "metadata.yaml counts more messages than the files hold"
        assert bag.loss == BagLoss(reason, {"/about": 0, IMAGE: 3, TRUTH: 3}, 0.0)


def test_files_of_another_bag_in_the_folder_are_not_read(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag")
    other = bags.storage_file(bags.write_bag(tmp_path / "other", first=6))
    shutil.copy(other, path)
    with open_bag(path) as bag:
        assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE)
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:9000])
    with open_bag(path) as bag:
        assert set(bags.images_of(bag, IMAGE)) < set(bags.written_images(IMAGE))
        assert bag.loss is not None
    shutil.move(path / "other.mcap", path / "bag_1.mcap")  # this one is of its series
    with open_bag(path) as bag:
        assert max(bags.images_of(bag, IMAGE)) == 12 * bags.STEP_NS
