# SPDX-License-Identifier: Apache-2.0
"""Stages: what each trains, its loss against plain computations, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from camseg_core.errors import CamsegError
from camseg_core.models.autoencoder import GaussianPosterior
from camseg_core.models.image_encoder import Features
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
from camseg_core.weights.loading import LoadedModel, random_model

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


def test_cross_entropy_at_every_second_pixel_starts_at_a_place_of_the_step(
    loaded: LoadedModel,
) -> None:
    stage = stage_of("mask-decoder", loaded, LossConfig(pixel_stride=2))
    logits = torch.randn(2, 19, 8, 16, generator=torch.Generator().manual_seed(0))
    found = set()
    for step in range(12):
        batch = batch_of(2, step)
        loss = float(stage.class_losses(logits, batch)["loss"])
        places = {
            place: float(
                class_losses(logits, batch.class_ids[:, place[0] :: 2, place[1] :: 2])["loss"]
            )
            for place in ((0, 0), (0, 1), (1, 0), (1, 1))
        }
        assert loss in places.values()
        found |= {place for place, value in places.items() if value == loss}
    assert found == {(0, 0), (0, 1), (1, 0), (1, 1)}


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
    decoded: list[tuple[torch.Tensor, ...]] = []
    real = loaded.model.decode_classes

    def watched(latent: torch.Tensor, features: Features) -> torch.Tensor:
        decoded.append((latent.detach(), *(feature.detach() for feature in features)))
        return real(latent, features)

    loaded.model.decode_classes = watched  # type: ignore[method-assign,assignment]  # watched
    Segmenter(loaded).segment(image, options)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    draws = BatchDraws(0, 0, [0], torch.device("cpu"))
    class_ids = torch.zeros(1, 32, 64, dtype=torch.int64)
    stage_of("finetune", loaded)(Batch(tensor, class_ids, draws))
    for used, trained in zip(*decoded, strict=True):
        torch.testing.assert_close(used, trained, rtol=1e-4, atol=1e-5)


# A codebook in place of the KL bottleneck


def with_codebook(codes: int = 32, **changes: object) -> LoadedModel:
    tiny = preset("tiny")
    autoencoder = replace(tiny.autoencoder, bottleneck="vq", codebook_size=codes)
    return random_model(replace(tiny, autoencoder=autoencoder, **changes))  # type: ignore[arg-type]  # parts


def test_the_codebook_stage_trains_the_whole_autoencoder() -> None:
    loaded = with_codebook()
    stage = stage_of("autoencoder", loaded).train()
    stage(batch_of())["loss"].backward()
    names = {name for name, _ in stage.trained_parameters()}
    assert "autoencoder.quantizer.codebook" in names
    for key, parameter in loaded.model.named_parameters():
        assert key.startswith("autoencoder.") == (parameter.grad is not None), key


def test_the_codebook_losses_are_those_of_the_paper() -> None:
    loaded = with_codebook()
    autoencoder = loaded.model.autoencoder
    stage, batch = stage_of("autoencoder", loaded, LossConfig(commitment_weight=0.7)), batch_of(2)
    assert autoencoder.quantizer is not None
    with torch.no_grad():  # codes among the encoder's vectors, so that several are chosen
        vectors = autoencoder.moments(stage.mask_image(batch.class_ids))
        autoencoder.quantizer.codebook[:16] = vectors.permute(0, 2, 3, 1).reshape(-1, 16)
        autoencoder.quantizer.codebook[:16] += 0.01
    stage.train(False)
    losses = stage(batch)

    picture = stage.mask_image(batch.class_ids)
    moments = autoencoder.moments(picture)
    codes = autoencoder.quantizer.nearest(moments)
    quantized = autoencoder.quantizer.look_up(codes)
    squared = (moments - quantized).square().mean()
    error = (autoencoder.decode_raw(quantized) - picture).abs().mean()
    torch.testing.assert_close(losses["reconstruction"], error)
    torch.testing.assert_close(losses["commitment"], squared)
    torch.testing.assert_close(losses["loss"], error + 1.7 * squared)
    torch.testing.assert_close(losses["latent_sd"], quantized.std())
    shares = torch.unique(codes, return_counts=True)[1] / codes.numel()
    assert int(losses["used_codes"]) == len(shares) > 1
    entropy = -sum(float(share) * math.log(float(share)) for share in shares)
    assert float(losses["perplexity"]) == pytest.approx(math.exp(entropy), rel=1e-5)


def test_gradients_pass_straight_through_the_codebook() -> None:
    """The encoder's gradient is the decoder's at the code plus the commitment's, no other."""
    loaded = with_codebook()
    autoencoder = loaded.model.autoencoder
    stage, batch = stage_of("autoencoder", loaded), batch_of(1)
    stage.train(False)
    quantizer = autoencoder.quantizer
    assert quantizer is not None
    seen: list[torch.Tensor] = []
    real = autoencoder.moments
    autoencoder.moments = lambda x: seen.append(real(x).requires_grad_()) or seen[0]  # type: ignore[method-assign,func-returns-value]  # watched
    losses = stage(batch)
    seen[0].retain_grad()
    losses["loss"].backward()
    picture = stage.mask_image(batch.class_ids)
    moments = seen[0].detach()
    quantized = quantizer(moments).detach().requires_grad_()
    error = (autoencoder.decode_raw(quantized) - picture).abs().mean()
    (through,) = torch.autograd.grad(error, quantized)
    commitment = 0.25 * 2 * (moments - quantized.detach()) / moments.numel()
    assert seen[0].grad is not None
    torch.testing.assert_close(seen[0].grad, through + commitment, rtol=1e-4, atol=1e-7)
    codes = quantizer.nearest(moments)
    expected = torch.zeros_like(quantizer.codebook)
    for y, x in np.ndindex(*codes.shape[1:]):
        code = int(codes[0, y, x])
        expected[code] += 2 * (quantizer.codebook[code] - moments[0, :, y, x]) / moments.numel()
    assert quantizer.codebook.grad is not None
    torch.testing.assert_close(quantizer.codebook.grad, expected.detach(), rtol=1e-4, atol=1e-7)


