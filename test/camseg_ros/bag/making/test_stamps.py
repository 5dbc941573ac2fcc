# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from camseg_core.errors import CamsegError
from camseg_ros.bag.making.stamps import find_stamps


def images(folder: Path, *stems: str) -> list[Path]:
    return [folder / f"{stem}.png" for stem in stems]


def test_nothing_tells(tmp_path: Path) -> None:
    assert find_stamps(tmp_path, images(tmp_path, "000000", "000001")) is None


def test_dates_of_kitti_above_the_images(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "timestamps.txt").write_text(
        "2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.06\n"
    )
    folder = tmp_path / "data"
    assert find_stamps(folder, images(folder, "0", "1")) == [
        1317042145_964389445, 1317042146_060000000,
    ]  # fmt: skip


def test_seconds_beside_the_images_are_exact(tmp_path: Path) -> None:
    (tmp_path / "timestamps.txt").write_text("1317042145.964389445\n1317042146\n")
    assert find_stamps(tmp_path, images(tmp_path, "0", "1")) == [
        1317042145_964389445, 1317042146_000000000,
    ]  # fmt: skip


def test_names_that_are_times(tmp_path: Path) -> None:
    assert find_stamps(tmp_path, images(tmp_path, "1317042145964389445")) == [1317042145964389445]
    assert find_stamps(tmp_path, images(tmp_path, "1317042145964389")) == [1317042145964389000]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1\n", r"timestamps\.txt has 1 times for 2 images; one for each is needed$"),
        ("1\nnoon\n", r"timestamps\.txt, line 2 is 'noon'; a date and time such as 2011-09-26 13"),
        ("1\n-2\n", "line 2 is '-2'; a date and time"),
        ("1\nnan\n", "line 2 is 'nan'; a date and time"),
        ("1\n2011-13-26 13:02:25\n", "line 2 is '2011-13-26 13:02:25'; a date"),
        ("2\n2\n", r"time 2000000000 follows 2000000000 ns; times must increase$"),
    ],
)
def test_times_that_are_none(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "timestamps.txt").write_text(text)
    with pytest.raises(CamsegError, match=rule):
        find_stamps(tmp_path, images(tmp_path, "0", "1"))
