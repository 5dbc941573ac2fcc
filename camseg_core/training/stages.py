# SPDX-License-Identifier: Apache-2.0
"""The stages that train on latents: which part of the model each trains, and by which loss.

CAM-Seg (arXiv 2503.15617) trains the transformer with its denoiser on the latents of a frozen
autoencoder, as MAR (Li et al. 2024, arXiv 2406.11838). The mask decoder and the one-step fine-tune
(Garcia et al. 2024, arXiv 2409.11355) are ours.

Shapes: B = batch; H, W = model input; h, w = token grid; L = h w tokens; Z, Y = channels of a mask
token and of an image token; C = classes; D = condition width; K = hidden mask tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from camseg_core.diffusion.loss import training_loss
from camseg_core.diffusion.process import FULL_SCHEDULE, noised, predicted_x0
from camseg_core.errors import CamsegError
from camseg_core.labels import UNLABELED, LabelSet
from camseg_core.models.camseg import CamSeg
from camseg_core.models.configs import TRAIN_TIMESTEPS
from camseg_core.models.image_encoder import Features
from camseg_core.models.mask_decoder import MaskDecoder
from camseg_core.models.transformer import latent_from_tokens, tokens_from_latent
from camseg_core.training.configuration import LossConfig
from camseg_core.training.draws import BatchDraws


@dataclass(frozen=True)
class Batch:
    """Images of one step on the device.

    Attributes:
        image: RGB in [-1, 1], float [B, 3, H, W].
        class_ids: int64 [B, H, W], 255 = unlabeled.
        draws: the images' noise.
    """

    image: Tensor
    class_ids: Tensor
    draws: BatchDraws


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
    def latent(self, source: Literal["mask", "image"], batch: Batch) -> Tensor:
        """Draw a scaled latent of each true mask or image, float32 [B, Z, h p, w p]."""
        if source == "mask":
            posterior = self.model.mask_posterior(batch.class_ids, self.colors)
        else:
            posterior = self.model.color_autoencoder.posterior(batch.image)
        noise = batch.draws.normal(f"{source} latent", *posterior.mean.shape[1:])
        return posterior.sample(noise).float() * self.model.config.autoencoder.latent_scale

    def class_losses(self, logits: Tensor, batch: Batch) -> Losses:
        """Loss of logits [B, C, H/2, W/2] on the batch's pixels, see `class_losses`."""
        stride = self.loss_config.pixel_stride
        row, column = batch.draws.shared("pixel").integers(stride, size=2)
        class_ids = batch.class_ids[:, row::stride, column::stride]  # [B, H', W']
        return class_losses(logits, class_ids, self.loss_config.jaccard_weight)

    def disturbed(self, latent: Tensor, batch: Batch) -> Tensor:
        """Add noise of a random degree to latents [B, Z, h, w] of standard deviation 1."""
        size = self.loss_config.latent_noise * torch.sigmoid(batch.draws.normal("size", 1, 1, 1))
        return latent + size * batch.draws.normal("latent noise", *latent.shape[1:])

    def grid(self, image: Tensor) -> tuple[int, int]:
        """Return the token grid of images [B, 3, H, W]."""
        stride = self.model.config.stride
        return image.shape[2] // stride, image.shape[3] // stride


