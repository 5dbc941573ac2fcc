# SPDX-License-Identifier: Apache-2.0
"""Mean IoU of a model in training, on a few images, by what its stage can do alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camseg_core.data.sample import Dataset, Sample
from camseg_core.diffusion.options import ONE_STEP_PROFILES
from camseg_core.errors import CamsegError
from camseg_core.evaluation.metrics.confusion import confusion_counts
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.images.arrays import UInt8
from camseg_core.images.fit import Fit
from camseg_core.models.palette_decoder import nearest_class, squared_distances
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.training.configuration import StageName
from camseg_core.weights.loading import LoadedModel

Int64 = NDArray[np.int64]
Predict = Callable[[UInt8, UInt8], UInt8]
"""From an image and its true class ids to predicted ones, all at the image's size."""

SAMPLING: dict[StageName, SamplingOptions] = {
    "transformer": SamplingOptions(steps=4, sampler="dpm-solver++", decoder="palette"),
    "finetune": ONE_STEP_PROFILES["accurate"],
}
"""How the stages that segment do it here; the others are given the true mask's latent."""


def score_model(
    loaded: LoadedModel, stage: StageName, dataset: Dataset, max_images: int, device: str
) -> dict[str, float]:
    """Score a model by the official protocol on images spread evenly over a data set.

    ``score`` is the mean IoU: of the reconstructed mask (autoencoder), of the mask decoded from
    the true latent (mask-decoder), or of the predicted mask (transformer, finetune).

    Raises:
        CamsegError: a file cannot be read.
    """
    scores = official_scores(count_confusions(loaded, stage, dataset, max_images, device))
    return {"score": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy}


def count_confusions(
    loaded: LoadedModel, stage: StageName, dataset: Dataset, max_images: int, device: str
) -> Int64:
    """Count true against predicted classes; see `score_model`. Gives int64 [C, C + 1].

    Raises:
        CamsegError: a file cannot be read.
    """
    predict = _predictor(loaded, stage, device)
    total = np.zeros((dataset.label_set.num_classes, dataset.label_set.num_classes + 1), np.int64)
    with torch.inference_mode():
        for sample in _spread(dataset, max_images):
            predicted = predict(sample.image, sample.ground_truth)
            total += confusion_counts(sample.ground_truth, predicted, len(total))
    return total


def count_codes(loaded: LoadedModel, dataset: Dataset, max_images: int, device: str) -> Tensor:
    """Count how often each code of a VQ bottleneck encodes the true masks; return int64 [K].

    Raises:
        CamsegError: the bottleneck has no codes, or a file cannot be read.
    """
    autoencoder = loaded.model.autoencoder.to(device)
    quantizer = autoencoder.quantizer
    if quantizer is None:
        raise CamsegError(f"model {loaded.config.name!r} has a kl bottleneck, which has no codes")
    total = torch.zeros(len(quantizer.codebook), dtype=torch.int64)
    with torch.inference_mode():
        for sample in _spread(dataset, max_images):
            mask, _ = _mask_input(loaded, sample.ground_truth, device)  # [1, 3, H', W']
            codes = quantizer.nearest(autoencoder.moments(mask)).flatten()  # [h w]
            total += codes.cpu().bincount(minlength=len(total))
    return total


def _spread(dataset: Dataset, max_images: int) -> Iterator[Sample]:
    """Read at most ``max_images`` samples, spread evenly."""
    count = min(max_images, len(dataset))
    return (dataset.read(number * len(dataset) // count) for number in range(count))


def _predictor(loaded: LoadedModel, stage: StageName, device: str) -> Predict:
    if stage in SAMPLING:
        segmenter = Segmenter(loaded, device)
        return lambda image, _: segmenter.segment(image, SAMPLING[stage]).class_ids
    model = loaded.model.to(device)
    palette = torch.from_numpy(loaded.label_set.decoding_palette()).to(device)

    def from_truth(image: UInt8, class_ids: UInt8) -> UInt8:
        mask, fit = _mask_input(loaded, class_ids, device)  # [1, 3, H', W']
        latent = model.autoencoder.encode(mask)  # [1, Z, h, w]
        if stage == "autoencoder":
            decoded = model.autoencoder.decode(latent)  # [1, 3, H', W']
            predicted = nearest_class(squared_distances(decoded, palette))[0]
        else:
            features = None
            if model.image_encoder is not None:
                features = model.image_encoder(_tensor(fit.to_input(image), device))[1]
            logits = model.decode_classes(latent, features)  # [1, C, H'/4, W'/4]
            size = (fit.input_height, fit.input_width)
            enlarged = torch.nn.functional.interpolate(logits, size, mode="bilinear")
            predicted = enlarged.max(dim=1)[1][0].to(torch.uint8)
        return fit.from_input(predicted.cpu().numpy())

    return from_truth


def _mask_input(loaded: LoadedModel, class_ids: UInt8, device: str) -> tuple[Tensor, Fit]:
    """Colour true class ids [H, W] as the autoencoder's input [1, 3, H', W'], and how they fit."""
    height, width = class_ids.shape
    fit = Fit.of(height, width, loaded.config.input, loaded.config.stride)
    colors = loaded.label_set.color_image(fit.to_input_ids(class_ids))
    return _tensor(colors, device), fit


def _tensor(image: UInt8, device: str) -> Tensor:
    """Turn RGB uint8 [H, W, 3] into the networks' input [1, 3, H, W] in [-1, 1]."""
    tensor = torch.from_numpy(image.copy()).to(device).permute(2, 0, 1)[None]
    return tensor.float() / 127.5 - 1.0
