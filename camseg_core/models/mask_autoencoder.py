# SPDX-License-Identifier: Apache-2.0
"""Encoder of class masks to latents, of our own; the model's mask decoder leads back.

Classes go in, not colours: a blend of two colours is often a third class, a blend of two one-hot
vectors is a doubt between two classes. Its bottleneck is a Gaussian posterior (KL; Kingma and
Welling 2014, arXiv 1312.6114) or a codebook (VQ, to compare with).

Shapes: B = batch; H, W = mask size in pixels, multiples of 8; h, w = H / 8, W / 8; K = classes;
C1 to C3 = widths; Z = latent channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.autoencoder import GaussianPosterior
from camseg_core.models.convolution import NormedConv, StridedBlocks
from camseg_core.models.part_configs import MaskAutoencoderConfig
from camseg_core.models.quantizer import VectorQuantizer


class MaskAutoencoder(nn.Module):
    """Class masks to raw latents.

    Attributes:
        quantizer: the codebook; None with a KL bottleneck.
    """

    def __init__(self, config: MaskAutoencoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        self.stem = NormedConv(config.num_classes + 1, half, stride=2)
        self.quarter = StridedBlocks(half, quarter, config.depth)
        self.eighth = StridedBlocks(quarter, eighth, config.depth)
        self.to_moments = nn.Conv2d(eighth, config.moment_channels, kernel_size=1)
        self.quantizer = (
            VectorQuantizer(config.codebook_size, config.latent_channels)
            if config.bottleneck == "vq"
            else None
        )

    def moments(self, class_ids: Tensor) -> Tensor:
        """Return what the bottleneck takes, of class ids int64 [B, H, W], 255 = unlabeled.

        KL: mean and log-variance, not clamped, [B, 2Z, h, w]. VQ: the vectors before they are
        quantised, [B, Z, h, w].
        """
        classes = self.config.num_classes
        one_hot = F.one_hot(class_ids.clamp(max=classes), classes + 1)  # [B, H, W, K + 1]
        x = one_hot.permute(0, 3, 1, 2).float()  # [B, K + 1, H, W]
        x = F.relu_(self.stem(x))  # [B, C1, H/2, W/2]
        x = self.eighth(self.quarter(x))  # [B, C3, h, w]
        out: Tensor = self.to_moments(x)  # [B, 2Z or Z, h, w]
        return out

    def posterior(self, class_ids: Tensor) -> GaussianPosterior:
        """Encode class ids int64 [B, H, W] to the Gaussian of the raw latent [B, Z, h, w]."""
        moments = self.moments(class_ids).float()  # [B, 2Z or Z, h, w]
        if self.quantizer is None:
            return GaussianPosterior.of_moments(moments)
        quantized = self.quantizer(moments)  # [B, Z, h, w]
        return GaussianPosterior(quantized, torch.full_like(quantized, -torch.inf))

    def nearest(self, latent: Tensor) -> Tensor:
        """Snap raw latents [B, Z, h, w] to the codebook, where there is one.

        The gradient passes straight through (Bengio et al. 2013, arXiv 1308.3432).
        """
        if self.quantizer is None:
            return latent
        snapped: Tensor = self.quantizer(latent.detach())  # [B, Z, h, w]
        return latent + (snapped - latent).detach()  # [B, Z, h, w]
