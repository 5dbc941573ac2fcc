# SPDX-License-Identifier: Apache-2.0
"""What a killed recorder leaves: copies taken while SQLite has the file open."""

import shutil
import sqlite3
from pathlib import Path

import bags
import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.sqlite_journal import UnusableJournalError, find_journals, recover_copy

IMAGE = bags.CAMERA.image
FRAMES = 6


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return bags.write_bag(tmp_path / "bag", FRAMES, storage="sqlite3")


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
    assert found == [bytes(bags.noise_image(index).data) for index in range(FRAMES)]
    # The bag itself is as it was.
    assert {path.name: path.read_bytes() for path in crashed.iterdir()} == before


def test_of_a_link_the_journal_beside_its_target_is_used(bag: Path, tmp_path: Path) -> None:
    crashed = kill_in_wal(bag, tmp_path / "crashed")
    (tmp_path / "link.db3").symlink_to(crashed / "bag.db3")
    with open_bag(tmp_path / "link.db3") as opened:
        assert opened.loss is None
        assert len([*opened.messages([IMAGE])]) == FRAMES


def test_what_is_wrong_behind_the_journal_is_said_of_the_users_file(
    bag: Path, tmp_path: Path
) -> None:
    connection = sqlite3.connect(bag / "bag.db3")
    connection.execute("DROP TABLE topics")
    connection.commit()
    connection.close()
    shutil.copy(bag / "bag.db3", tmp_path / "mine.db3")
    (tmp_path / "mine.db3-wal").write_bytes(b"x" * 5000)
    with pytest.raises(CamsegError, match=r"mine\.db3: mine\.db3 is cut off or torn \("):
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
        assert opened.loss.frames([IMAGE]) == FRAMES - len(found)
    assert 0 < len(found) < FRAMES
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
    assert found == [bytes(bags.noise_image(index).data) for index in range(FRAMES)]


def test_a_wal_of_rubbish_changes_nothing(bag: Path) -> None:
    (bag / "bag.db3-wal").write_bytes(b"x" * 5000)
    with open_bag(bag) as opened:
        assert opened.loss is None
        assert len([*opened.messages([IMAGE])]) == FRAMES


def test_empty_journals_are_none(bag: Path) -> None:
    for suffix in ("-wal", "-journal"):
        (bag / f"bag.db3{suffix}").touch()
    assert find_journals(bag / "bag.db3") == []


def test_a_copy_that_sqlite_refuses(tmp_path: Path) -> None:
    (tmp_path / "a.db3").write_bytes(b"x" * 5000)
    (tmp_path / "a.db3-wal").write_bytes(b"y")
    (tmp_path / "copy").mkdir()
    rule = r"^what a\.db3 lacks cannot be taken from the journal beside it \(file is not a datab"
    with pytest.raises(UnusableJournalError, match=rule):
        recover_copy(tmp_path / "a.db3", tmp_path / "copy")


def test_a_cut_file_is_not_mended_with_its_wal(bag: Path, tmp_path: Path) -> None:
    """SQLite would put the newest pages behind a hole, and read the hole as black pixels."""
    crashed = kill_in_wal(bag, tmp_path / "crashed", checkpoint_after=8)
    file = crashed / "bag.db3"
    file.write_bytes(file.read_bytes()[: -3 * 4096])
    expected = {bytes(bags.noise_image(index).data) for index in range(FRAMES)}
    with open_bag(crashed) as opened:
        assert opened.loss is not None
        assert {bytes(message.decode().data) for message in opened.messages([IMAGE])} <= expected
