# SPDX-License-Identifier: Apache-2.0
"""Record by record; what `open_bag` makes of it is in test_cut_bags.py."""

from pathlib import Path

import bags
import pytest

from camseg_ros.bag.damaged_rosbag1 import MAGIC, DamagedRosbag1

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
FRAMES = 30
COMPRESSIONS = (None, "bz2", "lz4")


def images(file: DamagedRosbag1) -> list[bytes]:
    return [bytes(message.decode().data) for message in file.messages([IMAGE])]


EXPECTED = [bytes(bags.noise_image(index).data) for index in range(FRAMES)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_whole_file(tmp_path: Path, compression: str | None) -> None:
    file = DamagedRosbag1(bags.write_rosbag1(tmp_path / "a.bag", FRAMES, compression))
    assert {topic.name: (topic.message_type, topic.count) for topic in file.topics.values()} == {
        IMAGE: ("sensor_msgs/msg/Image", FRAMES),
        TRUTH: ("sensor_msgs/msg/Image", FRAMES),
    }
    assert (file.start_ns, file.end_ns) == (bags.STEP_NS, FRAMES * bags.STEP_NS)
    assert images(file) == EXPECTED
    assert list(file.messages([])) == []
    file.close()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cut_off_at_many_places(tmp_path: Path, compression: str | None) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", FRAMES, compression)
    whole = path.read_bytes()
    counts = []
    for cut in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:cut])
        file = DamagedRosbag1(path)
        found = images(file)
        assert found == EXPECTED[: len(found)]
        assert len(found) == (file.topics[IMAGE].count if IMAGE in file.topics else 0)
        counts.append(len(found))
    assert counts == sorted(counts)
    assert counts[-1] == FRAMES
    if compression is None:  # each image that stands before the cut is found
        assert len(set(counts)) > 20


def test_damage_inside_never_ends_in_an_error(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", FRAMES)
    whole = path.read_bytes()
    for place in range(len(MAGIC), len(whole) - 20, len(whole) // 80):
        damaged = bytearray(whole)
        damaged[place : place + 12] = b"\xff" * 12
        path.write_bytes(damaged)
        file = DamagedRosbag1(path)
        assert len([*file.messages([IMAGE])]) <= FRAMES


def test_a_length_beyond_the_end_is_not_read(tmp_path: Path) -> None:
    """Of a record that is no chunk nothing can be used; it is not read into memory either."""
    path = bags.write_rosbag1(tmp_path / "a.bag", 2)
    content = path.read_bytes()
    header = b"\x04\x00\x00\x00op=\x02"
    record = len(header).to_bytes(4, "little") + header + (2**30 - 1).to_bytes(4, "little")
    path.write_bytes(content[:4117] + record + bytes(100))
    assert images(DamagedRosbag1(path)) == []


@pytest.mark.parametrize("content", [b"", MAGIC, b"#ROSBAG V1.2\n" + b"x" * 99, b"x" * 5000])
def test_files_without_a_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bag").write_bytes(content)
    file = DamagedRosbag1(tmp_path / "a.bag")
    assert (file.topics, file.start_ns, file.end_ns) == ({}, None, None)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DamagedRosbag1(tmp_path / "absent.bag")