class TransformerStage(Stage):
    """The diffusion loss on hidden mask tokens, given image tokens and the visible mask tokens.

    Where the model has a mask decoder, which stays as it is, the cross-entropy of the decoded
    estimate of the clean latent is added, at a random timestep of each image: it keeps latents
    meaningful, the diffusion loss keeps them in the distribution of true ones.
    """

    def trained_parts(self) -> list[nn.Module]:
        """List transformer, denoiser, and the light image encoder with what reads it."""
        model = self.model
        parts = [model.transformer, model.denoiser, model.image_encoder, model.fine_condition]
        return [part for part in parts if part is not None]

    def forward(self, batch: Batch) -> Losses:
        """Weighted sum of the mean diffusion loss, `class_losses` and `spread_loss`."""
        model, config = self.model, self.loss_config
        x0 = self.mask_tokens(batch)  # [B, L, Z]
        hidden = self.hidden(batch, x0.shape[1])  # bool [B, L]
        image_tokens, features = self.image_tokens(batch)  # [B, L, Y]
        condition = model.condition(
            image_tokens, features, x0, hidden, self.grid(batch.image)
        )  # [B, L, D]
        embedded = model.denoiser.embed_condition(condition.float())  # [B, L, W]
        true = x0[hidden]  # [N, Z]
        diffusion = self._diffusion_loss(batch, true, embedded[hidden], hidden)
        losses = {"diffusion": diffusion, "hidden_share": hidden.float().mean()}
        if model.mask_decoder is None:
            return {**losses, "loss": diffusion}
        estimate = self._estimate(batch, x0, embedded)  # [B, L, Z]
        estimated = estimate[hidden]  # [N, Z]
        losses["latent_sd_ratio"] = estimated.detach().std() / true.std()
        losses["spread"] = spread_loss(estimated, true, config.latent_sd_ratio_least)
        estimate = torch.where(hidden[..., None], estimate, x0)  # [B, L, Z]
        patch_size, grid = model.config.patch_size, self.grid(batch.image)
        latent = latent_from_tokens(estimate, grid, patch_size)  # [B, Z', h, w]
        decoded = self.class_losses(
            model.decode_classes(latent), self._hidden_pixels(batch, hidden)
        )
        return {
            **losses,
            **decoded,
            "loss": config.diffusion_weight * diffusion
            + config.cross_entropy_weight * decoded["loss"]
            + losses["spread"],
        }

    def hidden(self, batch: Batch, length: int) -> Tensor:
        """Choose the hidden mask tokens, bool [B, L]: one share a step, an order per image."""
        count = math.ceil(length * hidden_share(self.loss_config, batch.draws.shared("share")))
        order = batch.draws.order("order", length)  # [B, L]
        hidden = torch.zeros_like(order, dtype=torch.bool)
        return hidden.scatter_(1, order[:, :count], True)

    def decoded_timesteps(self, batch: Batch) -> Tensor:
        """Draw the timestep of each image's decoded estimate, int64 [B]."""
        first = self.model.config.diffusion.first_timestep
        timestep = batch.draws.integers("decoded timestep", first + 1, 1)[:, 0]  # [B]
        noisiest = batch.draws.uniform("noisiest", 1)[:, 0] < self.loss_config.noisiest_share  # [B]
        return timestep.masked_fill(noisiest, first)

    def _diffusion_loss(self, batch: Batch, x0: Tensor, embedded: Tensor, hidden: Tensor) -> Tensor:
        """Average the diffusion loss over hidden tokens [N, Z], with embedded conditions [N, W]."""
        length, channels = hidden.shape[1], x0.shape[-1]
        copies = self.loss_config.diffusion_batch_mul
        timestep = batch.draws.integers("timestep", TRAIN_TIMESTEPS, length, copies)[hidden]
        noise = batch.draws.normal("noise", length, copies, channels)[hidden]  # [N, copies, Z]
        repeated = embedded.repeat_interleave(copies, dim=0)  # [N copies, W]
        losses = training_loss(
            lambda x, t: self.model.denoiser.denoise(x, t, repeated).float(),
            self.model.config.diffusion,
            x0.repeat_interleave(copies, dim=0),
            timestep.flatten(),
            noise.flatten(0, 1),
        )  # [N copies]
        return losses.mean()

    def _estimate(self, batch: Batch, x0: Tensor, embedded: Tensor) -> Tensor:
        """Estimate clean tokens from noised ones, [B, L, Z], in one denoiser call."""
        timestep = self.decoded_timesteps(batch)  # [B]
        alpha_bar = FULL_SCHEDULE.alphas_cumprod[timestep.cpu().numpy()][:, None, None]  # [B, 1, 1]
        x = self.noised(batch, x0, alpha_bar)  # [B, L, Z]
        repeated = timestep[:, None].expand(x0.shape[:2])  # [B, L]
        output = self.model.denoiser.denoise(
            x.flatten(0, 1), repeated.flatten(), embedded.flatten(0, 1)
        )  # [B L, 2Z]
        predicted = output.float().chunk(2, dim=-1)[0].view_as(x)  # [B, L, Z]
        return predicted_x0(self.model.config.diffusion.prediction, predicted, x, alpha_bar)

    def noised(self, batch: Batch, x0: Tensor, alpha_bar: NDArray[np.float64]) -> Tensor:
        """Noise clean tokens [B, L, Z] to the degree that ``alpha_bar`` [B, 1, 1] says."""
        return noised(x0, batch.draws.normal("decoded noise", *x0.shape[1:]), alpha_bar)

    def _hidden_pixels(self, batch: Batch, hidden: Tensor) -> Batch:
        """Return the batch with the pixels of visible tokens unlabeled: they are given."""
        rows, columns = self.grid(batch.image)
        stride = self.model.config.stride
        visible = ~hidden.view(-1, rows, columns)  # [B, rows, columns]
        visible = visible.repeat_interleave(stride, 1).repeat_interleave(stride, 2)  # [B, H, W]
        return replace(batch, class_ids=batch.class_ids.masked_fill(visible, UNLABELED))


class MaskDecoderStage(Stage):
    """Cross-entropy of the mask decoder on true latents, noised."""

    def trained_parts(self) -> list[nn.Module]:
        """List the mask decoder."""
        return [mask_decoder_of(self.model)]

    def forward(self, batch: Batch) -> Losses:
        """Loss of the decoded classes, see `Stage.class_losses`."""
        latent = self.latent("mask", batch)  # [B, Z, h, w]
        return self.class_losses(self.model.decode_classes(self.disturbed(latent, batch)), batch)


