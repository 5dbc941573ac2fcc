# SPDX-License-Identifier: Apache-2.0
"""Mask decoder of our own: a mask latent to class logits, which are real probabilities.

It replaces the palette decoder of the published model, whose colours are a poor code for classes
(a blend of two colours is often a third class), at a hundredth of its price. With image features
at a quarter and an eighth of the resolution it also finds what a latent of stride 16 cannot hold:
poles, signs, riders.

Shapes: B = batch; H, W = image size in pixels; L = latent channels; C = width; K = classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.convolution import NormedConv
from camseg_core.models.image_encoder import Features
from camseg_core.models.part_configs import MaskDecoderConfig


class MaskDecoder(nn.Module):
    """Mask latents at a sixteenth of the resolution to class logits at a quarter."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        width = config.width
        self.from_latent = nn.Conv2d(config.latent_channels, width, kernel_size=1)
        self.sixteenth = NormedConv(width, width)
        self.eighth = NormedConv(width, width)
        self.quarter = NormedConv(width, width)
        self.from_features = nn.ModuleList(
            nn.Conv2d(channels, width, kernel_size=1) for channels in config.feature_channels
        )
        self.to_logits = nn.Conv2d(width, config.num_classes, kernel_size=1)

    def forward(self, latent: Tensor, features: Features | None = None) -> Tensor:
        """Decode.

        Args:
            latent: scaled mask latent [B, L, H/16, W/16].
            features: features of the image encoder; read if the configuration says so.

        Returns:
            Class logits [B, K, H/4, W/4].
        """
        x = F.relu(self.sixteenth(self.from_latent(latent)))  # [B, C, H/16, W/16]
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # [B, C, H/8, W/8]
        if features is not None and len(self.from_features) > 0:
            x = x + self.from_features[1](features[1])  # [B, C, H/8, W/8]
        x = F.relu(self.eighth(x))  # [B, C, H/8, W/8]
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # [B, C, H/4, W/4]
        if features is not None and len(self.from_features) > 0:
            x = x + self.from_features[0](features[0])  # [B, C, H/4, W/4]
        x = F.relu(self.quarter(x))  # [B, C, H/4, W/4]
        out: Tensor = self.to_logits(x)  # [B, K, H/4, W/4]
        return out
