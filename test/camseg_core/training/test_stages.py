# SPDX-License-Identifier: Apache-2.0
"""Stages: what each trains, its loss against plain computations, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from camseg_core.checkpoint import LoadedModel, random_model
from camseg_core.errors import CamsegError
from camseg_core.models.presets import preset
from camseg_core.training.configuration import LossConfig
from camseg_core.training.draws import BatchDraws
from camseg_core.training.stages import (
    STAGES,
    Batch,
    Stage,
    class_losses,
    hidden_share,
    make_stage,
)

PARTS = {
    "autoencoder": {"autoencoder"},
    "transformer": {"transformer", "denoiser", "image_encoder"},
    "mask-decoder": {"mask_decoder"},
    "finetune": {"transformer", "denoiser", "image_encoder", "mask_decoder"},
}


@pytest.fixture
def loaded() -> LoadedModel:
    return random_model("tiny")


def batch_of(count: int = 2, step: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    class_ids = torch.randint(0, 19, (count, 32, 64), generator=generator)
    class_ids[:, :4] = 255
    return Batch(
        image=torch.rand(count, 3, 32, 64, generator=generator) * 2 - 1,
        class_ids=class_ids,
        draws=BatchDraws(0, step, list(range(count)), torch.device("cpu")),
    )


def stage_of(name: str, loaded: LoadedModel, loss: LossConfig | None = None) -> Stage:
    return make_stage(name, loaded.model, loaded.label_set, loss or LossConfig())  # type: ignore[arg-type]  # of STAGES


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_its_parts_and_no_others(name: str, loaded: LoadedModel) -> None:
    stage = stage_of(name, loaded).train()
    stage(batch_of())["loss"].backward()
    trained = {name for name, _ in stage.trained_parameters()}
    assert {key.partition(".")[0] for key in trained} == PARTS[name]
    for key, parameter in loaded.model.named_parameters():
        assert (parameter.grad is not None) == (key in trained), key
    modes = {key: part.training for key, part in loaded.model.named_children()}
    assert {key for key, training in modes.items() if training} == PARTS[name]


def test_a_frozen_image_encoder_is_left_alone(loaded: LoadedModel) -> None:
    stage = stage_of("finetune", loaded, LossConfig(freeze_image_encoder=True))
    assert not any("image_encoder" in name for name, _ in stage.trained_parameters())


@pytest.mark.parametrize("name", STAGES)
def test_images_of_a_batch_count_alike(name: str, loaded: LoadedModel) -> None:
    """The loss of a batch is the mean of its images' losses."""
    stage = stage_of(name, loaded)
    whole = stage(batch_of(2))["loss"]
    batch = batch_of(2)
    alone = [
        stage(
            Batch(
                batch.image[index : index + 1],
                batch.class_ids[index : index + 1],
                BatchDraws(0, 0, [index], torch.device("cpu")),
            )
        )["loss"]
        for index in range(2)
    ]
    torch.testing.assert_close(whole, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-6)


def test_the_autoencoder_reconstructs_colours(loaded: LoadedModel) -> None:
    stage, batch = stage_of("autoencoder", loaded, LossConfig(kl_weight=0.5)), batch_of(1)
    losses = stage(batch)
    colors = loaded.label_set.color_image(batch.class_ids[0].numpy().astype(np.uint8))
    picture = torch.from_numpy(colors).permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(stage.mask_image(batch.class_ids), picture)
    posterior = loaded.model.autoencoder.posterior(picture)
    noise = batch.draws.normal("latent 0", *posterior.mean.shape[1:])
    decoded = loaded.model.autoencoder.decode_raw(posterior.sample(noise))
    error = (decoded - picture).abs().mean()
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp()),
        torch.distributions.Normal(0.0, 1.0),
    ).sum()
    torch.testing.assert_close(losses["reconstruction"], error)
    torch.testing.assert_close(losses["kl"], divergence, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses["loss"], error + 0.5 * divergence, rtol=1e-4, atol=1e-4)


