# SPDX-License-Identifier: Apache-2.0
"""Named sets of evaluations."""

from __future__ import annotations

from pathlib import Path

import dataset_trees
import pytest

from camseg_core.errors import CamsegError
from camseg_core.evaluation.evaluate import open_paper_suite


@pytest.mark.filterwarnings("ignore::camseg_core.data.datasets.DatasetWarning")
def test_the_paper_suite_opens_all_four_in_the_original_tree(tmp_path: Path) -> None:
    dataset_trees.original_project(tmp_path)
    datasets = open_paper_suite(tmp_path)
    assert [(dataset.name, dataset.split) for dataset in datasets] == [
        ("cityscapes", "val"), ("kitti-step", "val"), ("acdc", "val"), ("cadedgetune", "all"),
    ]  # fmt: skip
    assert all(len(dataset) > 0 for dataset in datasets)
    assert {metadata.part for metadata in datasets[2].samples} == {"adverse", "reference"}
    assert len({dataset.label_set.names for dataset in datasets}) == 1


def test_every_missing_data_set_is_named(tmp_path: Path) -> None:
    dataset_trees.original_project(tmp_path)
    (tmp_path / "dataset" / "ACDC").rename(tmp_path / "dataset" / "elsewhere")
    (tmp_path / "dataset" / "SemanticKitti").rename(tmp_path / "dataset" / "elsewhere too")
    with pytest.raises(
        CamsegError, match="needs all of .* below .*; kitti-step: .*; acdc: "
    ) as raised:
        open_paper_suite(tmp_path)
    assert "\n" not in str(raised.value)
    assert "cityscapes: " not in str(raised.value)
