# SPDX-License-Identifier: Apache-2.0
"""Split bags, and metadata.yaml that is cut off, wrong, or of other files."""

import shutil
from pathlib import Path

import made_bags as bags
import pytest
import yaml

from camseg_core.errors import CamsegError
from camseg_ros.bag.contents import BagLoss, BagTopic
from camseg_ros.bag.reader import open_bag

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)


def stamps_of(*numbers: int) -> list[int]:
    return [number * bags.STEP_NS for number in numbers]


def test_split_files_without_metadata_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """A recorder that was killed leaves them so."""
    folder = bags.write_split_bag(tmp_path / "split", 11, frames=2)
    (folder / "metadata.yaml").unlink()
    with open_bag(folder) as bag:
        assert bag.loss is None
        assert bag.topics[IMAGE].count == 22
        assert [m.log_ns for m in bag.messages([IMAGE])] == stamps_of(*range(1, 23))
    for number in (10, 2):
        part = folder / f"split_{number}.mcap"
        part.write_bytes(part.read_bytes()[:4000])
    with open_bag(folder) as bag:
        reason = "split_2.mcap is cut off or torn; split_10.mcap is cut off or torn"
        assert bag.loss == BagLoss(reason, None, None)
        found = [m.log_ns for m in bag.messages([IMAGE])]
        assert found == stamps_of(*range(1, 6), *range(7, 22))


def test_files_that_overlap_in_time_are_read_together(tmp_path: Path) -> None:
    """As recorders write them whose topics or cameras go into files of their own."""
    (tmp_path / "bag").mkdir()
    for part, order in enumerate(([9, 10], [1, 3, 5], [2, 4, 6], [7])):
        bags.write_mcap_of_others(tmp_path / "bag" / f"bag_{part}.mcap", order)
    with open_bag(tmp_path / "bag") as bag:
        found = bags.images_of(bag, IMAGE)
        assert bag.loss is None
    assert list(found) == [10 * number for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
    assert found[40] == bytes(bags.noise_image(4).data)


def test_files_of_several_bags_without_metadata_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = bags.write_bag(tmp_path / name)
        (path / "metadata.yaml").unlink()
        shutil.move(bags.storage_file(path), tmp_path)
    with pytest.raises(CamsegError, match=r"holds several bags \(a\.mcap, b\.mcap, \.\.\.\) and n"):
        open_bag(tmp_path)
    (tmp_path / "metadata.yaml").write_text(
        "rosbag2_bagfile_information: {relative_file_paths: [a.mcap, b.mcap]}"
    )
    with open_bag(tmp_path) as bag:  # it says that they are one
        assert bag.topics[IMAGE].count == 12
    with open_bag(tmp_path / "b.mcap") as bag:
        assert bag.topics[IMAGE].count == 6


def test_a_topic_that_was_lost_as_a_whole_is_known(tmp_path: Path) -> None:
    path = bags.write_split_bag(tmp_path / "s")
    (path / "s_1.mcap").unlink()
    bags.write_mcap_of_others(path / "s_0.mcap", [1, 2])
    with open_bag(path) as bag:
        assert bag.topics[TRUTH] == BagTopic(TRUTH, "sensor_msgs/msg/Image", 0)
        assert bag.topics[IMAGE].count == 2
        assert bag.loss is not None
        assert (bag.loss.frames([TRUTH]), bag.loss.frames([IMAGE])) == (6, 4)
    bags.write_mcap_of_others(path / "s_0.mcap", [])
    with open_bag(path) as bag:  # without a message nobody knows the lost time
        assert bag.loss == BagLoss("s_1.mcap is missing", {"/about": 2, IMAGE: 6, TRUTH: 6}, None)


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


@pytest.mark.parametrize("names_last", [False, True])  # rosbag2 writes them behind the counts
def test_wherever_metadata_is_cut_off_all_files_are_read(tmp_path: Path, names_last: bool) -> None:
    path = bags.write_split_bag(tmp_path / "s", frames=2)
    content = yaml.safe_load((path / "metadata.yaml").read_text())
    if names_last:
        information = content["rosbag2_bagfile_information"]
        information["relative_file_paths"] = information.pop("relative_file_paths")
    text = yaml.safe_dump(content, sort_keys=False)
    for end in range(len(text), 0, -11):
        (path / "metadata.yaml").write_text(text[:end])
        with open_bag(path) as bag:
            assert (end, sorted(bags.images_of(bag, IMAGE))) == (end, stamps_of(1, 2, 3, 4))
            assert (end, list(bag.topics)) == (end, ["/about", IMAGE, TRUTH])
            assert bag.loss is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("depth: 10", "depth: 7"),  # the library then finds no message
        ("RIHS01_", "RIHS01_0"),
        ("message_count: ", "message_count: 0 #"),
        ("message_count: 6", "message_count: 2"),
        ("storage_identifier: mcap", "storage_identifier: sqlite3"),
        ("nanoseconds: ", "nanoseconds: " + 400 * "9"),
        ("\n  - bag.mcap", " 5"),
        ("\n  - bag.mcap", " bag.mcap"),
        ("- bag.mcap", "- bag.mcap\n  - bag.mcap"),  # else each frame would count twice
        ("- bag.mcap", "- a/bag.mcap\n  - b/bag.mcap"),
        ("- bag.mcap", "- bag.mcap\n  - " + 300 * "a" + ".mcap"),
        ("- bag.mcap", "- bag.mcap\n  - metadata.yaml"),
        ("- bag.mcap", '- bag.mcap\n  - "a\\0b.mcap"'),
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
    text = text.replace("nanoseconds: ", "nanoseconds: " + 400 * "9")  # more than a float holds
    (path / "metadata.yaml").write_text(text)
    with open_bag(path) as bag:
        assert bag.loss == BagLoss(reason, {"/about": 0, IMAGE: 3, TRUTH: 3}, None)


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
