# SPDX-License-Identifier: Apache-2.0
"""Mask decoder of our own: a mask latent to class logits, which are real probabilities.

It replaces the palette decoder of the published model, whose colours are a poor code for classes
(a blend of two colours is often a third class), at a hundredth of its price. It reads the latent
alone: whatever the image says must have gone through the latent.

Shapes: B = batch; H, W = image size in pixels; S = latent stride; Z = latent channels;
C1, C2 = widths; K = classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.convolution import NormedConv, ResidualBlock
from camseg_core.models.part_configs import MaskDecoderConfig


class MaskDecoder(nn.Module):
    """Mask latents at an eighth or a sixteenth of the resolution to class logits at a half."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        eighth, quarter = config.widths
        self.from_latent = nn.Conv2d(config.latent_channels, eighth, kernel_size=1)
        self.eighth = nn.Sequential(*(ResidualBlock(eighth) for _ in range(config.depth)))
        self.quarter = NormedConv(eighth, quarter)
        self.quarter_block = NormedConv(quarter, quarter)
        self.to_logits = nn.Conv2d(quarter, 4 * config.num_classes, kernel_size=1)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode a raw mask latent [B, Z, H/S, W/S] to class logits [B, K, H/2, W/2]."""
        x = self.from_latent(latent)  # [B, C1, H/S, W/S]
        if self.config.latent_stride == 16:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")  # [B, C1, H/8, W/8]
        x = self.eighth(x)  # [B, C1, H/8, W/8]
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # [B, C1, H/4, W/4]
        x = F.relu_(self.quarter(x))  # [B, C2, H/4, W/4]
        x = x + F.relu_(self.quarter_block(x))  # [B, C2, H/4, W/4]
        return F.pixel_shuffle(self.to_logits(x), 2)  # [B, K, H/2, W/2]
