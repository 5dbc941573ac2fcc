# SPDX-License-Identifier: Apache-2.0
"""Which files lie below a folder: links, loops, hidden ones, what is no file, and their order."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from camseg_core.errors import CamsegError
from camseg_core.system.folders import files_below, in_natural_order, subfolders


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def test_numbers_count_by_their_value(tmp_path: Path) -> None:
    names = ["2.png", "10.png", "a/frame9.png", "a/frame10.png", "b10/1.png"]
    touch(*(tmp_path / name for name in reversed(names)))
    assert below(tmp_path) == ["2.png", "10.png", "a/frame9.png", "a/frame10.png", "b10/1.png"]
    assert in_natural_order([Path("02"), Path("10"), Path("2")]) == [
        Path("02"),
        Path("2"),
        Path("10"),
    ]


def test_links_are_followed_and_each_real_folder_is_entered_once(tmp_path: Path) -> None:
    disk, home = tmp_path / "disk", tmp_path / "home"
    touch(disk / "1.png", home / "2.png")
    (home / "data").symlink_to(disk)
    (home / "same").symlink_to(disk)
    (home / "3.png").symlink_to(disk / "1.png")
    (home / "dead.png").symlink_to(disk / "none.png")
    (home / "self").symlink_to(home)
    for name in ("a", "b"):  # two folders with two links each to the other would never end
        (disk / name).symlink_to(home)
        (home / f"{name}{name}").symlink_to(disk)
    assert below(home) == ["2.png", "3.png", "aa/1.png", "dead.png"]


def test_hidden_files_and_what_is_no_file_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "1.png", tmp_path / "._1.png", tmp_path / ".ipynb_checkpoints" / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    assert below(tmp_path) == ["1.png"]


def test_a_folder_that_is_not_there_is_empty_and_a_file_in_its_place_is_refused(
    tmp_path: Path,
) -> None:
    assert files_below(tmp_path / "images") == subfolders(tmp_path / "images") == []
    (tmp_path / "images").touch()
    for read in (subfolders, files_below):
        with pytest.raises(CamsegError, match=f"^cannot read folder {re.escape(str(tmp_path))}/im"):
            read(tmp_path / "images")
