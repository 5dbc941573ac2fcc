# SPDX-License-Identifier: Apache-2.0
"""SQLite bags that were cut off, and what a killed recorder leaves beside a bag.

The latter are copies taken while SQLite has the file open.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import made_bags as bags
import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.damaged_sqlite import DamagedSqlite, find_journals, is_cut_off
from camseg_ros.bag.reader import open_bag
from camseg_ros.bag.serialization import encode

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
SIZE = (60, 80)
PAGE_BYTES = 4096
FRAMES = 12
IMAGES = [encode(bags.noise_image(index, SIZE)) for index in range(FRAMES)]
TRUTHS = [encode(bags.truth_image(index, SIZE)) for index in range(FRAMES)]
ADVICE = "`sqlite3 bag.db3 .recover` may find more"


@pytest.fixture(scope="module", params=["none", "zstd"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "bag"
    return bags.storage_file(
        bags.write_bag(path, FRAMES, storage="sqlite3", compression=request.param, size=SIZE)
    )


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return bags.write_bag(tmp_path / "bag", FRAMES, storage="sqlite3", size=SIZE)


def read(file: DamagedSqlite, topic: str) -> list[bytes]:
    return [bytes(message.raw) for message in file.messages([topic])]


def read_bag(path: Path) -> tuple[list[bytes], str]:
    """Return the images of a bag and what is said about its damage."""
    with open_bag(path) as opened:
        found = [bytes(message.raw) for message in opened.messages([IMAGE])]
        return found, opened.loss.reason if opened.loss else ""


def test_a_whole_file_is_read_in_the_order_of_its_rows(whole: Path) -> None:
    file = DamagedSqlite(whole)
    assert {topic.name: (topic.message_type, topic.count) for topic in file.topics.values()} == {
        "/about": ("std_msgs/msg/String", 1),
        IMAGE: ("sensor_msgs/msg/Image", FRAMES),
        TRUTH: ("sensor_msgs/msg/Image", FRAMES),
    }
    assert (file.start_ns, file.end_ns) == (bags.STEP_NS, FRAMES * bags.STEP_NS)
    assert (read(file, IMAGE), read(file, TRUTH)) == (IMAGES, TRUTHS)
    assert list(file.messages([])) == []


def test_rows_before_a_cut_are_read_and_none_is_filled_up_with_zeros(
    whole: Path, tmp_path: Path
) -> None:
    content, cut = whole.read_bytes(), tmp_path / "bag.db3"
    for end in range(len(content) - 10, len(content) // 4, -5 * PAGE_BYTES):
        cut.write_bytes(content[:end])
        found, reason = read_bag(cut)
        assert found == IMAGES[: len(found)]
        assert len(found) >= (end / len(content) - 0.2) * FRAMES
        assert reason == f"bag.db3 is cut off (shorter than its header says); {ADVICE}"
        assert cut.read_bytes() == content[:end]
        assert [path.name for path in tmp_path.iterdir()] == ["bag.db3"]


def test_rows_before_a_torn_page_are_read(bag: Path) -> None:
    """The pointer from one page of a row to the next is overwritten."""
    file = bags.storage_file(bag)
    content = bytearray(file.read_bytes())
    page = content.index(IMAGES[8][7000:7064]) // PAGE_BYTES * PAGE_BYTES
    content[page : page + 4] = b"\xff" * 4
    file.write_bytes(content)
    found, reason = read_bag(bag)
    assert 4 < len(found) <= 8
    assert found == IMAGES[: len(found)]
    assert reason.startswith("a part cannot be read (")
    assert reason.endswith(f"malformed); {ADVICE}")


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(84), b"x" * 10000])
def test_nothing_is_read_of_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.db3").write_bytes(content)
    file = DamagedSqlite(tmp_path / "a.db3")
    assert (file.topics, file.start_ns, file.end_ns) == ({}, None, None)
    assert list(file.messages([IMAGE])) == []
    assert not is_cut_off(tmp_path / "a.db3")


def test_is_cut_off_compares_with_the_header(whole: Path, tmp_path: Path) -> None:
    content, file = whole.read_bytes(), tmp_path / "cut.db3"
    assert not is_cut_off(whole)
    for missing in (1, PAGE_BYTES, 2 * PAGE_BYTES + 7):
        file.write_bytes(content[:-missing])
        assert is_cut_off(file)
    # What a recorder wrote behind the pages that count is no damage.
    file.write_bytes(content + b"x" * 100)
    assert not is_cut_off(file)
    # A file that does not say how many pages it has is cut off if it ends inside of one.
    silent, stale = bytearray(content), bytearray(content)
    silent[28:32] = bytes(4)
    stale[24] ^= 1  # its number of pages is of another change
    stale[28] ^= 1
    for changed in (silent, stale):
        for missing in (0, 1):
            file.write_bytes(changed[: len(content) - missing])
            assert is_cut_off(file) == bool(missing)


def kill_in_wal(bag: Path, to: Path, *, checkpoint_after: int = 0) -> Path:
    """Delete the rows, and write them again in WAL mode one by one; a copy as a crash leaves it."""
    with closing(sqlite3.connect(bags.storage_file(bag))) as connection:
        rows = connection.execute("SELECT topic_id, timestamp, data FROM messages").fetchall()
        connection.execute("DELETE FROM messages")
        connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
        for number, row in enumerate(rows, start=1):
            connection.execute(
                "INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", row
            )
            connection.commit()
            if number == checkpoint_after:
                connection.execute("PRAGMA wal_checkpoint").fetchall()
        shutil.copytree(bag, to)
    return to


@pytest.mark.parametrize("checkpoint_after", [0, 5])
def test_rows_that_are_in_the_wal_alone_are_read(
    bag: Path, tmp_path: Path, checkpoint_after: int
) -> None:
    crashed = kill_in_wal(bag, tmp_path / "crashed", checkpoint_after=checkpoint_after)
    before = {path.name: path.read_bytes() for path in crashed.iterdir()}
    assert before["bag.db3-wal"]
    (tmp_path / "link.db3").symlink_to(crashed / "bag.db3")
    for path in (crashed, tmp_path / "link.db3"):
        assert read_bag(path) == (IMAGES, "")
    # The bag itself is as it was.
    assert {path.name: path.read_bytes() for path in crashed.iterdir()} == before


def test_whole_commits_of_a_cut_wal_are_read_and_the_loss_is_stated(
    bag: Path, tmp_path: Path
) -> None:
    crashed = kill_in_wal(bag, tmp_path / "crashed")
    wal = crashed / "bag.db3-wal"
    wal.write_bytes(wal.read_bytes()[: wal.stat().st_size // 2])
    found, reason = read_bag(crashed)
    assert 0 < len(found) < FRAMES
    assert found == IMAGES[: len(found)]
    assert reason == "metadata.yaml counts more messages than the files hold"


def test_a_cut_file_is_not_mended_with_its_wal(bag: Path, tmp_path: Path) -> None:
    """SQLite would put the newest pages behind a hole, and read the hole as black pixels."""
    crashed = kill_in_wal(bag, tmp_path / "crashed", checkpoint_after=16)
    file = crashed / "bag.db3"
    file.write_bytes(file.read_bytes()[: -3 * PAGE_BYTES])
    found, reason = read_bag(crashed)
    assert reason
    assert set(found) <= set(IMAGES)


def test_half_a_transaction_is_undone(bag: Path, tmp_path: Path) -> None:
    """A hot rollback journal: pages of the file were overwritten, and the old ones kept beside."""
    with closing(sqlite3.connect(bags.storage_file(bag))) as connection:
        connection.execute("PRAGMA cache_size=1")  # so that pages are written before the commit
        connection.execute("UPDATE messages SET data = zeroblob(length(data))")
        shutil.copytree(bag, tmp_path / "crashed")
    crashed = tmp_path / "crashed" / "bag.db3"
    assert find_journals(crashed) == [crashed.with_name("bag.db3-journal")]
    assert crashed.read_bytes() != bags.storage_file(bag).read_bytes()
    assert read_bag(tmp_path / "crashed") == (IMAGES, "")


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_journals_of_nothing_change_nothing(bag: Path, content: bytes) -> None:
    (bag / "bag.db3-wal").write_bytes(content)
    (bag / "bag.db3-journal").touch()
    assert len(find_journals(bag / "bag.db3")) == bool(content)
    assert read_bag(bag) == (IMAGES, "")


def test_what_is_wrong_behind_a_journal_is_said_of_the_users_file(
    bag: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(bag / "bag.db3")) as connection:
        connection.execute("DROP TABLE topics")
        connection.commit()
    shutil.copy(bag / "bag.db3", tmp_path / "mine.db3")
    (tmp_path / "mine.db3-wal").write_bytes(b"x" * 5000)
    with pytest.raises(CamsegError, match=r"mine\.db3: mine\.db3 is cut off or torn \("):
        open_bag(tmp_path / "mine.db3")
    (tmp_path / "mine.db3").write_bytes(b"x" * 5000)
    rule = r"the journal beside mine\.db3 cannot be merged into it \(file is not a databa"
    with pytest.raises(CamsegError, match=rule):
        open_bag(tmp_path / "mine.db3")
