# SPDX-License-Identifier: Apache-2.0
"""A light image encoder of our own: image tokens and fine features at a small price.

The published model encodes images with the KL autoencoder, whose 128 channels at full resolution
cost most of the time. Here the first layer folds 4 x 4 pixels into channels (space to depth), so
that no work is done at full resolution; residual blocks follow at a quarter, an eighth and a
sixteenth.

Shapes: B = batch; H, W = image size in pixels, multiples of 16; C1, C2, C3 = widths; Z = channels
of an image token.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from camseg_core.models.configs import ImageEncoderConfig
from camseg_core.models.convolution import ConvBlock, conv3x3

STEM_STRIDE = 4


class ImageEncoder(nn.Module):
    """RGB images to image tokens on the token grid, and features at a quarter of the resolution."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        """Build at the size of ``config``."""
        super().__init__()
        self.config = config
        first, second, third = config.widths
        self.stem = conv3x3(3 * STEM_STRIDE**2, first)
        self.quarter = _blocks(first, config.depths[0])
        self.to_eighth = nn.Conv2d(4 * first, second, kernel_size=1)
        self.eighth = _blocks(second, config.depths[1])
        self.to_sixteenth = nn.Conv2d(4 * second, third, kernel_size=1)
        self.sixteenth = _blocks(third, config.depths[2])
        self.to_tokens = nn.Conv2d(third, config.token_channels, kernel_size=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Encode RGB in [-1, 1], [B, 3, H, W].

        Returns:
            Image latent [B, Z, H/16, W/16], and features [B, C1, H/4, W/4].
        """
        x = self.stem(F.pixel_unshuffle(image, STEM_STRIDE))  # [B, C1, H/4, W/4]
        features = self.quarter(x)  # [B, C1, H/4, W/4]
        x = self.to_eighth(F.pixel_unshuffle(features, 2))  # [B, C2, H/8, W/8]
        x = self.eighth(x)  # [B, C2, H/8, W/8]
        x = self.to_sixteenth(F.pixel_unshuffle(x, 2))  # [B, C3, H/16, W/16]
        latent: Tensor = self.to_tokens(self.sixteenth(x))  # [B, Z, H/16, W/16]
        return latent, features


def _blocks(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ConvBlock(channels) for _ in range(depth)))
