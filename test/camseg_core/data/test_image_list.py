# SPDX-License-Identifier: Apache-2.0
"""Lists: how lines are written, what is recognised, what is refused with its line number."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import dataset_trees as trees
import pytest

from camseg_core.data.datasets import DatasetWarning, open_dataset
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, LabelSet

LINES = (
    "leftImg8bit/val/aachen/aachen_000001_000019_leftImg8bit.png",
    "leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return trees.cityscapes(tmp_path, splits=["val"])


@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", " \n\t"])
@pytest.mark.parametrize("prefix", ["", "./", ".//", "\ufeff"])
def test_lines_may_be_written_in_many_ways(home: Path, prefix: str, ending: str, last: str) -> None:
    lines = LINES if prefix == "\ufeff" else [prefix + line for line in LINES]
    trees.write_list(home / "a.txt", lines, ending, last)
    if prefix == "\ufeff":  # what some editors put before the first line
        (home / "a.txt").write_bytes(prefix.encode() + (home / "a.txt").read_bytes())
    dataset = open_dataset("list", home, "a.txt")
    assert [sample.name for sample in dataset.samples] == [*LINES]  # in the list's order
    assert (dataset.name, dataset.root, dataset.split) == ("list", home, "a")
    assert dataset.read(0).class_ids.shape == (6, 40)


@pytest.mark.parametrize("name", ["cityscapes", "list"])
@pytest.mark.parametrize("place", ["", "dataset", "dataset/CityScapes"])
def test_the_root_may_lie_in_the_tree(
    tmp_path: Path, place: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.original_project(tmp_path)
    path = root / "dataset/CityScapes/vallist.txt"
    expected = open_dataset(name, root, str(path))
    assert len(expected) == 4
    assert expected.samples[0].name.startswith("dataset/CityScapes/leftImg8bit/val/bochum/")
    dataset = open_dataset(name, root / place, "val", list_file=path)
    assert dataset.split == "val"
    assert [one.name for one in dataset.samples] == [one.name for one in expected.samples]
    assert [file.image for file in dataset.files] == [file.image for file in expected.files]
    monkeypatch.chdir(root / place)
    assert len(open_dataset(name, ".", str(path))) == 4


def test_a_list_is_looked_for_in_the_data_sets_folder(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    assert len(open_dataset("cityscapes", root, "vallist.txt")) == 4
    with pytest.raises(
        CamsegError,
        match=f"^no list none.txt: none of none.txt, {re.escape(str(root))}/none.txt, .*"
        "dataset/CityScapes/none.txt is a file$",
    ):
        open_dataset("cityscapes", root, "none.txt")
    with pytest.raises(
        CamsegError, match=r"^no list n* \.\.\. \(\d+ characters\) \.\.\. n*.* is a file$"
    ):
        open_dataset("cityscapes", root, "val", list_file="n" * 5000)


def test_one_list_may_mix_the_data_sets(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    names = ("CityScapes/vallist", "ACDC/vallist_rain", "SemanticKitti/vallist")
    lines = [(root / f"dataset/{name}.txt").read_text().split()[-1] for name in names]
    lines.append("./dataset/CADEdgeTune/SEQ1/Images/frame0002.jpg")
    trees.write_list(root / "mixed.txt", lines)
    dataset = open_dataset("list", root, "mixed.txt")
    assert [sample.dataset for sample in dataset.samples] == [
        *("cityscapes", "acdc", "kitti-step", "cadedgetune"),
    ]
    assert dataset.label_set is CITYSCAPES
    # By label ids in three of them, by train ids in KITTI-STEP.
    at_seven = [dataset.read(index).class_ids.reshape(-1)[7] for index in range(4)]
    assert at_seven == [0, 0, 7, 0]


def test_plain_folders_and_camvid(tmp_path: Path) -> None:
    trees.folder_pair(tmp_path / "own", names=["train/a.jpg"])
    trees.camvid(tmp_path / "CamVid", splits=["train"])
    two = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))
    trees.write_list(tmp_path / "own.txt", ["own/images/train/a.jpg"])
    own = open_dataset("list", tmp_path, "own.txt", label_set=two)
    assert own.files[0].label == tmp_path / "own/labels/train/a.png"
    assert own.samples[0].dataset == "folder"
    trees.write_list(tmp_path / "camvid.txt", ["CamVid/train/0001TP_006690.png"])
    camvid = open_dataset("list", tmp_path, "camvid.txt")
    assert camvid.files[0].label == tmp_path / "CamVid/trainannot/0001TP_006690.png"
    assert camvid.label_set is CAMVID
    trees.write_list(
        tmp_path / "both.txt", ["own/images/train/a.jpg", "CamVid/train/0001TP_006690.png"]
    )
    with pytest.raises(CamsegError, match="data set folder, camvid have different classes: give a"):
        open_dataset("list", tmp_path, "both.txt")


def test_a_root_of_that_name_that_holds_the_tree(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path / "dataset")
    dataset = open_dataset("cityscapes", root, "dataset/CityScapes/vallist.txt")
    assert dataset.files[0].image.is_relative_to(root / "dataset")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("leftImg8bit/none.png", "has the form of no data set; known forms are leftImg8bit/<sp"),
        ("notes.txt", "has the form of no data set; known forms are"),
        ("../leftImg8bit/val/a/a_leftImg8bit.png", "leaves the root {root}; paths below it are"),
        ("leftImg8bit/val/../val/a/a_leftImg8bit.png", "leaves the root {root}; paths below it"),
        ("/etc/images/a.png", "leaves the root {root}; paths below it are needed"),
        (
            "leftImg8bit/val/a/a_leftImg8bit.png",
            "is not there: no file {root}/leftImg8bit/val/a/a_",
        ),
        (f"images/{'n' * 300}.png", "is not there: no file {root}/images/nnn"),
        ("images/\t.png", "is not there: no file {root}/images/"),
        ("images/alone.png", "has no label: no file {root}/labels/alone.png"),
        (LINES[0], "stands in line 1 already"),
        (f"./{LINES[0]}", "stands in line 1 already"),
        (".", "has the form of no data set"),
    ],
)
def test_a_line_that_cannot_be_used(home: Path, line: str, message: str) -> None:
    trees.write_image(home / "images" / "alone.png")
    trees.write_list(home / "a.txt", [LINES[0], "", line, "second/bad/line"])
    with pytest.raises(CamsegError) as caught:
        open_dataset("list", home, "a.txt", label_set=CITYSCAPES)
    text, shown = str(caught.value), line.replace("\t", "\\t")
    assert text.startswith(f"{home}/a.txt, line 3: {shown} {message.format(root=home)}")
    assert text.endswith(" (and 1 more)")
    assert "\n" not in text


def test_a_named_data_set_takes_its_own_lines_only(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    with pytest.raises(
        CamsegError,
        match=r"vallist.txt, line 1: ./dataset/CityScapes/.* has the form of no data set; known "
        r"forms are rgb_anon/<condition>",
    ):
        open_dataset("acdc", root, "dataset/CityScapes/vallist.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; one image path a line is needed"),
        (b"\n \r\n\n", "is empty; one image path a line is needed"),
        (b"\xff\xfe\0", "is no text: byte 0 is not UTF-8; one image path a line is needed"),
    ],
)
def test_a_list_without_lines(home: Path, content: bytes, message: str) -> None:
    (home / "a.txt").write_bytes(content)
    with pytest.raises(CamsegError, match=f"^list {re.escape(str(home))}/a.txt {message}$"):
        open_dataset("list", home, "a.txt")


def test_windows_separators_are_told_in_one_line(home: Path) -> None:
    path = trees.write_list(home / "a.txt", [LINES[0], *("a\\b\\c.png" for _ in range(1000))])
    with pytest.raises(CamsegError, match="has Windows separators, first in line 2: 'a") as caught:
        open_dataset("list", home, "a.txt", label_set=CITYSCAPES)
    assert str(caught.value).startswith(f"list {path} ")
    assert len(str(caught.value)) < 300


def test_a_root_that_is_not_there(home: Path) -> None:
    path = trees.write_list(home / "a.txt", LINES)
    with pytest.raises(
        CamsegError, match="^no such folder: .*/none; the paths in .*a.txt are relat"
    ):
        open_dataset("list", home / "none", str(path))


def test_every_list_of_the_original_project_opens(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    lists = sorted(path.relative_to(root) for path in root.rglob("*.txt"))
    assert len(lists) == 11
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        for path in lists:
            dataset = open_dataset(
                "list", root, str(path), part="both" if "ACDC" in str(path) else ""
            )
            assert len(dataset) == len((root / path).read_text().split())
            for index in range(len(dataset)):
                dataset.read(index)
