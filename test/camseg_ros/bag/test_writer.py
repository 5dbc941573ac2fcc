# SPDX-License-Identifier: Apache-2.0
"""Bags made here are read by readers that share no code with the writer."""

import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import made_bags as bags
import pytest
import yaml
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader, get_chunk_data_stream
from mcap_ros2.decoder import DecoderFactory
from std_msgs.msg import String

from camseg_core.errors import CamsegError
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.writer import BagWriter


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_mcap_is_read_by_the_mcap_package(tmp_path: Path, compression: str) -> None:
    bag = bags.write_bag(tmp_path / "bag", compression=compression)
    found: list[Any] = []
    with bags.storage_file(bag).open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            found.append((channel.topic, message.log_time, decoded))
    images = [(time, image) for topic, time, image in found if topic == bags.CAMERA.image]
    assert [time for time, _ in images] == [(i + 1) * bags.STEP_NS for i in range(6)]
    for index, (_, image) in enumerate(images):
        expected = bags.noise_image(index)
        assert bytes(image.data) == bytes(expected.data)
        assert (image.height, image.width, image.encoding, image.step) == (24, 32, "rgb8", 96)
        assert image.header.stamp.nanosec == expected.header.stamp.nanosec
        assert image.header.frame_id == "camera"
    truths = [image for topic, _, image in found if topic == bags.CAMERA.truth]
    assert bytes(truths[3].data) == bytes(bags.truth_image(3).data)


def test_metadata_says_what_is_there(tmp_path: Path) -> None:
    bag = bags.write_bag(tmp_path / "drive_2", compression="zstd")
    content = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert content["storage_identifier"] == "mcap"
    assert content["relative_file_paths"] == ["drive_2.mcap"]
    assert content["message_count"] == 13
    assert content["starting_time"]["nanoseconds_since_epoch"] == bags.STEP_NS
    assert content["duration"]["nanoseconds"] == 5 * bags.STEP_NS
    topics = {t["topic_metadata"]["name"]: t for t in content["topics_with_message_count"]}
    latched = topics["/about"]["topic_metadata"]["offered_qos_profiles"]
    assert "durability: 1" in latched  # transient local
    assert topics["/about"]["topic_metadata"]["type"] == "std_msgs/msg/String"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_same_messages_give_the_same_files(
    tmp_path: Path, storage: str, compression: str
) -> None:
    one, two = (
        bags.write_bag(tmp_path / part / "bag", storage=storage, compression=compression)
        for part in "ab"
    )
    for file in sorted(one.iterdir()):
        assert file.read_bytes() == (two / file.name).read_bytes()


def test_a_bag_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / "bag") as writer:
        writer.write("/a", String(data="x"), 1)
        assert not (tmp_path / "bag").exists()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from std_msgs.msg import String\n"
        "from camseg_ros.bag.writer import BagWriter\n"
        "with BagWriter(Path(sys.argv[1])) as writer:\n"
        "    writer.write('/text', String(data='x'), 1)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "bag")], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    with BagWriter(tmp_path / "other") as one, BagWriter(tmp_path / "third"):
        one.write("/text", String(data="x"), 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "third"]


def test_an_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    bag = bags.write_bag(tmp_path / "bag")
    with pytest.raises(CamsegError, match=f"^{bag} exists already; remove it, or give another"):
        BagWriter(bag)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CamsegError, match=r"^cannot write .*/file/bag: File exists$"),
        BagWriter(tmp_path / "file" / "bag"),
    ):
        pass


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_each_chunk_has_its_checksum_and_a_changed_pixel_is_found(
    tmp_path: Path, compression: str
) -> None:
    size = (60, 80)
    bag = bags.write_bag(tmp_path / "bag", 120, compression=compression, size=size)
    path = bags.storage_file(bag)
    with path.open("rb") as file:
        records = StreamReader(file, emit_chunks=True).records
        chunks = [record for record in records if isinstance(record, Chunk)]
    assert len(chunks) > 1
    for chunk in chunks:
        stream, length = get_chunk_data_stream(chunk, validate_crc=True)
        assert chunk.uncompressed_crc == zlib.crc32(stream.read(length)) != 0
    whole = path.read_bytes()
    expected = bags.written_images(bags.CAMERA.image, 120, size)
    for place in range(20_000, len(whole) - 20_000, len(whole) // 4):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with open_bag(bag) as opened:
            found = bags.images_of(opened, bags.CAMERA.image)
            assert opened.loss is not None
        assert found.items() <= expected.items()
