# SPDX-License-Identifier: Apache-2.0
"""Stages: what each trains, its loss against plain computations, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import tiny_config_of_colors, tiny_with_codebook

from camseg_core.errors import CamsegError
from camseg_core.models.camseg import mask_image
from camseg_core.models.mask_autoencoder import MaskAutoencoder
from camseg_core.models.presets import preset
from camseg_core.training.autoencoder_stage import STAGES, make_stage
from camseg_core.training.configuration import LossConfig
from camseg_core.training.draws import BatchDraws
from camseg_core.training.stages import (
    Batch,
    Stage,
    TransformerStage,
    class_losses,
    hidden_share,
    jaccard_loss,
    spread_loss,
)
from camseg_core.weights.loading import LoadedModel, random_model

PREDICTOR = {"transformer", "denoiser", "image_encoder", "fine_condition"}
PARTS = {
    "autoencoder": {"autoencoder", "mask_decoder"},
    "transformer": PREDICTOR,
    "mask-decoder": {"mask_decoder"},
    "finetune": PREDICTOR,
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
        draws=BatchDraws(0, step, count, range(count), torch.device("cpu")),
    )


def autoencoder_of(loaded: LoadedModel) -> MaskAutoencoder:
    assert isinstance(loaded.model.autoencoder, MaskAutoencoder)
    return loaded.model.autoencoder


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


def test_the_autoencoder_reconstructs_classes_from_noised_samples(loaded: LoadedModel) -> None:
    config = LossConfig(kl_weight=0.5, latent_noise=0.8)
    stage, batch = stage_of("autoencoder", loaded, config), batch_of()
    losses = stage(batch)
    posterior = autoencoder_of(loaded).posterior(batch.class_ids)
    shape = posterior.mean.shape[1:]
    sample = posterior.sample(batch.draws.normal("latent", *shape))
    size = 0.8 * batch.draws.normal("size", 1, 1, 1).sigmoid()
    spread = sample.std(dim=(1, 2, 3), keepdim=True)
    noised = sample + size * spread * batch.draws.normal("latent noise", *shape)
    assert loaded.model.mask_decoder is not None
    error = class_losses(loaded.model.mask_decoder(noised), batch.class_ids)["loss"]
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp()),
        torch.distributions.Normal(0.0, 1.0),
    ).sum()
    torch.testing.assert_close(losses["cross_entropy"], error)
    torch.testing.assert_close(losses["kl"], divergence / 2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses["loss"], error + 0.25 * divergence, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses["latent_sd"], sample.std())


def test_the_published_autoencoder_reconstructs_colours_and_images() -> None:
    loaded = random_model(tiny_config_of_colors())
    stage, batch = stage_of("autoencoder", loaded, LossConfig(kl_weight=0.5)), batch_of(1)
    losses = stage(batch)
    colors = loaded.label_set.color_image(batch.class_ids[0].numpy().astype(np.uint8))
    picture = torch.from_numpy(colors).permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.testing.assert_close(mask_image(batch.class_ids, stage.colors), picture)
    both = torch.cat([picture, batch.image])
    autoencoder = loaded.model.color_autoencoder
    posterior = autoencoder.posterior(both)
    noise = [batch.draws.normal(f"latent {part}", *posterior.mean.shape[1:]) for part in (0, 1)]
    error = (autoencoder.decode_raw(posterior.sample(torch.cat(noise))) - both).abs().mean()
    torch.testing.assert_close(losses["reconstruction"], error)
    torch.testing.assert_close(losses["loss"], error + 0.5 * losses["kl"], rtol=1e-4, atol=1e-4)


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


def test_the_jaccard_loss_counts_each_class_of_the_truth_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(2, 5, 4, 6, generator=generator)
    class_ids = torch.randint(0, 4, (2, 4, 6), generator=generator)  # no class 4
    class_ids[0, :2] = 255
    labeled = class_ids != 255
    missing = []
    for one in range(4):
        probability = logits.softmax(dim=1)[:, one][labeled]
        truth = class_ids[labeled] == one
        union = probability.sum() + truth.sum() - probability[truth].sum()
        missing.append(float(1.0 - probability[truth].sum() / union))
    assert float(jaccard_loss(logits, class_ids)) == pytest.approx(np.mean(missing), rel=1e-5)
    assert float(jaccard_loss(logits, torch.full_like(class_ids, 255))) == 0.0

    halves = F.avg_pool2d(logits, 2)  # enlarged by class_losses again
    plain, both = class_losses(halves, class_ids), class_losses(halves, class_ids, 0.5)
    assert "jaccard" not in plain
    torch.testing.assert_close(both["loss"], plain["loss"] + 0.5 * both["jaccard"])


def test_the_spread_loss_asks_only_channels_that_vary_too_little() -> None:
    true = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    predicted = true * torch.tensor([0.5, 0.7, 1.5]) + 4.0
    assert float(spread_loss(predicted, true, 0.7)) == pytest.approx(0.2**2 / 3, abs=1e-6)
    assert float(spread_loss(predicted, true, 0.4)) == 0.0
    still = predicted.clone().requires_grad_()  # true latents of a codebook may not vary at all
    spread_loss(still, torch.ones_like(true), 0.7).backward()
    assert still.grad is not None
    assert torch.equal(still.grad, torch.zeros_like(true))


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


def test_stages_that_a_model_cannot_have_are_refused() -> None:
    with pytest.raises(CamsegError, match="model 'tiny' has no mask decoder to train"):
        stage_of("mask-decoder", random_model(tiny_config_of_colors()))
    tiny = preset("tiny")
    epsilon = random_model(replace(tiny, diffusion=replace(tiny.diffusion, prediction="epsilon")))
    with pytest.raises(CamsegError, match="stage finetune: model 'tiny' predicts epsilon"):
        stage_of("finetune", epsilon)


def test_diffusion_and_cross_entropy_are_weighted(loaded: LoadedModel) -> None:
    config = LossConfig(diffusion_weight=0.25, cross_entropy_weight=3.0)
    losses = stage_of("transformer", loaded, config)(batch_of())
    expected = 0.25 * losses["diffusion"] + 3.0 * losses["cross_entropy"]
    torch.testing.assert_close(losses["loss"], expected)
    held = replace(config, latent_sd_ratio_least=2.0)
    spread = (stage_of("transformer", loaded, held)(batch_of())["loss"] - expected).detach()
    assert float(spread) > 1.0  # the estimates vary less than twice as much as true latents
    colors = stage_of("transformer", random_model(tiny_config_of_colors()), config)(batch_of())
    assert torch.equal(colors["loss"], colors["diffusion"])  # nothing decodes classes there
    assert "cross_entropy" not in colors


def test_pixels_of_visible_tokens_are_not_asked(loaded: LoadedModel) -> None:
    """They are given, so that right answers there would teach nothing."""
    config = LossConfig(mask_share_mean=0.5, mask_share_sd=1e-6, mask_share_least=0.1)
    stage, batch = stage_of("transformer", loaded, config), batch_of()
    asked: list[torch.Tensor] = []

    def watched(logits: torch.Tensor, seen: Batch) -> dict[str, torch.Tensor]:
        asked.append(seen.class_ids)
        return class_losses(logits, seen.class_ids)

    stage.class_losses = watched  # type: ignore[method-assign]  # watched
    losses = stage(batch)
    assert float(losses["hidden_share"]) == 0.5
    for row, image in enumerate(asked[0]):
        tokens = image.view(2, 16, 4, 16).permute(0, 2, 1, 3).reshape(8, -1)
        given = (tokens == 255).all(dim=1)
        assert int(given.sum()) == 4
        unseen = tokens[~given]
        true = batch.class_ids[row].view(2, 16, 4, 16).permute(0, 2, 1, 3).reshape(8, -1)
        assert torch.equal(unseen, true[~given])


@pytest.mark.parametrize(("share", "found"), [(0.0, False), (1.0, True)])
def test_a_share_of_the_estimates_is_made_at_the_noisiest_timestep(
    loaded: LoadedModel, share: float, found: bool
) -> None:
    stage = stage_of("transformer", loaded, LossConfig(noisiest_share=share))
    assert isinstance(stage, TransformerStage)
    timesteps = torch.cat([stage.decoded_timesteps(batch_of(8, step)) for step in range(8)])
    assert bool((timesteps == 999).all()) == found
    if not found:
        assert timesteps.min() < 200
        assert 300 < timesteps.float().mean() < 700


def test_the_finetune_is_what_the_segmenter_does_in_one_step(loaded: LoadedModel) -> None:
    from camseg_core.segmenter import SamplingOptions, Segmenter

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    options = SamplingOptions(steps=1, sampler="ddim", initial_noise_scale=0.0)
    decoded: list[torch.Tensor] = []
    real = loaded.model.decode_classes

    def watched(latent: torch.Tensor) -> torch.Tensor:
        decoded.append(latent.detach())
        return real(latent)

    loaded.model.decode_classes = watched  # type: ignore[method-assign]  # watched
    Segmenter(loaded).segment(image, options)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    draws = BatchDraws(0, 0, 1, [0], torch.device("cpu"))
    class_ids = torch.zeros(1, 32, 64, dtype=torch.int64)
    stage_of("finetune", loaded)(Batch(tensor, class_ids, draws))
    torch.testing.assert_close(*decoded, rtol=1e-4, atol=1e-5)


# A codebook in place of the KL bottleneck


def test_the_codebook_losses_are_those_of_the_paper() -> None:
    loaded = tiny_with_codebook()
    autoencoder = autoencoder_of(loaded)
    config = LossConfig(commitment_weight=0.7, latent_noise=0.0)
    stage, batch = stage_of("autoencoder", loaded, config), batch_of(2)
    assert autoencoder.quantizer is not None
    with torch.no_grad():  # codes among the encoder's vectors, so that several are chosen
        vectors = autoencoder.moments(batch.class_ids)
        autoencoder.quantizer.codebook[:] = vectors.permute(0, 2, 3, 1).reshape(-1, 4)[:32]
        autoencoder.quantizer.codebook += 0.01
    stage.train(False)
    losses = stage(batch)

    moments = autoencoder.moments(batch.class_ids)
    codes = autoencoder.quantizer.nearest(moments)
    quantized = autoencoder.quantizer.look_up(codes)
    squared = (moments - quantized).square().mean()
    assert loaded.model.mask_decoder is not None
    error = class_losses(loaded.model.mask_decoder(quantized), batch.class_ids)["loss"]
    torch.testing.assert_close(losses["cross_entropy"], error)
    torch.testing.assert_close(losses["commitment"], squared)
    torch.testing.assert_close(losses["loss"], error + 1.7 * squared)
    torch.testing.assert_close(losses["latent_sd"], quantized.std())
    shares = torch.unique(codes, return_counts=True)[1] / codes.numel()
    assert int(losses["used_codes"]) == len(shares) > 1
    entropy = -sum(float(share) * math.log(float(share)) for share in shares)
    assert float(losses["perplexity"]) == pytest.approx(math.exp(entropy), rel=1e-5)


def test_gradients_pass_straight_through_the_codebook() -> None:
    """The encoder's gradient is the decoder's at the code plus the commitment's, no other."""
    loaded = tiny_with_codebook()
    autoencoder = autoencoder_of(loaded)
    stage, batch = stage_of("autoencoder", loaded, LossConfig(latent_noise=0.0)), batch_of(1)
    stage.train(False)
    quantizer = autoencoder.quantizer
    assert quantizer is not None
    seen: list[torch.Tensor] = []
    real = autoencoder.moments
    autoencoder.moments = lambda x: seen.append(real(x).requires_grad_()) or seen[0]  # type: ignore[method-assign,func-returns-value]  # watched
    losses = stage(batch)
    seen[0].retain_grad()
    losses["loss"].backward()
    moments = seen[0].detach()
    quantized = quantizer(moments).detach().requires_grad_()
    assert loaded.model.mask_decoder is not None
    error = class_losses(loaded.model.mask_decoder(quantized), batch.class_ids)["loss"]
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
    loaded = tiny_with_codebook(codes=8)
    quantizer = autoencoder_of(loaded).quantizer
    assert quantizer is not None
    stage = stage_of("autoencoder", loaded)
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    stage.train(False)
    stage(batch_of())
    assert all(torch.equal(before[name], now) for name, now in quantizer.state_dict().items())
    stage.train()
    losses = stage(batch_of())
    assert int(losses["used_codes"]) == 8  # 64 vectors, of which 8 became the codes
    assert not torch.equal(before["codebook"], quantizer.codebook)
    assert float(quantizer.usage.mean()) == pytest.approx(1.0)
    assert quantizer.usage.min() < 1.0 < quantizer.usage.max()
    once = quantizer.codebook.detach().clone()
    stage(batch_of())
    assert torch.equal(once, quantizer.codebook)  # none is dead


def test_a_latent_is_a_scaled_sample_of_the_posterior(loaded: LoadedModel) -> None:
    stage, batch = stage_of("transformer", loaded), batch_of(2)
    posterior = autoencoder_of(loaded).posterior(batch.class_ids)
    noise = batch.draws.normal("mask latent", *posterior.mean.shape[1:])
    scale = loaded.config.autoencoder.latent_scale
    torch.testing.assert_close(stage.latent("mask", batch), scale * posterior.sample(noise))


def test_the_transformer_learns_the_scaled_codes_of_the_true_mask() -> None:
    loaded = tiny_with_codebook()
    stage = stage_of("transformer", loaded)
    book = autoencoder_of(loaded).quantizer
    assert book is not None
    latent = stage.latent("mask", batch_of(2))
    scaled = book.codebook.detach() * loaded.config.autoencoder.latent_scale
    vectors = latent.permute(0, 2, 3, 1).flatten(0, 2)
    assert all((vector == scaled).all(dim=1).any() for vector in vectors)
