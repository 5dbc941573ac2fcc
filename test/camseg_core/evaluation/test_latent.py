# SPDX-License-Identifier: Apache-2.0
"""What the latent carries: numbers of a model whose latents are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camseg_core.cli import main
from camseg_core.data.datasets import open_dataset
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.latent import measure_latent
from camseg_core.labels import CAMVID
from camseg_core.segmenter import Segmenter
from camseg_core.weights.loading import random_model

ONE_STEP = SamplingOptions(steps=1, sampler="ddim", initial_noise_scale=0.0)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("latent") / "drive"
    arguments = ["--frames", "4", "--frames-per-sequence", "1", "--size", "64x32", "--split", "val"]
    assert main(["synth", "--out", str(out), "--seed", "9000", *arguments]) == 0
    return out


def test_a_model_that_knows_the_latent_loses_all_of_it_when_latents_are_swapped(
    drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents that hold the number of the true mask, and a decoder that looks it up."""
    segmenter = Segmenter(random_model("tiny"))
    dataset = open_dataset("cityscapes", drive, "val")
    truths = [dataset.read(index).ground_truth for index in range(4)]
    images = [dataset.read(index).image for index in range(4)]

    def number_of(arrays: list[np.ndarray], wanted: np.ndarray) -> int:
        return next(i for i, array in enumerate(arrays) if np.array_equal(array, wanted))

    def encode(class_ids: np.ndarray) -> torch.Tensor:
        return torch.full((1, 8, 2), float(number_of(truths, class_ids)))

    def predict(image: np.ndarray, _: SamplingOptions) -> torch.Tensor:
        return torch.full((1, 8, 2), 100.0 + 1.5 * number_of(images, image))

    def decode(latent: torch.Tensor, *_: object) -> np.ndarray:
        number = float(latent[0, 0, 0])
        return truths[round((number - 100.0) / 1.5 if number >= 100.0 else number)]

    monkeypatch.setattr(segmenter, "encode_mask", encode)
    monkeypatch.setattr(segmenter, "predict_latent", predict)
    monkeypatch.setattr(segmenter, "decode_latent", decode)
    scores = measure_latent(segmenter, dataset, ONE_STEP)
    assert scores.images == 4
    assert scores.latent_sd_ratio == pytest.approx(1.5)
    assert scores.autoencoder_mean_iou == 1.0
    assert scores.mean_iou == scores.latent_only_mean_iou == scores.pixel_accuracy == 1.0
    assert scores.swapped_latents_mean_iou < 0.7


def test_the_command_writes_its_numbers(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "latent.json"
    arguments = ["--dataset", "cityscapes", "--root", str(drive), "--split", "val"]
    command = ["benchmark", "latent", "--weights", "random:tiny", *arguments, "--json", str(out)]
    assert main([*command, "--spread", "3"]) == 0
    content = json.loads(out.read_text())
    assert content["images"] == 3
    assert content["mean_iou"] == content["latent_only_mean_iou"]
    assert (content["weights"], content["dataset"]) == ("random:tiny", "synthetic")
    assert 0.0 <= content["autoencoder_mean_iou"] <= 1.0


def test_one_image_has_no_other_to_swap_with(drive: Path) -> None:
    segmenter = Segmenter(random_model("tiny"))
    with pytest.raises(CamsegError, match="1 image: at least 2 are needed"):
        measure_latent(segmenter, open_dataset("cityscapes", drive, "val"), ONE_STEP, 1)


def test_other_classes_than_the_model_s_are_refused(drive: Path) -> None:
    dataset = open_dataset("cityscapes", drive, "val")
    other = replace(dataset, label_set=CAMVID)
    with pytest.raises(CamsegError, match="camvid"):
        measure_latent(Segmenter(random_model("tiny")), other, ONE_STEP)


def test_images_without_a_labeled_pixel_are_refused(drive: Path) -> None:
    dataset = open_dataset("cityscapes", drive, "val")
    blank = replace(dataset, read_labels=lambda *_: np.full((32, 64), 255, np.uint8))
    with pytest.raises(CamsegError, match="no labeled pixel in 4 images"):
        measure_latent(Segmenter(random_model("tiny")), blank, ONE_STEP)
