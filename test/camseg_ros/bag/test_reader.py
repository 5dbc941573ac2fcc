# SPDX-License-Identifier: Apache-2.0
"""Bags of others and odd bags; what was cut off, and folders, have files of their own."""

import shutil
import sqlite3
from pathlib import Path

import made_bags as bags
import numpy as np
import pytest
import zstandard

from camseg_core.errors import CamsegError
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.serialization import encode
from camseg_ros.messages.images import stamp_ns

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
VARIANTS = [(s, c) for s in ("mcap", "sqlite3") for c in ("none", "zstd")]


@pytest.mark.parametrize(("storage", "compression"), VARIANTS)
def test_what_was_written_is_read_with_metadata_and_without(
    tmp_path: Path, storage: str, compression: str
) -> None:
    path = bags.write_bag(tmp_path / "drive", storage=storage, compression=compression)
    with open_bag(path) as bag:
        assert bag.loss is None
        assert bag.name == "drive"
        assert {name: topic.count for name, topic in bag.topics.items()} == {
            "/about": 1, IMAGE: 6, TRUTH: 6,
        }  # fmt: skip
        assert (bag.start_ns, bag.end_ns) == (bags.STEP_NS, 6 * bags.STEP_NS)
        assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE)
        assert bags.images_of(bag, TRUTH) == bags.written_images(TRUTH)
        assert list(bag.messages([])) == []
    (path / "metadata.yaml").unlink()
    for place in (path, bags.storage_file(path)):
        with open_bag(place) as bag:
            assert bag.loss is None
            assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE)


def test_a_ros1_bag(tmp_path: Path) -> None:
    path = bags.write_rosbag1(tmp_path / "old.bag")
    with open_bag(path) as bag:
        assert bag.loss is None
        assert bag.name == "old"
        assert bag.topics[IMAGE].message_type == "sensor_msgs/msg/Image"
        images = [m.decode() for m in bag.messages([IMAGE])]
        assert bags.images_of(bag, TRUTH) == bags.written_images(TRUTH)
    assert [stamp_ns(image.header) for image in images] == list(bags.written_images(IMAGE))
    assert [bytes(image.data) for image in images] == list(bags.written_images(IMAGE).values())
    assert images[0].header.frame_id == "camera"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("drive.mcap", "drive"),
        ("my.drive.mcap", "my.drive"),
        ("drive.mcap.zstd", "drive"),
        ("drive.v2", "drive.v2"),
        ("drive.mcap/", "drive.mcap"),
    ],
)
def test_names(tmp_path: Path, name: str, expected: str) -> None:
    folder = bags.write_bag(tmp_path / "source")
    path = tmp_path / name
    if name.endswith(".mcap"):
        shutil.copy(bags.storage_file(folder), path)
    elif name.endswith(".zstd"):
        path.write_bytes(zstandard.compress(bags.storage_file(folder).read_bytes()))
    else:
        shutil.copytree(folder, path)
    with open_bag(path) as bag:
        assert bag.name == expected
        assert bag.topics[IMAGE].count == 6


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("absent", "^no such bag: "),
        ("clip.mp4", r"clip\.mp4 is not a bag: a folder, or a file that ends in \.mcap, \.db3, "),
        ("a" * 300, "^cannot read .*aaa: File name too long$"),
        ("folder", r"folder is not a bag: no file in it ends in \.mcap or \.db3$"),
        ("noise.mcap", r"^nothing can be read from .*noise\.mcap: noise\.mcap is cut off or torn"),
        ("noise.db3", r"^nothing can be read from .*noise\.db3: noise\.db3 is cut off or torn"),
        ("noise.bag", r"noise\.bag is not a ROS 1 bag: it does not begin like one$"),
        ("noise.zstd", r"noise\.zstd is not a bag: a folder, or a file that ends in"),
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
        assert bags.images_of(bag, IMAGE) == bags.written_images(IMAGE, 3)
