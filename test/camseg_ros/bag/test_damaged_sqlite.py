# SPDX-License-Identifier: Apache-2.0
"""Row by row; what `open_bag` makes of it is in test_cut_bags.py."""

import shutil
import sqlite3
from pathlib import Path

import bags
import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.damaged_sqlite import DamagedSqlite, copy_for_reading, find_journals, is_cut_off
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.serialization import encode

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
SIZE = (60, 80)
PAGE_BYTES = 4096
JOURNAL_FRAMES = 6
FRAMES = 30


@pytest.fixture(scope="module", params=["none", "zstd"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    path = bags.write_bag(
        folder / "bag", FRAMES, storage="sqlite3", compression=request.param, size=SIZE
    )
    return bags.storage_file(path)


def cut(whole: Path, to: Path, size: int) -> Path:
    to.write_bytes(whole.read_bytes()[:size])
    return to


def read(file: DamagedSqlite, topic: str) -> list[bytes]:
    return [bytes(message.raw) for message in file.messages([topic])]


IMAGES = [encode(bags.noise_image(index, SIZE)) for index in range(FRAMES)]
TRUTHS = [encode(bags.truth_image(index, SIZE)) for index in range(FRAMES)]


def test_a_whole_file(whole: Path) -> None:
    file = DamagedSqlite(whole)
    assert {topic.name: (topic.message_type, topic.count) for topic in file.topics.values()} == {
        "/about": ("std_msgs/msg/String", 1),
        IMAGE: ("sensor_msgs/msg/Image", FRAMES),
        TRUTH: ("sensor_msgs/msg/Image", FRAMES),
    }
    assert (file.start_ns, file.end_ns) == (bags.STEP_NS, FRAMES * bags.STEP_NS)
    assert read(file, IMAGE) == IMAGES
    assert read(file, TRUTH) == TRUTHS
    assert list(file.messages([])) == []
    file.close()


def test_of_a_cut_file_the_rows_before_the_cut(whole: Path, tmp_path: Path) -> None:
    size = int(0.6 * whole.stat().st_size)
    copy_for_reading(cut(whole, tmp_path / "cut.db3", size), tmp_path / "copy.db3")
    file = DamagedSqlite(tmp_path / "copy.db3")
    count = file.topics[IMAGE].count
    assert 0.5 * FRAMES < count < 0.7 * FRAMES
    assert read(file, IMAGE) == IMAGES[:count]
    assert read(file, TRUTH) == TRUTHS[: file.topics[TRUTH].count]
    assert file.end_ns == count * bags.STEP_NS
    times = [message.log_ns for message in file.messages([IMAGE, TRUTH])]
    assert times == sorted(times)
    file.close()


@pytest.mark.parametrize("size", [0, 50, 100, PAGE_BYTES - 1])
def test_less_than_a_page(whole: Path, tmp_path: Path, size: int) -> None:
    file = DamagedSqlite(cut(whole, tmp_path / "cut.db3", size))
    assert (file.topics, file.start_ns, file.end_ns) == ({}, None, None)
    assert list(file.messages([IMAGE])) == []
    file.close()


def test_what_is_no_sqlite_file(tmp_path: Path) -> None:
    (tmp_path / "a.db3").write_bytes(b"x" * 10000)
    file = DamagedSqlite(tmp_path / "a.db3")
    assert file.topics == {}
    assert not is_cut_off(tmp_path / "a.db3")
    file.close()


def test_is_cut_off_compares_with_the_header(whole: Path, tmp_path: Path) -> None:
    assert not is_cut_off(whole)
    size = whole.stat().st_size
    assert size % PAGE_BYTES == 0
    for missing in (1, PAGE_BYTES, 2 * PAGE_BYTES + 7):
        assert is_cut_off(cut(whole, tmp_path / "cut.db3", size - missing))
    # What a recorder wrote behind the pages that count is no damage.
    (tmp_path / "longer.db3").write_bytes(whole.read_bytes() + b"x" * 100)
    assert not is_cut_off(tmp_path / "longer.db3")
    # A file that does not say how many pages it has ends inside of one.
    silent, stale = bytearray(whole.read_bytes()), bytearray(whole.read_bytes())
    silent[28:32] = bytes(4)
    stale[24] ^= 1  # its number of pages is of another change
    stale[28] ^= 1
    for content in (silent, stale):
        for missing in (0, 1):
            (tmp_path / "cut.db3").write_bytes(content[: size - missing])
            assert is_cut_off(tmp_path / "cut.db3") == bool(missing)
    with pytest.raises(FileNotFoundError):
        is_cut_off(tmp_path / "absent.db3")


# --- journals: what a killed recorder leaves ---


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return bags.write_bag(tmp_path / "bag", JOURNAL_FRAMES, storage="sqlite3")


def kill_in_wal(bag: Path, to: Path, *, checkpoint_after: int = 0) -> Path:
    """Delete the rows, and write them again in WAL mode one by one; a copy as a crash leaves it."""
    file = bags.storage_file(bag)
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT topic_id, timestamp, data FROM messages").fetchall()
    connection.execute("DELETE FROM messages")
    connection.commit()
    connection.execute("PRAGMA journal_mode=WAL")
    for number, row in enumerate(rows, start=1):
        connection.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", row)
        connection.commit()
        if number == checkpoint_after:
            connection.execute("PRAGMA wal_checkpoint").fetchall()
    shutil.copytree(bag, to)
    connection.close()
    return to


@pytest.mark.parametrize("checkpoint_after", [0, 5])
def test_rows_that_are_in_the_wal_alone_are_read(
    bag: Path, tmp_path: Path, checkpoint_after: int
) -> None:
    crashed = kill_in_wal(bag, tmp_path / "crashed", checkpoint_after=checkpoint_after)
    before = {path.name: path.read_bytes() for path in crashed.iterdir()}
    assert before["bag.db3-wal"]
    with open_bag(crashed) as opened:
        assert opened.loss is None
        found = [bytes(message.decode().data) for message in opened.messages([IMAGE])]
    assert found == [bytes(bags.noise_image(index).data) for index in range(JOURNAL_FRAMES)]
    # The bag itself is as it was.
    assert {path.name: path.read_bytes() for path in crashed.iterdir()} == before


def test_of_a_link_the_journal_beside_its_target_is_used(bag: Path, tmp_path: Path) -> None:
    crashed = kill_in_wal(bag, tmp_path / "crashed")
    (tmp_path / "link.db3").symlink_to(crashed / "bag.db3")
    with open_bag(tmp_path / "link.db3") as opened:
        assert opened.loss is None
        assert len([*opened.messages([IMAGE])]) == JOURNAL_FRAMES


def test_what_is_wrong_behind_the_journal_is_said_of_the_users_file(
    bag: Path, tmp_path: Path
) -> None:
    connection = sqlite3.connect(bag / "bag.db3")
    connection.execute("DROP TABLE topics")
    connection.commit()
    connection.close()
    shutil.copy(bag / "bag.db3", tmp_path / "mine.db3")
    (tmp_path / "mine.db3-wal").write_bytes(b"x" * 5000)
    with pytest.raises(CamsegError, match=r"mine\.db3: mine\.db3 (is|cannot)"):
        open_bag(tmp_path / "mine.db3")


def test_of_a_cut_wal_the_whole_commits_are_read_and_the_loss_is_stated(
    bag: Path, tmp_path: Path
) -> None:
    crashed = kill_in_wal(bag, tmp_path / "crashed")
    wal = crashed / "bag.db3-wal"
    wal.write_bytes(wal.read_bytes()[: wal.stat().st_size // 2])
    with open_bag(crashed) as opened:
        found = [bytes(message.decode().data) for message in opened.messages([IMAGE])]
        assert opened.loss is not None
        assert opened.loss.frames([IMAGE]) == JOURNAL_FRAMES - len(found)
    assert 0 < len(found) < JOURNAL_FRAMES
    assert found == [bytes(bags.noise_image(index).data) for index in range(len(found))]


def test_half_a_transaction_is_undone(bag: Path, tmp_path: Path) -> None:
    """A hot rollback journal: pages of the file were overwritten, and the old ones kept beside."""
    connection = sqlite3.connect(bags.storage_file(bag))
    connection.execute("PRAGMA cache_size=1")  # so that pages are written before the commit
    connection.execute("UPDATE messages SET data = zeroblob(length(data))")
    shutil.copytree(bag, tmp_path / "crashed")
    connection.close()
    crashed = tmp_path / "crashed" / "bag.db3"
    assert find_journals(crashed) == [crashed.with_name("bag.db3-journal")]
    assert crashed.read_bytes() != bags.storage_file(bag).read_bytes()
    with open_bag(tmp_path / "crashed") as opened:
        assert opened.loss is None
        found = [bytes(message.decode().data) for message in opened.messages([IMAGE])]
    assert found == [bytes(bags.noise_image(index).data) for index in range(JOURNAL_FRAMES)]


def test_a_wal_of_rubbish_changes_nothing(bag: Path) -> None:
    (bag / "bag.db3-wal").write_bytes(b"x" * 5000)
    with open_bag(bag) as opened:
        assert opened.loss is None
        assert len([*opened.messages([IMAGE])]) == JOURNAL_FRAMES


def test_empty_journals_are_none(bag: Path) -> None:
    for suffix in ("-wal", "-journal"):
        (bag / f"bag.db3{suffix}").touch()
    assert find_journals(bag / "bag.db3") == []


def test_a_cut_file_is_not_mended_with_its_wal(bag: Path, tmp_path: Path) -> None:
    """SQLite would put the newest pages behind a hole, and read the hole as black pixels."""
    crashed = kill_in_wal(bag, tmp_path / "crashed", checkpoint_after=8)
    file = crashed / "bag.db3"
    file.write_bytes(file.read_bytes()[: -3 * 4096])
    expected = {bytes(bags.noise_image(index).data) for index in range(JOURNAL_FRAMES)}
    with open_bag(crashed) as opened:
        assert opened.loss is not None
        assert {bytes(message.decode().data) for message in opened.messages([IMAGE])} <= expected
