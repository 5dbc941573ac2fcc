# SPDX-License-Identifier: Apache-2.0
"""CAD-EdgeTune: splits that the tree does not have, and the overlap of train and val."""

from __future__ import annotations

import warnings
from pathlib import Path

import dataset_trees as trees
import pytest

from camseg_core.data.datasets import DatasetWarning, open_dataset
from camseg_core.data.layouts.cadedgetune import LAYOUT, SEQUENCES, VAL_SEQUENCES


def test_official_sequences_and_numbers() -> None:
    assert len(SEQUENCES) == 16
    assert "SEQ14" not in SEQUENCES
    assert sorted(VAL_SEQUENCES) == ["SEQ1", "SEQ11", "SEQ12", "SEQ13"]
    assert {count.split: count.frames for count in LAYOUT.official} == {
        **{"all": 1508, "train": 1508, "train-only": 1063, "val": 445},
    }


@pytest.mark.parametrize(
    ("split", "sequences"),
    [
        ("all", {"SEQ1", "SEQ2", "SEQ11", "SEQ17"}),
        ("val", {"SEQ1", "SEQ11"}),
        ("train-only", {"SEQ2", "SEQ17"}),
    ],
)
def test_splits_are_sequences(tmp_path: Path, split: str, sequences: set[str]) -> None:
    home = trees.cadedgetune(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = open_dataset("cadedgetune", home, split)
    assert {sample.sequence for sample in dataset.samples} == sequences
    assert len(dataset) == 2 * len(sequences)


def test_a_sample(tmp_path: Path) -> None:
    home = trees.cadedgetune(tmp_path)
    dataset = open_dataset("cadedgetune", home, "val")
    first = dataset.samples[0]
    assert first.name == "SEQ1/Images/frame0001.jpg"
    assert dataset.files[0].label == home / "SEQ1/LabelMasks/frame0001_label_mask.png"
    assert (first.sequence, first.frame_index) == ("SEQ1", 1)
    assert dataset.read(0).class_ids.reshape(-1)[[7, 11, 34]].tolist() == [0, 2, 255]


OVERLAP = "cadedgetune, split train: the published train list is the whole set and holds every"


def test_the_overlap_is_said(tmp_path: Path) -> None:
    home = trees.cadedgetune(tmp_path)
    with pytest.warns(DatasetWarning, match=OVERLAP):
        dataset = open_dataset("cadedgetune", home, "train")
    assert len(dataset) == 8


def test_the_overlap_of_the_published_list_is_said(tmp_path: Path) -> None:
    root = trees.original_project(tmp_path)
    with pytest.warns(DatasetWarning, match=OVERLAP):
        open_dataset("cadedgetune", root, "dataset/CADEdgeTune/trainlist.txt")
    lines = [f"dataset/CADEdgeTune/SEQ2/Images/frame000{frame}.jpg" for frame in (1, 2)]
    trees.write_list(tmp_path / "trainlist.txt", lines)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_dataset("cadedgetune", root, "trainlist.txt")) == 2
