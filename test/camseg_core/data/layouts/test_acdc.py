# SPDX-License-Identifier: Apache-2.0
"""ACDC: adverse and reference images never mix unless asked to."""

from __future__ import annotations

import warnings
from pathlib import Path

import dataset_trees as trees
import pytest

from camseg_core.data.datasets import DatasetWarning, open_dataset
from camseg_core.data.layouts.acdc import LAYOUT
from camseg_core.data.sample import FileDataset
from camseg_core.errors import CamsegError

CONDITIONS = ("fog", "rain", "snow", "night")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder above dataset/, with lists."""
    return trees.original_project(tmp_path_factory.mktemp("acdc"))


def quiet(root: Path, split: str, name: str = "acdc", **options: object) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return open_dataset(name, root, split, **options)  # type: ignore[arg-type]


def test_adverse_is_what_is_read(home: Path) -> None:
    dataset = open_dataset("acdc", home, "val")
    assert len(dataset) == 8
    assert {sample.part for sample in dataset.samples} == {"adverse"}
    assert sorted({sample.condition for sample in dataset.samples}) == sorted(CONDITIONS)
    first = dataset.samples[0]
    assert first.name == "rgb_anon/fog/val/GOPR0475/GOPR0475_frame_000000_rgb_anon.png"
    label = "gt/fog/val/GOPR0475/GOPR0475_frame_000000_gt_labelIds.png"
    assert dataset.files[0].label == dataset.root / label
    assert (first.condition, first.sequence, first.frame_index) == ("fog", "GOPR0475", 0)
    class_ids = dataset.read(0).class_ids.reshape(-1)
    assert class_ids[[7, 33, 34]].tolist() == [0, 18, 255]


def test_references_are_clear(home: Path) -> None:
    with pytest.warns(DatasetWarning, match="^4 reference images have no label and are left out, "):
        dataset = open_dataset("acdc", home, "val", part="reference")
    assert len(dataset) == 4
    assert {(sample.part, sample.condition) for sample in dataset.samples} == {
        ("reference", "clear")
    }
    first = dataset.samples[0]
    assert first.name == "rgb_anon/fog/val_ref/GOPR0475/GOPR0475_frame_000000_rgb_ref_anon.png"
    label = "gt/fog/val_ref/GOPR0475/GOPR0475_frame_000000_gt_ref_labelIds.png"
    assert dataset.files[0].label == dataset.root / label
    assert dataset.read(0).class_ids.shape == (6, 40)


def test_a_condition_takes_both_parts_that_are_filed_under_it(home: Path) -> None:
    dataset = quiet(home, "val", part="both", conditions=["fog", "night"])
    assert {sample.name.split("/")[1] for sample in dataset.samples} == {"fog", "night"}
    assert {sample.condition for sample in dataset.samples} == {"fog", "night", "clear"}
    parts = [sample.part for sample in dataset.samples]
    assert (parts.count("adverse"), parts.count("reference")) == (4, 2)


def test_a_published_list_mixes_both_and_only_adverse_is_taken(home: Path) -> None:
    with pytest.warns(
        DatasetWarning,
        match="vallist_fog.txt: 1 of 3 images are left out by part 'adverse'; part 'both' takes",
    ):
        dataset = open_dataset("acdc", home, "dataset/ACDC/vallist_fog.txt")
    assert {sample.part for sample in dataset.samples} == {"adverse"}
    assert len(dataset) == 2
    both = open_dataset("list", home, "dataset/ACDC/vallist_fog.txt", part="both")
    assert [sample.part for sample in both.samples].count("reference") == 1
    assert {sample.dataset for sample in both.samples} == {"acdc"}


@pytest.mark.parametrize("name", ["acdc", "list"])
@pytest.mark.parametrize("conditions", [(), ("fog",), ("night", "rain")])
def test_an_adverse_selection_of_a_list_never_holds_a_reference(
    home: Path, name: str, conditions: tuple[str, ...]
) -> None:
    images = sorted((home / "dataset/ACDC/rgb_anon").glob("*/*/*/*000000*.png"))
    lines = [path.relative_to(home).as_posix() for path in images]
    list_file = trees.write_list(home / "mixed.txt", reversed(lines))
    dataset = quiet(home, "val", conditions=conditions, list_file=list_file, name=name)
    assert {sample.condition for sample in dataset.samples} == {*(conditions or CONDITIONS)}
    for sample, files in zip(dataset.samples, dataset.files, strict=True):
        assert "_ref" not in f"{sample.name} {files.label}"
        assert sample.part == "adverse"
    only = [line for line in lines if "_ref" in line]
    list_file = trees.write_list(home / "references.txt", only)
    with pytest.raises(CamsegError, match="images of acdc is of part adverse"):
        quiet(home, "val", list_file=list_file, name=name)


@pytest.mark.parametrize(
    "name",
    [
        "rgb_anon/fog/val_ref/GOPR0475/GOPR0475_frame_000000_rgb_anon.png",
        "rgb_anon/fog/val/GOPR0475/GOPR0475_frame_000000_rgb_ref_anon.png",
    ],
)
def test_folder_or_file_alone_makes_a_reference(name: str) -> None:
    entry = LAYOUT.recognize(Path("x"), name, "val")
    assert entry is not None
    assert (entry.part, entry.condition, entry.filed_under) == ("reference", "clear", "fog")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "ref"}, "unknown part 'ref'; known are adverse, reference, both"),
        ({"part": "advers"}, "unknown part 'advers'; did you mean 'adverse'?"),
        (
            {"conditions": ["clear"]},
            "acdc has no images filed under 'clear'; known are fog, rain, s",
        ),
    ],
)
def test_unknown_parts_and_conditions(home: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(CamsegError) as caught:
        open_dataset("acdc", home, "val", **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_an_adverse_image_needs_its_label(tmp_path: Path) -> None:
    home = trees.acdc(tmp_path, splits=["val"], conditions=["snow"])
    label = home / "gt/snow/val/GOPR0475/GOPR0475_frame_000001_gt_labelIds.png"
    label.unlink()
    with pytest.raises(
        CamsegError, match=f"_frame_000001_rgb_anon.png has no label: no file {label}"
    ):
        open_dataset("acdc", home, "val")
    assert len(quiet(home, "val", part="reference")) == 1


def test_references_without_any_label(tmp_path: Path) -> None:
    home = trees.acdc(tmp_path, splits=["val"], conditions=["snow"], reference_labels=0)
    with pytest.raises(
        CamsegError, match="none of 2 reference images has a label; the first would"
    ):
        open_dataset("acdc", home, "val", part="reference")


def test_official_numbers() -> None:
    counts = {
        (count.split, count.part, count.filed_under): count.frames for count in LAYOUT.official
    }
    assert counts["train", "adverse", ""] == 1600
    assert counts["val", "adverse", ""] == 406
    assert counts["val", "reference", ""] == 203
    for condition in CONDITIONS:
        assert counts["train", "adverse", condition] == 400
        assert counts["val", "adverse", condition] == (106 if condition == "night" else 100)
        assert counts["val", "reference", condition] == (53 if condition == "night" else 50)
