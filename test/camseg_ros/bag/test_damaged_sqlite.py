# SPDX-License-Identifier: Apache-2.0
"""Row by row; what `open_bag` makes of it is in test_cut_bags.py."""

from pathlib import Path

import bags
import pytest

from camseg_ros.bag.damaged_sqlite import DamagedSqlite, is_cut_off
from camseg_ros.bag.serialization import encode

IMAGE, TRUTH = bags.CAMERA.image, str(bags.CAMERA.truth)
SIZE = (60, 80)
PAGE_BYTES = 4096
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
    file = DamagedSqlite(cut(whole, tmp_path / "cut.db3", size))
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
    with pytest.raises(FileNotFoundError):
        DamagedSqlite(tmp_path / "absent.db3")


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
