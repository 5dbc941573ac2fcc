# SPDX-License-Identifier: Apache-2.0
"""Record by record; what `open_bag` makes of it is in test_cut_bags.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_bags as bags
import numpy as np
import pytest
import zstandard
from mcap.reader import SeekingReader, Summary
from mcap.writer import CompressionType, IndexType

from camseg_ros.bag.contents import BagTopic
from camseg_ros.bag.damaged_mcap import DamagedMcap, has_full_index
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.serialization import ZSTD_MAGIC, encode

IMAGE = bags.CAMERA.image
MESSAGE_TYPE = "sensor_msgs/msg/Image"
PER_CHUNK = 4
BLOCK_BYTES = 128 << 10


def write(
    path: Path,
    frames: int,
    compression: CompressionType,
    *,
    per_chunk: int = PER_CHUNK,
    encoding: str = "cdr",
) -> list[bytes]:
    """Write chunks of ``per_chunk`` images each; gives the images' bytes."""
    contents = [encode(bags.noise_image(index)) for index in range(frames)]
    # A chunk is closed by the message with which it is larger.
    size = int((per_chunk - 0.5) * len(contents[0]))
    write_images(path, contents, encoding=encoding, chunk_size=size, compression=compression)
    return contents


def write_images(path: Path, contents: list[bytes], **how: Any) -> None:
    """Write contents with times that repeat and do not increase."""
    times_ns = (10 - index % 3 for index in range(len(contents)))
    bags.write_mcap(path, zip(times_ns, contents, strict=True), **how)


def read(file: DamagedMcap) -> list[bytes]:
    return [bytes(message.raw) for message in file.messages([IMAGE])]


@pytest.mark.parametrize("compression", list(CompressionType))
def test_a_whole_file_is_read_to_its_end(tmp_path: Path, compression: CompressionType) -> None:
    contents = write(tmp_path / "a.mcap", 10, compression)
    file = DamagedMcap(tmp_path / "a.mcap")
    assert file.is_whole
    assert file.topics == {IMAGE: BagTopic(IMAGE, MESSAGE_TYPE, 10)}
    assert (file.start_ns, file.end_ns) == (8, 10)
    messages = list(file.messages([IMAGE, "/absent"]))
    assert [bytes(message.raw) for message in messages] == contents
    assert [message.log_ns for message in messages[:4]] == [10, 9, 8, 10]
    assert np.array_equal(messages[9].decode().data, bags.noise_image(9).data)
    assert list(file.messages([])) == []


def test_of_a_chunk_that_is_cut_the_whole_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    contents = write(path, 2 * PER_CHUNK, CompressionType.NONE)
    whole = path.read_bytes()
    for last in (PER_CHUNK, PER_CHUNK + 1, 2 * PER_CHUNK - 1):
        end = whole.index(contents[last]) + len(contents[last])
        for missing, count in ((0, last + 1), (1, last)):
            path.write_bytes(whole[: end - missing])
            file = DamagedMcap(path)
            assert not file.is_whole
            assert read(file) == contents[:count]
            assert file.topics[IMAGE].count == count


def chunk_starts(content: bytes) -> list[int]:
    """Walk over the records, as the format describes them: kind, length, content."""
    place, starts = 8, []
    while place < len(content) - 8:
        if content[place] == 0x06:
            starts.append(place)
        place += 9 + int.from_bytes(content[place + 1 : place + 9], "little")
    return starts


@pytest.mark.parametrize("compression", list(CompressionType))
def test_of_a_large_chunk_that_is_cut_all_but_the_last_block(
    tmp_path: Path, compression: CompressionType
) -> None:
    path = tmp_path / "a.mcap"
    contents = write(path, 400, compression, per_chunk=200)
    whole = path.read_bytes()
    # Noise is as large when it is compressed.
    path.write_bytes(whole[: chunk_starts(whole)[1] + 150 * len(contents[0])])
    found = read(DamagedMcap(path))
    assert found == contents[: len(found)]
    assert 350 - BLOCK_BYTES / len(contents[0]) - 1 <= len(found) <= 350


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD])
def test_nothing_is_read_of_a_damaged_chunk_and_behind_it(
    tmp_path: Path, compression: CompressionType
) -> None:
    path = tmp_path / "a.mcap"
    contents = write(path, 3 * PER_CHUNK, compression)
    damaged = bytearray(path.read_bytes())
    second = chunk_starts(bytes(damaged))[1]
    damaged[second + 2 * len(contents[0])] ^= 1  # in pixels
    size = 9 + int.from_bytes(damaged[second + 1 : second + 9], "little")
    for end in (len(damaged), second + size):  # it may be the last one, too
        path.write_bytes(damaged[:end])
        file = DamagedMcap(path)
        assert not file.is_whole
        assert read(file) == contents[:PER_CHUNK]


