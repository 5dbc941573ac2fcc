# SPDX-License-Identifier: Apache-2.0
"""Bags of others, split bags, odd bags; and bags that were cut off anywhere."""

import random
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import bags
import numpy as np
import pytest
import yaml
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from mcap_ros2.writer import Writer as McapRos2Writer
from rosbags.typesys import Stores, get_typestore

from camseg_core.errors import CamsegError
from camseg_ros.bag.contents import BagLoss, BagMessage, BagTopic
from camseg_ros.bag.reader import Bag, open_bag
from camseg_ros.bag.serialization import encode
from camseg_ros.conversions import stamp_ns

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
VARIANTS = [(s, c) for s in ("mcap", "sqlite3") for c in ("none", "zstd")]


def read(bag: Bag, topic: str) -> dict[int, bytes]:
    """Log time -> the image's bytes."""
    return {m.log_ns: bytes(m.decode().data) for m in bag.messages([topic])}


def written(topic: str, frames: int = 6, size: tuple[int, int] = (24, 32)) -> dict[int, bytes]:
    make = bags.noise_image if topic == IMAGE else bags.truth_image
    return {(i + 1) * bags.STEP_NS: bytes(make(i, size).data) for i in range(frames)}


@pytest.mark.parametrize(("storage", "compression"), VARIANTS)
def test_what_was_written_is_read(tmp_path: Path, storage: str, compression: str) -> None:
    path = bags.write_bag(tmp_path / "drive", storage=storage, compression=compression)
    with open_bag(path) as bag:
        assert bag.loss is None
        assert bag.name == "drive"
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/about": 1, IMAGE: 6, TRUTH: 6,
        }  # fmt: skip
        assert (bag.start_ns, bag.end_ns) == (bags.STEP_NS, 6 * bags.STEP_NS)
        assert read(bag, IMAGE) == written(IMAGE)
        assert read(bag, TRUTH) == written(TRUTH)
        assert list(bag.messages([])) == []


@pytest.mark.parametrize(("storage", "compression"), VARIANTS)
def test_without_metadata_the_file_is_enough(
    tmp_path: Path, storage: str, compression: str
) -> None:
    path = bags.write_bag(tmp_path / "drive", storage=storage, compression=compression)
    (path / "metadata.yaml").unlink()
    for place in (path, bags.storage_file(path)):
        with open_bag(place) as bag:
            assert bag.loss is None
            assert read(bag, IMAGE) == written(IMAGE)


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize(("storage", "compression"), VARIANTS)
def test_of_a_bag_cut_off_anywhere_the_prefix_is_read(
    tmp_path: Path, storage: str, compression: str, metadata: bool
) -> None:
    size = (60, 80)
    path = bags.write_bag(
        tmp_path / "drive", 40, storage=storage, compression=compression, size=size
    )
    expected = {topic: written(topic, 40, size) for topic in (IMAGE, TRUTH)}
    whole = bags.storage_file(path).stat().st_size
    rng = random.Random(f"{storage}{compression}{metadata}")
    shares = {}
    for cut in sorted({whole - 1, whole - 9, 1, *(rng.randrange(whole) for _ in range(20))}):
        copy = bags.cut_copy(path, tmp_path / "cut", cut, metadata=metadata)
        try:
            bag = open_bag(copy)
        except CamsegError as error:
            assert str(error).startswith(f"nothing can be read of {copy}: ")
            assert "\n" not in str(error)
            assert cut < 0.2 * whole
            continue
        with bag:
            found = {topic: read(bag, topic) for topic in expected}
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


