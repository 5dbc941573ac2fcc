# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: names, the 34 label ids, and labelTrainIds where nothing else is there."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest

from camseg_core.data.datasets import open_dataset
from camseg_core.errors import CamsegError
from camseg_core.images.reading import read_image
from camseg_core.labels import CITYSCAPES, LabelSet


def test_samples_have_official_names(tmp_path: Path) -> None:
    home = trees.cityscapes(tmp_path)
    dataset = open_dataset("cityscapes", home, "val")
    assert (dataset.name, dataset.root, dataset.split) == ("cityscapes", home, "val")
    assert dataset.label_set is CITYSCAPES
    assert len(dataset) == 4
    first = dataset.samples[0]
    assert first.name == "leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png"
    assert dataset.files[0].image == home / first.name
    label = "gtFine/val/aachen/aachen_000000_000019_gtFine_labelIds.png"
    assert dataset.files[0].label == home / label
    assert (first.dataset, first.split, first.part, first.condition) == (
        *("cityscapes", "val", "", "clear"),
    )
    assert (first.sequence, first.frame_index) == ("aachen_000000", 19)


def test_a_sample_is_rgb_and_19_classes(tmp_path: Path) -> None:
    dataset = open_dataset("cityscapes", trees.cityscapes(tmp_path), "val")
    sample = dataset.read(1)
    assert sample.metadata is dataset.samples[1]
    np.testing.assert_array_equal(sample.image, read_image(dataset.files[1].image))
    assert sample.class_ids.dtype == np.uint8
    # cityscapesScripts, labels.py: trainId of ids 0..33, 255 where it is ignored, then id 255.
    expected = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11]
    expected += [12, 13, 14, 15, 255, 255, 16, 17, 18, 255]
    assert sample.class_ids.reshape(-1)[:35].tolist() == expected


def test_the_table_is_cityscapes_scripts_own() -> None:
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    for label in labels:
        expected = 255 if label.trainId in (-1, 255) else label.trainId
        assert CITYSCAPES.source_ids.get(label.id, 255) == expected, label.name


def test_train_ids_are_read_where_label_ids_are_missing(tmp_path: Path) -> None:
    home = trees.cityscapes(tmp_path, splits=["val"], cities=["aachen"], frames=2)
    folder = home / "gtFine" / "val" / "aachen"
    for frame in (0, 1):
        name = f"aachen_00000{frame}_000019_gtFine_labelTrainIds.png"
        trees.write_ids(folder / name, trees.cycle([3, 255]))
    (folder / "aachen_000001_000019_gtFine_labelIds.png").unlink()
    dataset = open_dataset("cityscapes", home, "val")
    assert [file.label.name[len("aachen_00000x_000019_gtFine_") :] for file in dataset.files] == [
        *("labelIds.png", "labelTrainIds.png"),
    ]
    assert dataset.read(0).class_ids.reshape(-1)[7] == 0  # road, by label ids
    assert np.unique(dataset.read(1).class_ids).tolist() == [3, 255]
    user = LabelSet("user", ("a",), ((1, 1, 1),), source_ids={26: 0})
    with pytest.raises(CamsegError, match="maps id 26, which cityscapes labelTrainIds label files"):
        open_dataset("cityscapes", home, "val", label_set=user)


def test_other_names_of_frames(tmp_path: Path) -> None:
    for stem in ("b", "a"):
        trees.write_image(tmp_path / "leftImg8bit" / "val" / "city" / f"{stem}_leftImg8bit.png")
        label = tmp_path / "gtFine" / "val" / "city" / f"{stem}_gtFine_labelIds.png"
        trees.write_ids(label, trees.cycle([7]))
    dataset = open_dataset("cityscapes", tmp_path, "val")
    assert [(one.sequence, one.frame_index) for one in dataset.samples] == [
        ("city", 0),
        ("city", 1),
    ]
