# SPDX-License-Identifier: Apache-2.0
"""Scores during training: of what a stage can do, on images spread evenly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_config_of_colors, tiny_with_codebook

from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.labels import LabelSet
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.training.configuration import StageName
from camseg_core.training.validation import SAMPLING, score_model
from camseg_core.weights.loading import LoadedModel, random_model


@pytest.fixture
def dataset(drawn_root: Path) -> Dataset:
    label_set = find_label_set("cityscapes-train-ids")
    return open_dataset("folder", drawn_root, "all", label_set=label_set)


@pytest.mark.parametrize(
    "loaded",
    [random_model("tiny"), tiny_with_codebook(), random_model(tiny_config_of_colors())],
    ids=["kl", "vq", "colours"],
)
def test_the_score_of_an_autoencoder_is_of_true_masks_there_and_back(
    loaded: LoadedModel, dataset: Dataset
) -> None:
    model = loaded.model
    counts = np.zeros((19, 20), np.int64)
    segmenter = Segmenter(loaded)
    for index in (0, 8):
        truth = dataset.read(index).ground_truth
        latent = segmenter.encode_mask(truth)
        scale = model.config.autoencoder.latent_scale
        colors = torch.from_numpy(loaded.label_set.colors().copy())
        ids = torch.from_numpy(truth.copy()).long()[None]
        mean = model.mask_posterior(ids, colors).mean.detach()
        assert float(latent.square().sum()) == pytest.approx(float((mean * scale).square().sum()))
        decoded = segmenter.decode_latent(latent, truth.shape, SamplingOptions())
        counts += confusion_counts(truth, decoded, 19)
    expected = official_scores(counts)
    assert score_model(loaded, "autoencoder", dataset, 2, "cpu") == {
        "score": expected.mean_iou, "pixel_accuracy": expected.pixel_accuracy,
    }  # fmt: skip


@pytest.mark.parametrize("stage", ["transformer", "finetune"])
def test_the_score_of_a_predictor_is_of_its_segmentation(
    stage: StageName, dataset: Dataset
) -> None:
    loaded = random_model("tiny")
    counts = np.zeros((19, 20), np.int64)
    for index in (0, 8):
        sample = dataset.read(index)
        found = Segmenter(loaded).segment(sample.image, SAMPLING[stage]).class_ids
        counts += confusion_counts(sample.ground_truth, found, 19)
    assert (
        score_model(loaded, stage, dataset, 2, "cpu")["score"] == official_scores(counts).mean_iou
    )


def test_images_are_spread_evenly_and_none_is_read_twice(dataset: Dataset) -> None:
    read: list[str] = []

    def spy(path: Path, label_set: LabelSet) -> np.ndarray:
        read.append(path.stem)
        return dataset.read_labels(path, label_set)

    spied, loaded = replace(dataset, read_labels=spy), random_model("tiny")
    score_model(loaded, "autoencoder", spied, 4, "cpu")
    assert read == ["00", "04", "08", "12"]
    read.clear()
    score_model(loaded, "autoencoder", spied, 99, "cpu")
    assert read == [f"{index:02d}" for index in range(16)]
