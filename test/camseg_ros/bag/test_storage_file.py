# SPDX-License-Identifier: Apache-2.0
"""One file of a bag by itself; whole bags are in test_reader.py."""

import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import made_bags as bags
import pytest
import zstandard

from camseg_ros.bag.serialization import UnreadableMessageError
from camseg_ros.bag.storage_file import open_storage

IMAGE = bags.CAMERA.image
EXPECTED = [bytes(bags.noise_image(index).data) for index in range(6)]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def images(path: Path) -> tuple[list[bytes], str]:
    with ExitStack() as stack:
        file, reason = open_storage(path, stack)
        return [bytes(message.decode().data) for message in file.messages([IMAGE])], reason


def test_other_wires_than_cdr_are_shown_with_a_type_of_their_own(tmp_path: Path) -> None:
    path = bags.storage_file(bags.write_bag(tmp_path / "bag", storage="sqlite3"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE topics SET serialization_format = 'json' WHERE name != ?", (IMAGE,)
        )
        connection.commit()
    with ExitStack() as stack:
        file, reason = open_storage(path, stack)
        kinds = {name: topic.message_type for name, topic in file.topics.items()}
    image = "sensor_msgs/msg/Image"
    text = "std_msgs/msg/String (json)"
    assert (kinds, reason) == (
        {"/about": text, IMAGE: image, str(bags.CAMERA.truth): f"{image} (json)"},
        "",
    )
    assert images(path) == (EXPECTED, "")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_files_that_are_compressed_as_a_whole(tmp_path: Path, scratch: Path, storage: str) -> None:
    path = bags.storage_file(bags.write_bag(tmp_path / "bag", storage=storage))
    packed = path.with_name(path.name + ".zstd")
    content = path.read_bytes()
    half = len(content) // 2
    # Programs that use several cores write frame after frame.
    packed.write_bytes(zstandard.compress(content[:half]) + zstandard.compress(content[half:]))
    with ExitStack() as stack:
        file, reason = open_storage(packed, stack)
        assert reason == ""
        assert len(list(scratch.iterdir())) == 1
        assert [bytes(m.decode().data) for m in file.messages([IMAGE])] == EXPECTED
    assert list(scratch.iterdir()) == []
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    found, reason = images(packed)
    assert found == EXPECTED[: len(found)]
    assert reason.startswith(f"{packed.name}: {path.name} is cut off")


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%41b", "a b", "a:b", "aä"])
def test_paths_of_sqlite_files_are_taken_as_they_are(
    tmp_path: Path, scratch: Path, name: str
) -> None:
    path = bags.storage_file(bags.write_bag(tmp_path / "bag", storage="sqlite3"))
    (tmp_path / name).mkdir()
    shutil.move(path, tmp_path / name / f"{name}.db3")
    assert images(tmp_path / name / f"{name}.db3") == (EXPECTED, "")
    assert list(scratch.iterdir()) == []


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    mcap = bags.storage_file(bags.write_bag(tmp_path / "a"))
    mcap.write_bytes(mcap.read_bytes()[:-9])
    assert images(mcap) == (EXPECTED, "a.mcap is cut off or torn")
    for name in ("noise.db3", "a#b.db3"):  # the latter is read through a link
        (tmp_path / name).write_bytes(b"x" * 5000)
        reason = images(tmp_path / name)[1]
        assert reason.startswith(f"{name} is cut off or torn (Cannot open database {name}: file")


@pytest.mark.parametrize("name", ["absent.mcap", "absent.db3", "absent.bag", "absent.mcap.zstd"])
def test_files_that_are_not_there(tmp_path: Path, scratch: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        images(tmp_path / name)
    assert list(scratch.iterdir()) == []


def test_a_damaged_message_costs_itself(tmp_path: Path) -> None:
    path = bags.storage_file(
        bags.write_bag(tmp_path / "bag", storage="sqlite3", compression="zstd")
    )
    with closing(sqlite3.connect(path)) as connection:
        images_of = "topic_id = (SELECT id FROM topics WHERE name = ?)"
        ((row, data), *_) = connection.execute(
            f"SELECT id, data FROM messages WHERE {images_of} ORDER BY timestamp LIMIT 1 OFFSET 2",
            (IMAGE,),
        ).fetchall()
        damaged = data[: len(data) // 2]
        connection.execute("UPDATE messages SET data = ? WHERE id = ?", (damaged, row))
        connection.commit()
    with ExitStack() as stack:
        file, reason = open_storage(path, stack)
        messages = list(file.messages([IMAGE]))
        assert (len(messages), reason) == (6, "")
        with pytest.raises(UnreadableMessageError):
            messages.pop(2).decode()
        assert [bytes(message.decode().data) for message in messages] == [
            *EXPECTED[:2],
            *EXPECTED[3:],
        ]


def test_types_are_found_however_they_are_spelled(tmp_path: Path) -> None:
    path = bags.storage_file(bags.write_bag(tmp_path / "bag", storage="sqlite3"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE topics SET type = 'sensor_msgs/Image' WHERE name = ?", (IMAGE,))
        connection.commit()
    with ExitStack() as stack:
        file, _ = open_storage(path, stack)
        assert file.topics[IMAGE].message_type == "sensor_msgs/msg/Image"
    assert images(path) == (EXPECTED, "")
