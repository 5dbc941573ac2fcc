# SPDX-License-Identifier: Apache-2.0
"""The four stages: which part of the model each trains, and by which loss.

CAM-Seg (arXiv 2503.15617) trains the transformer with its denoiser on the latents of a frozen
autoencoder, as MAR (Li et al. 2024, arXiv 2406.11838). The mask decoder and the one-step fine-tune
(Garcia et al. 2024, arXiv 2409.11355) are ours.

Shapes: B = batch; H, W = model input; h, w = token grid; L = h w tokens; Z, Y = channels of a mask
token and of an image token; C = classes; D = condition width; K = hidden mask tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from camseg_core.diffusion.loss import training_loss
from camseg_core.diffusion.process import Schedule, predicted_x0
from camseg_core.errors import CamsegError
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.models.autoencoder import GaussianPosterior
from camseg_core.models.camseg import CamSeg
from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_core.models.image_encoder import Features
from camseg_core.models.quantizer import VectorQuantizer, perplexity
from camseg_core.models.transformer import latent_from_tokens, tokens_from_latent
from camseg_core.training.configuration import LossConfig, StageName
from camseg_core.training.draws import BatchDraws

LatentSource = Literal["mask", "image"]
"""What the autoencoder encodes: the colour mask, and the image where one encoder serves both."""


@dataclass(frozen=True)
class Batch:
    """Images of one step on the device.

    Attributes:
        image: RGB in [-1, 1], float [B, 3, H, W].
        class_ids: int64 [B, H, W], 255 = unlabeled.
        draws: the images' noise.
        posteriors: posteriors of raw latents, float32 [B, Z, h p, w p], where already known.
    """

    image: Tensor
    class_ids: Tensor
    draws: BatchDraws
    posteriors: Mapping[LatentSource, GaussianPosterior] = field(default_factory=dict)


Losses = dict[str, Tensor]
"""Numbers by name; ``loss`` is what is minimised, the others are for the log."""


class Stage(nn.Module):
    """A part of the model in training: ``forward`` gives the losses of a batch."""

    def __init__(self, model: CamSeg, label_set: LabelSet, loss: LossConfig) -> None:
        """Take a model; only what `trained_parts` names gets gradients."""
        super().__init__()
        self.model = model
        self.loss_config = loss
        self.colors: Tensor
        self.register_buffer(
            "colors", torch.from_numpy(label_set.colors().copy()), persistent=False
        )  # [256, 3]
        model.requires_grad_(False)
        for part in self.trained_parts():
            part.requires_grad_(True)
        for part in self.unused_parts():
            part.requires_grad_(False)

    def trained_parts(self) -> list[nn.Module]:
        """List the modules that this stage trains."""
        raise NotImplementedError

    def unused_parts(self) -> list[nn.Module]:
        """List modules inside of these that the loss does not reach."""
        return []

    def forward(self, batch: Batch) -> Losses:
        """Return the batch's losses."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Stage:
        """Switch dropout on in the trained parts alone: frozen ones stay as they are used."""
        super().train(False)
        for part in self.trained_parts():
            part.train(mode)
        self.training = mode
        return self

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return name (in the model) and tensor of what is trained."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def mask_image(self, class_ids: Tensor) -> Tensor:
        """Colour masks [B, H, W] as the autoencoder's input: [B, 3, H, W] in [-1, 1]."""
        colors = self.colors[class_ids].permute(0, 3, 1, 2)  # [B, 3, H, W]
        return colors.float() / 127.5 - 1.0

    def mask_tokens(self, batch: Batch) -> Tensor:
        """Encode the true masks to scaled latent tokens, posterior samples, float [B, L, Z]."""
        return tokens_from_latent(self.latent("mask", batch), self.model.config.patch_size)

    def image_tokens(self, batch: Batch) -> tuple[Tensor, Features | None]:
        """Encode images: tokens [B, L, Y] and, of the light encoder, features."""
        model = self.model
        if model.image_encoder is not None:
            latent, features = model.image_encoder(batch.image)  # [B, Y, h, w]
            return tokens_from_latent(latent, 1), features
        latent = self.latent("image", batch)  # [B, Z, h p, w p]
        return tokens_from_latent(latent, model.config.patch_size), None

    @torch.no_grad()
    def latent(self, source: LatentSource, batch: Batch) -> Tensor:
        """Draw a scaled latent of each colour mask or image, float32 [B, Z, h p, w p]."""
        posterior = self.posterior(source, batch)
        noise = batch.draws.normal(f"{source} latent", *posterior.mean.shape[1:])
        latent = posterior.sample(noise) * self.model.config.autoencoder.latent_scale
        # One layout, so that a stored posterior takes the same way through what follows, bit by
        # bit; and this one makes tokens rows of memory.
        return latent.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def posterior(self, source: LatentSource, batch: Batch) -> GaussianPosterior:
        """Return the posterior of the raw latents, known or encoded now, float32 [B, Z, h p, w
        p].
        """
        if source in batch.posteriors:
            return batch.posteriors[source]
        encoded = batch.image if source == "image" else self.mask_image(batch.class_ids)
        posterior = self.model.autoencoder.posterior(encoded)
        return GaussianPosterior(posterior.mean.float(), posterior.log_variance.float())

    def class_losses(self, logits: Tensor, batch: Batch) -> Losses:
        """Cross-entropy of logits [B, C, H/4, W/4] on the batch's pixels, see `class_losses`."""
        stride = self.loss_config.pixel_stride
        row, column = batch.draws.shared("pixel").integers(stride, size=2)
        return class_losses(logits, batch.class_ids[:, row::stride, column::stride])

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Return the token grid of images [B, 3, H, W]."""
        stride = self.model.config.stride
        return image.shape[2] // stride, image.shape[3] // stride


class AutoencoderStage(Stage):
    """Reconstruction of colour masks, and of images where one encoder serves both.

    Plus the bottleneck's own loss: KL, or that of a codebook.
    """

    def trained_parts(self) -> list[nn.Module]:
        """List the autoencoder."""
        return [self.model.autoencoder]

    def forward(self, batch: Batch) -> Losses:
        """Absolute error of the pixels plus the bottleneck's loss."""
        images = self.mask_image(batch.class_ids)  # [B, 3, H, W]
        if self.model.image_encoder is None:
            images = torch.cat([images, batch.image])  # [2B, 3, H, W]
        quantizer = self.model.autoencoder.quantizer
        if quantizer is None:
            return self._gaussian_losses(batch, images)
        return self._quantized_losses(batch, images, quantizer)

    def _gaussian_losses(self, batch: Batch, images: Tensor) -> Losses:
        """Add the KL divergence of the posterior from N(0, 1); images [B or 2B, 3, H, W]."""
        autoencoder = self.model.autoencoder
        posterior = autoencoder.posterior(images)
        mean, log_variance = posterior.mean.float(), posterior.log_variance.float()
        noise = torch.cat(
            [
                batch.draws.normal(f"latent {part}", *mean.shape[1:])
                for part in range(len(images) // len(batch.image))
            ]
        )  # [B or 2B, Z, h, w]
        sample = mean + torch.exp(0.5 * log_variance) * noise
        error = (autoencoder.decode_raw(sample).float() - images).abs().mean()
        # Kingma and Welling 2014 (arXiv 1312.6114), appendix B; the sum over an image's latent.
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
        divergence = divergence.sum(dim=(1, 2, 3)).mean()
        return {
            "loss": error + self.loss_config.kl_weight * divergence,
            "reconstruction": error,
            "kl": divergence,
            "latent_sd": mean.std(),
        }

    def _quantized_losses(self, batch: Batch, images: Tensor, quantizer: VectorQuantizer) -> Losses:
        """Add the codebook's and the commitment loss; images [B or 2B, 3, H, W].

        Equation 3 of van den Oord et al. 2017 (arXiv 1711.00937), squared errors as means. The
        decoder's gradient passes straight through to the encoder.
        """
        autoencoder = self.model.autoencoder
        moments = autoencoder.moments(images).float()  # [B or 2B, Z, h, w]
        if self.training:
            everyones = _of_all_processes(moments.detach(), len(batch.image))
            quantizer.restart_dead_codes(everyones, batch.draws.shared("restart"))
        codes = quantizer.nearest(moments)  # [B or 2B, h, w]
        quantized = quantizer.look_up(codes)  # [B or 2B, Z, h, w]
        counts = codes.flatten().bincount(minlength=len(quantizer.codebook))  # [codes]
        if dist.is_initialized():
            dist.all_reduce(counts)
        if self.training:
            quantizer.record_usage(counts)
        codebook_error = F.mse_loss(quantized, moments.detach())
        commitment = F.mse_loss(moments, quantized.detach())
        straight_through = moments + (quantized - moments).detach()  # [B or 2B, Z, h, w]
        error = (autoencoder.decode_raw(straight_through).float() - images).abs().mean()
        weight = self.loss_config.commitment_weight
        return {
            "loss": error + codebook_error + weight * commitment,
            "reconstruction": error,
            "commitment": commitment,
            "perplexity": perplexity(counts),
            "used_codes": (counts > 0).sum(),
            "latent_sd": quantized.std(),
        }


class TransformerStage(Stage):
    """The diffusion loss on hidden mask tokens, given image tokens and the visible mask tokens."""

    def trained_parts(self) -> list[nn.Module]:
        """List transformer, denoiser and the light image encoder where there is one."""
        model = self.model
        parts: list[nn.Module] = [model.transformer, model.denoiser]
        return parts if model.image_encoder is None else [*parts, model.image_encoder]

    def forward(self, batch: Batch) -> Losses:
        """Mean diffusion loss over hidden tokens and noised copies."""
        x0 = self.mask_tokens(batch)  # [B, L, Z]
        length = x0.shape[1]
        hidden = self._hidden(batch, length)  # bool [B, L]
        image_tokens, _ = self.image_tokens(batch)  # [B, L, Y]
        condition = self.model.transformer(image_tokens, x0, hidden, self.grid(batch.image))
        # The loss is a mean over hidden tokens, and per token: the others are not computed.
        condition = condition[:, length:][hidden].float()  # [B K, D]
        x0 = x0[hidden]  # [B K, Z]
        copies = self.loss_config.diffusion_batch_mul
        embedded = self.model.denoiser.embed_condition(condition)  # [B K, W]
        channels = x0.shape[-1]
        timestep = batch.draws.integers("timestep", TRAIN_TIMESTEPS, length, copies)[hidden]
        noise = batch.draws.normal("noise", length, copies, channels)[hidden]
        losses = training_loss(
            lambda x, t: self.model.denoiser.denoise(x, t, embedded.repeat_interleave(copies, 0)),
            self.model.config.diffusion,
            x0.repeat_interleave(copies, dim=0),
            timestep.flatten(),
            noise.flatten(0, 1),
        )  # [B K copies]
        return {"loss": losses.mean(), "hidden_share": hidden.float().mean()}

    def _hidden(self, batch: Batch, length: int) -> Tensor:
        """Choose the hidden mask tokens, bool [B, L]: one share a step, an order per image."""
        count = math.ceil(length * hidden_share(self.loss_config, batch.draws.shared("share")))
        order = batch.draws.order("order", length)  # [B, L]
        hidden = torch.zeros_like(order, dtype=torch.bool)
        return hidden.scatter_(1, order[:, :count], True)


class MaskDecoderStage(Stage):
    """Cross-entropy of the mask decoder on true latents, noised, with frozen image features."""

    def trained_parts(self) -> list[nn.Module]:
        """List the mask decoder."""
        return [_mask_decoder(self.model)]

    def forward(self, batch: Batch) -> Losses:
        """Mean cross-entropy, see `Stage.class_losses`."""
        x0 = self.mask_tokens(batch)  # [B, L, Z]
        features = None
        if self.model.image_encoder is not None:
            with torch.no_grad():
                _, features = self.model.image_encoder(batch.image)
        size = self.loss_config.latent_noise * torch.sigmoid(batch.draws.normal("size", 1, 1))
        noisy = x0 + size * batch.draws.normal("latent noise", *x0.shape[1:])  # [B, L, Z]
        grid, patch_size = self.grid(batch.image), self.model.config.patch_size
        latent = latent_from_tokens(noisy, grid, patch_size)  # [B, Z, h, w]
        return self.class_losses(self.model.decode_classes(latent, features), batch)


class FinetuneStage(Stage):
    """One step end to end: zero noise, one denoiser call, cross-entropy of the mask decoder."""

    def trained_parts(self) -> list[nn.Module]:
        """List all but the autoencoder, and but the image encoder where it is frozen."""
        model = self.model
        parts: list[nn.Module] = [model.transformer, model.denoiser, _mask_decoder(model)]
        if model.image_encoder is not None and not self.loss_config.freeze_image_encoder:
            parts.append(model.image_encoder)
        return parts

    def unused_parts(self) -> list[nn.Module]:
        """List the projection of mask tokens: none of them is visible."""
        return [self.model.transformer.z_proj2]

    def forward(self, batch: Batch) -> Losses:
        """Mean cross-entropy, see `Stage.class_losses`."""
        model = self.model
        image_tokens, features = self.image_tokens(batch)
        grid = self.grid(batch.image)
        length = image_tokens.shape[1]
        condition = model.transformer(image_tokens, grid=grid)[:, length:].float()  # [B, L, D]
        first = model.config.diffusion.first_timestep
        zero = condition.new_zeros(*condition.shape[:2], model.config.transformer.token_channels)
        timestep = torch.full((1,), first, device=zero.device)
        embedded = model.denoiser.embed_condition(condition)  # [B, L, W]
        output = model.denoiser.denoise(zero, timestep, embedded)  # [B, L, 2Z]
        alpha_bar = Schedule.respaced(1, first).alphas_cumprod[0]
        x0 = predicted_x0("v", output.chunk(2, dim=-1)[0].float(), zero, alpha_bar)  # [B, L, Z]
        latent = latent_from_tokens(x0, grid, model.config.patch_size)  # [B, Z, h, w]
        return self.class_losses(model.decode_classes(latent, features), batch)


STAGES: dict[StageName, type[Stage]] = {
    "autoencoder": AutoencoderStage,
    "transformer": TransformerStage,
    "mask-decoder": MaskDecoderStage,
    "finetune": FinetuneStage,
}


def make_stage(name: StageName, model: CamSeg, label_set: LabelSet, loss: LossConfig) -> Stage:
    """Put a model into training.

    Raises:
        CamsegError: the model lacks a part that the stage trains, or predicts epsilon where the
            fine-tune needs v.
    """
    if name == "finetune" and model.config.diffusion.prediction != "v":
        raise CamsegError(
            f"stage finetune: model {model.config.name!r} predicts epsilon, from which one step at "
            "the noisiest timestep cannot be trained; a model that predicts v is needed"
        )
    return STAGES[name](model, label_set, loss)


def class_losses(logits: Tensor, class_ids: Tensor) -> Losses:
    """Cross-entropy of logits [B, C, H/4, W/4], enlarged, with class ids [B, H', W'].

    The mean over all pixels, unlabeled ones counting 0: parts of a batch, on other processes or
    accumulated, then add up to the whole batch's.
    """
    enlarged = F.interpolate(
        logits.float(), class_ids.shape[1:], mode="bilinear", align_corners=False
    )  # [B, C, H', W']
    summed = F.cross_entropy(enlarged, class_ids, ignore_index=UNLABELED, reduction="sum")
    with torch.no_grad():
        right = (enlarged.max(dim=1)[1] == class_ids).sum()
    return {"loss": summed / class_ids.numel(), "accuracy": right / class_ids.numel()}


def _of_all_processes(latent: Tensor, images: int) -> Tensor:
    """Join the latents of all processes, in the order in which one process would have them.

    Args:
        latent: [P B, Z, h, w], of P sources an image.
        images: number of images of this process, B.

    Returns:
        [P B W, Z, h, w] with W processes, of which each has every W-th image.
    """
    if not dist.is_initialized():
        return latent
    parts = [torch.empty_like(latent) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, latent.contiguous())
    return rearrange(parts, "w (p b) z y x -> (p b w) z y x", b=images)  # [P B W, Z, h, w]


def hidden_share(config: LossConfig, random: np.random.Generator) -> float:
    """Draw the share of hidden mask tokens: a normal truncated to [least, 1], by rejection."""
    while True:
        share = float(random.normal(config.mask_share_mean, config.mask_share_sd))
        if config.mask_share_least <= share <= 1.0:
            return share


def _mask_decoder(model: CamSeg) -> nn.Module:
    if model.mask_decoder is None:
        raise CamsegError(
            f"model {model.config.name!r} has no mask decoder to train; choose another preset"
        )
    return model.mask_decoder
