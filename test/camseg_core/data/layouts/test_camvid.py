# SPDX-License-Identifier: Apache-2.0
"""CamVid as SegNet distributes it."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.data.layouts.camvid import LAYOUT
from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID, CITYSCAPES, LabelSet


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_samples_tell_drive_and_frame(tmp_path: Path, suffix: str) -> None:
    home = trees.camvid(tmp_path / "CamVid", suffix=suffix)
    dataset = open_dataset("camvid", tmp_path, "val")
    assert dataset.root == home
    assert dataset.label_set is CAMVID
    assert [(one.name, one.sequence, one.frame_index) for one in dataset.samples] == [
        (f"val/0001TP_006690{suffix}", "0001TP", 6690),
        (f"val/0006R0_f00930{suffix}", "0006R0", 930),
        (f"val/Seq05VD_f00000{suffix}", "Seq05VD", 0),
    ]
    assert dataset.files[0].label == home / "valannot" / "0001TP_006690.png"
    assert dataset.read(0).class_ids.reshape(-1)[:12].tolist() == [*range(11), 255]


def test_cityscapes_classes_need_a_table(tmp_path: Path) -> None:
    home = trees.camvid(tmp_path)
    with pytest.raises(
        CamsegError, match="'cityscapes' is made for other label files than camvid's"
    ):
        open_dataset("camvid", home, "val", label_set=CITYSCAPES)
    table = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12}
    label_set = LabelSet("mixed", CITYSCAPES.names, CITYSCAPES.palette, source_ids=table)
    class_ids = open_dataset("camvid", home, "val", label_set=label_set).read(0).class_ids
    assert class_ids.reshape(-1)[:12].tolist() == [*table.values(), 255]


def test_other_names_and_other_files(tmp_path: Path) -> None:
    trees.camvid(tmp_path, splits=["val"], stems=["b", "a"])
    (tmp_path / "val.txt").touch()
    (tmp_path / "val" / "Thumbs.db").touch()
    dataset = open_dataset("camvid", tmp_path, "val")
    assert [(one.sequence, one.frame_index) for one in dataset.samples] == [("", 0), ("", 1)]


def test_two_images_of_one_label(tmp_path: Path) -> None:
    trees.camvid(tmp_path, splits=["val"])
    trees.write_image(tmp_path / "val" / "0001TP_006690.jpg")
    with pytest.raises(
        CamsegError, match="6690.jpg and .*6690.png differ in their suffix only, so that they share"
    ):
        open_dataset("camvid", tmp_path, "val")


def test_a_split_needs_both_folders(tmp_path: Path) -> None:
    trees.camvid(tmp_path, splits=["train", "val"])
    (tmp_path / "trainannot").rename(tmp_path / "away")
    assert LAYOUT.splits(tmp_path) == ("val",)