def test_one_encoder_for_both_reconstructs_images_too() -> None:
    tiny = preset("tiny")
    transformer = replace(tiny.transformer, image_token_channels=16)
    shared = random_model(
        replace(tiny, image_encoder=None, mask_decoder=None, transformer=transformer)
    )
    seen: list[int] = []
    real = shared.model.autoencoder.decode_raw
    shared.model.autoencoder.decode_raw = lambda x: seen.append(len(x)) or real(x)  # type: ignore[method-assign,func-returns-value]  # watched
    stage_of("autoencoder", shared)(batch_of(2))
    assert seen == [4]


def test_the_share_of_hidden_tokens_is_a_truncated_normal() -> None:
    random, config = np.random.default_rng(0), LossConfig()
    shares = np.array([hidden_share(config, random) for _ in range(4000)])
    assert shares.min() >= 0.7
    assert shares.max() <= 1.0
    # Half of a normal around 1, cut at 1.2 standard deviations.
    z = 1.2
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    mass = 0.5 * math.erf(z / math.sqrt(2))
    mean = 1.0 - 0.25 * (1 / math.sqrt(2 * math.pi) - density) / mass
    assert shares.mean() == pytest.approx(mean, abs=0.004)


def test_the_same_number_of_tokens_is_hidden_in_each_image(loaded: LoadedModel) -> None:
    stage = stage_of("transformer", loaded)
    shares = {round(float(stage(batch_of(2, step))["hidden_share"]), 6) for step in range(6)}
    assert len(shares) > 1
    assert all((share * 8) % 1 == pytest.approx(0, abs=1e-5) for share in shares)
    assert min(shares) >= 0.7


def test_cross_entropy_is_the_mean_over_all_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 2, 3, generator=generator)
    class_ids = torch.randint(0, 5, (2, 8, 12), generator=generator)
    class_ids[0, :2] = 255
    losses = class_losses(logits, class_ids)
    enlarged = F.interpolate(logits, (8, 12), mode="bilinear")
    total, right = 0.0, 0
    for image, y, x in np.ndindex(2, 8, 12):
        true = int(class_ids[image, y, x])
        if true != 255:
            total -= float(enlarged[image, :, y, x].log_softmax(0)[true])
            right += int(enlarged[image, :, y, x].argmax() == true)
    assert float(losses["loss"]) == pytest.approx(total / (2 * 8 * 12), rel=1e-5)
    assert float(losses["accuracy"]) == pytest.approx(right / (2 * 8 * 12))


def test_stages_that_a_model_cannot_have_are_refused(loaded: LoadedModel) -> None:
    plain = random_model(replace(preset("tiny"), mask_decoder=None))
    with pytest.raises(CamsegError, match="model 'tiny' has no mask decoder to train"):
        stage_of("mask-decoder", plain)
    tiny = preset("tiny")
    epsilon = random_model(replace(tiny, diffusion=replace(tiny.diffusion, prediction="epsilon")))
    with pytest.raises(CamsegError, match="stage finetune: model 'tiny' predicts epsilon"):
        stage_of("finetune", epsilon)


def test_the_finetune_is_what_the_segmenter_does_in_one_step(loaded: LoadedModel) -> None:
    from camseg_core.segmenter import SamplingOptions, Segmenter

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    options = SamplingOptions(steps=1, sampler="ddim", initial_noise_scale=0.0)
    decoded: list[tuple[torch.Tensor, torch.Tensor]] = []
    real = loaded.model.decode_classes

    def watched(latent: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        decoded.append((latent.detach(), features.detach()))
        return real(latent, features)

    loaded.model.decode_classes = watched  # type: ignore[method-assign,assignment]  # watched
    Segmenter(loaded).segment(image, options)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    draws = BatchDraws(0, 0, [0], torch.device("cpu"))
    class_ids = torch.zeros(1, 32, 64, dtype=torch.int64)
    stage_of("finetune", loaded)(Batch(tensor, class_ids, draws))
    for used, trained in zip(*decoded, strict=True):
        torch.testing.assert_close(used, trained, rtol=1e-4, atol=1e-5)
