# SPDX-License-Identifier: Apache-2.0
"""Scores during training: what an autoencoder reconstructs, and which codes it uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.labels import LabelSet
from camseg_core.models.presets import preset
from camseg_core.training.validation import count_codes, count_confusions, score_model
from camseg_core.weights.loading import LoadedModel, random_model


@pytest.fixture
def dataset(drawn_root: Path) -> Dataset:
    label_set = find_label_set("cityscapes-train-ids")
    return open_dataset("folder", drawn_root, "all", label_set=label_set)


@pytest.fixture
def quantizing() -> LoadedModel:
    tiny = preset("tiny")
    autoencoder = replace(tiny.autoencoder, bottleneck="vq", codebook_size=64)
    return random_model(replace(tiny, autoencoder=autoencoder))


@pytest.mark.parametrize("bottleneck", ["kl", "vq"])
def test_a_perfect_decoder_scores_one(
    bottleneck: str, dataset: Dataset, quantizing: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score is of what `decode` gives for what `encode` gave."""
    loaded = random_model("tiny") if bottleneck == "kl" else quantizing
    autoencoder = loaded.model.autoencoder
    given: list[torch.Tensor] = []
    monkeypatch.setattr(
        autoencoder, "encode", lambda image, noise=None: given.append(image) or image
    )
    monkeypatch.setattr(autoencoder, "decode", lambda latent: latent)
    scores = score_model(loaded, "autoencoder", dataset, 4, "cpu")
    assert scores == {"score": 1.0, "pixel_accuracy": 1.0}
    assert [tuple(image.shape) for image in given] == [(1, 3, 32, 64)] * 4


def test_the_score_is_the_official_one_of_the_counts(
    dataset: Dataset, quantizing: LoadedModel
) -> None:
    counts = count_confusions(quantizing, "autoencoder", dataset, 4, "cpu")
    assert counts.shape == (19, 20)
    assert counts.sum() == 4 * (32 * 64 - 8)  # eight pixels of each are unlabeled
    expected = official_scores(counts)
    assert score_model(quantizing, "autoencoder", dataset, 4, "cpu") == {
        "score": expected.mean_iou, "pixel_accuracy": expected.pixel_accuracy,
    }  # fmt: skip


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


def test_codes_are_counted_per_latent_position(dataset: Dataset, quantizing: LoadedModel) -> None:
    autoencoder = quantizing.model.autoencoder
    quantizer = autoencoder.quantizer
    assert quantizer is not None
    expected = torch.zeros(64, dtype=torch.int64)
    with torch.no_grad():
        masks = []
        for index in (0, 8):
            colors = quantizing.label_set.color_image(dataset.read(index).class_ids)
            masks.append(torch.from_numpy(colors).permute(2, 0, 1)[None].float() / 127.5 - 1)
        vectors = [autoencoder.moments(mask) for mask in masks]
        quantizer.codebook[:8] = vectors[0].permute(0, 2, 3, 1).reshape(-1, 16)
        for vector in vectors:
            for code in quantizer.nearest(vector).flatten().tolist():
                expected[code] += 1
    counts = count_codes(quantizing, dataset, 2, "cpu")
    assert counts.tolist() == expected.tolist()
    assert int(counts.sum()) == 2 * 2 * 4
    assert np.count_nonzero(counts) > 1


def test_a_kl_bottleneck_has_no_codes(dataset: Dataset) -> None:
    with pytest.raises(CamsegError, match="model 'tiny' has a kl bottleneck, which has no codes"):
        count_codes(random_model("tiny"), dataset, 2, "cpu")
