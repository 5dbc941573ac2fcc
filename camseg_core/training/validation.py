# SPDX-License-Identifier: Apache-2.0
"""Mean IoU of a model in training, on a few images, by what its stage can do alone."""

from __future__ import annotations

from dataclasses import replace

from camseg_core.data.sample import Dataset, spread_indices
from camseg_core.diffusion.options import ONE_STEP
from camseg_core.evaluation.metrics.confusion import confusion_counts, sum_confusions
from camseg_core.evaluation.metrics.official import official_scores
from camseg_core.images.arrays import UInt8
from camseg_core.segmenter import SamplingOptions, Segmenter
from camseg_core.training.configuration import StageName
from camseg_core.weights.loading import LoadedModel

SAMPLING: dict[StageName, SamplingOptions] = {
    "transformer": SamplingOptions(steps=4, sampler="dpm-solver++"),
    "finetune": replace(ONE_STEP, precision="float32"),
}
"""How the stages that segment sample here; the others are given the true mask's latent."""


def score_model(
    loaded: LoadedModel, stage: StageName, dataset: Dataset, max_images: int, device: str
) -> dict[str, float]:
    """Score a model by the official protocol on images spread evenly over a data set.

    ``score`` is the mean IoU: of the mask decoded from the true latent (autoencoder, mask-decoder),
    or of the predicted mask (transformer, finetune).

    Raises:
        CamsegError: a file cannot be read.
    """
    segmenter, options = Segmenter(loaded, device), SAMPLING.get(stage, SamplingOptions())

    def predict(image: UInt8, ground_truth: UInt8) -> UInt8:
        if stage in SAMPLING:
            return segmenter.segment(image, options).class_ids
        latent = segmenter.encode_mask(ground_truth)
        return segmenter.decode_latent(latent, ground_truth.shape, options)

    classes = dataset.label_set.num_classes
    samples = map(dataset.read, spread_indices(len(dataset), max_images))
    counts = (
        confusion_counts(one.ground_truth, predict(one.image, one.ground_truth), classes)
        for one in samples
    )
    scores = official_scores(sum_confusions(counts, classes))
    return {"score": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy}
