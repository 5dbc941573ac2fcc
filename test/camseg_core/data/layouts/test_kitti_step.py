# SPDX-License-Identifier: Apache-2.0
"""KITTI-STEP: splits by sequence, both places of its labels, and the red channel alone."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.data.layouts.kitti_step import TRAIN_SEQUENCES, VAL_SEQUENCES
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES


def test_official_sequences() -> None:
    assert sorted(map(int, VAL_SEQUENCES)) == [2, 6, 7, 8, 10, 13, 14, 16, 18]
    assert sorted(map(int, TRAIN_SEQUENCES)) == [0, 1, 3, 4, 5, 9, 11, 12, 15, 17, 19, 20]


@pytest.mark.parametrize("nested", [True, False])
def test_samples_follow_the_split(tmp_path: Path, nested: bool) -> None:
    home = trees.kitti_step(tmp_path, nested=nested)
    train, val = (open_dataset("kitti-step", home, split) for split in ("train", "val"))
    assert [(one.sequence, one.frame_index) for one in val.samples] == [
        *(("0002", 0), ("0002", 1), ("0018", 0), ("0018", 1)),
    ]
    assert {one.sequence for one in train.samples} == {"0000", "0001"}
    first = val.samples[0]
    assert first.name == "training/image_02/0002/000000.png"
    maps = "kitti-step/panoptic_maps" if nested else "panoptic_maps"
    assert val.files[0].label == home / maps / "val" / "0002" / "000000.png"
    assert val.label_set is CITYSCAPES


def test_red_is_the_class(tmp_path: Path) -> None:
    dataset = open_dataset("kitti-step", trees.kitti_step(tmp_path), "val")
    class_ids = dataset.read(0).class_ids
    np.testing.assert_array_equal(class_ids, trees.cycle([*range(19), 255]))


def test_a_class_outside_the_table(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    dataset = open_dataset("kitti-step", home, "val")
    panoptic = np.zeros((6, 40, 3), np.uint8)
    panoptic[0, :2, 0] = 19
    trees.write_ids(dataset.files[0].label, panoptic)
    with pytest.raises(
        CamsegError,
        match=r"0002/000000.png holds id 19 \(2 pixels\); ids of kitti-step label files are 0..18, "
        "255$",
    ):
        dataset.read(0)


def test_labels_of_one_split_alone(tmp_path: Path) -> None:
    """All images are in one archive, so a user of val has those of train too."""
    home = trees.kitti_step(tmp_path)
    (home / "kitti-step/panoptic_maps/train").rename(tmp_path / "away")
    assert len(open_dataset("kitti-step", home, "val")) == 4
    with pytest.raises(CamsegError, match="has no split 'train'; known are val$"):
        open_dataset("kitti-step", home, "train")


def test_a_sequence_without_labels_belongs_to_its_official_split(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    (home / "kitti-step/panoptic_maps/val/0002").rename(tmp_path / "away")
    assert len(open_dataset("kitti-step", home, "train")) == 4
    with pytest.raises(
        CamsegError, match=r"0002/000000.png has no label \(and 1 more of 4\): no file .*val/0002/"
    ):
        open_dataset("kitti-step", home, "val")


def test_ones_own_sequences_are_where_their_labels_are(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    maps = home / "kitti-step/panoptic_maps"
    (maps / "train/0001").rename(maps / "val/0001")
    assert [one.sequence for one in open_dataset("kitti-step", home, "train").samples] == [
        "0000"
    ] * 2
    val = open_dataset("kitti-step", home, "val")
    assert [one.sequence for one in val.samples] == ["0001"] * 2 + ["0002"] * 2 + ["0018"] * 2
    val.read(0)
    line = home / "one.txt"
    line.write_text("training/image_02/0001/000000.png")
    listed = open_dataset("list", home, "one.txt")
    assert listed.files[0].label == maps / "val/0001/000000.png"


def test_a_sequence_with_labels_of_both_splits_is_read_from_each(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    maps = home / "kitti-step/panoptic_maps"
    for frame in (0, 1):
        label = maps / f"train/0002/{frame:06d}.png"
        trees.write_ids(label, np.full((6, 40, 3), 5, np.uint8))
    train = open_dataset("kitti-step", home, "train")
    labels = [
        file.label
        for file, one in zip(train.files, train.samples, strict=True)
        if one.sequence == "0002"
    ]
    assert labels == [maps / "train/0002/000000.png", maps / "train/0002/000001.png"]
    assert np.unique(train.read(4).class_ids).tolist() == [5]


def test_test_images_are_no_samples(tmp_path: Path) -> None:
    home = trees.kitti_step(tmp_path)
    trees.write_image(home / "testing/image_02/0000/000000.png")
    assert len(open_dataset("kitti-step", home, "train")) == 4
