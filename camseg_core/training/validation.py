# SPDX-License-Identifier: Apache-2.0
"""Mean IoU of a model in training, on a few images, by what its stage can do alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camseg_core.checkpoint import LoadedModel
from camseg_core.data.sample import Dataset
from camseg_core.evaluation.confusion import confusion_counts
from camseg_core.evaluation.metrics import official_scores
from camseg_core.geometry import Fit
from camseg_core.palette import nearest_class, squared_distances
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.training.configuration import StageName

UInt8 = NDArray[np.uint8]
Predict = Callable[[UInt8, UInt8], UInt8]
"""From an image and its true class ids to predicted ones, all at the image's size."""

SAMPLING: dict[StageName, SamplingOptions] = {
    "transformer": SamplingOptions(steps=4, sampler="dpm-solver++", decoder="palette"),
    "finetune": SamplingOptions(steps=1, sampler="ddim", initial_noise_scale=0.0, decoder="mask"),
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
    predict = _predictor(loaded, stage, device)
    count = min(max_images, len(dataset))
    total = np.zeros((dataset.label_set.num_classes, dataset.label_set.num_classes + 1), np.int64)
    with torch.inference_mode():
        for number in range(count):
            sample = dataset.read(number * len(dataset) // count)
            predicted = predict(sample.image, sample.class_ids)
            total += confusion_counts(sample.class_ids, predicted, len(total))
    scores = official_scores(total)
    return {"score": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy}


def _predictor(loaded: LoadedModel, stage: StageName, device: str) -> Predict:
    if stage in SAMPLING:
        segmenter = Segmenter(loaded, device)
        return lambda image, _: segmenter.segment(image, SAMPLING[stage]).class_ids
    model = loaded.model.to(device)
    palette = torch.from_numpy(loaded.label_set.decoding_palette()).to(device)

    def from_truth(image: UInt8, class_ids: UInt8) -> UInt8:
        height, width = class_ids.shape
        fit = Fit.of(height, width, model.config.input, model.config.stride)
        colors = loaded.label_set.color_image(fit.to_input_ids(class_ids))
        latent = model.autoencoder.encode(_tensor(colors, device))  # [1, Z, h, w]
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


def _tensor(image: UInt8, device: str) -> Tensor:
    """Turn RGB uint8 [H, W, 3] into the networks' input [1, 3, H, W] in [-1, 1]."""
    tensor = torch.from_numpy(image.copy()).to(device).permute(2, 0, 1)[None]
    return tensor.float() / 127.5 - 1.0