def test_dead_codes_are_restarted_and_usage_counted_in_training_alone() -> None:
    loaded = with_codebook(codes=8)
    quantizer = loaded.model.autoencoder.quantizer
    assert quantizer is not None
    stage = stage_of("autoencoder", loaded)
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    stage.train(False)
    stage(batch_of())
    assert all(torch.equal(before[name], now) for name, now in quantizer.state_dict().items())
    stage.train()
    losses = stage(batch_of())
    assert int(losses["used_codes"]) == 8  # 16 vectors, of which 8 became the codes
    assert not torch.equal(before["codebook"], quantizer.codebook)
    assert float(quantizer.usage.mean()) == pytest.approx(1.0)
    assert quantizer.usage.min() < 1.0 < quantizer.usage.max()
    once = quantizer.codebook.detach().clone()
    stage(batch_of())
    assert torch.equal(once, quantizer.codebook)  # none is dead


def test_a_codebook_serves_images_too_where_one_encoder_serves_both() -> None:
    tiny = preset("tiny")
    shared = with_codebook(
        image_encoder=None, mask_decoder=None,
        transformer=replace(tiny.transformer, image_token_channels=16),
    )  # fmt: skip
    losses = stage_of("autoencoder", shared).train()(batch_of(2))
    assert int(losses["used_codes"]) == 32  # 2 pictures x 2 images x 8 vectors became the codes
    tokens, _ = stage_of("transformer", shared).image_tokens(batch_of(2))
    book = shared.model.autoencoder.quantizer
    assert book is not None
    scaled = book.codebook * shared.config.autoencoder.latent_scale
    assert all((token == scaled).all(dim=1).any() for token in tokens.flatten(0, 1))


def test_a_known_posterior_is_used_as_if_it_were_encoded(loaded: LoadedModel) -> None:
    loaded.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    stage, batch = stage_of("transformer", loaded), batch_of(2)
    posterior = stage.posterior("mask", batch)
    known = GaussianPosterior(posterior.mean.contiguous(), posterior.log_variance.contiguous())
    encoded = stage.latent("mask", batch)
    taken = stage.latent("mask", replace(batch, posteriors={"mask": known}))
    assert torch.equal(encoded, taken)
    # A layout of its own would let what follows sum in another order.
    assert encoded.stride() == taken.stride()
    noise = batch.draws.normal("mask latent", *encoded.shape[1:])
    expected = loaded.model.autoencoder.encode(stage.mask_image(batch.class_ids), noise)
    assert torch.equal(encoded, expected)
    other = GaussianPosterior(known.mean + 1.0, known.log_variance)
    moved = stage.latent("mask", replace(batch, posteriors={"mask": other}))
    scale = loaded.config.autoencoder.latent_scale
    torch.testing.assert_close(moved, taken + scale)


def test_the_transformer_learns_the_scaled_codes_of_the_true_mask() -> None:
    loaded = with_codebook()
    stage = stage_of("transformer", loaded)
    book = loaded.model.autoencoder.quantizer
    assert book is not None
    tokens = stage.mask_tokens(batch_of(2))
    scaled = book.codebook.detach() * loaded.config.autoencoder.latent_scale
    assert all((token == scaled).all(dim=1).any() for token in tokens.flatten(0, 1))