def test_a_cut_inside_of_a_page_never_gives_a_wrong_image(tmp_path: Path) -> None:
    """SQLite reads what is missing of a page as zeros; each cut is through another page."""
    size = (60, 80)
    path = bags.write_bag(tmp_path / "drive", 12, storage="sqlite3", size=size)
    expected = written(IMAGE, 12, size)
    whole = bags.storage_file(path).stat().st_size
    for cut in range(whole - 10, whole // 4, -4096):
        with open_bag(bags.cut_copy(path, tmp_path / "cut", cut, metadata=True)) as bag:
            found = read(bag, IMAGE)
        assert found == {time: expected[time] for time in found}


def test_damage_in_the_middle_is_found_while_reading(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "drive", 600, compression="zstd", size=(60, 80))
    file = bags.storage_file(path)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    file.write_bytes(content)
    with open_bag(path) as bag:
        found = read(bag, IMAGE)
        assert bag.loss is not None
        assert bag.loss.frames([IMAGE]) == 600 - len(found)
        assert "a part cannot be read" in bag.loss.line([IMAGE])
    assert 200 < len(found) < 400
    assert found == dict(list(written(IMAGE, 600, (60, 80)).items())[: len(found)])


def test_a_bag_of_an_independent_writer(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    definition, _ = store.generate_msgdef("sensor_msgs/msg/Image", ros_version=2)
    path = tmp_path / "others.mcap"
    with path.open("wb") as file:
        writer = McapRos2Writer(output=file)
        schema = writer.register_msgdef("sensor_msgs/msg/Image", definition)
        for index in range(4):
            pixels = np.full((4, 6, 3), index, np.uint8)
            stamp = {"sec": index, "nanosec": 5}
            content = {
                "header": {"stamp": stamp, "frame_id": "left"}, "height": 4, "width": 6,
                "encoding": "bgr8", "is_bigendian": 0, "step": 18, "data": pixels.tobytes(),
            }  # fmt: skip
            writer.write_message("/cam", schema, content, log_time=index * 10, publish_time=0)
        writer.finish()
    with open_bag(path) as bag:
        assert bag.loss is None
        images = [m.decode() for m in bag.messages(["/cam"])]
    assert [stamp_ns(image.header) for image in images] == [i * 10**9 + 5 for i in range(4)]
    assert bytes(images[3].data) == bytes([3] * 72)
    assert images[3].header.frame_id == "left"


def test_a_ros1_bag(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "old.bag")
    with open_bag(path) as bag:
        assert bag.loss is None
        assert bag.name == "old"
        assert bag.topics[IMAGE].message_type == "sensor_msgs/msg/Image"
        images = [m.decode() for m in bag.messages([IMAGE])]
        assert read(bag, TRUTH) == written(TRUTH)
    assert [stamp_ns(image.header) for image in images] == list(written(IMAGE))
    assert [bytes(image.data) for image in images] == list(written(IMAGE).values())
    assert images[0].header.frame_id == "camera"


@pytest.mark.parametrize("compression", [None, "bz2", "lz4"])
def test_of_a_ros1_bag_cut_off_anywhere_the_prefix_is_read(
    tmp_path: Path, compression: str | None
) -> None:
    content = bags.write_rosbag1(tmp_path / "old.bag", 40, compression).read_bytes()
    expected = {topic: written(topic, 40) for topic in (IMAGE, TRUTH)}
    rng = random.Random(str(compression))
    cut = tmp_path / "cut.bag.active"  # as a recorder that was killed names it
    shares = {}
    for size in sorted({len(content) - 1, *(rng.randrange(len(content)) for _ in range(20))}):
        cut.write_bytes(content[:size])
        try:
            bag = open_bag(cut)
        except CamsegError as error:
            assert str(error) == (
                f"nothing can be read of {cut}: cut.bag.active is cut off or torn"
            )
            shares[size / len(content)] = 0.0
            continue
        with bag:
            assert bag.name == "cut"
            assert bag.loss == BagLoss("cut.bag.active is cut off or torn", None, None)
            for topic, images in expected.items():
                found = read(bag, topic)
                assert found == dict(list(images.items())[: len(found)])
                shares[size / len(content)] = len(found) / 40
    assert shares[max(shares)] == 1.0
    if compression is None:  # one block of bz2, or a few of lz4, is the whole of this bag
        assert all(frames > share - 0.2 for share, frames in shares.items()), shares


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
        assert read(bag, IMAGE) == written(IMAGE)


def test_a_part_of_a_split_bag_that_is_missing(tmp_path: Path) -> None:
    path = bags.write_split_bag(tmp_path / "s", parts=3, frames=2)
    with open_bag(path) as bag:
        assert bag.loss is None
        assert read(bag, IMAGE) == written(IMAGE)
    (path / "s_1.mcap").rename(tmp_path / "s_1.mcap")
    with open_bag(path) as bag:
        assert bag.loss is not None
        assert bag.loss.reason == "s_1.mcap is missing"
        assert bag.loss.frames([IMAGE]) == 2
        assert sorted(read(bag, IMAGE)) == stamps_of(1, 2, 5, 6)
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
                assert (end, sorted(read(bag, IMAGE))) == (end, stamps_of(1, 2, 3, 4, 5, 6))
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
        assert read(bag, IMAGE) == written(IMAGE)
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
        assert read(bag, IMAGE) == written(IMAGE)
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[:9000])
    with open_bag(path) as bag:
        assert set(read(bag, IMAGE)) < set(written(IMAGE))
        assert bag.loss is not None
    shutil.move(path / "other.mcap", path / "bag_1.mcap")  # this one is of its series
    with open_bag(path) as bag:
        assert max(read(bag, IMAGE)) == 12 * bags.STEP_NS


class CountingFile:
    """Counts more than it gives, as an index of another file does; breaks after some."""

    def __init__(self, given: int, error: Exception | None = None) -> None:
        kind = "sensor_msgs/msg/Image"
        self.topics = {name: BagTopic(name, kind, 5) for name in (IMAGE, TRUTH)}
        self.start_ns, self.end_ns = 10**9, 5 * 10**9
        self._given, self._error = given, error

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        for number in range(self._given):
            for topic in sorted(topics):
                time_ns = (number + 1) * 10**9
                yield BagMessage(topic, "sensor_msgs/msg/Image", time_ns, b"", "cdr")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing is open."""


def test_what_a_file_counts_and_does_not_give_is_lost(tmp_path: Path) -> None:
    bag = Bag(tmp_path / "x.mcap", [CountingFile(5), CountingFile(3)], None)
    assert bag.loss is None
    next(bag.messages([IMAGE]))  # who stops has lost nothing
    assert bag.loss is None
    assert len([*bag.messages([IMAGE])]) == 8
    reason = "fewer messages are there than its index counts"
    assert bag.loss == BagLoss(reason, {IMAGE: 2}, 2.0)


def test_passes_over_several_topics_add_up_and_the_same_pass_does_not(tmp_path: Path) -> None:
    torn = CountingFile(4, OSError("page  7\nis torn"))
    before = BagLoss("x_0.mcap is missing", {IMAGE: 10, TRUTH: 10}, 1.0)
    bag = Bag(tmp_path / "x", [torn, CountingFile(5)], before)
    for topic in (TRUTH, IMAGE, TRUTH):
        assert len([*bag.messages([topic])]) == 9
    reason = "x_0.mcap is missing; a part cannot be read (OSError: page 7 is torn)"
    assert bag.loss == BagLoss(reason, {IMAGE: 11, TRUTH: 11}, 2.0)


def test_an_empty_bag_has_no_time(tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag", 0)
    with open_bag(path) as bag:
        assert bag.topics.keys() == {"/about"}
        assert bag.loss is None


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("absent", "^no such bag: "),
        ("clip.mp4", r"clip\.mp4 is no bag: a folder, or a file that ends in \.mcap, \.db3, "),
        ("a" * 300, "^cannot read .*aaa: File name too long$"),
        ("folder", r"folder is no bag: no file in it ends in \.mcap or \.db3$"),
        ("noise.mcap", r"^nothing can be read of .*noise\.mcap: noise\.mcap is cut off or torn"),
        ("noise.db3", r"^nothing can be read of .*noise\.db3: noise\.db3 is cut off or torn"),
        ("noise.bag", r"^nothing can be read of .*noise\.bag: noise\.bag is cut off or torn$"),
        ("noise.zstd", r"noise\.zstd is no bag: a folder, or a file that ends in"),
    ],
)
def test_what_is_no_bag(tmp_path: Path, name: str, rule: str) -> None:
    path = tmp_path / name
    if "." in name:
        path.write_bytes(np.random.default_rng(1).bytes(5000))
    elif name == "folder":
        path.mkdir()
    with pytest.raises(CamsegError, match=rule) as caught:
        open_bag(path)
    assert "\n" not in str(caught.value)


def mcap_by_others(path: Path, order: list[int], **settings: Any) -> Path:
    """Write noise images with the mcap package, in any order of time, one every 10 ns."""
    definition, _ = get_typestore(Stores.ROS2_JAZZY).generate_msgdef(
        "sensor_msgs/msg/Image", ros_version=2
    )
    with path.open("wb") as file:
        writer = McapWriter(file, **settings)
        writer.start("ros2", "others")
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", definition.encode())
        channel = writer.register_channel(IMAGE, "cdr", schema)
        for index in order:
            data = encode(bags.noise_image(index))
            writer.add_message(channel, log_time=index * 10, data=data, publish_time=0)
        writer.finish()
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.ZSTD, "chunk_size": 3000},
        {"use_chunking": False},
        {"index_types": IndexType.NONE},
        {"use_statistics": False, "use_summary_offsets": False},
        {"repeat_channels": False, "repeat_schemas": False},
    ],
)
def test_unordered_and_repeated_times_in_every_form_of_mcap(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    order = [3, 1, 2, 0, 9, 5, 5, 4]
    with open_bag(mcap_by_others(tmp_path / "x.mcap", order, **settings)) as bag:
        found = [(m.log_ns // 10, bytes(m.decode().data)) for m in bag.messages([IMAGE])]
        assert bag.loss is None
        assert (bag.start_ns, bag.end_ns) == (0, 90)
    expected = [(index, bytes(bags.noise_image(index).data)) for index in order]
    assert sorted(found) == sorted(expected)


def test_of_a_cut_lz4_chunk_the_whole_blocks_are_read(tmp_path: Path) -> None:
    path = mcap_by_others(
        tmp_path / "x.mcap", [*range(100)], compression=CompressionType.LZ4, chunk_size=10**7
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with open_bag(path) as bag:
        found = [m.log_ns // 10 for m in bag.messages([IMAGE])]
        assert bag.loss is not None
    assert found == [*range(len(found))]
    assert 0 < len(found) < 52


@pytest.mark.parametrize(("has_quality", "schema"), [(False, 0), (True, 0), (True, 3)])
def test_older_forms_of_sqlite(tmp_path: Path, has_quality: bool, schema: int) -> None:
    path = tmp_path / "old.db3"
    connection = sqlite3.connect(path)
    quality = ", offered_qos_profiles TEXT NOT NULL" if has_quality else ""
    connection.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
        f"serialization_format TEXT NOT NULL{quality});"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, "
        "timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
    )
    if schema:
        connection.executescript(
            "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);"
            f"INSERT INTO schema VALUES({schema}, 'iron');"
            "CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, "
            "metadata TEXT NOT NULL);"
        )
    row = (1, IMAGE, "sensor_msgs/msg/Image", "cdr", *([""] if has_quality else []))
    connection.execute(f"INSERT INTO topics VALUES({','.join('?' * len(row))})", row)
    for index in (2, 0, 1):
        connection.execute(
            "INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, ?)",
            ((index + 1) * bags.STEP_NS, encode(bags.noise_image(index))),
        )
    connection.commit()
    connection.close()
    with open_bag(path) as bag:
        assert bag.loss is None
        assert read(bag, IMAGE) == written(IMAGE, 3)
