# SPDX-License-Identifier: Apache-2.0
"""Mask decoder of our own: a mask latent to class logits, which are real probabilities.

It replaces the palette decoder of the published model, whose colours are a poor code for classes
(a blend of two colours is often a third class), at a hundredth of its price. With image features
at a quarter of the resolution it also finds what a latent of stride 16 cannot hold: poles, signs,
riders.

Shapes: B = batch; H, W = image size in pixels; L = latent channels; C1, C2, C3 = widths;
F = channels of the image features; K = classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.configs import MaskDecoderConfig
from camseg_core.models.convolution import ConvBlock, conv3x3


class MaskDecoder(nn.Module):
    """Mask latents at a sixteenth of the resolution to class logits at a quarter."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        first, second, third = config.widths
        self.stem = conv3x3(config.latent_channels, third)
        self.sixteenth = ConvBlock(third)
        self.to_eighth = nn.Conv2d(third, 4 * second, kernel_size=1)
        self.eighth = ConvBlock(second)
        self.to_quarter = nn.Conv2d(second, 4 * first, kernel_size=1)
        self.from_features = (
            nn.Conv2d(config.feature_channels, first, kernel_size=1)
            if config.feature_channels
            else None
        )
        self.quarter = nn.Sequential(*(ConvBlock(first) for _ in range(config.quarter_depth)))
        self.norm = nn.GroupNorm(8, first)
        self.to_logits = nn.Conv2d(first, config.num_classes, kernel_size=1)

    def forward(self, latent: Tensor, features: Tensor | None = None) -> Tensor:
        """Decode.

        Args:
            latent: scaled mask latent [B, L, H/16, W/16].
            features: of the image encoder [B, F, H/4, W/4]; read if the configuration says so.

        Returns:
            Class logits [B, K, H/4, W/4].
        """
        x = self.sixteenth(self.stem(latent))  # [B, C3, H/16, W/16]
        x = self.eighth(F.pixel_shuffle(self.to_eighth(x), 2))  # [B, C2, H/8, W/8]
        x = F.pixel_shuffle(self.to_quarter(x), 2)  # [B, C1, H/4, W/4]
        if self.from_features is not None and features is not None:
            x = x + self.from_features(features)  # [B, C1, H/4, W/4]
        x = self.quarter(x)  # [B, C1, H/4, W/4]
        out: Tensor = self.to_logits(F.silu(self.norm(x)))  # [B, K, H/4, W/4]
        return out
