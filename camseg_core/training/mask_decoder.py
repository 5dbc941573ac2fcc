# SPDX-License-Identifier: Apache-2.0
"""A mask decoder for published weights, which decode colours at a hundred times its price."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from camseg_core.system.processes import ProcessRank
from camseg_core.training.augmentation import AugmentationConfig
from camseg_core.training.configuration import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    TrainingConfig,
)
from camseg_core.training.start import model_of_run, train
from camseg_core.weights.loading import LoadedModel, save_model

CROP_PIXELS = 256
"""Side of the pieces of masks that are trained on: a whole mask costs nine times as much."""


def with_trained_mask_decoder(
    loaded: LoadedModel, drive: Path, beside: Path, steps: int
) -> LoadedModel:
    """Return the model with a mask decoder, trained on the labels of a drive.

    Only true masks are read, so that no image of the weights' own data is needed; everything but
    the decoder stays as it is. The latents are noised, as predicted ones are.

    Args:
        loaded: weights of the classes of Cityscapes.
        drive: a folder in the layout of Cityscapes.
        beside: a file, beside which the run is kept while it lasts.
        steps: optimizer steps.

    Raises:
        CamsegError: the drive or a setting is not usable.
        TrainingDiverged: a loss was no finite number.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent) as folder:
        start = Path(folder) / "start.safetensors"
        save_model(loaded, start)
        size = loaded.config.input
        crop = min(CROP_PIXELS, size.height), min(CROP_PIXELS, size.width)
        config = TrainingConfig(
            stage="mask-decoder",
            init_from=str(start),
            steps=steps,
            batch_size=4,
            precision="bfloat16",
            save_every=steps,
            output_dir=folder,
            data=DataConfig(
                dataset="cityscapes",
                root=str(drive),
                validation_split="",
                workers=1,
                augmentation=AugmentationConfig(crop_size=crop),
            ),
            loss=LossConfig(latent_noise=0.3),
            optimizer=OptimizerConfig(
                learning_rate=1e-3, warmup_steps=min(50, steps), decay="cosine", ema_decay=0.99
            ),
        )
        run = train(config, ProcessRank.from_environment())
        trained = model_of_run(run, "last")
    facts = {"mask_decoder": {"steps": steps, "labels": drive.name}}
    return replace(loaded, model=trained.model, provenance=loaded.provenance | facts)
