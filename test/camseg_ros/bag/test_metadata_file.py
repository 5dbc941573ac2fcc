# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import made_bags as bags
import pytest

from camseg_ros.bag.metadata_file import BagMetadata

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
COUNTS = {"/about": 1, IMAGE: 6, TRUTH: 6}
IMAGE_TYPE = "sensor_msgs/msg/Image"
TYPES = {"/about": "std_msgs/msg/String", IMAGE: IMAGE_TYPE, TRUTH: IMAGE_TYPE}
WHOLE = BagMetadata(("bag.mcap",), COUNTS, TYPES, 6 * bags.STEP_NS)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = bags.write_bag(tmp_path_factory.mktemp("bags") / "bag")
    return (path / "metadata.yaml").read_text()


def read(tmp_path: Path, text: str | bytes) -> BagMetadata:
    content = text.encode() if isinstance(text, str) else text
    (tmp_path / "metadata.yaml").write_bytes(content)
    return BagMetadata.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\xff\xfe",
        b"3",
        b"- a",
        b"a: [",
        b"rosbag2_bagfile_information: 5",
        b"[" * 1000,
    ],
)
def test_rubbish_is_nothing_known(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) == BagMetadata()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("- bag.mcap", "- bag.mcap", WHOLE),
        ("- bag.mcap", "- ../../bag.mcap", WHOLE),
        ("\n  - bag.mcap", " 5", replace(WHOLE, file_names=())),
        ("- bag.mcap", "- [1]\n  - ''\n  - b.mcap", replace(WHOLE, file_names=("b.mcap",))),
        ("- bag.mcap", "- bag.mcap\n  - a/bag.mcap", WHOLE),
        ("message_count: 6", "message_count: six", replace(WHOLE, counts=None, types={})),
        ("nanoseconds: ", "nanoseconds: x", replace(WHOLE, end_ns=None)),
        ("nanoseconds: ", "nanoseconds: -", replace(WHOLE, end_ns=None)),
        ("nanoseconds: ", "nanoseconds: " + 20 * "9", replace(WHOLE, end_ns=None)),
        ("version: 8", "version: 2020-13-45", WHOLE),
        ("version: 8", "version: 99", WHOLE),
    ],
)
def test_each_part_is_read_for_itself(
    tmp_path: Path, text: str, old: str, new: str, expected: BagMetadata
) -> None:
    assert old in text
    assert read(tmp_path, text.replace(old, new)) == expected


def test_a_topic_that_stands_twice_counts_twice(tmp_path: Path) -> None:
    entry = "    - {topic_metadata: {name: /a, type: b}, message_count: 2}\n"
    topics = "  topics_with_message_count:\n" + 2 * entry
    text = "rosbag2_bagfile_information:\n  message_count: 4\n" + topics
    assert read(tmp_path, text).counts == {"/a": 4}
    assert read(tmp_path, text.replace("count: 4", "count: 5")).counts is None


def test_lists_within_lists_are_not_written_out(tmp_path: Path) -> None:
    """A few hundred bytes of aliases would be gigabytes as text."""
    levels = range(1, 11)
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in levels)]
    topic = "{topic_metadata: {name: /a, type: *a10}, message_count: 1}"
    lines += ["rosbag2_bagfile_information:", "  message_count: 1"]
    lines += [f"  topics_with_message_count: [{topic}]", "  relative_file_paths: [a.mcap]"]
    assert read(tmp_path, "\n".join(lines)) == BagMetadata(("a.mcap",))
