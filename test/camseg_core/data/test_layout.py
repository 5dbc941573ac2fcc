# SPDX-License-Identifier: Apache-2.0
"""What all layouts share: where a data set is found, its splits, and how folders are walked."""

from __future__ import annotations

import re
from pathlib import Path

import dataset_trees as trees
import pytest

from camseg_core.data.known_layouts import LAYOUTS
from camseg_core.data.layout import find_home, find_images
from camseg_core.errors import CamsegError
from camseg_core.system.folders import subfolders

CITYSCAPES = LAYOUTS["cityscapes"]


@pytest.mark.parametrize(
    "place", ["", "CityScapes", "cityscapes", "Cityscapes", "dataset/CityScapes"]
)
def test_a_data_set_is_found_in_or_below_its_root(tmp_path: Path, place: str) -> None:
    home = trees.cityscapes(tmp_path / place)
    assert find_home(CITYSCAPES, tmp_path) == home


@pytest.mark.parametrize("name", ["cityscapes", "acdc", "kitti-step", "cadedgetune"])
def test_the_original_projects_folders_are_found(tmp_path: Path, name: str) -> None:
    root = trees.original_project(tmp_path)
    home = find_home(LAYOUTS[name], root)
    assert home.parent == root / "dataset"
    assert find_home(LAYOUTS[name], root / "dataset") == home
    assert find_home(LAYOUTS[name], home) == home


def test_a_root_without_the_data_set_is_told_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "cityscapes").mkdir()
    with pytest.raises(
        CamsegError,
        match=f"^no cityscapes data in {re.escape(f'{tmp_path}, {tmp_path}/cityscapes')}: "
        r"leftImg8bit/ is looked for \(images are leftImg8bit/<split>/<city>/\*_leftImg8bit.png, "
        r"labels gtFine/<split>/<city>/\*_gtFine_labelIds.png\)$",
    ):
        find_home(CITYSCAPES, tmp_path)


@pytest.mark.parametrize("name", ["none", "n" * 300])
def test_a_root_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(CamsegError, match=f"^no such folder: {re.escape(str(tmp_path / name))}; "):
        find_home(CITYSCAPES, tmp_path / name)


@pytest.mark.parametrize(
    ("split", "hint"), [("vall", "did you mean 'val'\\? "), ("xyz", "")], ids=["near", "far"]
)
def test_an_unknown_split_is_told_the_known_ones(tmp_path: Path, split: str, hint: str) -> None:
    trees.cityscapes(tmp_path)
    assert find_home(CITYSCAPES, tmp_path, "val") == tmp_path
    with pytest.raises(CamsegError, match=f"has no split '{split}'; {hint}known are train, val$"):
        find_home(CITYSCAPES, tmp_path, split)


def test_images_are_sorted_and_the_rest_is_told_apart(tmp_path: Path) -> None:
    trees.cityscapes(tmp_path, splits=["val"], cities=["zug", "aachen"], frames=2)
    folder = tmp_path / "leftImg8bit" / "val"
    # What other systems leave behind has the right ending, is no image, and is not worth a word.
    (folder / "zug" / "._zug_000000_000019_leftImg8bit.png").touch()
    (folder / "zug" / "zug_000000_000019_leftImg8bit.png.part").touch()
    (folder / "notes.txt").touch()
    images, strangers = find_images(CITYSCAPES, tmp_path, "val")
    assert [image.name for image in images] == [
        f"leftImg8bit/val/{city}/{city}_00000{frame}_000019_leftImg8bit.png"
        for city in ("aachen", "zug")
        for frame in (0, 1)
    ]
    assert [path.name for path in strangers] == [
        "notes.txt",
        "zug_000000_000019_leftImg8bit.png.part",
    ]


def test_hidden_folders_are_no_splits(tmp_path: Path) -> None:
    trees.camvid(tmp_path)
    (tmp_path / ".cache").mkdir()
    assert LAYOUTS["camvid"].splits(tmp_path) == ("train", "val", "test")
    assert ".cache" not in {folder.name for folder in subfolders(tmp_path)}
