# SPDX-License-Identifier: Apache-2.0
"""What the mask's latent carries: so that nobody takes a network beside it for the diffusion.

A model whose score does not fall when latents are swapped between images segments by other means.

Shapes: L = tokens; Z = channels of a token.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from camseg_core.data.sample import Dataset, spread_indices
from camseg_core.diffusion.options import SamplingOptions
from camseg_core.errors import CamsegError
from camseg_core.evaluation.evaluate import check_label_sets
from camseg_core.evaluation.latent_scores import LatentScores
from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.official import OfficialScores, official_scores
from camseg_core.evaluation.metrics.ratios import finite_or_none
from camseg_core.segmenter import Segmenter
from camseg_core.system.progress import progress_bar


def measure_latent(
    segmenter: Segmenter, dataset: Dataset, options: SamplingOptions, max_images: int = 0
) -> LatentScores:
    """Measure what the latent carries, on images spread evenly over a data set.

    Args:
        segmenter: the model.
        dataset: labelled images of the model's classes.
        options: how to sample; the first of its samples is the latent.
        max_images: largest number of images, at least 2; 0 for all.

    Raises:
        CamsegError: other classes than the model's, fewer than two images, inputs of several sizes,
            no labeled pixel, or a file cannot be read.
    """
    check_label_sets(segmenter, dataset)
    indices = spread_indices(len(dataset), max_images or len(dataset))
    count = len(indices)
    if count < 2:
        raise CamsegError(f"{count} image: at least 2 are needed, latents are swapped between them")
    truths, predicted, encoded = [], [], []
    with progress_bar(count, "image", "latent") as bar:
        for index in indices:
            sample = dataset.read(index)
            truths.append(sample.ground_truth)
            predicted.append(segmenter.predict_latent(sample.image, options))
            encoded.append(segmenter.encode_mask(sample.ground_truth))
            bar.update()

    if len({latent.shape for latent in predicted}) > 1:
        raise CamsegError("latents can be swapped between images of one model input size only")
    classes = segmenter.label_set.num_classes

    def scores(latents: list[torch.Tensor]) -> OfficialScores:
        counts = (
            confusion_counts(truth, segmenter.decode_latent(latent, truth.shape, options), classes)
            for truth, latent in zip(truths, latents, strict=True)
        )
        return official_scores(sum_confusions(counts, classes))

    # Half of the images away: frames of one drive stand beside each other.
    half = count // 2
    own = scores(predicted)
    if math.isnan(own.mean_iou):
        raise CamsegError(f"no labeled pixel in {count} images: there is nothing to score")
    return LatentScores(
        weights=Path(segmenter.loaded.source).name,
        weights_sha256=segmenter.loaded.weights_sha256,
        dataset=dataset.name,
        split=dataset.split,
        images=count,
        autoencoder_mean_iou=scores(encoded).mean_iou,
        latent_sd_ratio=finite_or_none(
            float(torch.stack(predicted).std() / torch.stack(encoded).std())
        ),
        mean_iou=own.mean_iou,
        pixel_accuracy=own.pixel_accuracy,
        latent_only_mean_iou=own.mean_iou,
        swapped_latents_mean_iou=scores([*predicted[half:], *predicted[:half]]).mean_iou,
    )
