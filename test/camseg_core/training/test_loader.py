# SPDX-License-Identifier: Apache-2.0
"""Batches: samples come at the model's own input, then augmented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from augmentations import STILL

from camseg_core.data.datasets import open_dataset
from camseg_core.data.label_set_files import find_label_set
from camseg_core.data.sample import Dataset
from camseg_core.images.fit import Fit
from camseg_core.models.configs import InputConfig, ModelConfig
from camseg_core.models.presets import preset
from camseg_core.training.augmentation import AugmentationConfig, augment
from camseg_core.training.draws import SampleOrder, generator
from camseg_core.training.loader import LoadedBatch, Loader
from camseg_core.training.stages import class_losses

TINY = preset("tiny")
UNCHANGED = replace(STILL, crop_size=(32, 64))


def open_folder(root: Path) -> Dataset:
    return open_dataset("folder", root, "all", label_set=find_label_set("cityscapes-train-ids"))


def dataset_of(root: Path, *sizes: tuple[int, int]) -> Dataset:
    """Write one noisy labelled image of each size (height, width)."""
    random = np.random.default_rng(0)
    for index, (height, width) in enumerate(sizes):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        class_ids = random.integers(0, 19, (height, width), np.uint8)
        for folder, picture in (("images", image), ("labels", class_ids)):
            (root / folder).mkdir(exist_ok=True, parents=True)
            assert cv2.imwrite(str(root / folder / f"{index}.png"), picture)
    return open_folder(root)


def load(
    dataset: Dataset,
    augmentation: AugmentationConfig = UNCHANGED,
    model: ModelConfig = TINY,
    batch_size: int = 1,
) -> LoadedBatch:
    loader = Loader(
        dataset, augmentation, model, seed=3, batch_size=batch_size, rank=0, world_size=1, workers=1
    )
    (batch,) = loader.batches(0, 1)
    return batch


@pytest.mark.parametrize("size", [(50, 80), (32, 64), (64, 128), (33, 41), (375, 1242), (8, 9)])
@pytest.mark.parametrize("policy", ["pad", "squash"])
def test_unchanged_samples_are_what_the_model_meets_at_inference(
    tmp_path: Path, size: tuple[int, int], policy: str
) -> None:
    dataset = dataset_of(tmp_path, size)
    model = replace(TINY, input=InputConfig(policy, 32, 64))  # type: ignore[arg-type]  # of the policies
    fit = Fit.of(*size, model.input, model.stride)
    augmentation = replace(UNCHANGED, crop_size=(fit.input_height, fit.input_width))
    batch, sample = load(dataset, augmentation, model), dataset.read(0)
    np.testing.assert_array_equal(batch.images[0], fit.to_input(sample.image))
    np.testing.assert_array_equal(batch.class_ids[0], fit.to_input_ids(sample.class_ids))
    inside = np.zeros((fit.input_height, fit.input_width), bool)
    inside[: fit.scaled_height, : fit.scaled_width] = True
    np.testing.assert_array_equal(batch.class_ids[0] == 255, ~inside)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_padding_and_what_lies_around_it_bear_no_loss(tmp_path: Path, flip: float) -> None:
    # 20 x 100 becomes 13 x 64, padded to 16 x 64, somewhere in the window of 32 x 64.
    dataset = dataset_of(tmp_path, (20, 100))
    batch = load(dataset, replace(UNCHANGED, flip_probability=flip)).to_device(
        0, torch.device("cpu"), slice(None)
    )
    labeled = batch.class_ids[0] != 255
    assert labeled.sum() == 13 * 64
    rows = labeled.any(dim=1).nonzero()
    assert rows.max() - rows.min() == 12
    logits = torch.zeros(1, 19, 32, 64, requires_grad=True)  # not enlarged: pixels stay apart
    class_losses(logits, batch.class_ids)["loss"].backward()
    assert logits.grad is not None
    np.testing.assert_array_equal((logits.grad[0] != 0).any(dim=0), labeled)


def test_samples_of_the_models_size_are_augmented_as_they_are(drawn_root: Path) -> None:
    dataset = open_folder(drawn_root)
    augmentation = AugmentationConfig(crop_size=(32, 64))
    batch = load(dataset, augmentation, batch_size=16)
    order = SampleOrder(16, 3)
    for place in range(16):
        sample = dataset.read(order.index(place))
        image, class_ids = augment(
            sample.image, sample.class_ids, augmentation, generator(3, "augmentation", place)
        )
        np.testing.assert_array_equal(batch.images[place], image)
        np.testing.assert_array_equal(batch.class_ids[place], class_ids)


def test_sources_of_several_sizes_make_one_batch(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, (32, 64), (50, 80), (20, 100), (128, 256))
    assert load(dataset, batch_size=8).images.shape == (8, 32, 64, 3)
