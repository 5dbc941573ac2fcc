# SPDX-License-Identifier: Apache-2.0
"""ACDC: adverse and reference images never mix unless asked to."""

from __future__ import annotations

import warnings
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camseg_core.data.datasets import DatasetWarning, open_dataset
from camseg_core.data.layouts.acdc import LAYOUT
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError

CONDITIONS = ("fog", "rain", "snow", "night")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder above dataset/, with lists."""
    return trees.original_project(tmp_path_factory.mktemp("acdc"))


def quiet(root: Path, split: str, **options: object) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return open_dataset("acdc", root, split, **options)  # type: ignore[arg-type]


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


def test_both_are_told_apart(home: Path) -> None:
    dataset = quiet(home, "val", part="both")
    parts = [sample.part for sample in dataset.samples]
    assert (parts.count("adverse"), parts.count("reference")) == (8, 4)
    assert len({sample.name for sample in dataset.samples}) == 12


def test_a_condition_takes_what_is_filed_under_it(home: Path) -> None:
    dataset = quiet(home, "val", part="both", conditions=["fog", "night"])
    folders = {sample.name.split("/")[1] for sample in dataset.samples}
    assert folders == {"fog", "night"}
    assert {sample.condition for sample in dataset.samples} == {"fog", "night", "clear"}


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


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_an_adverse_selection_never_holds_a_reference(home: Path, data: st.DataObject) -> None:
    split = data.draw(st.sampled_from(["train", "val"]))
    conditions = data.draw(st.lists(st.sampled_from(CONDITIONS), unique=True))
    part = data.draw(st.sampled_from(["", "adverse"]))
    list_file = None
    if data.draw(st.booleans()):
        images = sorted((home / "dataset/ACDC/rgb_anon").glob("*/val*/*/*000000*.png"))
        lines = [path.relative_to(home).as_posix() for path in images]
        lines = data.draw(st.permutations(lines))[: data.draw(st.integers(1, len(lines)))]
        list_file = home / "mixed.txt"
        list_file.write_text("\n".join(lines))
    name = data.draw(st.sampled_from(["acdc", "list"])) if list_file else "acdc"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        try:
            dataset = open_dataset(
                name, home, split, part=part, conditions=conditions, list_file=list_file
            )
        except CamsegError as error:
            assert list_file is not None  # a list may hold references alone
            assert "images of acdc is of part adverse" in str(error)
            return
    for sample, files in zip(dataset.samples, dataset.files, strict=True):
        assert "_ref" not in sample.name
        assert "_ref" not in files.label.name
        assert (sample.part, sample.condition) == (
            "adverse",
            sample.name.split("rgb_anon/")[1].split("/")[0],
        )
        assert not conditions or sample.condition in conditions


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


def test_labels_are_the_34_ids(home: Path) -> None:
    assert LAYOUT.labels.ids == frozenset(range(34))
    sample = open_dataset("acdc", home, "val").read(3)
    assert np.unique(sample.class_ids).tolist() == [*range(19), 255]
