# SPDX-License-Identifier: Apache-2.0
"""Named sets of evaluations."""

from __future__ import annotations

from pathlib import Path

from camseg_core.data.datasets import open_dataset
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet

PAPER_DATASETS = {"cityscapes": "val", "kitti-step": "val", "acdc": "val", "cadedgetune": "all"}
"""Data set -> split. Trained on the first, tested on all (arXiv 2503.15617)."""

NOISE_STUDY_DATASET = "cityscapes"
"""The one whose images are corrupted."""


def open_paper_suite(root: Path, label_set: LabelSet | None = None) -> list[Dataset]:
    """Open the four published data sets below ``root``.

    The validation splits; ACDC with both of its parts, which are scored apart; all of CADEdgeTune,
    whose train and validation lists overlap.

    Raises:
        CamsegError: one of them is missing; the text names each that is.
    """
    datasets, problems = [], []
    for name, split in PAPER_DATASETS.items():
        part = "both" if name == "acdc" else ""
        try:
            datasets.append(open_dataset(name, root, split, part=part, label_set=label_set))
        except CamsegError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise CamsegError(
            "the paper's suite needs all of "
            f"{', '.join(PAPER_DATASETS)} below {root}; {'; '.join(problems)}"
        )
    return datasets
