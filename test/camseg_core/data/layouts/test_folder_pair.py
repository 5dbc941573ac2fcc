# SPDX-License-Identifier: Apache-2.0
"""A folder of images and a folder of labels."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, LabelSet

TWO = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))


def test_labels_have_the_same_path(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path)
    dataset = open_dataset("folder", home, "all", label_set=TWO)
    assert [sample.name for sample in dataset.samples] == [
        *("images/a.jpg", "images/val/b.png", "images/val/deep/c.JPG"),
    ]
    assert [file.label for file in dataset.files] == [
        *(home / "labels" / name for name in ("a.png", "val/b.png", "val/deep/c.png")),
    ]
    assert [(one.sequence, one.frame_index) for one in dataset.samples] == [
        *(("", 0), ("val", 0), ("val/deep", 0)),
    ]
    assert np.unique(dataset.read(2).class_ids).tolist() == [0, 1, 255]


def test_a_split_is_a_folder(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path)
    dataset = open_dataset("folder", home, "val", label_set=TWO)
    assert [sample.name for sample in dataset.samples] == [
        *("images/val/b.png", "images/val/deep/c.JPG"),
    ]
    with pytest.raises(CamsegError, match="has no split 'train'; known are all, val$"):
        open_dataset("folder", home, "train", label_set=TWO)


def test_frames_are_counted_per_sequence(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path, names=["x/2.png", "x/1.png", "y/1.png", "x/10.png"])
    dataset = open_dataset("folder", home, "all", label_set=TWO)
    assert [(one.name, one.frame_index) for one in dataset.samples] == [
        ("images/x/1.png", 0),
        ("images/x/10.png", 1),
        ("images/x/2.png", 2),
        ("images/y/1.png", 0),
    ]


def test_the_classes_must_be_given(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path)
    with pytest.raises(
        CamsegError,
        match="^data set folder has no classes of its own: give a label set, a YAML file or one of "
        "cityscapes, cityscapes-train-ids, camvid$",
    ):
        open_dataset("folder", home, "all")


def test_a_label_sets_table_is_used(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path, ids=(7, 8, 0, 255))
    class_ids = open_dataset("folder", home, "all", label_set=CITYSCAPES).read(0).class_ids
    assert class_ids.reshape(-1)[:4].tolist() == [0, 1, 255, 255]


def test_sizes_that_differ(tmp_path: Path) -> None:
    home = trees.folder_pair(tmp_path, names=["a.png"])
    trees.write_ids(home / "labels/a.png", trees.cycle([0], (5, 40)))
    dataset = open_dataset("folder", home, "all", label_set=TWO)
    with pytest.raises(
        CamsegError, match="labels/a.png is 40 x 5 but its image .* is 40 x 6; an im"
    ):
        dataset.read(0)
