# SPDX-License-Identifier: Apache-2.0
"""Every data set by its name: one contract, what is refused, and what crosses processes."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from dataset_trees import BUILDERS

from camseg_core.data.datasets import (
    DATASETS,
    DatasetWarning,
    open_dataset,
    open_paper_suite,
)
from camseg_core.data.sample import CONDITIONS
from camseg_core.errors import CamsegError
from camseg_core.labels import CITYSCAPES, LabelSet
from camseg_core.synthetic.write import write_drive

TWO = LabelSet("two", ("a", "b"), ((1, 2, 3), (4, 5, 6)))


def test_the_data_sets_have_these_names() -> None:
    assert sorted(DATASETS) == sorted([*BUILDERS, "list"])


@pytest.mark.parametrize("name", BUILDERS)
def test_one_contract(tmp_path: Path, name: str) -> None:
    label_set = TWO if name == "folder" else None
    dataset = open_dataset(name, BUILDERS[name](tmp_path), "val", label_set=label_set)
    assert dataset.name == name
    names = [sample.name for sample in dataset.samples]
    assert names == sorted(set(names))
    assert len(dataset) == len(names) > 1
    for index, metadata in enumerate(dataset.samples):
        assert metadata.dataset == name
        assert metadata.split == "val"
        assert metadata.condition in (CONDITIONS if name == "acdc" else ("",))
        assert dataset.files[index].image == dataset.root / metadata.name
        sample = dataset.read(index)
        assert sample.metadata is metadata
        assert (sample.image.dtype, sample.image.shape) == (np.uint8, (6, 40, 3))
        assert (sample.class_ids.dtype, sample.class_ids.shape) == (np.uint8, (6, 40))
        ids = set(np.unique(sample.class_ids).tolist())
        assert 255 in ids
        assert ids <= {*range(dataset.label_set.num_classes), 255}
    # Loaders that start workers anew send the data set to them.
    there = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(there.read(1).class_ids, dataset.read(1).class_ids)


@pytest.mark.parametrize("name", ["cityscapes", "acdc", "kitti-step", "cadedgetune"])
def test_the_root_of_the_original_project_gives_the_same_samples(tmp_path: Path, name: str) -> None:
    root = trees.original_project(tmp_path)
    whole = open_dataset(name, root, "val")
    own = open_dataset(name, whole.root, "val")
    assert own.samples == whole.samples
    # The label set of a model trained on Cityscapes fits all four.
    assert open_dataset(name, root, "val", label_set=CITYSCAPES).samples == whole.samples


def test_samples_with_a_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees.cityscapes(tmp_path)
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset("cityscapes", ".", "val")
    assert dataset.samples[0].name.startswith("leftImg8bit/val/")
    dataset.read(0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cityscape", "did you mean 'cityscapes'? known are"),
        (
            "xyz",
            "known are cityscapes, acdc, kitti-step, cadedgetune, folder, camvid, comma10k",
        ),
        ("", "known are"),
    ],
)
def test_an_unknown_data_set(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(CamsegError) as caught:
        open_dataset(name, tmp_path, "val")
    assert str(caught.value).startswith(f"unknown data set {name!r}; {hint}")


@pytest.mark.parametrize("name", ["cityscapes", "kitti-step", "camvid"])
def test_only_acdc_has_parts_and_conditions(tmp_path: Path, name: str) -> None:
    BUILDERS[name](tmp_path)
    with pytest.raises(CamsegError, match=f"part 'adverse' is of no use with {name}, which has no"):
        open_dataset(name, tmp_path, "val", part="adverse")
    with pytest.raises(CamsegError, match=f"{name} has no images filed under 'fog'; it has none"):
        open_dataset(name, tmp_path, "val", conditions=["fog"])


@pytest.mark.parametrize("layout", ["cityscapes", "kitti-step", "acdc"])
def test_a_synthetic_drive_is_called_synthetic_with_its_condition(
    tmp_path: Path, layout: str
) -> None:
    size = (64, 32)
    write_drive(tmp_path / "a", 2, 5, size, "fog", layout, "val")
    write_drive(tmp_path / "a", 2, 6, size, "night", layout, "train")
    for split, condition in (("val", "fog"), ("train", "night")):
        dataset = open_dataset(layout, tmp_path / "a", split)
        assert dataset.name == "synthetic"
        found = {(one.dataset, one.condition) for one in dataset.samples}
        assert found == {("synthetic", condition)}
    # Lists find it, too.
    names = [one.name for one in open_dataset(layout, tmp_path / "a", "val").samples]
    (tmp_path / "list.txt").write_text("\n".join(f"a/{name}" for name in names))
    listed = open_dataset("list", tmp_path, str(tmp_path / "list.txt"))
    assert (listed.name, listed.samples[0].condition) == ("synthetic", "fog")


def test_synthetic_drives_of_one_split_and_those_of_earlier_releases(tmp_path: Path) -> None:
    for condition in ("fog", "night"):
        write_drive(tmp_path, 1, 5, (64, 32), condition, "cityscapes", "val")
    samples = open_dataset("cityscapes", tmp_path, "val").samples
    assert [one.condition for one in samples] == ["fog", "night"]
    path = tmp_path / "synthetic.json"
    content = json.loads(path.read_text())
    for drive in content["drives"]:
        del drive["image_folders"]
    path.write_text(json.dumps(content))
    dataset = open_dataset("cityscapes", tmp_path, "val")
    assert dataset.name == "synthetic"
    # Which is which cannot be told.
    assert [one.condition for one in dataset.samples] == ["", ""]
    path.write_text(json.dumps({**content, "drives": content["drives"][:1]}))
    assert open_dataset("cityscapes", tmp_path, "val").samples[1].condition == "fog"


def test_real_images_beside_a_synthetic_drive_stay_real(tmp_path: Path) -> None:
    write_drive(tmp_path, 1, 5, (64, 32), "fog", "cityscapes", "val")
    trees.cityscapes(tmp_path)
    dataset = open_dataset("cityscapes", tmp_path, "val")
    assert dataset.name == "cityscapes"
    assert {(one.dataset, one.condition) for one in dataset.samples} == {
        ("cityscapes", ""), ("synthetic", "fog"),
    }  # fmt: skip


def test_an_empty_split(tmp_path: Path) -> None:
    trees.cityscapes(tmp_path, splits=["train"])
    (tmp_path / "leftImg8bit" / "val").mkdir()
    with pytest.raises(
        CamsegError, match="^split 'val' of cityscapes in .* has no image; leftImg8bit/<split>/<cit"
    ):
        open_dataset("cityscapes", tmp_path, "val")


def test_a_label_set_that_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    home = trees.cityscapes(tmp_path)
    with pytest.raises(CamsegError, match="label set 'two' has no source_ids for cityscapes label"):
        open_dataset("cityscapes", home, "val", label_set=TWO)
    trees.write_list(
        home / "a.txt", ["leftImg8bit/val/aachen/aachen_000000_000019_leftImg8bit.png"]
    )
    with pytest.raises(CamsegError, match="label set 'two' has no source_ids for cityscapes label"):
        open_dataset("list", home, "a.txt", label_set=TWO)


def test_warnings_name_the_caller(tmp_path: Path) -> None:
    trees.cadedgetune(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_dataset("cadedgetune", tmp_path, "train")
    (warning,) = caught
    assert warning.category is DatasetWarning
    assert warning.filename == __file__


@pytest.mark.filterwarnings("ignore::camseg_core.data.datasets.DatasetWarning")
def test_the_paper_suite_opens_all_four_in_the_original_tree(tmp_path: Path) -> None:
    trees.original_project(tmp_path)
    datasets = open_paper_suite(tmp_path)
    assert [(dataset.name, dataset.split) for dataset in datasets] == [
        ("cityscapes", "val"), ("kitti-step", "val"), ("acdc", "val"), ("cadedgetune", "all"),
    ]  # fmt: skip
    assert all(len(dataset) > 0 for dataset in datasets)
    assert {metadata.part for metadata in datasets[2].samples} == {"adverse", "reference"}
    assert len({dataset.label_set.names for dataset in datasets}) == 1


def test_every_missing_data_set_is_named(tmp_path: Path) -> None:
    trees.original_project(tmp_path)
    (tmp_path / "dataset" / "ACDC").rename(tmp_path / "dataset" / "elsewhere")
    (tmp_path / "dataset" / "SemanticKitti").rename(tmp_path / "dataset" / "elsewhere too")
    with pytest.raises(
        CamsegError, match="needs all of .* below .*; kitti-step: .*; acdc: "
    ) as raised:
        open_paper_suite(tmp_path)
    assert "\n" not in str(raised.value)
    assert "cityscapes: " not in str(raised.value)