def test_messages_that_are_compressed_one_by_one(tmp_path: Path) -> None:
    """rosbag2's mode MESSAGE; a frame that is not whole is left out."""
    contents = [encode(bags.noise_image(index)) for index in range(2)]
    packed = [zstandard.compress(content) for content in contents]
    assert packed[0].startswith(ZSTD_MAGIC)
    write_images(tmp_path / "a.mcap", [packed[0], packed[1][:-9], packed[1]])
    file = DamagedMcap(tmp_path / "a.mcap")
    assert file.is_whole
    assert file.topics[IMAGE].count == 2
    assert read(file) == contents


def test_other_wires_than_those_of_ros_are_shown_with_a_type_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", 3, CompressionType.NONE, encoding="json")
    file = DamagedMcap(tmp_path / "a.mcap")
    assert file.is_whole
    assert file.topics == {IMAGE: BagTopic(IMAGE, "sensor_msgs/msg/Image (json)", 3)}


def test_what_a_converter_made_of_a_ros_1_bag(tmp_path: Path) -> None:
    with open_bag(bags.write_rosbag1(tmp_path / "a.bag", 3)) as old:
        contents = [bytes(message.raw) for message in old.messages([IMAGE])]
    path = tmp_path / "a.mcap"
    write_images(path, contents, encoding="ros1", profile="ros1", schema="sensor_msgs/Image")
    file = DamagedMcap(path)
    assert file.topics == {IMAGE: BagTopic(IMAGE, MESSAGE_TYPE, 3)}
    for index, message in enumerate(file.messages([IMAGE])):
        assert message.wire == "ros1"
        assert message.decode().data == bags.noise_image(index).data


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, True),
        ({"compression": CompressionType.NONE, "chunk_size": 3000}, True),
        ({"compression": CompressionType.LZ4}, True),
        ({"compression": CompressionType.ZSTD, "chunk_size": 3000}, True),
        ({"use_summary_offsets": False}, True),
        ({"profile": ""}, True),  # the library refuses it all the same
        ({"use_chunking": False}, False),
        ({"use_statistics": False}, False),
        ({"repeat_channels": False}, False),
        ({"repeat_schemas": False}, False),
        ({"index_types": IndexType.NONE}, False),
        ({"index_types": IndexType.CHUNK}, False),
        ({"index_types": IndexType.MESSAGE}, False),
        ({"index_types": IndexType.CHUNK | IndexType.MESSAGE}, True),
    ],
)
def test_an_index_is_used_where_it_is_full(
    tmp_path: Path, how: dict[str, Any], expected: bool
) -> None:
    path = tmp_path / "a.mcap"
    contents = [encode(bags.noise_image(index)) for index in range(5)]
    write_images(path, contents, **how)
    assert has_full_index(path) == expected
    with open_bag(path) as bag:  # either way
        assert bag.loss is None
        assert (bag.start_ns, bag.end_ns) == (8, 10)
        assert sorted(bytes(message.raw) for message in bag.messages([IMAGE])) == sorted(contents)


@pytest.mark.parametrize(
    "change",
    [
        lambda summary: setattr(summary.statistics, "channel_count", 2),
        lambda summary: setattr(summary.statistics, "chunk_count", 99),
        lambda summary: setattr(summary.statistics, "message_count", 6),
        lambda summary: summary.statistics.channel_message_counts.update({99: 0}),
        lambda summary: summary.schemas.clear(),
        lambda summary: summary.chunk_indexes.clear(),
        lambda summary: summary.chunk_indexes[0].message_index_offsets.clear(),
    ],
)
def test_an_index_that_lacks_one_thing_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]
) -> None:
    write(tmp_path / "a.mcap", 5, CompressionType.NONE)
    assert has_full_index(tmp_path / "a.mcap")
    read_summary = SeekingReader.get_summary

    def changed_summary(reader: SeekingReader) -> Summary | None:
        summary = read_summary(reader)
        assert summary is not None
        change(summary)
        return summary

    monkeypatch.setattr(SeekingReader, "get_summary", changed_summary)
    assert not has_full_index(tmp_path / "a.mcap")


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"\x89MCAP0\r\n\x06", b"x" * 5000])
def test_files_without_a_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    file = DamagedMcap(tmp_path / "a.mcap")
    assert not file.is_whole
    assert (file.topics, file.start_ns, file.end_ns) == ({}, None, None)
    assert list(file.messages([IMAGE])) == []