class FinetuneStage(TransformerStage):
    """One step end to end: every token hidden, zero noise at the noisiest timestep.

    The diffusion loss stays as an anchor, so that more steps go on working.
    """

    def unused_parts(self) -> list[nn.Module]:
        """List the projection of mask tokens: none of them is visible."""
        return [self.model.transformer.z_proj2]

    def hidden(self, batch: Batch, length: int) -> Tensor:
        """Hide all mask tokens, bool [B, L]."""
        return torch.ones(len(batch.image), length, dtype=torch.bool, device=batch.image.device)

    def decoded_timesteps(self, batch: Batch) -> Tensor:
        """Return the noisiest timestep for each image, int64 [B]."""
        first = self.model.config.diffusion.first_timestep
        return torch.full((len(batch.image),), first, device=batch.image.device)

    def noised(self, batch: Batch, x0: Tensor, alpha_bar: NDArray[np.float64]) -> Tensor:
        """Return zeros [B, L, Z], from which the one step starts: nothing of the truth is in it."""
        return torch.zeros_like(x0)


def class_losses(logits: Tensor, class_ids: Tensor, jaccard_weight: float = 0.0) -> Losses:
    """Cross-entropy of logits [B, C, H/2, W/2], enlarged, with class ids [B, H', W'].

    The mean over all pixels, unlabeled ones counting 0: parts of a batch, on other processes or
    accumulated, then add up to the whole batch's. With ``jaccard_weight`` the weighted
    `jaccard_loss` of the part is added to ``loss``.
    """
    enlarged = F.interpolate(
        logits.float(), class_ids.shape[1:], mode="bilinear", align_corners=False
    )  # [B, C, H', W']
    summed = F.cross_entropy(enlarged, class_ids, ignore_index=UNLABELED, reduction="sum")
    with torch.no_grad():
        right = (enlarged.max(dim=1)[1] == class_ids).sum()
    cross_entropy = summed / class_ids.numel()
    losses = {"cross_entropy": cross_entropy, "accuracy": right / class_ids.numel()}
    if not jaccard_weight:
        return {**losses, "loss": cross_entropy}
    jaccard = jaccard_loss(enlarged, class_ids)
    return {**losses, "loss": cross_entropy + jaccard_weight * jaccard, "jaccard": jaccard}


def jaccard_loss(logits: Tensor, class_ids: Tensor) -> Tensor:
    """Return 1 - intersection over union of class probabilities and truth, a mean over classes.

    The soft Jaccard loss (Rahman and Wang 2016, doi 10.1007/978-3-319-50835-1_22), from the sums
    over all images; classes that the truth lacks are left out. Small and rare classes count as much
    as others, as in mean IoU.

    Args:
        logits: [B, C, H, W].
        class_ids: int64 [B, H, W], 255 = unlabeled.
    """
    classes = logits.shape[1]
    one_hot = F.one_hot(class_ids.clamp(max=classes), classes + 1)[..., :classes]  # [B, H, W, C]
    truth = one_hot.permute(0, 3, 1, 2)  # [B, C, H, W]
    labeled = (class_ids != UNLABELED).unsqueeze(1)  # [B, 1, H, W]
    probability = logits.softmax(dim=1) * labeled  # [B, C, H, W]
    intersection = (probability * truth).sum(dim=(0, 2, 3))  # [C]
    pixels = truth.sum(dim=(0, 2, 3))  # [C]
    union = probability.sum(dim=(0, 2, 3)) + pixels - intersection  # [C]
    missing = 1.0 - intersection / union.clamp(min=1.0)  # [C]
    return (missing * (pixels > 0)).sum() / (pixels > 0).sum().clamp(min=1)


def spread_loss(predicted: Tensor, true: Tensor, least_ratio: float) -> Tensor:
    """Return the mean square by which channels' standard deviations are less than they should be.

    The best single estimate of a latent is a mean, and varies less than latents do; this term keeps
    estimates in the distribution that the decoder knows.

    Args:
        predicted: estimated tokens [N, Z].
        true: true tokens [N, Z].
        least_ratio: least standard deviation of a channel, as a share of the true one's.
    """
    ratio = predicted.std(dim=0) / true.std(dim=0).clamp(min=1e-6)  # [Z]
    return (least_ratio - ratio).clamp(min=0.0).square().mean()


def hidden_share(config: LossConfig, random: np.random.Generator) -> float:
    """Draw the share of hidden mask tokens: a normal truncated to [least, 1], by rejection."""
    while True:
        share = float(random.normal(config.mask_share_mean, config.mask_share_sd))
        if config.mask_share_least <= share <= 1.0:
            return share


def mask_decoder_of(model: CamSeg) -> MaskDecoder:
    """Return the mask decoder of a model that is to be trained.

    Raises:
        CamsegError: it has none.
    """
    if model.mask_decoder is None:
        raise CamsegError(
            f"model {model.config.name!r} has no mask decoder to train; choose another preset"
        )
    return model.mask_decoder
