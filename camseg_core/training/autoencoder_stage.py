# SPDX-License-Identifier: Apache-2.0
"""The stage that makes the latent space, and the table of all stages.

Shapes: B = batch; H, W = model input; h, w = latent positions; Z = latent channels; C = classes.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from camseg_core.errors import CamsegError
from camseg_core.labels import LabelSet
from camseg_core.models.autoencoder import Autoencoder, GaussianPosterior
from camseg_core.models.camseg import CamSeg, mask_image
from camseg_core.models.mask_autoencoder import MaskAutoencoder
from camseg_core.models.quantizer import VectorQuantizer, perplexity
from camseg_core.training.configuration import LossConfig, StageName
from camseg_core.training.stages import (
    Batch,
    FinetuneStage,
    Losses,
    MaskDecoderStage,
    Stage,
    TransformerStage,
    mask_decoder_of,
)


class AutoencoderStage(Stage):
    """Reconstruction of masks plus the bottleneck's own loss: KL, or that of a codebook.

    Our own autoencoder reconstructs classes through the mask decoder, by cross-entropy, from
    latents with noise on them; the published one reconstructs colour masks and images, by absolute
    error.
    """

    def trained_parts(self) -> list[nn.Module]:
        """List the autoencoder and, where it encodes classes, its decoder."""
        model = self.model
        if isinstance(model.autoencoder, MaskAutoencoder):
            return [model.autoencoder, mask_decoder_of(model)]
        return [model.autoencoder]

    def forward(self, batch: Batch) -> Losses:
        """Reconstruction error plus the bottleneck's loss."""
        autoencoder = self.model.autoencoder
        if isinstance(autoencoder, Autoencoder):
            return self._color_losses(batch, autoencoder)
        quantizer = autoencoder.quantizer
        if quantizer is not None:
            return self._quantized_losses(batch, autoencoder.moments(batch.class_ids), quantizer)
        posterior = autoencoder.posterior(batch.class_ids)
        divergence = _divergence(posterior)
        latent = posterior.sample(batch.draws.normal("latent", *posterior.mean.shape[1:]))
        losses = self._reconstruction(batch, latent)
        return {
            **losses,
            "loss": losses["loss"] + self.loss_config.kl_weight * divergence,
            "kl": divergence,
            "latent_sd": latent.detach().std(),
        }

    def _reconstruction(self, batch: Batch, latent: Tensor) -> Losses:
        """Decode raw latents [B, Z, h, w], noised to a random degree; see `class_losses`."""
        spread = latent.detach().std(dim=(1, 2, 3), keepdim=True)  # [B, 1, 1, 1]
        noisy = self.disturbed(latent / spread, batch) * spread  # [B, Z, h, w]
        return self.class_losses(mask_decoder_of(self.model)(noisy), batch)

    def _color_losses(self, batch: Batch, autoencoder: Autoencoder) -> Losses:
        """Absolute error of colour masks, and of images where one encoder serves both, plus KL."""
        images = mask_image(batch.class_ids, self.colors)  # [B, 3, H, W]
        if self.model.image_encoder is None:
            images = torch.cat([images, batch.image])  # [2B, 3, H, W]
        posterior = autoencoder.posterior(images)
        posterior = GaussianPosterior(posterior.mean.float(), posterior.log_variance.float())
        noise = torch.cat(
            [
                batch.draws.normal(f"latent {part}", *posterior.mean.shape[1:])
                for part in range(len(images) // len(batch.image))
            ]
        )  # [B or 2B, Z, h, w]
        error = (autoencoder.decode_raw(posterior.sample(noise)).float() - images).abs().mean()
        divergence = _divergence(posterior)
        return {
            "loss": error + self.loss_config.kl_weight * divergence,
            "reconstruction": error,
            "kl": divergence,
            "latent_sd": posterior.mean.std(),
        }

    def _quantized_losses(
        self, batch: Batch, moments: Tensor, quantizer: VectorQuantizer
    ) -> Losses:
        """Add the codebook's and the commitment loss; vectors to quantise [B, Z, h, w].

        Equation 3 of van den Oord et al. 2017 (arXiv 1711.00937), squared errors as means. The
        decoder's gradient passes straight through to the encoder.
        """
        moments = moments.float()  # [B, Z, h, w]
        if self.training:
            everyones = _of_all_processes(moments.detach(), len(batch.image))
            quantizer.restart_dead_codes(everyones, batch.draws.shared("restart"))
        codes = quantizer.nearest(moments)  # [B, h, w]
        quantized = quantizer.look_up(codes)  # [B, Z, h, w]
        counts = codes.flatten().bincount(minlength=len(quantizer.codebook))  # [codes]
        if dist.is_initialized():
            dist.all_reduce(counts)
        if self.training:
            quantizer.record_usage(counts)
        codebook_error = F.mse_loss(quantized, moments.detach())
        commitment = F.mse_loss(moments, quantized.detach())
        straight_through = moments + (quantized - moments).detach()  # [B, Z, h, w]
        losses = self._reconstruction(batch, straight_through)
        weight = self.loss_config.commitment_weight
        return {
            **losses,
            "loss": losses["loss"] + codebook_error + weight * commitment,
            "commitment": commitment,
            "perplexity": perplexity(counts),
            "used_codes": (counts > 0).sum(),
            "latent_sd": quantized.std(),
        }


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


def _divergence(posterior: GaussianPosterior) -> Tensor:
    """Return the KL divergence from N(0, 1): the sum over an image's latent, averaged over images.

    Kingma and Welling 2014 (arXiv 1312.6114), appendix B.
    """
    mean, log_variance = posterior.mean, posterior.log_variance  # [B, Z, h, w] each
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
    return divergence.sum(dim=(1, 2, 3)).mean()
