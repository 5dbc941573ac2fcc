# SPDX-License-Identifier: Apache-2.0
"""Record by record; what `open_bag` makes of it is in test_cut_bags.py."""

from pathlib import Path

import bags
import pytest

from camseg_ros.bag.damaged_rosbag1 import MAGIC, DamagedRosbag1
from camseg_ros.bag.storage_file import open_storage

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
FRAMES = 30
COMPRESSIONS = (None, "bz2", "lz4")
FIRST_CHUNK = 4109
"""Where it begins: behind the magic and a header that is padded."""


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


def _without_chunk(content: bytes) -> bytes:
    """Put the records of the one uncompressed chunk into the file itself."""
    header_bytes = int.from_bytes(content[FIRST_CHUNK : FIRST_CHUNK + 4], "little")
    return content[:FIRST_CHUNK] + content[FIRST_CHUNK + 4 + header_bytes + 4 :]


def test_of_records_outside_of_chunks_the_whole_ones(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", 3)
    bare = _without_chunk(path.read_bytes())
    path.write_bytes(bare)
    assert images(DamagedRosbag1(path)) == EXPECTED[:3]
    end = bare.index(EXPECTED[1]) + len(EXPECTED[1])
    for missing, count in ((0, 2), (1, 1)):
        path.write_bytes(bare[: end - missing])
        file = DamagedRosbag1(path)
        assert (images(file), file.topics[IMAGE].count) == (EXPECTED[:count], count)


def test_topics_are_named_as_in_a_whole_file(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", 2)
    path.write_bytes(path.read_bytes().replace(b"/kitti/", b"//itti/"))
    whole, reason = open_storage(path)
    assert reason == ""
    assert whole.topics == DamagedRosbag1(path).topics
    assert all(name.startswith("/itti/") for name in whole.topics)
    whole.close()


def test_a_message_without_connection_is_left_out(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", 4)
    content = path.read_bytes()
    second = content.index(EXPECTED[1])
    place = content.rindex(b"conn=", 0, second)
    path.write_bytes(content[:place] + b"x" + content[place + 1 :])
    assert images(DamagedRosbag1(path)) == [EXPECTED[0], *EXPECTED[2:4]]


def test_a_torn_chunk_is_left_and_the_next_is_read(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", FRAMES, chunk_bytes=30000)
    content = path.read_bytes()
    # The length of the second image's record is gone, and with it where the next ones begin.
    place = content.rindex(b"op=\x02", 0, content.index(EXPECTED[1])) - 8
    path.write_bytes(content[:place] + b"\xff" * 4 + content[place + 4 :])
    found = images(DamagedRosbag1(path))
    assert FRAMES // 2 < len(found) < FRAMES - 5
    assert found == [EXPECTED[0], *EXPECTED[FRAMES - len(found) + 1 :]]


def test_damage_inside_never_ends_in_an_error(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", FRAMES)
    whole = path.read_bytes()
    for place in range(len(MAGIC), len(whole) - 20, len(whole) // 80):
        damaged = bytearray(whole)
        damaged[place : place + 12] = b"\xff" * 12
        path.write_bytes(damaged)
        file = DamagedRosbag1(path)
        assert len([*file.messages([IMAGE])]) <= FRAMES


def test_a_length_beyond_the_end_is_damage(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "a.bag", 2)
    bare = _without_chunk(path.read_bytes())
    first = (
        bare.index(b"camera", bare.index(b"op=\x02")) - 20
    )  # behind seq, time, frame_id's length
    size = int.from_bytes(bare[first : first + 4], "little")
    assert 2304 < size < 2400
    for length, count in ((size, 2), (2**30 - 1, 0)):
        path.write_bytes(bare[:first] + length.to_bytes(4, "little") + bare[first + 4 :])
        assert len(images(DamagedRosbag1(path))) == count


@pytest.mark.parametrize("content", [b"", MAGIC, b"#ROSBAG V1.2\n" + b"x" * 99, b"x" * 5000])
def test_files_without_a_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bag").write_bytes(content)
    file = DamagedRosbag1(tmp_path / "a.bag")
    assert (file.topics, file.start_ns, file.end_ns) == ({}, None, None)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DamagedRosbag1(tmp_path / "absent.bag")
